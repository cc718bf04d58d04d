//! A consumer stops in the middle of a topic at the source and goes on on the target with the very next record.
//! What both have read together is exactly what the source holds: no record is missing, and none comes twice.

use std::collections::BTreeMap;

use crate::support::cluster::{Cluster, Pair, shared, unique};
use crate::support::everything::{COMPACTED, settle};
use crate::support::groups::{self, Protocol};
use crate::support::ledger::{Isolation, Ledger};
use crate::support::mirroring::Mirroring;
use crate::support::records::{Generator, Record, Writing, produce};
use crate::support::transactions::{End, Transactions};
use crate::support::{Outcome, console};

const PARTITIONS: i32 = 2;

/// Makes a topic with records of a certain kind.
type Write = fn(&Cluster, &str) -> Outcome;

fn plain(source: &Cluster, topic: &str) -> Outcome {
    source.create_topic(topic, PARTITIONS, &[])?;
    for partition in 0..PARTITIONS {
        produce(&source.bootstrap(), topic, partition, Generator::new(1).take(150), &Writing::default())?;
    }
    Ok(())
}

/// Of each key only the last record is left, and between them are holes.
fn compacted(source: &Cluster, topic: &str) -> Outcome {
    source.create_topic(topic, PARTITIONS, &COMPACTED)?;
    for partition in 0..PARTITIONS {
        let record = |number: usize| Record {
            key: Some(format!("{}", number * 7 % 90).into_bytes()),
            value: Some(format!("value {number}").into_bytes()),
            headers: Vec::new(),
            timestamp: 1_700_000_000_000 + number as i64,
        };
        produce(&source.bootstrap(), topic, partition, (0..250).map(record), &Writing::default())?;
    }
    settle(source, topic, 91)
}

fn transactional(source: &Cluster, topic: &str) -> Outcome {
    source.create_topic(topic, PARTITIONS, &[])?;
    let transactions = Transactions::open(&source.bootstrap(), &Writing::codec("lz4"))?;
    let mut generator = Generator::new(2);
    for round in 0..40 {
        let end = if round % 3 == 1 { End::Abort } else { End::Commit };
        transactions.write(topic, round % PARTITIONS, generator.by_ref().take(5), end)?;
    }
    Ok(())
}

/// What a reader of committed data finds at the source.
fn all_of(pair: &Pair, topic: &str) -> Outcome<BTreeMap<(i32, i64), u64>> {
    let ledger = Ledger::read(&pair.source.direct(), topic, Isolation::ReadCommitted)?;
    let records = ledger
        .partitions
        .iter()
        .flat_map(|(partition, found)| found.records.iter().map(|(offset, print)| ((*partition, *offset), print.hash)));
    Ok(records.collect())
}

/// A consumer that has read a part at the source.
struct Moving {
    group: String,
    protocol: Protocol,
    read: Vec<groups::Read>,
    /// Where it goes on in a partition that it has not come to at all.
    reset: &'static str,
}

impl Moving {
    fn begin(pair: &Pair, topic: &str, name: &str, protocol: Protocol, most: usize) -> Outcome<Self> {
        let group = format!("{topic}-{name}");
        let read = groups::read(&pair.source, &group, (protocol, "earliest"), topic, most, usize::MAX)?;
        assert_eq!(read.len(), most);
        let has_begun = |partition| read.iter().any(|((read, _), _)| *read == partition);
        let reset = if (0..PARTITIONS).all(has_begun) { "error" } else { "earliest" };
        Ok(Moving { group, protocol, read, reset })
    }
}

/// Three consumers read half at the source, the mirror copies, and they read the rest on the target.
fn move_consumers(pair: &Pair, kind: &str, write: Write) -> Outcome {
    let topic = &unique(&format!("moved-{kind}"));
    write(&pair.source, topic)?;
    let all = all_of(pair, topic)?;
    let begin = |name, protocol| Moving::begin(pair, topic, name, protocol, all.len() / 2);
    let (classic, new) = (begin("classic", Protocol::Classic)?, begin("new", Protocol::Consumer)?);
    let java = begin("java", Protocol::Classic)?;
    Mirroring::pair(pair, topic).catch_up()?;
    for Moving { group, protocol, mut read, reset } in [classic, new] {
        let partitions = PARTITIONS as usize;
        read.extend(groups::read(&pair.target, &group, (protocol, reset), topic, usize::MAX, partitions)?);
        let together: BTreeMap<_, _> = read.iter().copied().collect();
        assert_eq!(together.len(), read.len(), "{group}: no record is read twice");
        assert_eq!(together, all, "{group}: no record is left out");
    }
    // From where librdkafka was with Kafka's own Java client.
    let mut offsets: Vec<(i32, i64)> = java.read.iter().map(|(at, _)| *at).collect();
    offsets.extend(console::read_as_group(&pair.target, topic, &java.group, all.len() - java.read.len())?);
    offsets.sort_unstable();
    assert_eq!(offsets, all.into_keys().collect::<Vec<_>>(), "{}: it goes on with the next record", java.group);
    Ok(())
}

#[test]
fn consumers_go_on_with_the_very_next_record() -> Outcome {
    let pair = shared()?;
    let kinds: [(&str, Write); 3] = [("plain", plain), ("compacted", compacted), ("transactional", transactional)];
    std::thread::scope(|scope| {
        let threads = kinds.map(|(kind, write)| scope.spawn(move || move_consumers(pair, kind, write)));
        threads.into_iter().try_for_each(|thread| thread.join().expect("a thread that moves consumers"))
    })
}
