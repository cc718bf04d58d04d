//! Clusters that slow a mirror down by quotas, or do not like its clock: it goes on, and says once what it is.
//! How slow it becomes is the quota's business and not looked at.

use std::time::{Duration, Instant};

use super::{end_of, write};
use crate::support::cluster::{shared, unique};
use crate::support::mirroring::Mirroring;
use crate::support::{Outcome, wait_for};

const LIMIT: Duration = Duration::from_secs(240);

#[test]
fn a_mirror_gets_on_under_a_hard_quota_of_the_target_and_says_so_once() -> Outcome {
    let pair = shared()?;
    let topic = unique("quota");
    pair.source.create_topic(&topic, 1, &[])?;
    write(&pair.source.bootstrap(), &topic, 1, 40)?;
    let mirroring = Mirroring::pair(pair, &topic).set(&format!("target.client.id={topic}"));
    // Almost every request is over it, and a fetch that is over it is answered with nothing.
    pair.target.client().set_quota(&topic, "request_percentage", Some(0.1))?;
    let started = Instant::now();
    let mut kmirror = mirroring.command("run", &["--until-caught-up"])?;
    let slowed = "a quota of the target slows the mirror down";
    wait_for("it says that it is slowed down", LIMIT, || Ok(kmirror.stderr().contains(slowed).then_some(())))?;
    assert_eq!(kmirror.wait(LIMIT)?.code(), Some(0), "{}", kmirror.stderr());
    let said = kmirror.stderr();
    // Once, and once more with the count for every minute that it lasts.
    let times = said.matches(slowed).count() as u64;
    assert!((1..=1 + started.elapsed().as_secs() / 60).contains(&times), "{times} times: {said}");
    assert!(!said.contains("did not answer in time"), "a broker that asks to wait is not silent: {said}");
    assert_eq!(end_of(&pair.target, &topic)?, 40, "{said}");
    Ok(())
}

/// As with a clock that is hours ahead of the brokers', whatever they allow.
#[test]
fn what_the_mirror_writes_down_is_taken_whatever_its_clock_says() -> Outcome {
    let pair = shared()?;
    let topic = unique("clock");
    pair.source.create_topic(&topic, 1, &[])?;
    write(&pair.source.bootstrap(), &topic, 1, 40)?;
    let no_time_is_right = [
        ("cleanup.policy", "compact"),
        ("message.timestamp.before.max.ms", "0"),
        ("message.timestamp.after.max.ms", "0"),
    ];
    pair.target.create_topic(&format!("kmirror.{topic}.internal"), 1, &no_time_is_right)?;
    let kmirror = Mirroring::pair(pair, &topic).catch_up()?;
    assert_eq!(end_of(&pair.target, &topic)?, 40, "{}", kmirror.stderr());
    Ok(())
}
