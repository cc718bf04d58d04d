//! What a switch-over reports: what was copied, what was not as far as it was known, who else has written.
//! Put together here from what others have asked the clusters for.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::machine::promotion::{self, Known, Moved, better};
use crate::wire::log_ends::Ends;

/// What a switch-over came to. What it says of the source is what is known of it: there may be more, never less.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PromoteReport {
    /// The mirror's name.
    pub name: String,
    /// Whether the mirror is marked as promoted, so that it never writes again.
    pub promoted: bool,
    /// When it was marked, in milliseconds since 1970.
    pub promoted_at_ms: i64,
    /// Whether the source could be asked.
    pub source_reachable: bool,
    /// Why the source could not be asked.
    pub source_error: Option<String>,
    /// Whether everything the source had was copied, up to its high watermarks, and nothing more came while the mirror was marked.
    pub drained: bool,
    /// Why not, where the source could be asked and the mark was forced.
    pub not_drained_because: Option<String>,
    /// Offsets that the source has and the target has not, at least: the RPO in records.
    pub records_not_copied: u64,
    /// Partitions that lack some.
    pub partitions_behind: usize,
    /// From the newest copied record to the last knowledge of the source, of the worst partition that lacks records: the RPO
    /// in time, as far as it is known.
    pub ms_not_copied: Option<u64>,
    /// Since when nothing is known of some partition of the source any more, in milliseconds since 1970.
    pub source_known_at_ms: Option<i64>,
    /// Every mirrored topic.
    pub topics: Vec<PromotedTopic>,
    /// Topics that match but were not mirrored, and why. Without a source they are not known.
    pub not_mirrored: BTreeMap<String, String>,
    /// The offsets of consumer groups, as they were when they were copied last; `None` with `sync.group.offsets=false`, and
    /// without a source for a process that has not mirrored: then they are what running mirrors have left.
    pub groups: Option<PromotedGroups>,
    /// What was written to the target between the end of this mirror and this report: by an application that has switched
    /// over already, or by another process of the mirror that had not seen the mark yet.
    pub written_afterwards: Vec<MovedEnd>,
}

/// The consumer groups of a [`PromoteReport`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PromotedGroups {
    /// Groups whose offsets on the target are those of the source.
    pub copied: usize,
    /// Groups of which the target has less, because the records are not there that they have read.
    pub behind: usize,
    /// Groups, or all of a cluster, that could not be copied, and why.
    pub not_copied: BTreeMap<String, String>,
    /// When they were looked at last, in milliseconds since 1970.
    pub looked_at_ms: Option<i64>,
}

/// A topic of a [`PromoteReport`].
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PromotedTopic {
    /// Its name.
    pub topic: String,
    /// Offsets of it that the source has and the target has not, at least.
    pub records_not_copied: u64,
    /// Its partitions, by number.
    pub partitions: Vec<PromotedPartition>,
}

/// A partition of a [`PromoteReport`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PromotedPartition {
    /// Its number.
    pub partition: i32,
    /// Next offset on the target: where an application goes on.
    pub target_offset_next: i64,
    /// Next offset of the source, its high watermark, when it was last known: what an open transaction hid counts.
    pub source_offset_next: Option<i64>,
    /// When that was, in milliseconds since 1970.
    pub source_known_at_ms: Option<i64>,
    /// Offsets that the source had then and the target has not.
    pub records_not_copied: u64,
    /// From the newest copied record to that time, if something is missing and it is known.
    pub ms_not_copied: Option<u64>,
}

/// A log of the target that does not end where it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MovedEnd {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Next offset then.
    pub from: i64,
    /// Next offset now; `None` if the partition is gone.
    pub to: Option<i64>,
}

impl From<Moved> for MovedEnd {
    fn from(Moved { topic, partition, from, to }: Moved) -> Self {
        MovedEnd { topic, partition, from, to }
    }
}

/// What is known of the source, by topic and partition.
pub(crate) type KnownEnds = BTreeMap<String, Vec<Option<Known>>>;

/// Adds what more is known of a partition.
pub(crate) fn add(known: &mut KnownEnds, topic: &str, index: usize, more: Option<Known>) {
    let of_topic = known.entry(topic.to_owned()).or_default();
    of_topic.resize(of_topic.len().max(index + 1), None);
    of_topic[index] = better(of_topic[index], more);
}

/// When the newest record of a partition was produced that the target has, by topic and partition.
pub(super) type Newest = BTreeMap<(String, i32), i64>;

/// Every topic with what its partitions lack.
pub(super) fn topics(names: &[String], target: &Ends, known: &KnownEnds, newest: &Newest) -> Vec<PromotedTopic> {
    let topic = |name: &String| {
        let (there, here) = (target.get(name).map_or(&[][..], Vec::as_slice), known.get(name));
        let known = |index: usize| here.and_then(|known| known.get(index)).copied().flatten();
        let count = there.len().max(here.map_or(0, Vec::len));
        let partition = |index: usize| {
            let partition = index as i32;
            let target_offset_next = there.get(index).copied().unwrap_or(0);
            let copied_ms = newest.get(&(name.clone(), partition)).copied();
            let missing = promotion::missing(target_offset_next, known(index), copied_ms);
            PromotedPartition {
                partition,
                target_offset_next,
                source_offset_next: known(index).map(|known| known.next),
                source_known_at_ms: known(index).map(|known| known.at_ms),
                records_not_copied: missing.records,
                ms_not_copied: missing.ms,
            }
        };
        let partitions: Vec<PromotedPartition> = (0..count).map(partition).collect();
        let records_not_copied = partitions.iter().map(|partition| partition.records_not_copied).sum();
        PromotedTopic { topic: name.clone(), records_not_copied, partitions }
    };
    names.iter().map(topic).collect()
}

impl PromoteReport {
    /// Adds the totals.
    pub(super) fn sum_up(mut self) -> Self {
        let partitions = || self.topics.iter().flat_map(|topic| &topic.partitions);
        let records = partitions().map(|partition| partition.records_not_copied).sum();
        let behind = partitions().filter(|partition| partition.records_not_copied > 0).count();
        let ms = partitions().filter_map(|partition| partition.ms_not_copied).max();
        let at = partitions().map(|partition| partition.source_known_at_ms).min().flatten();
        (self.records_not_copied, self.partitions_behind) = (records, behind);
        (self.ms_not_copied, self.source_known_at_ms) = (ms, at);
        self
    }
}
