//! What would be done to the configurations of topics, by the same decisions as the running mirror's, and what the target says to it.
//! Nothing is written: the target is asked whether it would take what is planned.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Planner, TopicAction, TopicPlan};
use crate::control::configs::{
    Sides, adapting, ask_for_inherited, by_hand, describe_target, restamping, source_topic, target_topic, told,
};
use crate::error::{Error, ErrorKind, Result};
use crate::machine::configs::{self, Adaptations, Change, Policy, SourceTopic, TargetTopic};
use crate::machine::topics::Lives;
use crate::terms::settings::Counting;
use crate::terms::topic::{Metadata, NewTopic};
use crate::wire;
use crate::wire::admin::{self, Growth};
use crate::wire::configs::{ByTopic, TopicConfigs};

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
    /// Settings with which records go sooner on the target than at the source, or are refused, and that the mirror leaves as they are.
    pub warnings: Vec<String>,
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

/// What the target says to the creation and growth of topics, by their names there.
#[derive(Default)]
pub(super) struct Asked {
    /// What it would not do, and why.
    pub(super) errors: BTreeMap<String, Error>,
    /// What would count for those that would be created, without being set on them.
    inherited: BTreeMap<String, Counting>,
    /// What they would get in place of settings that it does not take.
    adaptations: RefCell<Adaptations>,
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

    /// Asks whether the target would create and enlarge topics, and whether those that are there leave records as they are; what cannot be
    /// is refused.
    pub(super) async fn ask_target(
        &self,
        topics: &mut [TopicPlan],
        target: &Metadata,
        source: &ByTopic<TopicConfigs>,
    ) -> Result<Asked> {
        let mut unknown = BTreeMap::new();
        let Asked { mut errors, mut inherited, adaptations } = Asked::default();
        let mut new = Vec::new();
        for topic in topics.iter().filter(|topic| topic.action == TopicAction::Create) {
            let replication_factor = topic.replication_factor.unwrap_or(-1);
            let source = match source.get(&topic.topic) {
                Some(Ok(described)) => source_topic(described),
                Some(Err(error)) => {
                    unknown.insert(topic.topic.clone(), error.clone());
                    continue;
                }
                None => SourceTopic::default(),
            };
            new.push(NewTopic {
                name: topic.name_on_target().to_owned(),
                partitions: topic.partitions as i32,
                replication_factor,
                configs: configs::for_new_topic(&source, replication_factor, &Counting::new(), self.policy()),
            });
        }
        let (controller, policy) = (target.controller_id, self.policy());
        for (topic, answer) in adapting::may_create(&self.target, controller, &mut new, policy, &adaptations).await? {
            match answer {
                Ok(counting) => drop(inherited.insert(topic, counting)),
                Err(error) => drop(errors.insert(topic, error)),
            }
        }
        let growing = topics.iter().filter(|topic| topic.action == TopicAction::Grow);
        let growth = |topic: &TopicPlan| {
            let name = topic.name_on_target().to_owned();
            let growth = Growth { from: target.partitions_of(&name), to: topic.partitions as i32 };
            (name, growth)
        };
        let answers = admin::grow_topics(&self.target, controller, &growing.map(growth).collect(), true).await?;
        errors.extend(answers.into_iter().filter_map(|(topic, answer)| Some((topic, answer.err()?))));
        let there = |action| matches!(action, TopicAction::Mirror | TopicAction::Grow);
        unknown.extend(restamping(&self.target, &self.config, &names(topics, there)).await);
        for topic in topics {
            if let Some(error) = errors.get(topic.name_on_target()).or_else(|| unknown.get(&topic.topic)) {
                (topic.action, topic.reason) = (TopicAction::Refuse, Some(error.message().to_owned()));
            }
        }
        Ok(Asked { errors, inherited, adaptations })
    }

    /// What would be changed on topics, and what could not.
    pub(super) async fn plan_configs(
        &self,
        topics: &[TopicPlan],
        followed: &BTreeSet<String>,
        lives: &Lives,
        target: &Metadata,
        source: &ByTopic<TopicConfigs>,
        asked: &Asked,
    ) -> Result<Configured> {
        let mut configured = Configured::default();
        for topic in topics.iter().filter(|topic| topic.action == TopicAction::Create) {
            let source = told(source, &topic.topic).ok().flatten().map(source_topic).unwrap_or_default();
            let replication_factor = topic.replication_factor.unwrap_or(-1);
            let inherited = asked.inherited.get(topic.name_on_target()).cloned().unwrap_or_default();
            let new = TargetTopic { replication_factor, inherited, is_created: true, ..TargetTopic::default() };
            let planned = configs::plan(&source, &new, self.policy());
            let (changes, mut warnings) = asked.adaptations.borrow().adapt(topic.name_on_target(), planned);
            warnings.extend(configs::stricter(&source, &new, self.policy()));
            configured.add(&topic.topic, &changes, None);
            configured.warn(&topic.topic, warnings);
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
                    let there = target.topics.get(&*self.config.names.on_target(&topic));
                    let replicas = there.map_or(-1, |there| there.replication_factor);
                    let is_created = there.is_some_and(|there| lives.has_created(&topic, there.id));
                    configured.target.insert(topic.clone(), of_target.own.clone());
                    let of_target = target_topic(of_target, of_source, replicas, is_created);
                    pairs.push((topic, source_topic(of_source), of_target));
                }
                (Err(error), _) | (_, Err(error)) => configured.add(&topic, &[], Some(&error)),
                _ => {}
            }
        }
        ask_for_inherited(&self.target, &self.config, &mut pairs, self.policy()).await?;
        let plan = |(topic, source, target): &Sides| (topic.clone(), configs::plan(source, target, self.policy()));
        let changes: Vec<(String, Vec<Change>)> =
            pairs.iter().map(plan).filter(|(_, changes)| !changes.is_empty()).collect();
        self.ask_for_changes(changes.clone(), &asked.adaptations, &mut configured).await?;
        let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (topic, changes) in changes {
            let on_target = self.config.names.on_target(&topic);
            told.insert(topic.clone(), asked.adaptations.borrow().adapt(&on_target, changes).1);
        }
        for (topic, source, target) in &pairs {
            let mut warnings = told.remove(topic).unwrap_or_default();
            warnings.extend(configs::stricter(source, target, self.policy()));
            configured.warn(topic, warnings);
        }
        Ok(configured)
    }

    /// Asks whether the target would take changes.
    async fn ask_for_changes(
        &self,
        mut changes: Vec<(String, Vec<Change>)>,
        adaptations: &RefCell<Adaptations>,
        configured: &mut Configured,
    ) -> Result<()> {
        let asked = adapting::alter(&self.target, &self.config, &mut changes, adaptations, true);
        let answers = match asked.await {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                changes.iter().map(|(topic, changes)| (topic.clone(), Err(by_hand(topic, changes, &error)))).collect()
            }
            answers => answers?,
        };
        for (topic, changes) in changes {
            configured.add(&topic, &changes, told(&answers, &topic).err().as_ref());
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
            warnings: Vec::new(),
        });
    }

    fn warn(&mut self, topic: &str, warnings: Vec<String>) {
        if warnings.is_empty() {
            return;
        }
        match self.plans.iter_mut().find(|plan| plan.topic == topic) {
            Some(plan) => plan.warnings = warnings,
            None => {
                self.plans.push(ConfigPlan { topic: topic.to_owned(), changes: Vec::new(), trouble: None, warnings });
            }
        }
    }
}

fn names(topics: &[TopicPlan], wanted: impl Fn(TopicAction) -> bool) -> Vec<String> {
    topics.iter().filter(|topic| wanted(topic.action)).map(|topic| topic.topic.clone()).collect()
}
