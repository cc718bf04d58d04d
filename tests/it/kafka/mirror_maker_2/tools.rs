//! What MirrorMaker 2's own client makes of clusters that kmirror mirrors: upstream clusters, hops, offsets of groups.
//! It runs in Java from the jars of MirrorMaker 2 (`support/kafka/MirrorTools.java`), as do the classes that read each record.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::OnceLock;

use serde_json::Value;

use super::{LIMIT, file, json, run, write};
use crate::kafka::mirror::configs_of;
use crate::kafka::permissions::{acl, create, grant};
use crate::support::broker::Version;
use crate::support::cluster::{Cluster, Options, Pair, shared, unique};
use crate::support::mirroring::Mirroring;
use crate::support::process::Kmirror;
use crate::support::{Failure, Outcome, fail, groups, nursery, wait_for};

const TOPIC: i8 = 2;
const LITERAL: i8 = 3;
const WRITE: i8 = 4;
const ALL: i8 = 2;
const DENY: i8 = 2;
const ALLOW: i8 = 3;

/// Where the class is that asks: compiled once, as that takes longer than asking.
fn compiled() -> Outcome<PathBuf> {
    static CLASSES: OnceLock<Outcome<PathBuf>> = OnceLock::new();
    CLASSES.get_or_init(|| Version::Latest.compile("MirrorTools")).clone()
}

/// What MirrorMaker 2's client and classes say of a cluster.
fn answers(cluster: &Cluster, policy: &str, [source, target]: [&str; 2], group: &str) -> Outcome<Vec<String>> {
    let mut command = nursery::command("java");
    let path = format!("{}:{}", compiled()?.display(), Version::Latest.jars()?.join("*").display());
    command.args(["-Xmx200m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &path, "MirrorTools"]);
    command.args([&cluster.direct(), policy, source, target, group]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = nursery::spawn(command)?.wait_with_output()?;
    if !ended.status.success() {
        return fail(format!("MirrorMaker 2's client: {}", String::from_utf8_lossy(&ended.stderr)));
    }
    Ok(String::from_utf8(ended.stdout)?.lines().map(str::to_owned).collect())
}

/// Asks until the answers are these, as what is written last may come a moment later.
fn expect(cluster: &Cluster, group: &str, expected: &[String]) -> Outcome {
    let mut last = Vec::new();
    let found = wait_for("the expected answers", LIMIT, || {
        last = answers(cluster, "Default", ["east", "west"], group)?;
        Ok((last == expected).then_some(()))
    });
    found.map_err(|_| Failure(format!("expected {expected:#?}\nbut MirrorMaker 2's client says {last:#?}")))
}

/// Waits until a topic has so many records.
fn wait_for_records(cluster: &Cluster, topic: &str, count: i64) -> Outcome {
    wait_for(&format!("{count} records in {topic}"), LIMIT, || {
        // There is no such topic at first.
        Ok(cluster.client().offset_at(topic, 0, -1).is_ok_and(|end| end >= count).then_some(()))
    })
}

/// Single brokers, the source with an authorizer.
fn pair() -> Outcome<Pair> {
    let options = Options::default()
        .property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        .property("allow.everyone.if.no.acl.found", "true");
    let pair = Pair::start(options, Options::default())?;
    pair.source.create_topic("orders", 2, &[])?;
    write(&pair.source, "orders", 0, 300)?;
    write(&pair.source, "orders", 1, 500)?;
    groups::commit_with(&pair.source, "readers", &[("orders", 0, 17), ("orders", 1, 500)], "m")?;
    groups::commit(&pair.source, "others", &[("orders", 0, 3)])?;
    // Nothing is promised there that the target does not hold.
    groups::commit(&pair.source, "hurried", &[("orders", 0, 1000)])?;
    Ok(pair)
}

const ON_REQUEST: &str = "emit.heartbeats.enabled = true\nemit.checkpoints.enabled = true\nemit.offset-syncs.enabled = true\n\
     emit.checkpoints.interval.seconds = 1\ntopics = orders\ngroups = readers, hurried\neast->west.enabled = true";

#[test]
fn mirror_maker_2s_client_finds_clusters_hops_and_offsets() -> Outcome {
    let pair = pair()?;
    let mm2 = file(&pair, ["east", "west"], ON_REQUEST)?;
    let planned = |planned: &Value| -> Vec<String> {
        let topics = planned["emitted_topics"].as_array().cloned().unwrap_or_default();
        topics.iter().map(|topic| format!("{} {}", topic["side"], topic["topic"]).replace('"', "")).collect()
    };
    let topics = ["source heartbeats", "source mm2-offset-syncs.west.internal"];
    let copies = ["target heartbeats", "target east.checkpoints.internal"];
    assert_eq!(planned(&json(&run("plan", &mm2, &["--json"], 0)?)?), [topics, copies].concat());

    let path = mm2.path().display().to_string();
    let mut mirror = Kmirror::start(["run", "--config", &path])?;
    let on_target = |offset: i64, rest: &str| {
        let checkpoint = |group: &str, partition: i32, [source, target]: [i64; 2], metadata: &str| {
            format!(
                "east.checkpoints.internal Checkpoint{{consumerGroupId={group}, topicPartition=east.orders-{partition}, \
                 upstreamOffset={source}, downstreamOffset={target}, metadata={metadata}}}"
            )
        };
        vec![
            "upstream [east]".to_owned(),
            "hops 1".to_owned(),
            "heartbeats [east.heartbeats, heartbeats]".to_owned(),
            "checkpoints [east.checkpoints.internal]".to_owned(),
            "remote [east.heartbeats, east.orders]".to_owned(),
            format!("offsets {{east.orders-0={offset}m, east.orders-1=500m}}"),
            checkpoint("hurried", 0, [1000, 300], ""),
            checkpoint("readers", 0, [offset, offset], "m"),
            checkpoint("readers", 1, [500, 500], "m"),
            rest.to_owned(),
        ]
    };
    let expect_on_target = |offset| {
        let expected = on_target(offset, "heartbeats Heartbeat east->west true");
        expect(&pair.target, "readers", &expected)
    };
    wait_for_records(&pair.target, "east.checkpoints.internal", 3)?;
    wait_for_records(&pair.target, "east.heartbeats", 1)?;
    wait_for_records(&pair.source, "mm2-offset-syncs.west.internal", 2)?;
    expect_on_target(17)?;
    // At the source it is the way back that has a sign of life, and what MirrorMaker 2 would read to translate offsets.
    let sync = |partition, offset| {
        format!(
            "mm2-offset-syncs.west.internal OffsetSync{{topicPartition=orders-{partition}, upstreamOffset={offset}, \
             downstreamOffset={offset}}}"
        )
    };
    let at_source: Vec<String> = answers(&pair.source, "Default", ["east", "west"], "readers")?
        .into_iter()
        .filter(|line| line.starts_with("heartbeats H") || line.contains("orders-"))
        .collect();
    let expected = ["heartbeats Heartbeat west->east true".to_owned(), sync(0, 299), sync(1, 499)];
    assert_eq!(at_source, expected);
    // A group that goes back is followed.
    groups::commit_with(&pair.source, "readers", &[("orders", 0, 5)], "m")?;
    wait_for_records(&pair.target, "east.checkpoints.internal", 4)?;
    expect_on_target(5)?;

    assert_eq!(planned(&json(&run("plan", &mm2, &["--json"], 0)?)?), [""; 0], "all are there");
    for (cluster, topic) in [
        (&pair.source, "heartbeats"),
        (&pair.source, "mm2-offset-syncs.west.internal"),
        (&pair.target, "heartbeats"),
        (&pair.target, "east.checkpoints.internal"),
    ] {
        assert_eq!(cluster.client().partitions(topic)?.len(), 1, "{topic}");
        assert_eq!(configs_of(cluster, topic)?.get("cleanup.policy").map(String::as_str), Some("compact"), "{topic}");
    }
    // Heartbeats go on all the time, and a switch-over does not wait for their end.
    let promoted = json(&run("promote", &mm2, &["--json"], 0)?)?;
    let reported = promoted["report"]["topics"].as_array().cloned().unwrap_or_default();
    assert!(reported.iter().all(|topic| topic["topic"] == "orders") && reported.len() == 1, "{promoted}");
    assert_eq!(mirror.wait(LIMIT)?.code(), Some(2), "{}", mirror.stderr());
    let beats = || pair.target.client().offset_at("heartbeats", 0, -1);
    let before = beats()?;
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(beats()?, before, "a promoted mirror gives no sign of life");
    Ok(())
}

#[test]
fn a_topic_that_may_not_be_written_is_its_own_trouble() -> Outcome {
    let pair = pair()?;
    let syncs = "mm2-offset-syncs.south.internal";
    pair.source.create_topic(syncs, 1, &[])?;
    // With an ACL of its own, everything that is done to it needs a permission.
    let acl = |operation, permission| acl((TOPIC, syncs), LITERAL, "*", operation, permission);
    create(&pair.source, vec![acl(ALL, ALLOW), acl(WRITE, DENY)])?;
    let mirroring = Mirroring::of(&pair.source, &pair.target, "denied", "orders")
        .set("source.cluster.alias=north")
        .set("target.cluster.alias=south")
        .set("emit.checkpoints.enabled=true")
        .set("emit.offset-syncs.enabled=true");
    let missing = mirroring.plan()?["missing_permissions"].clone();
    assert_eq!((&missing[0]["operation"], &missing[0]["resource"]), (&"Write".into(), &syncs.into()), "{missing}");
    let report = mirroring.report()?;
    let troubles = report["status"]["troubles"].as_array().cloned().unwrap_or_default();
    let of_tools: Vec<_> = troubles.iter().filter(|trouble| trouble["subject"] == "mirror_maker_2").collect();
    assert_eq!(of_tools.len(), 1, "{report}");
    let trouble = of_tools[0];
    assert_eq!(trouble["name"], format!("{syncs} (source)"));
    let message = trouble["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("emit.offset-syncs.enabled is not kept up to date: the source cluster refuses to write"),
        "{message}"
    );
    assert_eq!(report["status"]["replicated_records"], 800, "{report}");
    // The rest is done, and at once when the mirror has caught up; topics keep their names with the policy for that.
    let expected = "offsets {orders-0=17m, orders-1=500m}".to_owned();
    let said = answers(&pair.target, "Identity", ["north", "south"], "readers")?;
    assert!(said.contains(&expected), "{said:#?}");
    grant(&pair.source, (TOPIC, syncs), WRITE)?;
    let report = mirroring.report()?;
    // What is left is the group that is beyond the end of its source.
    let left = report["status"]["troubles"].as_array().cloned().unwrap_or_default();
    assert_eq!(left.iter().map(|trouble| &trouble["name"]).collect::<Vec<_>>(), ["hurried"], "{report}");
    assert_eq!(pair.source.client().offset_at(syncs, 0, -1)?, 2, "one for each partition");
    Ok(())
}

#[test]
fn with_translated_offsets_groups_are_told_where_the_records_are() -> Outcome {
    let pair = shared()?;
    let topic = unique("told");
    let (copy, group) = (format!("far.{topic}"), unique("teller"));
    pair.source.create_topic(&topic, 1, &[])?;
    write(&pair.source, &topic, 0, 300)?;
    groups::commit(&pair.source, &group, &[(&topic, 0, 17)])?;
    pair.target.create_topic(&copy, 1, &[])?;
    write(&pair.target, &copy, 0, 100)?;
    Mirroring::of(&pair.source, &pair.target, &topic, &topic)
        .set("offsets=translate")
        .set("replication.policy=default")
        .set("source.cluster.alias=far")
        .set("target.cluster.alias=near")
        .set("emit.checkpoints.enabled=true")
        .set("emit.offset-syncs.enabled=true")
        .set("offset-syncs.topic.location=target")
        .set(&format!("groups={group}"))
        .catch_up()?;
    let said = answers(&pair.target, "Default", ["far", "near"], &group)?;
    assert!(said.contains(&format!("offsets {{{copy}-0=117}}")), "{said:#?}");
    let sync = format!("OffsetSync{{topicPartition={topic}-0, upstreamOffset=299, downstreamOffset=399}}");
    assert!(said.contains(&format!("mm2-offset-syncs.far.internal {sync}")), "{said:#?}");
    Ok(())
}

#[test]
#[ignore = "long: make nightly"]
fn the_client_is_told_what_mirror_maker_2_tells_it() -> Outcome {
    let pair = pair()?;
    // At the end of a partition MirrorMaker 2 is exact, too; of 17, elsewhere, it makes 1.
    groups::commit_with(&pair.source, "done", &[("orders", 0, 300), ("orders", 1, 500)], "m")?;
    let lines = format!(
        "{}\noffset.lag.max = 0\noffset-syncs.topic.location = target",
        ON_REQUEST.replace("readers, hurried", "done")
    );
    let ours = file(&pair, ["east", "west"], &lines)?;
    let mut mirror = Kmirror::start(["run", "--config", &ours.path().display().to_string()])?;

    let other = Pair { source: pair.source, target: Cluster::start(Options::default())? };
    let replicas = [
        "checkpoints.topic",
        "heartbeats.topic",
        "offset-syncs.topic",
        "offset.storage",
        "status.storage",
        "config.storage",
    ];
    let replicas: String = replicas.iter().map(|of| format!("{of}.replication.factor = 1\n")).collect();
    let theirs = file(&other, ["east", "west"], &format!("{lines}\n{replicas}refresh.groups.interval.seconds = 1"))?;
    let mut command = Version::Latest.java(&["-Xmx400m".to_owned()], "org.apache.kafka.connect.mirror.MirrorMaker")?;
    command.arg(theirs.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut mirror_maker = nursery::spawn(command)?;
    // Offset syncs of heartbeats differ from moment to moment.
    let told = |cluster: &Cluster| -> Outcome<Vec<String>> {
        let mut told = answers(cluster, "Default", ["east", "west"], "done")?;
        told.retain(|line| !line.contains("heartbeats-0"));
        Ok(told)
    };
    let mut both = [Vec::new(), Vec::new()];
    let agreed = wait_for("both tell the same", LIMIT, || {
        both = [told(&pair.target)?, told(&other.target)?];
        // Upstream, hops, three sets of topics, offsets, two checkpoints, a heartbeat, two offset syncs.
        Ok((both[0] == both[1] && both[0].len() == 11).then_some(()))
    });
    mirror_maker.kill()?;
    mirror_maker.wait()?;
    mirror.signal(nix::sys::signal::Signal::SIGTERM)?;
    agreed.map_err(|_| Failure(format!("kmirror and MirrorMaker 2 differ: {both:#?}")))
}
