//! Writes heartbeats, checkpoints and offset syncs in MirrorMaker 2's formats, where they are asked for: each topic in a task of its
//! own, with its own trouble. Records do not wait for any of it.
//!
//! What was written is remembered only while the mirror runs: after a start everything is written once more, which compaction
//! takes away. Which offsets belong together is said in two functions, for every kind of offsets: [`Control::target_offset`] and
//! [`Control::last_copied`].

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::groups::is_passing;
use super::{Control, JoinTask};
use crate::config::{Config, Emitted, EmittedTopic, Side};
use crate::error::{Error, ErrorKind, Result};
use crate::event::now_ms;
use crate::machine::mirror_maker_2::{OffsetPair, checkpoint_is_news, new_topic, sync_is_due};
use crate::status::{Progress, Subject};
use crate::tasks;
use crate::terms::broker_error::BrokerError;
use crate::terms::group::{Offsets, Type};
use crate::terms::state::State;
use crate::terms::topic::TopicPartition;
use crate::wire::admin;
use crate::wire::append::{self, Entry};
use crate::wire::cluster::Cluster;
use crate::wire::groups;
use crate::wire::mirror_maker_2::{checkpoint, heartbeat, offset_sync};

/// How often offset syncs are written that are not due before, as MirrorMaker 2 does with its `offset.flush.interval.ms`.
const ALL_SYNCS: Duration = Duration::from_secs(60);
/// Groups that are read at the same time.
const GROUPS_AT_ONCE: usize = 200;
/// How long a topic that was just created may take to have a leader, and the pause between looks.
const CREATION_LIMIT: Duration = Duration::from_secs(10);
const CREATION_PAUSE: Duration = Duration::from_millis(100);

/// The topics that are asked for.
pub(super) struct Emitters {
    topics: Vec<(EmittedTopic, tokio::sync::Mutex<Memory>)>,
    /// What is in trouble, by the number of the topic.
    troubles: RefCell<BTreeMap<usize, BTreeMap<String, Error>>>,
}

/// What is remembered of one of them.
#[derive(Default)]
struct Memory {
    leader: Option<i32>,
    /// What was written last, by group and partition.
    checkpoints: BTreeMap<String, HashMap<TopicPartition, OffsetPair>>,
    syncs: HashMap<TopicPartition, OffsetPair>,
    /// When all offset syncs were written that there was something new for.
    all_synced: Option<Instant>,
    /// What was in trouble in the last round.
    troubled: BTreeSet<String>,
}

/// What is to be written in one round, and remembered when it is.
#[derive(Default)]
struct News {
    entries: Vec<Entry>,
    checkpoints: Vec<(String, TopicPartition, OffsetPair)>,
    syncs: Vec<(TopicPartition, OffsetPair)>,
    /// Something could not be told yet.
    incomplete: bool,
    troubles: BTreeMap<String, Error>,
}

impl Emitters {
    pub(super) fn of(config: &Config) -> Self {
        let topics = config.emitted().into_iter().map(|topic| (topic, tokio::sync::Mutex::default()));
        Emitters { topics: topics.collect(), troubles: RefCell::default() }
    }
}

/// Partitions by the names of their topics at the source.
type ByName<'a> = HashMap<(&'a str, i32), &'a Arc<Progress>>;

impl Control {
    /// A task for each topic.
    pub(super) fn start_emitting(self: &Rc<Self>) -> Vec<JoinTask> {
        let numbers = 0..self.emitters.topics.len();
        numbers.map(|number| tasks::spawn(self.clone().emit(number))).collect()
    }

    async fn emit(self: Rc<Self>, number: usize) {
        let soon = self.config.refresh_interval;
        let interval = match self.emitters.topics[number].0.what {
            Emitted::Heartbeats => self.config.emission.heartbeats_interval,
            Emitted::Checkpoints => self.config.emission.checkpoints_interval,
            Emitted::OffsetSyncs => soon,
        };
        loop {
            let done = self.emit_once(number, false).await;
            tokio::time::sleep(if done { interval } else { interval.min(soon) }).await;
        }
    }

    /// Writes everything that is new, but for heartbeats, before somebody relies on it.
    pub(super) async fn emit_rest(&self) {
        for (number, (topic, _)) in self.emitters.topics.iter().enumerate() {
            if topic.what != Emitted::Heartbeats {
                self.emit_once(number, true).await;
            }
        }
    }

    /// One round of one topic; whether nothing is left to be done. With `all` everything new is written.
    async fn emit_once(&self, number: usize, all: bool) -> bool {
        let (topic, memory) = &self.emitters.topics[number];
        let mut memory = memory.lock().await;
        let mut news = match topic.what {
            Emitted::Heartbeats => self.heartbeat(topic.side),
            Emitted::Checkpoints => self.new_checkpoints(&mut memory).await,
            Emitted::OffsetSyncs => self.new_syncs(&mut memory, all),
        };
        match self.write_news(topic, &mut memory, std::mem::take(&mut news.entries)).await {
            Ok(()) => {
                for (group, partition, pair) in std::mem::take(&mut news.checkpoints) {
                    memory.checkpoints.entry(group).or_default().insert(partition, pair);
                }
                memory.syncs.extend(std::mem::take(&mut news.syncs));
            }
            Err(error) => {
                // The leader may be another one, or the topic be gone.
                memory.leader = None;
                let name = format!("{} ({})", topic.name, topic.side.name());
                news.troubles.insert(name, error.context(format!("{} is not kept up to date", topic.key())));
            }
        }
        let done = !news.incomplete && news.troubles.is_empty();
        self.tell_emission(number, &mut memory, news.troubles);
        done
    }

    /// Tells what is in trouble; what usually passes when it has not.
    fn tell_emission(&self, number: usize, memory: &mut Memory, mut troubles: BTreeMap<String, Error>) {
        let names: BTreeSet<String> = troubles.keys().cloned().collect();
        troubles.retain(|name, error| !is_passing(error) || memory.troubled.contains(name));
        memory.troubled = names;
        let mut all = self.emitters.troubles.borrow_mut();
        if all.get(&number).is_none_or(BTreeMap::is_empty) && troubles.is_empty() {
            return;
        }
        all.insert(number, troubles);
        let together = all.values().flatten().map(|(name, error)| (name.clone(), error.clone())).collect();
        self.shared.set_troubles(Subject::MirrorMaker2, together);
    }

    /// Of this flow on the target; of the way back at the source, as MirrorMaker 2 writes one for each direction.
    fn heartbeat(&self, side: Side) -> News {
        let names = &self.config.names;
        let alias = |alias: &Option<String>| alias.clone().unwrap_or_default();
        let (source, target) = (alias(&names.source_alias), alias(&names.target_alias));
        let (from, to) = if side == Side::Target { (source, target) } else { (target, source) };
        News { entries: vec![heartbeat(&from, &to, now_ms())], ..News::default() }
    }

    /// The offset on the target that a reader goes on at who would go on at this one at the source; never more than is replicated.
    /// `None` while it cannot be told.
    fn target_offset(&self, progress: &Progress, source_offset: i64) -> Option<i64> {
        self.copied_up_to(progress).map(|next| progress.on_target(source_offset.min(next)))
    }

    /// Where the last record that was copied is on both sides.
    fn last_copied(&self, progress: &Progress) -> Option<OffsetPair> {
        let last = self.copied_up_to(progress)? - 1;
        match progress.translation.get() {
            Some(translation) => translation.map().last_record().map(|(target, source)| OffsetPair { source, target }),
            None => (last >= 0).then_some(OffsetPair { source: last, target: last }),
        }
    }

    /// Of partitions with something new since they were written last.
    fn new_syncs(&self, memory: &mut Memory, all: bool) -> News {
        let mut news = News::default();
        let all = all || memory.all_synced.is_none_or(|at| at.elapsed() >= ALL_SYNCS);
        let lag_max = self.config.emission.offset_lag_max;
        let topics = self.mirrored_topics();
        let partitions = self.shared.partitions();
        for progress in &partitions {
            let Some(topic) = topics.get(&*progress.topic) else { continue };
            let Some(pair) = self.last_copied(progress) else { continue };
            let partition = (topic.clone(), progress.partition);
            if sync_is_due(memory.syncs.get(&partition).copied(), pair, lag_max, all) {
                news.entries.push(offset_sync((&progress.topic, progress.partition), (pair.source, pair.target)));
                news.syncs.push((partition, pair));
            }
        }
        if all {
            memory.all_synced = Some(Instant::now());
        }
        memory.syncs.retain(|(topic, _), _| topics.contains(topic));
        news
    }

    /// Of groups whose offsets have changed since they were written last.
    async fn new_checkpoints(&self, memory: &mut Memory) -> News {
        let mut news = News::default();
        let listing = match groups::list(&self.source).await {
            Ok(listing) => listing,
            Err(error) => {
                news.troubles.insert("groups".to_owned(), error);
                return news;
            }
        };
        for (broker, error) in listing.silent {
            let what = format!("checkpoints of groups that broker {broker} of the source coordinates are not written");
            news.troubles.insert(format!("source broker {broker}"), error.context(what));
        }
        if news.troubles.is_empty() {
            memory.checkpoints.retain(|group, _| listing.groups.contains_key(group));
        }
        let coordinators: Vec<(String, i32)> = listing
            .groups
            .into_iter()
            .filter(|(group, listed)| listed.kind == Type::Consumer && self.config.groups.matches(group))
            .map(|(group, listed)| (group, listed.coordinator))
            .collect();
        let topics = self.mirrored_topics();
        for portion in coordinators.chunks(GROUPS_AT_ONCE) {
            let offsets = groups::offsets(&self.source, &portion.iter().cloned().collect(), &topics).await;
            let partitions = self.shared.partitions();
            let partitions: ByName<'_> =
                partitions.iter().map(|progress| ((&*progress.topic, progress.partition), progress)).collect();
            let starts = self.starts_below(&offsets, &partitions).await;
            for (group, offsets) in offsets {
                match offsets {
                    Ok(offsets) => self.add_checkpoints(&group, offsets, (&partitions, &starts), memory, &mut news),
                    Err(error) => {
                        let what = format!("checkpoints of group '{group}' are not written");
                        news.troubles.insert(format!("group '{group}'"), error.context(what));
                    }
                }
            }
        }
        news
    }

    /// Where the target's logs begin in which some group is not at the end of what was copied.
    async fn starts_below(
        &self,
        offsets: &BTreeMap<String, Result<Offsets>>,
        partitions: &ByName<'_>,
    ) -> BTreeMap<TopicPartition, i64> {
        let mut below = BTreeMap::new();
        for (partition, committed) in offsets.values().flatten().flatten() {
            let Some(progress) = partitions.get(&(&*partition.0, partition.1)) else { continue };
            if self.copied_up_to(progress).is_some_and(|next| committed.offset < next) {
                below.insert(partition.clone(), (*progress).clone());
            }
        }
        self.target_starts(&below).await
    }

    fn add_checkpoints(
        &self,
        group: &str,
        offsets: Offsets,
        (partitions, starts): (&ByName<'_>, &BTreeMap<TopicPartition, i64>),
        memory: &Memory,
        news: &mut News,
    ) {
        let before = memory.checkpoints.get(group);
        for (partition, committed) in offsets {
            let Some(progress) = partitions.get(&(&*partition.0, partition.1)) else { continue };
            let Some(target) = self.target_offset(progress, committed.offset) else {
                news.incomplete |= progress.state() == State::Starting;
                continue;
            };
            // As with the group's own offset: who goes on there finds a record.
            let target = target.max(starts.get(&partition).copied().unwrap_or(0));
            let pair = OffsetPair { source: committed.offset, target };
            if checkpoint_is_news(before.and_then(|before| before.get(&partition)).copied(), pair) {
                let on_target = (&*progress.target_topic, progress.partition);
                news.entries.push(checkpoint(group, on_target, (pair.source, pair.target), &committed.metadata));
                news.checkpoints.push((group.to_owned(), partition, pair));
            }
        }
    }

    /// Writes records; the topic is created first if there is none, also if there is nothing to be written yet.
    async fn write_news(&self, topic: &EmittedTopic, memory: &mut Memory, entries: Vec<Entry>) -> Result<()> {
        let cluster = match topic.side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        };
        let leader = match memory.leader {
            Some(leader) => leader,
            None => {
                let (leader, is_new) = find_or_create(cluster, topic).await?;
                if is_new {
                    // What was in the one before is to be written again.
                    (memory.checkpoints, memory.syncs) = Default::default();
                }
                *memory.leader.insert(leader)
            }
        };
        for portion in append::portions(entries) {
            let outcome = append::append(cluster, &topic.name, leader, portion, now_ms()).await?;
            outcome.map_err(|error| refused(cluster, "write to", topic, error))?;
        }
        Ok(())
    }
}

/// The leader of a topic's first partition, and whether the topic was created here.
async fn find_or_create(cluster: &Cluster, topic: &EmittedTopic) -> Result<(i32, bool)> {
    let deadline = Instant::now() + CREATION_LIMIT;
    let mut created = false;
    loop {
        let metadata = cluster.metadata(Some(std::slice::from_ref(&topic.name)), false).await?;
        let found = metadata.topics.get(&topic.name);
        match found.map_or(Some(BrokerError::UNKNOWN_PARTITION), |found| BrokerError::of(found.error_code)) {
            None => {
                let leader = found.and_then(|found| found.leaders.first()).copied();
                if let Some(leader) = leader.filter(|leader| *leader >= 0) {
                    return Ok((leader, created));
                }
            }
            Some(error) if error.code == BrokerError::UNKNOWN_PARTITION.code => {
                if !std::mem::replace(&mut created, true) {
                    let new = new_topic(topic, metadata.broker_count);
                    let answers = admin::create_topics(cluster, metadata.controller_id, &[new]).await?;
                    answers.into_values().collect::<Result<Vec<_>>>()?;
                }
            }
            Some(error) => return Err(refused(cluster, "show", topic, error)),
        }
        if Instant::now() >= deadline {
            let message = format!("topic '{}' of the {} cluster has no leader", topic.name, cluster.side);
            return Err(Error::new(ErrorKind::Broker, message).with_topic(&topic.name));
        }
        tokio::time::sleep(CREATION_PAUSE).await;
    }
}

fn refused(cluster: &Cluster, verb: &str, topic: &EmittedTopic, error: BrokerError) -> Error {
    admin::refused(cluster, &format!("{verb} topic '{}'", topic.name), error, None).with_topic(&topic.name)
}
