//! A byte that changes on its way from the source's disk to the target's: refused by the target, fetched again, never written.
//!
//! A proxy changes it and counts how often; without the proxy's word that a byte inside a payload was changed, a test here would
//! prove nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::cluster::{Options, Pair};
use crate::support::ledger;
use crate::support::mirroring::Mirroring;
use crate::support::records::{Generator, Writing, produce};
use crate::support::tampering::{self, HEADER, RecordsEditor};
use crate::support::{Outcome, fail};

const TOPIC: &str = "orders";
const RECORDS: usize = 6_000;
/// Damaged in one run: several, so that retried batches are damaged too.
const DAMAGED: usize = 3;

/// Changes a byte in the middle of the payload of every second batch, until so many are changed.
fn flip_bytes(flipped: &Arc<AtomicUsize>) -> impl RecordsEditor + use<> {
    let flipped = Arc::clone(flipped);
    let mut seen = 0;
    move |topic, _, records| {
        let Some(batch) = tampering::batches(records).into_iter().find(|batch| batch.len() > HEADER + 20) else {
            return false;
        };
        if topic != TOPIC || flipped.load(Ordering::Relaxed) == DAMAGED {
            return false;
        }
        seen += 1;
        if seen % 2 == 0 {
            return false;
        }
        records[batch.start + HEADER + (batch.len() - HEADER) / 2] ^= 0x10;
        flipped.fetch_add(1, Ordering::Relaxed);
        true
    }
}

fn write(pair: &Pair) -> Outcome {
    pair.source.create_topic(TOPIC, 3, &[])?;
    for (partition, codec) in (0..).zip(["none", "lz4", "zstd"]) {
        let writing = Writing { batch_records: 100, ..Writing::codec(codec) };
        let records = Generator::new(partition as u64).take(RECORDS / 3);
        produce(&pair.source.direct(), TOPIC, partition, records, &writing)?;
    }
    Ok(())
}

/// Mirrors all; the mirror must come to a good end, and tell of nothing worse than a retry.
fn mirror(pair: &Pair, flipped: &AtomicUsize) -> Outcome {
    let mirror = Mirroring::of(&pair.source, &pair.target, "damage", TOPIC).catch_up()?;
    let flipped = flipped.load(Ordering::Relaxed);
    assert_eq!(flipped, DAMAGED, "bytes changed on the way");
    let said = mirror.stderr();
    if said.contains("parked") || said.contains("ERROR") || said.contains("cannot be mirrored") {
        return fail(format!("damage on the way is no reason to give up:\n{said}"));
    }
    ledger::expect_identical(&pair.source.direct(), &pair.target.direct(), TOPIC, RECORDS)?;
    println!("{flipped} damaged payloads refused and fetched again:\n{said}");
    Ok(())
}

#[test]
fn a_byte_changed_on_the_way_to_the_target_is_never_written() -> Outcome {
    let pair = Pair::start(Options::default(), Options::default().proxied())?;
    write(&pair)?;
    let flipped = Arc::new(AtomicUsize::new(0));
    pair.target.proxy(1).edit(Some(tampering::produce_requests(flip_bytes(&flipped))));
    mirror(&pair, &flipped)
}

#[test]
fn a_byte_changed_on_the_way_from_the_source_is_never_written() -> Outcome {
    let pair = Pair::start(Options::default().proxied(), Options::default())?;
    write(&pair)?;
    let flipped = Arc::new(AtomicUsize::new(0));
    pair.source.proxy(1).edit(Some(tampering::fetch_answers(flip_bytes(&flipped))));
    mirror(&pair, &flipped)
}
