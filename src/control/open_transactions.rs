//! Names transactions of the source that have been open for long: nothing behind them can be copied, or read by anybody who
//! reads what is committed only.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Control;
use crate::config::IsolationLevel;
use crate::error::Result;
use crate::event::{Event, EventKind};
use crate::status::Progress;
use crate::wire::admin;
use crate::wire::positions::{self, TopicPartition};

/// How often partitions are looked at.
const INTERVAL: Duration = Duration::from_secs(5);
/// A transaction that holds a partition up for so long is named. Kafka's producers abort after a minute by default.
const LONG: Duration = Duration::from_secs(30);

/// A partition whose last stable offset stands still below its high watermark.
struct HeldUp {
    last_stable_offset: i64,
    since: Instant,
    told: bool,
}

impl Control {
    /// Looks for open transactions for ever.
    pub(super) async fn watch_transactions(self: Rc<Self>) {
        if self.config.isolation_level != IsolationLevel::ReadCommitted {
            return;
        }
        let mut held_up: HashMap<(Arc<str>, i32), HeldUp> = HashMap::new();
        loop {
            tokio::time::sleep(INTERVAL).await;
            for progress in self.shared.partitions() {
                let key = (progress.topic.clone(), progress.partition);
                let Some(last_stable_offset) = progress.held_up_at() else {
                    if held_up.remove(&key).is_some() {
                        progress.set_open_transaction(None);
                    }
                    continue;
                };
                let known = held_up.entry(key).or_insert_with(|| HeldUp {
                    last_stable_offset,
                    since: Instant::now(),
                    told: false,
                });
                if known.last_stable_offset != last_stable_offset {
                    *known = HeldUp { last_stable_offset, since: Instant::now(), told: false };
                    progress.set_open_transaction(None);
                } else if !known.told && known.since.elapsed() >= LONG {
                    known.told = true;
                    self.tell_open(&progress, last_stable_offset).await;
                }
            }
        }
    }

    async fn tell_open(&self, progress: &Progress, offset: i64) {
        let whose = match self.whose_transaction(progress, offset).await {
            Ok(Some(whose)) => whose,
            Ok(None) => "of a producer that the broker does not name".to_owned(),
            Err(error) => format!("of a producer that cannot be found out ({error})"),
        };
        let message = format!(
            "topic '{}' partition {}: the transaction {whose} has been open at the source since offset {offset}, for more than {} s: \
             nothing behind it can be read or copied until it ends; end its producer, or abort it with \
             'kafka-transactions.sh abort'",
            progress.topic,
            progress.partition,
            LONG.as_secs()
        );
        tracing::warn!(topic = &*progress.topic, partition = progress.partition, "{message}");
        progress.set_open_transaction(Some(whose));
        let (topic, partition) = (Some(progress.topic.clone()), Some(progress.partition));
        self.shared.events.send(Event { topic, partition, ..Event::new(EventKind::Error, message) });
    }

    /// The producer whose transaction begins at an offset, and the transactional id if the coordinators may be asked.
    async fn whose_transaction(&self, progress: &Progress, offset: i64) -> Result<Option<String>> {
        let Some(leader) = self.source_leader(progress) else { return Ok(None) };
        let connection = self.source.broker(leader).await?;
        let partition: TopicPartition = (Rc::from(&*progress.topic), progress.partition);
        let open = |state: &positions::ProducerState| state.open_since_offset == Some(offset);
        let states = positions::producers(&connection, std::slice::from_ref(&partition), open).await?;
        let states = states.and_then(|mut states| states.remove(&partition)).and_then(Result::ok).unwrap_or_default();
        let Some(state) = states.first() else { return Ok(None) };
        let id = state.producer_id;
        Ok(Some(match admin::transactional_id_of(&self.source, id).await {
            Some(transactional_id) => format!("of transactional id '{transactional_id}' (producer id {id})"),
            None => format!("of producer id {id}"),
        }))
    }
}
