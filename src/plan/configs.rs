//! What would be done to the configurations of topics, by the same decisions as the running mirror's, and what the target says to it.
//! Nothing is written: the target is asked whether it would take what is planned.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Planner, TopicAction, TopicPlan};
use crate::control::configs::{alter_target, ask_for_minimum, by_hand, describe_target, target_topic, told};
use crate::error::{Error, ErrorKind, Result};
use crate::machine::configs::{self, Change, Policy, TargetTopic};
use crate::wire;
use crate::wire::admin::{self, NewTopic};
use crate::wire::cluster::Metadata;
use crate::wire::configs::{ByTopic, TopicConfigs};

/// Topics in one request to create them.
const CREATED_AT_ONCE: usize = 200;

/// What would be done to the configuration of a topic on the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ConfigPlan {
    /// The topic.
    pub topic: String,
    /// What would be changed or, of a topic that would be created, set.
    pub changes: Vec<ConfigChange>,
    /// Why that cannot be done.
    pub trouble: Option<String>,
}

/// Something that would be changed on a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ConfigChange {
    /// What.
    pub key: String,
    /// What is set on the topic now; nothing if it has the default.
    pub from: Option<String>,
    /// What would be set; nothing if it would have the default.
    pub to: Option<String>,
    /// Why.
    pub reason: String,
}

/// What both sides have, and what the mirror wants of the target.
#[derive(Default)]
pub(super) struct Configured {
    /// The public part.
    pub(super) plans: Vec<ConfigPlan>,
    /// What is set on topics of the target.
    pub(super) target: BTreeMap<String, configs::Configs>,
}

impl Planner {
    /// The configurations of the source's topics that would be copied.
    pub(super) async fn source_configs(&self, topics: &[TopicPlan]) -> Result<ByTopic<TopicConfigs>> {
        if !self.config.sync_topic_configs {
            return Ok(BTreeMap::new());
        }
        let names = names(topics, |action| action != TopicAction::Refuse);
        let described = wire::configs::describe(&self.source, &names).await;
        wire::configs::unsupported_is(described, &names, &TopicConfigs::default())
    }

    /// Asks whether the target would create and enlarge topics; those that it would not are refused. Returns its errors, by the
    /// names on the target.
    pub(super) async fn ask_target(
        &self,
        topics: &mut [TopicPlan],
        target: &Metadata,
        source: &ByTopic<TopicConfigs>,
    ) -> Result<BTreeMap<String, Error>> {
        let (mut unknown, mut errors) = (BTreeMap::new(), BTreeMap::new());
        let mut new = Vec::new();
        for topic in topics.iter().filter(|topic| topic.action == TopicAction::Create) {
            let replication_factor = topic.replication_factor.unwrap_or(-1);
            let configs = match source.get(&topic.topic) {
                Some(Ok(described)) => described.own.clone(),
                Some(Err(error)) => {
                    unknown.insert(topic.topic.clone(), error.clone());
                    continue;
                }
                None => configs::Configs::new(),
            };
            new.push(NewTopic {
                name: topic.name_on_target().to_owned(),
                partitions: topic.partitions as i32,
                replication_factor,
                configs: configs::for_new_topic(&configs, replication_factor, self.policy()),
            });
        }
        for some in new.chunks(CREATED_AT_ONCE) {
            let answers = admin::may_create_topics(&self.target, target.controller_id, some).await?;
            errors.extend(answers.into_iter().filter_map(|(topic, answer)| Some((topic, answer.err()?))));
        }
        let growing = topics.iter().filter(|topic| topic.action == TopicAction::Grow);
        let growing = growing.map(|topic| (topic.name_on_target().to_owned(), topic.partitions as i32)).collect();
        let answers = admin::grow_topics(&self.target, target.controller_id, &growing, true).await?;
        errors.extend(answers.into_iter().filter_map(|(topic, answer)| Some((topic, answer.err()?))));
        for topic in topics {
            if let Some(error) = errors.get(topic.name_on_target()).or_else(|| unknown.get(&topic.topic)) {
                (topic.action, topic.reason) = (TopicAction::Refuse, Some(error.message().to_owned()));
            }
        }
        Ok(errors)
    }

    /// What would be changed on topics, and what could not.
    pub(super) async fn plan_configs(
        &self,
        topics: &[TopicPlan],
        followed: &BTreeSet<String>,
        target: &Metadata,
        source: &ByTopic<TopicConfigs>,
    ) -> Result<Configured> {
        let mut configured = Configured::default();
        for topic in topics.iter().filter(|topic| topic.action == TopicAction::Create) {
            let own =
                told(source, &topic.topic).ok().flatten().map(|described| described.own.clone()).unwrap_or_default();
            let replication_factor = topic.replication_factor.unwrap_or(-1);
            let nothing = TargetTopic { replication_factor, ..TargetTopic::default() };
            configured.add(&topic.topic, &configs::plan(&own, &nothing, self.policy()), None);
        }
        if !self.config.sync_topic_configs {
            return Ok(configured);
        }
        let there = |topic: &&TopicPlan| {
            let is_there = matches!(topic.action, TopicAction::Mirror | TopicAction::Grow);
            is_there && topic.refused_partitions.is_empty() && followed.contains(&topic.topic)
        };
        let names: Vec<String> = topics.iter().filter(there).map(|topic| topic.topic.clone()).collect();
        let described = match describe_target(&self.target, &self.config, &names).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                configured.add("all topics", &[], Some(&error));
                return Ok(configured);
            }
            described => described?,
        };
        let mut pairs = Vec::new();
        for topic in names {
            match (told(source, &topic), told(&described, &topic)) {
                (Ok(Some(of_source)), Ok(Some(of_target))) => {
                    let replicas = target
                        .topics
                        .get(&*self.config.names.on_target(&topic))
                        .map_or(-1, |topic| topic.replication_factor);
                    configured.target.insert(topic.clone(), of_target.own.clone());
                    pairs.push((topic, of_source.own.clone(), target_topic(of_target, of_source, replicas)));
                }
                (Err(error), _) | (_, Err(error)) => configured.add(&topic, &[], Some(&error)),
                _ => {}
            }
        }
        ask_for_minimum(&self.target, &self.config, &mut pairs, self.policy()).await?;
        let plan = |(topic, source, target): &(String, configs::Configs, TargetTopic)| {
            (topic.clone(), configs::plan(source, target, self.policy()))
        };
        let changes: Vec<(String, Vec<Change>)> =
            pairs.iter().map(plan).filter(|(_, changes)| !changes.is_empty()).collect();
        self.ask_for_changes(&changes, &mut configured).await?;
        Ok(configured)
    }

    /// Asks whether the target would take changes.
    async fn ask_for_changes(&self, changes: &[(String, Vec<Change>)], configured: &mut Configured) -> Result<()> {
        let answers = match alter_target(&self.target, &self.config, changes, true).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                changes.iter().map(|(topic, changes)| (topic.clone(), Err(by_hand(topic, changes, &error)))).collect()
            }
            answers => answers?,
        };
        for (topic, changes) in changes {
            configured.add(topic, changes, told(&answers, topic).err().as_ref());
        }
        Ok(())
    }

    fn policy(&self) -> Policy<'_> {
        Policy::of(&self.config)
    }
}

impl Configured {
    fn add(&mut self, topic: &str, changes: &[Change], trouble: Option<&Error>) {
        if changes.is_empty() && trouble.is_none() {
            return;
        }
        let change = |change: &Change| ConfigChange {
            key: change.key().to_owned(),
            from: change.from().map(str::to_owned),
            to: change.to().map(str::to_owned),
            reason: change.reason().to_owned(),
        };
        self.plans.push(ConfigPlan {
            topic: topic.to_owned(),
            changes: changes.iter().map(change).collect(),
            trouble: trouble.map(|error| error.message().to_owned()),
        });
    }
}

fn names(topics: &[TopicPlan], wanted: impl Fn(TopicAction) -> bool) -> Vec<String> {
    topics.iter().filter(|topic| wanted(topic.action)).map(|topic| topic.topic.clone()).collect()
}
