//! The way back after a switch-over: what a mirror from the target to the old source would do, and what differs. Writes nothing.
//!
//! With the same offsets a log can only be copied into a fresh topic: records that the old source has and the target never got
//! stand where the target has others. So a topic that the old source still has is to be deleted there first, and what would
//! be lost with it is told.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Plan, Planner};
use crate::config::{Config, ReplicationPolicy};
use crate::control::default_name;
use crate::error::{Error, ErrorKind, Result};
use crate::identity::promotion as memory;
use crate::machine::promotion::relate;
use crate::machine::topics::selects;
use crate::terms::topic::Metadata;
use crate::waiting::look_on_a_thread;
use crate::wire::cluster::Cluster;
use crate::wire::log_ends::{self, Ends};
use crate::wire::positions::Which;

/// The way back.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ReversePlan {
    /// The mirror whose way back it is.
    pub of: String,
    /// When that was promoted, in milliseconds since 1970. Without it, whatever the target has counts as copied from the source.
    pub promoted_at_ms: Option<i64>,
    /// What a mirror from the target to the old source would do as the clusters are now.
    pub plan: Plan,
    /// What differs, by topic.
    pub topics: Vec<ReverseTopic>,
}

/// A topic on the way back.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ReverseTopic {
    /// Its name.
    pub topic: String,
    /// What has to be done.
    pub action: ReverseTopicAction,
    /// Its partitions, by number, where both clusters have it.
    pub partitions: Vec<ReversePartition>,
}

/// What has to be done with a topic on the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReverseTopicAction {
    /// The old source does not have it: the mirror creates it there, and copies it.
    Create,
    /// The old source has it: it has to be deleted there, so that the mirror copies it into a fresh topic.
    DeleteFirst,
    /// Only the old source has it: nothing can be copied back.
    OnlyAtOldSource,
}

/// A partition on the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReversePartition {
    /// Its number.
    pub partition: i32,
    /// Up to this offset both logs are the same, by what was recorded when the mirror was promoted.
    pub agree_until: i64,
    /// Next offset at the old source.
    pub old_source_offset_next: i64,
    /// Next offset on the target.
    pub target_offset_next: i64,
    /// Offsets from `agree_until` on that only the old source has: its diverged tail, which would be lost.
    pub only_at_old_source: u64,
    /// Offsets from `agree_until` on that only the target has.
    pub only_on_target: u64,
}

/// Works out the way back of a mirror, given its own configuration: source and target are swapped here. The mirror back is
/// called `name`, or like the mirror with `-reverse`. Writes nothing, on either side.
///
/// # Errors
/// Those of [`plan`](super::plan()).
pub fn plan_reverse(config: Config, name: Option<String>) -> Result<ReversePlan> {
    look_on_a_thread("the plan of the way back", || false, async move || plan_back(config, name).await)
}

async fn plan_back(config: Config, name: Option<String>) -> Result<ReversePlan> {
    if config.names.policy == ReplicationPolicy::Default {
        let message = "the way back of topics that have other names on the target cannot be planned: a mirror in the other direction \
                       does not give them their old names";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    if config.translates() {
        let message = "with offsets=translate the way back needs no plan of its own: it is a mirror from the target to the source with \
                       offsets=translate and another name, which leaves out what came from the source and appends the rest; see what it would \
                       do with kmirror plan";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let mut back = config.clone();
    std::mem::swap(&mut back.source, &mut back.target);
    let old_source = Cluster::new("source", config.source.clone());
    let target = Cluster::new("target", config.target.clone());
    let (there, here) = (target.metadata(None, false).await?, old_source.metadata(None, false).await?);
    let id = |metadata: &Metadata| metadata.cluster_id.clone().unwrap_or_else(|| "unknown".to_owned());
    let of = config.name.clone().unwrap_or_else(|| default_name(&id(&here), &id(&there)));
    back.name = Some(name.unwrap_or_else(|| format!("{of}-reverse")));
    let plan = Planner::new(back).plan().await?;
    let mark = memory::recall(&target, &of, Some(&id(&here))).await?;
    let promoted_at_ms = mark.as_ref().and_then(|memory| memory.mark.as_ref()).map(|mark| mark.promoted_at_ms);
    let at_promotion = mark.map(|memory| memory.target_ends).unwrap_or_default();
    let (of_source, of_target) = (selected(&config, &here), selected(&config, &there));
    let both: Vec<String> = of_source.intersection(&of_target).cloned().collect();
    let source_ends = log_ends::read(&old_source, &both, Which::LogEnd).await?;
    let target_ends = log_ends::read(&target, &both, Which::LogEnd).await?;
    let topic = |topic: &String| {
        let action = match (of_source.contains(topic), of_target.contains(topic)) {
            (true, true) => ReverseTopicAction::DeleteFirst,
            (false, _) => ReverseTopicAction::Create,
            (true, false) => ReverseTopicAction::OnlyAtOldSource,
        };
        let partitions = partitions(topic, &source_ends, &target_ends, &at_promotion);
        ReverseTopic { topic: topic.clone(), action, partitions }
    };
    let topics = of_source.union(&of_target).map(topic).collect();
    Ok(ReversePlan { of, promoted_at_ms, plan, topics })
}

fn selected(config: &Config, metadata: &Metadata) -> BTreeSet<String> {
    let selected = metadata.topics.iter().filter(|(name, topic)| selects(config, name, topic));
    selected.map(|(name, _)| name.clone()).collect()
}

/// The partitions that both clusters have, or one of them.
fn partitions(
    topic: &str,
    source: &Ends,
    target: &Ends,
    at_promotion: &BTreeMap<String, Vec<i64>>,
) -> Vec<ReversePartition> {
    let (Some(source), Some(target)) = (source.get(topic), target.get(topic)) else { return Vec::new() };
    let promoted = at_promotion.get(topic);
    let partition = |index: usize| {
        let of = |ends: &[i64]| ends.get(index).copied().unwrap_or(0);
        let (old_source_offset_next, target_offset_next) = (of(source), of(target));
        let promoted_at = promoted.map(|ends| of(ends));
        let relation = relate(old_source_offset_next, target_offset_next, promoted_at);
        ReversePartition {
            partition: index as i32,
            agree_until: relation.agree_until,
            old_source_offset_next,
            target_offset_next,
            only_at_old_source: relation.only_source,
            only_on_target: relation.only_target,
        }
    };
    (0..source.len().max(target.len())).map(partition).collect()
}
