//! Configurations of topics on real brokers: they follow the source's while the mirror runs, and nothing else is touched.
//!
//! What a topic has is read back by librdkafka; permissions are those of Kafka's own authorizer.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::mirror::{configs_of, wait_copied};
use super::permissions::{acl, create, grant};
use crate::support::cluster::{Cluster, Options, Pair, shared, unique};
use crate::support::late::advance;
use crate::support::ledger::{Isolation, Ledger, Stamps};
use crate::support::mirroring::Mirroring;
use crate::support::process::Kmirror;
use crate::support::records::{Generator, Writing, produce};
use crate::support::{Failure, Outcome, wait_for};

/// A hang limit, not a measure.
const LIMIT: Duration = Duration::from_secs(90);
const TOPIC: i8 = 2;
const CLUSTER: (i8, &str) = (4, "kafka-cluster");
const LITERAL: i8 = 3;
const ALL: i8 = 2;
const DENY: i8 = 2;
const ALLOW: i8 = 3;
const READ: i8 = 3;
const WRITE: i8 = 4;
const CREATE: i8 = 5;
const DESCRIBE_CONFIGS: i8 = 10;
const ALTER_CONFIGS: i8 = 11;

fn write(cluster: &Cluster, topic: &str, count: usize) -> Outcome {
    produce(&cluster.bootstrap(), topic, 0, Generator::new(3).take(count), &Writing::default()).map(drop)
}

fn configs(rows: &[(&str, &str)]) -> BTreeMap<String, String> {
    rows.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Waits until exactly this is set on the topic of the target.
fn wait_configured(pair: &Pair, topic: &str, rows: &[(&str, &str)], mirror: &Kmirror) -> Outcome {
    let expected = configs(rows);
    let waited = wait_for(&format!("{topic} has {expected:?}"), LIMIT, || {
        Ok((configs_of(&pair.target, topic)? == expected).then_some(()))
    });
    let found = configs_of(&pair.target, topic)?;
    waited.map_err(|error| Failure(format!("{error}; it has {found:?}\n{}", mirror.stderr())))
}

/// The changes that a plan has for a topic, as `(key, from, to)`.
fn planned(plan: &Value, topic: &str) -> Vec<(String, Option<String>, Option<String>)> {
    let plans = plan["configs"].as_array().into_iter().flatten().filter(|plan| plan["topic"] == topic);
    let changes = plans.flat_map(|plan| plan["changes"].as_array().into_iter().flatten());
    let text = |value: &Value| value.as_str().map(str::to_owned);
    changes
        .map(|change| (text(&change["key"]).unwrap_or_default(), text(&change["from"]), text(&change["to"])))
        .collect()
}

/// The permissions that a plan misses, as `side operation resource`.
fn missing(plan: &Value) -> Vec<String> {
    let missing = plan["missing_permissions"].as_array().into_iter().flatten();
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    missing.map(|one| [&one["side"], &one["operation"], &one["resource"]].map(word).join(" ")).collect()
}

/// As people write values: brokers give back what they have made of them.
#[test]
fn settings_that_are_written_another_way_are_not_altered_again_and_again() -> Outcome {
    let pair = shared()?;
    let topic = unique("written");
    pair.source.create_topic(&topic, 1, &[("retention.ms", "00604800000"), ("flush.ms", "+7000")])?;
    write(&pair.source, &topic, 30)?;
    let overrides = "topic.configs.override=min.cleanable.dirty.ratio=0.50,preallocate=FALSE,segment.ms=0086400000";
    let mut mirror = Mirroring::pair(pair, &topic).set(overrides).start()?;
    let expected = [
        ("flush.ms", "7000"),
        ("min.cleanable.dirty.ratio", "0.5"),
        ("preallocate", "false"),
        ("retention.ms", "604800000"),
        ("segment.ms", "86400000"),
    ];
    wait_configured(pair, &topic, &expected, &mirror)?;
    wait_copied(pair, &topic)?;
    // Several looks, of two a second.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(mirror.stderr().matches("configuration follows").count(), 0, "{}", mirror.stderr());
    mirror.kill9()
}

#[test]
fn what_is_set_altered_or_removed_on_the_source_follows_on_the_target() -> Outcome {
    let pair = shared()?;
    let name = unique("follow");
    let (topic, new) = (format!("{name}.there"), format!("{name}.new"));
    pair.source.create_topic(&topic, 2, &[("retention.bytes", "1000000000"), ("delete.retention.ms", "1000")])?;
    // The copy was made by somebody else, with other ideas.
    let others = [("retention.bytes", "5000"), ("segment.ms", "777777"), ("delete.retention.ms", "2000")];
    pair.target.create_topic(&topic, 2, &others)?;
    pair.source.create_topic(&new, 1, &[("flush.ms", "5000"), ("message.timestamp.before.max.ms", "900000000000")])?;
    write(&pair.source, &topic, 30)?;
    write(&pair.source, &new, 30)?;
    let mirroring = Mirroring::of(&pair.source, &pair.target, &name, &format!("{name}\\..*"))
        .set(r"topic.configs.exclude=delete\.retention\.ms")
        .set("topic.configs.override=max.compaction.lag.ms=123456");

    let there = || -> Outcome<_> {
        // Other tests create topics at the same time.
        let topics: Vec<String> =
            pair.target.client().topics()?.into_iter().filter(|one| one.contains(&name)).collect();
        Ok((configs_of(&pair.target, &topic)?, topics))
    };
    let before = there()?;
    let plan = mirroring.plan()?;
    let change = |key: &str, from: Option<&str>, to: Option<&str>| {
        (key.to_owned(), from.map(str::to_owned), to.map(str::to_owned))
    };
    let lag = change("max.compaction.lag.ms", None, Some("123456"));
    let to_there = [
        lag.clone(),
        change("retention.bytes", Some("5000"), Some("1000000000")),
        change("segment.ms", Some("777777"), None),
    ];
    assert_eq!(planned(&plan, &topic), to_there, "{plan:#}");
    assert_eq!(planned(&plan, &new), [change("flush.ms", None, Some("5000")), lag], "{plan:#}");
    assert_eq!(missing(&plan), [""; 0], "a cluster without an authorizer permits everything");
    assert_eq!(there()?, before, "a plan writes nothing");

    let mut mirror = mirroring.start()?;
    let own = [("delete.retention.ms", "2000"), ("max.compaction.lag.ms", "123456")];
    let with = |more: &[(&'static str, &'static str)]| [&own[..], more].concat();
    wait_configured(pair, &topic, &with(&[("retention.bytes", "1000000000")]), &mirror)?;
    wait_configured(pair, &new, &[("flush.ms", "5000"), ("max.compaction.lag.ms", "123456")], &mirror)?;
    let client = pair.source.client();
    client.alter_topic(&topic, &[("retention.bytes", "2000000000"), ("cleanup.policy", "compact,delete")])?;
    let altered = [("retention.bytes", "2000000000"), ("cleanup.policy", "compact,delete")];
    wait_configured(pair, &topic, &with(&altered), &mirror)?;
    client
        .change_topic(&topic, &[("retention.bytes", None), ("cleanup.policy", None), ("segment.ms", Some("888888"))])?;
    wait_configured(pair, &topic, &with(&[("segment.ms", "888888")]), &mirror)?;
    // What somebody changes on the target is put right, too.
    pair.target.client().change_topic(&topic, &[("segment.ms", None), ("flush.ms", Some("99"))])?;
    wait_configured(pair, &topic, &with(&[("segment.ms", "888888")]), &mirror)?;
    mirror.kill9()?;

    // Once more without: nothing is followed, and nothing is changed.
    client.alter_topic(&topic, &[("segment.ms", "999999")])?;
    let off = mirroring.set("sync.topic.configs=false");
    off.catch_up()?;
    assert_eq!(configs_of(&pair.target, &topic)?, configs(&with(&[("segment.ms", "888888")])));
    assert_eq!(planned(&off.plan()?, &topic), []);
    Ok(())
}

#[test]
fn a_topic_of_somebody_else_keeps_its_configuration() -> Outcome {
    let pair = shared()?;
    let name = unique("theirs");
    let (ours, theirs) = (format!("{name}.ours"), format!("{name}.theirs"));
    for topic in [&ours, &theirs] {
        pair.source.create_topic(topic, 2, &[("retention.ms", "900000000000")])?;
        pair.target.create_topic(topic, 2, &[("segment.ms", "777777")])?;
        write(&pair.source, topic, 30)?;
    }
    write(&pair.target, &theirs, 5)?;
    let mirroring = Mirroring::of(&pair.source, &pair.target, &name, &format!("{name}\\..*"));
    let plan = mirroring.plan()?;
    let refused = plan["topics"].as_array().into_iter().flatten().find(|topic| topic["topic"] == theirs.as_str());
    let reason = refused.map(|topic| topic["refused_partitions"]["0"].to_string()).unwrap_or_default();
    assert!(reason.contains("another writer"), "{plan:#}");
    assert_eq!(planned(&plan, &theirs), []);

    let mut mirror = mirroring.start()?;
    wait_configured(pair, &ours, &[("retention.ms", "900000000000")], &mirror)?;
    wait_for("it is named", LIMIT, || Ok(mirror.stderr().contains("another writer").then_some(())))?;
    // Some looks later.
    pair.source.client().alter_topic(&ours, &[("retention.ms", "800000000000")])?;
    wait_configured(pair, &ours, &[("retention.ms", "800000000000")], &mirror)?;
    assert_eq!(configs_of(&pair.target, &theirs)?, configs(&[("segment.ms", "777777")]));
    mirror.kill9()
}

#[test]
fn looks_at_configurations_never_disturb_a_fill() -> Outcome {
    const PARTITIONS: i32 = 4;
    let pair = shared()?;
    let topic = unique("filling");
    pair.source.create_topic(&topic, PARTITIONS, &[("cleanup.policy", "delete")])?;
    let starts: Vec<i64> = (0..PARTITIONS).map(|partition| i64::from(partition) * 1_500_000 + 1).collect();
    for (partition, start) in (0..).zip(&starts) {
        advance(&pair.source, &topic, partition, *start)?;
    }
    // Every look would have something to change, while the fill needs the topic to be otherwise.
    let source = [("cleanup.policy", "compact"), ("retention.ms", "1000"), ("retention.bytes", "1")];
    pair.source.client().alter_topic(&topic, &source)?;
    pair.target.create_topic(&topic, PARTITIONS, &[("cleanup.policy", "compact"), ("retention.ms", "5")])?;
    let mut mirror = Mirroring::pair(pair, &topic).set("refresh.interval.ms=100").start()?;
    wait_copied(pair, &topic).map_err(|error| Failure(format!("{error}\n{}", mirror.stderr())))?;
    wait_configured(pair, &topic, &source, &mirror)?;
    assert_eq!(pair.source.client().bounds(&topic)?, pair.target.client().bounds(&topic)?);
    assert!(!mirror.stderr().contains("partition parked"), "{}", mirror.stderr());
    mirror.kill9()
}

/// A pair whose clusters have an authorizer that permits what nothing is said of.
fn guarded() -> Outcome<Pair> {
    let options = || {
        Options::default()
            .property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
            .property("allow.everyone.if.no.acl.found", "true")
    };
    Pair::start(options(), options())
}

/// Takes operations on a topic from everybody; all others stay permitted.
fn deny(cluster: &Cluster, topic: &str, operations: &[i8]) -> Outcome {
    let one = |operation, permission| acl((TOPIC, topic), LITERAL, "*", operation, permission);
    let denials = operations.iter().map(|operation| one(*operation, DENY));
    create(cluster, std::iter::once(one(ALL, ALLOW)).chain(denials).collect())
}

#[test]
fn a_missing_permission_is_planned_for_and_holds_up_one_topic_only() -> Outcome {
    let pair = guarded()?;
    let [free, fixed, unread, uncreated] = ["free", "fixed", "unread", "uncreated"];
    for topic in [free, fixed, unread, uncreated] {
        pair.source.create_topic(topic, 1, &[("retention.ms", "900000000000")])?;
        write(&pair.source, topic, 30)?;
    }
    for topic in [free, fixed] {
        pair.target.create_topic(topic, 1, &[])?;
    }
    deny(&pair.source, unread, &[READ, DESCRIBE_CONFIGS])?;
    deny(&pair.target, fixed, &[ALTER_CONFIGS])?;
    // Whoever may create topics in the cluster needs no permission for each.
    create(&pair.target, vec![acl(CLUSTER, LITERAL, "*", ALL, ALLOW), acl(CLUSTER, LITERAL, "*", CREATE, DENY)])?;
    deny(&pair.target, uncreated, &[CREATE])?;
    let mirroring = Mirroring::of(&pair.source, &pair.target, "permissions", ".*").set("topics.exclude=warm");
    let plan = mirroring.plan()?;
    let expected =
        ["source DescribeConfigs unread", "source Read unread", "target AlterConfigs fixed", "target Create uncreated"];
    assert_eq!(missing(&plan), expected, "{plan:#}");
    let trouble = plan["configs"].as_array().into_iter().flatten().find(|plan| plan["topic"] == fixed);
    assert!(trouble.is_some_and(|plan| plan["trouble"].to_string().contains("AlterConfigs")), "{plan:#}");
    assert!(!pair.target.client().topics()?.iter().any(|topic| topic.starts_with("kmirror.")), "a plan writes nothing");
    deny(&pair.target, free, &[WRITE])?;
    assert!(missing(&mirroring.plan()?).contains(&format!("target Write {free}")));
    grant(&pair.target, (TOPIC, free), WRITE)?;

    let mut mirror = mirroring.start()?;
    let set = [("retention.ms", "900000000000")];
    wait_configured(&pair, free, &set, &mirror)?;
    wait_copied(&pair, fixed)?;
    wait_for("it is named", LIMIT, || {
        let named = "operation AlterConfigs on topic 'fixed' of the target has to be allowed";
        Ok(mirror.stderr().contains(named).then_some(()))
    })?;
    assert_eq!(configs_of(&pair.target, fixed)?, configs(&[]));
    pair.source.client().alter_topic(free, &[("retention.ms", "800000000000")])?;
    wait_configured(&pair, free, &[("retention.ms", "800000000000")], &mirror)?;

    grant(&pair.target, (TOPIC, fixed), ALTER_CONFIGS)?;
    wait_configured(&pair, fixed, &set, &mirror)?;
    grant(&pair.target, (TOPIC, uncreated), CREATE)?;
    wait_copied(&pair, uncreated)?;
    grant(&pair.source, (TOPIC, unread), READ)?;
    grant(&pair.source, (TOPIC, unread), DESCRIBE_CONFIGS)?;
    wait_copied(&pair, unread)?;
    wait_configured(&pair, unread, &set, &mirror)?;
    mirror.kill9()
}

#[test]
fn a_value_that_the_target_refuses_is_the_trouble_of_its_topic() -> Outcome {
    let pair = shared()?;
    let name = unique("invalid");
    pair.source.create_topic(&name, 1, &[])?;
    pair.target.create_topic(&name, 1, &[])?;
    write(&pair.source, &name, 30)?;
    let mirroring = Mirroring::pair(pair, &name).set("topic.configs.override=retention.ms=soon");
    let report = mirroring.report()?;
    let trouble = &report["status"]["troubles"][0];
    assert_eq!((&trouble["subject"], &trouble["name"]), (&Value::from("topic_config"), &Value::from(name.as_str())));
    assert!(trouble["message"].to_string().contains("retention.ms"), "{trouble}");
    assert_eq!(pair.target.client().bounds(&name)?[&0].end, 30, "records are copied all the same");
    let plan = mirroring.plan()?;
    assert!(plan["configs"][0]["trouble"].to_string().contains("retention.ms"), "{plan:#}");
    Ok(())
}

#[test]
fn a_target_that_would_stamp_records_anew_is_refused_and_a_copy_is_made_that_does_not() -> Outcome {
    let target = Options::default().property("log.message.timestamp.type", "LogAppendTime");
    let pair = Pair::start(Options::default(), target)?;
    for topic in ["made", "stamped"] {
        let configs: &[(&str, &str)] =
            if topic == "made" { &[] } else { &[("message.timestamp.type", "LogAppendTime")] };
        pair.source.create_topic(topic, 1, configs)?;
        write(&pair.source, topic, 40)?;
    }
    let mirroring = Mirroring::of(&pair.source, &pair.target, "stamps", "made,stamped");
    let plan = mirroring.plan()?;
    let own = ("message.timestamp.type".to_owned(), None, Some("CreateTime".to_owned()));
    for topic in ["made", "stamped"] {
        assert_eq!(planned(&plan, topic), std::slice::from_ref(&own), "{plan:#}");
    }
    mirroring.catch_up()?;
    for topic in ["made", "stamped"] {
        assert_eq!(configs_of(&pair.target, topic)?, configs(&[("message.timestamp.type", "CreateTime")]));
        let [source, target] = [&pair.source, &pair.target].map(|cluster| {
            Ledger::read_as(&cluster.bootstrap(), topic, Isolation::ReadCommitted, Stamps::Value)
                .map(|read| read.partitions)
        });
        let (source, target) = (source?, target?);
        assert!(
            source[&0].records.len() == 40 && source[&0].records == target[&0].records,
            "{topic}: {source:?} {target:?}"
        );
    }
    // The next run finds nothing to complain of, and a topic that somebody has made there is refused before the first record.
    mirroring.catch_up()?;
    pair.source.create_topic("there", 1, &[])?;
    write(&pair.source, "there", 40)?;
    pair.target.create_topic("there", 1, &[])?;
    let mirroring = Mirroring::of(&pair.source, &pair.target, "stamps", "there");
    let sentence = "message.timestamp.type=LogAppendTime";
    let plan = mirroring.plan()?;
    assert!(plan["topics"][0]["reason"].to_string().contains(sentence), "{plan:#}");
    let (code, check) = mirroring.document("check", &[])?;
    assert!(code != 0 && check.to_string().contains(sentence), "{code} {check:#}");
    let (mirror, code) = mirroring.finish()?;
    assert!(code == 5 && mirror.stderr().contains(sentence), "{code} {}", mirror.stderr());
    assert_eq!(pair.target.client().bounds("there")?[&0].end, 0);
    // One that is altered while the mirror runs takes one batch, and says so.
    pair.target.client().change_topic("there", &[("message.timestamp.type", Some("CreateTime"))])?;
    let mut mirror = mirroring.start()?;
    wait_copied(&pair, "there")?;
    pair.target.client().change_topic("there", &[("message.timestamp.type", Some("LogAppendTime"))])?;
    write(&pair.source, "there", 10)?;
    wait_for("it is told", LIMIT, || {
        let said = mirror.stderr();
        Ok(said.lines().any(|line| line.contains("partition parked") && line.contains(sentence)).then_some(()))
    })
    .map_err(|error| Failure(format!("{error}\n{}", mirror.stderr())))?;
    assert!(!mirror.stderr().contains("diverged"), "{}", mirror.stderr());
    mirror.kill9()?;
    // That batch is a copy but for its time, so nothing keeps the mirror from going on when the topic is right again.
    pair.target.client().change_topic("there", &[("message.timestamp.type", Some("CreateTime"))])?;
    let stamped = pair.target.client().bounds("there")?[&0].end;
    assert!(stamped > 40, "one batch is there");
    let again = mirroring.catch_up()?;
    let last = format!("to {} are the source's", stamped - 1);
    let words = ["topic=\"there\"", &last, "delete the topic on the target to copy it anew"];
    let said = again.stderr();
    assert!(said.lines().any(|line| words.iter().all(|word| line.contains(word))), "{said}");
    assert_eq!(pair.target.client().bounds("there")?[&0].end, 50, "{said}");
    write(&pair.source, "there", 10)?;
    let last = mirroring.catch_up()?;
    assert_eq!(pair.target.client().bounds("there")?[&0].end, 60, "{}", last.stderr());
    let third = mirroring.catch_up()?;
    assert!(
        !third.stderr().contains("copy it anew"),
        "what is behind that is as it is at the source: {}",
        third.stderr()
    );
    Ok(())
}

#[test]
fn a_target_whose_brokers_keep_records_shorter_keeps_those_of_copies_and_is_told_of_for_others() -> Outcome {
    let target = Options::default()
        .property("log.retention.ms", "86400000")
        .property("log.retention.check.interval.ms", "500")
        .property("message.max.bytes", "500000");
    let pair = Pair::start(Options::default().property("log.retention.ms", "604800000"), target)?;
    for topic in ["made", "there"] {
        pair.source.create_topic(topic, 1, &[])?;
        let three_days = std::time::SystemTime::now() - Duration::from_secs(3 * 86_400);
        let time = three_days.duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_millis() as i64);
        let records =
            Generator::new(3).take(100).map(|record| crate::support::records::Record { timestamp: time, ..record });
        produce(&pair.source.bootstrap(), topic, 0, records, &Writing::default())?;
    }
    pair.target.create_topic("there", 1, &[])?;
    let mirroring = Mirroring::of(&pair.source, &pair.target, "keeps", "made,there");
    let plan = mirroring.plan()?;
    let set = |key: &str, value: &str| (key.to_owned(), None, Some(value.to_owned()));
    let expected = [set("max.message.bytes", "1048588"), set("retention.ms", "604800000")];
    assert_eq!(planned(&plan, "made"), expected, "{plan:#}");
    let warned = "retention.ms is 86400000 on the target and 604800000 at the source";
    let there = plan["configs"].as_array().into_iter().flatten().find(|plan| plan["topic"] == "there").cloned();
    assert!(there.unwrap_or_default()["warnings"].to_string().contains(warned), "{plan:#}");
    let (_, check) = mirroring.document("check", &[])?;
    assert!(check.to_string().contains(warned), "{check:#}");
    let keeps = mirroring.clone().set("topic.configs.target.defaults=true").plan()?;
    assert_eq!(planned(&keeps, "made"), [], "{keeps:#}");

    let mut mirror = mirroring.start()?;
    let made = [("max.message.bytes", "1048588"), ("retention.ms", "604800000")];
    wait_configured(&pair, "made", &made, &mirror)?;
    wait_copied(&pair, "made")?;
    wait_for("it is told", LIMIT, || Ok(mirror.stderr().contains(warned).then_some(())))
        .map_err(|error| Failure(format!("{error}\n{}", mirror.stderr())))?;
    // The other one has lost its records by now, so the cleaner has been there.
    wait_for("the cleaner has been there", LIMIT, || {
        let bounds = pair.target.client().bounds("there")?[&0];
        Ok((bounds.end == 100 && bounds.start == 100).then_some(()))
    })
    .map_err(|error| Failure(format!("{error}\n{}", mirror.stderr())))?;
    let made = pair.target.client().bounds("made")?[&0];
    assert_eq!((made.start, made.end), (0, 100), "{}", mirror.stderr());
    mirror.kill9()
}
