//! What becomes of files of MirrorMaker 2: Kafka's own example, one as operators write it, and each rule of precedence.
//! The table of keys is compared with what Kafka's classes define, and the page of the manual with the table.

use super::super::collect::Place;
use super::super::{AclDowngrade, ReplicationFactor, ReplicationPolicy, Start};
use super::*;

/// As Kafka's distribution has it, without comments.
const OF_KAFKA: &str = include_str!("../../../tests/data/config/connect-mirror-maker.properties");
/// As for two clusters of an operator, with everything set that its resource can set.
const OF_AN_OPERATOR: &str = include_str!("../../../tests/data/config/operator-mm2.properties");

fn file(text: &str) -> Properties {
    let mut properties = Properties::new();
    properties.read(Place::FlatFile, "mm2.properties", text.as_bytes()).expect("text");
    properties
}

/// Two clusters with a flow from a to b, and these lines.
fn small(lines: &str) -> Properties {
    file(&format!("clusters=a,b\na.bootstrap.servers=a:1\nb.bootstrap.servers=b:1\na->b.enabled=true\n{lines}\n"))
}

fn build(properties: &Properties) -> (Config, Vec<String>) {
    let (config, warnings) = properties.build().expect("a good file");
    let told = warnings.iter().map(Warning::to_string).filter(|told| !told.contains("by default")).collect();
    (config, told)
}

fn config(lines: &str) -> Config {
    build(&small(lines)).0
}

fn problem(lines: &str) -> String {
    small(lines).build().expect_err("a problem").message().to_owned()
}

#[test]
fn the_example_of_kafka_gives_two_mirrors() {
    let mirrors = file(OF_KAFKA).mirrors().expect("a good file");
    let shown: Vec<String> = mirrors
        .iter()
        .map(|(config, _)| {
            let names = &config.names;
            let servers = |side: &super::super::ClientConfig| side.bootstrap_servers.join(",");
            let (name, copy) = (config.name.clone().unwrap_or_default(), names.on_target("t").into_owned());
            format!("{name} {copy} {} {}", servers(&config.source), servers(&config.target))
        })
        .collect();
    let (a, b) = ("A_host1:9092,A_host2:9092,A_host3:9092", "B_host1:9092,B_host2:9092,B_host3:9092");
    assert_eq!(shown, [format!("A-to-B A.t {a} {b}"), format!("B-to-A B.t {b} {a}")]);
    assert!(mirrors.iter().all(|(config, _)| config.replication_factor == ReplicationFactor::Count(1)));
    let told: Vec<&str> = mirrors[0].1.iter().map(|warning| warning.key.as_str()).collect();
    assert!(
        told.contains(&"offset.storage.replication.factor") && told.contains(&"emit.checkpoints.enabled"),
        "{told:?}"
    );
    assert!(file(OF_KAFKA).build().expect_err("two of them").message().contains("A->B"));
}

#[test]
fn the_file_of_an_operator_gives_what_it_asks_for() {
    let (config, warnings) = build(&file(OF_AN_OPERATOR));
    assert_eq!(config.name.as_deref(), Some("east-to-west"));
    assert_eq!(config.names.policy, ReplicationPolicy::Identity);
    assert!(
        config.mirrors("orders") && !config.mirrors("orders.replica") && !config.mirrors("east.checkpoints.internal")
    );
    assert_eq!((config.source.fetch_max_bytes, config.target.max_request_size), (2_097_152, 3_145_728));
    assert_eq!(config.refresh_interval.as_secs(), 60);
    assert!(!config.sync_topic_acls && config.sync_group_offsets);
    assert!(warnings.iter().any(|told| told.contains("west.offset.storage.replication.factor")), "{warnings:#?}");
}

#[test]
fn defaults_are_those_of_mirror_maker_2() {
    let config = config("");
    assert_eq!(config.names.on_target("t"), "a.t");
    assert_eq!(config.replication_factor, ReplicationFactor::Count(2));
    assert_eq!(config.refresh_interval.as_secs(), 600);
    assert!(config.sync_topic_configs && config.sync_topic_acls && !config.sync_group_offsets);
    assert_eq!(config.topic_acls_downgrade, AclDowngrade::ReadOnly);
    assert!(
        config.topic_configs_exclude.matches("min.insync.replicas")
            && !config.topic_configs_exclude.matches("retention.ms")
    );
    for (topic, expected) in [
        ("orders", true),
        ("heartbeats", true),
        ("c.heartbeats", true),
        ("b.heartbeats", false),
        ("b.orders", false),
        ("__x", false),
        (".x", false),
        ("mm2-offset-syncs.b.internal", false),
        ("c.checkpoints.internal", false),
        ("x-internal", false),
    ] {
        assert_eq!(config.mirrors(topic), expected, "{topic}");
    }
}

#[test]
fn heartbeats_and_internal_topics_go_by_the_separator() {
    let config = config("topics=orders\nreplication.policy.separator=_");
    assert!(config.mirrors("c_heartbeats") && !config.mirrors("c.heartbeats") && !config.mirrors("other"));
    assert!(!self::config("replication.policy.separator=_").mirrors("mm2-offset-syncs_b_internal"));
    assert!(!self::config("topics=orders\nheartbeats.replication.enabled=false").mirrors("heartbeats"));
}

#[test]
fn heartbeats_checkpoints_and_offset_syncs_are_written_on_request() {
    let emitted = |lines: &str| -> Vec<String> {
        let shown = |topic: super::super::EmittedTopic| format!("{} {}", topic.side.name(), topic.name);
        config(lines).emitted().into_iter().map(shown).collect()
    };
    assert_eq!(emitted(""), [""; 0]);
    let told = small("").build().expect("good").1;
    let told: Vec<&str> = told.iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(told, ["emit.heartbeats.enabled", "emit.checkpoints.enabled", "emit.offset-syncs.enabled"]);
    let rest = "emit.checkpoints.enabled=true\nemit.offset-syncs.enabled=true\noffset-syncs.topic.location=target";
    assert_eq!(emitted(rest), ["target a.checkpoints.internal", "target mm2-offset-syncs.a.internal"]);
    // As MirrorMaker 2's process does in the direction in which nothing is mirrored.
    let (on_b, on_a) = ("target heartbeats", "source heartbeats");
    assert_eq!(emitted("emit.heartbeats.enabled=true"), [on_b, on_a]);
    assert_eq!(emitted("emit.heartbeats.enabled=true\na->b.emit.heartbeats.enabled=false"), [on_a]);
    assert_eq!(emitted("b->a.emit.heartbeats.enabled=false\nemit.heartbeats.enabled=true"), [on_b]);
    assert_eq!(emitted("b->a.emit.heartbeats.enabled=true"), [on_a]);
    // A mirror of its own has heartbeats of its own.
    let both = small("b->a.enabled=true\nemit.heartbeats.enabled=true").mirrors().expect("two mirrors");
    assert!(both.iter().all(|(config, _)| config.emission.heartbeats && !config.emission.heartbeats_at_source));
    assert!(problem("b->a.emit.heartbeats.enabled=yes").contains("it takes true or false"));
    let config = config("emit.heartbeats.interval.seconds=7\noffset.lag.max=5\ncheckpoints.topic.replication.factor=2");
    let emission = config.emission;
    assert_eq!((emission.heartbeats_interval.as_secs(), emission.offset_lag_max), (7, 5));
    assert_eq!((emission.checkpoints_replication_factor, emission.offset_syncs_replication_factor), (2, 3));
}

#[test]
fn the_line_closest_to_the_flow_counts() {
    let value = |lines: &str, key: &str| config(lines).get(key).unwrap_or_default();
    assert_eq!(value("topics=x\na->b.topics=y\nheartbeats.replication.enabled=false", "topics"), "y");
    assert_eq!(value("a->b.num.streams=3\nnum.streams=2", "num.streams"), "3");
    let fetch = [
        ("a.admin.fetch.min.bytes=1", "1"),
        ("a.fetch.min.bytes=2", "2"),
        ("a->b.source.cluster.fetch.min.bytes=3", "3"),
        ("a->b.consumer.fetch.min.bytes=4", "4"),
        ("a.consumer.fetch.min.bytes=5", "5"),
        ("a->b.source.consumer.fetch.min.bytes=6", "6"),
    ];
    for so_far in 1..=fetch.len() {
        let lines: Vec<&str> = fetch[..so_far].iter().rev().map(|(line, _)| *line).collect();
        assert_eq!(value(&lines.join("\n"), "source.fetch.min.bytes"), fetch[so_far - 1].1, "{lines:?}");
    }
    assert_eq!(value("b.max.request.size=2000\nb.producer.max.request.size=3000", "target.max.request.size"), "3000");
    assert_eq!(value("client.id=x\na.client.id=y", "target.client.id"), "kmirror", "as in MirrorMaker 2");
    assert_eq!(config("a.consumer.auto.offset.reset=latest").start, Start::Latest);
    let mut called = small("topics=x\na->b.topics=y");
    called.set("topics", "z").set("a.consumer.fetch.min.bytes", "9").set("target.client.id", "called");
    let (config, _) = build(&called);
    assert!(config.mirrors("z") && !config.mirrors("y") && config.source.fetch_min_bytes == 9);
    assert_eq!(config.target.client_id, "called");
}

#[test]
fn what_says_nothing_of_a_flow_leaves_it_alone() {
    let text = "c.bootstrap.servers=c:1\nc->a.enabled=false\nc->a.topics=x\nc.consumer.fetch.min.bytes=7";
    let file = small(text).set("clusters", "a,b,c").clone();
    assert_eq!(file.flows().expect("flows").iter().map(Flow::to_string).collect::<Vec<_>>(), ["a->b"]);
    let (config, warnings) = build(&file);
    assert_eq!((config.source.fetch_min_bytes, warnings), (1, vec![]));
    let idle = build(&small("a.producer.acks=all\nb.consumer.fetch.min.bytes=1")).1;
    assert!(idle[0].ends_with("a.producer.acks: has no effect: nothing is produced to this cluster"), "{idle:?}");
    assert_eq!(idle.len(), 2);
}

#[test]
fn aliases_may_look_like_anything() {
    let text = "clusters=source,target,target.eu\nsource.bootstrap.servers=a:1\ntarget.bootstrap.servers=b:1\n\
        target.eu.bootstrap.servers=c:1\nsource->target.eu.enabled = true\nsource->target.eu.topics=x";
    let (config, _) = build(&file(text));
    assert_eq!(config.target.bootstrap_servers, ["c:1"]);
    assert_eq!(
        (config.names.on_target("x").as_ref(), config.mirrors("x"), config.mirrors("y")),
        ("source.x", true, false)
    );
}

#[test]
fn mistakes_are_told_where_they_stand() {
    for (lines, expected) in [
        ("tasks.mx=1", "mm2.properties:5: tasks.mx: there is no such key: did you mean tasks.max?"),
        ("a->b.topic=1", "mm2.properties:5: a->b.topic: there is no such key: did you mean topics?"),
        ("a.topics=x", "mm2.properties:5: a.topics: is no key of a cluster: did you mean a->b.topics?"),
        ("a->c.enabled=true", "mm2.properties:5: (not shown): what stands behind -> is none of the clusters (a, b)"),
        ("replication.policy.class=x.Y", "Java classes cannot be run here"),
        ("topic.filter.class=x.Y", "Java classes cannot be run here"),
        ("forwarding.admin.class=x.Y", "Java classes cannot be run here"),
        ("refresh.topics.enabled=false", "refresh.topics.enabled: can only be true"),
        ("transforms=x", "transforms: can only be nothing"),
        ("refresh.topics.interval.seconds=x", "takes a whole number of seconds"),
        ("topics=x\ntopics=y", "mm2.properties:6: topics: stands here and in line 5: keep one of them"),
        ("a.consumer.fetch.min.bytes=x", "mm2.properties:5: a.consumer.fetch.min.bytes: is 'x'"),
        ("a.sasl.password=x", "mm2.properties:5: a.sasl.password: is not available in this version"),
        ("a->b.enabled.x=1", "there is no such key"),
        ("MIIEpAIBAAKCAQEAvXk2=", "(not shown)"),
    ] {
        let told = problem(lines);
        assert!(told.contains(expected), "{lines}: {told}");
    }
    let none = file("clusters=a,b\na.bootstrap.servers=a:1\n").mirrors().expect_err("no flow");
    assert!(none.message().contains("no flow is enabled"), "{none}");
    let missing = file("clusters=a,b\na.bootstrap.servers=a:1\na->b.enabled=true").build().expect_err("no server");
    assert!(missing.message().contains("bootstrap.servers"), "{missing}");
    assert!(file("a->b.enabled=true").flows().expect_err("no clusters").message().starts_with("clusters: is missing"));
    let other = small("").of_flow(&"b->a".parse().expect("a flow")).expect_err("not enabled");
    assert_eq!(other.message(), "the flow b->a is not enabled: a->b is");
}

/// The keys that Kafka's classes define, by a list that was printed from them.
#[test]
fn every_key_of_mirror_maker_2_is_in_the_table() {
    let defined = include_str!("../../../tests/data/config/mirror-maker-2-keys.txt");
    let mut count = 0;
    for key in defined.lines().filter(|line| !line.starts_with('#')) {
        count += 1;
        let lone =
            super::super::security::is_security_key(key) || ["security.protocol", "bootstrap.servers"].contains(&key);
        let known = lone || keys::find(key).is_some() || keys::of_worker(key).is_some();
        assert!(known, "{key}");
    }
    assert!(count > 60, "{count}");
    let mut all: Vec<&str> = keys::KEYS.iter().flat_map(|row| row.keys.iter().copied()).collect();
    let before = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), before, "no key stands in two rows");
    for row in keys::KEYS {
        if let Verdict::OnRequest(_) = row.verdict {
            assert!(row.keys.iter().all(|key| properties::of_mirror(key).is_some()), "{:?}", row.keys);
        }
        if let Verdict::Property(key, ..) = row.verdict {
            let known = properties::of_mirror(key).is_some() || key == keys::HEARTBEATS_REPLICATION;
            assert!(known, "{key} is a property");
        }
    }
}

#[test]
fn mirror_maker_2_doc_is_up_to_date() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual/mirror-maker-2.md");
    if std::env::var_os("KMIRROR_BLESS").is_some() {
        std::fs::write(&path, markdown()).expect("the page is written");
    }
    let page = std::fs::read_to_string(&path).expect("the page of the manual");
    assert!(page == markdown(), "out of date: run KMIRROR_BLESS=1 cargo test mirror_maker_2_doc");
}

#[test]
fn no_bytes_make_it_panic() {
    let parts = [
        "a",
        "b",
        "->",
        ".",
        "enabled",
        "=",
        "true",
        "\n",
        "clusters=a,b\n",
        "topics",
        "source.",
        "consumer.",
        " ",
        "é",
    ];
    let mut state = 1_u64;
    let mut next = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or_default() % bound
    };
    for _ in 0..40 {
        let text: String = (0..next(20)).map(|_| parts[next(parts.len())]).collect();
        let mut properties = Properties::new();
        if properties.read(Place::FlatFile, "x", format!("clusters=a,b\na->b.enabled=true\n{text}").as_bytes()).is_ok()
        {
            drop(properties.mirrors());
        }
    }
}
