//! What a mirror remembers on the target, in its compacted internal topic: its producer id, its starts, the ids of its topics.
//!
//! The producer id is what makes every append conditional, across restarts and machines, so all processes of a mirror must
//! use the same one for ever. Whoever starts first writes a claim; when two start at once both write one, and the
//! claim with the lowest offset counts for both. Claims have keys of their own, so compaction keeps them all. Every start
//! takes the next number, which fences the control markers of earlier ones. Topic ids show at the next start that a topic
//! is not the one it was. What a start says is in [`starts`]. Which ACLs the mirror has created is in [`acls`], which offsets of groups in [`groups`], what a switch-over needs in [`promotion`], where records
//! are whose offsets are translated in [`offsets`]; which records of the source have come from the target is found in [`origins`].

pub(crate) mod acls;
pub(crate) mod creation;
pub(crate) mod groups;
mod log;
pub(crate) mod offsets;
pub(crate) mod origins;
pub(crate) mod promotion;
pub(crate) mod starts;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::log::{InternalLog, Record};
use self::starts::{nonce, number_of as start_number};
use crate::batch::marker::Origin;
use crate::config::{Offsets, ReplicationFactor};
use crate::error::{Error, ErrorKind, Result};
use crate::event::now_ms;
use crate::machine::lease::Purpose;
use crate::machine::partition::Identity;
use crate::machine::topics::TopicIds;
use crate::machine::translation::OffsetMap;
use crate::terms::broker_error::{BrokerError, Class};
use crate::wire::admin;
use crate::wire::cluster::Cluster;

/// What a claim says. Fields may be added; a larger `version` is one that this build cannot read.
#[derive(Debug, Serialize, Deserialize)]
struct Claim {
    version: u32,
    producer_id: i64,
    producer_epoch: i16,
    source_cluster_id: String,
    claimed_at_ms: i64,
    /// What becomes of offsets: for ever the same, because what is remembered of one is of no use for the other. The first claims
    /// did not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offsets: Option<Mode>,
}

/// What a claim says of `offsets`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Preserve,
    Translate,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Preserve => "preserve",
            Mode::Translate => "translate",
        }
    }
}

impl From<Offsets> for Mode {
    fn from(offsets: Offsets) -> Self {
        match offsets {
            Offsets::Preserve => Mode::Preserve,
            Offsets::Translate => Mode::Translate,
        }
    }
}

/// A mirror by name, as it is configured: who looks for its memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whose<'a> {
    pub(crate) name: &'a str,
    pub(crate) source_cluster_id: &'a str,
    pub(crate) offsets: Offsets,
}

const CLAIM_VERSION: u32 = 1;
const CLAIM_PREFIX: &str = "producer/";

/// Numbers of a start are for the attempts of one process.
const ATTEMPTS: i32 = 256;

/// The ids of a topic, as hexadecimal numbers.
#[derive(Debug, Serialize, Deserialize)]
struct Ids {
    source_topic_id: String,
    target_topic_id: String,
    /// Whether the mirror has created it.
    #[serde(default)]
    created: bool,
    /// The copy that the mirror has created last, where that is another one or the target has ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_topic_id: Option<String>,
    /// When its copy was begun, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    begun_at_ms: Option<i64>,
}

/// When copies were begun and when they were level last, in milliseconds since 1970.
#[derive(Debug, Default)]
pub(crate) struct Recalled {
    /// When the mirror was claimed: no copy is older.
    pub(crate) claimed_at_ms: i64,
    /// By topic.
    pub(crate) begun: BTreeMap<String, i64>,
    /// By topic and partition; -1 where it is not known.
    pub(crate) levels: BTreeMap<String, Vec<i64>>,
}

impl Ids {
    fn numbers(&self) -> Option<TopicIds> {
        let number = |text: &str| u128::from_str_radix(text, 16).ok();
        Some(TopicIds { source: number(&self.source_topic_id)?, target: number(&self.target_topic_id)? })
    }
}

const TOPIC_PREFIX: &str = "topic/";

/// What a mirror finds of itself on the target when it starts.
#[derive(Debug)]
pub(crate) struct Established {
    /// Who it is.
    pub(crate) identity: Identity,
    /// The topics it has mirrored, as they were.
    pub(crate) topics: BTreeMap<String, TopicIds>,
    /// The ids on the target of the topics that it has created there, whose settings are its business.
    pub(crate) created: BTreeMap<String, u128>,
    /// Where records are whose offsets are translated.
    pub(crate) maps: BTreeMap<offsets::Place, OffsetMap>,
    /// Offsets of groups on the target that are its work.
    pub(crate) groups: groups::ByGroup,
    /// When its copies were begun and level.
    pub(crate) recalled: Recalled,
    /// Up to where the internal topic was read.
    pub(crate) read_until: i64,
    /// The id of that topic; 0 of brokers that give none.
    pub(crate) topic_id: u128,
    /// The mark of a mirror that was promoted, which is not established.
    pub(crate) mark: Option<promotion::Mark>,
    /// The start that was taken, if one was.
    pub(crate) start: Option<starts::Taken>,
}
const PAUSE: Duration = Duration::from_millis(50);

/// Name of the internal topic of a mirror.
pub(crate) fn topic_of(name: &str) -> String {
    format!("kmirror.{name}.internal")
}

/// Reads the mirror's identity on the target, or claims one, and takes the number of this start.
///
/// The producer id of a new claim says for good of every batch which cluster it is a copy of. Nobody has to give it out: brokers
/// take any.
pub(crate) async fn establish(
    target: &Cluster,
    whose: Whose<'_>,
    replication_factor: ReplicationFactor,
    purpose: Purpose,
) -> Result<Established> {
    let Whose { name, source_cluster_id, offsets } = whose;
    let topic = topic_of(name);
    let (leader, id) = find_or_create(target, &topic, replication_factor).await?;
    let log = InternalLog { target, topic: Rc::from(topic), leader, id, leader_epoch: -1 };
    let (mut records, _) = log.read_from(0).await?;
    promotion::check(name, &records)?;
    if first_claim(&log, &records)?.is_none() {
        let producer_id = Origin::of_cluster(source_cluster_id).producer_id(nonce());
        let claim = Claim {
            version: CLAIM_VERSION,
            producer_id,
            producer_epoch: 0,
            source_cluster_id: source_cluster_id.to_owned(),
            claimed_at_ms: now_ms(),
            offsets: Some(offsets.into()),
        };
        log.append(&format!("{CLAIM_PREFIX}{producer_id}"), Some(json(&claim)?)).await?;
        (records, _) = log.read_from(0).await?;
    }
    let Some(claim) = first_claim(&log, &records)? else {
        let message = format!("the claim written to '{}' cannot be read back", log.topic);
        return Err(Error::new(ErrorKind::Internal, message));
    };
    let claimed_at_ms = claim.claimed_at_ms;
    let identity = accept(claim, whose, &records)?;
    let (start, records, read_until) = starts::take(&log, name, purpose, records).await?;
    let fence = start.tenancy.number().saturating_mul(ATTEMPTS);
    let identity = Identity { fence, ..identity };
    let established = Established::of(identity, claimed_at_ms, &records, (id, read_until));
    Ok(Established { start: Some(start), ..established })
}

impl Established {
    /// What the records say of a topic that was read up to an offset.
    fn of(identity: Identity, claimed_at_ms: i64, records: &[Record], (topic_id, read_until): (u128, i64)) -> Self {
        Established {
            identity,
            topics: remembered(records),
            created: created(records),
            maps: offsets::maps_of(records),
            groups: groups::noted(records),
            recalled: recalled(claimed_at_ms, records),
            read_until,
            topic_id,
            mark: None,
            start: None,
        }
    }
}

/// The number of the start that an identity was established with.
pub(crate) fn start_number_of(identity: Identity) -> i32 {
    identity.fence / ATTEMPTS
}

/// The key of a record, if it is one of ours.
fn record_key(record: &Record) -> Option<&str> {
    std::str::from_utf8(record.key.as_ref()?).ok()
}

/// What was written down of the topics that were mirrored. What cannot be read is as if it had not been written.
fn ids_of_topics(records: &[Record]) -> BTreeMap<&str, Ids> {
    let mut topics = BTreeMap::new();
    for record in records {
        let Some(name) = record_key(record).and_then(|key| key.strip_prefix(TOPIC_PREFIX)) else { continue };
        match record.value.as_ref().and_then(|value| serde_json::from_slice::<Ids>(value).ok()) {
            Some(ids) => topics.insert(name, ids),
            None => topics.remove(name),
        };
    }
    topics
}

/// The topics that were mirrored, as they were then.
fn remembered(records: &[Record]) -> BTreeMap<String, TopicIds> {
    let known = |(name, ids): (&str, Ids)| Some((name.to_owned(), ids.numbers()?));
    ids_of_topics(records).into_iter().filter_map(known).collect()
}

fn recalled(claimed_at_ms: i64, records: &[Record]) -> Recalled {
    let begun = ids_of_topics(records).into_iter().filter_map(|(name, ids)| Some((name.to_owned(), ids.begun_at_ms?)));
    Recalled { claimed_at_ms, begun: begun.collect(), levels: promotion::levels_of(records) }
}

/// The ids on the target of the topics that the mirror has created there.
fn created(records: &[Record]) -> BTreeMap<String, u128> {
    let id = |ids: &Ids| match &ids.created_topic_id {
        Some(id) => u128::from_str_radix(id, 16).ok(),
        None => ids.numbers().filter(|_| ids.created).map(|numbers| numbers.target),
    };
    ids_of_topics(records).into_iter().filter_map(|(name, ids)| Some((name.to_owned(), id(&ids)?))).collect()
}

/// Writes down which topics are mirrored, and which copies the mirror has created, so that the next start knows them again.
/// Their copies were begun now.
pub(crate) async fn remember(
    target: &Cluster,
    name: &str,
    topics: &[(String, TopicIds, Option<u128>)],
    begun_at_ms: i64,
) -> Result<()> {
    let log = InternalLog::open_existing(target, name).await?;
    let hexadecimal = |id: u128| format!("{id:032x}");
    let entry = |(topic, ids, created): &(String, TopicIds, Option<u128>)| {
        let ids = Ids {
            source_topic_id: hexadecimal(ids.source),
            target_topic_id: hexadecimal(ids.target),
            created: *created == Some(ids.target),
            created_topic_id: created.map(hexadecimal),
            begun_at_ms: Some(begun_at_ms),
        };
        Ok((format!("{TOPIC_PREFIX}{topic}"), Some(json(&ids)?)))
    };
    log.append_many(topics.iter().map(entry).collect::<Result<_>>()?).await.map(drop)
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
}

/// The claim with the lowest offset.
fn first_claim(log: &InternalLog<'_>, records: &[Record]) -> Result<Option<Claim>> {
    let is_claim = |record: &&Record| {
        record.value.is_some() && record.key.as_ref().is_some_and(|key| key.starts_with(CLAIM_PREFIX.as_bytes()))
    };
    let Some(record) = records.iter().find(is_claim) else { return Ok(None) };
    let value = record.value.as_deref().unwrap_or_default();
    serde_json::from_slice(value).map(Some).map_err(|error| {
        let message = format!(
            "the claim at offset {} of '{}' on the target is damaged ({error}): restore the topic, or delete it and the \
             mirrored topics to start anew",
            record.offset, log.topic
        );
        Error::new(ErrorKind::TargetConflict, message)
    })
}

/// Reads the mirror's identity and its topics on the target; `None` if the mirror has never run. Writes nothing.
pub(crate) async fn find(target: &Cluster, whose: Whose<'_>) -> Result<Option<Established>> {
    let Some(log) = InternalLog::open(target, whose.name).await? else { return Ok(None) };
    let (records, read_until) = log.read_from(0).await?;
    let claim = first_claim(&log, &records)?;
    let claimed_at_ms = claim.as_ref().map_or(0, |claim| claim.claimed_at_ms);
    let identity = claim.map(|claim| accept(claim, whose, &records)).transpose()?;
    let mark = promotion::mark_of(&records, None);
    let established = |identity| Established::of(identity, claimed_at_ms, &records, (log.id, read_until));
    Ok(identity.map(|identity| Established { mark, ..established(identity) }))
}

fn accept(claim: Claim, whose: Whose<'_>, records: &[Record]) -> Result<Identity> {
    let mode = mode_of(&claim, records);
    let identity = accept_source(claim, whose.name, whose.source_cluster_id)?;
    match mode.filter(|mode| *mode != Mode::from(whose.offsets)) {
        None => Ok(identity),
        Some(mode) => Err(changed_mode(whose.name, mode, whose.offsets.into())),
    }
}

/// What the mirror has made of offsets until now. Before claims said so, what else is remembered shows it: with `translate` it was written
/// down where a partition begins before anything of it was copied.
fn mode_of(claim: &Claim, records: &[Record]) -> Option<Mode> {
    let has = |prefix: &str| { records.iter().filter_map(record_key) }.any(|key| key.starts_with(prefix));
    claim.offsets.or_else(|| match has(offsets::PREFIX) {
        true => Some(Mode::Translate),
        false => has(TOPIC_PREFIX).then_some(Mode::Preserve),
    })
}

fn changed_mode(name: &str, was: Mode, is: Mode) -> Error {
    let message = format!(
        "the mirror '{name}' has run with offsets={was}, and offsets={is} cannot go on from there: every record would be copied \
         once more; set offsets={was} again, or set another 'name' and mirror into topics without its copies",
        was = was.name(),
        is = is.name()
    );
    Error::new(ErrorKind::Config, message)
}

fn accept_source(claim: Claim, name: &str, source_cluster_id: &str) -> Result<Identity> {
    if claim.version > CLAIM_VERSION {
        let message =
            format!("the mirror '{name}' was last run by a newer kmirror (format {}); use that", claim.version);
        return Err(Error::new(ErrorKind::Config, message));
    }
    if claim.source_cluster_id != source_cluster_id {
        let message = format!(
            "the mirror '{name}' copies cluster {} to this target, but the source is cluster {source_cluster_id}; set another 'name'",
            claim.source_cluster_id
        );
        return Err(Error::new(ErrorKind::Config, message));
    }
    Ok(Identity { producer_id: claim.producer_id, producer_epoch: claim.producer_epoch, fence: 0 })
}

/// The leader and the id of the internal topic, which is created when it is missing.
async fn find_or_create(target: &Cluster, topic: &str, replication_factor: ReplicationFactor) -> Result<(i32, u128)> {
    let names = [topic.to_owned()];
    let deadline = tokio::time::Instant::now() + target.config().request_timeout;
    let mut created = false;
    loop {
        let metadata = target.metadata(Some(&names), false).await?;
        let found = metadata.topics.get(topic);
        let leader = found.and_then(|found| found.leaders.first()).copied().unwrap_or(-1);
        if leader >= 0 {
            return Ok((leader, found.map_or(0, |found| found.id)));
        }
        let error = found.and_then(|found| BrokerError::of(found.error_code)).unwrap_or(BrokerError::UNKNOWN_PARTITION);
        if error.class == Class::Unauthorized || tokio::time::Instant::now() > deadline {
            return Err(admin::refused(target, &format!("show the mirror's internal topic '{topic}'"), error, None));
        }
        // A cluster whose brokers are all about to come back shows none: as many replicas cannot be had.
        let is_missing = error.code == BrokerError::UNKNOWN_PARTITION.code && metadata.broker_count > 0;
        if is_missing && !created {
            let cluster = (metadata.controller_id, metadata.broker_count);
            if let Some(told) = creation::create(target, topic, replication_factor, cluster, false).await? {
                tracing::warn!("{told}");
            }
            created = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests;
