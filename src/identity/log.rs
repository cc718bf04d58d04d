//! The internal topic as a log: everything in it is read, and a few records are appended at a time.
//! What the records mean is not known here.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest};
use kafka_protocol::records::{Record, RecordBatchDecoder};

use super::topic_of;
use crate::error::{Error, ErrorKind, Result};
use crate::wire::admin;
use crate::wire::append::{self, Entry};
use crate::wire::cluster::{Cluster, topic_name};
use crate::wire::errors::BrokerError;
use crate::wire::positions::{self, Which};

const PAUSE: Duration = Duration::from_millis(50);

/// The one partition of the internal topic.
pub(super) struct InternalLog<'a> {
    pub(super) target: &'a Cluster,
    pub(super) topic: Rc<str>,
    pub(super) leader: i32,
}

impl<'a> InternalLog<'a> {
    /// The internal topic of a mirror, `None` if there is none.
    pub(super) async fn open(target: &'a Cluster, name: &str) -> Result<Option<Self>> {
        let topic = topic_of(name);
        let metadata = target.metadata(Some(std::slice::from_ref(&topic)), false).await?;
        let found = metadata.topics.get(&topic);
        let error = found.map_or(Some(BrokerError::UNKNOWN_PARTITION), |found| BrokerError::of(found.error_code));
        let leader = found.and_then(|found| found.leaders.first()).copied().unwrap_or(-1);
        let log = InternalLog { target, topic: Rc::from(topic), leader };
        match error {
            None if leader >= 0 => Ok(Some(log)),
            None => Err(Error::new(ErrorKind::Broker, format!("'{}' on the target has no leader", log.topic))),
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
        while next < end {
            let records = self.fetch(next).await?;
            // Brokers that throttle a reader answer with nothing. What is not seen would be written anew, under another number.
            let Some(last) = records.last() else {
                let message =
                    format!("'{}' on the target gave nothing from offset {next} on, but ends at {end}", self.topic);
                return Err(Error::new(ErrorKind::Broker, message));
            };
            next = last.offset + 1;
            all.extend(records);
        }
        Ok((all, end))
    }

    async fn offset(&self, which: Which) -> Result<i64> {
        let deadline = tokio::time::Instant::now() + self.target.config().request_timeout;
        let partition = (self.topic.clone(), 0);
        loop {
            let connection = self.target.broker(self.leader).await?;
            let offsets = positions::list_offsets(&connection, std::slice::from_ref(&partition), which).await?;
            match offsets.get(&partition) {
                Some(Ok(offset)) => return Ok(*offset),
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

    async fn fetch(&self, offset: i64) -> Result<Vec<Record>> {
        const ENOUGH: i32 = 1 << 20;
        let connection = self.target.broker(self.leader).await?;
        let wanted = FetchPartition::default()
            .with_fetch_offset(offset)
            .with_partition_max_bytes(ENOUGH)
            .with_current_leader_epoch(-1)
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
        let mut records = decode(data.records.unwrap_or_default()).map_err(|reason| {
            Error::new(ErrorKind::TargetConflict, format!("'{}' on the target cannot be read: {reason}", self.topic))
        })?;
        records.retain(|record| record.offset >= offset);
        Ok(records)
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
        let outcome = append::append(self.target, &self.topic, self.leader, entries).await?;
        outcome.map_err(|error| self.refused("write", error))
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
    /// Reads up to an offset that is known to be there.
    pub(super) async fn read_until(&mut self, log: &InternalLog<'_>, end: i64) -> Result<Vec<Record>> {
        let mut all = Vec::new();
        while self.next_offset < end {
            let records = log.fetch(self.next_offset).await?;
            let Some(last) = records.last() else {
                let message = format!("'{}' on the target gave nothing from offset {} on", log.topic, self.next_offset);
                return Err(Error::new(ErrorKind::Broker, message));
            };
            self.next_offset = last.offset + 1;
            all.extend(records);
        }
        Ok(all)
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

/// As they are written.
#[cfg(test)]
pub(super) fn encode(entries: Vec<(String, Option<Vec<u8>>)>) -> Result<Bytes> {
    append::encode(of(entries))
}

/// The records of whole batches, or why they cannot be read; brokers may cut off the last batch.
pub(super) fn decode(mut bytes: Bytes) -> Result<Vec<Record>, String> {
    let mut records = Vec::new();
    while let Some(length) = whole_batch(&bytes) {
        let decoded = RecordBatchDecoder::decode(&mut bytes.split_to(length)).map_err(|error| error.to_string())?;
        records.extend(decoded.records);
    }
    Ok(records)
}

/// Length of the batch in front, if all of it is there.
fn whole_batch(bytes: &Bytes) -> Option<usize> {
    let length = bytes.get(8..12).and_then(|field| field.try_into().ok()).map(i32::from_be_bytes)?;
    let total = usize::try_from(length).ok()? + 12;
    (total <= bytes.len()).then_some(total)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn records_that_are_appended_together_are_one_batch_without_a_producer() {
        let entries: Vec<_> = (0..700).map(|n| (format!("topic/{n}"), (n % 3 > 0).then(|| vec![b'x'; 300]))).collect();
        let bytes = encode(entries.clone()).unwrap();
        assert_eq!(whole_batch(&bytes), Some(bytes.len()));
        let header = crate::batch::Header::read(&bytes).unwrap();
        assert_eq!((header.base_offset, header.record_count, header.last_offset_delta), (0, 700, 699));
        assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (-1, -1, -1));
        let read = decode(bytes).unwrap().into_iter().map(|record| {
            (String::from_utf8(record.key.unwrap().to_vec()).unwrap(), record.value.map(|value| value.to_vec()))
        });
        assert_eq!(read.collect::<Vec<_>>(), entries);
    }
}
