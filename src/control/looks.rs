//! Looks at both clusters with every refresh: where each partition ends there, asked of its leader in one request for all
//! that it leads. What a side does not say is not known, and the partition shows it. A target that has lost what it had taken
//! is read again by the streams.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Control;
use crate::config::IsolationLevel;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventKind};
use crate::status::{Progress, Side};
use crate::stream;
use crate::terms::broker_error::BrokerError;
use crate::terms::state::State;
use crate::terms::topic::{Metadata, TopicMetadata, TopicPartition};
use crate::wire::cluster::Cluster;
use crate::wire::positions::{self, ByPartition, Which};
use crate::wire::{record_times, together};

/// A broker that does not answer a look for so long, and for longer than a refresh, counts as not reachable.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the looks know.
#[derive(Default)]
pub(super) struct Looks {
    /// The target as it was when topics were looked at last.
    pub(super) target_metadata: RefCell<Rc<Metadata>>,
}

/// What is asked of a leader, and what it says of each partition: an offset for each question, or why there is none.
pub(super) type Answers = Vec<(Arc<Progress>, Result<Vec<i64>>)>;

impl Control {
    /// Looks at both sides with every refresh, for ever.
    pub(super) async fn keep_looking(self: Rc<Self>) {
        loop {
            tokio::time::sleep(self.config.refresh_interval).await;
            self.look().await;
        }
    }

    /// Looks at both sides once.
    pub(super) async fn look(&self) {
        // A partition that does not begin at its source's start is not the streams' yet.
        let partitions: Vec<_> =
            self.shared.partitions().into_iter().filter(|progress| !self.prefixes.has(progress)).collect();
        let positions: Vec<Option<i64>> = partitions.iter().map(|progress| progress.certain_on_target()).collect();
        let copied: Vec<Option<i64>> = partitions.iter().map(|progress| progress.target_next()).collect();
        let (source, target) =
            tokio::join!(self.ends_of(Side::Source, &partitions), self.ends_of(Side::Target, &partitions));
        for (side, answers) in [(&self.source, &source), (&self.target, &target)] {
            if !answers.is_empty() && answers.iter().all(|(_, answer)| answer.is_ok()) {
                side.reach().answered();
            }
        }
        let mut lost = Vec::new();
        let before = positions.into_iter().zip(copied);
        // Answers come in the order of the partitions.
        for (((progress, at_source), (_, on_target)), (position, copied)) in source.into_iter().zip(target).zip(before)
        {
            let mut is_lost = false;
            match at_source {
                Ok(ends) => {
                    progress.set_source_next(ends[0]);
                    progress.set_source_high_watermark(*ends.last().unwrap_or(&ends[0]));
                    is_lost |= copied.is_some_and(|copied| ends[0] < copied);
                }
                Err(error) => progress.set_trouble(Side::Source, error),
            }
            match (on_target, position) {
                (Ok(ends), Some(position)) if ends[0] < position => {
                    self.tell_lost(&progress, ends[0], position);
                    is_lost = true;
                }
                (Ok(_), _) => progress.hear_target(),
                (Err(error), _) => progress.set_trouble(Side::Target, error),
            }
            if is_lost {
                lost.push(progress);
            }
        }
        if !lost.is_empty() {
            self.command_all(|| stream::Command::Reopen(lost.clone())).await;
        }
        self.ask_for_first_records(&partitions).await;
    }

    fn tell_lost(&self, progress: &Progress, end: i64, position: i64) {
        let (topic, partition) = (&*progress.target_topic, progress.partition);
        let message = format!(
            "topic '{topic}' partition {partition}: the target's log ends at offset {end}, but it had taken everything before offset \
             {position}: it has lost records that it had acknowledged, by an unclean leader election or a lost disk; they are copied \
             again as far as the source has them"
        );
        let error = Error::new(ErrorKind::Broker, message).with_partition(&*progress.topic, partition);
        let is_news = progress.lose_target(end, &error);
        if is_news {
            tracing::warn!(topic, partition, end, position, %error, "the target has lost records");
            self.shared.events.send(Event::of_error(EventKind::Error, &error));
        }
    }

    /// Where partitions end on one side, in their order. At the source that is the end that consumers see, and the one behind
    /// open transactions; on the target it is the log's.
    async fn ends_of(&self, side: Side, partitions: &[Arc<Progress>]) -> Answers {
        let questions: &[Which] = match (side, self.config.isolation_level) {
            (Side::Target, _) => &[Which::LogEnd],
            (Side::Source, IsolationLevel::ReadCommitted) => &[Which::LastStable, Which::HighWatermark],
            (Side::Source, IsolationLevel::ReadUncommitted) => &[Which::HighWatermark],
        };
        self.offsets_of(side, partitions, questions).await
    }

    /// What the leaders of partitions on one side say, in their order: an offset for each question.
    pub(super) async fn offsets_of(&self, side: Side, partitions: &[Arc<Progress>], questions: &[Which]) -> Answers {
        let leaders = match side {
            Side::Source => leaders_of(side, partitions, &self.source_metadata.borrow()),
            Side::Target => leaders_of(side, partitions, &self.ends.target_metadata.borrow()),
        };
        let mut answers = self.ask(side, partitions, leaders, questions).await;
        let silent: Vec<Arc<Progress>> =
            answers.iter().filter(|(_, answer)| answer.is_err()).map(|(progress, _)| progress.clone()).collect();
        if silent.is_empty() {
            return answers;
        }
        // The leaders may have moved since the topics were looked at.
        let mut topics: Vec<String> = silent.iter().map(|progress| progress.topic_at(side).to_string()).collect();
        topics.dedup();
        let again = match self.cluster(side).metadata(Some(&topics), false).await {
            Ok(metadata) => self.ask(side, &silent, leaders_of(side, &silent, &metadata), questions).await,
            Err(error) => silent.into_iter().map(|progress| (progress, Err(error.clone()))).collect(),
        };
        let mut again = again.into_iter();
        for (_, answer) in answers.iter_mut().filter(|(_, answer)| answer.is_err()) {
            if let Some((_, second)) = again.next() {
                *answer = second;
            }
        }
        answers
    }

    /// Those of copies that are not on the target any more, and why, by their topics' names at the source. Most requests know topics by
    /// name only, and what has come under the name of a copy is somebody else's: this is asked between what was read of it and what is
    /// changed of it.
    pub(super) async fn gone_copies(
        &self,
        copies: impl IntoIterator<Item = Arc<Progress>>,
    ) -> Result<BTreeMap<String, Error>> {
        let copies: BTreeMap<String, Arc<Progress>> =
            copies.into_iter().map(|copy| (copy.topic.to_string(), copy)).collect();
        if copies.is_empty() {
            return Ok(BTreeMap::new());
        }
        let names: Vec<String> = copies.values().map(|copy| copy.target_topic.to_string()).collect();
        let metadata = self.target.metadata(Some(&names), false).await?;
        let gone =
            |(topic, copy): (String, Arc<Progress>)| Some((topic, mirrored(&copy, Side::Target, &metadata).err()?));
        Ok(copies.into_iter().filter_map(gone).collect())
    }

    fn cluster(&self, side: Side) -> &Cluster {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    /// Asks the leaders of partitions, all at the same time; answers are in the order of the partitions.
    async fn ask(
        &self,
        side: Side,
        partitions: &[Arc<Progress>],
        leaders: Vec<Result<i32>>,
        questions: &[Which],
    ) -> Answers {
        let mut answers: Vec<Option<Result<Vec<i64>>>> = vec![None; partitions.len()];
        let mut by_leader: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        for (index, leader) in leaders.into_iter().enumerate() {
            match leader {
                Ok(leader) => by_leader.entry(leader).or_default().push(index),
                Err(error) => answers[index] = Some(Err(error)),
            }
        }
        let asked = by_leader.iter().map(|(leader, group)| {
            let name = |index: &usize| (Rc::from(&**partitions[*index].topic_at(side)), partitions[*index].partition);
            let names: Vec<TopicPartition> = group.iter().map(name).collect();
            async move { (group, self.ask_leader(side, *leader, &names, questions).await, names) }
        });
        for (group, answered, names) in together::all(asked.collect()).await {
            for (index, name) in group.iter().zip(&names) {
                answers[*index] = Some(match &answered {
                    Ok(offsets) => offsets.iter().map(|offsets| answer(side, offsets, name)).collect(),
                    Err(error) => Err(error.clone()),
                });
            }
        }
        let none = || Err(Error::new(ErrorKind::Broker, format!("the {} was not asked", side.name())));
        partitions.iter().cloned().zip(answers.into_iter().map(|answer| answer.unwrap_or_else(none))).collect()
    }

    async fn ask_leader(
        &self,
        side: Side,
        leader: i32,
        names: &[TopicPartition],
        questions: &[Which],
    ) -> Result<Vec<ByPartition<i64>>> {
        let cluster = self.cluster(side);
        let limit = PATIENCE.max(self.config.refresh_interval).min(cluster.config().request_timeout);
        let asked = async {
            let connection = cluster.broker(leader).await?;
            let mut offsets = Vec::with_capacity(questions.len());
            for which in questions {
                offsets.push(positions::list_offsets(&connection, names, *which).await?);
            }
            Ok(offsets)
        };
        tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| {
            let message = format!(
                "broker {leader} of the {} did not say within {} ms where its logs end",
                side.name(),
                limit.as_millis()
            );
            Err(Error::new(ErrorKind::Connect, message))
        })
    }

    /// Of partitions of which nothing was ever copied, the first record tells how long the target has lacked it.
    async fn ask_for_first_records(&self, partitions: &[Arc<Progress>]) {
        let mut by_leader: BTreeMap<i32, Vec<&Arc<Progress>>> = BTreeMap::new();
        for progress in partitions.iter().filter(|progress| progress.lacks_times()) {
            let leader = leader_of(progress, Side::Source, &self.source_metadata.borrow());
            // Left open: why there is none has been told of the look that was just made.
            if let Ok(leader) = leader {
                by_leader.entry(leader).or_default().push(progress);
            }
        }
        for (leader, group) in by_leader {
            let names: Vec<TopicPartition> =
                group.iter().map(|progress| (Rc::from(&*progress.topic), progress.partition)).collect();
            let asked = async { record_times::first_records(&*self.source.broker(leader).await?, &names).await };
            match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Ok(first)) => {
                    for (progress, name) in group.iter().zip(&names) {
                        if let Some(Ok(first)) = first.get(name) {
                            progress.set_first_record(first.offset, first.timestamp);
                        }
                    }
                }
                // The time since the source's end was seen to be ahead tells it too, at least.
                Ok(Err(error)) => tracing::debug!(%error, "the times of first records are not known"),
                // Left open: the same.
                Err(_) => tracing::debug!(leader, "the times of first records are not known"),
            }
        }
    }
}

fn leaders_of(side: Side, partitions: &[Arc<Progress>], metadata: &Metadata) -> Vec<Result<i32>> {
    partitions.iter().map(|progress| leader_of(progress, side, metadata)).collect()
}

/// The topic of a partition by metadata, if it is the one that is mirrored.
fn mirrored<'a>(progress: &Progress, side: Side, metadata: &'a Metadata) -> Result<&'a TopicMetadata> {
    let (name, partition) = (progress.topic_at(side), progress.partition);
    let error = |what: String| Err(Error::new(ErrorKind::Broker, what).with_partition(&*progress.topic, partition));
    let Some(topic) = metadata.topics.get(&**name) else {
        return error(format!("the {} does not show topic '{name}'", side.name()));
    };
    let id = progress.id_at(side);
    if id != 0 && topic.id != 0 && topic.id != id {
        return error(format!("topic '{name}' was deleted and created again at the {}", side.name()));
    }
    Ok(topic)
}

/// The leader of a partition by metadata, if the topic there is the one that is mirrored.
fn leader_of(progress: &Progress, side: Side, metadata: &Metadata) -> Result<i32> {
    let (name, partition) = (progress.topic_at(side), progress.partition);
    let topic = mirrored(progress, side, metadata)?;
    match topic.leaders.get(partition as usize) {
        Some(leader) if *leader >= 0 => Ok(*leader),
        _ => {
            let what = format!("topic '{name}' partition {partition} has no leader at the {}", side.name());
            Err(Error::new(ErrorKind::Broker, what).with_partition(&*progress.topic, partition))
        }
    }
}

fn answer(side: Side, offsets: &ByPartition<i64>, name: &TopicPartition) -> Result<i64> {
    let broker = match offsets.get(name) {
        Some(Ok(offset)) if *offset >= 0 => return Ok(*offset),
        Some(Err(error)) => *error,
        _ => BrokerError::UNKNOWN_PARTITION,
    };
    let (topic, partition) = (&name.0, name.1);
    let message = format!(
        "the {} does not say where topic '{topic}' partition {partition} begins or ends: {broker}",
        side.name()
    );
    Err(Error::new(ErrorKind::Broker, message).with_kafka_code(broker.code))
}

impl Progress {
    /// What is mirrored on this side.
    fn topic_at(&self, side: Side) -> &Arc<str> {
        match side {
            Side::Source => &self.topic,
            Side::Target => &self.target_topic,
        }
    }

    fn id_at(&self, side: Side) -> u128 {
        match side {
            Side::Source => self.ids.source,
            Side::Target => self.ids.target,
        }
    }

    /// Where the target's log ends at least, by what it has acknowledged; `None` while nobody knows, or has to know.
    fn certain_on_target(&self) -> Option<i64> {
        if matches!(self.state(), State::Failed | State::Starting) {
            return None;
        }
        match self.translation.get() {
            Some(translation) => Some(translation.map().target_offset_next()),
            None => self.acknowledged(),
        }
    }
}
