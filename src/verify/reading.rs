//! Reads one partition of one cluster from an offset on, as a consumer does that commits nothing.
//!
//! A leader that moves, a broker that is away and an answer that is late are sat out for as long as a request may take;
//! what does not pass by itself ends the reading of this partition. Nothing is taken for read that was not seen: an answer without
//! records proves nothing, as brokers give it also when their remote storage is slow or a quota is used up. That there are no
//! records at some offsets is said by a batch behind them, or by a log that starts behind them.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{BrokerId, FetchRequest};
use tokio::time::Instant;

use super::batches::{self, Batch, Malformed};
use super::translated::Lens;
use crate::config::{Config, IsolationLevel, Side};
use crate::error::{Error, ErrorKind, Result};
use crate::terms::broker_error::{BrokerError, Class};
use crate::wire::admin::refused;
use crate::wire::cluster::{Cluster, topic_name};
use crate::wire::memory::Budget;
use crate::wire::positions::{self, Which};

/// Readers never ask beyond what is there, so a broker hardly waits.
const MAX_WAIT: Duration = Duration::from_millis(500);
/// After an answer without records: some brokers wait for their remote storage as long as the request lets them.
const LONG_WAIT: Duration = Duration::from_secs(5);
/// The smallest and the largest answer that is asked for.
const WINDOW: std::ops::RangeInclusive<usize> = (256 << 10)..=(4 << 20);

/// One partition of one cluster.
pub struct Reader<'a> {
    cluster: &'a Cluster,
    side: Side,
    topic: Rc<str>,
    partition: i32,
    read_committed: bool,
    window: usize,
    budget: Budget,
    leader: Option<i32>,
    /// How long a broker may wait for records.
    max_wait: Duration,
    /// Whether the topic has tiered storage; `None` if it is not known.
    is_tiered: Option<bool>,
    /// If offsets are translated.
    lens: Option<Arc<Lens>>,
}

/// What was read.
pub struct Stretch {
    /// What consumers see of it.
    pub batches: Vec<Batch>,
    /// Everything before it was read.
    pub read_to: i64,
    /// Where the log starts now, if it starts after where reading was to begin.
    pub log_start: Option<i64>,
}

impl<'a> Reader<'a> {
    /// A reader that is one of so many that read at the same time.
    pub fn new(
        cluster: &'a Cluster,
        side: Side,
        (topic, partition): (&str, i32),
        is_tiered: Option<bool>,
        lens: Option<Arc<Lens>>,
        config: &Config,
        readers: usize,
    ) -> Self {
        let window = (config.buffer_memory / readers.max(1)).clamp(*WINDOW.start(), *WINDOW.end());
        Reader {
            cluster,
            side,
            topic: Rc::from(topic),
            partition,
            // A transaction of somebody else on the target holds nobody up who looks for the mirror's records.
            read_committed: config.isolation_level == IsolationLevel::ReadCommitted
                && (lens.is_none() || side == Side::Source),
            window,
            // Twice, so that a batch that is still being compared never keeps the next ones from coming.
            budget: Budget::new(2 * window),
            leader: None,
            max_wait: MAX_WAIT,
            is_tiered,
            lens,
        }
    }

    /// Where the log ends for consumers now.
    pub async fn end(&mut self) -> Result<i64> {
        if let Some(lens) = self.lens.as_ref().filter(|_| self.side == Side::Target) {
            return Ok(lens.map.source_offset_of(lens.map.known_until()));
        }
        let which = if self.read_committed { Which::LastStable } else { Which::HighWatermark };
        self.patiently(async |reader| reader.offset(which).await).await
    }

    /// Reads on from an offset; `to`, which comes after it, is known to exist.
    pub async fn read(&mut self, from: i64, to: i64) -> Result<Stretch> {
        match self.lens.clone() {
            None => self.patiently(async |reader| reader.try_read(from, to).await).await,
            Some(lens) if self.side == Side::Target => self.read_translated(&lens, from, to).await,
            Some(lens) => {
                let mut stretch = self.patiently(async |reader| reader.try_read(from, to).await).await?;
                lens.leave_out_echo(&mut stretch.batches);
                Ok(stretch)
            }
        }
    }

    /// Reads the mirror's records on the target, at offsets of the source.
    async fn read_translated(&mut self, lens: &Lens, from: i64, to: i64) -> Result<Stretch> {
        let (mut next, end) = (lens.map.target_offset_of(from), lens.map.target_offset_next());
        while next < end {
            let stretch = self.patiently(async |reader| reader.try_read(next, end).await).await?;
            let log_start = stretch.log_start.map(|start| lens.map.source_offset_at(start));
            let batches = lens.translate(stretch.batches).map_err(|malformed| self.undecodable(&malformed))?;
            next = stretch.read_to;
            let last = batches.last().map(|batch| batch.last_offset + 1);
            if let Some(read_to) = last.or(log_start).filter(|_| next < end) {
                return Ok(Stretch { batches, read_to, log_start });
            }
            if next >= end {
                return Ok(Stretch { batches, read_to: to, log_start });
            }
        }
        Ok(Stretch { batches: Vec::new(), read_to: to, log_start: None })
    }

    /// Tries until it succeeds, fails in a way that does not pass, or has failed for long.
    async fn patiently<T>(&mut self, mut step: impl AsyncFnMut(&mut Self) -> Result<T, Trouble>) -> Result<T> {
        let config = self.cluster.config();
        let deadline = Instant::now() + config.request_timeout;
        let mut pause = config.retry_backoff;
        loop {
            match step(self).await {
                Ok(value) => return Ok(value),
                Err(Trouble::Final(error)) => return Err(self.located(error)),
                Err(Trouble::Passing(error)) if Instant::now() > deadline => return Err(self.located(error)),
                Err(Trouble::Passing(error)) => {
                    tracing::debug!(topic = &*self.topic, partition = self.partition, %error, "is tried again");
                    self.leader = None;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(config.retry_backoff_max);
                }
            }
        }
    }

    fn located(&self, error: Error) -> Error {
        let Reader { topic, partition, .. } = self;
        let what = format!("topic '{topic}' partition {partition} cannot be read from the {}", self.cluster.side);
        error.context(what).with_partition(&**topic, *partition)
    }

    async fn leader(&mut self) -> Result<i32, Trouble> {
        if let Some(leader) = self.leader {
            return Ok(leader);
        }
        let metadata = self.cluster.metadata(Some(&[self.topic.to_string()]), false).await?;
        let topic = metadata.topics.get(&*self.topic);
        let code = topic.map_or(BrokerError::UNKNOWN_PARTITION.code, |topic| topic.error_code);
        if let Some(error) = BrokerError::of(code) {
            return Err(self.refusal("describe it", error));
        }
        let leader = topic.and_then(|topic| topic.leaders.get(self.partition as usize)).copied();
        let leader = leader.filter(|leader| *leader >= 0).ok_or_else(|| {
            Trouble::Passing(Error::new(ErrorKind::Broker, "it has no leader: check that its brokers are up"))
        })?;
        self.leader = Some(leader);
        Ok(leader)
    }

    fn refusal(&self, what: &str, error: BrokerError) -> Trouble {
        let refusal = refused(self.cluster, what, error, None);
        match error.class {
            Class::Unauthorized | Class::Unauthenticated | Class::Unsupported | Class::Refused => {
                Trouble::Final(refusal)
            }
            _ => Trouble::Passing(refusal),
        }
    }

    async fn offset(&mut self, which: Which) -> Result<i64, Trouble> {
        let connection = self.cluster.broker(self.leader().await?).await?;
        let name = (self.topic.clone(), self.partition);
        let offsets = positions::list_offsets(&connection, std::slice::from_ref(&name), which).await?;
        match offsets.get(&name) {
            Some(Ok(offset)) => Ok(*offset),
            Some(Err(error)) => Err(self.refusal("list its offsets", *error)),
            None => Err(self.refusal("list its offsets", BrokerError::UNKNOWN_PARTITION)),
        }
    }

    async fn try_read(&mut self, from: i64, to: i64) -> Result<Stretch, Trouble> {
        let data = self.fetch(from).await?;
        match BrokerError::of(data.error_code) {
            Some(error) if error.class == Class::OutOfRange => return self.out_of_range(from, to).await,
            Some(error) => return Err(self.refusal(&format!("give offset {from}"), error)),
            None => {}
        }
        let batches = batches::cut(data.records.unwrap_or_default()).map_err(|malformed| self.damaged(&malformed))?;
        let Some(last) = batches.last() else {
            self.max_wait = LONG_WAIT.min(self.cluster.config().request_timeout / 2).max(MAX_WAIT);
            let end = if self.read_committed { data.last_stable_offset } else { data.high_watermark };
            return Err(Trouble::Passing(self.nothing_came(from, to, end)));
        };
        self.max_wait = MAX_WAIT;
        let read_to = last.last_offset.saturating_add(1);
        self.check_order(&batches, from)?;
        let aborted = data.aborted_transactions.unwrap_or_default();
        let aborted: Vec<_> = aborted.iter().map(|aborted| (aborted.producer_id.0, aborted.first_offset)).collect();
        Ok(Stretch { batches: batches::visible(batches, &aborted), read_to, log_start: None })
    }

    /// That nothing came says nothing of what is there.
    fn nothing_came(&self, from: i64, to: i64, end: i64) -> Error {
        let side = self.side.name();
        let mut message = format!(
            "no record came for offset {from}, though its log goes on to {}: that nothing comes does not prove that nothing is there, \
             so what follows counts as not read",
            to.max(end)
        );
        match self.is_tiered {
            Some(true) => message.push_str(&format!(
                "; the topic has tiered storage on the {side} (remote.storage.enable=true): its remote store may be slower than \
                 remote.fetch.max.wait.ms of the brokers allows, or their quota for remote reads is used up"
            )),
            Some(false) => {}
            None => message.push_str(&format!("; the {side} does not tell whether the topic has tiered storage")),
        }
        Error::new(ErrorKind::Broker, message).with_offset(from)
    }

    /// Batches come in order, and the first holds the offset that was asked for or comes after it.
    fn check_order(&self, batches: &[Batch], from: i64) -> Result<(), Trouble> {
        let mut next = from;
        for batch in batches {
            if batch.last_offset < next {
                let reason = "it comes after batches with higher offsets";
                return Err(self.damaged(&Malformed { offset: batch.last_offset, reason }));
            }
            next = batch.last_offset.saturating_add(1);
        }
        Ok(())
    }

    /// What cannot be read stays so.
    fn damaged(&self, malformed: &Malformed) -> Trouble {
        Trouble::Final(damaged(self.side, malformed))
    }

    /// As [`damaged`], for this partition.
    pub fn undecodable(&self, malformed: &Malformed) -> Error {
        self.located(damaged(self.side, malformed))
    }

    /// The log starts later now, or was cut at its end.
    async fn out_of_range(&mut self, from: i64, to: i64) -> Result<Stretch, Trouble> {
        let start = self.offset(Which::LogStart).await?;
        if start > from {
            return Ok(Stretch { batches: Vec::new(), read_to: start.min(to), log_start: Some(start) });
        }
        let end = self.offset(Which::HighWatermark).await?;
        let message = format!("its log ends at offset {end} now, and went on to {to} when the verification began");
        Err(Trouble::Passing(Error::new(ErrorKind::VerificationFailed, message).with_offset(end)))
    }

    async fn fetch(&mut self, offset: i64) -> Result<PartitionData, Trouble> {
        let connection = self.cluster.broker(self.leader().await?).await?;
        let version = connection.version::<FetchRequest>(12)?;
        let wanted = FetchPartition::default()
            .with_partition(self.partition)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(self.window as i32)
            .with_current_leader_epoch(-1)
            .with_last_fetched_epoch(-1)
            .with_log_start_offset(-1);
        // Without a session: brokers have few places for them, and one partition needs none.
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(self.max_wait.as_millis() as i32)
            .with_min_bytes(1)
            .with_max_bytes(self.window as i32)
            .with_isolation_level(i8::from(self.read_committed))
            .with_session_epoch(-1)
            .with_topics(vec![FetchTopic::default().with_topic(topic_name(&self.topic)).with_partitions(vec![wanted])]);
        let room = self.budget.reserve(self.window).await;
        let response = connection.call_reserved(&request, version, room, self.max_wait).await?;
        if let Some(error) = BrokerError::of(response.error_code) {
            return Err(self.refusal("be read", error));
        }
        let mut data = response.responses.into_iter().flat_map(|topic| topic.partitions);
        data.find(|data| data.partition_index == self.partition)
            .ok_or_else(|| self.refusal(&format!("give offset {offset}"), BrokerError::UNKNOWN_PARTITION))
    }
}

fn damaged(side: Side, malformed: &Malformed) -> Error {
    let Malformed { offset, reason } = malformed;
    let message = format!("the batch at offset {offset} of the {} cannot be read: {reason}", side.name());
    Error::new(ErrorKind::VerificationFailed, message).with_offset(*offset)
}

/// Why a step did not succeed.
enum Trouble {
    /// It may the next time.
    Passing(Error),
    /// It never will.
    Final(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Connect | ErrorKind::Broker => Trouble::Passing(error),
            _ => Trouble::Final(error),
        }
    }
}
