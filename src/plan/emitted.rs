//! The part of a plan about topics in MirrorMaker 2's formats: which of them would be created, on either side, and which could
//! not be written to. Topics that are there and may be written to are not listed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{MissingPermission, Planner};
use crate::config::{EmittedTopic, Side};
use crate::error::{ErrorKind, Result};
use crate::machine::mirror_maker_2::new_topic;
use crate::wire::admin;
use crate::wire::cluster::Cluster;
use crate::wire::permissions::{self, Operation};

/// A topic of MirrorMaker 2's formats that would be created, or cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EmittedTopicPlan {
    /// `source` or `target`.
    pub side: &'static str,
    /// Its name.
    pub topic: String,
    /// The property that asks for it.
    pub asked_for_by: &'static str,
    /// Its replicas; -1 is the cluster's default.
    pub replication_factor: i16,
    /// Why it cannot be created.
    pub reason: Option<String>,
}

impl Planner {
    /// The topics, and the permissions that are missing for them.
    pub(super) async fn plan_emitted(&self) -> Result<(Vec<EmittedTopicPlan>, Vec<MissingPermission>)> {
        let (mut plans, mut missing) = (Vec::new(), Vec::new());
        for (cluster, side) in [(&self.source, Side::Source), (&self.target, Side::Target)] {
            let topics: Vec<EmittedTopic> =
                self.config.emitted().into_iter().filter(|topic| topic.side == side).collect();
            if !topics.is_empty() {
                self.plan_emitted_on(cluster, &topics, &mut plans, &mut missing).await?;
            }
        }
        Ok((plans, missing))
    }

    async fn plan_emitted_on(
        &self,
        cluster: &Cluster,
        topics: &[EmittedTopic],
        plans: &mut Vec<EmittedTopicPlan>,
        missing: &mut Vec<MissingPermission>,
    ) -> Result<()> {
        let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
        let metadata = cluster.metadata(Some(&names), false).await?;
        let permitted = permissions::of_topics(cluster, &names).await?;
        let is_shown = |name: &str| metadata.topics.get(name).is_some_and(|topic| topic.error_code == 0);
        let is_there = |topic: &&EmittedTopic| is_shown(&topic.name) || permitted.contains_key(&topic.name);
        let new: Vec<_> = topics
            .iter()
            .filter(|topic| !is_there(topic))
            .map(|topic| (topic, new_topic(topic, metadata.broker_count)))
            .collect();
        let asked: Vec<_> = new.iter().map(|(_, new)| new.clone()).collect();
        let mut answers = match asked.is_empty() {
            true => BTreeMap::new(),
            false => admin::may_create_topics(cluster, metadata.controller_id, &asked).await?,
        };
        let mut need = |topic: &EmittedTopic, operation: Operation, what: &str| {
            missing.push(MissingPermission {
                side: cluster.side,
                resource_type: "topic",
                resource: topic.name.clone(),
                operation: operation.name(),
                needed_for: format!("{what}, because of {}", topic.key()),
            });
        };
        for (topic, new) in new {
            let error = answers.remove(&topic.name).and_then(Result::err);
            if error.as_ref().is_some_and(|error| error.kind() == ErrorKind::Authorization) {
                need(topic, Operation::Create, "to create it");
            }
            plans.push(EmittedTopicPlan {
                side: cluster.side,
                topic: topic.name.clone(),
                asked_for_by: topic.key(),
                replication_factor: new.replication_factor,
                reason: error.map(|error| error.message().to_owned()),
            });
        }
        for topic in topics.iter().filter(is_there) {
            if permitted.get(&topic.name).is_some_and(|permitted| !permitted.allows(Operation::Write)) {
                need(topic, Operation::Write, "to write records");
            }
        }
        Ok(())
    }
}
