//! One partition of a cluster in this process: the log of its leader, how far each replica has it, and what makes
//! appends conditional.
//!
//! A follower's log is always a beginning of the leader's, so one log and an end for each replica say everything.
//! Batches are the bytes that were produced, with offset and leader epoch filled in. Nothing here waits or knows a
//! clock.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::batch::samples::{self, Told};
use crate::batch::{self, Header, attributes};

pub(super) const OFFSET_OUT_OF_RANGE: i16 = 1;
pub(super) const CORRUPT_MESSAGE: i16 = 2;
const OUT_OF_ORDER: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const COORDINATOR_FENCED: i16 = 52;
pub(super) const INVALID_RECORD: i16 = 87;
/// A broker knows a producer's last batches by their numbers.
const REMEMBERED: usize = 5;

/// A batch in the log.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) header: Header,
    pub(super) bytes: Bytes,
}

impl Stored {
    pub(super) fn base(&self) -> i64 {
        self.header.base_offset
    }

    pub(super) fn end(&self) -> i64 {
        self.header.last_offset() + 1
    }

    /// The records that are in it.
    pub(super) fn records(&self) -> Vec<Told> {
        batch::split(self.bytes.clone()).flatten().flat_map(|batch| samples::told(&batch)).collect()
    }

    /// The offset of its first record of this time or later.
    pub(super) fn first_of(&self, timestamp: i64) -> Option<i64> {
        self.records().into_iter().find(|told| told.timestamp >= timestamp).map(|told| told.offset)
    }
}

/// What the broker remembers of a producer id.
#[derive(Debug, Clone)]
pub(super) struct Producer {
    pub(super) epoch: i16,
    pub(super) coordinator_epoch: i32,
    /// First and last sequence number, and first offset.
    batches: VecDeque<(i32, i32, i64)>,
    pub(super) open_since: Option<i64>,
}

impl Producer {
    /// One without batches.
    fn new(epoch: i16, coordinator_epoch: i32) -> Self {
        Producer { epoch, coordinator_epoch, batches: VecDeque::new(), open_since: None }
    }

    pub(super) fn last_sequence(&self) -> i32 {
        self.batches.back().map_or(-1, |(_, last, _)| *last)
    }
}

/// How a replica stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Replica {
    pub(super) end: i64,
    pub(super) in_sync: bool,
}

/// An aborted transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aborted {
    pub(super) producer_id: i64,
    pub(super) first: i64,
    pub(super) last: i64,
}

/// One partition.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) batches: Vec<Stored>,
    /// Where it ends while it has no batch.
    first: i64,
    /// First offset that is kept.
    pub(super) start: i64,
    pub(super) high_watermark: i64,
    /// Where each leader epoch begins.
    epochs: Vec<(i32, i64)>,
    /// By number of the broker.
    pub(super) leader: usize,
    pub(super) replicas: Vec<Replica>,
    pub(super) producers: BTreeMap<i64, Producer>,
    aborted: Vec<Aborted>,
}

impl Log {
    /// An empty one on so many brokers.
    pub(super) fn new(brokers: usize, leader: usize) -> Self {
        Log {
            batches: Vec::new(),
            first: 0,
            start: 0,
            high_watermark: 0,
            epochs: vec![(0, 0)],
            leader,
            replicas: vec![Replica { end: 0, in_sync: true }; brokers],
            producers: BTreeMap::new(),
            aborted: Vec::new(),
        }
    }

    pub(super) fn end(&self) -> i64 {
        self.batches.last().map_or(self.first, Stored::end).max(self.first)
    }

    pub(super) fn leader_epoch(&self) -> i32 {
        self.epochs.last().map_or(0, |(epoch, _)| *epoch)
    }

    /// Where the leader's own epoch begins.
    pub(super) fn epoch_start(&self) -> i64 {
        self.epochs.last().map_or(0, |(_, start)| *start)
    }

    /// Where a leader epoch ends, and which that is: the newest that is not newer. `None` for one that it has never
    /// heard of.
    pub(super) fn epoch_end(&self, epoch: i32) -> Option<(i32, i64)> {
        if epoch == self.leader_epoch() {
            return Some((epoch, self.end()));
        }
        let end = self.epochs.iter().find(|(later, _)| *later > epoch)?.1;
        let known = self.epochs.iter().rev().find(|(known, _)| *known <= epoch)?.0;
        Some((known, end))
    }

    /// The first offset that belongs to an open transaction, or the high watermark.
    pub(super) fn last_stable(&self) -> i64 {
        let open = self.producers.values().filter_map(|producer| producer.open_since).min();
        open.unwrap_or(i64::MAX).min(self.high_watermark)
    }

    pub(super) fn aborted_between(&self, from: i64, to: i64) -> Vec<Aborted> {
        self.aborted.iter().filter(|aborted| aborted.last >= from && aborted.first < to).copied().collect()
    }

    pub(super) fn in_sync(&self) -> usize {
        self.replicas.iter().filter(|replica| replica.in_sync).count()
    }

    /// Appends a batch as it was produced. The offset it got, or has got before.
    pub(super) fn append(&mut self, bytes: &Bytes) -> Result<i64, i16> {
        let mut batches = batch::split(bytes.clone());
        let (Some(Ok(batch)), None) = (batches.next(), batches.next()) else { return Err(CORRUPT_MESSAGE) };
        if !batch.is_intact() || batch.len() != bytes.len() {
            return Err(CORRUPT_MESSAGE);
        }
        let header = batch.header;
        if header.record_count != header.last_offset_delta + 1 || header.is_control() || header.base_offset != 0 {
            return Err(INVALID_RECORD);
        }
        if header.producer_id >= 0
            && let Some(base) = self.check(&header)?
        {
            return Ok(base);
        }
        let base = self.end();
        self.push(header, bytes);
        if header.producer_id >= 0 {
            self.remember(&header, base);
        }
        Ok(base)
    }

    /// Whether the producer's batch is next; the offset of one that is there already.
    fn check(&self, header: &Header) -> Result<Option<i64>, i16> {
        let Some(known) = self.producers.get(&header.producer_id) else { return Ok(None) };
        let (first, last) = (header.base_sequence, last_sequence(header));
        if header.producer_epoch < known.epoch {
            return Err(INVALID_PRODUCER_EPOCH);
        }
        if header.producer_epoch > known.epoch {
            return if first == 0 { Ok(None) } else { Err(OUT_OF_ORDER) };
        }
        if let Some(same) = known.batches.iter().find(|batch| (batch.0, batch.1) == (first, last)) {
            return Ok(Some(same.2));
        }
        let next = known.last_sequence().checked_add(1).unwrap_or(0);
        if first == next { Ok(None) } else { Err(OUT_OF_ORDER) }
    }

    fn remember(&mut self, header: &Header, base: i64) {
        let (first, last) = (header.base_sequence, last_sequence(header));
        let known =
            self.producers.entry(header.producer_id).or_insert_with(|| Producer::new(header.producer_epoch, -1));
        if known.epoch != header.producer_epoch {
            known.batches.clear();
            known.epoch = header.producer_epoch;
        }
        known.batches.push_back((first, last, base));
        if known.batches.len() > REMEMBERED {
            known.batches.pop_front();
        }
        if header.attributes & attributes::TRANSACTIONAL != 0 {
            known.open_since.get_or_insert(base);
        }
    }

    fn push(&mut self, header: Header, bytes: &[u8]) {
        let (base, epoch) = (self.end(), self.leader_epoch());
        let mut bytes = bytes.to_vec();
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
        let header = Header { base_offset: base, partition_leader_epoch: epoch, ..header };
        self.batches.push(Stored { header, bytes: bytes.into() });
        let end = self.end();
        self.replicas[self.leader].end = end;
    }

    /// Ends a transaction of a producer, or writes a marker for one that never had any.
    pub(super) fn append_marker(&mut self, producer_id: i64, epoch: i16, fence: i32, commit: bool) -> Result<i64, i16> {
        if let Some(known) = self.producers.get(&producer_id) {
            if epoch < known.epoch {
                return Err(INVALID_PRODUCER_EPOCH);
            }
            if fence < known.coordinator_epoch {
                return Err(COORDINATOR_FENCED);
            }
        }
        let base = self.end();
        let marker = samples::marker_of(0, (producer_id, epoch), u8::from(commit));
        let Some(header) = Header::read(&marker) else { return Err(CORRUPT_MESSAGE) };
        self.push(header, &marker);
        let known = self.producers.entry(producer_id).or_insert_with(|| Producer::new(epoch, fence));
        if known.epoch != epoch {
            known.batches.clear();
        }
        (known.epoch, known.coordinator_epoch) = (epoch, fence);
        if let Some(first) = known.open_since.take().filter(|_| !commit) {
            self.aborted.push(Aborted { producer_id, first, last: base });
        }
        Ok(base)
    }

    /// Whole batches from the one that holds an offset on, before an end. The first one comes whole, however large.
    pub(super) fn read(&self, from: i64, until: i64, max_bytes: usize) -> Vec<u8> {
        let at = self.batches.partition_point(|batch| batch.end() <= from);
        let mut bytes = Vec::new();
        for batch in self.batches[at..].iter().take_while(|batch| batch.end() <= until) {
            if !bytes.is_empty() && bytes.len() + batch.bytes.len() > max_bytes {
                break;
            }
            bytes.extend_from_slice(&batch.bytes);
        }
        bytes
    }

    /// Whether something is not on all in-sync replicas yet.
    pub(super) fn is_behind(&self) -> bool {
        let end = self.end();
        self.high_watermark < end || self.replicas.iter().any(|replica| replica.in_sync && replica.end < end)
    }

    /// A follower has taken everything, and the leader knows it.
    pub(super) fn replicate(&mut self, broker: usize) {
        self.replicas[broker].end = self.end();
        self.advance();
    }

    /// The high watermark is where all in-sync replicas have come.
    pub(super) fn advance(&mut self) {
        let ends = self.replicas.iter().filter(|replica| replica.in_sync).map(|replica| replica.end);
        self.high_watermark = self.high_watermark.max(ends.min().unwrap_or(self.high_watermark));
    }

    /// A replica leads from now on. What it has not got is gone, and it knows the high watermark as of a while ago.
    pub(super) fn elect(&mut self, broker: usize, watermark_lag: i64) {
        let end = self.replicas[broker].end;
        let epoch = self.leader_epoch() + 1;
        self.truncate(end);
        self.leader = broker;
        self.epochs.push((epoch, end));
        self.high_watermark = (self.high_watermark - watermark_lag).max(self.start).min(end);
    }

    fn truncate(&mut self, end: i64) {
        if end >= self.end() {
            return;
        }
        self.batches.retain(|batch| batch.end() <= end);
        (self.first, self.start) = (self.first.min(end), self.start.min(end));
        self.epochs.retain(|(epoch, start)| *epoch == 0 || *start < end);
        self.aborted.retain(|aborted| aborted.last < end);
        for replica in &mut self.replicas {
            replica.end = replica.end.min(end);
        }
        self.read_producers_anew();
    }

    /// The state of producers as the log has it, as after a truncation.
    fn read_producers_anew(&mut self) {
        let fences: BTreeMap<i64, i32> =
            self.producers.iter().map(|(id, known)| (*id, known.coordinator_epoch)).collect();
        self.producers.clear();
        for header in self.batches.iter().map(|batch| batch.header).collect::<Vec<_>>() {
            if header.producer_id < 0 {
                continue;
            }
            if header.is_control() {
                let fence = fences.get(&header.producer_id).copied().unwrap_or(-1);
                let known = self
                    .producers
                    .entry(header.producer_id)
                    .or_insert_with(|| Producer::new(header.producer_epoch, fence));
                (known.epoch, known.coordinator_epoch, known.open_since) = (header.producer_epoch, fence, None);
            } else {
                self.remember(&header, header.base_offset);
            }
        }
    }

    /// The broker has forgotten all producers, but for those with a transaction open.
    pub(super) fn forget_producers(&mut self) {
        self.producers.retain(|_, producer| producer.open_since.is_some());
    }

    /// A restart: of each producer only its last batch is known by its number.
    pub(super) fn restart(&mut self) {
        for producer in self.producers.values_mut() {
            let last = producer.batches.pop_back();
            producer.batches.clear();
            producer.batches.extend(last);
        }
    }

    /// Retention, or somebody who deletes records: nothing before an offset is kept. Whole batches go.
    pub(super) fn delete_before(&mut self, offset: i64) {
        self.start = self.start.max(offset.min(self.high_watermark));
        self.first = self.end();
        let start = self.start;
        self.batches.retain(|batch| batch.end() > start);
    }

    /// The cleaner takes a batch away, never the last one. Ends of transactions stay for long.
    pub(super) fn compact(&mut self, at: usize) {
        if self.batches[at].header.is_control() {
            return;
        }
        if at + 1 < self.batches.len() && self.batches[at].end() <= self.last_stable() {
            self.batches.remove(at);
        }
    }
}

/// The sequence number of a batch's last record.
fn last_sequence(header: &Header) -> i32 {
    ((i64::from(header.base_sequence) + i64::from(header.last_offset_delta)) % (1 << 31)) as i32
}
