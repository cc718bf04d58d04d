//! The internal topic as a log: everything in it is read, and a few records are appended at a time.
//! What the records mean is not known here.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest};

use super::topic_of;
use crate::batch::records::Records;
use crate::batch::{self, Malformed};
use crate::clock::since_boot;
use crate::error::{Error, ErrorKind, Result};
use crate::planted::{self, Bug};
use crate::terms::broker_error::BrokerError;
use crate::wire::admin;
use crate::wire::append::{self, Entry};
use crate::wire::cluster::{Cluster, topic_name};
use crate::wire::positions::{self, Which};

const PAUSE: Duration = Duration::from_millis(50);
/// An internal topic that gives nothing so often does not give what it has.
const EMPTY_ANSWERS: u32 = 10;
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// Bytes that a batch of an internal topic may have when it is not compressed any more; mirrors write much smaller ones.
const LARGEST_BATCH: usize = 16 << 20;

/// A record of an internal topic. It has its own bytes, so that it does not keep the answer that it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(super) offset: i64,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    /// When it was written, in milliseconds since 1970.
    pub(super) timestamp_ms: i64,
    /// The leader epoch in which it was written.
    pub(super) leader_epoch: i32,
}

/// What one look at an internal topic has given.
#[derive(Debug)]
struct Portion {
    records: Vec<Record>,
    /// Where to read on; where the look began if there was nothing.
    next_offset: i64,
    /// It says nothing, because a quota holds it back.
    is_held_back: bool,
}

/// The one partition of the internal topic.
pub(super) struct InternalLog<'a> {
    pub(super) target: &'a Cluster,
    pub(super) topic: Rc<str>,
    pub(super) leader: i32,
    /// The topic's id; 0 of brokers that give none, or if nobody was asked.
    pub(super) id: u128,
    /// What is read is read only from a leader in this epoch; -1 for any.
    pub(super) leader_epoch: i32,
}

impl<'a> InternalLog<'a> {
    /// The internal topic of a mirror, `None` if there is none.
    pub(super) async fn open(target: &'a Cluster, name: &str) -> Result<Option<Self>> {
        let topic = topic_of(name);
        let metadata = target.metadata(Some(std::slice::from_ref(&topic)), false).await?;
        let found = metadata.topics.get(&topic);
        let error = found.map_or(Some(BrokerError::UNKNOWN_PARTITION), |found| BrokerError::of(found.error_code));
        let leader = found.and_then(|found| found.leaders.first()).copied().unwrap_or(-1);
        let id = found.map_or(0, |found| found.id);
        let log = InternalLog { target, topic: Rc::from(topic), leader, id, leader_epoch: -1 };
        match error {
            None if leader >= 0 => Ok(Some(log)),
            None => Err(log.strange(ErrorKind::Broker, "has no leader")),
            Some(error) if error.code == BrokerError::UNKNOWN_PARTITION.code => Ok(None),
            Some(error) => Err(log.refused("show", error)),
        }
    }

    /// The same for what can only be done when there is one.
    pub(super) async fn open_existing(target: &'a Cluster, name: &str) -> Result<Self> {
        Self::open(target, name).await?.ok_or_else(|| {
            let message = format!("the mirror's internal topic '{}' is gone on the target", topic_of(name));
            Error::new(ErrorKind::Broker, message)
        })
    }
}

impl InternalLog<'_> {
    /// What is in it from an offset on, and where it ends.
    pub(super) async fn read_from(&self, first: i64) -> Result<(Vec<Record>, i64)> {
        let start = self.offset(Which::LogStart).await?;
        let end = self.offset(Which::HighWatermark).await?;
        let (mut next, mut all) = (start.max(first), Vec::new());
        let mut empty = 0;
        while next < end {
            let portion = self.fetch(next).await?;
            if portion.next_offset <= next && planted::is(Bug::SilenceIsTheEnd) {
                break;
            }
            // So does one whose quota is used up, and the next request waits for as long as it has asked for.
            if portion.next_offset <= next && empty < EMPTY_ANSWERS {
                tokio::time::sleep(PAUSE.saturating_mul(1 << empty).min(LONGEST_PAUSE)).await;
                empty += 1;
                continue;
            }
            // Brokers that throttle a reader answer with nothing. What is not seen would be written anew, under another number.
            if portion.next_offset <= next {
                let what = format!("gave nothing from offset {next} on, but ends at {end}");
                return Err(self.strange(ErrorKind::Broker, &what));
            }
            next = portion.next_offset;
            all.extend(portion.records);
        }
        Ok((all, end))
    }

    /// An error that the topic itself makes.
    fn strange(&self, kind: ErrorKind, what: &str) -> Error {
        Error::new(kind, format!("'{}' on the {} {what}", self.topic, self.target.side))
    }

    async fn offset(&self, which: Which) -> Result<i64> {
        self.offset_and_epoch(which).await.map(|(offset, _)| offset)
    }

    /// The epoch that its leader is in; -1 of brokers that do not tell.
    pub(super) async fn current_epoch(&self) -> Result<i32> {
        self.offset_and_epoch(Which::HighWatermark).await.map(|(_, epoch)| epoch)
    }

    async fn offset_and_epoch(&self, which: Which) -> Result<(i64, i32)> {
        let deadline = tokio::time::Instant::now() + self.target.config().request_timeout;
        let partition = (self.topic.clone(), 0);
        loop {
            let connection = self.target.broker(self.leader).await?;
            let offsets = positions::offsets_and_epochs(&connection, std::slice::from_ref(&partition), which).await?;
            match offsets.get(&partition) {
                Some(Ok(found)) => return Ok(*found),
                // A leader that was elected a moment ago does not know it everywhere yet.
                _ if tokio::time::Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
                Some(Err(error)) => return Err(self.refused("read", *error)),
                None => return Err(self.refused("read", BrokerError::UNKNOWN_PARTITION)),
            }
        }
    }

    fn refused(&self, verb: &str, error: BrokerError) -> Error {
        admin::refused(self.target, &format!("{verb} the mirror's internal topic '{}'", self.topic), error, None)
    }

    async fn fetch(&self, offset: i64) -> Result<Portion> {
        const ENOUGH: i32 = 1 << 20;
        let connection = self.target.broker(self.leader).await?;
        let wanted = FetchPartition::default()
            .with_fetch_offset(offset)
            .with_partition_max_bytes(ENOUGH)
            .with_current_leader_epoch(self.leader_epoch)
            .with_last_fetched_epoch(-1)
            .with_log_start_offset(-1);
        let topic = FetchTopic::default().with_topic(topic_name(&self.topic)).with_partitions(vec![wanted]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(500)
            .with_min_bytes(1)
            .with_max_bytes(ENOUGH)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let response = connection.call(&request, connection.version::<FetchRequest>(12)?).await?;
        let data = response.responses.into_iter().flat_map(|topic| topic.partitions).next().unwrap_or_default();
        if let Some(error) = BrokerError::of(data.error_code) {
            return Err(self.refused("read", error));
        }
        let is_held_back = response.throttle_time_ms > 0;
        let portion = read(data.records.unwrap_or_default(), offset)
            .map_err(|reason| self.strange(ErrorKind::TargetConflict, &format!("cannot be read: {reason}")))?;
        Ok(Portion { is_held_back, ..portion })
    }

    /// Writes a record; without a value it takes the one of this key away.
    pub(super) async fn append(&self, key: &str, value: Option<Vec<u8>>) -> Result<()> {
        self.append_all(vec![(key.to_owned(), value)]).await.map(drop)
    }

    /// Writes records, in as many batches as it takes, in this order; returns the offset behind the last.
    pub(super) async fn append_many(&self, entries: Vec<(String, Option<Vec<u8>>)>) -> Result<i64> {
        let mut end = 0;
        for portion in append::portions(of(entries)) {
            end = self.write(portion).await?;
        }
        Ok(end)
    }

    /// Writes records, all of them or none; returns the offset behind the last.
    pub(super) async fn append_all(&self, entries: Vec<(String, Option<Vec<u8>>)>) -> Result<i64> {
        self.write(of(entries)).await
    }

    async fn write(&self, entries: Vec<Entry>) -> Result<i64> {
        let (asked_at, count) = (since_boot(), entries.len() as i64);
        let outcome = append::append(self.target, &self.topic, self.leader, entries, append::NO_TIME).await?;
        let end = outcome.map_err(|error| self.refused("write", error))?;
        if let Some(notes) = self.target.notes() {
            notes.appended(asked_at, end.saturating_sub(count), end);
        }
        Ok(end)
    }
}

fn of(entries: Vec<(String, Option<Vec<u8>>)>) -> Vec<Entry> {
    entries.into_iter().map(|(key, value)| Entry { key: key.into_bytes(), value }).collect()
}

/// Reads the internal topic again and again, each time what is new, also what another process of the same mirror has written.
#[derive(Debug, Default)]
pub(super) struct Follower {
    next_offset: i64,
}

impl Follower {
    /// Where it reads on.
    pub(super) fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Hands out what is new up to an offset that is known to be there, in portions: a topic that somebody else writes may be larger than
    /// the memory. What was handed out is not handed out again, also if the rest cannot be read.
    pub(super) async fn read_until(
        &mut self,
        log: &InternalLog<'_>,
        end: i64,
        mut take: impl FnMut(Vec<Record>),
    ) -> Result<()> {
        while self.next_offset < end {
            let portion = log.fetch(self.next_offset).await?;
            if portion.next_offset <= self.next_offset {
                return Err(match portion.is_held_back {
                    true => log.refused("read", BrokerError::HELD_BACK),
                    false => {
                        log.strange(ErrorKind::Broker, &format!("gave nothing from offset {} on", self.next_offset))
                    }
                });
            }
            self.next_offset = portion.next_offset;
            take(portion.records);
        }
        Ok(())
    }
}

/// What a [`Follower`] has read.
pub(super) struct News {
    pub(super) records: Vec<Record>,
    /// What was read before does not count: the topic is read for the first time, is gone, or is another one now.
    pub(super) anew: bool,
}

impl Follower {
    /// One that takes what is before an offset as read.
    pub(super) fn from(next_offset: i64) -> Self {
        Follower { next_offset }
    }

    pub(super) async fn read(&mut self, target: &Cluster, name: &str) -> Result<News> {
        let before = self.next_offset;
        let Some(log) = InternalLog::open(target, name).await? else {
            self.next_offset = 0;
            return Ok(News { records: Vec::new(), anew: true });
        };
        let (mut records, mut end) = log.read_from(before).await?;
        let is_another = end < before;
        if is_another {
            (records, end) = log.read_from(0).await?;
        }
        self.next_offset = end;
        Ok(News { records, anew: is_another || before == 0 })
    }
}

/// What [`Follower::follow`] hands out.
pub(super) enum Followed {
    /// What was read before does not count.
    Anew,
    /// Records, in their order.
    Records(Vec<Record>),
}

impl Follower {
    /// Hands out what is new, in portions.
    pub(super) async fn follow(&mut self, cluster: &Cluster, name: &str, mut take: impl FnMut(Followed)) -> Result<()> {
        let Some(log) = InternalLog::open(cluster, name).await? else {
            self.next_offset = 0;
            take(Followed::Anew);
            return Ok(());
        };
        let end = log.offset(Which::HighWatermark).await?;
        if end < self.next_offset || self.next_offset == 0 {
            self.next_offset = 0;
            take(Followed::Anew);
        }
        self.next_offset = self.next_offset.max(log.offset(Which::LogStart).await?);
        self.read_until(&log, end, |records| take(Followed::Records(records))).await
    }
}

/// As they are written.
#[cfg(test)]
pub(super) fn encode(entries: Vec<(String, Option<Vec<u8>>)>) -> Result<Bytes> {
    append::encode(of(entries), append::NO_TIME)
}

#[cfg(test)]
pub(super) fn decode(bytes: Bytes) -> Result<Vec<Record>, String> {
    read(bytes, 0).map(|portion| portion.records)
}

/// The records of whole batches from an offset on, or why they cannot be read; brokers may cut off the last batch. No length
/// and no count in them is believed.
fn read(bytes: Bytes, from: i64) -> Result<Portion, String> {
    let mut portion = Portion { records: Vec::new(), next_offset: from, is_held_back: false };
    for batch in batch::split(bytes) {
        let batch = batch.map_err(why)?;
        let header = batch.header;
        if !batch.is_intact() {
            return Err(why(Malformed::Damaged { offset: header.base_offset }));
        }
        portion.next_offset = portion.next_offset.max(header.last_offset().saturating_add(1));
        // Markers: somebody else writes to this topic in transactions.
        if header.is_control() {
            continue;
        }
        let payload = batch.decompressed_within(LARGEST_BATCH).map_err(why)?;
        for record in Records::new(&header, &payload) {
            let offset = header.base_offset;
            let record = record.map_err(|reason| why(Malformed::Corrupt { offset, reason }))?;
            let offset = offset.saturating_add(record.offset_delta.into());
            if offset >= from {
                let [key, value] = [record.key, record.value].map(|part| part.map(Bytes::copy_from_slice));
                let (timestamp_ms, leader_epoch) = (record.timestamp(&header), header.partition_leader_epoch);
                portion.records.push(Record { offset, key, value, timestamp_ms, leader_epoch });
            }
        }
    }
    Ok(portion)
}

fn why(malformed: Malformed) -> String {
    match malformed {
        Malformed::OldFormat { offset, magic } => format!("the batch at offset {offset} has message format {magic}"),
        Malformed::Damaged { offset } => format!("the batch at offset {offset} does not fit its checksum"),
        Malformed::Corrupt { offset, reason } => format!("the batch at offset {offset} is no record batch: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn records_that_are_appended_together_are_one_batch_without_a_producer() {
        let entries: Vec<_> = (0..700).map(|n| (format!("topic/{n}"), (n % 3 > 0).then(|| vec![b'x'; 300]))).collect();
        let bytes = encode(entries.clone()).unwrap();
        assert_eq!(batch::split(bytes.clone()).map(|batch| batch.unwrap().len()).sum::<usize>(), bytes.len());
        let header = batch::Header::read(&bytes).unwrap();
        assert_eq!((header.base_offset, header.record_count, header.last_offset_delta), (0, 700, 699));
        assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (-1, -1, -1));
        let read = decode(bytes).unwrap().into_iter().map(|record| {
            (String::from_utf8(record.key.unwrap().to_vec()).unwrap(), record.value.map(|value| value.to_vec()))
        });
        assert_eq!(read.collect::<Vec<_>>(), entries);
    }

    /// A batch of two records, with changes, the checksum made right again.
    fn batch(change: impl FnOnce(&mut Vec<u8>)) -> Bytes {
        let entries = vec![("key".to_owned(), Some(b"value".to_vec())), ("key".to_owned(), None)];
        let mut bytes = encode(entries).unwrap().to_vec();
        change(&mut bytes);
        let length = bytes.len() as i32 - 12;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes.into()
    }

    /// What a broker, or whoever is between it and here, may send: such numbers have ended the process before.
    #[test]
    fn no_number_of_records_or_headers_is_believed() {
        assert_eq!(decode(batch(|_| ())).unwrap().len(), 2);
        let many = batch(|bytes| {
            bytes[23..27].copy_from_slice(&(i32::MAX - 1).to_be_bytes());
            bytes[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
        });
        let (read, taken) = batch::fuzz::memory_of(|| decode(many));
        assert_eq!(
            read.unwrap_err(),
            "the batch at offset 0 is no record batch: it holds fewer records than its header says"
        );
        assert!(taken < 10_000, "{taken}");
        // The first record ends with the number of its headers; its length grows by four bytes.
        let headers = batch(|bytes| {
            let at = 61 + usize::from(bytes[61]) / 2;
            bytes[61] += 8;
            bytes.splice(at..=at, [0xfe, 0xff, 0xff, 0xff, 0x0f]);
        });
        let error = decode(headers).unwrap_err();
        assert!(error.contains("a record of it does not fit its length"), "{error}");
        let damaged = [&batch(|_| ())[..70], &[7]].concat();
        assert!(decode(batch(|bytes| bytes.truncate(70))).is_err());
        assert_eq!(decode(damaged.into()).unwrap(), [], "a batch that is cut off is not there yet");
    }

    #[test]
    fn batches_of_others_are_read_whatever_their_codec_and_markers_passed_over() {
        let entries = vec![("key".to_owned(), Some(vec![b'x'; 5000]))];
        let plain = encode(entries).unwrap();
        for codec in [1, 2, 3, 4] {
            let codec = batch::compression::Codec::of(codec).unwrap();
            let packed = batch::compression::compress(codec, &plain[61..]).unwrap();
            let mut bytes = plain[..61].to_vec();
            bytes.extend(packed);
            let length = bytes.len() as i32 - 12;
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            bytes[22] = codec.bits() as u8;
            let crc = crc32c::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
            assert_eq!(decode(bytes.into()).unwrap(), decode(plain.clone()).unwrap());
        }
        let marker = batch(|bytes| bytes[22] = 0x30);
        let portion = read(marker, 0).unwrap();
        assert_eq!((portion.records.len(), portion.next_offset), (0, 2));
        let behind = read(batch(|_| ()), 1).unwrap();
        assert_eq!((behind.records.len(), behind.next_offset), (1, 2));
    }
}
