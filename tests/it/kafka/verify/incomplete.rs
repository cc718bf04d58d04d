//! What is not proved to be equal is not called identical: a target that is behind, empty, parked, emptied by retention or filled by
//! somebody else, a lost tombstone, and a broker from which nothing comes.
//!
//! Each of these once ended with "identical" and exit code 0.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use kmirror::config::Properties;
use kmirror::{FindingKind, Mirror, State, VerifyOptions, VerifyOutcome};

use super::*;
use crate::support::tampering::fetch_answers;
use crate::support::tiered::Tiered;
use crate::support::transactions::{End, Transactions};

/// The parts of a finding: kind, first and last offset, how many.
pub(super) type Expected<'a> = (&'a str, i64, i64, u64);

impl Verified {
    /// Demands that no difference was seen and that exactly this keeps it from being identical.
    pub(super) fn expect_incomplete(&self, records: usize, expected: &[Expected<'_>]) -> Outcome {
        let findings = self.document["result"]["findings"].as_array().cloned().unwrap_or_default();
        let number = |finding: &Value, name: &str| finding[name].as_i64().unwrap_or(-1);
        let found: Vec<_> = findings
            .iter()
            .map(|finding| {
                let kind = finding["kind"].as_str().unwrap_or_default();
                let [first, last] = ["offset", "last_offset"].map(|name| number(finding, name));
                (kind, first, last, number(finding, "count") as u64)
            })
            .collect();
        let is_right = self.code == 6
            && self.document["outcome"] == "incomplete"
            && self.document["result"]["identical"] == false
            && self.document["result"]["differences"].as_array().is_some_and(Vec::is_empty)
            && self.number("records_compared") == records as u64
            && expected.iter().all(|(kind, .., count)| self.count(kind) == *count);
        match is_right && found == expected {
            true => Ok(()),
            false => fail(format!("{expected:?} expected: {:#}\n{}", self.document, self.stderr)),
        }
    }
}

#[test]
fn an_empty_target_is_behind_and_not_identical() -> Outcome {
    let pair = shared()?;
    let topic = unique("nothing-there");
    write_both(pair, &topic, 1000, [&Writing::default(); 2], |records| records.truncate(0))?;
    let found = verify(pair, &topic, &["--wait", "0"])?;
    found.expect_incomplete(0, &[("not_yet_replicated", 0, 999, 1000)])?;
    let message = found.document["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("offsets 0 to 999: not yet replicated"), "{message}");
    assert_eq!(found.document["command"], "verify");
    verify(pair, &topic, &["--wait", "0", "--allow-expired"])?
        .expect_incomplete(0, &[("not_yet_replicated", 0, 999, 1000)])?;
    verify(pair, &topic, &["--wait", "0", "--allow-behind"])?.expect_identical(0, &["not_yet_replicated"])
}

#[test]
fn a_parked_partition_is_not_identical_and_a_mirror_that_runs_says_why() -> Outcome {
    let pair = shared()?;
    let topic = unique("parked");
    pair.source.create_topic(&topic, 1, &[])?;
    pair.target.create_topic(&topic, 1, &[("max.message.bytes", "10000")])?;
    let mut records: Vec<Record> = Generator::new(3).value_size(10..20).take(300).collect();
    records[100].value = Some((0..50_000u32).map(|byte| (byte.wrapping_mul(2_654_435_761) >> 13) as u8).collect());
    let small = Writing { batch_records: 1, ..Writing::codec("none") };
    produce(&pair.source.bootstrap(), &topic, 0, records, &small)?;

    let mut properties = Properties::new();
    properties.set("source.bootstrap.servers", pair.source.bootstrap());
    properties.set("target.bootstrap.servers", pair.target.bootstrap());
    properties.set("topics", &*topic).set("name", &*topic).set("sync.topic.configs", "false");
    let mirror = Mirror::start(properties.build()?.0)?;
    wait_for("the partition is parked", LIMIT, || {
        let status = mirror.status();
        Ok(status.topics.iter().flat_map(|it| &it.partitions).any(|it| it.state == State::Failed).then_some(()))
    })?;
    let mut options = VerifyOptions::default();
    (options.wait, options.allow_behind) = (Duration::ZERO, true);
    let report = mirror.verify(options)?;
    mirror.stop(Duration::from_secs(10))?;
    assert_eq!((report.outcome, report.identical), (VerifyOutcome::Incomplete, false), "{report:?}");
    assert_eq!((report.counts.parked, report.counts.not_yet_replicated), (200, 0), "{report:?}");
    assert_eq!((report.findings[0].kind, report.findings[0].offset), (FindingKind::Parked, 100));
    assert!(report.findings[0].reason.as_ref().is_some_and(|why| why.contains("offset 100")), "{report:?}");
    // Who asks only both clusters sees that it is behind.
    verify(pair, &topic, &["--wait", "0"])?.expect_incomplete(100, &[("not_yet_replicated", 100, 299, 200)])
}

#[test]
fn a_copy_that_retention_has_removed_is_not_identical() -> Outcome {
    let pair = shared()?;
    let topic = unique("emptied");
    pair.source.create_topic(&topic, 1, &[])?;
    produce(&pair.source.bootstrap(), &topic, 0, Generator::new(4).take(500), &Writing::default())?;
    Mirroring::pair(pair, &topic).catch_up()?;
    pair.target.client().delete_records(&topic, 0, -1)?;
    let emptied = [("expired_on_target", 0, 499, 500)];
    verify(pair, &topic, &[])?.expect_incomplete(0, &emptied)?;
    verify(pair, &topic, &["--allow-behind"])?.expect_incomplete(0, &emptied)?;
    verify(pair, &topic, &["--allow-expired"])?.expect_identical(0, &["expired_on_target"])
}

#[test]
fn records_of_others_before_the_sources_start_are_told_from_expired_ones() -> Outcome {
    let pair = shared()?;
    let (topic, mirrored) = (unique("foreign"), unique("mirrored"));
    for cluster in [&pair.source, &pair.target] {
        cluster.create_topic(&topic, 1, &[])?;
    }
    pair.source.create_topic(&mirrored, 1, &[])?;
    produce(&pair.target.bootstrap(), &topic, 0, Generator::new(9).take(10), &Writing::default())?;
    for topic in [&topic, &mirrored] {
        produce(&pair.source.bootstrap(), topic, 0, Generator::new(4).take(60), &Writing::default())?;
    }
    pair.source.client().delete_records(&topic, 0, 50)?;
    let (name, at_once) = (format!("name={mirrored}"), ["--wait", "0"]);
    let verify_as = |topic: &str, more: &[&str]| verify(pair, topic, &[&at_once[..], &["--set", &name], more].concat());
    // No mirror has run: nobody knows who wrote them.
    verify_as(&topic, &[])?
        .expect_incomplete(0, &[("expired_on_source", 0, 9, 10), ("not_yet_replicated", 50, 59, 10)])?;
    Mirroring::pair(pair, &mirrored).catch_up()?;
    let foreign = [("foreign", 0, 9, 10), ("not_yet_replicated", 50, 59, 10)];
    verify_as(&topic, &[])?.expect_incomplete(0, &foreign)?;
    verify_as(&topic, &["--allow-behind", "--allow-expired"])?.expect_incomplete(0, &foreign)?;
    // What the mirror itself wrote has expired at the source.
    pair.source.client().delete_records(&mirrored, 0, 50)?;
    verify_as(&mirrored, &[])?.expect_incomplete(10, &[("expired_on_source", 0, 49, 50)])?;
    verify_as(&mirrored, &["--allow-expired"])?.expect_identical(10, &["expired_on_source"])
}

#[test]
fn a_tombstone_that_the_target_lacks_while_it_has_the_value_is_a_difference() -> Outcome {
    let pair = shared()?;
    let topic = unique("tombstone");
    let record = |key: &str, value: Option<&str>| Record {
        key: Some(key.into()),
        value: value.map(Into::into),
        headers: Vec::new(),
        timestamp: 1_700_000_000_000,
    };
    let tombstone = [record("k0", None)];
    let before = [record("k0", Some("v0")), record("k1", Some("v1"))];
    let end = record("z", Some("v"));
    for cluster in [&pair.source, &pair.target] {
        cluster.create_topic(&topic, 1, &[("cleanup.policy", "compact"), ("min.compaction.lag.ms", "86400000")])?;
        produce(&cluster.bootstrap(), &topic, 0, before.clone(), &Writing::default())?;
    }
    let rest = [&tombstone[..], &[end.clone(), end.clone()]].concat();
    produce(&pair.source.bootstrap(), &topic, 0, rest, &Writing::default())?;
    // It was aborted there, and its marker has the place of a record that has a successor.
    let target = pair.target.bootstrap();
    Transactions::open(&target, &Writing::default())?.write(&topic, 0, tombstone, End::Abort)?;
    produce(&target, &topic, 0, [end], &Writing::default())?;
    let lost = verify(pair, &topic, &[])?;
    lost.expect_differences(&[("missing", 2, 2, &[])])?;
    assert_eq!(lost.count("compacted"), 1, "offset 3 has a successor: {:#}", lost.document);
    verify_from(&pair.target, &pair.source, &topic, &[])?.expect_differences(&[("extra", 2, 2, &[])])
}

#[test]
fn a_broker_that_gives_nothing_is_asked_again_and_never_believed() -> Outcome {
    let source = Cluster::start(Options::default().proxied())?;
    let target = &shared()?.target;
    let topic = unique("silent");
    for cluster in [&source, target] {
        cluster.create_topic(&topic, 1, &[])?;
        produce(&cluster.bootstrap(), &topic, 0, Generator::new(1).take(200), &Writing::default())?;
    }
    // As a broker answers whose remote storage is slow: no error, the true end, no records.
    let empty = Arc::new(AtomicU32::new(0));
    let most = |most: u32| {
        let empty = empty.clone();
        empty.store(0, Ordering::Relaxed);
        source.proxy(1).edit(Some(fetch_answers(move |_, _, records| {
            let is_one = empty.fetch_add(1, Ordering::Relaxed) < most;
            if is_one {
                records.clear();
            }
            is_one
        })));
    };
    most(5);
    verify_from(&source, target, &topic, &[])?.expect_identical(200, &[])?;
    assert!(empty.load(Ordering::Relaxed) > 5, "it was asked again");
    most(u32::MAX);
    let short = ["--set", "source.request.timeout.ms=2000"];
    for (from, to, side) in [(&source, target, "source"), (target, &source, "target")] {
        let short = [short[0], &short[1].replace("source", side)];
        let found = verify_from(from, to, &topic, &short)?;
        found.expect_incomplete(0, &[])?;
        let unread = &found.document["result"]["unread"][0];
        assert_eq!((&unread["partition"], &unread["offset"]), (&0.into(), &0.into()), "{unread}");
        let message = unread["error"].as_str().unwrap_or_default();
        assert!(
            message.contains(&format!("from the {side}")) && message.contains("no record came for offset 0"),
            "{message}"
        );
    }
    Ok(())
}

#[test]
fn more_keys_than_are_remembered_are_decided_about_in_more_passes() -> Outcome {
    let pair = shared()?;
    let topic = unique("many-keys");
    let record = |number: i64, value: &str| Record {
        key: Some(format!("key {}", number % 40).into_bytes()),
        value: Some(value.into()),
        headers: Vec::new(),
        timestamp: 1_700_000_000_000 + number,
    };
    let none = Writing { batch_records: 10, ..Writing::codec("none") };
    for cluster in [&pair.source, &pair.target] {
        cluster.create_topic(&topic, 1, &[("cleanup.policy", "compact"), ("min.compaction.lag.ms", "86400000")])?;
    }
    let (source, target) = (pair.source.bootstrap(), pair.target.bootstrap());
    produce(&source, &topic, 0, (0..120).map(|number| record(number, "v")), &none)?;
    // Instead of the first forty records, and of one that is the last of its key, there is a transaction that was aborted.
    let aborted = |count: i64| -> Outcome {
        let records = (0..count).map(|number| record(number, "aborted"));
        Transactions::open(&target, &none)?.write(&topic, 0, records, End::Abort).map(drop)
    };
    aborted(39)?;
    produce(&target, &topic, 0, (40..100).map(|number| record(number, "v")), &none)?;
    aborted(1)?;
    produce(&target, &topic, 0, (102..120).map(|number| record(number, "v")), &none)?;
    for keys in ["1000000", "8"] {
        let found = verify(pair, &topic, &["--max-keys", keys])?;
        found.expect_differences(&[("missing", 100, 100, &[]), ("missing", 101, 101, &[])])?;
        assert_eq!((found.count("compacted"), found.count("perhaps_compacted")), (40, 0), "{:#}", found.document);
    }
    Ok(())
}

#[test]
fn a_second_copy_by_somebody_else_is_found_where_offsets_are_translated() -> Outcome {
    let pair = shared()?;
    let topic = unique("twice");
    let records = |seed: u64, count: usize| Generator::new(seed).take(count);
    pair.source.create_topic(&topic, 1, &[])?;
    pair.target.create_topic(&topic, 1, &[])?;
    produce(&pair.source.bootstrap(), &topic, 0, records(5, 300), &Writing::codec("lz4"))?;
    let target = pair.target.bootstrap();
    produce(&target, &topic, 0, records(6, 50), &Writing::default())?;
    let mirroring = Mirroring::pair(pair, &topic).set("offsets=translate");
    mirroring.catch_up()?;
    let (code, document) = mirroring.document("verify", &[])?;
    assert_eq!((code, &document["outcome"]), (0, &"identical".into()), "others may write there: {document:#}");
    produce(&target, &topic, 0, records(5, 200), &Writing::codec("zstd"))?;
    for keys in ["1000000", "30"] {
        let (code, document) = mirroring.document("verify", &["--max-keys", keys])?;
        assert_eq!((code, &document["outcome"]), (6, &"different".into()), "{document:#}");
        let found = &document["result"];
        assert_eq!(
            (&found["counts"]["repeated"], &found["records_compared"]),
            (&200.into(), &300.into()),
            "{document:#}"
        );
        let difference = &found["differences"][0];
        let place = ["kind", "offset", "last_offset"].map(|name| difference[name].clone());
        assert_eq!(place, [Value::from("repeated"), Value::from(0), Value::from(199)], "{document:#}");
    }
    Ok(())
}

#[test]
fn a_remote_store_that_is_too_slow_is_named_and_its_records_are_not_believed_to_be_gone() -> Outcome {
    const RECORDS: usize = 3_000;
    let (tiered, target) = (Tiered::shared()?, &shared()?.target);
    let topic = unique("remote");
    tiered.create_topic(&topic, 1)?;
    tiered.fill(&topic, 1, RECORDS)?;
    Mirroring::of(&tiered.cluster, target, &topic, &topic).catch_up()?;
    verify_from(&tiered.cluster, target, &topic, &[])?.expect_identical(RECORDS, &[])?;
    // More than the broker waits for it.
    tiered.slow(&topic, Duration::from_millis(1_200))?;
    let found = verify_from(&tiered.cluster, target, &topic, &["--set", "source.request.timeout.ms=3000"])?;
    tiered.slow(&topic, Duration::ZERO)?;
    found.expect_incomplete(0, &[])?;
    let unread = &found.document["result"]["unread"][0];
    assert_eq!((&unread["partition"], &unread["offset"]), (&0.into(), &0.into()), "{unread}");
    let message = unread["error"].as_str().unwrap_or_default();
    assert!(message.contains("tiered storage") && message.contains("remote.fetch.max.wait.ms"), "{message}");
    let (_, report) = Mirroring::of(&tiered.cluster, target, &topic, &topic).document("check", &[])?;
    let lines = report["lines"].as_array().into_iter().flatten();
    let remote = lines.filter(|line| line["message"].as_str().is_some_and(|it| it.contains("remote store")));
    assert_eq!(remote.map(|line| line["outcome"].clone()).collect::<Vec<_>>(), [Value::from("warning")], "{report:#}");
    Ok(())
}
