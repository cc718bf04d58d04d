//! Which permissions the planned work would lack, as both clusters tell of the mirror's principal.
//!
//! Only what this plan needs is listed. What a broker tells of nobody, such as Write on a topic that is not there yet, is not
//! known before. A cluster without an authorizer lacks nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::configs::Configured;
use super::{Planner, TopicPlan};
use crate::error::{Error, ErrorKind, Result};
use crate::terms::topic::{Metadata, NewTopic};
use crate::wire::admin;
use crate::wire::permissions::{self, Operation, Permitted};

/// A permission that the mirror lacks for what it would do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct MissingPermission {
    /// `source` or `target`.
    pub side: &'static str,
    /// `topic` or `cluster`, as Kafka's tools name them.
    pub resource_type: &'static str,
    /// The topic's name, or `kafka-cluster`.
    pub resource: String,
    /// The operation that has to be allowed, as Kafka's tools name it.
    pub operation: &'static str,
    /// What it is needed for, for example `to copy its records`.
    pub needed_for: String,
}

/// One line.
impl std::fmt::Display for MissingPermission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let MissingPermission { side, resource_type, resource, operation, needed_for } = self;
        write!(f, "the {side} does not allow {operation} on {resource_type} '{resource}', which is needed {needed_for}")
    }
}

/// A topic that nobody has: whether it may be seen shows whether those of mirrors may.
const ANY_INTERNAL: &str = "kmirror.any-mirror.internal";

/// What there is to judge by.
pub(super) struct Work<'a> {
    pub(super) topics: &'a [TopicPlan],
    pub(super) source: &'a Metadata,
    pub(super) target: &'a Metadata,
    pub(super) configured: &'a Configured,
    /// Why topics cannot be created or enlarged.
    pub(super) refused: &'a BTreeMap<String, Error>,
    pub(super) internal_topic: &'a str,
    pub(super) has_run: bool,
}

impl Planner {
    /// The permissions that are missing.
    pub(super) async fn missing_permissions(&self, work: &Work<'_>) -> Result<Vec<MissingPermission>> {
        let mut missing = BTreeSet::new();
        self.look_at_source(work, &mut missing).await?;
        self.look_at_target(work, &mut missing).await?;
        Ok(missing.into_iter().collect())
    }

    async fn look_at_source(&self, work: &Work<'_>, missing: &mut BTreeSet<MissingPermission>) -> Result<()> {
        let is_unseen = |name: &&str| !work.source.topics.contains_key(*name) && self.config.mirrors(name);
        let unseen: Vec<String> = self.config.topics.named().filter(is_unseen).map(str::to_owned).collect();
        let seen = work.topics.iter().map(|topic| topic.topic.clone());
        let mut names: Vec<String> = seen.chain(unseen.iter().cloned()).collect();
        let of_mirrors = self.internal_topics(work);
        names.extend(of_mirrors.iter().cloned());
        let permitted = permissions::of_topics(&self.source, &names).await?;
        let mut need = Needs { side: "source", permitted, missing };
        for topic in of_mirrors {
            let operation = if topic == ANY_INTERNAL { Operation::Describe } else { Operation::Read };
            need.topic(
                &topic,
                operation,
                "to know what mirrors the other way have copied to the source, with a prefixed ACL for 'kmirror.'",
            );
        }
        for topic in unseen {
            need.topic(&topic, Operation::Describe, "to see the topic, if it is there");
        }
        for topic in work.topics {
            need.topic(&topic.topic, Operation::Read, "to copy its records");
            if self.config.sync_topic_configs {
                need.topic(&topic.topic, Operation::DescribeConfigs, "to copy its configuration");
            }
        }
        Ok(())
    }

    /// With translated offsets: the internal topics of mirrors that write to the source, and one that stands for those that cannot be seen.
    fn internal_topics(&self, work: &Work<'_>) -> Vec<String> {
        let is_internal = |topic: &&String| topic.starts_with("kmirror.") && topic.ends_with(".internal");
        let seen = work.source.topics.keys().filter(is_internal).cloned();
        let all = seen.chain([ANY_INTERNAL.to_owned()]);
        all.filter(|_| self.config.translates()).collect()
    }

    async fn look_at_target(&self, work: &Work<'_>, missing: &mut BTreeSet<MissingPermission>) -> Result<()> {
        let mut names: Vec<String> = work.topics.iter().map(|topic| topic.name_on_target().to_owned()).collect();
        names.push(work.internal_topic.to_owned());
        let permitted = permissions::of_topics(&self.target, &names).await?;
        let may_write_somewhere = permitted.values().any(|permitted| permitted.allows(Operation::Write));
        let creates_internal = !permitted.contains_key(work.internal_topic);
        let mut need = Needs { side: "target", permitted, missing };
        for topic in work.topics {
            need.for_topic(topic, work.configured, self.config.sync_topic_configs);
            let creates = work.target.topics.get(topic.name_on_target()).is_none_or(|there| there.error_code != 0);
            let refused = work.refused.get(topic.name_on_target());
            if creates && refused.is_some_and(|error| error.kind() == ErrorKind::Authorization) {
                need.tell("topic", topic.name_on_target(), Operation::Create, "to create it");
            }
        }
        if creates_internal {
            let new = NewTopic {
                name: work.internal_topic.to_owned(),
                partitions: 1,
                replication_factor: 1,
                configs: BTreeMap::new(),
            };
            let answers = admin::may_create_topics(&self.target, work.target.controller_id, &[new]).await?;
            if answers.values().any(is_denied) {
                need.tell("topic", work.internal_topic, Operation::Create, "to create the mirror's own topic");
            }
        } else {
            for operation in [Operation::Describe, Operation::Read, Operation::Write] {
                need.topic(work.internal_topic, operation, "to remember who the mirror is");
            }
        }
        let cluster = permissions::of_cluster(&self.target).await?;
        // Since Kafka 2.8 permission to write to any topic is enough.
        if !work.has_run && !may_write_somewhere && !cluster.allows(Operation::IdempotentWrite) {
            let why = "to get a producer id; with Kafka 2.8 or newer, Write on any topic is as good";
            need.tell("cluster", "kafka-cluster", Operation::IdempotentWrite, why);
        }
        Ok(())
    }
}

fn is_denied<T>(answer: &Result<T>) -> bool {
    answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Authorization)
}

/// Compares what is needed on one side with what is permitted there.
struct Needs<'a> {
    side: &'static str,
    permitted: BTreeMap<String, Permitted>,
    missing: &'a mut BTreeSet<MissingPermission>,
}

impl Needs<'_> {
    fn for_topic(&mut self, topic: &TopicPlan, configured: &Configured, follows_configs: bool) {
        let name = topic.name_on_target();
        self.topic(name, Operation::Describe, "to see the topic");
        self.topic(name, Operation::Write, "to write records");
        if follows_configs {
            self.topic(name, Operation::DescribeConfigs, "to compare its configuration");
        }
        let changes = configured.plans.iter().any(|plan| plan.topic == topic.topic && !plan.changes.is_empty());
        if changes {
            self.topic(name, Operation::AlterConfigs, "to change its configuration");
        }
        if topic.grows {
            self.topic(name, Operation::Alter, "to add partitions");
        }
        if !topic.prefixes.is_empty() {
            self.topic(name, Operation::Delete, "to delete what is filled in before the first offset");
            let policy = configured.target.get(&topic.topic).and_then(|own| own.get("cleanup.policy"));
            if policy.is_some_and(|policy| policy == "compact") {
                self.topic(name, Operation::AlterConfigs, "to allow that deletion in a compacted topic");
            }
        }
    }

    fn topic(&mut self, topic: &str, operation: Operation, needed_for: &str) {
        if self.permitted.get(topic).is_some_and(|permitted| !permitted.allows(operation)) {
            self.tell("topic", topic, operation, needed_for);
        }
    }

    fn tell(&mut self, resource_type: &'static str, resource: &str, operation: Operation, needed_for: &str) {
        self.missing.insert(MissingPermission {
            side: self.side,
            resource_type,
            resource: resource.to_owned(),
            operation: operation.name(),
            needed_for: needed_for.to_owned(),
        });
    }
}
