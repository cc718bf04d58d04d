//! Logs that are not what they were: at the target another writer, a deleted topic, a lost internal topic; at the source a
//! topic that was deleted and created again, or cut back by an unclean election. Each is told of, and nothing is appended.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::cluster::{Cluster, Options, Pair, shared, unique};
use crate::support::failure::Context;
use crate::support::mirroring::Mirroring;
use crate::support::process::Kmirror;
use crate::support::records::{Generator, Writing, produce};
use crate::support::{Outcome, fail, ledger, wait_for};

/// A hang limit, not a measure.
const LIMIT: Duration = Duration::from_secs(60);

fn write(cluster: &Cluster, topic: &str, partition: i32, seed: u64, count: usize) -> Outcome {
    produce(&cluster.bootstrap(), topic, partition, Generator::new(seed).take(count), &Writing::default()).map(drop)
}

fn end_of(cluster: &Cluster, topic: &str, partition: i32) -> Outcome<i64> {
    cluster.client().offset_at(topic, partition, -1)
}

fn wait_for_end(cluster: &Cluster, topic: &str, partition: i32, wanted: i64, mirror: &Kmirror) -> Outcome {
    wait_for(&format!("{topic}-{partition} ends at {wanted}"), LIMIT, || {
        Ok(end_of(cluster, topic, partition).is_ok_and(|end| end == wanted).then_some(()))
    })
    .context(mirror.stderr())
}

fn wait_until_said(mirror: &Kmirror, words: &[&str]) -> Outcome {
    let said = |mirror: &Kmirror| {
        let said = mirror.stderr();
        said.lines().any(|line| words.iter().all(|word| line.contains(word)))
    };
    wait_for(&format!("the mirror says {words:?}"), LIMIT, || Ok(said(mirror).then_some(()))).context(mirror.stderr())
}

#[test]
fn another_writer_that_comes_while_the_mirror_runs_stops_its_partition_only() -> Outcome {
    let pair = shared()?;
    let topic = unique("intruder");
    pair.source.create_topic(&topic, 2, &[])?;
    (0..2).try_for_each(|partition| write(&pair.source, &topic, partition, 1, 40))?;
    let mut mirror = Mirroring::pair(pair, &topic).start()?;
    (0..2).try_for_each(|partition| wait_for_end(&pair.target, &topic, partition, 40, &mirror))?;
    write(&pair.target, &topic, 0, 2, 5)?;
    write(&pair.source, &topic, 0, 3, 10)?;
    wait_until_said(&mirror, &["partition parked", &format!("topic '{topic}' partition 0"), "another writer"])?;
    let end = end_of(&pair.target, &topic, 0)?;
    // The answer to the first batch may be what shows it; there is no second one.
    assert!((45..=55).contains(&end), "{end}: {}", mirror.stderr());
    for partition in 0..2 {
        write(&pair.source, &topic, partition, 4, 10)?;
    }
    wait_for_end(&pair.target, &topic, 1, 50, &mirror)?;
    assert_eq!(end_of(&pair.target, &topic, 0)?, end, "nothing more is mixed into a foreign log");
    mirror.kill9()
}

#[test]
fn a_target_topic_that_is_deleted_while_the_mirror_runs_is_told_of_and_the_others_go_on() -> Outcome {
    let pair = shared()?;
    let name = unique("vanished");
    let [deleted, other] = ["deleted", "other"].map(|what| format!("{name}.{what}"));
    for topic in [&deleted, &other] {
        pair.source.create_topic(topic, 1, &[])?;
        write(&pair.source, topic, 0, 1, 40)?;
    }
    let mut mirror = Mirroring::of(&pair.source, &pair.target, &name, &format!("{name}\\..*")).start()?;
    for topic in [&deleted, &other] {
        wait_for_end(&pair.target, topic, 0, 40, &mirror)?;
    }
    pair.target.client().delete_topic(&deleted)?;
    for topic in [&deleted, &other] {
        write(&pair.source, topic, 0, 2, 10)?;
    }
    wait_until_said(&mirror, &["parked", &deleted])?;
    wait_for_end(&pair.target, &other, 0, 50, &mirror)?;
    // Records 40 to 49 at offsets 0 to 9 would be the worst of all outcomes.
    let anew = end_of(&pair.target, &deleted, 0);
    assert!(anew.is_err() || anew? == 0, "{}", mirror.stderr());
    mirror.kill9()
}

#[test]
fn a_lost_internal_topic_is_told_of_before_anything_is_appended() -> Outcome {
    let pair = shared()?;
    let topic = unique("forgotten");
    pair.source.create_topic(&topic, 1, &[])?;
    write(&pair.source, &topic, 0, 1, 40)?;
    Mirroring::pair(pair, &topic).catch_up()?;
    let internal = format!("kmirror.{topic}.internal");
    pair.target.client().delete_topic(&internal)?;
    wait_for("the internal topic is gone", LIMIT, || {
        Ok((!pair.target.client().topics()?.contains(&internal)).then_some(()))
    })?;
    write(&pair.source, &topic, 0, 2, 10)?;
    let (mirror, code) = Mirroring::pair(pair, &topic).finish()?;
    assert_eq!(code, 5, "{}", mirror.stderr());
    assert_eq!(end_of(&pair.target, &topic, 0)?, 40, "{}", mirror.stderr());
    assert!(mirror.stderr().contains("kind=\"target_conflict\""), "{}", mirror.stderr());
    Ok(())
}

#[test]
fn a_topic_created_anew_while_the_mirror_is_down_is_told_of_however_long_it_has_grown() -> Outcome {
    let pair = shared()?;
    let topic = unique("anew");
    pair.source.create_topic(&topic, 1, &[])?;
    write(&pair.source, &topic, 0, 1, 40)?;
    Mirroring::pair(pair, &topic).catch_up()?;
    pair.source.client().delete_topic(&topic)?;
    wait_for("the topic is gone", LIMIT, || Ok((!pair.source.client().topics()?.contains(&topic)).then_some(())))?;
    pair.source.create_topic(&topic, 1, &[])?;
    // A batch begins exactly where the mirror was: offsets alone tell nothing.
    [(2, 40), (3, 60)].into_iter().try_for_each(|(seed, count)| write(&pair.source, &topic, 0, seed, count))?;
    let (mirror, code) = Mirroring::pair(pair, &topic).finish()?;
    let said = mirror.stderr();
    assert_eq!(end_of(&pair.target, &topic, 0)?, 40, "nothing is appended to the copy of another topic: {said}");
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("topic_reset") && said.contains(&format!("topic '{topic}'")), "{said}");
    Ok(())
}

#[test]
fn a_source_cut_back_by_an_unclean_election_is_told_of_while_the_mirror_runs() -> Outcome {
    cut_back(true)
}

#[test]
fn a_source_cut_back_by_an_unclean_election_is_told_of_when_the_mirror_comes_back() -> Outcome {
    cut_back(false)
}

/// The leader dies with records that its follower has never had, the follower leads, and its log grows past where the mirror is.
fn cut_back(running: bool) -> Outcome {
    let pair = Pair::start(Options::default().nodes(3), Options::default())?;
    let topic = "elected";
    two_replicas(&pair.source, topic)?;
    write(&pair.source, topic, 0, 1, 100)?;
    pair.source.kill(2)?;
    write(&pair.source, topic, 0, 2, 50)?;
    let mirroring = Mirroring::pair(&pair, topic);
    let mut mirror = mirroring.start()?;
    wait_for_end(&pair.target, topic, 0, 150, &mirror)?;
    if !running {
        mirror.kill9()?;
    }
    elect_the_follower(&pair.source, topic, 100)?;
    // A batch of the new history begins exactly where the mirror is: offsets alone tell nothing.
    [(3, 50), (4, 70)].into_iter().try_for_each(|(seed, count)| write(&pair.source, topic, 0, seed, count))?;
    pair.source.restart(1)?;

    let said = match running {
        true => {
            wait_for("the mirror ends", LIMIT, || mirror.exited()).context(mirror.stderr())?;
            mirror.stderr()
        }
        false => {
            let (mirror, code) = mirroring.finish()?;
            assert_eq!(code, 5, "{}", mirror.stderr());
            mirror.stderr()
        }
    };
    assert_eq!(end_of(&pair.target, topic, 0)?, 150, "nothing is appended on top of what the source has lost: {said}");
    let line = said.lines().find(|line| line.contains("partition parked")).unwrap_or_default();
    assert!(line.contains(&format!("topic '{topic}' partition 0")), "{said}");
    // Where the logs part is what somebody has to know who decides what to do.
    assert!(line.contains("100"), "the offset from which the source differs is not named: {said}");
    Ok(())
}

/// The same choreography leaves a mirror that is at or before the cut alone: it goes on with the new leader.
#[test]
fn an_unclean_election_that_cuts_nothing_the_mirror_has_is_no_trouble() -> Outcome {
    let pair = Pair::start(Options::default().nodes(3), Options::default())?;
    let topic = "spared";
    two_replicas(&pair.source, topic)?;
    write(&pair.source, topic, 0, 1, 100)?;
    let mirroring = Mirroring::pair(&pair, topic);
    mirroring.catch_up()?;
    pair.source.kill(2)?;
    write(&pair.source, topic, 0, 2, 50)?;
    elect_the_follower(&pair.source, topic, 100)?;
    write(&pair.source, topic, 0, 3, 120)?;
    pair.source.restart(1)?;
    mirroring.catch_up()?;
    ledger::expect_identical(&pair.source.bootstrap(), &pair.target.bootstrap(), topic, 220).map(drop)
}

/// A source restored from an older copy of its disks, which has grown past where the mirror was before the mirror could look: its
/// leader epochs are lower than those that were replicated.
#[test]
fn a_source_restored_from_an_older_copy_is_told_of_though_it_has_the_offset_the_mirror_is_at() -> Outcome {
    let pair = Pair::start(Options::default(), Options::default())?;
    let topic = "restored";
    pair.source.create_topic(topic, 1, &[])?;
    write(&pair.source, topic, 0, 1, 100)?;
    pair.source.terminate(1)?;
    let disks = pair.source.data_directory(1);
    let copy = disks.with_extension("copy");
    copy_directory(&disks, &copy)?;
    // Each start is a leader epoch.
    for seed in [2, 3] {
        pair.source.restart(1)?;
        write(&pair.source, topic, 0, seed, 50)?;
    }
    let mirroring = Mirroring::pair(&pair, topic).set("target.retry.backoff.max.ms=500");
    let mut mirror = mirroring.start()?;
    wait_for_end(&pair.target, topic, 0, 200, &mirror)?;
    mirror.signal(Signal::SIGSTOP)?;
    pair.source.kill(1)?;
    std::fs::remove_dir_all(&disks)?;
    std::fs::rename(&copy, &disks)?;
    pair.source.restart(1)?;
    // A batch begins exactly where the mirror is.
    [(4, 100), (5, 50)].into_iter().try_for_each(|(seed, count)| write(&pair.source, topic, 0, seed, count))?;
    mirror.signal(Signal::SIGCONT)?;
    wait_for("the mirror ends", LIMIT, || mirror.exited()).context(mirror.stderr())?;
    let said = mirror.stderr();
    assert_eq!(end_of(&pair.target, topic, 0)?, 200, "nothing of another log is appended: {said}");
    let line = said.lines().find(|line| line.contains("partition parked")).unwrap_or_default();
    assert!(line.contains(&format!("topic '{topic}' partition 0")) && line.contains("leader epoch"), "{said}");
    Ok(())
}

fn copy_directory(from: &Path, to: &Path) -> Outcome {
    let status = Command::new("cp").arg("-a").args([from, to]).status()?;
    if status.success() { Ok(()) } else { fail(format!("cannot copy {}: {status}", from.display())) }
}

/// A partition on brokers 1 (the leader) and 2 of three, which goes on with one of them, and with the wrong one if need be.
fn two_replicas(source: &Cluster, topic: &str) -> Outcome {
    let configs = [("min.insync.replicas", "1"), ("unclean.leader.election.enable", "true")];
    source.create_topic(topic, 1, &configs)?;
    source.client().reassign(topic, 0, &[1, 2])?;
    wait_for("brokers 1 and 2 have the partition", LIMIT, || {
        let partitions = source.client().partitions(topic)?;
        Ok((partitions[0].replicas == [1, 2] && partitions[0].in_sync.len() == 2).then_some(()))
    })?;
    source.move_leader(topic, 0, 1)
}

/// Broker 2 is down and has missed something: broker 1 goes down too, and broker 2 comes back and leads, without what it has
/// missed. Two of three brokers have to be there for an election: the one that knows better is the one that is down.
fn elect_the_follower(source: &Cluster, topic: &str, its_end: i64) -> Outcome {
    source.kill(1)?;
    source.relaunch(2)?;
    wait_for("the follower leads", Duration::from_secs(120), || {
        Ok((source.leader_of(topic, 0).ok().flatten() == Some(2)).then_some(()))
    })?;
    let end = wait_for("the follower serves", LIMIT, || Ok(end_of(source, topic, 0).ok()))?;
    assert_eq!(end, its_end, "the follower never had the last records");
    Ok(())
}

/// Deletes a topic of the source, and waits until it is gone.
fn delete(cluster: &Cluster, topic: &str) -> Outcome {
    cluster.client().delete_topic(topic)?;
    wait_for("the topic is gone", LIMIT, || Ok((!cluster.client().topics()?.contains(&topic.to_owned())).then_some(())))
}

/// Waits until the copy is the source's, record by record.
fn wait_identical(pair: &Pair, topic: &str, count: usize, mirror: &Kmirror) -> Outcome {
    let (source, target) = (pair.source.bootstrap(), pair.target.bootstrap());
    wait_for("the topic is copied anew", LIMIT, || {
        let ends = [&pair.source, &pair.target].map(|cluster| end_of(cluster, topic, 0).ok());
        let is_there = ends[0] == ends[1] && ends[0] == Some(count as i64);
        Ok((is_there && ledger::expect_identical(&source, &target, topic, count).is_ok()).then_some(()))
    })
    .context(mirror.stderr())
}

#[test]
fn a_copy_that_the_mirror_has_not_made_or_that_somebody_has_written_to_is_never_deleted() -> Outcome {
    let pair = shared()?;
    let name = unique("foreign");
    let [theirs, mixed, ours] = ["theirs", "mixed", "ours"].map(|what| format!("{name}.{what}"));
    for topic in [&theirs, &mixed, &ours] {
        pair.source.create_topic(topic, 1, &[])?;
        write(&pair.source, topic, 0, 1, 40)?;
    }
    pair.target.create_topic(&theirs, 1, &[])?;
    write(&pair.target, &theirs, 0, 9, 100)?;
    let mut mirror = Mirroring::of(&pair.source, &pair.target, &name, &format!("{name}\\..*"))
        .set("on.topic.reset=recreate-target")
        .start()?;
    for topic in [&mixed, &ours] {
        wait_for_end(&pair.target, topic, 0, 40, &mirror)?;
    }
    wait_until_said(&mirror, &["partition parked", &theirs, "another writer"])?;
    write(&pair.target, &mixed, 0, 9, 5)?;
    for topic in [&theirs, &mixed, &ours] {
        delete(&pair.source, topic)?;
        pair.source.create_topic(topic, 1, &[])?;
        write(&pair.source, topic, 0, 2, 30)?;
    }
    wait_identical(pair, &ours, 30, &mirror)?;
    wait_until_said(&mirror, &["not known to have created it", &theirs])?;
    wait_until_said(&mirror, &["its copy is not deleted", &mixed])?;
    assert_eq!(end_of(&pair.target, &theirs, 0)?, 100, "{}", mirror.stderr());
    assert_eq!(end_of(&pair.target, &mixed, 0)?, 45, "{}", mirror.stderr());
    // The sentence says what to do, and the mirror goes on by itself when it is done.
    for topic in [&theirs, &mixed] {
        pair.target.client().delete_topic(topic)?;
        wait_identical(pair, topic, 30, &mirror)?;
    }
    mirror.kill9()
}

#[test]
fn a_topic_is_made_anew_however_long_it_was_away() -> Outcome {
    let pair = shared()?;
    let name = unique("away");
    let [soon, later, long] = ["soon", "later", "long"].map(|what| format!("{name}.{what}"));
    for topic in [&soon, &later, &long] {
        pair.source.create_topic(topic, 1, &[])?;
        write(&pair.source, topic, 0, 1, 100)?;
    }
    let mirroring =
        Mirroring::of(&pair.source, &pair.target, &name, &format!("{name}\\..*")).set("on.topic.reset=recreate-target");
    let mut mirror = mirroring.start()?;
    for topic in [&soon, &later, &long] {
        wait_for_end(&pair.target, topic, 0, 100, &mirror)?;
        delete(&pair.source, topic)?;
    }
    std::thread::sleep(Duration::from_millis(700));
    pair.source.create_topic(&soon, 1, &[])?;
    write(&pair.source, &soon, 0, 2, 30)?;
    wait_until_said(&mirror, &["gone at the source", &later])?;
    pair.source.create_topic(&later, 1, &[])?;
    write(&pair.source, &later, 0, 2, 130)?;
    wait_until_said(&mirror, &["stays away at the source", &long])?;
    for (topic, count) in [(&soon, 30), (&later, 130)] {
        wait_identical(pair, topic, count, &mirror)?;
    }
    // Nothing is left of the one that stays away: the mirror is as well as if it had never been.
    wait_until_said(&mirror, &["state=\"in_sync\""])?;
    assert!(pair.target.client().topics()?.contains(&long), "the copy stays");
    pair.source.create_topic(&long, 1, &[])?;
    write(&pair.source, &long, 0, 2, 20)?;
    wait_identical(pair, &long, 20, &mirror)?;
    let said = mirror.stderr();
    assert!(!said.contains("kind=\"data_loss\"") && !said.contains("unclean") && !said.contains("diverged"), "{said}");
    mirror.kill9()
}

#[test]
fn a_topic_is_made_anew_though_the_mirror_dies_at_every_step() -> Outcome {
    let pair = shared()?;
    let topic = unique("steps");
    let mirroring = Mirroring::pair(pair, &topic).set("on.topic.reset=recreate-target");
    pair.source.create_topic(&topic, 1, &[])?;
    write(&pair.source, &topic, 0, 1, 100)?;
    mirroring.catch_up()?;
    let steps = ["topic is made anew", "its copy was deleted", "topic is mirrored"];
    for (seed, step) in (2..).zip(steps) {
        delete(&pair.source, &topic)?;
        pair.source.create_topic(&topic, 1, &[])?;
        let count = 10 * seed as usize;
        write(&pair.source, &topic, 0, seed, count)?;
        let mut mirror = mirroring.start()?;
        wait_until_said(&mirror, &[step])?;
        mirror.kill9()?;
        let mut mirror = mirroring.start()?;
        wait_identical(pair, &topic, count, &mirror)?;
        mirror.kill9()?;
    }
    Ok(())
}

#[test]
fn a_topic_made_anew_while_it_is_mirrored_is_told_as_that_and_never_as_a_loss() -> Outcome {
    let pair = shared()?;
    let name = unique("churn");
    let topics: Vec<String> = (0..4).map(|number| format!("{name}.{number}")).collect();
    for topic in &topics {
        pair.source.create_topic(topic, 2, &[])?;
        (0..2).try_for_each(|partition| write(&pair.source, topic, partition, 1, 60))?;
    }
    let mut mirror = Mirroring::of(&pair.source, &pair.target, &name, &format!("{name}\\..*"))
        // The topics are looked at so seldom that the partitions find out first.
        .set("refresh.interval.ms=4000")
        .start()?;
    for topic in &topics {
        (0..2).try_for_each(|partition| wait_for_end(&pair.target, topic, partition, 60, &mirror))?;
    }
    for (number, topic) in topics.iter().enumerate() {
        delete(&pair.source, topic)?;
        pair.source.create_topic(topic, 2, &[])?;
        (0..2).try_for_each(|partition| write(&pair.source, topic, partition, 2, 20 + 60 * (number % 2)))?;
    }
    for topic in &topics {
        wait_until_said(&mirror, &["topic_reset", topic])?;
        assert_eq!(end_of(&pair.target, topic, 0)?, 60, "{}", mirror.stderr());
    }
    let said = mirror.stderr();
    for word in ["kind=\"data_loss\"", "kind=\"diverged\"", "unclean", "has been open"] {
        assert!(!said.contains(word), "{word}: {said}");
    }
    let _ = mirror.exited()?;
    mirror.kill9()
}
