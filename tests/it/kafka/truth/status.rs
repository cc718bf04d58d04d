//! The state and the lag that a mirror shows are those of the clusters, not of its memory: a target that is down, or has lost what it
//! had, is not in sync; what was never copied has an age. Nothing here judges copies by what the mirror says of them.

use std::fs::{self, OpenOptions};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kmirror::config::Properties;
use kmirror::{EventKind, Mirror, State, Status};

use super::{LIMIT, end_of};
use crate::support::cluster::{Cluster, Options, shared, unique};
use crate::support::records::{Generator, Writing, produce};
use crate::support::{Outcome, fail, ledger, wait_for};

fn mirror(source: &Cluster, target: &Cluster, name: &str, topics: &str, more: &[(&str, &str)]) -> Outcome<Mirror> {
    let mut properties = Properties::new();
    properties.set("source.bootstrap.servers", source.bootstrap()).set("target.bootstrap.servers", target.bootstrap());
    properties.set("name", name).set("topics", topics).set("refresh.interval.ms", "500");
    for (key, value) in more {
        properties.set(*key, *value);
    }
    Ok(Mirror::start(properties.build()?.0)?)
}

fn wait_status(mirror: &Mirror, what: &str, mut is_so: impl FnMut(&Status) -> bool) -> Outcome<Status> {
    wait_for(what, LIMIT, || {
        let status = mirror.status();
        Ok(is_so(&status).then_some(status))
    })
    .or_else(|error| fail(format!("{error}; its status is {}", serde_json::to_string_pretty(&mirror.status())?)))
}

fn now_ms() -> Outcome<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// Whether every partition is in this state.
fn all_are(status: &Status, state: State) -> bool {
    status.state == state
        && status.topics.iter().flat_map(|topic| &topic.partitions).all(|partition| partition.state == state)
}

#[test]
fn an_idle_target_that_is_down_or_has_lost_its_logs_is_not_in_sync_and_is_copied_again() -> Outcome {
    const RECORDS: usize = 1_000;
    let source = &shared()?.source;
    let target = Cluster::start(Options::default())?;
    let name = unique("idle");
    let [lost, cut] = ["lost", "cut"].map(|what| format!("{name}.{what}"));
    let writing = Writing { batch_records: 50, linger_ms: 100, ..Writing::default() };
    for topic in [&lost, &cut] {
        source.create_topic(topic, 1, &[])?;
        produce(&source.bootstrap(), topic, 0, Generator::new(3).take(RECORDS), &writing)?;
    }
    let mirror = mirror(source, &target, &name, &format!("{lost},{cut}"), &[])?;
    mirror.wait_until_caught_up(LIMIT)?;
    let status = wait_status(&mirror, "it is in sync", |status| all_are(status, State::InSync))?;
    assert!(status.lag.records == Some(0) && status.lag.ms == Some(0), "{:?}", status.lag);

    let killed_at = now_ms()?;
    target.kill(1)?;
    let status = wait_status(&mirror, "it is not in sync", |status| all_are(status, State::Stalled))?;
    for partition in status.topics.iter().flat_map(|topic| &topic.partitions) {
        assert!(partition.error.is_some(), "nothing says why: {partition:?}");
        // A look may have been under way when the broker was killed.
        assert!(partition.lag.as_of.target_ms.is_some_and(|at| at < killed_at + 2_000), "{partition:?}");
        assert!(partition.lag.as_of.source_ms.is_some_and(|at| at > killed_at - 10_000), "{partition:?}");
    }
    let disks = target.data_directory(1);
    fs::remove_dir_all(disks.join(format!("{lost}-0")))?;
    let segment = OpenOptions::new().write(true).open(disks.join(format!("{cut}-0/00000000000000000000.log")))?;
    segment.set_len(segment.metadata()?.len() / 2)?;
    target.restart(1)?;

    for topic in [&lost, &cut] {
        wait_for(&format!("{topic} is copied again"), LIMIT, || {
            Ok(end_of(&target, topic).is_ok_and(|end| end == RECORDS as i64).then_some(()))
        })?;
    }
    wait_status(&mirror, "it is in sync again", |status| all_are(status, State::InSync))?;
    let told = std::iter::from_fn(|| mirror.poll(Duration::ZERO)).filter(|event| event.kind == EventKind::Error);
    let told: Vec<String> = told.map(|event| event.message).collect();
    for topic in [&lost, &cut] {
        assert!(
            told.iter().any(|told| told.contains(topic.as_str()) && told.contains("has lost records")),
            "{told:#?}"
        );
    }
    mirror.stop(Duration::from_secs(10))?;
    for topic in [&lost, &cut] {
        ledger::expect_identical(&source.bootstrap(), &target.bootstrap(), topic, RECORDS)?;
    }
    Ok(())
}

#[test]
fn what_was_never_copied_has_an_age_and_raises_the_alarm() -> Outcome {
    const RECORDS: usize = 500;
    let pair = shared()?;
    let topic = unique("starved");
    pair.source.create_topic(&topic, 1, &[])?;
    // Records of a known age, in batches that are larger than what the quota gives in the time of this test.
    let hour_ago = now_ms()? - 3_600_000;
    let records = Generator::new(7).value_size(900..1000).take(RECORDS).map(|mut record| {
        record.timestamp = hour_ago;
        record
    });
    let writing = Writing { batch_records: 100, linger_ms: 100, ..Writing::default() };
    produce(&pair.source.bootstrap(), &topic, 0, records, &writing)?;
    pair.source.client().limit_reader(&topic, Some(1000.0))?;
    let more = [("source.client.id", &*topic), ("lag.threshold.ms", "2000"), ("lag.interval.ms", "100")];
    let mirror = mirror(&pair.source, &pair.target, &topic, &topic, &more)?;
    let status = wait_status(&mirror, "its lag is known", |status| status.lag.ms.is_some_and(|ms| ms >= 3_600_000))?;
    assert!(status.lag.records.is_some_and(|records| records > 0), "{:?}", status.lag);
    assert!(status.state != State::InSync, "{:?}", status.state);
    wait_status(&mirror, "the quota is told", |status| status.broker_throttle.source_ms.is_some())?;
    wait_for("the alarm", LIMIT, || {
        let event = mirror.poll(Duration::from_millis(100));
        Ok(event.filter(|event| event.kind == EventKind::LagAbove))
    })?;
    pair.source.client().limit_reader(&topic, None)?;
    mirror.stop(Duration::from_secs(1))?;
    Ok(())
}
