//! A switch-over on real brokers: what is copied before, that nothing is written after, and that what is reported as missing is
//! what is missing.
//!
//! What was written is counted by librdkafka and by requests of the tests' own, never by what a mirror says of itself.

mod everything;
mod shared_name;

use std::time::Duration;

use kmirror::config::Properties;
use kmirror::{EventKind, Mirror, State};
use serde_json::Value;

use crate::support::cluster::{Cluster, Options, Pair, shared, unique};
use crate::support::groups;
use crate::support::mirroring::Mirroring;
use crate::support::process::Kmirror;
use crate::support::records::{Generator, Load, Writing, produce};
use crate::support::{Outcome, ledger, wait_for};

/// A hang limit, not a measure.
const LIMIT: Duration = Duration::from_secs(90);
/// The exit code of a mirror that was promoted: its name, which is configuration, is used up.
const REFUSED: i32 = 2;

fn write(cluster: &Cluster, topic: &str, partition: i32, count: usize) -> Outcome {
    produce(&cluster.bootstrap(), topic, partition, Generator::new(7).take(count), &Writing::default()).map(drop)
}

fn ends(cluster: &Cluster, topic: &str) -> Outcome<Vec<i64>> {
    Ok(cluster.client().bounds(topic)?.values().map(|bounds| bounds.end).collect())
}

/// A mirror of this name must not start, and must not write.
fn expect_refused(pair: &Pair, mirroring: &Mirroring, topic: &str) -> Outcome {
    let before = ends(&pair.target, topic)?;
    let (mirror, code) = mirroring.finish()?;
    assert_eq!(code, REFUSED, "{}", mirror.stderr());
    let said = mirror.stderr();
    assert!(said.contains("was promoted at 20") && said.contains("promote --undo"), "{said}");
    assert_eq!(ends(&pair.target, topic)?, before);
    Ok(())
}

fn promoted(mirroring: &Mirroring, more: &[&str]) -> Outcome<Value> {
    let (code, document) = mirroring.document("promote", more)?;
    assert_eq!((code, document["outcome"].as_str()), (0, Some("promoted")), "{document}");
    Ok(document["report"].clone())
}

fn wait_until_it_says(kmirror: &mut Kmirror, words: &str) -> Outcome {
    wait_for(&format!("it says '{words}'"), LIMIT, || {
        if kmirror.stderr().contains(words) {
            return Ok(Some(()));
        }
        assert_eq!(kmirror.exited()?, None, "{}", kmirror.stderr());
        Ok(None)
    })
}

#[test]
fn a_switch_over_there_and_the_plan_of_the_way_back() -> Outcome {
    let pair = shared()?;
    let topic = unique("promoted");
    pair.source.create_topic(&topic, 3, &[])?;
    let mirroring = Mirroring::pair(pair, &topic);
    let load = Load::start(&pair.source.bootstrap(), &topic, 3, 2000, 1, &Writing::default())?;
    let mut other = mirroring.start()?;
    load.wait_for_more(2000)?;
    // Under load: it ends when the writers have.
    let mut promoting = mirroring.command("promote", &["--json", "--timeout", "120"])?;
    wait_until_it_says(&mut promoting, "topic is mirrored")?;
    load.wait_for_more(2000)?;
    let written = load.stop()?.values().map(Vec::len).sum();
    let (group, last) = (format!("{topic}-readers"), ends(&pair.source, &topic)?[2]);
    groups::commit(&pair.source, &group, &[(&topic, 2, last)])?;
    assert_eq!(promoting.wait(LIMIT)?.code(), Some(0), "{}", promoting.stderr());
    let document: Value = serde_json::from_str(&promoting.stdout())?;
    let report = &document["report"];
    let facts = ["promoted", "source_reachable", "drained", "records_not_copied"].map(|key| &report[key]);
    assert_eq!(facts, [&Value::from(true), &true.into(), &true.into(), &0.into()], "{document}");
    assert_eq!(report["written_afterwards"], serde_json::json!([]), "{document}");
    ledger::expect_identical(&pair.source.bootstrap(), &pair.target.bootstrap(), &topic, written)?;
    assert_eq!(groups::offset(&pair.target, &group, &topic, 2)?, Some(last), "{document}");
    assert_eq!((&report["groups"]["copied"], &report["groups"]["behind"]), (&1.into(), &0.into()), "{document}");

    // The other process has ended by itself.
    assert_eq!(other.wait(LIMIT)?.code(), Some(REFUSED), "{}", other.stderr());
    assert!(other.stdout().contains("as the mirror was promoted"), "{}", other.stdout());
    assert!(other.stderr().contains("was promoted by another process"), "{}", other.stderr());

    let promoted_at = ends(&pair.target, &topic)?;
    write(&pair.source, &topic, 1, 40)?;
    expect_refused(pair, &mirroring, &topic)?;
    assert_eq!(mirroring.document("promote", &[])?.0, REFUSED);
    assert_eq!(mirroring.plan()?["promoted_at_ms"], report["promoted_at_ms"]);

    write(&pair.target, &topic, 1, 15)?;
    way_back(pair, &mirroring, &topic, promoted_at[1])?;
    let (code, document) = mirroring.document("promote", &["--undo"])?;
    assert_eq!((code, &document["error"]["kind"]), (5, &"target_conflict".into()), "{document}");
    let message = document["error"]["message"].as_str().unwrap_or_default();
    let named = format!("{topic}-1 ended at {} and ends at {}", promoted_at[1], promoted_at[1] + 15);
    assert!(message.contains(&named) && !message.contains(&format!("{topic}-0")), "{message}");
    expect_refused(pair, &mirroring, &topic)
}

/// The plan of the way back, of a mirror whose partition 1 has 40 records more at the source and 15 more on the target.
fn way_back(pair: &Pair, mirroring: &Mirroring, topic: &str, promoted_at: i64) -> Outcome {
    let state = || -> Outcome<_> {
        let topics = (pair.source.client().topics()?, pair.target.client().topics()?);
        Ok((topics, ends(&pair.source, topic)?, ends(&pair.target, topic)?))
    };
    let before = state()?;
    let (code, plan) = mirroring.document("run", &["--reverse"])?;
    let after = state()?;
    let back = format!("kmirror.{topic}-reverse.internal");
    assert!(!after.0.0.contains(&back) && !after.0.1.contains(&back), "it has begun");
    assert_eq!((code, before.1, before.2), (0, after.1, after.2), "{plan}");
    assert_eq!(plan["plan"]["name"], format!("{topic}-reverse"));
    let planned = &plan["topics"][0];
    assert_eq!((&planned["topic"], &planned["action"]), (&topic.into(), &"delete_first".into()), "{plan}");
    let numbers = |partition: usize| {
        ["agree_until", "only_at_old_source", "only_on_target"]
            .map(|key| planned["partitions"][partition][key].as_i64())
    };
    assert_eq!(numbers(1), [Some(promoted_at), Some(40), Some(15)], "{plan}");
    assert_eq!(numbers(0)[1..], [Some(0), Some(0)], "{plan}");
    let mut text = mirroring.command("run", &["--reverse=home"])?;
    assert_eq!(text.wait(LIMIT)?.code(), Some(0), "{}", text.stderr());
    let said = text.stdout();
    assert!(said.contains("40 offsets") && said.contains("would be lost") && said.contains("mirror 'home'"), "{said}");
    Ok(())
}

#[test]
fn a_mark_is_taken_back_while_nobody_has_written_to_the_target() -> Outcome {
    let pair = shared()?;
    let topic = unique("undone");
    pair.source.create_topic(&topic, 2, &[])?;
    write(&pair.source, &topic, 0, 30)?;
    let mirroring = Mirroring::pair(pair, &topic);
    // Nothing to promote yet, and nothing is created for it.
    assert_eq!(mirroring.document("promote", &[])?.0, 2);
    assert!(!pair.target.client().topics()?.contains(&topic));
    mirroring.catch_up()?;
    let (code, document) = mirroring.document("promote", &["--undo"])?;
    assert_eq!(code, 2, "{document}");
    promoted(&mirroring, &[])?;
    write(&pair.source, &topic, 1, 20)?;
    expect_refused(pair, &mirroring, &topic)?;
    let (code, document) = mirroring.document("promote", &["--undo"])?;
    assert_eq!((code, &document["outcome"]), (0, &"undone".into()), "{document}");
    mirroring.catch_up()?;
    ledger::expect_identical(&pair.source.bootstrap(), &pair.target.bootstrap(), &topic, 50)?;
    // And it can be promoted anew.
    promoted(&mirroring, &[])?;
    expect_refused(pair, &mirroring, &topic)
}

#[test]
fn a_kill_before_the_mark_changes_nothing_and_after_it_the_mirror_is_promoted() -> Outcome {
    let pair = shared()?;
    let topic = unique("killed");
    pair.source.create_topic(&topic, 2, &[])?;
    let mirroring = Mirroring::pair(pair, &topic).set("refresh.interval.ms=4000");
    let load = Load::start(&pair.source.bootstrap(), &topic, 2, 1000, 1, &Writing::default())?;
    load.wait_for_more(100)?;
    let mut first = mirroring.start()?;
    wait_until_it_says(&mut first, "topic is mirrored")?;
    first.kill9()?;
    let mut draining = mirroring.command("promote", &["--timeout", "120"])?;
    wait_until_it_says(&mut draining, "topic is mirrored")?;
    load.wait_for_more(1000)?;
    draining.kill9()?;
    let written = load.stop()?.values().map(Vec::len).sum();
    mirroring.catch_up()?;
    ledger::expect_identical(&pair.source.bootstrap(), &pair.target.bootstrap(), &topic, written)?;

    let mut waiting = mirroring.command("promote", &[])?;
    wait_until_it_says(&mut waiting, "is marked as promoted")?;
    waiting.kill9()?;
    write(&pair.source, &topic, 0, 10)?;
    expect_refused(pair, &mirroring, &topic)
}

#[test]
fn what_is_not_copied_in_time_is_not_promoted_unless_it_is_forced() -> Outcome {
    let pair = shared()?;
    let topic = unique("forced");
    pair.source.create_topic(&topic, 2, &[])?;
    write(&pair.source, &topic, 0, 30)?;
    let mirroring = Mirroring::pair(pair, &topic).set("refresh.interval.ms=3000");
    mirroring.catch_up()?;
    let load = Load::start(&pair.source.bootstrap(), &topic, 1, 500, 1, &Writing::default())?;
    load.wait_for_more(100)?;
    let (code, document) = mirroring.document("promote", &["--timeout", "2"])?;
    assert_eq!((code, &document["outcome"]), (7, &"timed_out".into()), "{document}");
    load.stop()?;
    assert_eq!(mirroring.plan()?["promoted_at_ms"], Value::Null, "nothing was marked");
    mirroring.catch_up()?;

    // Records that the mirror did not write park the partition: what the source has there never comes.
    write(&pair.target, &topic, 1, 5)?;
    write(&pair.source, &topic, 1, 17)?;
    let (code, document) = mirroring.document("promote", &["--timeout", "60"])?;
    assert_eq!((code, &document["outcome"]), (5, &"failed".into()), "{document}");
    assert_eq!(mirroring.finish()?.1, 5, "it starts, and is as it was");
    let mut forced = mirroring.command("promote", &["--timeout", "60", "--force", "--json"])?;
    wait_until_it_says(&mut forced, "is marked as promoted")?;
    write(&pair.target, &topic, 0, 6)?;
    assert_eq!(forced.wait(LIMIT)?.code(), Some(0), "{}", forced.stderr());
    let report = serde_json::from_str::<Value>(&forced.stdout())?["report"].clone();
    assert_eq!((&report["promoted"], &report["drained"]), (&true.into(), &false.into()), "{report}");
    // Of the 17 the target has 5 offsets, though of somebody else.
    assert_eq!(report["records_not_copied"], 12, "{report}");
    let source_end = ends(&pair.source, &topic)?[0];
    let written = serde_json::json!([{ "topic": topic, "partition": 0, "from": source_end, "to": source_end + 6 }]);
    assert_eq!(report["written_afterwards"], written, "{report}");
    expect_refused(pair, &mirroring, &topic)
}

/// A mirror in this process that has copied 50 records of each partition, and knows of 30 more in one and 7 in another.
fn behind(pair: &Pair, topic: &str) -> Outcome<Mirror> {
    pair.source.create_topic(topic, 3, &[])?;
    for partition in 0..3 {
        write(&pair.source, topic, partition, 50)?;
    }
    let mut properties = Properties::new();
    for (key, value) in [
        ("source.bootstrap.servers", pair.source.bootstrap().as_str()),
        ("target.bootstrap.servers", pair.target.bootstrap().as_str()),
        ("name", topic),
        ("topics", topic),
        ("refresh.interval.ms", "500"),
    ] {
        properties.set(key, value);
    }
    let mirror = Mirror::start(properties.build()?.0)?;
    mirror.wait_until_caught_up(LIMIT)?;
    mirror.pause()?;
    // A fetch that is under way when it is paused waits for new records for half a second, and they are still copied.
    std::thread::sleep(Duration::from_secs(1));
    write(&pair.source, topic, 0, 30)?;
    write(&pair.source, topic, 2, 7)?;
    wait_for("the mirror knows of them", LIMIT, || {
        let status = mirror.status();
        let known =
            status.topics.iter().flat_map(|topic| &topic.partitions).filter_map(|known| known.source_offset_next);
        Ok((known.sum::<i64>() == 187).then_some(()))
    })?;
    // What was known then is written down when two more rounds have written something.
    let internal = format!("kmirror.{topic}.internal");
    let begin = ends(&pair.target, &internal)?[0];
    wait_for("it is written down", LIMIT, || Ok((ends(&pair.target, &internal)?[0] >= begin + 3).then_some(())))?;
    Ok(mirror)
}

#[test]
fn without_a_source_the_report_is_what_is_missing() -> Outcome {
    let pair = Pair::start(Options::default(), Options::default())?;
    let (stopped, running) = (behind(&pair, "stopped")?, behind(&pair, "running")?);
    stopped.stop(LIMIT)?;
    let before_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as i64;
    pair.source.kill(1)?;

    // As the target says by itself.
    let missing_of = |topic: &str| -> Outcome<Vec<u64>> {
        let ends = ends(&pair.target, topic)?;
        let missing: Vec<u64> =
            [80i64, 50, 57].iter().zip(ends).map(|(source, target)| source.abs_diff(target)).collect();
        assert!(missing.iter().sum::<u64>() > 0, "the test has come to nothing");
        Ok(missing)
    };

    // A process that has never seen the source.
    let mirroring = Mirroring::pair(&pair, "stopped");
    let report = promoted(&mirroring, &["--timeout", "1"])?;
    assert_eq!((&report["source_reachable"], &report["drained"]), (&false.into(), &false.into()), "{report}");
    let wanted = missing_of("stopped")?;
    assert_eq!(report["records_not_copied"], wanted.iter().sum::<u64>(), "{report}");
    assert!(
        report["source_known_at_ms"].as_i64().is_some_and(|at| at > before_ms - 60_000 && at <= before_ms),
        "{report}"
    );
    let partitions = &report["topics"][0]["partitions"];
    for (index, wanted) in wanted.into_iter().enumerate() {
        let partition = &partitions[index];
        assert_eq!(partition["records_not_copied"], wanted, "{report}");
        assert_eq!(partition["source_offset_next"], [80, 50, 57][index], "{report}");
        assert_eq!(partition["ms_not_copied"].is_u64(), wanted > 0, "{report}");
    }

    // The mirror that was running when the source went.
    let report = running.promote(Duration::from_secs(2))?;
    assert!(!report.source_reachable && report.promoted && report.source_error.is_some(), "{report:?}");
    let missing = report.topics[0].partitions.iter().map(|partition| partition.records_not_copied);
    assert_eq!(missing.collect::<Vec<_>>(), missing_of("running")?, "{report:?}");
    assert_eq!(report.records_not_copied, missing_of("running")?.iter().sum::<u64>());
    assert_eq!(running.state(), State::Promoted);
    let told = std::iter::from_fn(|| running.poll(Duration::ZERO));
    let last_state = told.filter(|event| event.kind == EventKind::StateChanged).last().and_then(|event| event.state);
    assert_eq!(last_state, Some(State::Promoted));
    assert!(running.wait_until_caught_up(LIMIT).is_err_and(|error| error.message().contains("was promoted")));
    running.stop(LIMIT)?;

    pair.source.restart(1)?;
    expect_refused(&pair, &mirroring, "stopped")?;
    expect_refused(&pair, &Mirroring::pair(&pair, "running"), "running")
}
