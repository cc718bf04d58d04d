//! Looks through the target's logs for copies of the source before a partition is begun of which nothing is remembered.
//!
//! What the brokers know of producers is asked first. They forget, so a log that is not empty is read as well, from its beginning to its
//! end: once, before the first record is appended to it. Nothing is decided here but what [`Guard`] decides.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::Control;
use super::super::prefix::{Waiting, Work, survey};
use crate::batch;
use crate::batch::marker::Origin;
use crate::error::{Error, ErrorKind, Result};
use crate::machine::partition::Identity;
use crate::machine::translation::guard::Guard;
use crate::terms::broker_error::BrokerError;
use crate::terms::topic::{Metadata, TopicPartition};
use crate::wire::positions;

/// How long is read until others have their turn.
const ROUND: Duration = Duration::from_secs(1);
/// Bytes of one read.
const READ: i32 = 4 << 20;

impl Control {
    /// The ends of the target's logs that hold no copies of the source. Of the others is told why they cannot be begun, or they are looked
    /// at again in the next round.
    pub(super) async fn without_copies(
        &self,
        due: &[Rc<Waiting>],
        identity: Identity,
        work: &mut Work,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        let guard = Guard::of(identity.producer_id, Origin::of_cluster(&self.translations.source_id.borrow()));
        let topics: BTreeSet<String> = due.iter().map(|waiting| waiting.target.0.to_string()).collect();
        let metadata = self.target.metadata(Some(&topics.into_iter().collect::<Vec<_>>()), false).await?;
        let partitions: Vec<TopicPartition> = due.iter().map(|waiting| waiting.target.clone()).collect();
        let logs = survey::appendable(&self.target, &metadata, &partitions, guard).await;
        let deadline = Instant::now() + ROUND;
        let mut free = BTreeMap::new();
        for waiting in due {
            let log = match logs.get(&waiting.target) {
                Some(Ok(log)) => *log,
                other => {
                    self.stall(waiting, other.and_then(|answer| answer.as_ref().err()), work);
                    continue;
                }
            };
            if let Some((producer_id, offset)) = log.copy {
                self.refuse_start(waiting, guard.refusal(producer_id, offset));
                continue;
            }
            match self.read_through(waiting, &metadata, log, guard, deadline).await {
                Ok(true) => drop(free.insert(waiting.target.clone(), log.log_end)),
                Ok(false) => self.stall(waiting, None, work),
                Err(error) if error.kind() == ErrorKind::TargetConflict => self.refuse_start(waiting, error),
                Err(error) => self.stall(waiting, Some(&error), work),
            }
        }
        Ok(free)
    }

    /// Reads on in a log; whether all of it was read.
    async fn read_through(
        &self,
        waiting: &Waiting,
        metadata: &Metadata,
        log: survey::Appendable,
        guard: Guard,
        deadline: Instant,
    ) -> Result<bool> {
        let mut next = waiting.looked_until.get().max(log.log_start);
        while next < log.log_end {
            if Instant::now() >= deadline {
                if !waiting.told_of_looking.replace(true) {
                    let (topic, partition, end) = (&*waiting.name.0, waiting.name.1, log.log_end);
                    tracing::info!(
                        topic,
                        partition,
                        end,
                        "the target's log is read before it is appended to: it may hold copies already"
                    );
                }
                return Ok(false);
            }
            let leader = survey::leader_of(metadata, &waiting.target).unwrap_or(-1);
            let connection = self.target.broker(leader).await?;
            let records = positions::look(&connection, &waiting.target, next, READ).await?.map_err(unreadable)?;
            let before = next;
            for seen in batch::walk(&records) {
                if let Some(producer_id) = seen.producer_id.filter(|producer_id| guard.is_copy(*producer_id)) {
                    return Err(guard.refusal(producer_id, Some(seen.base_offset)));
                }
                next = next.max(seen.last_offset.saturating_add(1));
            }
            if next == before {
                return Err(unreadable(BrokerError::CUT_OFF));
            }
            waiting.looked_until.set(next);
        }
        Ok(true)
    }
}

fn unreadable(broker: BrokerError) -> Error {
    let message = format!("the target's log cannot be read to see whether it holds copies already: {broker}");
    Error::new(ErrorKind::Broker, message).with_kafka_code(broker.code)
}
