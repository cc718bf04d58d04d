//! Topics with tiered storage (KIP-405), as sources and as targets, on real brokers with a remote store of the tests' own: one that
//! is slow, one whose reads have a quota. A broker then answers without an error and without records. Nothing may be
//! concluded from that: the mirror waits, says so, and copies everything in the end.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::cluster::{Cluster, Options, Version, shared, unique};
use crate::support::failure::Context;
use crate::support::mirroring::Mirroring;
use crate::support::process::Kmirror;
use crate::support::records::{Load, Writing, produce};
use crate::support::tiered::{SEGMENT, Tiered};
use crate::support::{Outcome, ledger, wait_for};

/// A hang limit, not a measure.
const LIMIT: Duration = Duration::from_secs(120);
/// More than a broker waits for its remote store, 500 ms.
const SLOW: Duration = Duration::from_millis(1_200);
/// Brokers before 3.8 wait as long as the mirror asks them to, which is 5 s at last.
const SLOW_BEFORE_3_8: Duration = Duration::from_millis(8_000);
/// Three segments, of which two are in the remote store.
const RECORDS: usize = 3_000;

fn wait_until_said(mirror: &Kmirror, words: &[&str]) -> Outcome {
    let waited = wait_for(&format!("the mirror says {words:?}"), LIMIT, || {
        let said = mirror.stderr();
        Ok(said.lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(()))
    });
    waited.context(mirror.stderr())
}

/// The ends of a topic's partitions.
fn ends(cluster: &Cluster, topic: &str) -> Outcome<Vec<i64>> {
    Ok(cluster.client().bounds(topic)?.values().map(|bounds| bounds.end).collect())
}

/// Both sides hold the same, and nothing is at any offset of the target but records.
fn expect_exact(source: &Cluster, target: &Cluster, topic: &str, least: usize) -> Outcome {
    let records = ledger::expect_identical(&source.bootstrap(), &target.bootstrap(), topic, least)?;
    let offsets: i64 = ends(target, topic)?.iter().sum();
    assert_eq!(records as i64, offsets, "there are markers on the target");
    Ok(())
}

#[test]
fn a_slow_remote_store_of_a_live_source_is_waited_for_and_nothing_is_left_out() -> Outcome {
    let (tiered, target) = (Tiered::shared()?, &shared()?.target);
    let topic = unique("slow");
    tiered.create_topic(&topic, 2)?;
    tiered.fill(&topic, 2, RECORDS)?;
    tiered.slow(&topic, SLOW)?;
    let load = Load::start(&tiered.cluster.bootstrap(), &topic, 2, 40, 7, &Writing::default())?;
    let mirroring = Mirroring::of(&tiered.cluster, target, &topic, &topic);
    let mut mirror = mirroring.command("run", &["--until-caught-up"])?;
    for partition in ["partition=0", "partition=1"] {
        let words = ["partition waits", partition, "gives nothing from offset 0 on", "remote.fetch.max.wait.ms"];
        wait_until_said(&mirror, &words)?;
    }
    assert_eq!((mirror.exited()?, ends(target, &topic)?), (None, vec![0, 0]), "{}", mirror.stderr());
    assert!(tiered.reads(&topic) > 2, "the store was asked");
    tiered.slow(&topic, Duration::ZERO)?;
    assert_eq!(mirror.wait(LIMIT)?.code(), Some(0), "{}", mirror.stderr());
    let written: usize = load.stop()?.values().map(Vec::len).sum();
    mirroring.catch_up()?;
    expect_exact(&tiered.cluster, target, &topic, 2 * RECORDS + written)
}

#[test]
fn a_topic_with_several_tiered_partitions_is_copied_as_a_whole() -> Outcome {
    let (tiered, target) = (Tiered::shared()?, &shared()?.target);
    let topic = unique("several");
    tiered.create_topic(&topic, 4)?;
    tiered.fill(&topic, 4, RECORDS)?;
    Mirroring::of(&tiered.cluster, target, &topic, &topic).catch_up()?;
    assert!(tiered.reads(&topic) >= 4, "the store was asked");
    expect_exact(&tiered.cluster, target, &topic, 4 * RECORDS)
}

/// Writes the records of a seed to the topic's one partition.
fn write(source: &Cluster, topic: &str, seed: u64) -> Outcome {
    produce(&source.bootstrap(), topic, 0, Tiered::records(seed).take(RECORDS), &Writing::default()).map(drop)
}

#[test]
fn a_tiered_topic_is_a_target_like_any_other() -> Outcome {
    let (source, tiered) = (&shared()?.source, Tiered::shared()?);
    let topic = unique("uploaded");
    // The copy's segments are as small as the source's: the property follows.
    source.create_topic(&topic, 1, &[("segment.bytes", SEGMENT)])?;
    tiered.create_topic_with_local_end(&topic, 1)?;
    let write = |seed| write(source, &topic, seed);
    write(1)?;
    let mirroring = Mirroring::of(source, &tiered.cluster, &topic, &topic);
    mirroring.catch_up()?;
    write(2)?;
    mirroring.catch_up()?;
    wait_for("the copy is in the remote store", LIMIT, || Ok((tiered.local_start(&topic, 0)? > 0).then_some(())))?;
    // The mirror reads the end of the copy only, so it goes on however slow the store is.
    tiered.slow(&topic, Duration::from_secs(60))?;
    write(3)?;
    mirroring.catch_up()?;
    assert_eq!(tiered.reads(&topic), 0, "the store was asked");
    tiered.slow(&topic, Duration::ZERO)?;
    expect_exact(source, &tiered.cluster, &topic, 3 * RECORDS)
}

#[test]
#[ignore = "long: make nightly"]
fn a_slow_remote_store_of_an_older_broker_is_waited_for() -> Outcome {
    let tiered = Tiered::start(Options::default().version(Version::Previous))?;
    let target = &shared()?.target;
    for live in [false, true] {
        let topic = unique("older");
        tiered.create_topic(&topic, 3)?;
        tiered.fill(&topic, 3, RECORDS)?;
        tiered.slow(&topic, SLOW)?;
        let load = match live {
            true => Some(Load::start(&tiered.cluster.bootstrap(), &topic, 3, 60, 8, &Writing::default())?),
            false => None,
        };
        let mirroring = Mirroring::of(&tiered.cluster, target, &topic, &topic);
        let mut mirror = mirroring.start()?;
        wait_until_said(&mirror, &["partition waits", "remote.fetch.max.wait.ms"])?;
        assert_eq!(ends(target, &topic)?, [0, 0, 0], "{}", mirror.stderr());
        tiered.slow(&topic, Duration::ZERO)?;
        mirror.signal(Signal::SIGINT)?;
        mirror.wait(LIMIT)?;
        let written: usize = match load {
            Some(load) => load.stop()?.values().map(Vec::len).sum(),
            None => 0,
        };
        mirroring.catch_up()?;
        expect_exact(&tiered.cluster, target, &topic, 3 * RECORDS + written)?;
    }
    Ok(())
}

#[test]
#[ignore = "long: make nightly"]
fn a_quota_of_remote_reads_is_waited_for() -> Outcome {
    for version in [Version::Latest, Version::Previous] {
        let tiered = Tiered::start(Options::default().version(version))?;
        let target = &shared()?.target;
        for live in [false, true] {
            let topic = unique("rationed");
            tiered.create_topic(&topic, 2)?;
            tiered.fill(&topic, 2, RECORDS)?;
            tiered.limit_reads(100_000)?;
            let load = match live {
                true => Some(Load::start(&tiered.cluster.bootstrap(), &topic, 2, 40, 9, &Writing::default())?),
                false => None,
            };
            let mirroring = Mirroring::of(&tiered.cluster, target, &topic, &topic);
            let mut mirror = mirroring.command("run", &["--until-caught-up"])?;
            wait_until_said(&mirror, &["partition waits", "remote.log.manager.fetch.max.bytes.per.second"])?;
            assert_eq!(mirror.exited()?, None, "{}", mirror.stderr());
            tiered.limit_reads(i64::MAX.unsigned_abs())?;
            assert_eq!(mirror.wait(LIMIT)?.code(), Some(0), "{}", mirror.stderr());
            let written: usize = match load {
                Some(load) => load.stop()?.values().map(Vec::len).sum(),
                None => 0,
            };
            mirroring.catch_up()?;
            expect_exact(&tiered.cluster, target, &topic, 2 * RECORDS + written).context(version.number())?;
        }
    }
    Ok(())
}

#[test]
fn a_mirror_that_was_killed_goes_on_behind_remote_segments_of_its_copy() -> Outcome {
    goes_on_behind_remote_segments(Tiered::shared()?)
}

/// The last release of each line that has tiered storage.
const LINES: [Version; 8] = [
    Version::Line("3.6.2"),
    Version::Line("3.7.2"),
    Version::Line("3.8.1"),
    Version::Previous,
    Version::Line("4.0.1"),
    Version::Line("4.1.1"),
    Version::Line("4.2.0"),
    Version::Latest,
];

#[test]
#[ignore = "long: make nightly"]
fn tiered_topics_of_every_line_are_sources_and_targets() -> Outcome {
    for version in LINES {
        let tiered = Tiered::start(Options::default().version(version)).context(version.number())?;
        copies_from_slow_store(&tiered).context(version.number())?;
        goes_on_behind_remote_segments(&tiered).context(version.number())?;
    }
    Ok(())
}

fn copies_from_slow_store(tiered: &Tiered) -> Outcome {
    let (topic, target) = (unique("line"), &shared()?.target);
    tiered.create_topic(&topic, 1)?;
    tiered.fill(&topic, 1, RECORDS)?;
    tiered.slow(&topic, if tiered.cluster.version().line() < (3, 8) { SLOW_BEFORE_3_8 } else { SLOW })?;
    let mirroring = Mirroring::of(&tiered.cluster, target, &topic, &topic);
    let mut mirror = mirroring.command("run", &["--until-caught-up"])?;
    wait_until_said(&mirror, &["partition waits", "remote.fetch.max.wait.ms"])?;
    assert_eq!((mirror.exited()?, ends(target, &topic)?), (None, vec![0]), "{}", mirror.stderr());
    tiered.slow(&topic, Duration::ZERO)?;
    assert_eq!(mirror.wait(LIMIT)?.code(), Some(0), "{}", mirror.stderr());
    expect_exact(&tiered.cluster, target, &topic, RECORDS)
}

/// A mirror that was killed goes on where a copy ends of which all older segments are in the remote store, and verify reads them all.
fn goes_on_behind_remote_segments(tiered: &Tiered) -> Outcome {
    let (topic, source) = (unique("line-target"), &shared()?.source);
    source.create_topic(&topic, 1, &[])?;
    tiered.create_topic(&topic, 1)?;
    let write = |seed| write(source, &topic, seed);
    write(1)?;
    let mirroring = Mirroring::of(source, &tiered.cluster, &topic, &topic);
    let mut mirror = mirroring.start()?;
    let copied = |wanted: i64| {
        wait_for("it is copied", LIMIT, || {
            Ok(ends(&tiered.cluster, &topic).is_ok_and(|ends| ends == [wanted]).then_some(()))
        })
    };
    copied(RECORDS as i64).context(mirror.stderr())?;
    wait_for("the copy is in the remote store", LIMIT, || Ok((tiered.local_start(&topic, 0)? > 0).then_some(())))?;
    mirror.kill9()?;
    write(2)?;
    let again = mirroring.catch_up()?;
    copied(2 * RECORDS as i64).context(again.stderr())?;
    let (code, report) = mirroring.document("verify", &[])?;
    assert_eq!((code, &report["result"]["records_compared"]), (0, &(2 * RECORDS).into()), "{report:#}");
    assert!(tiered.reads(&topic) > 0, "the remote store was asked");
    expect_exact(source, &tiered.cluster, &topic, 2 * RECORDS)
}
