//! Reads a topic to its end with librdkafka and says whether two clusters hold the same, record by record.
//!
//! Per record it keeps an offset, a hash of everything and a few bits per field: 24 bytes, so millions of records fit.
//! [`compare`] demands the same offsets, [`compare_sequence`] the same records in the same order at whatever offsets.
//! Both report how many records were compared: "no difference" among none proves nothing, and
//! [`Report::expect_identical`] takes the least number that must have been seen.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, Timestamp, TopicPartitionList};

use super::failure::Context;
use super::raw::{Bounds, Client};
use super::{Outcome, fail, wait_for};

/// No record for this long while reading is taken for a fault.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// How many differences a report spells out.
const SPELLED_OUT: usize = 20;

/// What a reader may see of open and aborted transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    ReadUncommitted,
    ReadCommitted,
}

/// What of a record's timestamp counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stamps {
    /// Its value and whether the producer or the broker gave it.
    WithType,
    /// Its value alone. No client can have a broker store the append time of another broker as one, so a copy keeps
    /// its value only.
    Value,
}

/// A record, reduced to what tells it from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    /// Of all fields together: decides.
    pub(crate) hash: u64,
    /// Some bits of each field's own hash: name the field that differs.
    tags: [u16; 4],
}

const FIELDS: [&str; 4] = ["key", "value", "headers", "timestamp"];

impl Fingerprint {
    pub(crate) fn new<'a>(
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>,
        timestamp: Timestamp,
    ) -> Self {
        let stamp = match timestamp {
            Timestamp::NotAvailable => (0, 0),
            Timestamp::CreateTime(millis) => (1, millis),
            Timestamp::LogAppendTime(millis) => (2, millis),
        };
        let headers: Vec<_> = headers.collect();
        let fields = [hash(&key), hash(&value), hash(&headers), hash(&stamp)];
        Self { hash: hash(&fields), tags: fields.map(|field| field as u16) }
    }

    pub(crate) fn of(message: &BorrowedMessage<'_>, stamps: Stamps) -> Self {
        let headers = message.headers().into_iter().flat_map(Headers::iter);
        let timestamp = match (stamps, message.timestamp()) {
            (Stamps::Value, Timestamp::LogAppendTime(millis)) => Timestamp::CreateTime(millis),
            (_, timestamp) => timestamp,
        };
        Self::new(message.key(), message.payload(), headers.map(|header| (header.key, header.value)), timestamp)
    }

    /// The names of the fields that differ.
    pub(crate) fn difference(&self, other: &Self) -> String {
        let differing: Vec<_> = (0..FIELDS.len())
            .filter(|field| self.tags[*field] != other.tags[*field])
            .map(|field| FIELDS[field])
            .collect();
        match differing.is_empty() {
            true => "a field".to_owned(),
            false => differing.join(", "),
        }
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// One partition as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    /// Log start and end (of committed data: the last stable offset), which a copy must have too even where no record lies.
    pub(crate) bounds: Bounds,
    /// In order of offset.
    pub(crate) records: Vec<(i64, Fingerprint)>,
}

/// A topic as it was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) partitions: BTreeMap<i32, Partition>,
}

impl Ledger {
    /// Reads all that is in a topic now; what is written meanwhile is left out.
    pub(crate) fn read(bootstrap: &str, topic: &str, isolation: Isolation) -> Outcome<Self> {
        Self::read_as(bootstrap, topic, isolation, Stamps::WithType)
    }

    /// The same, with a say in what counts of the timestamps.
    pub(crate) fn read_as(bootstrap: &str, topic: &str, isolation: Isolation, stamps: Stamps) -> Outcome<Self> {
        let client = Client::new(bootstrap);
        let bounds = match isolation {
            Isolation::ReadUncommitted => client.bounds(topic)?,
            Isolation::ReadCommitted => client.stable_bounds(topic)?,
        };
        let consumer = consumer(bootstrap, isolation)?;
        let mut assignment = TopicPartitionList::new();
        let mut ledger = Self::default();
        for (partition, bounds) in bounds {
            assignment.add_partition_offset(topic, partition, Offset::Offset(bounds.start))?;
            let records = Vec::new();
            ledger.partitions.insert(partition, Partition { bounds, records });
        }
        consumer.assign(&assignment)?;
        // By number, because librdkafka reports an end again after each record that comes later.
        let mut open: BTreeSet<i32> = ledger.partitions.keys().copied().collect();
        while !open.is_empty() {
            match consumer.poll(SILENCE_LIMIT) {
                None => {
                    return fail(format!("reading {topic}: no record and no end for {SILENCE_LIMIT:?}"));
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => _ = open.remove(&partition),
                Some(Err(error)) => return Err(error).context(format!("reading {topic}")),
                Some(Ok(message)) => {
                    if !ledger.take(&message, stamps) {
                        open.remove(&message.partition());
                    }
                }
            }
        }
        Ok(ledger)
    }

    /// Whether more may follow in this partition.
    fn take(&mut self, message: &BorrowedMessage<'_>, stamps: Stamps) -> bool {
        let Some(partition) = self.partitions.get_mut(&message.partition()) else {
            return false;
        };
        let offset = message.offset();
        if offset < partition.bounds.end {
            partition.records.push((offset, Fingerprint::of(message, stamps)));
        }
        offset + 1 < partition.bounds.end
    }

    /// Number of records in all partitions.
    pub(crate) fn count(&self) -> usize {
        self.partitions.values().map(|partition| partition.records.len()).sum()
    }

    /// Whether a record with this hash lies at this offset: to check what a writer was acknowledged.
    pub(crate) fn holds(&self, partition: i32, offset: i64, hash: u64) -> bool {
        self.partitions.get(&partition).is_some_and(|partition| {
            partition
                .records
                .binary_search_by_key(&offset, |(offset, _)| *offset)
                .is_ok_and(|found| partition.records[found].1.hash == hash)
        })
    }
}

fn consumer(bootstrap: &str, isolation: Isolation) -> Outcome<BaseConsumer> {
    let isolation = match isolation {
        Isolation::ReadUncommitted => "read_uncommitted",
        Isolation::ReadCommitted => "read_committed",
    };
    Ok(ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "ledger-that-never-commits")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("isolation.level", isolation)
        .set("check.crcs", "true")
        .set("fetch.wait.max.ms", "50")
        // Its default pauses the fetching for a second whenever the queue is full.
        .set("fetch.queue.backoff.ms", "5")
        .create()?)
}

/// What a comparison found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Records that are the same on both sides.
    pub(crate) identical: usize,
    /// Everything that is not, each in words as far as there is room.
    pub(crate) differences: usize,
    pub(crate) first: Vec<String>,
}

impl Report {
    /// An error unless there is no difference and at least `least` records were compared.
    pub(crate) fn expect_identical(&self, least: usize) -> Outcome {
        if self.differences > 0 {
            return fail(self.to_string());
        }
        if self.identical < least {
            return fail(format!("only {} records were compared where {least} were expected", self.identical));
        }
        Ok(())
    }

    fn add(&mut self, difference: impl FnOnce() -> String) {
        self.differences += 1;
        if self.first.len() < SPELLED_OUT {
            self.first.push(difference());
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records identical, {} differences", self.identical, self.differences)?;
        for line in &self.first {
            write!(f, "\n  {line}")?;
        }
        if self.differences > self.first.len() {
            write!(f, "\n  and {} more", self.differences - self.first.len())?;
        }
        Ok(())
    }
}

/// Demands the same partitions, log starts and ends, and the same record at every offset.
pub(crate) fn compare(source: &Ledger, target: &Ledger) -> Report {
    compare_partitions(source, target, |report, index, source, target| {
        if source.bounds.start != target.bounds.start {
            report.add(|| {
                let (source, target) = (source.bounds.start, target.bounds.start);
                format!("partition {index} starts at {source} at the source, at {target} at the target")
            });
        }
        if source.bounds.end != target.bounds.end {
            report.add(|| {
                let (source, target) = (source.bounds.end, target.bounds.end);
                format!("partition {index} ends at {source} at the source, at {target} at the target")
            });
        }
        compare_offsets(report, index, source, target);
    })
}

/// Demands the same records in the same order per partition, at any offsets and with any bounds.
pub(crate) fn compare_sequence(source: &Ledger, target: &Ledger) -> Report {
    compare_partitions(source, target, |report, index, source, target| {
        let renumbered = |partition: &Partition| Partition {
            bounds: partition.bounds,
            records: (0..).zip(partition.records.iter().map(|(_, record)| *record)).collect(),
        };
        compare_offsets(report, index, &renumbered(source), &renumbered(target));
    })
}

/// Reads a topic from both clusters and compares it with [`compare`]; returns the number of identical records.
pub(crate) fn expect_identical(source: &str, target: &str, topic: &str, least: usize) -> Outcome<usize> {
    let mut identical = 0;
    for isolation in [Isolation::ReadUncommitted, Isolation::ReadCommitted] {
        let report = compare(&Ledger::read(source, topic, isolation)?, &Ledger::read(target, topic, isolation)?);
        // How many records a reader of committed data sees is for the source to say.
        let least = if isolation == Isolation::ReadUncommitted { least } else { 0 };
        report.expect_identical(least).context(format!("{topic}, {isolation:?}"))?;
        identical = identical.max(report.identical);
    }
    Ok(identical)
}

/// Waits until every partition of `topic` ends at the target where it ends at the source now.
pub(crate) fn wait_caught_up(source: &str, target: &str, topic: &str, limit: Duration) -> Outcome {
    let wanted = Client::new(source).bounds(topic)?;
    let target = Client::new(target);
    let mut last = None;
    let waited = wait_for(&format!("the target catches up on {topic}"), limit, || {
        // The topic may not be there yet, or a leader be on its way.
        let now = target.bounds(topic);
        let arrived = now.as_ref().is_ok_and(|now| {
            wanted.iter().all(|(partition, wanted)| now.get(partition).is_some_and(|now| now.end >= wanted.end))
        });
        last = Some(now);
        Ok(arrived.then_some(()))
    });
    waited.context(format!("the source has {wanted:?}, the target {last:?}"))
}

fn compare_partitions(
    source: &Ledger,
    target: &Ledger,
    compare: impl Fn(&mut Report, i32, &Partition, &Partition),
) -> Report {
    let mut report = Report::default();
    for (index, partition) in &source.partitions {
        match target.partitions.get(index) {
            Some(other) => compare(&mut report, *index, partition, other),
            None => report.add(|| format!("partition {index} is missing at the target")),
        }
    }
    for index in target.partitions.keys() {
        if !source.partitions.contains_key(index) {
            report.add(|| format!("partition {index} is only at the target"));
        }
    }
    report
}

fn compare_offsets(report: &mut Report, index: i32, source: &Partition, target: &Partition) {
    // Where a record of the target came from, made only when something differs.
    let mut origins = None;
    let mut origin = |record: &Fingerprint| -> String {
        let origins = origins.get_or_insert_with(|| {
            let entries = source.records.iter().map(|(offset, record)| (record.hash, *offset));
            entries.collect::<HashMap<_, _>>()
        });
        match origins.get(&record.hash) {
            Some(offset) => format!("; it is the source's record {offset} (shifted or duplicated)"),
            None => String::new(),
        }
    };
    let mut left = source.records.iter().peekable();
    let mut right = target.records.iter().peekable();
    loop {
        match (left.peek(), right.peek()) {
            (None, None) => return,
            (Some((source_offset, ours)), Some((target_offset, theirs))) if source_offset == target_offset => {
                match ours == theirs {
                    true => report.identical += 1,
                    false => report.add(|| {
                        let (what, whence) = (ours.difference(theirs), origin(theirs));
                        format!("partition {index} offset {source_offset}: {what} differs{whence}")
                    }),
                }
                left.next();
                right.next();
            }
            (Some((source_offset, _)), theirs)
                if theirs.is_none_or(|(target_offset, _)| source_offset < target_offset) =>
            {
                report.add(|| format!("partition {index} offset {source_offset} is missing at the target"));
                left.next();
            }
            (_, Some((target_offset, theirs))) => {
                report.add(|| {
                    let whence = origin(theirs);
                    format!("partition {index} offset {target_offset} is extra at the target{whence}")
                });
                right.next();
            }
            (Some(_), None) => unreachable!("the arm before the last takes every record left over"),
        }
    }
}

#[cfg(test)]
#[path = "ledger_proof.rs"]
mod proof;
