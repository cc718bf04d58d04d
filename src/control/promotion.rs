//! The part of a running mirror in a switch-over: it drains and marks itself when it is asked to, it ends when another process has
//! set the mark, and it writes down where the source ends, for the day when nobody can ask the source any more.
//!
//! The order is: everything is copied, the streams end, groups are copied a last time, the mark is written. Nothing of the mirror writes after its mark.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Control;
use super::rest::Key;
use crate::clock::Instant;
use crate::config::utc;
use crate::error::{Error, ErrorKind, Result};
use crate::event::now_ms;
use crate::identity::promotion::{self as memory, EndsSeen, EndsWritten, Watch};
use crate::identity::start_number_of;
use crate::machine::promotion::{Hindrance, Known, Rest};
use crate::machine::start;
use crate::promote::marking::{self, Stopped};
use crate::promote::report::{self, KnownEnds, PromotedGroups};
use crate::promote::{PromoteOptions, PromoteReport, given_up};
use crate::status::{Progress, Subject};
use crate::tasks;
use crate::terms::state::State;
use crate::waiting::{Answer, GivenUp};
use crate::wire::positions::Which;

/// What a host asks for.
pub(crate) struct Promotion {
    pub(crate) options: PromoteOptions,
    pub(crate) answer: Answer<PromoteReport>,
}

/// What the control thread knows of switch-overs.
#[derive(Default)]
pub(super) struct SwitchOver {
    /// Up to where the internal topic held no mark at the start.
    pub(super) read_until: Cell<i64>,
    /// The mirror has ended by a mark.
    pub(super) over: Notify,
    under_way: Cell<bool>,
    /// What is written down of the source's ends.
    written: tokio::sync::Mutex<EndsWritten>,
    /// When the mark was written that another process has set.
    seen: RefCell<Option<i64>>,
    /// What the last look has shown that a switch-over has to wait for.
    pub(super) hindrances: RefCell<Vec<(Key, Hindrance)>>,
}

/// How often it is looked whether everything is copied, or nobody waits any more.
const TICK: Duration = Duration::from_millis(20);
/// Pause between two looks at whether the source rests.
const PAUSE: Duration = Duration::from_millis(500);
/// How long answers under way are waited for when everything was copied.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What came of draining.
enum Drained {
    /// Everything the source has was copied.
    Fully,
    /// The source is there, but not everything was copied, and it does not matter.
    Partly(Error),
    /// The source cannot be reached.
    SourceGone(Error),
}

impl SwitchOver {
    /// Whether this process is about to set the mark.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.get()
    }
}

impl Control {
    /// Looks for the mark with every refresh, for ever. With it the mirror ends.
    pub(super) async fn watch_for_mark(self: Rc<Self>) {
        let mut watch = Watch::from(self.switch_over.read_until.get());
        let mut failed = false;
        loop {
            tokio::time::sleep(self.config.refresh_interval).await;
            match watch.look(&self.target, &self.shared.name()).await {
                Ok(None) => failed = false,
                Ok(Some(mark)) => return self.see_mark(&mark),
                Err(error) => {
                    if !std::mem::replace(&mut failed, true) {
                        self.tell("it cannot be seen whether the mirror was promoted; will be tried again", &error);
                    }
                }
            }
        }
    }

    /// Another process has set the mark: the mirror ends.
    pub(super) fn see_mark(&self, mark: &memory::Mark) {
        *self.switch_over.seen.borrow_mut() = Some(mark.promoted_at_ms);
        self.switch_over.over.notify_one();
    }

    /// Writes down where the source ends with every refresh, for ever.
    pub(super) async fn write_down_ends(self: Rc<Self>) {
        let mut failed = false;
        loop {
            tokio::time::sleep(self.config.refresh_interval).await;
            match self.write_down_ends_once().await {
                Ok(()) => failed = false,
                Err(error) => {
                    if !std::mem::replace(&mut failed, true) {
                        self.tell("the source's ends cannot be written down; will be tried again", &error);
                    }
                }
            }
        }
    }

    /// Writes it down now: for the day without the source, and so that a later process knows until when the copies were level.
    pub(super) async fn write_down_ends_once(&self) -> Result<()> {
        let mut written = self.switch_over.written.lock().await;
        let seen = self.ask_for_all_ends().await;
        written.write(&self.target, &self.shared.name(), &seen).await
    }

    /// Where the mirrored partitions end at the source, also behind open transactions, and when their copies were level.
    async fn ask_for_all_ends(&self) -> EndsSeen {
        let mut seen = EndsSeen { at_ms: now_ms(), ..EndsSeen::default() };
        let (led, without_leader): (Vec<_>, Vec<_>) =
            self.shared.partitions().into_iter().partition(|progress| self.source_leader(progress).is_some());
        let visible = Which::visible_to(self.config.isolation_level);
        if visible != Which::HighWatermark {
            // What the status shows.
            self.ask_for_ends(led.clone(), visible, &mut Vec::new()).await;
        }
        let mut told = Vec::with_capacity(led.len());
        let silent = self.ask_for_ends(led, Which::HighWatermark, &mut told).await;
        for (progress, next) in &told {
            // What the source has told is later than `at_ms`.
            let is_level = progress.has_reached_source() && progress.deletions().source_told_at() >= seen.at_ms;
            let level = if is_level { Some(seen.at_ms) } else { progress.deletions().level_at() };
            put(&mut seen.ends, progress, *next);
            put(&mut seen.levels, progress, level.unwrap_or(-1));
        }
        let (parked, silent): (Vec<_>, Vec<_>) =
            silent.into_iter().chain(without_leader).partition(|progress| progress.state() == State::Failed);
        seen.parked = parked.iter().map(|progress| progress.topic.to_string()).collect();
        seen.parked.dedup();
        seen.complete = silent.is_empty();
        seen
    }

    /// Ends the mirror for a switch-over, or goes on if that is refused.
    pub(super) async fn promote(self: Rc<Self>, promotion: Promotion) {
        let Promotion { options, answer } = promotion;
        if self.switch_over.under_way.replace(true) {
            answer.send(Err(Error::new(ErrorKind::State, "the mirror is being promoted already")));
            return;
        }
        let drained = match self.drain_all(&options, answer.given_up()).await {
            Ok(drained) => drained,
            Err(error) => {
                self.switch_over.under_way.set(false);
                answer.send(Err(error));
                return;
            }
        };
        self.end_tasks();
        self.shared.set_state(State::Stopping, "everything is copied that can be; the mirror is being promoted");
        self.end_streams(Instant::now() + STOP_TIMEOUT).await;
        let outcome = self.mark(drained).await;
        match &outcome {
            Ok(report) => self.shared.set_state(State::Promoted, &ended_by_mark(report.promoted_at_ms)),
            Err(error) => self.shared.fail(error),
        }
        answer.send(outcome);
        self.switch_over.over.notify_one();
    }

    /// What the control thread does when the mirror has ended by a mark: its own, or that of another process.
    pub(super) async fn end_promoted(&self) {
        let seen = self.switch_over.seen.take();
        if let Some(promoted_at_ms) = seen {
            self.end_tasks();
            self.end_streams(Instant::now()).await;
            tracing::warn!("another process has promoted the mirror: nothing is copied any more");
            self.shared.set_state(State::Promoted, &ended_by_mark(promoted_at_ms));
        }
        self.say_last_word(Instant::now() + STOP_TIMEOUT).await;
    }

    /// Drains, unless the mirror copies more than this process does.
    async fn drain_all(self: &Rc<Self>, options: &PromoteOptions, abandoned: &GivenUp) -> Result<Drained> {
        if !options.force {
            let name = self.shared.name();
            let topics =
                memory::recall(&self.target, &name, None).await?.map(|memory| memory.topics).unwrap_or_default();
            start::may_promote(&name, &start::not_selected(&self.config, &topics))?;
        }
        self.drain(options, abandoned).await
    }

    /// Waits until everything is copied that the source has, and the source rests.
    async fn drain(self: &Rc<Self>, options: &PromoteOptions, abandoned: &GivenUp) -> Result<Drained> {
        let deadline = Instant::now() + options.timeout;
        // A task of its own that goes on: what it does about topics must not be broken off in the middle.
        let mut attempt = tasks::spawn(self.clone().reach_rest(deadline, abandoned.clone()));
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = &mut attempt => break outcome.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "draining ended unexpectedly"))),
                () = tokio::time::sleep(TICK) => {}
            }
            if abandoned.is_set() {
                return Err(given_up());
            }
            if self.keeping.lease.has_successor() {
                return Err(self.keeping.lease.why_over().context("not promoted"));
            }
            if Instant::now() >= deadline {
                break Err(self.why_not_drained(options.timeout).await);
            }
        };
        let Err(error) = outcome else { return Ok(Drained::Fully) };
        let ends_anyway = || attempt.abort();
        let none: [String; 0] = [];
        match self.source.metadata(Some(&none), false).await {
            Err(gone) if gone.kind() == ErrorKind::Connect => {
                ends_anyway();
                Ok(Drained::SourceGone(gone))
            }
            _ if options.force => {
                ends_anyway();
                Ok(Drained::Partly(error))
            }
            _ => Err(error),
        }
    }

    /// Copies until the source has nothing more, again while it is written to or a cluster does not answer.
    async fn reach_rest(self: Rc<Self>, deadline: Instant, abandoned: GivenUp) -> Result<()> {
        let (began, mut rest) = (Instant::now(), Rest::default());
        loop {
            let looked = match self.reach_ends(&abandoned).await {
                Ok(()) => self.look_at_both_ends().await,
                Err(error) => Err(error),
            };
            match looked {
                Ok(looks) => {
                    let hindrances = rest.handle_look(began.elapsed(), looks);
                    if hindrances.is_empty() {
                        return Ok(());
                    }
                    *self.switch_over.hindrances.borrow_mut() = hindrances;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) if matches!(error.kind(), ErrorKind::Connect | ErrorKind::Broker) => {
                    if Instant::now() >= deadline {
                        return Err(error);
                    }
                    tokio::time::sleep(self.config.source.retry_backoff).await;
                }
                Err(error) => return Err(error.context("not promoted")),
            }
        }
    }

    /// Marks the mirror, which writes nothing any more.
    async fn mark(&self, drained: Drained) -> Result<PromoteReport> {
        let name = self.shared.name();
        let topics = self.topics_of_data();
        let (source_error, not_drained) = match drained {
            Drained::Fully => (None, None),
            Drained::Partly(error) => (None, Some(error)),
            Drained::SourceGone(error) => (Some(error), None),
        };
        if source_error.is_none() {
            self.copy_groups_once().await;
            self.emit_rest().await;
        }
        let known = self.known_ends(&name, &topics, source_error.is_none()).await;
        let stopped = Stopped {
            config: &self.config,
            target: &self.target,
            source: source_error.is_none().then_some(&self.source),
            name: &name,
            topics,
            known,
            start_number: self.identity.get().map_or(0, start_number_of),
            source_error,
            not_drained,
            not_mirrored: self.shared.refused().into_iter().map(|(topic, why)| (topic, why.to_string())).collect(),
            groups: self.config.sync_group_offsets.then(|| self.promoted_groups()),
        };
        marking::finish(stopped).await
    }

    fn promoted_groups(&self) -> PromotedGroups {
        let status = self.shared.status();
        let of_groups = status.troubles.into_iter().filter(|trouble| trouble.subject == Subject::Group);
        PromotedGroups {
            copied: status.groups.synced,
            behind: status.groups.behind,
            not_copied: of_groups.map(|trouble| (trouble.name, trouble.message)).collect(),
            looked_at_ms: status.groups.last_round_ms,
        }
    }

    /// The mirrored topics, without heartbeats.
    pub(super) fn topics_of_data(&self) -> Vec<String> {
        self.lives.borrow().names().filter(|topic| !self.config.beats(topic)).cloned().collect()
    }

    /// What is known of the source: what it says now, what the streams were told last, and what was written down.
    async fn known_ends(&self, name: &str, topics: &[String], reachable: bool) -> KnownEnds {
        let mut known: KnownEnds = match memory::recall(&self.target, name, None).await {
            Ok(Some(memory)) => memory.known.into_iter().filter(|(topic, _)| topics.contains(topic)).collect(),
            _ => BTreeMap::new(),
        };
        for progress in self.shared.partitions() {
            let told = progress.source_end().map(|next| Known { next, at_ms: progress.source_told_at() });
            report::add(&mut known, &progress.topic, progress.partition as usize, told);
        }
        if reachable {
            marking::ask_source(&self.source, topics, &mut known).await;
        }
        known
    }
}

fn put(all: &mut BTreeMap<String, Vec<i64>>, progress: &Progress, value: i64) {
    let of_topic = all.entry(progress.topic.to_string()).or_default();
    let index = progress.partition as usize;
    of_topic.resize(of_topic.len().max(index + 1), -1);
    of_topic[index] = value;
}

fn ended_by_mark(promoted_at_ms: i64) -> String {
    format!("the mirror was promoted at {}: it has ended, and writes nothing any more", utc(promoted_at_ms))
}
