//! What a mirror says of both clusters is what they are: a topic or a cluster of the same name is not taken for the one it was.
//! Nothing here asks the mirror whether it is right; what is on the clusters is looked at.

mod quotas;
mod status;

use std::time::Duration;

use nix::sys::signal::Signal;

use super::mirror::{configs_of, grow};
use crate::support::cluster::{Cluster, Options, Pair, shared, unique};
use crate::support::failure::Context;
use crate::support::mirroring::Mirroring;
use crate::support::process::Kmirror;
use crate::support::records::{Generator, Writing, produce};
use crate::support::{Outcome, groups, ledger, wait_for};

/// A hang limit, not a measure.
const LIMIT: Duration = Duration::from_secs(60);
/// Some refreshes of `Mirroring`, in which a mirror does what it should not do.
const SOME_LOOKS: Duration = Duration::from_secs(3);

fn write(bootstrap: &str, topic: &str, seed: u64, count: usize) -> Outcome {
    produce(bootstrap, topic, 0, Generator::new(seed).take(count), &Writing::default()).map(drop)
}

fn end_of(cluster: &Cluster, topic: &str) -> Outcome<i64> {
    cluster.client().offset_at(topic, 0, -1)
}

fn wait_for_end(cluster: &Cluster, topic: &str, wanted: i64, mirror: &Kmirror) -> Outcome {
    wait_for(&format!("{topic} ends at {wanted}"), LIMIT, || {
        Ok(end_of(cluster, topic).is_ok_and(|end| end == wanted).then_some(()))
    })
    .context(mirror.stderr())
}

fn wait_until_said(mirror: &Kmirror, words: &[&str]) -> Outcome {
    wait_for(&format!("the mirror says {words:?}"), LIMIT, || {
        Ok(mirror.stderr().lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(()))
    })
    .context(mirror.stderr())
}

fn make_again(cluster: &Cluster, topic: &str) -> Outcome {
    cluster.client().delete_topic(topic)?;
    wait_for("the topic is gone", LIMIT, || {
        Ok((!cluster.client().topics()?.iter().any(|it| it == topic)).then_some(()))
    })?;
    cluster.create_topic(topic, 1, &[])
}

#[test]
fn a_source_topic_made_again_while_nothing_is_fetched_is_not_mixed_with_the_old_one() -> Outcome {
    let pair = shared()?;
    let topic = unique("made-again");
    pair.source.create_topic(&topic, 1, &[])?;
    write(&pair.source.bootstrap(), &topic, 1, 100)?;
    // No look at the topics helps.
    let mut mirror = Mirroring::pair(pair, &topic).set("refresh.interval.ms=60000").start()?;
    wait_for_end(&pair.target, &topic, 100, &mirror)?;
    mirror.signal(Signal::SIGSTOP)?;
    make_again(&pair.source, &topic)?;
    // Longer than the old one, and with a batch that begins where the mirror is.
    [(2, 100), (3, 50)]
        .into_iter()
        .try_for_each(|(seed, count)| write(&pair.source.bootstrap(), &topic, seed, count))?;
    mirror.signal(Signal::SIGCONT)?;
    wait_until_said(&mirror, &["partition waits", &topic, "created again"])?;
    std::thread::sleep(SOME_LOOKS);
    assert_eq!(end_of(&pair.target, &topic)?, 100, "records of two topics are mixed: {}", mirror.stderr());
    mirror.kill9()
}

#[test]
fn a_target_topic_made_again_under_an_idle_mirror_gets_no_record_at_a_wrong_offset() -> Outcome {
    let pair = shared()?;
    let topic = unique("made-again-there");
    pair.source.create_topic(&topic, 1, &[])?;
    write(&pair.source.bootstrap(), &topic, 1, 100)?;
    let mut mirror = Mirroring::pair(pair, &topic).set("refresh.interval.ms=60000").start()?;
    wait_for_end(&pair.target, &topic, 100, &mirror)?;
    make_again(&pair.target, &topic)?;
    write(&pair.source.bootstrap(), &topic, 2, 10)?;
    wait_until_said(&mirror, &["partition waits", &topic, "created again"])?;
    assert_eq!(end_of(&pair.target, &topic)?, 0, "record 100 is at offset 0: {}", mirror.stderr());
    mirror.kill9()
}

/// Requests that change settings, offsets of groups and the number of partitions know topics by their names only.
#[test]
fn a_target_topic_made_again_keeps_its_settings_and_partitions_and_gets_no_offsets_of_groups() -> Outcome {
    let pair = shared()?;
    let topic = unique("made-again-set");
    pair.source.create_topic(&topic, 1, &[("max.message.bytes", "900000")])?;
    write(&pair.source.bootstrap(), &topic, 1, 100)?;
    groups::commit(&pair.source, &topic, &[(&topic, 0, 50)])?;
    // With another topic the mirror goes on.
    let beside = format!("{topic}-beside");
    pair.source.create_topic(&beside, 1, &[])?;
    let both = format!("{topic},{beside}");
    let mut mirror = Mirroring::of(&pair.source, &pair.target, &topic, &both).start()?;
    groups::wait_offset(&pair.target, &topic, &topic, 0, 50)?;
    // What has changed at the source is seen by the same look as the topic that is another one.
    mirror.signal(Signal::SIGSTOP)?;
    make_again(&pair.target, &topic)?;
    let theirs = configs_of(&pair.target, &topic)?;
    pair.source.client().alter_topic(&topic, &[("max.message.bytes", "800000")])?;
    groups::commit(&pair.source, &topic, &[(&topic, 0, 60)])?;
    grow(&pair.source, &topic, 2)?;
    mirror.signal(Signal::SIGCONT)?;
    wait_until_said(&mirror, &["topic parked", &topic, "created again"])?;
    std::thread::sleep(SOME_LOOKS);
    assert_eq!(mirror.exited()?, None, "{}", mirror.stderr());
    assert_eq!(configs_of(&pair.target, &topic)?, theirs, "{}", mirror.stderr());
    assert_eq!(groups::offset(&pair.target, &topic, &topic, 0)?, None, "{}", mirror.stderr());
    assert_eq!(pair.target.client().partitions(&topic)?.len(), 1, "{}", mirror.stderr());
    assert_eq!(end_of(&pair.target, &topic)?, 0, "{}", mirror.stderr());
    mirror.kill9()
}

/// An address that leads to another cluster: DNS, a rebuilt cluster, a lost volume. With the policy that deletes.
#[test]
fn another_cluster_behind_an_address_is_not_read_and_not_written_to() -> Outcome {
    let pair = Pair::start(Options::default().proxied(), Options::default().proxied())?;
    let other = &shared()?.source;
    let topic = unique("swapped");
    for source in [&pair.source, other] {
        source.create_topic(&topic, 1, &[])?;
    }
    write(&pair.source.direct(), &topic, 1, 100)?;
    write(&other.bootstrap(), &topic, 2, 3)?;
    let mut mirror = Mirroring::pair(&pair, &topic).set("on.topic.reset=recreate-target").start()?;
    wait_for_end(&pair.target, &topic, 100, &mirror)?;
    let internal = format!("kmirror.{topic}.internal");

    for (swapped, side) in [(&pair.source, "source"), (&pair.target, "target")] {
        let upstream = swapped.proxy(1);
        upstream.lead_to(&other.bootstrap());
        upstream.cut();
        let answers =
            format!("answers for cluster {}, but the {side} is cluster {}", other.cluster_id(), swapped.cluster_id());
        wait_until_said(&mirror, &[&answers])?;
        // More to copy, while there is nowhere to copy it from or to.
        write(&pair.source.direct(), &topic, 3, 10)?;
        std::thread::sleep(SOME_LOOKS);
        assert!(!other.client().topics()?.contains(&internal), "{}", mirror.stderr());
        assert_eq!(end_of(other, &topic)?, 3, "{}", mirror.stderr());
        upstream.lead_back();
        upstream.cut();
        let copied = end_of(&pair.source, &topic)?;
        wait_for_end(&pair.target, &topic, copied, &mirror)?;
    }
    assert!(!mirror.stderr().contains("made anew"), "{}", mirror.stderr());
    // Two outages of some seconds, with two refreshes a second: each is told once, not by whoever meets it.
    let warnings = mirror.stderr().lines().filter(|line| line.contains(" WARN ")).count();
    assert!((2..=6).contains(&warnings), "{}", mirror.stderr());
    mirror.kill9()?;
    ledger::expect_identical(&pair.source.direct(), &pair.target.direct(), &topic, 120).map(drop)
}
