//! Reads what both clusters have of consumer groups: which groups, of what type, with members or not, and their offsets.
//! Used by the running mirror and by `plan`; writes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use crate::config::{GroupSelection, TopicNames};
use crate::error::{Error, ErrorKind, Result};
use crate::machine::groups as machine;
use crate::terms::broker_error::BrokerError;
use crate::terms::group::{Listed, Members, Offsets, Type};
use crate::terms::topic::Metadata;
use crate::wire::cluster::Cluster;
use crate::wire::groups::{self, Listing};

/// The topic of the brokers that holds groups and their offsets.
const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The groups of both clusters.
pub(crate) struct Survey<'a> {
    source: &'a Cluster,
    target: &'a Cluster,
    names: &'a TopicNames,
    source_groups: Listing,
    target_groups: Listing,
    /// Whether the target may be asked for coordinators also if that has it create their topic.
    may_create: bool,
}

/// What both clusters have of a group.
pub(crate) struct Reading {
    pub(crate) source: Offsets,
    pub(crate) target: Offsets,
    /// The broker of the target that takes its offsets; `None` where there cannot be one yet.
    pub(crate) coordinator: Option<i32>,
}

/// Of each group: why it is not copied, or what both clusters have of it; `None` without offsets in mirrored topics.
pub(crate) type Readings = BTreeMap<String, Result<Option<Reading>>>;

impl<'a> Survey<'a> {
    /// Lists the groups of both clusters.
    pub(crate) async fn list(
        source: &'a Cluster,
        target: &'a Cluster,
        names: &'a TopicNames,
        may_create: bool,
    ) -> Result<Self> {
        let (source_groups, target_groups) = tokio::join!(groups::list(source), groups::list(target));
        Ok(Survey { source, target, names, source_groups: source_groups?, target_groups: target_groups?, may_create })
    }

    /// The groups to look at. One that was there before and is not listed may have lost its coordinator, or the permission
    /// to see it, and so may one that is selected by its name.
    pub(crate) fn names(&self, selection: &GroupSelection, known: impl Iterator<Item = String>) -> Vec<String> {
        let listed = self.source_groups.groups.keys().filter(|group| selection.matches(group)).cloned();
        let named = selection.names().map(str::to_owned);
        let names: BTreeSet<String> = listed.chain(named).chain(known).collect();
        names.into_iter().collect()
    }

    /// What keeps groups of the source from being seen at all.
    pub(crate) fn unseen(&self, source: &Metadata) -> BTreeMap<String, Error> {
        let mut unseen = BTreeMap::new();
        for (broker, error) in &self.source_groups.silent {
            let what = format!("groups that broker {broker} of the source coordinates are not seen");
            unseen.insert(format!("source broker {broker}"), error.clone().context(what));
        }
        let leaders = source.topics.get(OFFSETS_TOPIC).map_or(&[][..], |topic| &topic.leaders);
        let missing = leaders.iter().filter(|leader| **leader < 0).count();
        if missing > 0 {
            let message = format!(
                "{missing} of the {} partitions of {OFFSETS_TOPIC} have no leader at the source: groups that are kept there have \
                 no coordinator and are not seen until a broker with a replica is back",
                leaders.len()
            );
            unseen.insert(OFFSETS_TOPIC.to_owned(), Error::new(ErrorKind::Broker, message));
        }
        unseen
    }

    /// Reads some groups, by the names of topics at the source: the source's offsets first, and the target's of those that have any there.
    pub(crate) async fn read(&self, names: &[String], topics: &HashSet<Rc<str>>) -> Readings {
        let mut readings = Readings::new();
        let listed = |name: &String| self.source_groups.groups.get(name);
        let (refused, names): (Vec<&String>, Vec<&String>) = names
            .iter()
            .partition(|name| listed(name).is_some_and(|listed| machine::refusal_at_source(name, listed).is_some()));
        for name in refused {
            let error = listed(name).and_then(|listed| machine::refusal_at_source(name, listed));
            readings.insert(name.clone(), error.map_or(Ok(None), Err));
        }
        let names: Vec<String> = names.into_iter().cloned().collect();
        let mut sources = BTreeMap::new();
        // Nothing is ever created at the source.
        let coordinators = locate(self.source, &self.source_groups, &names, false, &mut readings).await;
        for (name, offsets) in groups::offsets(self.source, &coordinators, topics).await {
            match offsets {
                Ok(offsets) if offsets.is_empty() => drop(readings.insert(name, Ok(None))),
                Ok(offsets) => drop(sources.insert(name, offsets)),
                Err(error) => drop(readings.insert(name, Err(error))),
            }
        }
        sources.retain(|name, _| {
            let listed = self.target_groups.groups.get(name);
            let refusal = listed.and_then(|listed| machine::refusal_on_target(name, listed));
            refusal.is_none_or(|error| readings.insert(name.clone(), Err(error)).is_some())
        });
        self.read_target(sources, topics, &mut readings).await;
        readings
    }

    async fn read_target(
        &self,
        mut sources: BTreeMap<String, Offsets>,
        topics: &HashSet<Rc<str>>,
        readings: &mut Readings,
    ) {
        let names: Vec<String> = sources.keys().cloned().collect();
        let mut coordinators = locate(self.target, &self.target_groups, &names, self.may_create, readings).await;
        self.refuse_live_of_old_brokers(&mut coordinators, readings).await;
        // By the names on the target, as it knows no others.
        let named = |topic: &Rc<str>| match self.names.on_target(topic) {
            same if *same == **topic => (topic.clone(), topic.clone()),
            other => (Rc::from(&*other), topic.clone()),
        };
        let at_source: HashMap<Rc<str>, Rc<str>> = topics.iter().map(named).collect();
        let on_target: HashSet<Rc<str>> = at_source.keys().cloned().collect();
        for (name, target) in groups::offsets(self.target, &coordinators, &on_target).await {
            let Some(source) = sources.remove(&name) else { continue };
            let coordinator = coordinators.get(&name).copied();
            let target = target.map(|offsets| -> Offsets {
                let named = offsets.into_iter().filter_map(|((topic, partition), committed)| {
                    Some(((at_source.get(&topic)?.clone(), partition), committed))
                });
                named.collect()
            });
            readings.insert(name, target.map(|target| Some(Reading { source, target, coordinator })));
        }
        // A cluster without the topic of coordinators has no offsets of anybody.
        for (name, source) in sources {
            let nothing = || Ok(Some(Reading { source, target: Offsets::new(), coordinator: None }));
            readings.entry(name).or_insert_with(nothing);
        }
    }

    /// Brokers before Kafka 2.6 list groups without their states.
    async fn refuse_live_of_old_brokers(&self, coordinators: &mut BTreeMap<String, i32>, readings: &mut Readings) {
        let is_unknown = |name: &String| {
            let listed = self.target_groups.groups.get(name);
            matches!(listed, Some(Listed { kind: Type::Consumer, members: Members::Unknown, .. }))
        };
        let unknown = coordinators.iter().filter(|(name, _)| is_unknown(name));
        let unknown: BTreeMap<String, i32> = unknown.map(|(name, broker)| (name.clone(), *broker)).collect();
        for (name, described) in groups::describe(self.target, &unknown).await {
            let refusal = match described {
                Ok(described) if described.members == Members::Some => machine::live(&name),
                Ok(_) => continue,
                Err(error) => error,
            };
            coordinators.remove(&name);
            readings.insert(name, Err(refusal));
        }
    }
}

/// Who coordinates each group: the broker that listed it, and of the others whom the cluster names. A cluster that has never
/// had a group creates the topic for them when it is asked.
async fn locate(
    cluster: &Cluster,
    listing: &Listing,
    names: &[String],
    may_create: bool,
    readings: &mut Readings,
) -> BTreeMap<String, i32> {
    let mut located = BTreeMap::new();
    let mut missing = Vec::new();
    for name in names {
        match listing.groups.get(name) {
            Some(listed) => drop(located.insert(name.clone(), listed.coordinator)),
            None => missing.push(name.clone()),
        }
    }
    if missing.is_empty() || (!may_create && !may_have_groups(cluster).await) {
        return located;
    }
    for (name, coordinator) in groups::coordinators(cluster, &missing).await {
        match coordinator {
            Ok(coordinator) => drop(located.insert(name, coordinator)),
            Err(error) => drop(readings.insert(name, Err(error))),
        }
    }
    located
}

/// Whether the topic of coordinators is there, or that is not told.
async fn may_have_groups(cluster: &Cluster) -> bool {
    let name = [OFFSETS_TOPIC.to_owned()];
    // Left open: there may be groups.
    let Ok(metadata) = cluster.metadata(Some(&name), false).await else { return true };
    let error_code = metadata.topics.get(OFFSETS_TOPIC).map_or(0, |topic| topic.error_code);
    error_code != BrokerError::UNKNOWN_PARTITION.code
}
