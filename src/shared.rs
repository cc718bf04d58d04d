//! What the host's handle, the control thread and the streams of a mirror share.
//! Streams take none of its locks: they write the atomics of their partitions' progress.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::error::{Error, ErrorKind};
use crate::event::{Callbacks, Event, EventKind, Events, now_ms};
use crate::limits;
use crate::machine::lifecycle;
use crate::status::{self, BrokerThrottle, GroupsStatus, Progress, Side, Status, Subject, Trouble};
use crate::terms::state::{Lag, State};
use crate::throttle::Throttle;
use crate::wire::reach::Reach;

/// Shared by all threads of a mirror.
pub(crate) struct Shared {
    pub(crate) events: Events,
    /// How fast may be copied.
    pub(crate) throttle: Arc<Throttle>,
    /// How source and target can be reached.
    pub(crate) reach: [Arc<Reach>; 2],
    /// Where the engine's threads log to, if not to what is global.
    logs: Option<tracing::Dispatch>,
    own: Mutex<Own>,
    partitions: RwLock<Vec<Arc<Progress>>>,
}

struct Own {
    name: String,
    state: State,
    error: Option<Error>,
    refused: BTreeMap<String, Error>,
    troubles: BTreeMap<(Subject, String), Error>,
    groups: GroupsStatus,
    /// Records and bytes that were replicated before the mirror began anew.
    before: (u64, u64),
}

impl Shared {
    pub(crate) fn new(callbacks: Callbacks) -> Self {
        let own = Own {
            name: String::new(),
            state: State::Starting,
            error: None,
            refused: BTreeMap::new(),
            troubles: BTreeMap::new(),
            groups: GroupsStatus::default(),
            before: (0, 0),
        };
        let (own, events) = (Mutex::new(own), Events::new(callbacks));
        let reach = [Side::Source, Side::Target].map(|side| Arc::new(Reach::of(side.name()).telling(events.clone())));
        Shared { events, throttle: Arc::default(), reach, logs: None, own, partitions: RwLock::default() }
    }

    /// The engine's threads log to this.
    pub(crate) fn with_logs(self, logs: tracing::Dispatch) -> Self {
        Shared { logs: Some(logs), ..self }
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_name(&self, name: &str) {
        self.own().name = name.to_owned();
    }

    pub(crate) fn name(&self) -> String {
        self.own().name.clone()
    }

    pub(crate) fn state(&self) -> State {
        self.own().state
    }

    pub(crate) fn error(&self) -> Option<Error> {
        self.own().error.clone()
    }

    pub(crate) fn refused(&self) -> BTreeMap<String, Error> {
        self.own().refused.clone()
    }

    /// Replaces what is refused, and returns what was before.
    pub(crate) fn set_refused(&self, refused: BTreeMap<String, Error>) -> BTreeMap<String, Error> {
        std::mem::replace(&mut self.own().refused, refused)
    }

    /// Replaces what of a subject cannot be kept in step, by name, and tells of what was not in trouble before.
    pub(crate) fn set_troubles(&self, subject: Subject, now: BTreeMap<String, Error>) {
        let kind = if subject == Subject::Group { EventKind::GroupSkipped } else { EventKind::Error };
        let mut own = self.own();
        for (name, error) in &now {
            if !own.troubles.contains_key(&(subject, name.clone())) {
                tracing::warn!(subject = subject.name(), name, kind = error.kind().name(), %error, "not kept in step");
                let group = (subject == Subject::Group).then(|| Arc::from(&**name));
                self.events.send(Event { group, ..Event::of_error(kind, error) });
            }
        }
        own.troubles.retain(|(of, _), _| *of != subject);
        own.troubles.extend(now.into_iter().map(|(name, error)| ((subject, name), error)));
    }

    pub(crate) fn set_groups(&self, groups: GroupsStatus) {
        self.own().groups = groups;
    }

    pub(crate) fn set_state(&self, state: State, message: &str) {
        let before = std::mem::replace(&mut self.own().state, state);
        if before != state {
            tracing::info!(state = state.name(), "{message}");
            self.events.send(Event { state: Some(state), ..Event::new(EventKind::StateChanged, message) });
        }
    }

    /// Works out the state from the partitions. With `hope`, what has failed may still be made anew.
    pub(crate) fn update_state(&self, paused: bool, hope: impl Fn() -> bool) {
        let partitions = self.partitions();
        let states = partitions.iter().map(|partition| partition.state());
        let state = match lifecycle::mirror_state(states, self.refused().len(), paused) {
            State::Failed if hope() => State::Stalled,
            state => state,
        };
        if matches!(self.state(), State::Stopping | State::Stopped | State::Promoted) || self.error().is_some() {
            return;
        }
        self.set_state(state, &format!("the mirror is {}", state.name().replace('_', " ")));
    }

    /// The mirror as a whole gave up.
    pub(crate) fn fail(&self, error: &Error) {
        tracing::error!(kind = error.kind().name(), %error, "the mirror failed");
        self.own().error = Some(error.clone());
        self.events.send(Event::of_error(EventKind::Error, error));
        self.set_state(State::Failed, error.message());
    }

    /// The mirror writes nothing for a while: another process does.
    pub(crate) fn stand_by(&self, why: &Error) {
        for partition in self.partitions() {
            partition.set_state(State::Stalled, Some(why));
        }
        tracing::warn!("{why}");
        self.events.send(Event::of_error(EventKind::Error, why));
        self.set_state(State::Stalled, why.message());
    }

    /// It goes on after that, from the beginning; what was counted stays.
    pub(crate) fn begin_anew(&self) {
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        let mut own = self.own();
        for replicated in partitions.drain(..).map(|partition| partition.replicated()) {
            own.before.0 += replicated.records;
            own.before.1 += replicated.bytes;
        }
        own.refused.clear();
    }

    pub(crate) fn add_partition(&self, progress: Arc<Progress>) {
        self.partitions.write().unwrap_or_else(PoisonError::into_inner).push(progress);
    }

    /// Nothing of this topic is shown any more.
    pub(crate) fn remove_topic(&self, topic: &str) {
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        partitions.retain(|progress| &*progress.topic != topic);
    }

    pub(crate) fn partitions(&self) -> Vec<Arc<Progress>> {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn broker_throttle(&self) -> BrokerThrottle {
        let [source_ms, target_ms] = [Side::Source, Side::Target].map(|side| self.reach[side as usize].held_back_ms());
        BrokerThrottle { source_ms, target_ms }
    }

    pub(crate) fn status(&self) -> Status {
        let partitions = self.partitions();
        let topics = status::topics(&partitions, now_ms());
        let replicated = partitions.iter().map(|partition| partition.replicated());
        let own = self.own();
        let (records, bytes) = replicated.fold(own.before, |sum, one| (sum.0 + one.records, sum.1 + one.bytes));
        Status {
            name: own.name.clone(),
            state: own.state,
            lag: Lag::of_all(topics.iter().map(|topic| topic.lag)),
            replicated_records: records,
            replicated_bytes: bytes,
            events_dropped: self.events.dropped(),
            error: own.error.clone(),
            topics,
            groups: own.groups,
            broker_throttle: self.broker_throttle(),
            refused: own.refused.iter().map(|(topic, error)| (topic.clone(), error.message().to_owned())).collect(),
            troubles: own.troubles.iter().map(trouble).collect(),
        }
    }
}

fn trouble(((subject, name), error): (&(Subject, String), &Error)) -> Trouble {
    Trouble { subject: *subject, name: name.clone(), message: error.message().to_owned() }
}

/// Runs the body of an engine thread. A panic in it is told as an internal error, and does not reach the host.
pub(crate) fn guard(shared: &Shared, what: &str, body: impl FnOnce() -> std::io::Result<()>) {
    match &shared.logs {
        Some(logs) => tracing::dispatcher::with_default(logs, || guard_here(shared, what, body)),
        None => guard_here(shared, what, body),
    }
}

fn guard_here(shared: &Shared, what: &str, body: impl FnOnce() -> std::io::Result<()>) {
    let error = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return,
        Ok(Err(error)) => limits::lost_thread(what, &error),
        Err(panic) => {
            let text =
                panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            Error::new(ErrorKind::Internal, format!("{what}: {}", text.unwrap_or("panic")))
        }
    };
    shared.fail(&error);
}
