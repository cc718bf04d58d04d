//! Keeps the offsets of consumer groups on the target what they are at the source, as `machine::groups` decides.
//!
//! Groups are gone through in rounds, and in each round in portions that bound the length of an answer. One group's
//! trouble is its own. A coordinator that moves or loads is asked again in the next round, and is told of when it still
//! does not answer then.

mod bounds;
pub(crate) mod survey;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;

use super::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventKind, now_ms};
use crate::identity::groups::{ByGroup, Notebook};
use crate::machine::groups::{self as machine, GroupActions, Memory, OnTarget, Replicated, Write};
use crate::status::{GroupsStatus, Progress, Subject};
use crate::terms::group::{Committed, Offsets};
use crate::terms::state::State;
use crate::terms::topic::TopicPartition;
use crate::wire::groups::{self, Commit, CommitOutcome};
use survey::{Reading, Survey};

/// Groups that are read at the same time before it is known how many offsets they have, and at most.
const FIRST_PORTION: usize = 100;
const LARGEST_PORTION: usize = 2000;
/// Offsets that are read at the same time, about.
const OFFSETS_AT_ONCE: usize = 50_000;

/// What a mirror remembers of groups.
#[derive(Default)]
pub(super) struct Groups {
    /// One round at a time, with what is written down of the offsets that are the mirror's.
    pub(super) turn: tokio::sync::Mutex<Notebook>,
    known: RefCell<BTreeMap<String, Known>>,
    /// Groups that could not be asked for in the last round, for a reason that usually passes.
    unanswered: RefCell<BTreeSet<String>>,
    /// Names of topics, each once in memory.
    topics: RefCell<HashSet<Rc<str>>>,
    /// Groups that are read at the same time.
    portion: Cell<usize>,
    trouble: Cell<bool>,
}

#[derive(Default)]
struct Known {
    memory: Memory,
    /// Whether this process has written offsets of it, and whether that it is level since was told.
    written: bool,
    told: bool,
    /// Whether it was told that the target has no record before some of its offsets.
    raised: bool,
}

/// What is counted in a round.
#[derive(Default)]
struct Round {
    status: GroupsStatus,
    troubles: BTreeMap<String, Error>,
    /// Groups that have offsets at the source, or are not known to have none.
    seen: BTreeSet<String>,
    written: usize,
}

impl Control {
    /// Copies the offsets of groups for ever.
    pub(super) async fn keep_groups(self: Rc<Self>) {
        if !self.config.sync_group_offsets {
            return;
        }
        self.await_begin().await;
        loop {
            // What goes wrong is told there.
            let _ = self.copy_groups().await;
            tokio::time::sleep(self.config.refresh_interval).await;
        }
    }

    /// Copies offsets until every group that can be asked for was, but not for ever.
    pub(super) async fn copy_groups_once(&self) {
        let deadline = tokio::time::Instant::now() + self.target.config().request_timeout;
        if !self.config.sync_group_offsets {
            return;
        }
        loop {
            match self.copy_groups().await {
                Ok(0) => return,
                Err(error) if !is_passing(&error) => return,
                _ if tokio::time::Instant::now() > deadline || self.shared.state() == State::Stopped => return,
                _ => tokio::time::sleep(self.target.config().retry_backoff_max).await,
            }
        }
    }

    /// One round; returns how many groups could not be asked for, for a reason that usually passes.
    async fn copy_groups(&self) -> Result<usize> {
        let mut notes = self.groups.turn.lock().await;
        let outcome = self.group_round(&mut notes).await;
        match &outcome {
            Ok(_) => self.groups.trouble.set(false),
            Err(error) => {
                if !self.groups.trouble.replace(true) {
                    self.tell("offsets of groups cannot be copied; will be tried again", error);
                    self.shared.events.send(Event::of_error(EventKind::Error, error));
                }
            }
        }
        outcome
    }

    async fn group_round(&self, notes: &mut Notebook) -> Result<usize> {
        if self.translates() {
            self.read_origins().await?;
        }
        let survey = Survey::list(&self.source, &self.target, &self.config.names, true).await?;
        let known: Vec<String> = self.groups.known.borrow().keys().cloned().collect();
        let names = survey.names(&self.config.groups, known.into_iter());
        let mut round = Round::default();
        let mut rest = &names[..];
        while !rest.is_empty() {
            let size = self.groups.portion.get().max(FIRST_PORTION).min(rest.len());
            let (portion, others) = rest.split_at(size);
            rest = others;
            let offsets = self.copy_some(&survey, portion, notes, &mut round).await?;
            let fitting = (portion.len() * OFFSETS_AT_ONCE).checked_div(offsets).unwrap_or(LARGEST_PORTION);
            self.groups.portion.set(fitting.min(LARGEST_PORTION));
        }
        round.troubles.extend(survey.unseen(&self.source_metadata.borrow()));
        Ok(self.finish_round(round))
    }

    /// Reads, decides, notes and writes some groups; returns how many offsets they have.
    async fn copy_some(
        &self,
        survey: &Survey<'_>,
        names: &[String],
        notes: &mut Notebook,
        round: &mut Round,
    ) -> Result<usize> {
        let topics = self.mirrored_topics();
        let readings = survey.read(names, &topics).await;
        // What another process of the mirror has set is noted before, so these notes are read after the offsets.
        let mirror = self.shared.name();
        self.take_in_notes(notes.read(&self.target, &mirror).await?);
        // Known later than the offsets: what they say is there by then.
        let replicated = self.replicated(&topics, &readings).await;
        let scale = self.scale().await;
        let on_target = |partition: &TopicPartition, offset: i64| scale.on_target(partition, offset);
        let (mut offsets, mut planned, mut commits) = (0, BTreeMap::new(), Vec::new());
        for (name, reading) in readings {
            match reading {
                Ok(None) => {}
                Ok(Some(reading)) => {
                    offsets += reading.source.len();
                    let one = self.decide_group(&name, &reading, notes, &replicated, &on_target);
                    if let Some(coordinator) = reading.coordinator.filter(|_| !one.writes.is_empty()) {
                        commits.push((coordinator, self.commit_of(&name, &one, &reading.target)));
                    }
                    planned.insert(name, one);
                }
                Err(error) => round.skip(name, error),
            }
        }
        // Nothing is set that a later process would take for somebody's.
        notes.write(&self.target, &mirror, to_be_noted(&planned, notes)).await?;
        self.remember_planned(&mut planned);
        let mut outcomes = groups::commit_all(&self.target, commits).await;
        for (name, one) in planned {
            let outcome = outcomes.remove(&name).unwrap_or_default();
            self.settle_group(name, one, outcome, round);
        }
        Ok(offsets)
    }

    /// Before anything is set: who is broken off then has remembered what may be there.
    fn remember_planned(&self, planned: &mut BTreeMap<String, GroupActions>) {
        let mut known = self.groups.known.borrow_mut();
        for (name, actions) in planned {
            known.entry(name.clone()).or_default().memory = std::mem::take(&mut actions.memory);
        }
    }

    fn take_in_notes(&self, notes: ByGroup) {
        let mut known = self.groups.known.borrow_mut();
        for (group, offsets) in notes {
            // Of one that is not remembered the notebook is asked.
            let Some(known) = known.get_mut(&group) else { continue };
            for (partition, noted) in offsets {
                machine::take_in_note(&mut known.memory, &partition, noted);
            }
        }
    }

    fn decide_group(
        &self,
        name: &str,
        reading: &Reading,
        notes: &Notebook,
        replicated: &Replicated,
        on_target: &dyn Fn(&TopicPartition, i64) -> OnTarget,
    ) -> GroupActions {
        let known = self.groups.known.borrow();
        match known.get(name) {
            Some(known) => machine::plan(&reading.source, &reading.target, replicated, on_target, &known.memory),
            None => {
                let memory = machine::recalled(notes.of_group(name));
                machine::plan(&reading.source, &reading.target, replicated, on_target, &memory)
            }
        }
    }

    /// Remembers what was written of a group, and counts it.
    fn settle_group(&self, name: String, actions: GroupActions, outcome: CommitOutcome, round: &mut Round) {
        let mut known = self.groups.known.borrow_mut();
        let known = known.entry(name.clone()).or_default();
        let (mut written, mut raised) = (0, Vec::new());
        let is_written = |partition: &TopicPartition| !outcome.failed.contains(&self.on_target(partition));
        for write in &actions.writes {
            if outcome.untouched {
                machine::remember_untried(&mut known.memory, &write.partition);
            } else if is_written(&write.partition) {
                machine::remember_written(&mut known.memory, &write.partition, write.to);
                written += 1;
                raised.extend(write.raised_from.map(|from| (write, from)));
            }
        }
        let was_overtaken = outcome.untouched && !outcome.live && outcome.error.is_none();
        round.written += written;
        known.written |= written > 0;
        if let Some((write, from)) = raised.first().filter(|_| !std::mem::replace(&mut known.raised, true)) {
            tell_raised(&name, write, *from, raised.len());
        }
        let error = match outcome {
            CommitOutcome { live: true, .. } => Some(machine::live(&name)),
            CommitOutcome { error, .. } => error
                .or_else(|| machine::used(&name, &actions.theirs))
                .or_else(|| machine::beyond_the_source(&name, &actions.beyond)),
        };
        if let Some(error) = error {
            round.skip(name, error);
            return;
        }
        round.seen.insert(name.clone());
        round.status.matching += 1;
        round.status.behind_offsets += actions.behind;
        if actions.waiting > 0 || was_overtaken {
            round.status.behind += 1;
            return;
        }
        round.status.synced += 1;
        if known.written && !known.told {
            known.told = true;
            let message = format!("offsets of group '{name}' are copied, {} partitions", known.memory.len());
            self.shared.events.send(Event::new(EventKind::GroupSynced, message));
        }
    }

    /// Tells of what was found in a round; returns how many groups have to be asked for again.
    fn finish_round(&self, mut round: Round) -> usize {
        // What usually passes is told of when it has not.
        let unanswered: BTreeSet<String> =
            round.troubles.iter().filter(|(_, error)| is_passing(error)).map(|(name, _)| name.clone()).collect();
        let before = self.groups.unanswered.replace(unanswered.clone());
        for name in unanswered.difference(&before) {
            round.troubles.remove(name);
            // What is no group is not counted as one.
            if round.seen.contains(name) {
                round.status.skipped -= 1;
                round.status.behind += 1;
            }
        }
        // A group that is gone at the source is forgotten; one that could not be asked for is not.
        self.groups.known.borrow_mut().retain(|name, _| round.seen.contains(name));
        if round.written > 0 {
            tracing::info!(
                offsets = round.written,
                groups = round.status.matching,
                behind = round.status.behind,
                skipped = round.status.skipped,
                "offsets of groups were copied"
            );
        }
        round.status.last_round_ms = Some(now_ms());
        self.shared.set_groups(round.status);
        self.shared.set_troubles(Subject::Group, round.troubles);
        unanswered.len()
    }

    /// What is written to the target, under its names of the topics.
    fn commit_of(&self, group: &str, actions: &GroupActions, target: &Offsets) -> Commit {
        let committed = actions.writes.iter().map(|write| {
            let committed = Committed { offset: write.to, metadata: write.metadata.clone() };
            (self.on_target(&write.partition), committed)
        });
        let decided_by = target.iter().map(|(partition, now)| (self.on_target(partition), now.offset));
        Commit { group: group.to_owned(), offsets: committed.collect(), decided_by: decided_by.collect() }
    }

    fn on_target(&self, (topic, partition): &TopicPartition) -> TopicPartition {
        match self.config.names.on_target(topic) {
            same if *same == **topic => (topic.clone(), *partition),
            other => (Rc::from(&*other), *partition),
        }
    }

    /// The names of the topics that are mirrored, at the source.
    pub(super) fn mirrored_topics(&self) -> HashSet<Rc<str>> {
        let mut interned = self.groups.topics.borrow_mut();
        let mut topics = HashSet::new();
        for progress in self.shared.partitions() {
            if topics.contains(&*progress.topic) {
                continue;
            }
            let name = interned.get(&*progress.topic).cloned().unwrap_or_else(|| Rc::from(&*progress.topic));
            interned.insert(name.clone());
            topics.insert(name);
        }
        topics
    }

    /// The next offset of a partition whose copy may be relied upon, so that a consumer may go on there.
    pub(super) fn copied_up_to(&self, progress: &Progress) -> Option<i64> {
        let is_another_log = |error: Error| {
            let kinds = [ErrorKind::TargetConflict, ErrorKind::TopicReset, ErrorKind::Diverged];
            kinds.contains(&error.kind())
        };
        match progress.state() {
            // Both logs have not been compared yet.
            State::Starting => None,
            State::Failed if progress.error().is_none_or(is_another_log) => None,
            _ if self.prefixes.has(progress) => None,
            _ => progress.target_next(),
        }
    }
}

/// What is the mirror's, or is about to be, and is not written down yet.
fn to_be_noted(planned: &BTreeMap<String, GroupActions>, notes: &Notebook) -> ByGroup {
    let mut changes = ByGroup::new();
    for (group, actions) in planned {
        let noted = notes.of_group(group);
        for (partition, seen) in &actions.memory {
            let note = machine::to_be_noted(seen);
            let known = noted.and_then(|noted| noted.get(partition)).copied().unwrap_or_default();
            if note != known {
                changes.entry(group.clone()).or_default().insert(partition.clone(), note);
            }
        }
    }
    changes
}

fn tell_raised(group: &str, write: &Write, from: i64, partitions: usize) {
    let (topic, partition) = (&*write.partition.0, write.partition.1);
    tracing::warn!(
        group,
        topic,
        partition,
        source_offset = from,
        target_offset = write.to,
        partitions,
        "the copy begins behind the group's offset: on the target the group is set to the first record that is there"
    );
}

/// Whether it usually passes without anybody doing anything.
pub(super) fn is_passing(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Broker | ErrorKind::Connect)
}

impl Round {
    fn skip(&mut self, group: String, error: Error) {
        self.status.matching += 1;
        self.status.skipped += 1;
        self.seen.insert(group.clone());
        self.troubles.insert(group, error);
    }
}
