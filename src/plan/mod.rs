//! What a mirror would do before it copies: asks both clusters as a start does, and writes nothing.
//!
//! Decides by the same functions as the running mirror, those of `machine`, so that what is shown is what would be done.

mod acls;
mod configs;
mod deletions;
mod emitted;
mod groups;
mod permissions;
mod reverse;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_protocol::messages::{ProducerId, WriteTxnMarkersRequest};
use serde::Serialize;

pub use configs::{ConfigChange, ConfigPlan};
pub use permissions::MissingPermission;

use crate::batch::marker::{self, Origin};
use crate::config::{Config, Start, utc};
use crate::control::default_name;
use crate::control::prefix::survey::{self, TargetState};
use crate::error::{Error, ErrorKind, Result};
use crate::identity;
use crate::identity::offsets::Place;
use crate::machine::opening::other_writer;
use crate::machine::partition::Identity;
use crate::machine::prefix::{self, LastWriter, Reading, Step};
use crate::machine::start;
use crate::machine::topics::{self, Action, Lives};
use crate::machine::translation::OffsetMap;
use crate::machine::translation::guard::Guard;
use crate::terms::broker_error::{BrokerError, Class};
use crate::terms::topic::{Metadata, TopicPartition};
use crate::waiting::look_on_a_thread;
use crate::wire::cluster::{Cluster, topic_name};
use permissions::Work;

pub use acls::{AclAction, AclPlan};
pub use deletions::DeletionsPlan;
pub use emitted::EmittedTopicPlan;
pub use groups::{GroupPlan, OffsetPlan};
pub use reverse::{ReversePartition, ReversePlan, ReverseTopic, ReverseTopicAction, plan_reverse};

/// What a mirror would do.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// The mirror's name.
    pub name: String,
    /// Whether a mirror of this name has run already.
    pub has_run: bool,
    /// When the mirror was promoted, in milliseconds since 1970: then it would not start.
    pub promoted_at_ms: Option<i64>,
    /// What a start would warn of: a name that nobody has chosen, topics that a mirror of this name has copied and that are not selected.
    pub warnings: Vec<String>,
    /// Whether offsets without a record can be filled by markers.
    pub markers: MarkerPermission,
    /// What would be done for each topic, by name.
    pub topics: Vec<TopicPlan>,
    /// What would be changed of the configurations of topics, by name.
    pub configs: Vec<ConfigPlan>,
    /// What would be done about ACLs with `sync.topic.acls`, in this order.
    pub acls: Vec<AclPlan>,
    /// What would be done for each consumer group, by name.
    pub groups: Vec<GroupPlan>,
    /// What keeps consumer groups of the source from being seen, and why.
    pub groups_unseen: BTreeMap<String, String>,
    /// Topics in MirrorMaker 2's formats that would be created, or cannot be.
    pub emitted_topics: Vec<EmittedTopicPlan>,
    /// The topic in which the mirror remembers who it is, as far as there is something to say of it.
    pub internal_topic: InternalTopicPlan,
    /// Permissions that the mirror lacks for all this.
    pub missing_permissions: Vec<MissingPermission>,
}

/// What would become of the mirror's internal topic on the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct InternalTopicPlan {
    /// Its name.
    pub topic: String,
    /// Whether it would be created.
    pub is_new: bool,
    /// With what it would be created in place of what the mirror gives it, because the target forbids that.
    pub warning: Option<String>,
    /// Why the target would not create it: then a mirror does not start.
    pub reason: Option<String>,
}

/// Whether the target lets the mirror write markers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MarkerPermission {
    /// It does.
    Allowed,
    /// Operation Alter or ClusterAction on the cluster is missing.
    Denied,
    /// It has no such request, or did not tell.
    Unknown,
    /// With `offsets=translate` nothing is filled.
    NotNeeded,
}

/// What would be done for a topic.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct TopicPlan {
    /// Its name at the source.
    pub topic: String,
    /// Its name on the target, where that differs.
    pub target_topic: Option<String>,
    /// What would be done.
    pub action: TopicAction,
    /// Its partitions at the source.
    pub partitions: usize,
    /// What matters of a copy that is there already, beside its records: that it has more partitions.
    pub warning: Option<String>,
    /// Replicas on the target, of a topic that would be created.
    pub replication_factor: Option<i16>,
    /// Replicas that are wanted, if the target has too few brokers for them.
    pub replication_factor_wanted: Option<i16>,
    /// Whether partitions have to be added.
    #[serde(skip)]
    grows: bool,
    /// Why it is refused.
    pub reason: Option<String>,
    /// Partitions whose first offsets would be filled and deleted, because they start late.
    pub prefixes: Vec<PrefixPlan>,
    /// Partitions that would be parked, and why.
    pub refused_partitions: BTreeMap<i32, String>,
    /// The first offsets that the target's partitions keep, or will.
    #[serde(skip)]
    starts: BTreeMap<i32, i64>,
    /// The deletions of keys, of a compacted topic that is copied already.
    pub deletions: Option<DeletionsPlan>,
}

/// What would be done for a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TopicAction {
    /// Create it on the target, and mirror it.
    Create,
    /// Add partitions on the target, and mirror it.
    Grow,
    /// Mirror it into the topic that is there.
    Mirror,
    /// Nothing: it cannot be mirrored.
    Refuse,
}

/// A partition that starts late.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PrefixPlan {
    /// Its number.
    pub partition: i32,
    /// First offset to fill.
    pub from: i64,
    /// Where it begins.
    pub to: i64,
    /// How long the fill takes about.
    pub estimate_seconds: f64,
}

/// Works out what a mirror with this configuration would do. Writes nothing, on either side.
///
/// # Errors
/// [`Connect`](crate::ErrorKind::Connect), [`Authentication`](crate::ErrorKind::Authentication) and the like if a cluster
/// cannot be asked; what cannot be mirrored is no error but part of the plan.
pub fn plan(config: Config) -> Result<Plan> {
    plan_or(config, || false)
}

/// As [`plan`], asking every 50 ms whether to give up: for hosts that have to look for signals while they wait.
///
/// # Errors
/// As there, and [`TimedOut`](crate::ErrorKind::TimedOut) when `give_up` says so.
pub fn plan_or(config: Config, give_up: impl FnMut() -> bool) -> Result<Plan> {
    look_on_a_thread("the plan", give_up, async move || {
        let planner = Planner::new(config);
        planner.refuse_start().await?;
        planner.plan().await
    })
}

impl Plan {
    /// Why a mirror would copy nothing, if that is so: it was promoted, or everything is refused.
    pub fn error(&self) -> Option<Error> {
        if let Some(at) = self.promoted_at_ms {
            let message = format!(
                "the mirror '{}' was promoted at {}: run refuses to start it; set another 'name', or take it back with kmirror promote \
                 --undo",
                self.name,
                utc(at)
            );
            return Some(Error::new(ErrorKind::Config, message));
        }
        if let Some(reason) = &self.internal_topic.reason {
            return Some(Error::new(ErrorKind::Topic, reason.clone()));
        }
        let is_refused = |topic: &TopicPlan| {
            topic.action == TopicAction::Refuse
                || (topic.partitions > 0 && topic.refused_partitions.len() == topic.partitions)
        };
        if self.topics.is_empty() || !self.topics.iter().all(is_refused) {
            return None;
        }
        let first = self.topics.iter().flat_map(TopicPlan::refusals).next().unwrap_or_default();
        Some(Error::new(ErrorKind::TargetConflict, format!("nothing can be mirrored: {first}")))
    }
}

/// The plan, for those who are in a runtime already.
pub(crate) async fn of(config: Config) -> Result<Plan> {
    Planner::new(config).plan().await
}

/// Where records are on the target, by the names of partitions at the source.
type Translations = BTreeMap<TopicPartition, OffsetMap>;

struct Planner {
    source: Cluster,
    target: Cluster,
    config: Config,
}

impl Planner {
    fn new(config: Config) -> Self {
        let source = Cluster::new("source", config.source.clone());
        Planner { source, target: Cluster::new("target", config.target.clone()), config }
    }

    /// What keeps a mirror from starting.
    async fn refuse_start(&self) -> Result<()> {
        let none: [String; 0] = [];
        let (source, target) =
            tokio::join!(self.source.metadata(None, false), self.target.metadata(Some(&none), false));
        let (source, target) = (source?, target?);
        start::two_clusters(&source, &target)?;
        start::something_is_selected(&self.config, &source)
    }

    async fn plan(&self) -> Result<Plan> {
        let source = self.source.metadata(None, false).await?;
        let selected = topics::names_on_target(&self.config, &topics::selected(&self.config, &source));
        let target = self.target.metadata(Some(&selected), false).await?;
        let id = |metadata: &Metadata| metadata.cluster_id.clone().unwrap_or_else(|| "unknown".to_owned());
        let (source_id, target_id) = (id(&source), id(&target));
        let name = self.config.name.clone().unwrap_or_else(|| default_name(&source_id, &target_id));
        let whose = identity::Whose { name: &name, source_cluster_id: &source_id, offsets: self.config.offsets };
        let found = identity::find(&self.target, whose).await?;
        let promoted_at_ms = found.as_ref().and_then(|found| found.mark.as_ref()).map(|mark| mark.promoted_at_ms);
        let remembered = found.iter().flat_map(|found| found.topics.keys());
        let not_selected = start::not_selected(&self.config, remembered);
        let shared_name = start::default_name_is_shared(&self.config, &name);
        let warnings = shared_name.into_iter().chain(start::another_selection(&name, &not_selected)).collect();
        let maps = self.translations(found.as_ref(), &target);
        let lives = found.as_ref().map(|found| Lives::restored(found.topics.clone(), found.created.clone()));
        let mut lives = lives.unwrap_or_default();
        // Others may use a topic to which records are appended; the mirror keeps what it has created like the source's.
        let follows = |topic: &str| {
            let copy = target.topics.get(&*self.config.names.on_target(topic));
            copy.is_some_and(|copy| lives.has_created(topic, copy.id)) || !self.config.translates()
        };
        let followed: BTreeSet<String> = source.topics.keys().filter(|topic| follows(topic)).cloned().collect();
        let noted = found.as_ref().map(|found| found.groups.clone()).unwrap_or_default();
        let (identity, recalled) = found.map(|found| (found.identity, found.recalled)).unzip();
        let actions = lives.look(&source, &target, &BTreeSet::new(), &self.config);
        let mut topics: Vec<TopicPlan> = actions
            .into_iter()
            .map(|(name, action)| {
                let partitions = source.topics.get(&name).map_or(0, |topic| topic.leaders.len());
                let on_target = Some(self.config.names.on_target(&name).into_owned()).filter(|other| *other != name);
                TopicPlan { target_topic: on_target, ..topic_plan(name, partitions, action) }
            })
            .collect();
        let mut wider = topics::wider_copies(&self.config, &source, &target);
        for topic in &mut topics {
            topic.warning = wider.remove(&topic.topic).map(|error| error.message().to_owned());
        }
        let source_configs = self.source_configs(&topics).await?;
        let asked = self.ask_target(&mut topics, &target, &source_configs).await?;
        self.plan_starts(&mut topics, &source, &target, (identity, &maps)).await;
        self.plan_deletions(&mut topics, &recalled.unwrap_or_default()).await;
        let configured = self.plan_configs(&topics, &followed, &lives, &target, &source_configs, &asked).await?;
        let internal_topic = identity::topic_of(&name);
        let has_run = identity.is_some();
        let mut missing_permissions = self
            .missing_permissions(&Work {
                topics: &topics,
                source: &source,
                target: &target,
                configured: &configured,
                refused: &asked.errors,
                internal_topic: &internal_topic,
                has_run,
            })
            .await?;
        let (emitted_topics, missing) = self.plan_emitted().await?;
        missing_permissions.extend(missing);
        let markers = self.may_write_markers(&internal_topic).await?;
        let internal_topic = self.plan_internal_topic(internal_topic, &target).await?;
        let acls = self.plan_acls(&name, &source).await;
        let (groups, groups_unseen) = (Vec::new(), BTreeMap::new());
        let configs = configured.plans;
        let mut plan = Plan {
            name,
            has_run,
            promoted_at_ms,
            warnings,
            markers,
            topics,
            configs,
            acls,
            groups,
            groups_unseen,
            emitted_topics,
            internal_topic,
            missing_permissions,
        };
        self.plan_groups(&mut plan, &source, &maps, &noted).await;
        Ok(plan)
    }

    /// Asks whether the internal topic would be created. That it is not permitted is among the permissions.
    async fn plan_internal_topic(&self, topic: String, target: &Metadata) -> Result<InternalTopicPlan> {
        let metadata = self.target.metadata(Some(std::slice::from_ref(&topic)), false).await?;
        let found = metadata
            .topics
            .get(&topic)
            .map_or(Some(BrokerError::UNKNOWN_PARTITION), |found| BrokerError::of(found.error_code));
        let is_new = found.is_some_and(|error| error.code == BrokerError::UNKNOWN_PARTITION.code);
        let (mut warning, mut reason) = (None, None);
        if is_new {
            let cluster = (target.controller_id, target.broker_count);
            let factor = self.config.replication_factor;
            match identity::creation::create(&self.target, &topic, factor, cluster, true).await {
                Ok(told) => warning = told,
                Err(error) if error.kind() == ErrorKind::Topic => reason = Some(error.message().to_owned()),
                Err(error) if error.kind() == ErrorKind::Authorization => {}
                Err(error) => return Err(error),
            }
        }
        Ok(InternalTopicPlan { topic, is_new, warning, reason })
    }

    /// Where the records of the mirror are on the target, as far as it was written down.
    fn translations(&self, found: Option<&identity::Established>, target: &Metadata) -> Translations {
        let maps = found.filter(|_| self.config.translates()).map(|found| found.maps.clone());
        let is_there = |place: &Place| {
            let topic = target.topics.get(&*self.config.names.on_target(&place.topic));
            topic.is_some_and(|topic| topic.id == place.target_topic_id)
        };
        let maps = maps.unwrap_or_default().into_iter().filter(|(place, _)| is_there(place));
        maps.map(|(place, map)| ((Rc::from(place.topic.as_str()), place.partition), map)).collect()
    }

    /// Adds the partitions that start late.
    async fn plan_starts(
        &self,
        topics: &mut [TopicPlan],
        source: &Metadata,
        target: &Metadata,
        (identity, begun): (Option<Identity>, &Translations),
    ) {
        let mirrored = || topics.iter().filter(|topic| topic.action != TopicAction::Refuse);
        let names = |topic: &TopicPlan| -> Vec<(TopicPartition, TopicPartition)> {
            let [source, target]: [Rc<str>; 2] = [Rc::from(topic.topic.as_str()), Rc::from(topic.name_on_target())];
            let partitions = 0..topic.partitions as i32;
            partitions.map(|partition| ((source.clone(), partition), (target.clone(), partition))).collect()
        };
        let wanted: BTreeMap<TopicPartition, Start> = mirrored()
            .flat_map(names)
            .map(|(source, _)| source)
            .map(|partition| (partition, self.config.start))
            .collect();
        let sources = survey::sources(&self.source, source, &wanted, self.config.isolation_level).await;
        let late = |partition: &TopicPartition| matches!(sources.get(partition), Some(Ok(start)) if start.wanted > 0);
        let there = mirrored().filter(|topic| topic.action != TopicAction::Create);
        // Also of those that begin at 0: what is there may be somebody else's.
        let there: Vec<TopicPartition> = there.flat_map(names).map(|(_, target)| target).collect();
        let in_the_way = self.copies_in_the_way(begun, &there, target, source, identity).await;
        let targets = survey::targets(&self.target, target, &there, identity).await;
        let empty = TargetState { log_start: 0, log_end: 0, writer: LastWriter::Nobody };
        for topic in topics.iter_mut().filter(|topic| topic.action != TopicAction::Refuse) {
            for (partition, on_target) in names(topic) {
                if self.config.translates() {
                    // Whatever the target holds is not in the way, but copies of which nothing is remembered.
                    if let Some(error) = in_the_way.get(&on_target) {
                        topic.refuse(partition.1, error);
                    } else if let Some(Err(error)) = sources.get(&partition) {
                        topic.refuse(partition.1, error);
                    }
                    continue;
                }
                let state = match topic.action {
                    TopicAction::Create => Ok(empty),
                    TopicAction::Grow if survey::leader_of(target, &on_target).is_none() => Ok(empty),
                    _ => match targets.get(&on_target).cloned() {
                        // What cannot be told at the moment matters only for a late start.
                        Some(Err(error)) if late(&partition) => Err(error),
                        Some(Ok(state)) => Ok(state),
                        _ => Ok(empty),
                    },
                };
                match (sources.get(&partition), state) {
                    (Some(Ok(source)), Ok(target)) => topic.add_start(partition.1, source, target),
                    (Some(Err(error)), _) => topic.refuse(partition.1, error),
                    (_, Err(error)) => topic.refuse(partition.1, &error),
                    (None, _) => {}
                }
            }
        }
    }

    /// Which partitions cannot be begun because their logs hold copies of the source of which nothing is remembered, as far as that is known
    /// without reading the logs.
    async fn copies_in_the_way(
        &self,
        begun: &Translations,
        there: &[TopicPartition],
        target: &Metadata,
        source: &Metadata,
        identity: Option<Identity>,
    ) -> BTreeMap<TopicPartition, Error> {
        if !self.config.translates() {
            return BTreeMap::new();
        }
        let on_target =
            |(name, partition): &TopicPartition| (Rc::from(&*self.config.names.on_target(name)), *partition);
        let begun: BTreeSet<TopicPartition> = begun.keys().map(on_target).collect();
        let new: Vec<TopicPartition> = there.iter().filter(|partition| !begun.contains(*partition)).cloned().collect();
        let source = Origin::of_cluster(source.cluster_id.as_deref().unwrap_or("unknown"));
        // Nobody has an id that is not there.
        let guard = Guard::of(identity.map_or(i64::MIN, |identity| identity.producer_id), source);
        let logs = survey::appendable(&self.target, target, &new, guard).await;
        let copy = |(partition, log): (TopicPartition, Result<survey::Appendable>)| {
            let (producer_id, offset) = log.ok()?.copy?;
            Some((partition, guard.refusal(producer_id, offset)))
        };
        logs.into_iter().filter_map(copy).collect()
    }

    /// Aims a marker at a partition that cannot exist: the answer tells whether it would have been taken.
    async fn may_write_markers(&self, internal_topic: &str) -> Result<MarkerPermission> {
        const NO_PARTITION: i32 = i32::MAX;
        if self.config.translates() {
            return Ok(MarkerPermission::NotNeeded);
        }
        let connection = self.target.any().await?;
        let Ok(version) = connection.version::<WriteTxnMarkersRequest>(1) else { return Ok(MarkerPermission::Unknown) };
        let (producer_id, producer_epoch) = marker::identity_of(0);
        let topic = WritableTxnMarkerTopic::default()
            .with_name(topic_name(internal_topic))
            .with_partition_indexes(vec![NO_PARTITION]);
        let marker = WritableTxnMarker::default()
            .with_producer_id(ProducerId(producer_id))
            .with_producer_epoch(producer_epoch)
            .with_transaction_result(true)
            .with_topics(vec![topic]);
        let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
        let response = connection.call(&request, version).await?;
        let partitions = response.markers.iter().flat_map(|marker| &marker.topics).flat_map(|topic| &topic.partitions);
        let codes: Vec<i16> = partitions.map(|partition| partition.error_code).collect();
        Ok(match codes.first().map(|code| BrokerError::of(*code)) {
            Some(Some(error)) if error.code == BrokerError::UNKNOWN_PARTITION.code => MarkerPermission::Allowed,
            Some(Some(error)) if error.class == Class::Unauthorized => MarkerPermission::Denied,
            _ => MarkerPermission::Unknown,
        })
    }
}

fn topic_plan(topic: String, partitions: usize, action: Action) -> TopicPlan {
    let mut plan = TopicPlan {
        topic,
        target_topic: None,
        action: TopicAction::Refuse,
        partitions,
        warning: None,
        replication_factor: None,
        replication_factor_wanted: None,
        grows: false,
        reason: None,
        prefixes: Vec::new(),
        refused_partitions: BTreeMap::new(),
        starts: BTreeMap::new(),
        deletions: None,
    };
    match action {
        Action::Create { replication_factor, clamped_from, .. } => {
            plan.action = TopicAction::Create;
            (plan.replication_factor, plan.replication_factor_wanted) = (Some(replication_factor), clamped_from);
        }
        Action::Grow { .. } => (plan.action, plan.grows) = (TopicAction::Grow, true),
        Action::Mirror { .. } => plan.action = TopicAction::Mirror,
        Action::Refuse(error)
        | Action::Park(error)
        | Action::LetGo(error)
        | Action::Delete { error, .. }
        | Action::Gone(error) => {
            plan.reason = Some(error.message().to_owned());
        }
        // Of topics that are mirrored already, and a plan knows of none.
        Action::Resume | Action::Forget { .. } => {}
    }
    plan
}

impl TopicPlan {
    fn name_on_target(&self) -> &str {
        self.target_topic.as_deref().unwrap_or(&self.topic)
    }

    /// What the target holds is not this mirror's, or can be filled.
    fn add_start(&mut self, partition: i32, source: &survey::SourceStart, target: TargetState) {
        let reading = Reading {
            source_start: source.log_start,
            wanted_start: source.wanted,
            target_start: target.log_start,
            target_end: target.log_end,
            writer: target.writer,
        };
        self.starts.insert(partition, target.log_start);
        match prefix::decide(&reading) {
            Step::Fill { from, to } => {
                self.starts.insert(partition, to);
                let estimate_seconds = prefix::estimate(to - from).as_secs_f64();
                self.prefixes.push(PrefixPlan { partition, from, to, estimate_seconds });
            }
            Step::Refuse(error) => self.refuse(partition, &error),
            Step::Begun if target.writer == LastWriter::Other => {
                let what = format!("its log ends at offset {} with a record that is not this mirror's", target.log_end);
                self.refuse(partition, &other_writer(what));
            }
            Step::Done | Step::Begun | Step::Delete { .. } => {}
        }
    }

    /// What cannot be mirrored of it, and why, as sentences: the topic as a whole, or partitions that would be parked.
    pub fn refusals(&self) -> impl Iterator<Item = String> {
        let whole = (self.action == TopicAction::Refuse)
            .then(|| format!("topic '{}': {}", self.topic, self.reason.as_deref().unwrap_or("refused")));
        let one = |(number, why): (&i32, &String)| format!("topic '{}' partition {number}: {why}", self.topic);
        whole.into_iter().chain(self.refused_partitions.iter().map(one))
    }

    fn refuse(&mut self, partition: i32, error: &Error) {
        self.refused_partitions.insert(partition, error.message().to_owned());
    }
}
