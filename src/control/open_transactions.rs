//! Names transactions of the source that have been open for long: nothing behind them can be copied, or read by anybody who
//! reads what is committed only.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Control;
use crate::config::IsolationLevel;
use crate::error::Result;
use crate::event::{Event, EventKind};
use crate::status::Progress;
use crate::terms::state::State;
use crate::terms::topic::TopicPartition;
use crate::wire::admin;
use crate::wire::positions;

/// How often partitions are looked at.
const INTERVAL: Duration = Duration::from_secs(5);
/// A transaction that holds a partition up for so long is named. Kafka's producers abort after a minute by default.
const LONG: Duration = Duration::from_secs(30);

/// Whose transaction is open, where it is not told.
const NOT_NAMED: &str = "of a producer that the broker does not name";

/// Whose transaction begins at an offset.
pub(super) enum Whose {
    /// This one's.
    Named(String),
    /// Nobody's any more: the broker knows of none that is open there.
    Nobodys,
    /// It cannot be found out, and why.
    NotTold(String),
}

impl Whose {
    /// In words; `None` if no transaction is open there.
    pub(super) fn name(&self) -> Option<String> {
        match self {
            Whose::Named(whose) | Whose::NotTold(whose) => Some(whose.clone()),
            Whose::Nobodys => None,
        }
    }
}

/// A partition whose last stable offset stands still below its high watermark.
struct HeldUp {
    last_stable_offset: i64,
    since: Instant,
    told: bool,
}

fn key_of(progress: &Progress) -> (Arc<str>, i32) {
    (progress.topic.clone(), progress.partition)
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
            let partitions = self.shared.partitions();
            let keys: HashSet<(Arc<str>, i32)> = partitions.iter().map(|progress| key_of(progress)).collect();
            held_up.retain(|key, _| keys.contains(key));
            for progress in partitions {
                let key = key_of(&progress);
                // What is parked is not asked about any more: its numbers are of different times, perhaps of two topics.
                let held_up_at = progress.held_up_at().filter(|_| progress.state() != State::Failed);
                let Some(last_stable_offset) = held_up_at else {
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
        let whose = self.whose_transaction(&progress.topic, progress.partition, offset).await;
        let Some(name) = whose.name() else { return };
        let message = format!(
            "{} (it has been open for more than {} s)",
            self.open_in_words(&progress.topic, progress.partition, (offset, None), &whose),
            LONG.as_secs()
        );
        tracing::warn!(topic = &*progress.topic, partition = progress.partition, "{message}");
        progress.set_open_transaction(Some(name));
        let (topic, partition) = (Some(progress.topic.clone()), Some(progress.partition));
        self.shared.events.send(Event { topic, partition, ..Event::new(EventKind::Error, message) });
    }

    /// What an open transaction means, and how to end it: the same words wherever somebody has to know.
    pub(super) fn open_in_words(
        &self,
        topic: &str,
        partition: i32,
        (offset, end): (i64, Option<i64>),
        whose: &Whose,
    ) -> String {
        let hidden = match end {
            Some(end) => {
                format!("the offsets from there up to {end}, the end of the log, cannot be copied until it ends")
            }
            None => "nothing behind it can be read or copied until it ends".to_owned(),
        };
        format!(
            "topic '{topic}' partition {partition}: a transaction {} is open at the source since offset {offset}: {hidden}; end its \
             producer, or abort it with 'kafka-transactions.sh --bootstrap-server {} abort --topic {topic} --partition {partition} \
             --start-offset {offset}'",
            whose.name().unwrap_or_else(|| NOT_NAMED.to_owned()),
            self.source.config().bootstrap_servers.first().map_or("<source>", String::as_str),
        )
    }

    /// The producer whose transaction begins at an offset, and the transactional id if the coordinators may be asked.
    pub(super) async fn whose_transaction(&self, topic: &str, partition: i32, offset: i64) -> Whose {
        match self.ask_whose(topic, partition, offset).await {
            Ok(whose) => whose,
            Err(error) => Whose::NotTold(format!("of a producer that cannot be found out ({error})")),
        }
    }

    async fn ask_whose(&self, topic: &str, partition: i32, offset: i64) -> Result<Whose> {
        let not_told = || Ok(Whose::NotTold(NOT_NAMED.to_owned()));
        let Some(leader) = self.source_leader_of(topic, partition) else { return not_told() };
        let connection = self.source.broker(leader).await?;
        let asked: TopicPartition = (Rc::from(topic), partition);
        let open = |state: &positions::ProducerState| state.open_since_offset == Some(offset);
        let answer = positions::producers(&connection, std::slice::from_ref(&asked), open).await?;
        let Some(mut answer) = answer else { return not_told() };
        let states = match answer.remove(&asked) {
            Some(Ok(states)) => states,
            Some(Err(error)) => return Ok(Whose::NotTold(format!("{NOT_NAMED} ({error})"))),
            None => return not_told(),
        };
        let Some(state) = states.first() else { return Ok(Whose::Nobodys) };
        let id = state.producer_id;
        Ok(Whose::Named(match admin::transactional_id_of(&self.source, id).await {
            Some(transactional_id) => format!("of transactional id '{transactional_id}' (producer id {id})"),
            None => format!("of producer id {id}"),
        }))
    }
}
