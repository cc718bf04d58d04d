//! Keeps this process's lease: reads the internal topic again and again, waits for earlier processes at the start, and ends the mirror, or
//! has it stand by, when another process has started. What follows from what is decided in `machine::lease`.
//!
//! Nothing but this goes over its connections, so that nothing that takes long is in front of a renewal.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::{Control, Host, Request};
use crate::clock::{Instant, since_boot};
use crate::config::{Config, utc};
use crate::error::{Error, ErrorKind};
use crate::identity::starts::{self, Shown, Tail, Taken};
use crate::lease::{Asked, Lease};
use crate::machine::lease::{BEAT, Purpose, RENEWAL, SILENT, Standing, Start, TERM};
use crate::planted::{self, Bug};
use crate::shared::Shared;
use crate::tasks;
use crate::terms::state::State;
use crate::waiting::Answer;
use crate::wire::cluster::Cluster;

/// How long answers under way are waited for when another process has started. It waits for this one as long as for one that is dead.
const FINISHING: Duration = Duration::from_secs(1);
/// How long it may take to say that this process has ended. Whoever starts next does without, and waits.
const LAST_WORD: Duration = Duration::from_millis(500);
/// After a failure it is asked again at once, before the lease is over.
const AGAIN: Duration = Duration::from_millis(100);

/// What the control thread knows of the lease.
pub(super) struct Keeping {
    pub(super) lease: Arc<Lease>,
    /// The target, for what needs no lease.
    pub(super) ledger: Cluster,
    start: RefCell<Option<Taken>>,
    purpose: Purpose,
    task: RefCell<Option<super::JoinTask>>,
    /// There is a verdict: the mirror does not go on like this.
    pub(super) over: Notify,
    verdict: RefCell<Option<Verdict>>,
    tail: RefCell<Option<Tail>>,
    /// Hosts that wait for this mirror to catch up while it does not go on.
    pub(super) unanswered: RefCell<Vec<Answer<()>>>,
    beaten_at: Cell<Duration>,
}

/// Why a mirror does not go on.
enum Verdict {
    Ends(Error),
    StandsBy { promotion: i32, ended: bool },
}

/// A mirror that stands by for a promotion.
pub(super) struct StandBy {
    promotion: i32,
    /// Its process has ended already.
    ended: bool,
    tail: Tail,
    ledger: Cluster,
}

impl Keeping {
    pub(super) fn new(config: &Config, purpose: Purpose) -> Self {
        let lease = Lease::new();
        Keeping {
            ledger: Cluster::new("target", config.target.clone()).noted_by(lease.clone()),
            lease,
            start: RefCell::default(),
            purpose,
            task: RefCell::default(),
            over: Notify::new(),
            verdict: RefCell::default(),
            tail: RefCell::default(),
            unanswered: RefCell::default(),
            beaten_at: Cell::default(),
        }
    }

    pub(super) fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Takes in what the internal topic has shown; returns where this process stands.
    fn take_in(&self, starts: &[Start], asked: Asked, is_cut: bool) -> Standing {
        let mut start = self.start.borrow_mut();
        let Some(taken) = start.as_mut() else { return Standing::Newest };
        let tenancy = &mut taken.tenancy;
        if is_cut {
            self.lease.belongs_to(tenancy.number());
            tenancy.handle_cut(since_boot());
        }
        for start in starts {
            tenancy.handle_start(*start);
            self.lease.hear_of_start(start.number);
        }
        tenancy.handle_read(asked.at);
        let until = match planted::is(Bug::DoesNotWaitForLeases) {
            true => asked.at + TERM,
            false => tenancy.writes_until(since_boot()),
        };
        if !until.is_zero() {
            self.lease.hold(until, asked);
        }
        tenancy.standing()
    }

    fn end_with(&self, verdict: Verdict) {
        *self.verdict.borrow_mut() = Some(verdict);
        self.over.notify_one();
    }

    /// Whether a promotion has begun, and nothing else keeps the mirror from going on.
    pub(super) fn stands_by(&self) -> bool {
        matches!(*self.verdict.borrow(), Some(Verdict::StandsBy { .. }))
    }

    /// Until when earlier processes may still write.
    fn waits(&self) -> Option<Duration> {
        let now = since_boot();
        let until = self.start.borrow().as_ref()?.tenancy.waits_until(now)?;
        if planted::is(Bug::DoesNotWaitForLeases) {
            return None;
        }
        Some(until.saturating_sub(now))
    }

    /// A promotion tells now and then that it is still there.
    async fn beat(&self, name: &str) {
        let now = since_boot();
        if self.purpose != Purpose::Promotion || now.saturating_sub(self.beaten_at.get()) < BEAT {
            return;
        }
        self.beaten_at.set(now);
        let taken = {
            let mut start = self.start.borrow_mut();
            let Some(taken) = start.as_mut() else { return };
            taken.count_beat();
            taken.clone()
        };
        let beaten = tokio::time::timeout(LAST_WORD, starts::write_beat(&self.ledger, name, &taken)).await;
        // Left open: the next beat says the same, and who does not hear any takes the promotion for dead.
        if let Ok(Err(error)) = beaten {
            tracing::debug!(%error, "that the promotion goes on is not written down");
        }
    }
}

impl Control {
    /// Takes the lease of a start, and returns when this process may write; `true` if it had to wait for that.
    pub(super) async fn take_lease(self: &Rc<Self>, name: &str, taken: Taken, tail: Tail) -> crate::Result<bool> {
        let keeping = &self.keeping;
        keeping.lease.belongs_to(taken.tenancy.number());
        *keeping.start.borrow_mut() = Some(taken);
        *keeping.tail.borrow_mut() = Some(tail);
        *keeping.task.borrow_mut() = Some(tasks::spawn(self.clone().keep_lease(name.to_owned())));
        let waits = keeping.waits().unwrap_or_default();
        if !waits.is_zero() {
            let milliseconds = waits.as_millis() as u64;
            tracing::info!(
                milliseconds,
                "the process before was not stopped in good order, or the internal topic has another leader since: waiting until nothing of \
                 it can be under way any more"
            );
        }
        keeping.lease.allowed(waits + self.config.target.request_timeout).await?;
        Ok(!waits.is_zero())
    }

    /// Renews the lease until another process has started.
    async fn keep_lease(self: Rc<Self>, name: String) {
        let Some(mut tail) = self.keeping.tail.take() else { return };
        let keeping = &self.keeping;
        let mut told = false;
        loop {
            let mut pause = RENEWAL;
            match tail.look(&keeping.ledger).await {
                Ok(Shown::New { starts, mark, asked, is_cut }) => {
                    if let Some(mark) = mark.filter(|_| !self.switch_over.is_under_way()) {
                        self.see_mark(&mark);
                        break;
                    }
                    if is_cut {
                        tracing::warn!(
                            "the mirror's internal topic has lost records that its brokers had acknowledged (did a replica that lagged \
                             behind become its leader?): nothing is written until no process can hold a lease that was lost with them"
                        );
                    }
                    if std::mem::take(&mut told) {
                        tracing::info!(
                            "the mirror's internal topic can be read again, and no other process has started: it goes on"
                        );
                    }
                    match keeping.take_in(&starts, asked, is_cut) {
                        Standing::Newest => {}
                        Standing::Succeeded { .. } => {
                            keeping.end_with(Verdict::Ends(self.succeeded()));
                            break;
                        }
                        Standing::StandsBy { promotion, ended } => {
                            keeping.end_with(Verdict::StandsBy { promotion, ended });
                            break;
                        }
                    }
                }
                Ok(Shown::Gone(error)) => {
                    keeping.lease.end(&error);
                    keeping.end_with(Verdict::Ends(error));
                    break;
                }
                Err(error) => {
                    pause = AGAIN;
                    if !keeping.lease.is_held() && !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, "nothing is written to the target while it cannot be seen whether another process has started");
                    }
                }
            }
            keeping.beat(&name).await;
            // A wait for earlier processes may end before the next renewal.
            tokio::time::sleep(keeping.waits().unwrap_or(pause).min(pause)).await;
        }
        *keeping.tail.borrow_mut() = Some(tail);
    }

    fn succeeded(&self) -> Error {
        let message = format!(
            "another process of the mirror '{}' has started since: the newest one goes on alone, and this one writes nothing more; stop \
             one of them, or give them different names",
            self.shared.name()
        );
        let error = Error::new(ErrorKind::Fenced, message);
        self.keeping.lease.end(&error);
        error
    }

    /// Whether the verdict is there that this mirror does not go on.
    pub(super) async fn is_over(&self) {
        self.keeping.lease.superseded().await;
    }

    /// What the control thread does when another process has started: ends the mirror, or has it stand by.
    pub(super) async fn end_over(&self, host: &mut Host) -> Option<StandBy> {
        let verdict = self.keeping.verdict.take();
        self.end_tasks();
        self.end_streams(Instant::now() + FINISHING).await;
        let tail = self.keeping.tail.take();
        self.say_last_word(Instant::now() + LAST_WORD).await;
        match (verdict, tail) {
            (Some(Verdict::StandsBy { promotion, ended }), Some(tail)) => {
                let message = "a promotion of this mirror was started by another process: this one writes nothing, and goes on if the \
                               promotion is refused";
                self.shared.stand_by(&Error::new(ErrorKind::Fenced, message));
                host.waiting.append(&mut self.keeping.unanswered.borrow_mut());
                host.paused = self.paused.get();
                let ledger = self.keeping.ledger.anew();
                Some(StandBy { promotion, ended, tail, ledger })
            }
            (Some(Verdict::Ends(error)), _) => {
                self.shared.fail(&error);
                None
            }
            _ => {
                self.shared.fail(&self.succeeded());
                None
            }
        }
    }

    /// Says in the internal topic that this process has ended, if it is known that nothing of it is under way. Without that the next
    /// start waits.
    pub(super) async fn say_last_word(&self, deadline: Instant) {
        let limit = LAST_WORD.min(deadline.saturating_duration_since(Instant::now()));
        self.target.wait_for_changes(limit).await;
        if let Some(task) = self.keeping.task.take() {
            task.abort();
        }
        let stopped = Error::new(ErrorKind::State, "the mirror has been stopped");
        self.keeping.lease.end(&stopped);
        let Some(taken) = self.keeping.start.take() else { return };
        let all_ended =
            self.streams.borrow().is_empty() && !self.target.has_changes() && self.keeping.lease.all_answered(TERM);
        if !all_ended || !taken.tenancy.is_last(since_boot()) {
            return;
        }
        let name = self.shared.name();
        let written = tokio::time::timeout(LAST_WORD, starts::write_end(&self.keeping.ledger, &name, &taken)).await;
        if !matches!(written, Ok(Ok(()))) {
            tracing::debug!("that this process has ended is not written down: the next one waits for its lease");
        }
    }
}

impl StandBy {
    /// Waits until the promotion is refused or lost; `false` if the mirror has ended meanwhile.
    pub(super) async fn wait(mut self, shared: &Shared, host: &mut Host) -> bool {
        let mut heard_at = since_boot();
        while !self.ended {
            if !host.serve_beside(shared, RENEWAL).await {
                return false;
            }
            match self.tail.look(&self.ledger).await {
                Ok(Shown::New { starts, mark, .. }) => {
                    if let Some(mark) = mark {
                        let message = format!(
                            "the mirror was promoted at {}: it has ended, and writes nothing any more",
                            utc(mark.promoted_at_ms)
                        );
                        shared.set_state(State::Promoted, &message);
                        return false;
                    }
                    for start in starts {
                        match self.hear(start) {
                            Heard::GoesOn => heard_at = since_boot(),
                            Heard::IsOver => self.ended = true,
                            Heard::Succeeded => {
                                let message = format!(
                                    "another process of the mirror '{}' has started since: the newest one goes on alone",
                                    shared.name()
                                );
                                shared.fail(&Error::new(ErrorKind::Fenced, message));
                                return false;
                            }
                            Heard::Nothing => {}
                        }
                    }
                }
                Ok(Shown::Gone(error)) => {
                    shared.fail(&error);
                    return false;
                }
                // What cannot be read is no silence.
                Err(error) => {
                    tracing::debug!(%error, "nothing is known of the promotion");
                    heard_at = since_boot();
                }
            }
            if since_boot().saturating_sub(heard_at) > SILENT {
                tracing::warn!("nothing was heard of the promotion for {} s: the mirror goes on", SILENT.as_secs());
                return true;
            }
        }
        tracing::info!("the promotion was given up, and the mirror was not promoted: it goes on");
        true
    }

    fn hear(&mut self, start: Start) -> Heard {
        if start.number < self.promotion {
            return Heard::Nothing;
        }
        if start.purpose == Purpose::Run {
            return Heard::Succeeded;
        }
        self.promotion = start.number;
        if start.ended { Heard::IsOver } else { Heard::GoesOn }
    }
}

/// What a start says to a mirror that stands by.
enum Heard {
    /// It is about an earlier one.
    Nothing,
    /// The promotion goes on.
    GoesOn,
    /// It has ended.
    IsOver,
    /// A process has started that mirrors.
    Succeeded,
}

impl Host {
    /// What a host may ask while the mirror stands by, for a while; `false` if it is to end.
    async fn serve_beside(&mut self, shared: &Shared, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            // Left open: that the time is over is no error.
            let Ok(request) = tokio::time::timeout_at(until, self.requests.recv()).await else { return true };
            match request {
                Some(Request::CatchUp(answer)) => self.waiting.push(answer),
                Some(Request::Pause(paused)) => self.paused = paused,
                Some(Request::Promote(promotion)) => {
                    let message = "the mirror is being promoted by another process";
                    promotion.answer.send(Err(Error::new(ErrorKind::State, message)));
                }
                Some(Request::Stop(_)) | None => {
                    shared.set_state(State::Stopped, "stopped");
                    return false;
                }
            }
        }
    }
}
