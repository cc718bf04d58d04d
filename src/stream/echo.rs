//! Keeps records that came from the target from going back there, where two clusters mirror each other under the same names.
//!
//! Batches of the mirror the other way are known by their producer id, which says what they are copies of ([`Origin`]). The first
//! mirrors wrote under ids that say nothing: whether one is that of such a mirror is looked up when it is seen for the first
//! time, before anything of it is handed out, because the claim is there before the first record is. That it was not found is
//! looked up again after a while, beside the copying. What is left out is counted.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

use super::Stream;
use crate::batch;
use crate::batch::marker::Origin;
use crate::error::Result;
use crate::identity::origins::{Clusters, Origins};
use crate::tasks;
use crate::wire::fetch::FetchedPartition;

/// Looks at the source's internal topics follow each other no faster.
const PAUSE: Duration = Duration::from_millis(200);
/// So long a producer id that was not found counts as one of nobody's.
const NOT_FOUND_FOR: Duration = Duration::from_secs(5);
/// How long it is waited until the target confirms what is claimed: where records are is written down a second after they are.
const DOUBT: Duration = Duration::from_secs(3);

/// What is known of the producers at the source.
#[derive(Default)]
pub(super) struct Echo {
    origins: tokio::sync::Mutex<Origins>,
    /// Producer ids that were looked up, and when; without a time those that are known for good.
    known: RefCell<HashMap<i64, Option<Duration>>>,
    /// Those of them whose records come from the target.
    of_target: RefCell<Rc<[i64]>>,
    /// When was looked last.
    looked: Cell<Option<Duration>>,
    /// Whether those that were not found are being looked up again.
    looking_again: Cell<bool>,
}

impl Echo {
    /// The producer ids whose records come from the target.
    pub(super) fn of_target(&self) -> Rc<[i64]> {
        self.of_target.borrow().clone()
    }

    fn add(&self, producer_ids: impl IntoIterator<Item = i64>) {
        let producer_ids: Vec<i64> = producer_ids.into_iter().collect();
        self.known.borrow_mut().extend(producer_ids.iter().map(|id| (*id, None)));
        let before = self.of_target();
        let all: BTreeSet<i64> = before.iter().copied().chain(producer_ids).collect();
        if all.len() > before.len() {
            *self.of_target.borrow_mut() = all.into_iter().collect();
        }
    }
}

/// The producers in what was fetched of which it has to be found out where their records come from.
#[derive(Default)]
struct Unknown {
    /// They were not seen before.
    new: BTreeSet<i64>,
    /// It was long ago that they were not found.
    old: bool,
}

impl Stream {
    /// Looks up the producers of what was fetched that were not seen before.
    pub(super) async fn look_up_producers(self: &Rc<Self>, fetched: &[FetchedPartition]) -> Result<()> {
        let Unknown { mut new, old } = self.unknown_producers(fetched);
        if old && !self.echo.looking_again.replace(true) {
            tasks::spawn(look_again(self.clone()));
        }
        let target = Origin::of_cluster(&self.target_id);
        let from_target = new.iter().copied().filter(|id| Origin::of_producer(*id) == Some(target));
        self.echo.add(from_target);
        new.retain(|id| {
            let says = Origin::of_producer(*id);
            if says.is_some() {
                self.echo.known.borrow_mut().insert(*id, None);
            }
            says.is_none()
        });
        if new.is_empty() {
            return Ok(());
        }
        let mut origins = self.echo.origins.lock().await;
        let began = self.now();
        loop {
            self.pause_between_looks().await;
            origins.read(self.clusters()).await?;
            self.echo.add(origins.producers());
            if !new.iter().any(|id| origins.is_doubtful(*id)) || self.now() > began + DOUBT {
                break;
            }
        }
        let now = self.now();
        for id in new {
            origins.tell_of_doubts(id);
            self.echo.known.borrow_mut().entry(id).or_insert(Some(now));
        }
        Ok(())
    }

    fn clusters(&self) -> Clusters<'_> {
        let own = Some(self.identity.producer_id);
        Clusters { source: &self.source, target: &self.target, target_id: &self.target_id, own }
    }

    async fn pause_between_looks(&self) {
        if let Some(rest) = self.echo.looked.get().and_then(|looked| (looked + PAUSE).checked_sub(self.now())) {
            tokio::time::sleep(rest).await;
        }
        self.echo.looked.set(Some(self.now()));
    }

    fn unknown_producers(&self, fetched: &[FetchedPartition]) -> Unknown {
        let (known, now) = (self.echo.known.borrow(), self.now());
        let mut unknown = Unknown::default();
        let mut last = -1;
        for partition in fetched {
            // Left open: the errors of partitions are judged when they are handed out.
            let Ok(fetched) = &partition.result else { continue };
            let producers = batch::walk(&fetched.records).filter_map(|batch| batch.producer_id);
            for producer_id in producers.filter(|producer_id| *producer_id >= 0) {
                // Mostly one writes many in a row.
                if std::mem::replace(&mut last, producer_id) == producer_id {
                    continue;
                }
                match known.get(&producer_id) {
                    None => drop(unknown.new.insert(producer_id)),
                    Some(Some(at)) => unknown.old |= now > *at + NOT_FOUND_FOR,
                    Some(None) => {}
                }
            }
        }
        unknown
    }

    /// Counts the records that are left out of what was fetched, those that were counted already not again.
    pub(super) fn count_left_out(&self, index: usize, records: &[u8], without: &[i64]) {
        if without.is_empty() {
            return;
        }
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.get_mut(index) else { return };
        let (mut count, until) = (0, slot.echo_until);
        for walked in batch::walk(records).filter(|walked| walked.base_offset >= until) {
            if walked.producer_id.is_some_and(|id| without.binary_search(&id).is_ok()) {
                count += walked.records as u64;
                slot.echo_until = walked.last_offset + 1;
            }
        }
        if count > 0 && slot.progress.add_echo(count) {
            let (topic, partition) = (&*slot.topic, slot.partition);
            tracing::info!(
                topic,
                partition,
                "records that came from the target are not copied back there; the status counts them"
            );
        }
    }
}

/// Looks up again those that were not found, by what every broker of the source shows.
async fn look_again(stream: Rc<Stream>) {
    let mut origins = stream.echo.origins.lock().await;
    stream.pause_between_looks().await;
    match origins.read_from_all_brokers(stream.clusters()).await {
        Ok(()) => {
            stream.echo.add(origins.producers());
            let now = stream.now();
            stream.echo.known.borrow_mut().values_mut().filter(|at| at.is_some()).for_each(|at| *at = Some(now));
        }
        Err(error) => tracing::debug!(%error, "it cannot be looked up again where records come from"),
    }
    stream.echo.looking_again.set(false);
}
