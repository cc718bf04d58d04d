//! What a mirror would do with the offsets of consumer groups, by the same decisions as the running one.
//! The offsets are those that the groups get when the mirror has caught up.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use serde::Serialize;

use super::{Plan, Planner, TopicAction, TopicPlan, Translations};
use crate::control::groups::survey::{Reading, Survey};
use crate::identity::groups::ByGroup;
use crate::machine::groups::{self as machine, Copied, GroupActions, OffsetReason, Replicated};
use crate::terms::topic::Metadata;
use crate::wire::groups;

/// Groups that are read at the same time.
const PORTION: usize = 500;

/// What would be done for a consumer group. Groups of which nothing would be changed are not listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GroupPlan {
    /// Its name.
    pub group: String,
    /// Offsets that would be set on the target.
    pub offsets: Vec<OffsetPlan>,
    /// Why it is left alone, or which of its offsets are.
    pub skipped: Option<String>,
}

/// An offset that would be set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OffsetPlan {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// What the target has.
    pub from: Option<i64>,
    /// What it gets when the mirror has come so far.
    pub to: i64,
    /// Why.
    pub reason: OffsetReason,
    /// The offset at the source, if it is before the first record that the target has or gets.
    pub raised_from: Option<i64>,
}

impl Planner {
    /// Adds what would be done for groups. What keeps them from being seen is part of the plan, no error.
    /// With translated offsets those of the records that are copied already.
    pub(super) async fn plan_groups(&self, plan: &mut Plan, source: &Metadata, maps: &Translations, noted: &ByGroup) {
        if !self.config.sync_group_offsets {
            return;
        }
        let survey = match Survey::list(&self.source, &self.target, &self.config.names, false).await {
            Ok(survey) => survey,
            Err(error) => {
                plan.groups_unseen.insert("groups".to_owned(), error.message().to_owned());
                return;
            }
        };
        let unseen = survey.unseen(source).into_iter();
        plan.groups_unseen.extend(unseen.map(|(what, error)| (what, error.message().to_owned())));
        let replicated = once_caught_up(&plan.topics);
        let topics: HashSet<Rc<str>> = replicated.keys().map(|(topic, _)| topic.clone()).collect();
        for some in survey.names(&self.config.groups, std::iter::empty()).chunks(PORTION) {
            let mut actions = BTreeMap::new();
            let mut coordinators = BTreeMap::new();
            for (group, reading) in survey.read(some, &topics).await {
                match reading {
                    Ok(None) => {}
                    Ok(Some(Reading { mut source, target, coordinator })) => {
                        if self.config.translates() {
                            source.retain(|partition, _| maps.contains_key(partition));
                            for (partition, committed) in &mut source {
                                let map = maps.get(partition);
                                committed.offset =
                                    map.map_or(committed.offset, |map| map.target_offset_of(committed.offset));
                            }
                        }
                        let memory = machine::recalled(noted.get(&group));
                        let planned = machine::plan(&source, &target, &replicated, &machine::same_offset, &memory);
                        if let Some(coordinator) = coordinator.filter(|_| !planned.writes.is_empty()) {
                            coordinators.insert(group.clone(), coordinator);
                        }
                        actions.insert(group, planned);
                    }
                    Err(error) => {
                        let skipped = Some(error.message().to_owned());
                        plan.groups.push(GroupPlan { group, offsets: Vec::new(), skipped });
                    }
                }
            }
            let mut described = groups::describe(&self.target, &coordinators).await;
            for (group, actions) in actions {
                let refusal = match described.remove(&group) {
                    Some(Ok(described)) if described.may_commit == Some(false) => {
                        Some(groups::may_not_commit(&self.target, &group))
                    }
                    Some(Err(error)) => Some(error),
                    _ => None,
                };
                plan.groups.extend(group_plan(group, actions, refusal.map(|error| error.message().to_owned())));
            }
        }
        plan.groups.sort_by(|a, b| a.group.cmp(&b.group));
    }
}

/// Every partition that is mirrored, as if everything were replicated.
fn once_caught_up(topics: &[TopicPlan]) -> Replicated {
    let mut replicated = Replicated::new();
    for topic in topics.iter().filter(|topic| topic.action != TopicAction::Refuse) {
        let name: Rc<str> = Rc::from(topic.topic.as_str());
        let partitions = (0..topic.partitions as i32).filter(|number| !topic.refused_partitions.contains_key(number));
        let all = |number: i32| {
            let target_start = topic.starts.get(&number).copied().unwrap_or(0);
            Some(Copied { target_start, ..Copied::up_to(i64::MAX) })
        };
        replicated.extend(partitions.map(|number| ((name.clone(), number), all(number))));
    }
    replicated
}

fn group_plan(group: String, actions: GroupActions, refusal: Option<String>) -> Option<GroupPlan> {
    let skipped =
        refusal.clone().or_else(|| machine::used(&group, &actions.theirs).map(|error| error.message().to_owned()));
    let offsets: Vec<OffsetPlan> = match refusal {
        Some(_) => Vec::new(),
        None => actions
            .writes
            .into_iter()
            .map(|write| OffsetPlan {
                topic: write.partition.0.to_string(),
                partition: write.partition.1,
                from: write.from,
                to: write.to,
                reason: write.reason,
                raised_from: write.raised_from,
            })
            .collect(),
    };
    (skipped.is_some() || !offsets.is_empty()).then_some(GroupPlan { group, offsets, skipped })
}
