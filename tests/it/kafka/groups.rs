//! What becomes of consumer groups on real brokers: their offsets, their members, and consumers that are moved.
//! Offsets are read back by single requests, records by librdkafka; what the mirror says of itself is compared with that.

mod bounds;
mod denied;
mod evil;
mod many;
mod moved;
mod old;
mod theirs;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::cluster::{Pair, shared, unique};
use crate::support::groups::{self, Member, Protocol};
use crate::support::mirroring::Mirroring;
use crate::support::process::Kmirror;
use crate::support::records::{Generator, Writing, produce};
use crate::support::transactions::{End, Transactions};
use crate::support::{Outcome, wait_for};

/// A hang limit, not a measure.
const LIMIT: Duration = Duration::from_secs(90);

fn write(pair: &Pair, topic: &str, partition: i32, count: usize) -> Outcome {
    produce(&pair.source.bootstrap(), topic, partition, Generator::new(3).take(count), &Writing::default()).map(drop)
}

fn wait_said(mirror: &Kmirror, what: &str) -> Outcome {
    wait_for(&format!("the mirror says: {what}"), LIMIT, || Ok(mirror.stderr().contains(what).then_some(())))
}

/// The offsets a group is expected to have on the target: those of the source, without leader epochs.
fn expected(pair: &Pair, group: &str) -> Outcome<groups::Offsets> {
    let mut offsets = groups::committed(&pair.source, group)?;
    offsets.values_mut().for_each(|(.., epoch)| *epoch = -1);
    Ok(offsets)
}

#[test]
fn offsets_are_the_same_numbers_and_stay_so_over_a_restart() -> Outcome {
    let pair = shared()?;
    let topic = unique("same");
    let group = |name: &str| format!("{topic}-{name}");
    let [classic, new, simple, other] = ["classic", "new", "simple", "other"].map(group);
    let excluded = format!("console-consumer-{topic}");
    pair.source.create_topic(&topic, 3, &[])?;
    write(pair, &topic, 0, 100)?;
    write(pair, &topic, 1, 60)?;
    for (name, protocol) in [(&classic, Protocol::Classic), (&new, Protocol::Consumer)] {
        let read = groups::read(&pair.source, name, (protocol, "earliest"), &topic, 70, usize::MAX)?;
        assert_eq!(read.len(), 70);
    }
    // The last partition is empty, and the group has an offset there.
    groups::commit_with(&pair.source, &simple, &[(&topic, 0, 17), (&topic, 1, 60), (&topic, 2, 0)], "a text")?;
    groups::commit(&pair.source, &excluded, &[(&topic, 0, 5)])?;
    let elsewhere = unique("not-mirrored");
    pair.source.create_topic(&elsewhere, 1, &[])?;
    groups::commit(&pair.source, &other, &[(&elsewhere, 0, 0)])?;

    let mirroring = Mirroring::pair(pair, &topic);
    let plan = mirroring.plan()?;
    let planned: BTreeMap<&str, usize> = plan["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|group| Some((group["group"].as_str()?, group["offsets"].as_array()?.len())))
        .collect();
    let wanted = [(classic.as_str(), 70), (new.as_str(), 70), (simple.as_str(), 3)].map(|(name, _)| name);
    assert_eq!(planned.keys().copied().collect::<Vec<_>>(), wanted, "{plan}");
    assert_eq!(planned[simple.as_str()], 3, "{plan}");
    assert_eq!(groups::committed(&pair.target, &simple)?, groups::Offsets::new(), "a plan writes nothing");

    let report = mirroring.report()?;
    for name in [&classic, &new, &simple] {
        assert_eq!(groups::committed(&pair.target, name)?, expected(pair, name)?, "{name}");
    }
    assert_eq!(groups::committed(&pair.target, &simple)?[&(topic.clone(), 2)], (0, "a text".to_owned(), -1));
    for name in [&excluded, &other] {
        assert!(groups::committed(&pair.target, name)?.is_empty(), "{name} is not copied");
    }
    let status = &report["status"]["groups"];
    assert_eq!((status["matching"].as_u64(), status["synced"].as_u64()), (Some(3), Some(3)), "{status}");
    assert_eq!((status["behind"].as_u64(), status["behind_offsets"].as_u64()), (Some(0), Some(0)), "{status}");

    assert_eq!(mirroring.plan()?["groups"], serde_json::json!([]), "nothing is left to do");
    write(pair, &topic, 1, 10)?;
    groups::commit(&pair.source, &simple, &[(&topic, 1, 66)])?;
    mirroring.catch_up()?;
    for name in [&classic, &new, &simple] {
        assert_eq!(groups::committed(&pair.target, name)?, expected(pair, name)?, "{name}");
    }
    Ok(())
}

/// An open transaction holds the mirror up; a group that reads what is not committed is ahead of it.
#[test]
fn a_group_ahead_of_the_mirror_is_set_as_the_mirror_catches_up() -> Outcome {
    let pair = shared()?;
    let topic = unique("ahead");
    pair.source.create_topic(&topic, 1, &[])?;
    write(pair, &topic, 0, 10)?;
    let transactions = Transactions::open(&pair.source.bootstrap(), &Writing::codec("none"))?;
    transactions.begin()?;
    transactions.send(&topic, 0, Generator::new(4).take(20))?;
    wait_for("the open transaction is there", LIMIT, || {
        Ok((pair.source.client().bounds(&topic)?[&0].end == 30).then_some(()))
    })?;
    groups::commit(&pair.source, &topic, &[(&topic, 0, 25)])?;
    let report = Mirroring::pair(pair, &topic).report()?;
    assert_eq!(groups::offset(&pair.target, &topic, &topic, 0)?, Some(10));
    let status = &report["status"]["groups"];
    assert_eq!((status["behind"].as_u64(), status["behind_offsets"].as_u64()), (Some(1), Some(15)), "{status}");

    let mut mirror = Mirroring::pair(pair, &topic).start()?;
    transactions.end(End::Commit)?;
    groups::wait_offset(&pair.target, &topic, &topic, 0, 25)?;
    assert_eq!(mirror.exited()?, None);
    mirror.kill9()
}

#[test]
fn a_group_that_goes_back_is_followed_and_one_that_was_used_on_the_target_is_not() -> Outcome {
    let pair = shared()?;
    let topic = unique("back");
    pair.source.create_topic(&topic, 1, &[])?;
    write(pair, &topic, 0, 50)?;
    groups::commit(&pair.source, &topic, &[(&topic, 0, 40)])?;
    let mut mirror = Mirroring::pair(pair, &topic).start()?;
    groups::wait_offset(&pair.target, &topic, &topic, 0, 40)?;
    for offset in [10, 30, 5] {
        groups::commit(&pair.source, &topic, &[(&topic, 0, offset)])?;
        groups::wait_offset(&pair.target, &topic, &topic, 0, offset)?;
    }

    groups::commit(&pair.target, &topic, &[(&topic, 0, 20)])?;
    let told = format!("group '{topic}' was used on the target: {topic}-0 is at 20 there and at 5 at the source");
    wait_said(&mirror, &told)?;
    groups::commit(&pair.source, &topic, &[(&topic, 0, 6)])?;
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(groups::offset(&pair.target, &topic, &topic, 0)?, Some(20), "what was read on the target is not undone");
    let plan = Mirroring::pair(pair, &topic).plan()?;
    assert!(plan["groups"][0]["skipped"].as_str().is_some_and(|why| why.contains("delete the group")), "{plan}");

    groups::delete(&pair.target, &topic)?;
    groups::wait_offset(&pair.target, &topic, &topic, 0, 6)?;
    assert_eq!(mirror.exited()?, None);
    mirror.kill9()
}

#[test]
fn a_group_with_members_on_the_target_is_not_touched_until_they_have_left() -> Outcome {
    let pair = shared()?;
    for protocol in [Protocol::Classic, Protocol::Consumer] {
        let topic = unique("live");
        pair.source.create_topic(&topic, 1, &[])?;
        write(pair, &topic, 0, 50)?;
        groups::commit(&pair.source, &topic, &[(&topic, 0, 10)])?;
        let beside = format!("{topic}-beside");
        groups::commit(&pair.source, &beside, &[(&topic, 0, 11)])?;
        Mirroring::pair(pair, &topic).catch_up()?;
        let member = Member::join(&pair.target, &topic, protocol, &topic)?;

        groups::commit(&pair.source, &topic, &[(&topic, 0, 20)])?;
        groups::commit(&pair.source, &beside, &[(&topic, 0, 21)])?;
        let plan = Mirroring::pair(pair, &topic).plan()?;
        let skipped = plan["groups"].as_array().into_iter().flatten().find(|group| group["group"] == topic.as_str());
        let why = skipped.and_then(|group| group["skipped"].as_str()).unwrap_or_default();
        assert!(why.contains("has members on the target"), "{protocol:?}: {plan}");
        let report = Mirroring::pair(pair, &topic).report()?;
        assert_eq!(groups::offset(&pair.target, &topic, &topic, 0)?, Some(10), "{protocol:?}");
        assert_eq!(groups::offset(&pair.target, &beside, &topic, 0)?, Some(21), "others go on");
        let troubles = report["status"]["troubles"].to_string();
        assert!(troubles.contains(&format!("group '{topic}' has members on the target")), "{troubles}");
        assert_eq!(report["status"]["groups"]["skipped"].as_u64(), Some(1), "{report}");

        let mut mirror = Mirroring::pair(pair, &topic).start()?;
        wait_said(&mirror, "has members on the target")?;
        member.leave()?;
        groups::wait_offset(&pair.target, &topic, &topic, 0, 20)?;
        assert_eq!(mirror.exited()?, None);
        mirror.kill9()?;
    }
    Ok(())
}
