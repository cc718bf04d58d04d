//! `throttle.bytes.per.second`: a mirror copies no more than that, and what it may copy changes while it runs.
//!
//! Only what is too fast is a failure here: how slow a machine is says nothing.

use std::time::{Duration, Instant};

use kmirror::config::Properties;
use kmirror::{ErrorKind, Mirror};

use crate::support::cluster::{shared, unique};
use crate::support::records::{Generator, Writing, produce};
use crate::support::{Outcome, fail, ledger, wait_for};

/// A hang limit, not a measure.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_throttled_mirror_takes_its_time_until_it_is_let_go() -> Outcome {
    const RECORDS: usize = 2_000;
    /// At which all of them would take more than a minute.
    const RATE: u32 = 20_000;
    let pair = shared()?;
    let topic = unique("throttle");
    pair.source.create_topic(&topic, 1, &[])?;
    // About 1.5 MB, in batches of 40 KB.
    let records = Generator::new(5).value_size(800..1000).take(RECORDS);
    let writing = Writing { batch_records: 50, ..Writing::default() };
    produce(&pair.source.bootstrap(), &topic, 0, records, &writing)?;

    let mut properties = Properties::new();
    properties.set("source.bootstrap.servers", pair.source.bootstrap());
    properties.set("target.bootstrap.servers", pair.target.bootstrap());
    properties.set("topics", &*topic).set("name", &*topic).set("throttle.bytes.per.second", RATE.to_string());
    let started = Instant::now();
    let mirror = Mirror::start(properties.build()?.0)?;
    wait_for("it copies", LIMIT, || Ok((mirror.status().replicated_bytes >= 40_000).then_some(())))?;
    match mirror.wait_until_caught_up(Duration::from_secs(1)) {
        Err(error) if error.kind() == ErrorKind::TimedOut => {}
        other => return fail(format!("1.5 MB at {RATE} bytes a second after {:?}: {other:?}", started.elapsed())),
    }
    // What the rate lets through, and what was fetched at the end of it.
    let copied = mirror.status().replicated_bytes;
    let allowed = f64::from(RATE) * started.elapsed().as_secs_f64() + 200_000.0;
    assert!((copied as f64) < allowed, "{copied} bytes, {allowed} are allowed");

    let zero = mirror.set_throttle(Some(0)).err().map(|error| error.kind());
    assert_eq!(zero, Some(ErrorKind::Config));
    mirror.set_throttle(None)?;
    mirror.wait_until_caught_up(Duration::from_secs(120))?;
    mirror.stop(Duration::from_secs(10))?;
    ledger::expect_identical(&pair.source.bootstrap(), &pair.target.bootstrap(), &topic, RECORDS).map(drop)
}
