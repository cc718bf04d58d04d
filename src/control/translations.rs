//! Where records are on the target, if offsets are translated: begins the map of a partition, and keeps what changes of it.
//!
//! Before anything of a partition is written, the internal topic says where it begins on both sides. What is learned later is
//! written down a moment later, all partitions together; what a crash takes is read off the target's log again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Control;
use super::prefix::{Waiting, Work, survey};
use crate::config::Start;
use crate::error::{Error, ErrorKind, Result};
use crate::identity::offsets::{self, Place};
use crate::identity::origins::Origins;
use crate::identity::start_number_of;
use crate::machine::groups::{OnTarget, same_offset};
use crate::machine::translation::OffsetMap;
use crate::status::{Progress, Translation};
use crate::wire::log_ends;
use crate::wire::positions::{TopicPartition, Which};

/// How often is written down what has changed.
const INTERVAL: Duration = Duration::from_secs(1);

/// What earlier processes have written down, of partitions that are not taken up yet.
#[derive(Default)]
pub(super) struct Translations {
    pub(super) restored: RefCell<BTreeMap<Place, OffsetMap>>,
    /// The id of the target's cluster.
    pub(super) target_id: RefCell<String>,
    /// Mirrors that copy from the target to the source.
    origins: tokio::sync::Mutex<Origins>,
}

impl Control {
    pub(super) fn translates(&self) -> bool {
        self.config.translates()
    }

    fn place_of(&self, progress: &Progress) -> Place {
        let ids = self.mirrored.borrow().get(&*progress.topic).map(|mirrored| mirrored.ids);
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
        let on_target: BTreeSet<String> = due.iter().map(|waiting| waiting.target.0.to_string()).collect();
        let metadata = self.source.metadata(Some(&topics.into_iter().collect::<Vec<_>>()), false).await?;
        let wanted: HashMap<TopicPartition, Start> =
            due.iter().map(|waiting| (waiting.name.clone(), waiting.start)).collect();
        let sources = survey::sources(&self.source, &metadata, &wanted, self.config.isolation_level).await;
        let ends = log_ends::read(&self.target, &on_target.into_iter().collect::<Vec<_>>(), Which::LogEnd).await?;
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
            let end = ends.get(&*waiting.target.0).and_then(|ends| ends.get(waiting.target.1 as usize)).copied();
            let Some(end) = end.filter(|end| *end >= 0) else {
                self.stall(&waiting, None, work);
                continue;
            };
            let mut map = OffsetMap::beginning_at(source.wanted, end);
            for (chunk, runs) in map.take_changed() {
                entries.push(place.runs(start_number_of(identity), chunk, &runs)?);
            }
            waiting.progress.set_source_next(source.end);
            begun.push((waiting, Translation { place, map: Mutex::new(map) }));
        }
        offsets::write(&self.target, &self.shared.name(), entries).await?;
        for (waiting, translation) in begun {
            // Whoever has set it before has written it down before.
            let _ = waiting.progress.translation.set(translation);
            work.settled.push(waiting);
        }
        Ok(())
    }

    /// Reads what mirrors the other way have written down.
    pub(super) async fn read_origins(&self) -> Result<()> {
        let target_id = self.translations.target_id.borrow().clone();
        self.translations.origins.lock().await.read(&self.source, &target_id, true).await
    }

    /// What offsets of the source are on the target, for readers that have read everything before them.
    pub(super) async fn scale(&self) -> Scale<'_> {
        let origins = self.translations.origins.lock().await;
        if !self.translates() {
            return Scale { origins, partitions: HashMap::new() };
        }
        let mirrored = self.mirrored.borrow();
        let partition = |progress: Arc<Progress>| {
            let source_id = mirrored.get(&*progress.topic).map_or(0, |mirrored| mirrored.ids.source);
            ((Rc::from(&*progress.topic), progress.partition), (progress, source_id))
        };
        Scale { origins, partitions: self.shared.partitions().into_iter().map(partition).collect() }
    }

    /// Writes down what has changed, for ever.
    pub(super) async fn keep_translations(self: Rc<Self>) {
        if !self.translates() {
            return;
        }
        let mut failed = false;
        loop {
            tokio::time::sleep(INTERVAL).await;
            match self.keep_changed_translations().await {
                Ok(()) => failed = false,
                Err(error) => {
                    if !std::mem::replace(&mut failed, true) {
                        tracing::warn!(%error, "where records are on the target cannot be written down; will be tried again");
                    }
                }
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
            let changed = map.take_changed();
            if changed.is_empty() {
                continue;
            }
            taken.push((translation, kept_until));
            for (chunk, runs) in changed {
                entries.push(translation.place.runs(start_number_of(identity), chunk, &runs)?);
            }
        }
        offsets::write(&self.target, &self.shared.name(), entries).await.inspect_err(|_| {
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
    partitions: HashMap<TopicPartition, (Arc<Progress>, u128)>,
}

impl Scale<'_> {
    /// The offset on the target at which a reader goes on that has read everything before an offset of the source. Where the
    /// target's own records come to the source, those that it has not come to are still ahead of it on the target.
    pub(super) fn on_target(&self, partition: &TopicPartition, source_offset: i64) -> OnTarget {
        let Some((progress, source_id)) = self.partitions.get(partition) else {
            return same_offset(partition, source_offset);
        };
        let maps = self.origins.maps(*source_id, progress.partition);
        let Some(back) = maps.map(|map| map.source_offset_at(source_offset)).min() else {
            return OnTarget { offset: progress.on_target(source_offset), comes_back: false };
        };
        // Who has read all that is copied has none of it ahead, and what is copied from now on comes behind the target's end.
        let has_all = progress.target_next_at_rest().is_some_and(|next| source_offset >= next);
        let offset = if has_all { back } else { back.min(progress.on_target(source_offset)) };
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
