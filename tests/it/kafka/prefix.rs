//! Partitions that start late, against real brokers: the target begins at the same offset, and holds nothing before it.
//!
//! Both log starts are compared, and every record by the ledger. The short form of the kill rounds runs in every test run,
//! the hundred rounds in `make nightly`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::mirror::configs_of;
use crate::support::cluster::{Cluster, Options, Pair, Version, shared, unique};
use crate::support::late::{advance, alter_topic, forbid_deletion, permit_deletion};
use crate::support::mirroring::Mirroring;
use crate::support::records::{Generator, Record, Writing, produce};
use crate::support::{Outcome, fail, ledger, wait_for};

const LIMIT: Duration = Duration::from_secs(120);
const PROMISED_ROUNDS: usize = 100;

/// Records with keys, as compacted topics want them.
fn records(count: usize) -> impl Iterator<Item = Record> {
    Generator::new(11).enumerate().take(count).map(|(number, mut record)| {
        record.key = Some(format!("key-{number}").into_bytes());
        record
    })
}

fn write(cluster: &Cluster, topic: &str, partition: i32, count: usize) -> Outcome {
    produce(&cluster.bootstrap(), topic, partition, records(count), &Writing::default()).map(drop)
}

/// A source topic with one partition for each of these starts, and some records in each.
fn create_late(cluster: &Cluster, topic: &str, starts: &[i64], configs: &[(&str, &str)]) -> Outcome {
    cluster.create_topic(topic, starts.len() as i32, &[("cleanup.policy", "delete")])?;
    for (partition, start) in (0..).zip(starts) {
        advance(cluster, topic, partition, *start)?;
        write(cluster, topic, partition, 300)?;
    }
    alter_topic(cluster, topic, configs)
}

/// Both sides start and end at the same offsets, and hold the same records.
fn expect_same(pair: &Pair, topic: &str, starts: &[i64]) -> Outcome {
    let [source, target] = [&pair.source, &pair.target].map(|cluster| cluster.client().bounds(topic));
    let (source, target) = (source?, target?);
    assert_eq!(source, target, "{topic}");
    let begin: Vec<i64> = target.values().map(|bounds| bounds.start).collect();
    assert_eq!(begin, starts, "{topic}");
    let (source, target) = (pair.source.bootstrap(), pair.target.bootstrap());
    ledger::expect_identical(&source, &target, topic, 300 * starts.len()).map(drop)
}

#[test]
fn a_topic_without_its_head_begins_at_the_same_offset() -> Outcome {
    let pair = shared()?;
    let name = unique("headless");
    let topics = [
        ("deleting", vec![("cleanup.policy", "delete"), ("retention.ms", "-1")]),
        ("compacted", vec![("cleanup.policy", "compact"), ("retention.ms", "123456")]),
        ("both", vec![("cleanup.policy", "compact,delete"), ("retention.ms", "-1")]),
    ];
    let starts = [10, 0, 123_457, 1];
    for (topic, configs) in &topics {
        create_late(&pair.source, &format!("{name}.{topic}"), &starts, configs)?;
    }
    // One that is there already, empty and compacting, is as it was after the fill.
    let own = format!("{name}-own");
    create_late(&pair.source, &own, &starts, &[])?;
    pair.target.create_topic(&own, 4, &[("cleanup.policy", "compact"), ("retention.bytes", "777777777")])?;

    let mirroring = Mirroring::of(&pair.source, &pair.target, &name, &format!("{name}\\..*"));
    let mirror = mirroring.catch_up()?;
    for (topic, configs) in &topics {
        let topic = format!("{name}.{topic}");
        expect_same(pair, &topic, &starts)?;
        let expected: BTreeMap<_, _> =
            configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        assert_eq!(configs_of(&pair.target, &topic)?, expected, "{topic}\n{}", mirror.stderr());
    }
    let mirroring = Mirroring::pair(pair, &own).set("sync.topic.configs=false");
    mirroring.catch_up()?;
    expect_same(pair, &own, &starts)?;
    let settings = configs_of(&pair.target, &own)?;
    assert_eq!(settings.get("cleanup.policy").map(String::as_str), Some("compact"), "{settings:?}");
    assert_eq!(settings.get("retention.bytes").map(String::as_str), Some("777777777"), "{settings:?}");
    assert_eq!(settings.get("retention.ms"), None, "{settings:?}");

    // A second run has nothing to fill.
    write(&pair.source, &own, 0, 50)?;
    let again = mirroring.catch_up()?;
    assert!(!again.stderr().contains("fill"), "{}", again.stderr());
    expect_same(pair, &own, &starts)
}

#[test]
fn ten_million_offsets_take_seconds() -> Outcome {
    const START: i64 = 10_000_000;
    let pair = shared()?;
    let topic = unique("ten-million");
    create_late(&pair.source, &topic, &[START], &[])?;
    let started = Instant::now();
    let mut mirror = Mirroring::pair(pair, &topic).catch_up()?;
    let took = started.elapsed();
    let usage = mirror.usage();
    println!(
        "{START} offsets before the start: {took:.1?} with start and end of the process, {:.1} M offsets/s; {usage:?}",
        START as f64 / took.as_secs_f64() / 1e6
    );
    assert!(took < Duration::from_secs(30), "{took:?}\n{}", mirror.stderr());
    expect_same(pair, &topic, &[START])
}

#[test]
fn the_target_may_take_small_or_uncompressed_batches_only() -> Outcome {
    let pair = shared()?;
    let name = unique("awkward");
    let starts = [250_001];
    for (topic, configs) in [
        ("uncompressed", [("compression.type", "uncompressed"), ("max.message.bytes", "200000")]),
        ("small", [("compression.type", "producer"), ("max.message.bytes", "20000")]),
        ("gzip", [("compression.type", "gzip"), ("max.message.bytes", "1048588")]),
    ] {
        let topic = format!("{name}.{topic}");
        create_late(&pair.source, &topic, &starts, &[])?;
        // Records of the source are small enough for one batch each.
        pair.target.create_topic(&topic, 1, &configs)?;
    }
    let mirror = Mirroring::of(&pair.source, &pair.target, &name, &format!("{name}\\..*")).finish()?.0;
    for topic in ["uncompressed", "small", "gzip"] {
        let bounds = pair.target.client().bounds(&format!("{name}.{topic}"))?[&0];
        assert_eq!(bounds.start, starts[0], "{topic}\n{}", mirror.stderr());
    }
    expect_same(pair, &format!("{name}.gzip"), &starts)
}

#[test]
fn an_older_release_is_filled_too() -> Outcome {
    let pair = Pair::start(Options::default(), Options::default().version(Version::Previous))?;
    let starts = [70_000, 0];
    create_late(&pair.source, "older", &starts, &[("cleanup.policy", "compact")])?;
    Mirroring::pair(&pair, "older").catch_up()?;
    expect_same(&pair, "older", &starts)
}

#[test]
fn a_long_fill_holds_up_no_other_topic() -> Outcome {
    let pair = shared()?;
    let name = unique("long");
    let [long, other] = ["long", "other"].map(|topic| format!("{name}.{topic}"));
    create_late(&pair.source, &long, &[15_000_000], &[])?;
    create_late(&pair.source, &other, &[0, 5_000], &[])?;
    let mut mirror = Mirroring::of(&pair.source, &pair.target, &name, &format!("{name}\\..*")).start()?;
    ledger::wait_caught_up(&pair.source.bootstrap(), &pair.target.bootstrap(), &other, LIMIT)?;
    let target = pair.target.client().bounds(&long)?[&0];
    assert!(target.end < 15_000_000 && target.start == 0, "the test is too slow to show anything: {target:?}");
    mirror.kill9()?;
    Ok(())
}

#[test]
fn a_mirror_starts_at_the_end_or_at_a_time() -> Outcome {
    let pair = shared()?;
    let name = unique("start");
    let at = |milliseconds: i64| Record { timestamp: milliseconds, ..records(1).next().expect("one") };
    const TIME: i64 = 1_700_000_000_000;
    for start in ["latest", "2023-11-14T22:13:20Z", "1700000000000"] {
        let topic = unique(&name);
        pair.source.create_topic(&topic, 2, &[])?;
        let writing = Writing { batch_records: 1, ..Writing::default() };
        produce(&pair.source.bootstrap(), &topic, 0, (0..40).map(|n| at(TIME - 30 + n)), &writing)?;
        let mirroring = Mirroring::pair(pair, &topic).set(&format!("start={start}"));
        mirroring.catch_up()?;
        let expected = if start == "latest" { 40 } else { 30 };
        let bounds = |cluster: &Cluster| cluster.client().bounds(&topic);
        let target = bounds(&pair.target)?;
        assert_eq!((target[&0].start, target[&0].end), (expected, 40), "{start}");
        assert_eq!((target[&1].start, target[&1].end), (0, 0), "{start}: nothing was there, nothing is left out");
        // It has begun: what comes now is copied, whatever `start` says.
        produce(&pair.source.bootstrap(), &topic, 0, (0..5).map(|n| at(TIME + 100 + n)), &writing)?;
        mirroring.catch_up()?;
        let target = bounds(&pair.target)?;
        assert_eq!((target[&0].start, target[&0].end), (expected, 45), "{start}");
        // A later source topic or partition has nothing that could be left out.
        let ledger = ledger::Ledger::read(&pair.target.bootstrap(), &topic, ledger::Isolation::ReadCommitted)?;
        assert_eq!(ledger.partitions[&0].records.len() as i64, 45 - expected, "{start}");
    }
    Ok(())
}

#[test]
fn what_somebody_else_wrote_is_not_filled() -> Outcome {
    let pair = shared()?;
    let topic = unique("taken");
    create_late(&pair.source, &topic, &[5000], &[])?;
    pair.target.create_topic(&topic, 1, &[])?;
    write(&pair.target, &topic, 0, 20)?;
    let (mirror, code) = Mirroring::pair(pair, &topic).finish()?;
    assert_eq!(code, 5, "{}", mirror.stderr());
    assert!(mirror.stderr().contains("has another writer"), "{}", mirror.stderr());
    assert_eq!(pair.target.client().bounds(&topic)?[&0].end, 20);
    Ok(())
}

#[test]
fn a_topic_created_anew_is_copied_anew_where_that_is_allowed() -> Outcome {
    let pair = shared()?;
    let topic = unique("anew");
    create_late(&pair.source, &topic, &[0, 50], &[])?;
    let mut mirror = Mirroring::pair(pair, &topic).set("on.topic.reset=recreate-target").start()?;
    let (source, target) = (pair.source.bootstrap(), pair.target.bootstrap());
    ledger::wait_caught_up(&source, &target, &topic, LIMIT)?;
    pair.source.client().delete_topic(&topic)?;
    wait_for("the topic is gone", LIMIT, || Ok((!pair.source.client().topics()?.contains(&topic)).then_some(())))?;
    create_late(&pair.source, &topic, &[7, 0], &[])?;
    write(&pair.source, &topic, 1, 900)?;
    let wanted = pair.source.client().bounds(&topic)?;
    let copied = wait_for("the new topic is copied", LIMIT, || {
        Ok(pair.target.client().bounds(&topic).is_ok_and(|bounds| bounds == wanted).then_some(()))
    });
    copied.map_err(|error| crate::support::Failure(format!("{error}\n{}", mirror.stderr())))?;
    expect_same(pair, &topic, &[7, 0])?;
    write(&pair.source, &topic, 0, 100)?;
    ledger::wait_caught_up(&source, &target, &topic, LIMIT)?;
    mirror.kill9()?;
    expect_same(pair, &topic, &[7, 0])
}

#[test]
fn a_plan_tells_what_would_be_filled_and_writes_nothing() -> Outcome {
    let pair = shared()?;
    let name = unique("planned");
    let [late, early, narrow] = ["late", "early", "narrow"].map(|topic| format!("{name}.{topic}"));
    create_late(&pair.source, &late, &[0, 250_000], &[])?;
    create_late(&pair.source, &early, &[0], &[])?;
    create_late(&pair.source, &narrow, &[0, 9], &[])?;
    pair.target.create_topic(&narrow, 1, &[])?;
    pair.target.create_topic(&early, 1, &[])?;
    let mirroring = Mirroring::of(&pair.source, &pair.target, &name, &format!("{name}\\..*"));
    let before = pair.target.client().topics()?;
    let plan = mirroring.plan()?;
    assert_eq!(pair.target.client().topics()?.len(), before.len(), "nothing is created: {plan}");
    assert_eq!((&plan["has_run"], &plan["markers"]), (&false.into(), &"allowed".into()), "{plan}");
    let topics: Vec<_> = plan["topics"].as_array().into_iter().flatten().collect();
    let actions: Vec<_> = topics.iter().map(|topic| (topic["topic"].as_str(), topic["action"].as_str())).collect();
    let expected = [(&early, "mirror"), (&late, "create"), (&narrow, "refuse")];
    assert_eq!(actions, expected.map(|(topic, action)| (Some(topic.as_str()), Some(action))), "{plan}");
    let prefix = &topics[1]["prefixes"][0];
    assert_eq!(
        (&prefix["partition"], &prefix["from"], &prefix["to"]),
        (&1.into(), &0.into(), &250_000.into()),
        "{plan}"
    );
    assert!(prefix["estimate_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{plan}");
    assert!(topics[2]["reason"].as_str().is_some_and(|reason| reason.contains("1 partitions")), "{plan}");
    // What was planned has been done then.
    mirroring.finish()?;
    let plan = mirroring.plan()?;
    assert_eq!((&plan["has_run"], &plan["topics"][1]["prefixes"]), (&true.into(), &serde_json::json!([])), "{plan}");
    Ok(())
}

#[test]
fn a_missing_permission_is_named_and_waited_for() -> Outcome {
    let guarded = Options::default()
        .property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        .property("allow.everyone.if.no.acl.found", "true");
    let pair = Pair::start(Options::default(), guarded)?;
    for topic in ["guarded", "open"] {
        create_late(&pair.source, topic, &[70_000], &[])?;
        pair.target.create_topic(topic, 1, &[])?;
    }
    forbid_deletion(&pair.target, "guarded")?;
    let mirroring = Mirroring::of(&pair.source, &pair.target, "guards", "guarded,open");
    let (mirror, code) = mirroring.finish()?;
    let said = mirror.stderr();
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("operation Delete on topic 'guarded' of the target has to be allowed"), "{said}");
    assert_eq!(pair.target.client().bounds("guarded")?[&0].end, 0, "nothing is written that could not be deleted");
    expect_same(&pair, "open", &[70_000])?;

    let mut mirror = mirroring.start()?;
    wait_for("the mirror tells of it", LIMIT, || Ok(mirror.stderr().contains("operation Delete").then_some(())))?;
    permit_deletion(&pair.target, "guarded")?;
    ledger::wait_caught_up(&pair.source.bootstrap(), &pair.target.bootstrap(), "guarded", LIMIT)?;
    assert!(mirror.stderr().matches("operation Delete").count() == 1, "{}", mirror.stderr());
    mirror.kill9()?;
    expect_same(&pair, "guarded", &[70_000])
}

/// Kills the mirror while it fills, again and again; whenever it is done, its topic is deleted and it begins anew.
fn killed_while_filling(rounds: usize) -> Outcome {
    let pair = shared()?;
    let topic = unique("killed-filling");
    let starts = [4_000_000, 0, 1_234_567, 60_000];
    create_late(&pair.source, &topic, &starts, &[("cleanup.policy", "compact"), ("retention.ms", "86400000")])?;
    let seed = fastrand::u64(..);
    println!("{topic}: {rounds} rounds, seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mirroring = Mirroring::pair(pair, &topic);
    let (mut in_the_middle, mut completed) = (0, 0);
    for round in 0..rounds {
        let mut mirror = mirroring.start()?;
        std::thread::sleep(Duration::from_millis(random.u64(50..1500)));
        if let Some(status) = mirror.exited()? {
            return fail(format!("round {round}: the mirror ended by itself with {status}:\n{}", mirror.stderr()));
        }
        mirror.kill9()?;
        let Ok(target) = pair.target.client().bounds(&topic) else { continue };
        for (partition, start) in (0..).zip(starts) {
            let bounds = target.get(&partition).copied().unwrap_or(crate::support::raw::Bounds { start: 0, end: 0 });
            assert!(bounds.end <= start + 300, "round {round}: {bounds:?} of partition {partition}");
            assert!(bounds.end <= start || bounds.start == start, "round {round}: data behind filler, {bounds:?}");
        }
        let all = (0..).zip(starts).all(|(partition, start)| target.get(&partition).is_some_and(|b| b.start == start));
        if all {
            completed += 1;
            mirroring.catch_up()?;
            expect_same(pair, &topic, &starts)?;
            pair.target.client().delete_topic(&topic)?;
            wait_for("the topic is gone", LIMIT, || {
                Ok((!pair.target.client().topics()?.contains(&topic)).then_some(()))
            })?;
        } else {
            in_the_middle += usize::from(target.values().any(|bounds| bounds.end > 0));
        }
    }
    mirroring.catch_up()?;
    expect_same(pair, &topic, &starts)?;
    let settings = configs_of(&pair.target, &topic)?;
    assert_eq!(settings.get("cleanup.policy").map(String::as_str), Some("compact"), "{settings:?}");
    assert_eq!(settings.get("retention.ms").map(String::as_str), Some("86400000"), "{settings:?}");
    println!("{topic}: {in_the_middle} kills while it was filling, {completed} times completed and begun anew");
    Ok(())
}

#[test]
fn the_mirror_is_killed_while_it_fills() -> Outcome {
    killed_while_filling(10)
}

#[test]
#[ignore = "long: make nightly"]
fn the_mirror_is_killed_while_it_fills_a_hundred_times() -> Outcome {
    killed_while_filling(PROMISED_ROUNDS)
}
