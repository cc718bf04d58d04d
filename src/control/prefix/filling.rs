//! Writes filler: one partition at a time on a connection, so that what a broker is asked for comes in order.
//!
//! The sequence number of a record of filler is its offset, so every append is conditional on all before it, whoever sends
//! it. The first batch travels alone until it is acknowledged, because a broker that knows nothing of the producer
//! takes any first number.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use crate::batch::Stamp;
use crate::batch::compression::Codec;
use crate::batch::filler::Filler;
use crate::error::{Error, ErrorKind, Result};
use crate::event::now_ms;
use crate::machine::partition::Identity;
use crate::status::Progress;
use crate::terms::broker_error::{BrokerError, Class};
use crate::terms::state::Replicated;
use crate::wire::cluster::Cluster;
use crate::wire::connection::Connection;
use crate::wire::produce::{self, Part, Sent, TopicParts};
use crate::wire::removal;

/// Records in a batch of filler, as long as the target takes it: more make the requests no better.
pub(super) const LARGEST_BATCH: u32 = 100_000;
/// Batches under way; a broker recognises a repeated one among the last five.
const IN_FLIGHT: usize = 5;
/// Sizes of batches that are kept; there are few but the last ones of partitions.
const KEPT_SIZES: usize = 16;
const MESSAGE_TOO_LARGE: i16 = 10;
const RECORD_LIST_TOO_LARGE: i16 = 18;
const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;

/// Batches of filler by size, built once.
pub(super) struct Fillers {
    codec: Cell<Codec>,
    built: RefCell<HashMap<u32, Rc<Filler>>>,
}

impl Default for Fillers {
    fn default() -> Self {
        Fillers { codec: Cell::new(Codec::Zstd), built: RefCell::default() }
    }
}

impl Fillers {
    fn of_size(&self, records: u32) -> Result<Rc<Filler>> {
        if let Some(filler) = self.built.borrow().get(&records) {
            return Ok(filler.clone());
        }
        let filler = Rc::new(Filler::build(records, self.codec.get())?);
        let mut built = self.built.borrow_mut();
        if built.len() < KEPT_SIZES {
            built.insert(records, filler.clone());
        }
        Ok(filler)
    }

    /// The target does not take the codec; `false` if there is no other.
    fn use_another_codec(&self) -> bool {
        self.built.borrow_mut().clear();
        self.codec.replace(Codec::Gzip) == Codec::Zstd
    }
}

/// What is to be written to one partition.
pub(super) struct Job {
    pub(super) topic: Rc<str>,
    pub(super) partition: i32,
    pub(super) from: i64,
    pub(super) to: i64,
    /// Records in a batch; made smaller when the target refuses it.
    pub(super) size: Rc<Cell<u32>>,
    pub(super) progress: Arc<Progress>,
    /// Nothing more is to be written.
    pub(super) given_up: Rc<Cell<bool>>,
}

/// Fills partitions of one leader, one after the other, until the time is up. Returns those that cannot be filled.
pub(super) async fn lane(
    target: &Cluster,
    leader: i32,
    jobs: &RefCell<VecDeque<Job>>,
    fillers: &Fillers,
    identity: Identity,
    deadline: Instant,
) -> Vec<(Rc<str>, i32, Error)> {
    let mut failed = Vec::new();
    let connection = match target.dial(leader).await {
        Ok(connection) => connection,
        Err(error) => {
            tracing::warn!(%error, "filler cannot be written; will be tried again");
            return failed;
        }
    };
    while connection.is_open() && Instant::now() < deadline {
        let Some(job) = jobs.borrow_mut().pop_front() else { break };
        let mut fill = Fill { target, connection: &connection, job: &job, fillers, identity, sent: VecDeque::new() };
        match fill.run(deadline).await {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Connect => {
                tracing::warn!(%error, "filler was not acknowledged; will be tried again");
                break;
            }
            Err(error) => failed.push((job.topic.clone(), job.partition, error)),
        }
    }
    failed
}

struct Fill<'a> {
    target: &'a Cluster,
    connection: &'a Connection,
    job: &'a Job,
    fillers: &'a Fillers,
    identity: Identity,
    sent: VecDeque<(Sent, i64, i64)>,
}

/// What an acknowledgement means for the next batch.
enum Answered {
    /// Go on.
    Appended,
    /// What is believed of the log may be wrong: stop, and let it be read again.
    ReadAgain,
}

impl Fill<'_> {
    /// Writes until all is written, the time is up, or the log has to be read again.
    async fn run(&mut self, deadline: Instant) -> Result<()> {
        let mut next = self.job.from;
        let mut window = 1;
        loop {
            let is_over = || self.job.given_up.get() || Instant::now() >= deadline;
            while next < self.job.to && self.sent.len() < window && !is_over() {
                let records = i64::from(self.job.size.get()).min(self.job.to - next);
                self.send(next, records).await?;
                next += records;
            }
            let Some((sent, base, records)) = self.sent.pop_front() else { return Ok(()) };
            match self.receive(sent, base, records).await? {
                Answered::Appended => window = IN_FLIGHT,
                Answered::ReadAgain => return self.drain().await,
            }
        }
    }

    async fn send(&mut self, base: i64, records: i64) -> Result<()> {
        let filler = self.fillers.of_size(records as u32)?;
        let stamp = Stamp {
            producer_id: crate::batch::marker::filler_of(self.identity.producer_id),
            producer_epoch: 0,
            base_sequence: (base % (1 << 31)) as i32,
        };
        let header = filler.header(stamp, now_ms());
        let part = Part { partition: self.job.partition, header, payload: filler.payload() };
        let timeout = self.target.config().request_timeout;
        let id = self.job.progress.ids.target;
        let topic = TopicParts { name: self.job.topic.clone(), id, parts: vec![part] };
        let sent = produce::send(self.connection, &[topic], timeout).await?;
        self.sent.push_back((sent, base, records));
        Ok(())
    }

    async fn receive(&self, sent: Sent, base: i64, records: i64) -> Result<Answered> {
        let response = sent.wait(self.connection).await?;
        let mut answers = response.responses.iter().flat_map(|topic| &topic.partition_responses);
        let Some(answer) = answers.next() else { return Ok(Answered::ReadAgain) };
        let Some(error) = BrokerError::of(answer.error_code) else {
            if answer.base_offset != base {
                return Err(self.another_writer(base, answer.base_offset));
            }
            self.job.progress.set_replicated(Some(base + records), Replicated::default());
            return Ok(Answered::Appended);
        };
        match error.code {
            MESSAGE_TOO_LARGE | RECORD_LIST_TOO_LARGE if self.job.size.get() > 1 => {
                let smaller = (records as u32 / 2).clamp(1, self.job.size.get());
                tracing::info!(topic = &*self.job.topic, records = smaller, "the target takes smaller batches only");
                self.job.size.set(smaller);
            }
            UNSUPPORTED_COMPRESSION_TYPE if self.fillers.use_another_codec() => {}
            _ if matches!(error.class, Class::Leader | Class::Wait | Class::Position) => {}
            _ => {
                let detail = answer.error_message.as_ref().map(|message| message.as_str());
                let what = format!("take what stands for offsets {base} to {}", base + records - 1);
                return Err(removal::missing(self.target, &what, "Write", &self.job.topic, error, detail));
            }
        }
        tracing::debug!(topic = &*self.job.topic, partition = self.job.partition, %error, "filler is not taken");
        Ok(Answered::ReadAgain)
    }

    fn another_writer(&self, expected: i64, got: i64) -> Error {
        let message = format!(
            "another writer appends to the target partition while it is filled: what stands for offset {expected} got offset \
             {got}; delete the topic on the target, and mirror into one that nobody else writes to"
        );
        Error::new(ErrorKind::TargetConflict, message).with_offset(expected)
    }

    /// Waits for all answers, so that nothing is under way when the log is read again.
    async fn drain(&mut self) -> Result<()> {
        while let Some((sent, ..)) = self.sent.pop_front() {
            sent.wait(self.connection).await?;
        }
        Ok(())
    }
}
