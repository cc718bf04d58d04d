//! What "everything the source had" means: also what stands behind an open transaction, and also in topics whose names look like
//! those of a mirroring tool.

use serde_json::{Value, json};

use super::{LIMIT, ends, expect_refused, promoted, wait_until_it_says, write};
use crate::support::cluster::{Pair, shared, unique};
use crate::support::mirroring::Mirroring;
use crate::support::records::{Generator, Load, Writing};
use crate::support::transactions::{End, Transactions};
use crate::support::{Outcome, ledger};

/// Of 30 records and an open transaction of 5, behind which another producer has got 20 acknowledged.
fn open_transaction(pair: &Pair, topic: &str) -> Outcome<Transactions> {
    pair.source.create_topic(topic, 2, &[])?;
    write(&pair.source, topic, 0, 30)?;
    let open = Transactions::open(&pair.source.bootstrap(), &Writing::codec("none"))?;
    open.begin()?;
    open.send(topic, 0, Generator::new(4).take(5))?;
    write(&pair.source, topic, 0, 20)?;
    Ok(open)
}

/// What is said of that transaction, wherever it is in the way.
fn named(topic: &str) -> [String; 3] {
    [
        format!("topic '{topic}' partition 0: a transaction of transactional id 'transactions-"),
        "is open at the source since offset 30".to_owned(),
        format!("abort --topic {topic} --partition 0 --start-offset 30'"),
    ]
}

#[test]
fn an_open_transaction_is_not_everything() -> Outcome {
    let pair = shared()?;
    let topic = unique("open");
    let open = open_transaction(pair, &topic)?;
    let mirroring = Mirroring::pair(pair, &topic);
    // Caught up as far as anybody can read, and told that this is not the end.
    let caught_up = mirroring.catch_up()?.stderr();
    assert_eq!(ends(&pair.target, &topic)?, [30, 0]);
    for words in named(&topic) {
        assert!(caught_up.contains(&words), "'{words}' is missing: {caught_up}");
    }

    // Nobody writes to what can be read; behind the transaction somebody does.
    let load = Load::start(&pair.source.bootstrap(), &topic, 1, 20, 1, &Writing::default())?;
    let (code, document) = mirroring.document("promote", &["--timeout", "3"])?;
    assert_eq!((code, &document["outcome"]), (7, &"timed_out".into()), "{document}");
    let error = &document["error"];
    let place = (&error["topic"], &error["partition"], &error["source_offset"]);
    assert_eq!(place, (&topic.as_str().into(), &0.into(), &30.into()), "{document}");
    let message = error["message"].as_str().unwrap_or_default();
    for words in named(&topic) {
        assert!(message.contains(&words), "'{words}' is missing: {message}");
    }
    load.stop()?;
    assert_eq!(mirroring.plan()?["promoted_at_ms"], Value::Null, "nothing was marked");

    let end = ends(&pair.source, &topic)?[0];
    let (code, document) = mirroring.document("promote", &["--timeout", "2", "--force"])?;
    let report = &document["report"];
    assert_eq!((code, &report["drained"]), (0, &false.into()), "{document}");
    let missing = json!(end - 30);
    assert_eq!((&report["records_not_copied"], &report["partitions_behind"]), (&missing, &1.into()), "{document}");
    assert_eq!(report["topics"][0]["records_not_copied"], missing, "{document}");
    assert_eq!(report["topics"][0]["partitions"][0]["source_offset_next"], end, "{document}");

    assert_eq!(mirroring.document("promote", &["--undo"])?.0, 0);
    open.end(End::Commit)?;
    promoted(&mirroring, &["--timeout", "60"])?;
    ledger::expect_identical(&pair.source.bootstrap(), &pair.target.bootstrap(), &topic, end as usize)?;
    expect_refused(pair, &mirroring, &topic)
}

/// Such a mirror copies the records of open transactions like all others.
#[test]
fn a_mirror_of_what_is_not_committed_waits_for_no_transaction() -> Outcome {
    let pair = shared()?;
    let topic = unique("uncommitted");
    let open = open_transaction(pair, &topic)?;
    let mirroring = Mirroring::pair(pair, &topic).set("isolation.level=read_uncommitted");
    mirroring.catch_up()?;
    let report = promoted(&mirroring, &["--timeout", "60"])?;
    assert_eq!((&report["drained"], &report["records_not_copied"]), (&true.into(), &0.into()), "{report}");
    assert_eq!(ends(&pair.target, &topic)?, [55, 0]);
    open.end(End::Abort)
}

#[test]
fn what_comes_while_the_mirror_is_marked_is_reported() -> Outcome {
    let pair = shared()?;
    let topic = unique("late");
    pair.source.create_topic(&topic, 1, &[])?;
    write(&pair.source, &topic, 0, 10)?;
    let mirroring = Mirroring::pair(pair, &topic).set("refresh.interval.ms=2000");
    mirroring.catch_up()?;
    let mut promoting = mirroring.command("promote", &["--json", "--timeout", "60"])?;
    wait_until_it_says(&mut promoting, "is marked as promoted")?;
    write(&pair.source, &topic, 0, 3)?;
    assert_eq!(promoting.wait(LIMIT)?.code(), Some(0), "{}", promoting.stderr());
    let report = serde_json::from_str::<Value>(&promoting.stdout())?["report"].clone();
    assert_eq!((&report["drained"], &report["records_not_copied"]), (&false.into(), &3.into()), "{report}");
    let why = report["not_drained_because"].as_str().unwrap_or_default();
    assert!(why.contains("while the mirror was being marked") && why.contains("at offset 10"), "{report}");
    Ok(())
}

/// Names that MirrorMaker 2 would use are somebody's topics where nobody has asked for MirrorMaker 2's.
#[test]
fn topics_that_are_called_like_those_of_a_tool_are_data() -> Outcome {
    let pair = shared()?;
    let name = unique("iot");
    let topics = ["heartbeats", "team.internal", "a.checkpoints.internal"].map(|end| format!("{name}.{end}"));
    for topic in &topics {
        pair.source.create_topic(topic, 1, &[])?;
        write(&pair.source, topic, 0, 5)?;
    }
    let mirroring = Mirroring::of(&pair.source, &pair.target, &name, &topics.join(",")).set("refresh.interval.ms=1000");
    mirroring.catch_up()?;
    for topic in &topics {
        write(&pair.source, topic, 0, 700)?;
    }
    // A byte in a second: none of it is copied.
    let slow = mirroring.clone().set("throttle.bytes.per.second=1");
    let (code, document) = slow.document("promote", &["--timeout", "2", "--force"])?;
    assert_eq!(code, 0, "{document}");
    let report = &document["report"];
    let reported: Vec<_> = report["topics"].as_array().into_iter().flatten().map(|topic| &topic["topic"]).collect();
    let mut sorted = topics.clone();
    sorted.sort();
    assert_eq!(reported, sorted.iter().collect::<Vec<_>>(), "{document}");
    let missing: i64 = topics.iter().map(|topic| Ok(705 - ends(&pair.target, topic)?[0])).sum::<Outcome<i64>>()?;
    assert!(missing > 0, "the test has come to nothing");
    assert_eq!((&report["drained"], &report["records_not_copied"]), (&false.into(), &missing.into()), "{document}");
    // Whoever has switched over writes on.
    write(&pair.target, &topics[0], 0, 2)?;
    let (code, document) = mirroring.document("promote", &["--undo"])?;
    assert_eq!((code, &document["error"]["topic"]), (5, &topics[0].as_str().into()), "{document}");
    Ok(())
}
