//! Transactional writers, step by step, so that a test can interleave them, abort them, and leave them open.
//!
//! Everything sent is in the log before a transaction ends: an abort would throw away what librdkafka still holds, and
//! there would be nothing aborted to test with.

use std::time::Duration;

use rdkafka::producer::Producer;

use rdkafka::error::KafkaError;

use super::cluster::unique;
use super::records::{Acknowledged, Record, Writer, Writing};
use super::{Outcome, fail};

const LIMIT: Duration = Duration::from_secs(60);
/// As long as brokers allow by default: a transaction left open must stay so until the test is over.
const LONG: Duration = Duration::from_secs(900);

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Commit,
    Abort,
}

/// A writer with a transactional id of its own.
pub(crate) struct Transactions {
    writer: Writer,
}

impl Transactions {
    pub(crate) fn open(bootstrap: &str, writing: &Writing) -> Outcome<Self> {
        Self::open_as(bootstrap, writing, &unique("transactions"), LONG)
    }

    /// With a transactional id that may have been used before: a transaction which it had left open is aborted, and its
    /// former user fenced. The broker aborts transactions that are open for longer than `timeout`.
    pub(crate) fn open_as(bootstrap: &str, writing: &Writing, id: &str, timeout: Duration) -> Outcome<Self> {
        let mut config = writing.config(bootstrap);
        config.set("transactional.id", id);
        config.set("transaction.timeout.ms", timeout.as_millis().to_string());
        // May not be longer.
        config.set("message.timeout.ms", timeout.min(Duration::from_secs(120)).as_millis().to_string());
        let writer = Writer::from_config(&config)?;
        writer.producer().init_transactions(LIMIT)?;
        Ok(Self { writer })
    }

    pub(crate) fn begin(&self) -> Outcome {
        Ok(self.writer.producer().begin_transaction()?)
    }

    /// Sends records and waits until they are in the log.
    pub(crate) fn send(&self, topic: &str, partition: i32, records: impl IntoIterator<Item = Record>) -> Outcome {
        for record in records {
            self.writer.send(topic, partition, &record)?;
        }
        self.writer.flush()
    }

    pub(crate) fn end(&self, end: End) -> Outcome {
        Ok(self.try_end(end)?)
    }

    /// Ends a transaction as wanted, or says how it has ended instead: an error means that nobody knows.
    pub(crate) fn end_somehow(&self, wanted: End) -> Outcome<End> {
        let mut end = wanted;
        for _ in 0..20 {
            match self.try_end(end) {
                Ok(()) => return Ok(end),
                Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => end = End::Abort,
                Err(KafkaError::Transaction(error)) if error.is_retriable() => {}
                Err(error) => return Err(error.into()),
            }
        }
        fail("a transaction cannot be ended")
    }

    fn try_end(&self, end: End) -> Result<(), KafkaError> {
        match end {
            End::Commit => self.writer.producer().commit_transaction(LIMIT),
            End::Abort => self.writer.producer().abort_transaction(LIMIT),
        }
    }

    /// A whole transaction of one partition.
    pub(crate) fn write(
        &self,
        topic: &str,
        partition: i32,
        records: impl IntoIterator<Item = Record>,
        end: End,
    ) -> Outcome {
        self.begin()?;
        self.send(topic, partition, records)?;
        self.end(end)
    }

    /// What was acknowledged since the last call, whether committed or not.
    pub(crate) fn take_acknowledged(&self) -> Vec<Acknowledged> {
        self.writer.take_acknowledged()
    }
}
