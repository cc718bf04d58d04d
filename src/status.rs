//! What a mirror shows of itself: states, lag, and a status of every topic and partition.
//!
//! Streams write their partitions' [`Progress`] without locks; a status is put together from it by whoever asks.

mod heard;
mod progress;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::error::{Error, ErrorKind};
use crate::terms::state::{Lag, State};

pub(crate) use heard::Side;
pub(crate) use progress::{Progress, Translation};

/// What a mirror shows of itself.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The mirror's name.
    pub name: String,
    /// Its state.
    pub state: State,
    /// The lag of all topics together; milliseconds are those of the worst partition.
    pub lag: Lag,
    /// Records replicated since the start.
    pub replicated_records: u64,
    /// Bytes replicated since the start, as compressed.
    pub replicated_bytes: u64,
    /// Events dropped because nobody drained them.
    pub events_dropped: u64,
    /// Why it failed.
    #[serde(serialize_with = "error_text")]
    pub error: Option<Error>,
    /// Its topics, by name.
    pub topics: Vec<TopicStatus>,
    /// The offsets of consumer groups.
    pub groups: GroupsStatus,
    /// Whether brokers slow the mirror down, because a quota is used up.
    pub broker_throttle: BrokerThrottle,
    /// Topics that match but are not mirrored, and why.
    pub refused: BTreeMap<String, String>,
    /// What beside the records cannot be kept in step at the moment; each is tried again with every refresh.
    pub troubles: Vec<Trouble>,
}

/// How far the offsets of consumer groups are copied. Groups that are not copied are among the [troubles](Status::troubles).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct GroupsStatus {
    /// Groups of the source that match and have offsets in mirrored topics.
    pub matching: usize,
    /// Those that are on the target what they are at the source.
    pub synced: usize,
    /// Those that are not yet, because the mirror has not come as far, or because a coordinator did not answer.
    pub behind: usize,
    /// Those that are left alone or cannot be copied at the moment.
    pub skipped: usize,
    /// Offsets that the groups on the target are behind those at the source, without those that are skipped.
    pub behind_offsets: u64,
    /// When all groups were looked at last, in milliseconds since 1970; `None` before the first time, and for ever with
    /// `sync.group.offsets=false`.
    pub last_round_ms: Option<i64>,
}

/// For how long brokers have asked the mirror to wait, because a quota of its user or client id is used up; the mirror waits as
/// they ask. `None` if they have not done so for half a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct BrokerThrottle {
    /// Milliseconds of the last answer of the source that asked for it.
    pub source_ms: Option<u64>,
    /// Milliseconds of the last answer of the target that asked for it.
    pub target_ms: Option<u64>,
}

/// Something beside the records that cannot be kept in step at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Trouble {
    /// What it is.
    pub subject: Subject,
    /// Which one.
    pub name: String,
    /// Why.
    pub message: String,
}

/// What a mirror keeps in step beside the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Subject {
    /// A topic as a whole: its copy has more partitions than it.
    Topic,
    /// The configuration of a topic.
    TopicConfig,
    /// The offsets of a consumer group.
    Group,
    /// Access control lists.
    Acl,
    /// What is written in MirrorMaker 2's formats.
    #[serde(rename = "mirror_maker_2")]
    MirrorMaker2,
}

impl Subject {
    /// The name in snake_case.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Topic => "topic",
            Subject::TopicConfig => "topic_config",
            Subject::Group => "group",
            Subject::Acl => "acl",
            Subject::MirrorMaker2 => "mirror_maker_2",
        }
    }
}

/// One topic of a [`Status`].
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct TopicStatus {
    /// Its name at the source.
    pub topic: Arc<str>,
    /// Its name on the target, where that differs.
    pub target_topic: Option<Arc<str>>,
    /// The lag of its partitions together.
    pub lag: Lag,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionStatus>,
}

/// One partition of a [`Status`].
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PartitionStatus {
    /// Its number.
    pub partition: i32,
    /// Its state.
    pub state: State,
    /// Next offset of the source that consumers can see; `None` until it is known.
    pub source_offset_next: Option<i64>,
    /// Next offset of the source behind its high watermark: more than `source_offset_next` while a transaction is open and
    /// `isolation.level` is `read_committed`; `None` until it is known.
    pub source_high_watermark: Option<i64>,
    /// Next offset to be replicated, the same number on source and target; `None` until it is known.
    pub target_offset_next: Option<i64>,
    /// How far it is behind.
    pub lag: Lag,
    /// Whose transaction has been open for so long that it holds this partition up.
    pub open_transaction: Option<String>,
    /// Offsets of the source that `on.data.loss` or `on.record.refused` has left out since the start: on the target they have
    /// no record.
    pub left_out_offsets: u64,
    /// Records of the source that were not copied since the start because they had come from the target: with `offsets=translate`, where
    /// another mirror copies the other way.
    pub left_out_as_echo: u64,
    /// Why it does not progress.
    #[serde(serialize_with = "error_text")]
    pub error: Option<Error>,
}

impl Status {
    /// What keeps the mirror, or a part of it, from going on: its own error, else that of the first partition that does not progress or of
    /// the first topic that is refused, and how many there are. `None` if nothing does.
    pub fn trouble(&self) -> Option<Error> {
        if self.error.is_some() {
            return self.error.clone();
        }
        let partitions = self.topics.iter().flat_map(|topic| &topic.partitions);
        let stuck = partitions.filter(|partition| matches!(partition.state, State::Failed | State::Stalled));
        let stuck: Vec<Error> = stuck.filter_map(|partition| partition.error.clone()).collect();
        let refused = self.refused.iter().map(|(topic, why)| {
            Error::new(ErrorKind::Topic, format!("topic '{topic}' is not mirrored: {why}")).with_topic(topic)
        });
        let mut all = stuck.into_iter().chain(refused);
        let first = all.next()?;
        Some(match all.count() {
            0 => first,
            more => first.context(format!("{} partitions or topics do not go on, the first of them", more + 1)),
        })
    }
}

fn error_text<S: Serializer>(error: &Option<Error>, serializer: S) -> Result<S::Ok, S::Error> {
    error.as_ref().map(Error::message).serialize(serializer)
}

/// Groups partitions by topic.
pub(crate) fn topics(partitions: &[Arc<Progress>], now_ms: i64) -> Vec<TopicStatus> {
    let mut topics: BTreeMap<[&Arc<str>; 2], Vec<PartitionStatus>> = BTreeMap::new();
    for partition in partitions {
        let names = [&partition.topic, &partition.target_topic];
        topics.entry(names).or_default().push(partition.status(now_ms));
    }
    let topic = |([topic, target_topic], mut partitions): ([&Arc<str>; 2], Vec<PartitionStatus>)| {
        partitions.sort_by_key(|partition| partition.partition);
        let lag = Lag::of_all(partitions.iter().map(|partition| partition.lag));
        let target_topic = (target_topic != topic).then(|| target_topic.clone());
        TopicStatus { topic: topic.clone(), target_topic, lag, partitions }
    };
    topics.into_iter().map(topic).collect()
}
