//! What a mirror asks coordinators of consumer groups: which groups there are, their offsets, to set them.
//!
//! Many groups travel in one request wherever the broker knows such a request; a commit is of one group in every
//! version, so many of them are sent over several connections at the same time.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    DescribeGroupsRequest, FindCoordinatorRequest, GroupId, ListGroupsRequest, OffsetCommitRequest, OffsetFetchRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::cluster::{Cluster, topic_name};
use super::connection::Connection;
use super::together::all;
use crate::error::{Error, ErrorKind, Result};
use crate::terms::broker_error::{BrokerError, Class};
use crate::terms::group::{Committed, Listed, Members, Offsets, Type};
use crate::terms::topic::TopicPartition;

/// What a coordinator is asked for by: a group, not a transactional id.
const GROUP: i8 = 0;
/// Names in one request to find coordinators or to describe groups.
const NAMES_AT_ONCE: usize = 1000;
/// The first version of OffsetFetch that takes many groups.
const MANY_GROUPS: i16 = 8;
/// The first version of FindCoordinator that takes many names.
const MANY_NAMES: i16 = 4;
/// The first version of ListGroups that tells states.
const STATES: i16 = 4;
/// Partitions in one commit: it becomes one batch in the coordinator's log, which has a limit.
const COMMITTED_AT_ONCE: usize = 2000;
/// Connections to a coordinator for many commits, and how many commits are worth one.
const LANES: usize = 8;
const COMMITS_OF_A_LANE: usize = 32;
/// Groups that are looked at once more in one request, just before they are committed.
const LOOKED_AT_ONCE: usize = 16;
/// Bit of the operation Read in what one may do.
const MAY_READ: i32 = 1 << 3;
/// What a broker says that does not tell what one may do.
const NOT_TOLD: i32 = i32::MIN;

/// The groups of a cluster.
#[derive(Debug, Default)]
pub struct Listing {
    /// By name.
    pub groups: BTreeMap<String, Listed>,
    /// Brokers that did not tell theirs.
    pub silent: BTreeMap<i32, Error>,
}

/// Asks every broker for the groups it coordinates, all at the same time.
pub async fn list(cluster: &Cluster) -> Result<Listing> {
    let brokers = cluster.brokers();
    let answers = all(brokers.iter().map(|broker| list_of(cluster, *broker)).collect()).await;
    let mut listing = Listing::default();
    for (broker, answer) in brokers.into_iter().zip(answers) {
        match answer {
            Ok(groups) => listing.groups.extend(groups),
            Err(error) => drop(listing.silent.insert(broker, error)),
        }
    }
    match listing.silent.values().next() {
        Some(error) if listing.groups.is_empty() && listing.silent.len() == cluster.brokers().len() => {
            Err(error.clone().context(format!("the {} cluster does not list its groups", cluster.side)))
        }
        _ => Ok(listing),
    }
}

async fn list_of(cluster: &Cluster, broker: i32) -> Result<Vec<(String, Listed)>> {
    let connection = cluster.broker(broker).await?;
    let version = connection.version::<ListGroupsRequest>(5)?;
    let response = connection.call(&ListGroupsRequest::default(), version).await?;
    if let Some(error) = BrokerError::of(response.error_code) {
        let message = format!("broker {broker} of the {} cluster does not list its groups: {error}", cluster.side);
        return Err(Error::new(kind_of(error), message).with_kafka_code(error.code));
    }
    let listed = response.groups.into_iter().map(|group| {
        let kind = match group.group_type.as_str().to_ascii_lowercase().as_str() {
            "share" => Type::Share,
            "streams" => Type::Streams,
            _ => Type::Consumer,
        };
        let members = if version < STATES { Members::Unknown } else { members_in(&group.group_state) };
        (group.group_id.0.to_string(), Listed { coordinator: broker, kind, members })
    });
    Ok(listed.collect())
}

fn members_in(state: &str) -> Members {
    if ["empty", "dead"].contains(&state.to_ascii_lowercase().as_str()) { Members::None } else { Members::Some }
}

/// The coordinator of each group, or why there is none.
pub async fn coordinators(cluster: &Cluster, groups: &[String]) -> BTreeMap<String, Result<i32>> {
    let mut found = BTreeMap::new();
    for some in groups.chunks(NAMES_AT_ONCE) {
        let answers = match find(cluster, some).await {
            Ok(answers) => answers,
            Err(error) => {
                found.extend(some.iter().map(|group| (group.clone(), Err(error.clone()))));
                continue;
            }
        };
        for (group, error_code, node) in answers {
            let outcome = match BrokerError::of(error_code) {
                None => Ok(node),
                Some(error) => {
                    let what = format!("name the coordinator of group '{group}'");
                    Err(refused(cluster, &what, &permission("DESCRIBE", &group), error))
                }
            };
            found.insert(group, outcome);
        }
    }
    let known = cluster.brokers();
    if found.values().flatten().any(|node| !known.contains(node)) {
        // One that came up after the addresses were read.
        let none: [String; 0] = [];
        let _ = cluster.metadata(Some(&none), false).await;
    }
    found
}

async fn find(cluster: &Cluster, groups: &[String]) -> Result<Vec<(String, i16, i32)>> {
    let connection = cluster.any().await?;
    let version = connection.version::<FindCoordinatorRequest>(MANY_NAMES)?;
    let request = FindCoordinatorRequest::default().with_key_type(GROUP);
    if version >= MANY_NAMES {
        let keys = groups.iter().map(|group| StrBytes::from_string(group.clone())).collect();
        let response = connection.call(&request.with_coordinator_keys(keys), version).await?;
        let found = response.coordinators.into_iter();
        return Ok(found.map(|found| (found.key.to_string(), found.error_code, found.node_id.0)).collect());
    }
    let mut found = Vec::with_capacity(groups.len());
    for group in groups {
        let request = request.clone().with_key(StrBytes::from_string(group.clone()));
        let response = connection.call(&request, version).await?;
        found.push((group.clone(), response.error_code, response.node_id.0));
    }
    Ok(found)
}

/// The committed offsets of groups, each asked of its coordinator; those of other topics are left out.
pub async fn offsets(
    cluster: &Cluster,
    coordinators: &BTreeMap<String, i32>,
    topics: &HashSet<Rc<str>>,
) -> BTreeMap<String, Result<Offsets>> {
    let asked = by_coordinator(coordinators.iter().map(|(group, coordinator)| (*coordinator, group.clone())));
    let ask = async |coordinator: &i32, groups: &Vec<String>| match cluster.broker(*coordinator).await {
        Ok(connection) => offsets_of(cluster, &connection, groups, topics).await,
        Err(error) => groups.iter().map(|group| (group.clone(), Err(error.clone()))).collect(),
    };
    let answers = all(asked.iter().map(|(coordinator, groups)| ask(coordinator, groups)).collect()).await;
    answers.into_iter().flatten().collect()
}

/// Groups by their coordinator.
pub fn by_coordinator<T>(groups: impl Iterator<Item = (i32, T)>) -> BTreeMap<i32, Vec<T>> {
    let mut asked: BTreeMap<i32, Vec<T>> = BTreeMap::new();
    for (coordinator, group) in groups {
        asked.entry(coordinator).or_default().push(group);
    }
    asked
}

async fn offsets_of(
    cluster: &Cluster,
    connection: &Connection,
    groups: &[String],
    topics: &HashSet<Rc<str>>,
) -> Vec<(String, Result<Offsets>)> {
    let at_once = match connection.version::<OffsetFetchRequest>(MANY_GROUPS) {
        Ok(MANY_GROUPS..) => groups.len().max(1),
        _ => 1,
    };
    let mut found = Vec::with_capacity(groups.len());
    for some in groups.chunks(at_once) {
        match fetch_offsets(connection, some, topics).await {
            Ok(answers) => found.extend(answers.into_iter().map(|(group, answer)| {
                let outcome = answer.map_err(|error| {
                    let what = format!("tell the offsets of group '{group}'");
                    refused(cluster, &what, &permission("DESCRIBE", &group), error)
                });
                (group, outcome)
            })),
            Err(error) => found.extend(some.iter().map(|group| (group.clone(), Err(error.clone())))),
        }
    }
    found
}

type Fetched = Vec<(String, std::result::Result<Offsets, BrokerError>)>;

/// One request. Before version 8 it is of one group.
async fn fetch_offsets(connection: &Connection, groups: &[String], topics: &HashSet<Rc<str>>) -> Result<Fetched> {
    let version = connection.version::<OffsetFetchRequest>(MANY_GROUPS)?;
    if version < 2 {
        let message = format!("{} is too old to tell all offsets of a group", connection.address());
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let name = |group: &String| GroupId(StrBytes::from_string(group.clone()));
    if version < MANY_GROUPS {
        let Some(group) = groups.first() else { return Ok(Vec::new()) };
        let request = OffsetFetchRequest::default().with_group_id(name(group)).with_topics(None);
        let response = connection.call(&request, version).await?;
        let committed = response.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| {
                let committed = (partition.committed_offset, partition.metadata.as_ref());
                (topic.name.0.as_str(), partition.partition_index, partition.error_code, committed)
            })
        });
        return Ok(vec![(group.clone(), collect(response.error_code, committed, topics))]);
    }
    let asked = |group| OffsetFetchRequestGroup::default().with_group_id(name(group)).with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(groups.iter().map(asked).collect());
    let response = connection.call(&request, version).await?;
    let fetched = response.groups.iter().map(|group| {
        let committed = group.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| {
                let committed = (partition.committed_offset, partition.metadata.as_ref());
                (topic.name.0.as_str(), partition.partition_index, partition.error_code, committed)
            })
        });
        (group.group_id.0.to_string(), collect(group.error_code, committed, topics))
    });
    Ok(fetched.collect())
}

fn collect<'a>(
    error_code: i16,
    committed: impl Iterator<Item = (&'a str, i32, i16, (i64, Option<&'a StrBytes>))>,
    topics: &HashSet<Rc<str>>,
) -> std::result::Result<Offsets, BrokerError> {
    if let Some(error) = BrokerError::of(error_code) {
        return Err(error);
    }
    let mut offsets = Offsets::new();
    for (topic, partition, error_code, (offset, metadata)) in committed {
        let Some(topic) = topics.get(topic) else { continue };
        match BrokerError::of(error_code) {
            // A partition that was deleted since.
            Some(error) if error.code == BrokerError::UNKNOWN_PARTITION.code => {}
            Some(error) => return Err(error),
            None if offset < 0 => {}
            None => {
                let metadata = metadata.map(|text| text.as_str().to_owned()).unwrap_or_default();
                offsets.insert((topic.clone(), partition), Committed { offset, metadata });
            }
        }
    }
    Ok(offsets)
}

/// What a coordinator says of a group that is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Described {
    /// Whether it has members; not told of groups of KIP-848.
    pub members: Members,
    /// Whether one may commit its offsets; `None` if that is not told.
    pub may_commit: Option<bool>,
}

/// Describes groups, also such as do not exist yet.
pub async fn describe(cluster: &Cluster, coordinators: &BTreeMap<String, i32>) -> BTreeMap<String, Result<Described>> {
    let asked = by_coordinator(coordinators.iter().map(|(group, coordinator)| (*coordinator, group.clone())));
    let mut described = BTreeMap::new();
    for (coordinator, groups) in asked {
        for some in groups.chunks(NAMES_AT_ONCE) {
            match describe_at(cluster, coordinator, some).await {
                Ok(answers) => described.extend(answers),
                Err(error) => described.extend(some.iter().map(|group| (group.clone(), Err(error.clone())))),
            }
        }
    }
    described
}

async fn describe_at(
    cluster: &Cluster,
    coordinator: i32,
    groups: &[String],
) -> Result<Vec<(String, Result<Described>)>> {
    let connection = cluster.broker(coordinator).await?;
    // Version 6 answers with an error for groups that are not there, and does not tell what one may do.
    let version = connection.version::<DescribeGroupsRequest>(5)?;
    let names = groups.iter().map(|group| GroupId(StrBytes::from_string(group.clone()))).collect();
    let request = DescribeGroupsRequest::default().with_groups(names).with_include_authorized_operations(version >= 3);
    let response = connection.call(&request, version).await?;
    let described = response.groups.into_iter().map(|group| {
        let name = group.group_id.0.to_string();
        let outcome = match BrokerError::of(group.error_code) {
            Some(error) => {
                let what = format!("describe group '{name}'");
                Err(refused(cluster, &what, &permission("DESCRIBE", &name), error))
            }
            None => {
                let operations = Some(group.authorized_operations).filter(|bits| version >= 3 && *bits != NOT_TOLD);
                let may_commit = operations.map(|bits| bits & MAY_READ != 0);
                Ok(Described { members: members_in(&group.group_state), may_commit })
            }
        };
        (name, outcome)
    });
    Ok(described.collect())
}

/// A commit of one group.
pub struct Commit {
    /// Its name.
    pub group: String,
    /// Its offsets.
    pub offsets: Offsets,
    /// What the target had of the group when that was decided, also of partitions that are not to be set.
    pub decided_by: BTreeMap<TopicPartition, i64>,
}

impl Commit {
    /// Whether the group's offsets are still those that were decided by.
    fn is_still_right(&self, now: &Offsets) -> bool {
        let topics = self.topics();
        let now = now.iter().filter(|((topic, _), _)| topics.contains(topic));
        now.map(|(partition, committed)| (partition, committed.offset)).eq(self.decided_by.iter().map(|(p, o)| (p, *o)))
    }

    fn topics(&self) -> HashSet<&Rc<str>> {
        self.decided_by.keys().chain(self.offsets.keys()).map(|(topic, _)| topic).collect()
    }

    fn untouched(&self, error: Option<Error>) -> CommitOutcome {
        let failed = self.offsets.keys().cloned().collect();
        CommitOutcome { error, failed, untouched: true, ..CommitOutcome::default() }
    }
}

/// What came of a commit.
#[derive(Debug, Default)]
pub struct CommitOutcome {
    /// Whether it was refused because the group has members.
    pub live: bool,
    /// The first thing that went wrong.
    pub error: Option<Error>,
    /// Partitions of which it is not known that their offset was written.
    pub failed: HashSet<TopicPartition>,
    /// Whether nothing was written, for certain: somebody else has set offsets of the group since it was decided, or it has members.
    pub untouched: bool,
}

/// Commits offsets of many groups, each at its coordinator, unless its offsets are not any more what was decided by. No broker has a
/// condition for that: whoever sets one in the milliseconds between the last look and the commit is overtaken.
pub async fn commit_all(cluster: &Cluster, commits: Vec<(i32, Commit)>) -> BTreeMap<String, CommitOutcome> {
    let mut lanes = Vec::new();
    for (coordinator, commits) in by_coordinator(commits.into_iter()) {
        // A broker works on one request of a connection at a time, and a commit waits for a write.
        let count = commits.len().div_ceil(COMMITS_OF_A_LANE).clamp(1, LANES);
        let mut shares: Vec<Vec<Commit>> = (0..count).map(|_| Vec::new()).collect();
        for (number, commit) in commits.into_iter().enumerate() {
            shares[number % count].push(commit);
        }
        lanes.extend(shares.into_iter().enumerate().map(|(number, share)| (coordinator, number, share)));
    }
    let run = async |(coordinator, number, share): (i32, usize, Vec<Commit>)| {
        let connection = match number {
            0 => cluster.broker(coordinator).await,
            _ => cluster.dial(coordinator).await,
        };
        let mut outcomes = Vec::with_capacity(share.len());
        for some in share.chunks(LOOKED_AT_ONCE) {
            let mut looks = match &connection {
                Ok(connection) => look_again(cluster, connection, some).await,
                Err(_) => BTreeMap::new(),
            };
            for one in some {
                let outcome = match (&connection, looks.remove(&one.group)) {
                    (Ok(connection), Some(Ok(now))) if one.is_still_right(&now) => {
                        commit(cluster, connection, one).await
                    }
                    (Err(error), _) => one.untouched(Some(error.clone())),
                    (Ok(_), look) => one.untouched(look.and_then(Result::err)),
                };
                outcomes.push((one.group.clone(), outcome));
            }
        }
        outcomes
    };
    all(lanes.into_iter().map(run).collect()).await.into_iter().flatten().collect()
}

/// Commits offsets of one group, as somebody who is no member of it: refused if it has members.
///
/// Leader epochs are not committed. They are those of the source, and a consumer that believes one that is larger than
/// the target's waits for ever (KIP-1279).
async fn commit(cluster: &Cluster, connection: &Connection, commit: &Commit) -> CommitOutcome {
    let mut outcome = CommitOutcome::default();
    let entries: Vec<(&TopicPartition, &Committed)> = commit.offsets.iter().collect();
    for some in entries.chunks(COMMITTED_AT_ONCE) {
        match commit_some(connection, &commit.group, some).await {
            Ok(answers) => {
                for (partition, error_code) in answers {
                    outcome.add(cluster, &commit.group, partition, error_code);
                }
            }
            Err(error) => {
                outcome.failed.extend(some.iter().map(|(partition, _)| (*partition).clone()));
                outcome.error.get_or_insert(error.context(format!("offsets of group '{}'", commit.group)));
            }
        }
    }
    outcome
}

/// The offsets of some groups just before they are committed.
async fn look_again(
    cluster: &Cluster,
    connection: &Connection,
    commits: &[Commit],
) -> BTreeMap<String, Result<Offsets>> {
    let names: Vec<String> = commits.iter().map(|commit| commit.group.clone()).collect();
    let topics: HashSet<Rc<str>> = commits.iter().flat_map(Commit::topics).cloned().collect();
    offsets_of(cluster, connection, &names, &topics).await.into_iter().collect()
}

async fn commit_some(
    connection: &Connection,
    group: &str,
    offsets: &[(&TopicPartition, &Committed)],
) -> Result<Vec<(TopicPartition, i16)>> {
    let version = connection.version::<OffsetCommitRequest>(9)?;
    let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
    for ((topic, partition), committed) in offsets {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(committed.offset)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(Some(StrBytes::from_string(committed.metadata.clone())));
        match topics.last_mut() {
            Some(last) if *last.name.0 == **topic => last.partitions.push(partition),
            _ => topics.push(
                OffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]),
            ),
        }
    }
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
        .with_generation_id_or_member_epoch(-1)
        .with_member_id(StrBytes::from_static_str(""))
        .with_group_instance_id(None)
        .with_retention_time_ms(-1)
        .with_topics(topics);
    let response = connection.call(&request, version).await?;
    let mut codes: BTreeMap<(&str, i32), i16> = BTreeMap::new();
    for topic in &response.topics {
        codes.extend(topic.partitions.iter().map(|p| ((topic.name.0.as_str(), p.partition_index), p.error_code)));
    }
    let code = |partition: &TopicPartition| {
        // What is not answered is not written.
        codes.get(&(&*partition.0, partition.1)).copied().unwrap_or(BrokerError::UNKNOWN_SERVER_ERROR)
    };
    Ok(offsets.iter().map(|(partition, _)| ((*partition).clone(), code(partition))).collect())
}

impl CommitOutcome {
    fn add(&mut self, cluster: &Cluster, group: &str, partition: TopicPartition, error_code: i16) {
        let Some(error) = BrokerError::of(error_code) else { return };
        self.live |= shows_members(error.code);
        self.untouched |= shows_members(error.code);
        let (topic, number) = &partition;
        let missing = match error.code {
            TOPIC_AUTHORIZATION_FAILED => format!("allow READ on Topic '{topic}'"),
            _ => permission("READ", group),
        };
        let what = format!("set the offset of group '{group}' for {topic}-{number}");
        let told = || refused(cluster, &what, &missing, error).with_partition(&**topic, *number);
        self.error.get_or_insert_with(told);
        self.failed.insert(partition);
    }
}

const TOPIC_AUTHORIZATION_FAILED: i16 = 29;

/// Whether a coordinator refuses a commit because the group has members.
fn shows_members(code: i16) -> bool {
    const ILLEGAL_GENERATION: i16 = 22;
    const UNKNOWN_MEMBER_ID: i16 = 25;
    const REBALANCE_IN_PROGRESS: i16 = 27;
    const FENCED_MEMBER_EPOCH: i16 = 110;
    const STALE_MEMBER_EPOCH: i16 = 113;
    [ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS, FENCED_MEMBER_EPOCH, STALE_MEMBER_EPOCH]
        .contains(&code)
}

fn permission(operation: &str, group: &str) -> String {
    format!("allow {operation} on Group '{group}'")
}

fn kind_of(error: BrokerError) -> ErrorKind {
    match error.class {
        Class::Unauthorized => ErrorKind::Authorization,
        Class::Unsupported => ErrorKind::Unsupported,
        Class::Refused => ErrorKind::Topic,
        _ => ErrorKind::Broker,
    }
}

fn refused(cluster: &Cluster, what: &str, permission: &str, error: BrokerError) -> Error {
    let kind = kind_of(error);
    let fix = if kind == ErrorKind::Authorization { format!("; {permission}") } else { String::new() };
    Error::new(kind, format!("the {} cluster refuses to {what}: {error}{fix}", cluster.side))
        .with_kafka_code(error.code)
}

/// The error of a group that may not be written, before it was tried.
pub fn may_not_commit(cluster: &Cluster, group: &str) -> Error {
    let message = format!(
        "the {} cluster does not allow to set the offsets of group '{group}'; {}",
        cluster.side,
        permission("READ", group)
    );
    Error::new(ErrorKind::Authorization, message)
}
