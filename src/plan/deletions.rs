//! The part of a plan about deletions of keys: how long the source keeps them in a compacted topic, against how long its copy has not been
//! level. A copy that comes later may miss some.

use serde::Serialize;

use super::{Planner, TopicAction, TopicPlan};
use crate::control::deletions::kept;
use crate::event::now_ms;
use crate::identity::Recalled;
use crate::machine::deletions::Deletions;

/// The deletions of keys in a compacted topic that the mirror has copied before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeletionsPlan {
    /// How long the source keeps them: `delete.retention.ms`.
    pub kept_ms: i64,
    /// How long the copy has not been level, of the worst partition, as it was written down.
    pub behind_ms: i64,
    /// Whether the source may have removed some that the copy has not seen. If it has removed records there, the mirror stops that
    /// partition, or goes on and tells, as `on.data.loss` says.
    pub at_risk: bool,
}

impl Planner {
    /// Adds it to the topics that are copied already. What the source does not tell is left out: the mirror then reckons with a day.
    pub(super) async fn plan_deletions(&self, topics: &mut [TopicPlan], recalled: &Recalled) {
        let is_copied = |topic: &&mut TopicPlan| {
            matches!(topic.action, TopicAction::Mirror | TopicAction::Grow)
                && recalled.levels.get(&topic.topic).is_some_and(|levels| levels.iter().any(|level| *level >= 0))
        };
        let mut copied: Vec<&mut TopicPlan> = topics.iter_mut().filter(is_copied).collect();
        if copied.is_empty() {
            return;
        }
        let names: Vec<String> = copied.iter().map(|topic| topic.topic.clone()).collect();
        let Ok(kept) = kept(&self.source, &names).await else { return };
        let now = now_ms();
        for topic in &mut copied {
            let Some(Ok(Some(kept_ms))) = kept.get(&topic.topic) else { continue };
            let begun_at_ms = recalled.begun.get(&topic.topic).copied().unwrap_or(recalled.claimed_at_ms);
            let levels = recalled.levels.get(&topic.topic).into_iter().flatten();
            let partitions = levels.map(|level| Deletions {
                kept_ms: *kept_ms,
                begun_at_ms,
                level_at_ms: Some(*level).filter(|level| *level >= 0),
            });
            topic.deletions = partitions.max_by_key(|known| known.behind_ms(now)).map(|known| DeletionsPlan {
                kept_ms: *kept_ms,
                behind_ms: known.behind_ms(now),
                at_risk: known.are_at_risk(now),
            });
        }
    }
}
