//! Brings partitions to the offset where they begin, before a stream gets them.
//!
//! Works in rounds: read both logs of all partitions that wait, decide by `machine::prefix`, delete and fill for a moment,
//! and read again. Nothing is remembered from one round to the next that the logs do not tell, so a crash at any
//! moment costs one round. Short fills come first, so a long one holds nobody up.
//!
//! Where offsets are translated nothing has to be filled: it is written down where a partition begins (`translations`).
//!
//! A topic that only compacts is opened for the fill ([`removal`]) and closed when none of its partitions needs it any
//! more. Partitions of it that are mirrored meanwhile lose nothing, as retention never comes while it is open.

pub(crate) mod filling;
pub(crate) mod survey;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Control;
use crate::config::Start;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventKind};
use crate::machine::fill_settings;
use crate::machine::partition::Identity;
use crate::machine::prefix::{self, Reading, Step};
use crate::status::Progress;
use crate::terms::broker_error::{BrokerError, Class};
use crate::terms::settings::Settings;
use crate::terms::state::{Replicated, State};
use crate::terms::topic::{Metadata, TopicPartition};
use crate::wire::removal;
use crate::wire::together;
use filling::{Fillers, Job, LARGEST_BATCH};
use survey::{SourceStart, leader_of};

/// How long is filled until the logs are read again: short while partitions become ready, so that none waits for the others.
const SHORTEST_ROUND: Duration = Duration::from_millis(250);
const LONGEST_ROUND: Duration = Duration::from_secs(2);
/// Partitions of one broker that are filled at the same time, each over a connection of its own.
const LANES: usize = 4;
/// Filler that is kept while more is written; beyond that it is deleted on the way, so that disks do not fill up.
const KEPT_OFFSETS: i64 = 50_000_000;
/// Partitions in one request to delete records: brokers answer it as a whole.
const DELETED_AT_ONCE: usize = 500;
/// Brokers learn of a topic's changed settings a little later than whoever changed them.
const SETTINGS_PATIENCE: Duration = Duration::from_secs(15);
const POLICY_VIOLATION: i16 = 44;

/// A topic and the number of a partition.
type Place = (Arc<str>, i32);

/// Partitions that wait for their start.
#[derive(Default)]
pub(super) struct Prefixes {
    waiting: RefCell<BTreeMap<Place, Rc<Waiting>>>,
    changed: Notify,
    fillers: Fillers,
    /// Topics, by their names on the target, whose settings allow the deletion of records, as far as this process saw to it.
    opened: RefCell<BTreeSet<String>>,
    /// Held by whoever changes settings of topics on the target, so that nobody changes what another has just looked at.
    pub(super) settings: tokio::sync::Mutex<()>,
    /// How long the next round fills.
    length: Cell<Duration>,
    /// Topics and their number of partitions when the mirror looked for the first time.
    at_first: RefCell<Option<BTreeMap<String, usize>>>,
}

/// A partition that waits for its start.
pub(super) struct Waiting {
    pub(super) name: TopicPartition,
    /// As it is called on the target.
    pub(super) target: TopicPartition,
    pub(super) progress: Arc<Progress>,
    pub(super) start: Start,
    /// The start that was chosen when the partition was looked at first: the end of a busy source moves on.
    chosen: Cell<Option<i64>>,
    batch_size: Rc<Cell<u32>>,
    /// Whether the target has shown that it deletes records of it.
    may_delete: Cell<bool>,
    forbidden_since: Cell<Option<Instant>>,
    /// Why it cannot be begun; looked at again with the next refresh.
    refused: RefCell<Option<Error>>,
    rests: Cell<bool>,
    /// Where offsets are translated: up to where the target's log was read and has no copies, and whether it was told that it is read.
    pub(super) looked_until: Cell<i64>,
    pub(super) told_of_looking: Cell<bool>,
    /// Its topic is not the one that it was: nothing more may be written for it.
    given_up: Rc<Cell<bool>>,
}

/// What a round has to do.
#[derive(Default)]
pub(super) struct Work {
    pub(super) settled: Vec<Rc<Waiting>>,
    /// Topics, by their names on the target, whose settings have to be looked at before their partitions are mirrored.
    touched: BTreeSet<String>,
    /// Topics with filler that is written or deleted in this round or a later one.
    filled: BTreeSet<String>,
    fills: Vec<(Rc<Waiting>, i64, i64)>,
    deletes: Vec<(Rc<Waiting>, i64)>,
    again: bool,
}

impl Prefixes {
    /// Remembers what there was when the mirror looked for the first time.
    pub(super) fn remember(&self, source: &Metadata) {
        let mut at_first = self.at_first.borrow_mut();
        if at_first.is_none() {
            let topics = source.topics.iter().map(|(name, topic)| (name.clone(), topic.leaders.len()));
            *at_first = Some(topics.collect());
        }
    }

    /// Where a partition begins. One that came into being while the mirror runs has nothing that the mirror could leave out.
    fn start_of(&self, start: Start, topic: &str, partition: i32) -> Start {
        let at_first = self.at_first.borrow();
        let known = at_first.as_ref().and_then(|topics| topics.get(topic)).copied().unwrap_or(0);
        if start == Start::Latest && partition as usize >= known { Start::Earliest } else { start }
    }

    /// Why a partition cannot be begun, if it waits and that is so.
    pub(super) fn refusal(&self, progress: &Progress) -> Option<Error> {
        let waiting = self.waiting.borrow();
        waiting.get(&(progress.topic.clone(), progress.partition))?.refused.borrow().clone()
    }

    /// Whether a partition waits for its start.
    pub(super) fn has(&self, progress: &Progress) -> bool {
        self.waiting.borrow().contains_key(&(progress.topic.clone(), progress.partition))
    }

    /// Whether a partition of a topic waits for its start.
    pub(super) fn has_topic(&self, topic: &str) -> bool {
        self.waiting.borrow().keys().any(|(name, _)| &**name == topic)
    }

    /// Nothing of this topic waits any more, and what comes under its name is new.
    pub(super) fn forget(&self, topic: &str, target_topic: &str) {
        self.waiting.borrow_mut().retain(|(name, _), waiting| {
            waiting.given_up.set(&**name == topic);
            !waiting.given_up.get()
        });
        self.opened.borrow_mut().remove(target_topic);
        if let Some(at_first) = self.at_first.borrow_mut().as_mut() {
            at_first.remove(topic);
        }
    }

    /// What was refused is looked at again.
    pub(super) fn try_refused_again(&self) {
        for waiting in self.waiting.borrow().values().filter(|waiting| waiting.rests.replace(false)) {
            waiting.may_delete.set(false);
            self.changed.notify_one();
        }
    }
}

impl Control {
    /// Takes new partitions; returns those that begin at 0 and can be mirrored at once.
    pub(super) async fn await_starts(&self, partitions: Vec<Arc<Progress>>) -> Vec<Arc<Progress>> {
        let (mut ready, partitions) = match self.translates() {
            true => self.take_up_begun(partitions),
            false => (Vec::new(), partitions),
        };
        let name = |progress: &Arc<Progress>| (Rc::from(&*progress.topic), progress.partition);
        let start =
            |progress: &Progress| self.prefixes.start_of(self.config.start, &progress.topic, progress.partition);
        let may_be_zero = |progress: &&Arc<Progress>| !self.translates() && start(progress) == Start::Earliest;
        let earliest: Vec<TopicPartition> = partitions.iter().filter(may_be_zero).map(name).collect();
        let metadata = self.source_metadata.borrow().clone();
        let starts = survey::log_starts(&self.source, &metadata, &earliest).await;
        let (at_zero, late): (Vec<_>, Vec<_>) =
            partitions.into_iter().partition(|progress| matches!(starts.get(&name(progress)), Some(Ok(0))));
        for progress in late {
            let key = (progress.topic.clone(), progress.partition);
            let waiting = Waiting {
                name: name(&progress),
                target: (Rc::from(&*progress.target_topic), progress.partition),
                start: start(&progress),
                progress,
                chosen: Cell::new(None),
                batch_size: Rc::new(Cell::new(LARGEST_BATCH)),
                may_delete: Cell::new(false),
                forbidden_since: Cell::new(None),
                refused: RefCell::default(),
                rests: Cell::new(false),
                looked_until: Cell::new(0),
                told_of_looking: Cell::new(false),
                given_up: Rc::default(),
            };
            self.prefixes.waiting.borrow_mut().insert(key, Rc::new(waiting));
            self.prefixes.changed.notify_one();
        }
        ready.extend(at_zero);
        ready
    }

    /// Brings partitions to their start and hands them to streams, for ever.
    pub(super) async fn see_to_starts(self: Rc<Self>) {
        loop {
            let due = self.due();
            if due.is_empty() {
                self.prefixes.changed.notified().await;
                continue;
            }
            match self.round(due).await {
                Ok(false) => {}
                Ok(true) => tokio::time::sleep(self.config.target.retry_backoff).await,
                Err(error) => {
                    self.tell("partitions cannot be begun; will be tried again", &error);
                    tokio::time::sleep(self.config.target.retry_backoff_max).await;
                }
            }
        }
    }

    fn due(&self) -> Vec<Rc<Waiting>> {
        let lives = self.lives.borrow();
        let waiting = self.prefixes.waiting.borrow();
        let is_due = |waiting: &&Rc<Waiting>| !waiting.rests.get() && !lives.is_stopped(&waiting.name.0);
        waiting.values().filter(is_due).cloned().collect()
    }

    /// One round; `true` if it is better to wait a little before the next.
    async fn round(&self, due: Vec<Rc<Waiting>>) -> Result<bool> {
        let Some(identity) = self.identity.get() else { return Ok(true) };
        if self.translates() {
            let mut work = Work::default();
            self.begin_translated(due, &mut work).await?;
            self.settle(&mut work).await;
            return Ok(work.again);
        }
        let topics = |name: fn(&Waiting) -> &TopicPartition| {
            let topics: BTreeSet<String> = due.iter().map(|waiting| name(waiting).0.to_string()).collect();
            topics.into_iter().collect::<Vec<String>>()
        };
        let (at_source, on_target) = (topics(|waiting| &waiting.name), topics(|waiting| &waiting.target));
        let (source, target) =
            tokio::join!(self.source.metadata(Some(&at_source), false), self.target.metadata(Some(&on_target), false));
        let (source, target) = (source?, target?);
        let mut work = self.decide(due, &source, &target, identity).await;
        let moves = !work.settled.is_empty() || !work.deletes.is_empty();
        let length = if moves { SHORTEST_ROUND } else { self.prefixes.length.get() * 2 };
        self.prefixes.length.set(length.clamp(SHORTEST_ROUND, LONGEST_ROUND));
        self.settle(&mut work).await;
        self.leave_others(&mut work).await?;
        self.open_topics(&mut work).await?;
        self.leave_others(&mut work).await?;
        let (deletes, fills) = (self.delete(&work, &target), self.fill(&work, &target, identity));
        let (waits, ()) = tokio::join!(deletes, fills);
        Ok(waits || work.again)
    }

    /// Reads both logs of all partitions, and decides.
    async fn decide(&self, due: Vec<Rc<Waiting>>, source: &Metadata, target: &Metadata, identity: Identity) -> Work {
        let wanted: BTreeMap<TopicPartition, Start> =
            due.iter().map(|waiting| (waiting.name.clone(), waiting.start)).collect();
        let sources = survey::sources(&self.source, source, &wanted, self.config.isolation_level).await;
        let late: Vec<TopicPartition> = due
            .iter()
            .filter(|waiting| matches!(sources.get(&waiting.name), Some(Ok(start)) if start.wanted > 0))
            .map(|waiting| waiting.target.clone())
            .collect();
        let targets = survey::targets(&self.target, target, &late, Some(identity)).await;
        let mut work = Work::default();
        for waiting in due {
            let source = match sources.get(&waiting.name) {
                Some(Ok(source)) => *source,
                other => {
                    self.stall(&waiting, other.and_then(|answer| answer.as_ref().err()), &mut work);
                    continue;
                }
            };
            if source.wanted == 0 {
                work.settled.push(waiting);
                continue;
            }
            match targets.get(&waiting.target) {
                Some(Ok(target)) => self.decide_one(waiting, source, *target, &mut work),
                other => self.stall(&waiting, other.and_then(|answer| answer.as_ref().err()), &mut work),
            }
        }
        work.fills.sort_by_key(|(_, from, to)| to - from);
        work
    }

    fn decide_one(&self, waiting: Rc<Waiting>, source: SourceStart, target: survey::TargetState, work: &mut Work) {
        let chosen = waiting.chosen.get().unwrap_or(source.wanted);
        waiting.chosen.set(Some(chosen));
        let reading = Reading {
            source_start: source.log_start,
            wanted_start: chosen.max(source.log_start),
            target_start: target.log_start,
            target_end: target.log_end,
            writer: target.writer,
        };
        let progress = &waiting.progress;
        progress.set_source_next(source.end);
        progress.set_replicated(Some(target.log_end), Replicated::default());
        let topic = waiting.target.0.to_string();
        let step = prefix::decide(&reading);
        tracing::debug!(topic, partition = waiting.name.1, ?reading, ?step, "start");
        match step {
            Step::Done | Step::Begun => {
                if target.log_end > 0 && target.log_start >= target.log_end {
                    work.touched.insert(topic);
                }
                work.settled.push(waiting);
            }
            Step::Fill { from, to } => {
                work.filled.insert(topic);
                // Deleting nothing shows whether deleting is permitted, before something is written that has to be deleted.
                if !waiting.may_delete.get() {
                    work.deletes.push((waiting.clone(), target.log_start));
                } else if from - target.log_start > KEPT_OFFSETS {
                    // The last batch stays: it is what says how far the fill is, and whose it is.
                    work.deletes.push((waiting.clone(), from - i64::from(LARGEST_BATCH)));
                }
                work.fills.push((waiting, from, to));
            }
            Step::Delete { before } => {
                work.filled.insert(topic);
                work.deletes.push((waiting, before));
            }
            Step::Refuse(error) => self.refuse_start(&waiting, error),
        }
    }

    /// Something that passes keeps a partition from being begun.
    pub(super) fn stall(&self, waiting: &Waiting, error: Option<&Error>, work: &mut Work) {
        work.again = true;
        if let Some(error) = error {
            if waiting.progress.state() != State::Stalled {
                tracing::warn!(topic = &*waiting.name.0, partition = waiting.name.1, %error, "partition waits");
            }
            waiting.progress.set_state(State::Stalled, Some(error));
        }
    }

    /// A partition cannot be begun until somebody has changed something.
    pub(super) fn refuse_start(&self, waiting: &Waiting, error: Error) {
        let (topic, partition) = (&*waiting.name.0, waiting.name.1);
        let error = error.context(format!("topic '{topic}' partition {partition}")).with_partition(topic, partition);
        // A permission may be granted while it waits.
        let state = if error.kind() == ErrorKind::Authorization { State::Stalled } else { State::Failed };
        waiting.progress.set_state(state, Some(&error));
        waiting.rests.set(true);
        let before = waiting.refused.replace(Some(error.clone()));
        if before.is_none_or(|before| before.message() != error.message()) {
            tracing::error!(topic, partition, kind = error.kind().name(), %error, "partition parked");
            self.shared.events.send(Event::of_error(EventKind::PartitionParked, &error));
        }
    }

    /// Hands over the partitions that are at their start, after their topics were put right.
    async fn settle(&self, work: &mut Work) {
        let to_close: Vec<String> = work.touched.difference(&work.filled).cloned().collect();
        let kept_open = if to_close.is_empty() { BTreeMap::new() } else { self.close_topics(to_close).await };
        let mut ready = Vec::new();
        for waiting in std::mem::take(&mut work.settled) {
            match kept_open.get(&*waiting.target.0) {
                Some(error) if error.is_retriable() && error.kind() != ErrorKind::Authorization => {
                    self.stall(&waiting, Some(error), work);
                }
                Some(error) => self.refuse_start(&waiting, error.clone()),
                None => ready.push(waiting),
            }
        }
        let mut partitions = Vec::new();
        for waiting in ready {
            let key = (waiting.progress.topic.clone(), waiting.name.1);
            // Its topic may have been given up since the round began.
            if self.prefixes.waiting.borrow_mut().remove(&key).is_none() {
                continue;
            }
            if waiting.refused.borrow().is_some() {
                let message = format!("topic '{}' partition {} goes on", key.0, key.1);
                let event = Event::new(EventKind::PartitionResumed, message);
                self.shared.events.send(Event { topic: Some(key.0), partition: Some(key.1), ..event });
            }
            waiting.progress.set_state(State::Starting, None);
            partitions.push(waiting.progress.clone());
        }
        self.assign(partitions).await;
    }

    /// Gives topics back what they had before they were opened; returns those of which that failed.
    async fn close_topics(&self, topics: Vec<String>) -> BTreeMap<String, Error> {
        let all_failed = |error: Error| topics.iter().map(|topic| (topic.clone(), error.clone())).collect();
        let _only_one = self.prefixes.settings.lock().await;
        let settings = match removal::describe(&self.target, &topics).await {
            Ok(settings) => settings,
            // A target that does not describe topics has none that was opened.
            Err(error) if error.kind() == ErrorKind::Unsupported => return BTreeMap::new(),
            Err(error) => return all_failed(error),
        };
        let mut failed = BTreeMap::new();
        let mut changes = Vec::new();
        for (topic, settings) in settings {
            match settings {
                Ok(settings) => changes.push((topic, fill_settings::close_after_fill(&settings))),
                // Who may not see the settings has not changed them.
                Err(error) if error.kind() == ErrorKind::Authorization => {}
                Err(error) => drop(failed.insert(topic, error)),
            }
        }
        changes.retain(|(_, changes)| !changes.is_empty());
        for (topic, _) in &changes {
            tracing::info!(topic, "cleanup.policy and retention are as they were before the fill");
        }
        match removal::alter(&self.target, &changes).await {
            Ok(results) => {
                failed.extend(results.into_iter().filter_map(|(topic, result)| Some((topic, result.err()?))));
            }
            Err(error) => failed.extend(changes.into_iter().map(|(topic, _)| (topic, error.clone()))),
        }
        let mut opened = self.prefixes.opened.borrow_mut();
        for topic in topics.iter().filter(|topic| !failed.contains_key(*topic)) {
            opened.remove(topic);
        }
        failed
    }

    /// Sees to it that records of the topics can be deleted.
    async fn open_topics(&self, work: &mut Work) -> Result<()> {
        let new: Vec<String> = work.filled.difference(&self.prefixes.opened.borrow()).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        let _only_one = self.prefixes.settings.lock().await;
        let settings = match removal::describe(&self.target, &new).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                new.iter().map(|topic| (topic.clone(), Ok(Settings::new()))).collect()
            }
            settings => settings?,
        };
        let mut changes = Vec::new();
        for (topic, settings) in settings {
            // Without permission to see the settings they are taken to be right; the target refuses to delete if not.
            let wanted = settings.map(|settings| fill_settings::open_for_fill(&settings)).unwrap_or_default();
            if wanted.is_empty() {
                self.prefixes.opened.borrow_mut().insert(topic);
            } else {
                changes.push((topic, wanted));
            }
        }
        for (topic, result) in removal::alter(&self.target, &changes).await? {
            match result {
                Ok(()) => {
                    tracing::info!(topic, "records can be deleted while its first offsets are filled");
                    self.prefixes.opened.borrow_mut().insert(topic);
                }
                Err(error) => self.give_up_topic(work, &topic, &error),
            }
        }
        Ok(())
    }

    /// Leaves alone what is not the copy any more that was read.
    async fn leave_others(&self, work: &mut Work) -> Result<()> {
        let fills = work.fills.iter().map(|(waiting, ..)| waiting);
        let all: Vec<Rc<Waiting>> = fills.chain(work.deletes.iter().map(|(waiting, _)| waiting)).cloned().collect();
        let gone = self.gone_copies(all.iter().map(|waiting| waiting.progress.clone())).await?;
        for waiting in all.iter().filter(|waiting| gone.contains_key(&*waiting.name.0)) {
            self.stall(waiting, gone.get(&*waiting.name.0), work);
            work.filled.remove(&*waiting.target.0);
        }
        work.fills.retain(|(waiting, ..)| !gone.contains_key(&*waiting.name.0));
        work.deletes.retain(|(waiting, _)| !gone.contains_key(&*waiting.name.0));
        Ok(())
    }

    fn give_up_topic(&self, work: &mut Work, topic: &str, error: &Error) {
        let of_topic = |waiting: &Rc<Waiting>| &*waiting.target.0 == topic;
        let fills = work.fills.iter().map(|(waiting, ..)| waiting);
        let deletes = work.deletes.iter().map(|(waiting, _)| waiting);
        for waiting in fills.chain(deletes).filter(|waiting| of_topic(waiting)) {
            self.refuse_start(waiting, error.clone());
        }
        work.fills.retain(|(waiting, ..)| !of_topic(waiting));
        work.deletes.retain(|(waiting, _)| !of_topic(waiting));
    }

    /// Deletes what has to be deleted; `true` if some of it was not possible yet.
    async fn delete(&self, work: &Work, target: &Metadata) -> bool {
        let mut groups: BTreeMap<i32, Vec<&(Rc<Waiting>, i64)>> = BTreeMap::new();
        for delete in &work.deletes {
            if let Some(leader) = leader_of(target, &delete.0.target) {
                groups.entry(leader).or_default().push(delete);
            }
        }
        let requests = groups.into_iter().map(|(leader, deletes)| async move {
            let mut waits = false;
            for some in deletes.chunks(DELETED_AT_ONCE) {
                waits |= self.delete_some(leader, some).await;
            }
            waits
        });
        together::all(requests.collect()).await.contains(&true)
    }

    async fn delete_some(&self, leader: i32, deletes: &[&(Rc<Waiting>, i64)]) -> bool {
        let partitions: Vec<(TopicPartition, i64)> =
            deletes.iter().map(|(waiting, before)| (waiting.target.clone(), *before)).collect();
        let answer = async {
            // A connection of its own: the broker answers nothing else on it until the replicas have followed.
            let connection = self.target.dial(leader).await?;
            removal::delete_records(&connection, &partitions, self.target.config().request_timeout).await
        };
        let answers = match answer.await {
            Ok(answers) => answers,
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                for (waiting, _) in deletes {
                    self.refuse_start(waiting, error.clone().context("a start above 0 needs records to be deleted"));
                }
                return false;
            }
            Err(error) => {
                self.tell("records cannot be deleted; will be tried again", &error);
                return true;
            }
        };
        let mut waits = false;
        for (waiting, before) in deletes {
            let answer = answers.get(&waiting.target).copied().unwrap_or(Err(BrokerError::UNKNOWN_PARTITION));
            waits |= self.handle_deleted(waiting, *before, answer.err());
        }
        waits
    }

    /// What became of a deletion; `true` if it has to be asked for again.
    fn handle_deleted(&self, waiting: &Waiting, before: i64, error: Option<BrokerError>) -> bool {
        let Some(error) = error else {
            waiting.may_delete.set(true);
            waiting.forbidden_since.set(None);
            return false;
        };
        let since = waiting.forbidden_since.get().unwrap_or_else(Instant::now);
        let is_final = match error.class {
            Class::Unauthorized => true,
            _ if error.code == POLICY_VIOLATION => {
                waiting.forbidden_since.set(Some(since));
                since.elapsed() > SETTINGS_PATIENCE
            }
            Class::Refused | Class::Unsupported => true,
            _ => false,
        };
        if is_final {
            let what = format!("delete what stands for the offsets before {before}");
            let error = removal::missing(&self.target, &what, "Delete", &waiting.target.0, error, None);
            self.refuse_start(waiting, error);
        }
        !is_final
    }

    /// Writes filler for a while.
    async fn fill(&self, work: &Work, target: &Metadata, identity: Identity) {
        let mut queues: BTreeMap<i32, RefCell<VecDeque<Job>>> = BTreeMap::new();
        for (waiting, from, to) in work.fills.iter().filter(|(waiting, ..)| waiting.may_delete.get()) {
            let Some(leader) = leader_of(target, &waiting.target) else { continue };
            let job = Job {
                topic: waiting.target.0.clone(),
                partition: waiting.target.1,
                from: *from,
                to: *to,
                size: waiting.batch_size.clone(),
                progress: waiting.progress.clone(),
                given_up: waiting.given_up.clone(),
            };
            waiting.progress.set_state(State::Starting, None);
            queues.entry(leader).or_default().borrow_mut().push_back(job);
        }
        let deadline = Instant::now() + self.prefixes.length.get();
        let lanes = queues.iter().flat_map(|(leader, jobs)| {
            let lanes = LANES.min(jobs.borrow().len());
            (0..lanes).map(|_| filling::lane(&self.target, *leader, jobs, &self.prefixes.fillers, identity, deadline))
        });
        for (topic, partition, error) in together::all(lanes.collect()).await.into_iter().flatten() {
            let of = |(waiting, ..): &&(Rc<Waiting>, i64, i64)| waiting.target == (topic.clone(), partition);
            if let Some((waiting, ..)) = work.fills.iter().find(of) {
                self.refuse_start(waiting, error);
            }
        }
    }
}
