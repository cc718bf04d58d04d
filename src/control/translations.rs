//! Where records are on the target, if offsets are translated: begins the map of a partition, and keeps what changes of it.
//!
//! Before anything of a partition is written, the internal topic says where it begins on both sides. What is learned later is
//! written down a moment later, all partitions together; what a crash takes is read off the target's log again.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

mod copies;

use super::Control;
use super::prefix::{Waiting, Work, survey};
use crate::config::Start;
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::identity::offsets::{self, Place};
use crate::identity::origins::{Clusters, Origins};
use crate::identity::start_number_of;
use crate::machine::groups::{OnTarget, same_offset};
use crate::machine::translation::OffsetMap;
use crate::status::{Progress, Translation};
use crate::terms::topic::TopicPartition;

/// How often is written down what has changed.
const INTERVAL: Duration = Duration::from_secs(1);
/// So often in a row the internal topic is not there, or another one, until it counts as lost.
const LOST_AFTER: u32 = 5;

/// What earlier processes have written down, of partitions that are not taken up yet.
#[derive(Default)]
pub(super) struct Translations {
    pub(super) restored: RefCell<BTreeMap<Place, OffsetMap>>,
    /// The ids of both clusters.
    pub(super) source_id: RefCell<String>,
    pub(super) target_id: RefCell<String>,
    /// The id of the internal topic.
    pub(super) memory_id: Cell<u128>,
    /// Mirrors that copy from the target to the source.
    origins: tokio::sync::Mutex<Origins>,
}

impl Control {
    pub(super) fn translates(&self) -> bool {
        self.config.translates()
    }

    fn place_of(&self, progress: &Progress) -> Place {
        let ids = self.lives.borrow().get(&progress.topic).map(|mirrored| mirrored.ids);
        Place {
            topic: progress.topic.to_string(),
            target_topic_id: ids.map_or(0, |ids| ids.target),
            partition: progress.partition,
        }
    }

    /// Gives partitions that were begun before what was written down of them; returns those, and the others.
    pub(super) fn take_up_begun(&self, partitions: Vec<Arc<Progress>>) -> (Vec<Arc<Progress>>, Vec<Arc<Progress>>) {
        let mut restored = self.translations.restored.borrow_mut();
        partitions.into_iter().partition(|progress| {
            let place = self.place_of(progress);
            let Some(map) = restored.remove(&place) else { return false };
            progress.translation.set(Translation { place, map: Mutex::new(map) }).is_ok()
        })
    }

    /// Begins partitions: writes down where they begin, on both sides.
    pub(super) async fn begin_translated(&self, due: Vec<Rc<Waiting>>, work: &mut Work) -> Result<()> {
        let Some(identity) = self.identity.get() else { return Ok(()) };
        let topics: BTreeSet<String> = due.iter().map(|waiting| waiting.name.0.to_string()).collect();
        let metadata = self.source.metadata(Some(&topics.into_iter().collect::<Vec<_>>()), false).await?;
        let wanted: BTreeMap<TopicPartition, Start> =
            due.iter().map(|waiting| (waiting.name.clone(), waiting.start)).collect();
        let sources = survey::sources(&self.source, &metadata, &wanted, self.config.isolation_level).await;
        let ends = self.without_copies(&due, identity, work).await?;
        let (mut begun, mut entries) = (Vec::new(), Vec::new());
        for waiting in due {
            let place = self.place_of(&waiting.progress);
            if place.target_topic_id == 0 {
                let message =
                    "the target's brokers give topics no ids: offsets=translate needs Kafka 2.8 or newer there";
                self.refuse_start(&waiting, Error::new(ErrorKind::Unsupported, message));
                continue;
            }
            let source = match sources.get(&waiting.name) {
                Some(Ok(source)) => *source,
                other => {
                    self.stall(&waiting, other.and_then(|answer| answer.as_ref().err()), work);
                    continue;
                }
            };
            // It was told what keeps it from being begun, or has to be looked at longer.
            let Some(end) = ends.get(&waiting.target).copied() else { continue };
            let mut map = OffsetMap::beginning_at(source.wanted, end);
            entries.extend(place.changed(start_number_of(identity), &mut map)?);
            waiting.progress.set_source_next(source.end);
            begun.push((waiting, Translation { place, map: Mutex::new(map) }));
        }
        if begun.is_empty() {
            return Ok(());
        }
        offsets::write(&self.target, (&self.shared.name(), self.translations.memory_id.get()), entries).await?;
        // Another process that has begun it at the same moment may have written that down before: the first one counts for both.
        let mut written = offsets::maps(&self.target, &self.shared.name()).await?;
        for (waiting, mut translation) in begun {
            if let Some(map) = written.remove(&translation.place) {
                translation.map = Mutex::new(map);
            }
            // Whoever has set it before has written it down before.
            let _ = waiting.progress.translation.set(translation);
            work.settled.push(waiting);
        }
        Ok(())
    }

    /// Reads what mirrors the other way have written down.
    pub(super) async fn read_origins(&self) -> Result<()> {
        let target_id = self.translations.target_id.borrow().clone();
        let own = self.identity.get().map(|identity| identity.producer_id);
        let clusters = Clusters { source: &self.source, target: &self.target, target_id: &target_id, own };
        self.translations.origins.lock().await.read(clusters).await
    }

    /// What offsets of the source are on the target, for readers that have read everything before them.
    pub(super) async fn scale(&self) -> Scale<'_> {
        let origins = self.translations.origins.lock().await;
        if !self.translates() {
            return Scale { origins, partitions: BTreeMap::new() };
        }
        let lives = self.lives.borrow();
        let partition = |progress: Arc<Progress>| {
            let source_id = lives.get(&progress.topic).map_or(0, |mirrored| mirrored.ids.source);
            ((Rc::from(&*progress.topic), progress.partition), (progress, source_id))
        };
        Scale { origins, partitions: self.shared.partitions().into_iter().map(partition).collect() }
    }

    /// Writes down what has changed, for ever.
    pub(super) async fn keep_translations(self: Rc<Self>) {
        if !self.translates() {
            return;
        }
        let (mut failed, mut lost) = (false, 0);
        loop {
            tokio::time::sleep(INTERVAL).await;
            match self.keep_changed_translations().await {
                Ok(()) => (failed, lost) = (false, 0),
                Err(error) => {
                    // A broker that has just started may not know the topic yet.
                    lost = if error.kind() == ErrorKind::TargetConflict { lost + 1 } else { 0 };
                    if lost == LOST_AFTER {
                        self.stop_without_memory(&error).await;
                    }
                    if !std::mem::replace(&mut failed, true) {
                        self.tell(
                            "where records are on the target cannot be written down; will be tried again",
                            &error,
                        );
                    }
                }
            }
        }
    }

    /// Nothing more is copied that could not be found again.
    async fn stop_without_memory(&self, error: &Error) {
        let topics: Vec<String> = self.lives.borrow().names().cloned().collect();
        for topic in topics {
            if self.lives.borrow_mut().handle_parked(&topic) {
                self.park(&topic, error, EventKind::Error).await;
            }
        }
    }

    /// Writes down what has changed since the last time.
    pub(super) async fn keep_changed_translations(&self) -> Result<()> {
        let Some(identity) = self.identity.get().filter(|_| self.translates()) else { return Ok(()) };
        let partitions = self.shared.partitions();
        let (mut entries, mut taken) = (Vec::new(), Vec::new());
        for translation in partitions.iter().filter_map(|progress| progress.translation.get()) {
            let mut map = translation.map();
            let kept_until = map.kept_until();
            let changed = translation.place.changed(start_number_of(identity), &mut map)?;
            if changed.is_empty() {
                continue;
            }
            taken.push((translation, kept_until));
            entries.extend(changed);
        }
        let topic = (&*self.shared.name(), self.translations.memory_id.get());
        offsets::write(&self.target, topic, entries).await.inspect_err(|_| {
            for (translation, kept_until) in taken {
                translation.map().keep_again(kept_until);
            }
        })
    }
}

/// What offsets of the source are on the target.
pub(super) struct Scale<'a> {
    origins: tokio::sync::MutexGuard<'a, Origins>,
    /// With the ids of their topics at the source; empty if offsets are the same.
    partitions: BTreeMap<TopicPartition, (Arc<Progress>, u128)>,
}

impl Scale<'_> {
    /// The offset on the target at which a reader goes on that has read everything before an offset of the source. Where the
    /// target's own records come to the source, those that it has not come to are still ahead of it on the target.
    pub(super) fn on_target(&self, partition: &TopicPartition, source_offset: i64) -> OnTarget {
        let Some((progress, source_id)) = self.partitions.get(partition) else {
            return same_offset(partition, source_offset);
        };
        let mut all_confirmed = true;
        let maps =
            self.origins.maps(*source_id, progress.partition).inspect(|(_, confirmed)| all_confirmed &= confirmed);
        let Some(back) = maps.map(|(map, _)| map.source_offset_at(source_offset)).min() else {
            return OnTarget { offset: progress.on_target(source_offset), comes_back: false };
        };
        // Who has read all that is copied has none of it ahead, and what is copied from now on comes behind the target's end.
        let has_all = progress.target_next_at_rest().is_some_and(|next| source_offset >= next);
        // A map that the target does not confirm may have been made up: nobody is moved forward by it.
        let offset = if has_all && all_confirmed { back } else { back.min(progress.on_target(source_offset)) };
        OnTarget { offset, comes_back: true }
    }
}

impl Progress {
    /// The offset on the target at which a reader goes on that is at an offset of the source.
    pub(crate) fn on_target(&self, source_offset: i64) -> i64 {
        let translation = self.translation.get();
        translation.map_or(source_offset, |translation| translation.map().target_offset_of(source_offset))
    }
}
