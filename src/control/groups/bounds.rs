//! What the target has of the partitions in which groups have offsets: up to where it was copied, and where its log begins.
//! Only leaders of partitions are asked in which some group is not at the end of what was copied.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use super::survey::Readings;
use crate::control::Control;
use crate::error::Result;
use crate::machine::groups::{Copied, Replicated};
use crate::status::{Progress, Side};
use crate::terms::topic::TopicPartition;
use crate::wire::positions::Which;

/// Partitions by their names at the source.
type Partitions = BTreeMap<TopicPartition, Arc<Progress>>;

impl Control {
    /// What the target has of all mirrored partitions, asked after the groups' offsets were read.
    pub(super) async fn replicated(&self, topics: &HashSet<Rc<str>>, readings: &Readings) -> Replicated {
        let name = |progress: Arc<Progress>| -> Option<(TopicPartition, Arc<Progress>)> {
            Some(((topics.get(&*progress.topic)?.clone(), progress.partition), progress))
        };
        let partitions: Partitions = self.shared.partitions().into_iter().filter_map(name).collect();
        let next: BTreeMap<&TopicPartition, Option<i64>> =
            partitions.iter().map(|(partition, progress)| (partition, self.copied_up_to(progress))).collect();
        let (mut below, mut beyond) = (Partitions::new(), Partitions::new());
        let offsets = readings.values().flatten().flatten().flat_map(|reading| &reading.source);
        for (partition, committed) in offsets {
            let (Some(progress), Some(Some(next))) = (partitions.get(partition), next.get(partition)) else { continue };
            if committed.offset < *next {
                below.insert(partition.clone(), progress.clone());
            }
            if progress.source_end().is_none_or(|end| committed.offset > end) {
                beyond.insert(partition.clone(), progress.clone());
            }
        }
        let (starts, ends) = tokio::join!(
            self.of_each(Side::Target, &below, Which::LogStart),
            self.of_each(Side::Source, &beyond, Which::HighWatermark)
        );
        let copied = |partition: &TopicPartition, next: i64| {
            let target_start = match below.contains_key(partition) {
                // Where it begins matters: without an answer nothing is set.
                true => *starts.get(partition)?,
                false => 0,
            };
            Some(Copied { next, target_start, source_end: ends.get(partition).copied() })
        };
        let replicated: BTreeMap<_, _> = next
            .into_iter()
            .map(|(partition, next)| (partition.clone(), next.and_then(|next| copied(partition, next))))
            .collect();
        replicated
    }

    /// The first offset that the target's log keeps, of those of which it is said.
    pub(in crate::control) async fn target_starts(&self, partitions: &Partitions) -> BTreeMap<TopicPartition, i64> {
        self.of_each(Side::Target, partitions, Which::LogStart).await
    }

    async fn of_each(&self, side: Side, partitions: &Partitions, which: Which) -> BTreeMap<TopicPartition, i64> {
        let (names, progresses): (Vec<_>, Vec<_>) =
            partitions.iter().map(|(name, progress)| (name.clone(), progress.clone())).unzip();
        let answers = self.offsets_of(side, &progresses, &[which]).await;
        let first = |(name, (_, answer)): (TopicPartition, (Arc<Progress>, Result<Vec<i64>>))| {
            // Left open: what is not said is asked for again in the next round.
            Some((name, *answer.ok()?.first()?))
        };
        names.into_iter().zip(answers).filter_map(first).collect()
    }
}
