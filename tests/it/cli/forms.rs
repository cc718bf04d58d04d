//! Configurations in the forms in which people have them: what can be read is read, and all else is one sentence that says what to write.
//! The clusters do not exist: whoever comes as far as asking for them has understood the file.

use std::fs;

use super::{Finished, run};
use crate::support::{Outcome, nursery};

const MM2: &str = "clusters = a, b\na.bootstrap.servers = a.invalid:1\nb.bootstrap.servers = b.invalid:1\n";
const CLUSTERS: [&str; 4] =
    ["--set", "source.bootstrap.servers=a.invalid:1", "--set", "target.bootstrap.servers=b.invalid:1"];

/// `kmirror run --config FILE` with this text in the file.
fn with_file(name: &str, text: &str) -> Outcome<Finished> {
    let file = nursery::directory("forms")?.join(name);
    fs::write(&file, text)?;
    run(["run", "--config", &file.display().to_string()])
}

fn with_set(setting: &str) -> Outcome<Finished> {
    run(["run"].iter().chain(&CLUSTERS).chain(&["--set", setting]))
}

#[test]
fn the_configuration_of_a_connector_is_read() -> Outcome {
    let class = "org.apache.kafka.connect.mirror.MirrorSourceConnector";
    let pairs = [
        ("connector.class", class),
        ("source.cluster.alias", "east"),
        ("target.cluster.alias", "west"),
        ("source.cluster.bootstrap.servers", "a.invalid:1"),
        ("target.cluster.bootstrap.servers", "b.invalid:1"),
        ("topics", "orders"),
        ("tasks.max", "4"),
        ("replication.factor", "-1"),
        ("key.converter", "org.apache.kafka.connect.converters.ByteArrayConverter"),
    ];
    let lines: Vec<String> = pairs.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    with_file("connector.properties", &lines.concat())?.expect(3, &["'a.invalid'"])?;
    let members: Vec<String> = pairs.iter().map(|(key, value)| format!("\"{key}\": \"{value}\"")).collect();
    let json = format!("{{\"name\": \"mm2\", \"config\": {{\n{}\n}}}}", members.join(",\n"));
    with_file("connector.json", &json)?.expect(3, &["'a.invalid'"])?;
    let beside = lines.concat().replace("MirrorSourceConnector", "MirrorCheckpointConnector");
    with_file("checkpoints.properties", &beside)?.expect(2, &["MirrorSourceConnector", "emit.checkpoints.enabled"])?;
    with_file("strimzi.yaml", "apiVersion: kafka.strimzi.io/v1beta2\nkind: KafkaMirrorMaker2\n")?
        .expect(2, &["Kubernetes resource", "file of MirrorMaker 2"])?;
    Ok(())
}

#[test]
fn a_comment_behind_a_value_is_named() -> Outcome {
    let enabled = format!("{MM2}a->b.enabled = true # active\n");
    with_file("mm2.properties", &enabled)?
        .expect(2, &["mm2.properties:4", "'true # active'", "true or false", "a comment begins a line of its own"])?;
    let seconds = format!("{MM2}a->b.enabled = true\nrefresh.topics.interval.seconds = 30 # half a minute\n");
    with_file("mm2.properties", &seconds)?
        .expect(2, &["'30 # half a minute'", "a comment begins a line of its own"])?;
    Ok(())
}

#[test]
fn what_mirror_maker_2_passes_over_is_no_error() -> Outcome {
    let copied = format!(
        "[connector_mm]\n{MM2}a->b.enabled = true\ncluster.alias = A->B\nmirrors = a->b\nreplication.factor = -1\n"
    );
    with_file("mm2.properties", &copied)?
        .expect(3, &["'a.invalid'", "cluster.alias", "mirrors", "no sections", "mm2.properties:1"])?;
    Ok(())
}

#[test]
fn a_variable_that_nobody_resolves_is_named() -> Outcome {
    let with_name = format!("{MM2}a->b.enabled = true\ntopics = ${{TOPICS}}\n");
    with_file("mm2.properties", &with_name)?.expect(2, &["${TOPICS}", "envsubst"])?;
    with_set("source.client.id=${CLIENT}")?.expect(2, &["${CLIENT}", "envsubst"])?;
    Ok(())
}

#[test]
fn a_key_of_mirror_maker_2_is_named_with_what_it_is_here() -> Outcome {
    with_set("sync.group.offsets.enabled=true")?.expect(2, &["MirrorMaker 2's name of sync.group.offsets"])?;
    with_set("refresh.topics.interval.seconds=5")?.expect(2, &["refresh.interval.ms", "milliseconds"])?;
    let class = "replication.policy.class=org.apache.kafka.connect.mirror.IdentityReplicationPolicy";
    with_set(class)?.expect(2, &["MirrorMaker 2's name of replication.policy", "identity"])?;
    with_set("tasks.max=3")?.expect(2, &["num.streams"])?;
    Ok(())
}

#[test]
fn two_files_for_one_side_are_answered_with_how_to_do_it() -> Outcome {
    run(["run", "--consumer.config", "a", "--consumer.config", "b", "--producer.config", "c"])?
        .expect(2, &["--consumer.config is given twice", "offsets=translate"])?;
    run(["run", "--consumer.config", "a", "--producer.config", "b", "--producer.config", "c"])?
        .expect(2, &["--producer.config is given twice", "one target"])?;
    Ok(())
}
