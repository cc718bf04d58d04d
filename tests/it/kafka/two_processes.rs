//! Two processes of one mirror, and one that was stopped for a while: the newest start goes on alone, and nothing of the others is written.
//!
//! The records are years old, so the target's brokers forget the mirror's producer at their next check, and take any sequence number from
//! then on. They check ten times a second here: by default they do it every ten minutes, and one partition in 25 is ruined then by
//! two processes that both write.

mod at_random;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::cluster::{Options, Pair, shared, unique};
use crate::support::failure::Context;
use crate::support::ledger::{self, Isolation, Ledger};
use crate::support::mirroring::Mirroring;
use crate::support::process::Kmirror;
use crate::support::records::{Generator, Load, Record, Writing, produce};
use crate::support::{Outcome, fail, wait_for};

/// A hang limit, not a measure.
const LIMIT: Duration = Duration::from_secs(300);
/// The exit code of a process that another one has followed.
const FENCED: i32 = 5;
const SENTENCE: &str = "has started since: the newest one goes on alone";

/// Clusters of which the target forgets producers of old records in so many milliseconds.
fn forgetful(check_ms: u32) -> Outcome<Pair> {
    let calm = Options::default().never_fenced();
    let target = calm.clone().property("producer.id.expiration.check.interval.ms", &check_ms.to_string());
    Pair::start(calm, target)
}

/// The last offset of all partitions together; nothing while the topic is not there.
fn copied(pair: &Pair, topic: &str) -> i64 {
    pair.target.client().bounds(topic).map_or(0, |bounds| bounds.values().map(|bounds| bounds.end).sum())
}

fn wait_for_more(pair: &Pair, topic: &str, than: i64, mirror: &Kmirror) -> Outcome<i64> {
    let more = wait_for("more is copied", LIMIT, || Ok(Some(copied(pair, topic)).filter(|now| *now > than)));
    more.context(mirror.stderr())
}

/// The load ends, this mirror copies all of it, and both sides are the same.
fn expect_all_copied(pair: &Pair, topic: &str, load: Load, mut mirror: Kmirror) -> Outcome {
    let written = load.stop()?.values().map(Vec::len).sum();
    ledger::wait_caught_up(&pair.source.bootstrap(), &pair.target.bootstrap(), topic, LIMIT)
        .context(mirror.stderr())?;
    expect_the_same(pair, topic, false, written)?;
    mirror.kill9()
}

/// The process waits until nothing of the one that was killed can be under way.
fn wait_until_it_waits(process: &Kmirror) -> Outcome {
    wait_for("it waits for the one that was killed", LIMIT, || {
        Ok(process.stderr().contains("was not stopped in good order").then_some(()))
    })
}

fn mode(mirroring: Mirroring, translates: bool) -> Mirroring {
    if translates { mirroring.set("offsets=translate") } else { mirroring }
}

/// Nothing lost, nothing twice, nothing at another place.
fn expect_the_same(pair: &Pair, topic: &str, translates: bool, least: usize) -> Outcome {
    if !translates {
        return ledger::expect_identical(&pair.source.bootstrap(), &pair.target.bootstrap(), topic, least).map(drop);
    }
    let read = |bootstrap: &str| Ledger::read(bootstrap, topic, Isolation::ReadUncommitted);
    let (source, target) = (read(&pair.source.bootstrap())?, read(&pair.target.bootstrap())?);
    ledger::compare_sequence(&source, &target).expect_identical(least)
}

fn expect_fenced(mirror: &mut Kmirror) -> Outcome {
    let code = mirror.wait(LIMIT)?.code();
    assert_eq!(code, Some(FENCED), "{}", mirror.stderr());
    assert!(mirror.stderr().contains(SENTENCE), "{}", mirror.stderr());
    Ok(())
}

#[test]
fn a_process_that_was_stopped_writes_nothing_when_it_wakes_up() -> Outcome {
    const RECORDS: usize = 20_000;
    let pair = forgetful(100)?;
    for translates in [false, true] {
        let topic = unique("stopped");
        pair.source.create_topic(&topic, 1, &[])?;
        let writing = Writing { batch_records: 200, ..Writing::default() };
        let records = Generator::new(3).value_size(1000..1001).take(RECORDS);
        produce(&pair.source.bootstrap(), &topic, 0, records, &writing)?;
        let mirroring = mode(Mirroring::pair(&pair, &topic), translates);
        // A batch each second, for longer than any wait in here: it has something to write whenever it wakes up.
        let mut stopped = mirroring.clone().set("throttle.bytes.per.second=200000").start()?;
        wait_for_more(&pair, &topic, 0, &stopped)?;
        stopped.signal(Signal::SIGSTOP)?;
        std::thread::sleep(Duration::from_millis(300));
        let at = copied(&pair, &topic);
        assert!(at < RECORDS as i64, "the throttle lets everything pass at once");
        let next = mirroring.catch_up()?;
        assert!(next.stderr().contains("was not stopped in good order"), "{}", next.stderr());
        // So that the broker knows nothing of the mirror when it wakes up.
        wait_for("the broker forgets the mirror", LIMIT, || {
            Ok(pair.target.client().producers(&topic, 0)?.is_empty().then_some(()))
        })?;
        let end = copied(&pair, &topic);
        stopped.signal(Signal::SIGCONT)?;
        expect_fenced(&mut stopped)?;
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(copied(&pair, &topic), end, "it has written something: {}", stopped.stderr());
        expect_the_same(&pair, &topic, translates, RECORDS)?;
    }
    Ok(())
}

#[test]
fn the_newest_start_goes_on_alone() -> Outcome {
    let pair = shared()?;
    for translates in [false, true] {
        let topic = unique("newest");
        pair.source.create_topic(&topic, 3, &[])?;
        let load = Load::start(&pair.source.bootstrap(), &topic, 3, 2000, 1, &Writing::default())?;
        let mirroring = mode(Mirroring::pair(pair, &topic), translates);
        let mut first = mirroring.start()?;
        let before = wait_for_more(pair, &topic, 1000, &first)?;
        let mut second = mirroring.start()?;
        expect_fenced(&mut first)?;
        wait_for_more(pair, &topic, before.max(copied(pair, &topic)), &second)?;
        // One that is asked to stop says that it has ended, and nobody waits for it.
        second.signal(Signal::SIGTERM)?;
        assert_eq!(second.wait(LIMIT)?.code(), Some(143), "{}", second.stderr());
        let written = load.stop()?.values().map(Vec::len).sum();
        let third = mirroring.catch_up()?;
        assert!(!third.stderr().contains("was not stopped in good order"), "{}\n{}", second.stderr(), third.stderr());
        expect_the_same(pair, &topic, translates, written)?;
    }
    Ok(())
}

#[test]
fn a_process_that_was_stopped_while_it_waits_for_its_turn_says_that_another_one_has_started() -> Outcome {
    let pair = shared()?;
    let topic = unique("waits");
    pair.source.create_topic(&topic, 1, &[])?;
    let load = Load::start(&pair.source.bootstrap(), &topic, 1, 500, 1, &Writing::default())?;
    let mirroring = Mirroring::pair(pair, &topic);
    let mut first = mirroring.start()?;
    wait_for_more(pair, &topic, 0, &first)?;
    first.kill9()?;
    let mut second = mirroring.clone().set("target.request.timeout.ms=5000").start()?;
    wait_until_it_waits(&second)?;
    second.signal(Signal::SIGSTOP)?;
    let stopped = Instant::now();
    let third = mirroring.start()?;
    wait_for_more(pair, &topic, copied(pair, &topic), &third)?;
    // Longer than its turn and what it asks may take.
    std::thread::sleep(Duration::from_secs(10).saturating_sub(stopped.elapsed()));
    second.signal(Signal::SIGCONT)?;
    expect_fenced(&mut second)?;
    expect_all_copied(pair, &topic, load, third)
}

#[test]
fn a_mirror_stands_by_for_a_promotion_and_goes_on_when_that_is_refused() -> Outcome {
    let pair = shared()?;
    let topic = unique("stands-by");
    pair.source.create_topic(&topic, 2, &[])?;
    let load = Load::start(&pair.source.bootstrap(), &topic, 2, 1000, 1, &Writing::default())?;
    let mirroring = Mirroring::pair(pair, &topic);
    let mut mirror = mirroring.start()?;
    wait_for_more(pair, &topic, 500, &mirror)?;
    let (code, document) = mirroring.document("promote", &["--timeout", "3"])?;
    assert_eq!((code, &document["outcome"]), (7, &"timed_out".into()), "{document}");
    wait_for("the mirror goes on", LIMIT, || {
        assert_eq!(mirror.exited()?, None, "{}", mirror.stderr());
        Ok(mirror.stderr().contains("the promotion was given up").then_some(()))
    })?;
    wait_for_more(pair, &topic, copied(pair, &topic), &mirror)?;
    expect_all_copied(pair, &topic, load, mirror)
}

#[test]
#[ignore = "waits for a promotion that was killed: make nightly"]
fn a_mirror_goes_on_when_a_promotion_was_killed() -> Outcome {
    let pair = shared()?;
    let topic = unique("killed-promotion");
    pair.source.create_topic(&topic, 2, &[])?;
    let load = Load::start(&pair.source.bootstrap(), &topic, 2, 1000, 1, &Writing::default())?;
    let mirroring = Mirroring::pair(pair, &topic);
    let mut mirror = mirroring.start()?;
    wait_for_more(pair, &topic, 500, &mirror)?;
    let mut promotion = mirroring.command("promote", &["--timeout", "600"])?;
    // Longer than the silence after which it is believed to be dead: it says now and then that it is not.
    std::thread::sleep(Duration::from_secs(15));
    assert!(!mirror.stderr().contains("nothing was heard"), "{}", mirror.stderr());
    promotion.kill9()?;
    wait_for("the mirror goes on", LIMIT, || {
        assert_eq!(mirror.exited()?, None, "{}", mirror.stderr());
        Ok(mirror.stderr().contains("nothing was heard of the promotion").then_some(()))
    })?;
    wait_for_more(pair, &topic, copied(pair, &topic), &mirror)?;
    expect_all_copied(pair, &topic, load, mirror)
}

#[test]
fn a_mirror_that_is_starting_stands_by_for_a_promotion_and_goes_on() -> Outcome {
    let pair = shared()?;
    let topic = unique("starting-promotion");
    pair.source.create_topic(&topic, 2, &[])?;
    let load = Load::start(&pair.source.bootstrap(), &topic, 2, 500, 1, &Writing::default())?;
    let mirroring = Mirroring::pair(pair, &topic);
    let mut first = mirroring.start()?;
    wait_for_more(pair, &topic, 100, &first)?;
    first.kill9()?;
    // It waits for the lease of the one before when the promotion begins.
    let mut mirror = mirroring.start()?;
    wait_until_it_waits(&mirror)?;
    let mut promotion = mirroring.command("promote", &["--timeout", "1"])?;
    assert_eq!(promotion.wait(LIMIT)?.code(), Some(7), "{}", promotion.stderr());
    wait_for_more(pair, &topic, copied(pair, &topic), &mirror)?;
    assert_eq!(mirror.exited()?, None, "{}", mirror.stderr());
    expect_all_copied(pair, &topic, load, mirror)
}

#[test]
fn a_mirror_whose_internal_topic_is_deleted_stops() -> Outcome {
    let pair = shared()?;
    let topic = unique("forgotten");
    pair.source.create_topic(&topic, 1, &[])?;
    produce(&pair.source.bootstrap(), &topic, 0, Generator::new(1).take(20), &Writing::default())?;
    let mut mirror = Mirroring::pair(pair, &topic).start()?;
    wait_for_more(pair, &topic, 19, &mirror)?;
    pair.target.client().delete_topic(&format!("kmirror.{topic}.internal"))?;
    assert_eq!(mirror.wait(LIMIT)?.code(), Some(5), "{}", mirror.stderr());
    let said = mirror.stderr();
    assert!(said.contains("internal topic") && said.contains("writes nothing more"), "{said}");
    Ok(())
}

/// What the mirror's internal topic may become while its process is stopped.
enum Memory {
    /// It is deleted and created again.
    Another,
    /// Its leader loses its disk.
    Lost,
}

/// As long as before, or longer, so that its end does not tell: records could be in it that this process has not seen, also the start of another.
#[test]
fn a_mirror_whose_internal_topic_is_not_what_it_was_stops() -> Outcome {
    let pair = Pair::start(Options::default(), Options::default())?;
    for (memory, said) in [
        (Memory::Another, "was deleted and created again"),
        (Memory::Lost, "has lost records that its brokers had acknowledged"),
    ] {
        let topic = unique("not-what-it-was");
        let internal = format!("kmirror.{topic}.internal");
        pair.source.create_topic(&topic, 1, &[])?;
        produce(&pair.source.bootstrap(), &topic, 0, Generator::new(1).take(20), &Writing::default())?;
        let mut mirror = Mirroring::pair(&pair, &topic).start()?;
        wait_for_more(&pair, &topic, 19, &mirror)?;
        // What it writes down of the copy.
        std::thread::sleep(Duration::from_secs(2));
        let before = copied(&pair, &internal);
        mirror.signal(Signal::SIGSTOP)?;
        // Until the lease that it holds is over it may write.
        std::thread::sleep(Duration::from_secs(4));
        match memory {
            Memory::Another => {
                pair.target.client().delete_topic(&internal)?;
                let create = || Ok(pair.target.create_topic(&internal, 1, &[]).ok());
                wait_for("its name is free", LIMIT, create)?;
            }
            Memory::Lost => {
                pair.target.kill(1)?;
                std::fs::remove_dir_all(find(&pair.target.data_directory(1), &format!("{internal}-0"))?)?;
                pair.target.restart(1)?;
            }
        }
        assert_eq!(copied(&pair, &internal), 0);
        let others = Generator::new(2).take(before as usize + 3).map(|record| Record { key: Some(vec![7]), ..record });
        produce(&pair.target.bootstrap(), &internal, 0, others, &Writing::default())?;
        produce(&pair.source.bootstrap(), &topic, 0, Generator::new(3).take(20), &Writing::default())?;
        mirror.signal(Signal::SIGCONT)?;
        assert_eq!(mirror.wait(LIMIT)?.code(), Some(5), "{}", mirror.stderr());
        assert!(mirror.stderr().contains(said), "{}", mirror.stderr());
        assert_eq!(copied(&pair, &topic), 20, "{}", mirror.stderr());
    }
    Ok(())
}

#[test]
fn partitions_at_rest_are_read_again_when_their_broker_comes_back_without_them() -> Outcome {
    let pair = Pair::start(Options::default(), Options::default())?;
    let topic = unique("at-rest");
    pair.source.create_topic(&topic, 2, &[])?;
    let write = |partition, seed, count| {
        let records = Generator::new(seed).take(count);
        produce(&pair.source.bootstrap(), &topic, partition, records, &Writing::default())
    };
    for partition in 0..2 {
        write(partition, 1, 100)?;
    }
    let mut mirror = Mirroring::pair(&pair, &topic).start()?;
    wait_for_more(&pair, &topic, 199, &mirror)?;
    pair.target.kill(1)?;
    for partition in 0..2 {
        std::fs::remove_dir_all(find(&pair.target.data_directory(1), &format!("{topic}-{partition}"))?)?;
    }
    pair.target.restart(1)?;
    // One after the other: the first has the connection opened anew, over which the second is sent.
    for (partition, expected) in [(0, 101), (1, 202)] {
        write(partition, 2, 1)?;
        let waited = wait_for("it is copied", LIMIT, || {
            if mirror.stderr().contains("partition parked") {
                return fail("a partition is parked");
            }
            Ok((copied(&pair, &topic) >= expected).then_some(()))
        });
        waited.context(mirror.stderr())?;
    }
    expect_the_same(&pair, &topic, false, 202)?;
    mirror.kill9()
}

/// The directory of this name below another one.
fn find(directory: &std::path::Path, name: &str) -> Outcome<std::path::PathBuf> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|found| found == name) {
                return Ok(path);
            }
            if let Ok(found) = find(&path, name) {
                return Ok(found);
            }
        }
    }
    fail(format!("no {name} below {}", directory.display()))
}
