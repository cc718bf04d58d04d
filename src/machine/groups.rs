//! Decides which offsets of a consumer group are written on the target: `plan(source, target, replicated, seen)`.
//! Asks and changes nothing: a plan can be shown without being carried out.
//!
//! The target gets what the source has, but never more than the mirror has replicated, and never less than the target's log keeps: a consumer
//! that finds its offset outside of the log goes where `auto.offset.reset` sends it. An offset on the target is the mirror's if the
//! mirror has written it, or has found it equal to what it would have written; the internal topic remembers that. Any other
//! offset is somebody's, also of a reader without membership: it is left where it is, and told of.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::error::{Error, ErrorKind};
use crate::terms::group::{Committed, Listed, Members, Offsets, Type};
use crate::terms::topic::TopicPartition;

/// What the target has of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// The next offset of the source that it does not have.
    pub next: i64,
    /// The first offset that its log keeps, by its own numbers.
    pub target_start: i64,
    /// Where the source's log ends, if it was asked after the group's offset was read.
    pub source_end: Option<i64>,
}

impl Copied {
    /// Everything up to there, of a log that begins at 0.
    pub fn up_to(next: i64) -> Self {
        Copied { next, target_start: 0, source_end: None }
    }
}

/// What the target has of the partitions of mirrored topics; `None` while it is not known.
pub type Replicated = BTreeMap<TopicPartition, Option<Copied>>;

/// What is known of one partition of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// The offset at the source when this process looked at it last.
    pub source: Option<i64>,
    /// The offset on the target that is this mirror's work: written by it, or found equal.
    pub ours: Option<i64>,
    /// What it has tried to write since: nobody knows whether that is there.
    pub tried: Option<i64>,
    /// Whether the source went on, or was not looked at before, and the target has not followed yet.
    pub went_on: bool,
}

impl Seen {
    /// Whether an offset on the target is this mirror's work.
    fn is_ours(&self, offset: i64) -> bool {
        self.ours == Some(offset) || self.tried == Some(offset)
    }
}

/// What an offset of the source is on the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnTarget {
    /// The offset there.
    pub offset: i64,
    /// Whether another mirror copies offsets from the target to the source. Then what is found there may be what came from here.
    pub comes_back: bool,
}

/// The same number, with nobody who copies back.
pub fn same_offset(_: &TopicPartition, offset: i64) -> OnTarget {
    OnTarget { offset, comes_back: false }
}

/// What this process remembers of a group.
pub type Memory = HashMap<TopicPartition, Seen>;

/// Why an offset is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OffsetReason {
    /// The target has none.
    Missing,
    /// The source is further.
    Behind,
    /// The source went back, and what the target has is the mirror's.
    WentBack,
    /// The target does not hold that many records any more, and what it has is the mirror's.
    BeyondTarget,
    /// Only the text beside the offset differs.
    Metadata,
}

/// An offset to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Of which partition.
    pub partition: TopicPartition,
    /// What the target has.
    pub from: Option<i64>,
    /// What it gets.
    pub to: i64,
    /// The text beside it, as at the source.
    pub metadata: String,
    /// Why.
    pub reason: OffsetReason,
    /// The offset at the source, if what it stands for is before the first record that the target has.
    pub raised_from: Option<i64>,
}

/// A partition in which the source's offset is beyond the end of the source's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beyond {
    /// Which one.
    pub partition: TopicPartition,
    /// The offset at the source.
    pub source: i64,
    /// Where the source's log ends.
    pub end: i64,
}

/// A partition in which the target's offset is somebody's, so that it is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Theirs {
    /// Which one.
    pub partition: TopicPartition,
    /// The offset at the source.
    pub source: i64,
    /// The offset on the target.
    pub target: i64,
}

/// What is to be done for one group.
#[derive(Debug, Default)]
pub struct GroupActions {
    /// What is to be written.
    pub writes: Vec<Write>,
    /// What is left alone because somebody else has set it.
    pub theirs: Vec<Theirs>,
    /// What can never be level, because the source's log does not reach so far.
    pub beyond: Vec<Beyond>,
    /// Offsets that the target is behind the source after the writes.
    pub behind: u64,
    /// Partitions in which it is, or in which it is not known how far the mirror is.
    pub waiting: usize,
    /// What is to be remembered; what becomes of a write is added by [`remember_written`] and [`remember_untried`].
    pub memory: Memory,
}

/// Works out what is to be done for one group.
pub fn plan(
    source: &Offsets,
    target: &Offsets,
    replicated: &Replicated,
    on_target: &dyn Fn(&TopicPartition, i64) -> OnTarget,
    memory: &Memory,
) -> GroupActions {
    let mut actions = GroupActions::default();
    for (partition, there) in source {
        // Topics that are not mirrored are nobody's business.
        let Some(replicated) = replicated.get(partition) else { continue };
        let before = memory.get(partition).copied().unwrap_or_default();
        let now = target.get(partition);
        let went_on = before.source.is_none_or(|source| before.went_on || there.offset > source);
        let mut seen = Seen { source: Some(there.offset), went_on, ..before };
        let wanted = replicated.map(|copied| wanted_of(partition, there.offset, copied, on_target));
        if let Some(end) = replicated.and_then(|copied| copied.source_end).filter(|end| there.offset > *end) {
            actions.beyond.push(Beyond { partition: partition.clone(), source: there.offset, end });
        }
        let decision = decide(wanted, there, now, &seen);
        let mut after = now.map_or(0, |now| now.offset);
        match decision {
            Decision::Write(reason) => {
                let to = wanted.map_or(there.offset, |wanted| wanted.to);
                let from = now.map(|now| now.offset);
                let metadata = there.metadata.clone();
                // What is there now is what counts if nothing is written.
                seen.ours = now.map(|now| now.offset).filter(|offset| seen.is_ours(*offset) || *offset == to);
                seen.tried = Some(to);
                let raised_from = wanted.filter(|wanted| wanted.is_raised).map(|_| there.offset);
                let partition = partition.clone();
                actions.writes.push(Write { partition, from, to, metadata, reason, raised_from });
                after = to;
            }
            Decision::Level => {
                // Where offsets come back, equal ones are not known to be the mirror's.
                if !wanted.is_some_and(|wanted| wanted.comes_back) {
                    (seen.ours, seen.tried) = (now.map(|now| now.offset), None);
                }
                seen.went_on = false;
            }
            Decision::Wait => {}
            Decision::AtHome => after = wanted.map_or(after, |wanted| wanted.once_copied),
            Decision::Leave => {
                let source = wanted.map_or(there.offset, |wanted| wanted.once_copied);
                // Also if they come back to where the mirror had been.
                (seen.ours, seen.tried) = (None, None);
                actions.theirs.push(Theirs { partition: partition.clone(), source, target: after });
            }
        }
        let once_copied = wanted.map_or(there.offset, |wanted| wanted.once_copied);
        let behind = once_copied.saturating_sub(after).max(0) as u64;
        actions.behind += behind;
        actions.waiting += usize::from(behind > 0 || decision == Decision::Wait);
        actions.memory.insert(partition.clone(), seen);
    }
    if !actions.theirs.is_empty() {
        // Whoever reads one of its partitions there reads the others too, from where it has found them.
        for write in actions.writes.drain(..) {
            remember_untried(&mut actions.memory, &write.partition);
        }
    }
    actions
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Write(OffsetReason),
    /// Nothing to do, everything is as it should be.
    Level,
    /// Nothing can be said yet.
    Wait,
    /// Somebody else has set it.
    Leave,
    /// The group is at home on the target, and the mirror the other way has brought it here.
    AtHome,
}

/// Where the target's offset should be.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    /// Now.
    to: i64,
    /// When everything is copied.
    once_copied: i64,
    comes_back: bool,
    /// Whether it is the first record that the target has, because the source's offset is before that.
    is_raised: bool,
}

fn wanted_of(
    partition: &TopicPartition,
    source: i64,
    copied: Copied,
    on_target: &dyn Fn(&TopicPartition, i64) -> OnTarget,
) -> Wanted {
    let to = on_target(partition, source.min(copied.next));
    // What is not copied yet has no place on the target; it is as far away as at the source.
    let ever = copied.source_end.map_or(source, |end| source.min(end));
    let beyond = ever.saturating_sub(copied.next).max(0);
    let first = to.offset.max(copied.target_start);
    Wanted {
        to: first,
        once_copied: first.saturating_add(beyond),
        comes_back: to.comes_back,
        is_raised: first > to.offset,
    }
}

/// The whole table for one partition.
fn decide(wanted: Option<Wanted>, source: &Committed, target: Option<&Committed>, seen: &Seen) -> Decision {
    let Some(Wanted { to, once_copied, comes_back, .. }) = wanted else { return Decision::Wait };
    match target {
        None => Decision::Write(OffsetReason::Missing),
        Some(target) if target.offset == to && target.metadata != source.metadata => {
            Decision::Write(OffsetReason::Metadata)
        }
        Some(target) if target.offset == to => Decision::Level,
        Some(target) if seen.is_ours(target.offset) => Decision::Write(match target.offset {
            offset if offset < to => OffsetReason::Behind,
            offset if offset <= once_copied => OffsetReason::BeyondTarget,
            _ => OffsetReason::WentBack,
        }),
        // Where two mirrors copy the offsets of a group to each other, what is there may be what came from here, and each translation
        // may lose a little: only what has moved by itself is followed, or they would drag each other down.
        Some(target) if comes_back => match target.offset < to && seen.went_on {
            true => Decision::Write(OffsetReason::Behind),
            false => Decision::AtHome,
        },
        Some(_) => Decision::Leave,
    }
}

/// Remembers that an offset was written.
pub fn remember_written(memory: &mut Memory, partition: &TopicPartition, offset: i64) {
    if let Some(seen) = memory.get_mut(partition) {
        (seen.ours, seen.tried, seen.went_on) = (Some(offset), None, false);
    }
}

/// Remembers that an offset was certainly not written: what is on the target then is not this mirror's work because it is equal.
pub fn remember_untried(memory: &mut Memory, partition: &TopicPartition) {
    if let Some(seen) = memory.get_mut(partition) {
        seen.tried = None;
    }
}

/// The offsets of a partition that are the mirror's, as they are written down before anything is written to the target: what it has
/// now, and what it is to get.
pub fn to_be_noted(seen: &Seen) -> [Option<i64>; 2] {
    [seen.ours, seen.tried.filter(|tried| seen.ours != Some(*tried))]
}

/// What is remembered of a group that this process has not looked at: what was written down of it.
pub fn recalled(noted: Option<&BTreeMap<TopicPartition, [Option<i64>; 2]>>) -> Memory {
    let mut memory = Memory::new();
    for (partition, noted) in noted.into_iter().flatten() {
        take_in_note(&mut memory, partition, *noted);
    }
    memory
}

/// Takes in what was written down, by this process or another one of the mirror, to be known from now on.
pub fn take_in_note(memory: &mut Memory, partition: &TopicPartition, noted: [Option<i64>; 2]) {
    let seen = memory.entry(partition.clone()).or_default();
    [seen.ours, seen.tried] = noted;
}

/// Why a group of the source is not copied, whatever its offsets are.
pub fn refusal_at_source(group: &str, listed: &Listed) -> Option<Error> {
    let what = match listed.kind {
        Type::Consumer => return None,
        Type::Share => "a share group",
        Type::Streams => "a streams group",
    };
    let message = format!("group '{group}' is {what} at the source: only offsets of consumer groups are copied");
    Some(Error::new(ErrorKind::Unsupported, message))
}

/// Why the target's group of this name is left alone, whatever its offsets are.
pub fn refusal_on_target(group: &str, listed: &Listed) -> Option<Error> {
    let another = |what: &str| {
        let message = format!(
            "group '{group}' is {what} on the target, so the offsets of the source's consumer group have no place there; \
             delete it on the target"
        );
        Some(Error::new(ErrorKind::TargetConflict, message))
    };
    match (listed.kind, listed.members) {
        (Type::Share, _) => another("a share group"),
        (Type::Streams, _) => another("a streams group"),
        (Type::Consumer, Members::Some) => Some(live(group)),
        (Type::Consumer, Members::None | Members::Unknown) => None,
    }
}

/// The error of a group that is in use on the target.
pub fn live(group: &str) -> Error {
    let message = format!(
        "group '{group}' has members on the target: its offsets are theirs and are not touched; they are copied again when \
         the members have left, if they have not set them"
    );
    Error::new(ErrorKind::TargetConflict, message)
}

/// The error of a group that somebody has used on the target.
pub fn used(group: &str, theirs: &[Theirs]) -> Option<Error> {
    let first = theirs.first()?;
    let (topic, partition) = &first.partition;
    let more = match theirs.len() - 1 {
        0 => String::new(),
        more => format!(" (and so are {more} more partitions)"),
    };
    let message = format!(
        "group '{group}' was used on the target: {topic}-{partition} is at {} there and at {} at the source{more}, and not by this \
         mirror; it is left as it is, because somebody may be reading there; delete the group on the target to copy it anew",
        first.target, first.source
    );
    Some(Error::new(ErrorKind::TargetConflict, message).with_partition(&**topic, *partition).with_offset(first.source))
}

/// The error of a group that can never be level.
pub fn beyond_the_source(group: &str, beyond: &[Beyond]) -> Option<Error> {
    let first = beyond.first()?;
    let (topic, partition) = &first.partition;
    let more = match beyond.len() - 1 {
        0 => String::new(),
        more => format!(" (and so it is in {more} more partitions)"),
    };
    let message = format!(
        "group '{group}' is at {} in {topic}-{partition} at the source, whose log ends at {}{more}: the topic was made anew or has lost \
         records since; on the target it is not set beyond that end either; set its offset at the source",
        first.source, first.end
    );
    Some(Error::new(ErrorKind::Topic, message).with_partition(&**topic, *partition).with_offset(first.source))
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
