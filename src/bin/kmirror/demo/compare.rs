//! Reads both clusters with librdkafka's consumer, a client that shares no code with the engine, and compares them.
//! A record that only one side has is a difference as much as one with another key, value, header or timestamp.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Headers as _, Message};
use rdkafka::{Offset, Timestamp, TopicPartitionList};

use super::clusters::{Clusters, Quiet, ends, reader};
use super::{Outcome, broken};

/// A record with everything a consumer can see of it.
struct Record {
    offset: i64,
    timestamp: Timestamp,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

type Partition = (&'static str, i32);

/// One side of a partition.
struct Log {
    end: i64,
    records: Vec<Record>,
}

/// What was found in one partition.
pub(super) struct Compared {
    pub(super) topic: &'static str,
    pub(super) partition: i32,
    /// Records at the source.
    pub(super) records: u64,
    pub(super) source_end: i64,
    pub(super) target_end: i64,
    pub(super) differences: Vec<String>,
}

pub(super) struct Comparison(pub(super) Vec<Compared>);

impl Comparison {
    pub(super) fn is_identical(&self) -> bool {
        self.0.iter().all(|partition| partition.differences.is_empty())
    }

    pub(super) fn records(&self) -> u64 {
        self.0.iter().map(|partition| partition.records).sum()
    }
}

/// Reads both sides at the same time. `check` is asked again and again whether to go on.
pub(super) fn compare(clusters: &Clusters, check: impl Fn() -> Outcome) -> Outcome<Comparison> {
    let enough = AtomicBool::new(false);
    let (source, target) = std::thread::scope(|scope| {
        let enough = &enough;
        let [source, target] =
            [clusters.source(), clusters.target()].map(|bootstrap| scope.spawn(move || read(&bootstrap, enough)));
        while !(source.is_finished() && target.is_finished()) {
            if let Err(halt) = check() {
                enough.store(true, Ordering::Relaxed);
                return Err(halt);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let panicked = |_| broken("a reader ended", "panic");
        Ok((source.join().map_err(panicked)??, target.join().map_err(panicked)??))
    })?;
    let pairs = source.into_iter().zip(target);
    Ok(Comparison(pairs.map(|((name, source), (_, target))| compare_logs(name, &source, &target)).collect()))
}

fn compare_logs((topic, partition): Partition, source: &Log, target: &Log) -> Compared {
    let mut differences = Vec::new();
    if source.end != target.end {
        differences.push(format!("the source ends at {}, the target at {}", source.end, target.end));
    }
    let (mut left, mut right) = (source.records.iter().peekable(), target.records.iter().peekable());
    while let Some(offset) = [left.peek(), right.peek()].into_iter().flatten().map(|record| record.offset).min() {
        match (left.next_if(|record| record.offset == offset), right.next_if(|record| record.offset == offset)) {
            (Some(a), Some(b)) => {
                differences.extend(different(a, b).map(|what| format!("offset {offset}: another {what}")));
            }
            (Some(_), None) => differences.push(format!("offset {offset}: missing on the target")),
            _ => differences.push(format!("offset {offset}: only on the target")),
        }
    }
    let records = source.records.len() as u64;
    Compared { topic, partition, records, source_end: source.end, target_end: target.end, differences }
}

fn different(a: &Record, b: &Record) -> Option<&'static str> {
    let parts = [
        (a.timestamp == b.timestamp, "timestamp"),
        (a.key == b.key, "key"),
        (a.value == b.value, "value"),
        (a.headers == b.headers, "headers"),
    ];
    parts.into_iter().find(|(same, _)| !same).map(|(_, what)| what)
}

/// All partitions of one cluster, from their first record to their end.
fn read(bootstrap: &str, enough: &AtomicBool) -> Outcome<BTreeMap<Partition, Log>> {
    let client = reader(bootstrap)?;
    let mut logs = BTreeMap::new();
    let mut assignment = TopicPartitionList::new();
    for (topic, partition, end) in ends(&client)? {
        logs.insert((topic, partition), Log { end, records: Vec::new() });
        let added = assignment.add_partition_offset(topic, partition, Offset::Beginning);
        added.map_err(|error| broken("a partition cannot be read", error))?;
    }
    client.assign(&assignment).map_err(|error| broken("the partitions cannot be read", error))?;
    while !enough.load(Ordering::Relaxed) && logs.values().any(|log| !log.is_complete()) {
        read_one(&client, &mut logs)?;
    }
    Ok(logs)
}

fn read_one(client: &BaseConsumer<Quiet>, logs: &mut BTreeMap<Partition, Log>) -> Outcome {
    let Some(message) = client.poll(Duration::from_millis(50)) else { return Ok(()) };
    let message = message.map_err(|error| broken("a cluster cannot be read", error))?;
    let place = (message.topic(), message.partition());
    let Some((_, log)) = logs.iter_mut().find(|((topic, partition), _)| (*topic, *partition) == place) else {
        return Ok(());
    };
    let header = |header: Header<'_, &[u8]>| (header.key.to_owned(), header.value.map(<[u8]>::to_vec));
    log.records.push(Record {
        offset: message.offset(),
        timestamp: message.timestamp(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: message.headers().map(|headers| headers.iter().map(header).collect()).unwrap_or_default(),
    });
    Ok(())
}

impl Log {
    fn is_complete(&self) -> bool {
        self.end <= 0 || self.records.last().is_some_and(|record| record.offset + 1 >= self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(offsets: &[i64], value: &str) -> Log {
        let record = |offset: &i64| Record {
            offset: *offset,
            timestamp: Timestamp::CreateTime(1),
            key: None,
            value: Some(value.into()),
            headers: Vec::new(),
        };
        Log { end: offsets.last().map_or(0, |last| last + 1), records: offsets.iter().map(record).collect() }
    }

    #[test]
    fn every_difference_is_found() {
        let differences = |a: &Log, b: &Log| compare_logs(("t", 0), a, b).differences;
        assert!(differences(&log(&[0, 1, 2], "a"), &log(&[0, 1, 2], "a")).is_empty());
        assert_eq!(differences(&log(&[0, 1], "a"), &log(&[0], "a")).len(), 2, "the end and the record");
        assert_eq!(differences(&log(&[0], "a"), &log(&[0], "b")), ["offset 0: another value"]);
        let shifted = differences(&log(&[0, 2], "a"), &log(&[1, 2], "a"));
        assert_eq!(shifted, ["offset 0: missing on the target", "offset 1: only on the target"]);
    }
}
