//! What the tests on real Kafka stand on: brokers, an independent writer and reader, and things that go wrong.
//!
//! - [`cluster`] starts, kills, pauses and restarts real brokers; [`proxy`] spoils the network before them, and
//!   [`tampering`] what goes over it;
//! - [`records`] and [`transactions`] write records, [`ledger`] reads both sides back and says where they differ, both through
//!   librdkafka, so that no fault of the engine can hide itself;
//! - [`everything`] writes whatever a Kafka log can hold; [`console`] reads it with Kafka's own Java consumer;
//! - [`raw`] speaks single requests that librdkafka has no call for, [`hand_made`] makes batches that no client sends;
//! - [`groups`] are consumer groups: their offsets, and their members;
//! - [`late`] makes logs that start late; [`tiered`] is a broker with a remote store that is as slow as a test wants;
//! - [`readme`] has the README's examples;
//! - [`process`] runs the `kmirror` command as a child, to be killed and measured; [`tool`] runs compilers and the like.
//!
//! A missing tool is a failed test with a sentence that says what to install, never a skipped one.
#![allow(dead_code, reason = "a harness offers more than the tests of one day use")]

pub(crate) mod acls;
pub(crate) mod broker;
pub(crate) mod cluster;
pub(crate) mod console;
pub(crate) mod counting;
pub(crate) mod everything;
pub(crate) mod failure;
pub(crate) mod groups;
pub(crate) mod hand_made;
pub(crate) mod late;
pub(crate) mod ledger;
pub(crate) mod mirroring;
pub(crate) mod nursery;
pub(crate) mod process;
pub(crate) mod properties;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod readme;
pub(crate) mod records;
pub(crate) mod tampering;
pub(crate) mod tiered;
pub(crate) mod tool;
pub(crate) mod transaction_load;
pub(crate) mod transactions;
pub(crate) mod warm;

pub(crate) use failure::{Failure, Outcome, fail};

use std::time::{Duration, Instant};

/// Asks `condition` again and again until it answers or `limit` has passed; `what` ends up in the error.
///
/// The limit is there to end a hanging test, not to measure: be generous.
pub(crate) fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Outcome<Option<T>>,
) -> Outcome<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = condition()? {
            return Ok(found);
        }
        if start.elapsed() > limit {
            return fail(format!("waited {limit:?} in vain: {what}"));
        }
        // Most looks ask a broker, which the tests share: what takes long is looked at less often.
        std::thread::sleep((start.elapsed() / 10).clamp(Duration::from_millis(20), Duration::from_millis(250)));
    }
}
