//! The part of a plan that names the permissions which single topics lack: reading at the source, writing on the target.
//! Asks what the brokers would decide, and tries nothing. A cluster without an authorizer allows everything.

use super::{Planner, TopicAction, TopicPlan};
use crate::error::Result;
use crate::wire::acls::{MAY_READ, MAY_WRITE, operations_on_topics};
use crate::wire::cluster::Cluster;

impl Planner {
    /// Adds to each topic what the mirror may not do with it. A topic that has yet to be created has no permissions to look at.
    pub(super) async fn plan_permissions(&self, topics: &mut [TopicPlan]) -> Result<()> {
        let all = |topic: &&TopicPlan| topic.action != TopicAction::Refuse;
        let there = |topic: &&TopicPlan| all(topic) && topic.action != TopicAction::Create;
        let readable: Vec<String> = topics.iter().filter(all).map(|topic| topic.topic.clone()).collect();
        let writable: Vec<String> = topics.iter().filter(there).map(|topic| topic.topic.clone()).collect();
        for (cluster, names, bit, operation) in
            [(&self.source, readable, MAY_READ, "READ"), (&self.target, writable, MAY_WRITE, "WRITE")]
        {
            self.add_missing(topics, cluster, &names, bit, operation).await?;
        }
        Ok(())
    }

    async fn add_missing(
        &self,
        topics: &mut [TopicPlan],
        cluster: &Cluster,
        names: &[String],
        bit: i32,
        operation: &str,
    ) -> Result<()> {
        let operations = operations_on_topics(cluster, names).await?;
        for topic in topics {
            if operations.get(&topic.topic).is_some_and(|allowed| allowed & bit == 0) {
                topic.missing_permissions.push(format!(
                    "the {} cluster does not let the mirror {} topic '{}': allow {operation} on it to the mirror's principal",
                    cluster.side,
                    if bit == MAY_READ { "read" } else { "write to" },
                    topic.topic
                ));
            }
        }
        Ok(())
    }
}
