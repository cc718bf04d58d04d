//! Calls code of the host: for events, for lag and for what is logged, from one thread per mirror, `kmirror-events`.
//!
//! The engine only puts things into bounded queues here and never waits for a callback. A callback runs under no lock, so it may
//! call everything, also what ends the mirror. One that takes too long loses lag and log lines first. A host whose code may only
//! run on threads of its own takes from the same queues instead.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use super::queue::{LENGTH, make_room};
use super::{Event, EventKind};
use crate::clock::Instant;
use crate::error::{Error, ErrorKind, Result};
use crate::logs::{LogLevel, LogRecord};

/// What waits for a callback that is not set yet: what is told while a mirror starts.
const BACKLOG: usize = 1_000;

/// What a host wants to be called for. Clones are the same.
///
/// All callbacks of a mirror come from one thread, which begins with the first of them. What was told before a callback is set is
/// kept for it, but for lag and but for a limit. A callback that panics is called again the next time.
///
/// ```no_run
/// use kmirror::{Callbacks, LogLevel, Mirror, config::Properties};
///
/// # fn main() -> kmirror::Result<()> {
/// # let (config, _warnings) = Properties::new().build()?;
/// let callbacks = Callbacks::new();
/// callbacks.set_lag(Some(Box::new(|event| println!("{}", event.message))))?;
/// callbacks.set_log(LogLevel::Info, Some(Box::new(|record| eprintln!("{record}"))))?;
/// let mirror = Mirror::start_with(config, callbacks)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Callbacks(Arc<Shared>);

/// Called with an event.
type OnEvent = Box<dyn Fn(&Event) + Send + Sync>;
/// Called with something that is logged.
type OnLog = Box<dyn Fn(&LogRecord) + Send + Sync>;

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    slots: [Slot; 3],
    /// The number of the next item, for all slots together: so they are called for in the order in which things happened.
    next: u64,
    dropped: u64,
    failed: u64,
    log_level: Option<LogLevel>,
    thread: Option<ThreadId>,
    /// The mirror has ended: no more comes.
    closed: bool,
    /// The mirror is gone; what waits is still told.
    ended: bool,
    /// Nobody waits any more for what waits.
    given_up: bool,
}

/// The place of a callback in `slots`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Subject {
    Events = 0,
    Lag = 1,
    Logs = 2,
}

#[derive(Default)]
struct Slot {
    callback: Option<Callback>,
    waiting: VecDeque<(u64, Item)>,
}

#[derive(Clone)]
enum Callback {
    Event(Arc<OnEvent>),
    Log(Arc<OnLog>),
    /// The host takes it.
    Taken,
}

/// Something that a host [takes](Callbacks::take).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Told {
    /// An event.
    Event(Arc<Event>),
    /// Something that is logged.
    Log(LogRecord),
}

enum Item {
    Event(Arc<Event>),
    Log(LogRecord),
}

impl Item {
    /// Whether another one like it comes soon.
    fn comes_again(&self) -> bool {
        match self {
            Item::Event(event) => event.kind == EventKind::Lag,
            Item::Log(_) => true,
        }
    }
}

impl Callbacks {
    /// None yet. What is logged at [`LogLevel::Info`] and above while a mirror starts is kept for a callback.
    pub fn new() -> Self {
        let callbacks = Callbacks::default();
        callbacks.inner().log_level = Some(LogLevel::Info);
        callbacks
    }

    /// Has this called with every event, or nothing any more. The one before is dropped as soon as it does not run any more, by
    /// whichever thread.
    ///
    /// # Errors
    /// [`ErrorKind::State`] if the mirror has ended, [`ErrorKind::Config`] if no thread can be started.
    pub fn set_event(&self, callback: Option<OnEvent>) -> Result<()> {
        self.set(Subject::Events, callback.map(|callback| Callback::Event(Arc::new(callback))))
    }

    /// Has this called with the events about lag, those about its threshold too, or nothing any more.
    ///
    /// # Errors
    /// As for [`set_event`](Self::set_event).
    pub fn set_lag(&self, callback: Option<OnEvent>) -> Result<()> {
        self.set(Subject::Lag, callback.map(|callback| Callback::Event(Arc::new(callback))))
    }

    /// Has this called with what the mirror logs at this level and above, or nothing any more.
    ///
    /// Whoever else listens through `tracing` hears as much as before. Only mirrors that were started with
    /// [`Mirror::start_with`](crate::Mirror::start_with) log to a callback.
    ///
    /// # Errors
    /// As for [`set_event`](Self::set_event).
    pub fn set_log(&self, level: LogLevel, callback: Option<OnLog>) -> Result<()> {
        self.inner().log_level = callback.is_some().then_some(level);
        self.set(Subject::Logs, callback.map(|callback| Callback::Log(Arc::new(callback))))
    }

    /// Keeps events, or those about lag only, for [`take`](Self::take): for a host whose code may only run on threads of its own.
    pub fn take_events(&self, of_lag_only: bool) {
        let subject = if of_lag_only { Subject::Lag } else { Subject::Events };
        self.inner().slots[subject as usize].callback = Some(Callback::Taken);
    }

    /// Keeps what is logged at this level and above for [`take`](Self::take), or nothing any more.
    pub fn take_logs(&self, level: Option<LogLevel>) {
        let mut inner = self.inner();
        inner.log_level = level;
        inner.slots[Subject::Logs as usize].callback = level.map(|_| Callback::Taken);
    }

    /// The next thing that is kept to be taken, in the order in which they happened, waiting for it at most so long; none at once when
    /// no more can come, see [`is_closed`](Self::is_closed).
    pub fn take(&self, timeout: Duration) -> Option<Told> {
        let started = Instant::now();
        let mut inner = self.inner();
        loop {
            if let Some((_, item)) = inner.first(true) {
                return Some(match item {
                    Item::Event(event) => Told::Event(event),
                    Item::Log(record) => Told::Log(record),
                });
            }
            let no_more = inner.closed || inner.ended;
            let left = timeout.checked_sub(started.elapsed()).filter(|left| !left.is_zero() && !no_more)?;
            inner = self.0.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether the mirror has ended: what waits is all there is.
    pub fn is_closed(&self) -> bool {
        let inner = self.inner();
        inner.closed || inner.ended
    }

    /// No more comes, as when the mirror has ended: for a host whose mirror has never begun.
    pub fn close(&self) {
        self.inner().closed = true;
        self.0.changed.notify_all();
    }

    /// How often a callback has panicked.
    pub fn failed(&self) -> u64 {
        self.inner().failed
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, subject: Subject, callback: Option<Callback>) -> Result<()> {
        let mut inner = self.inner();
        if callback.is_some() {
            if inner.ended {
                return Err(Error::new(ErrorKind::State, "the mirror has ended: it calls nobody any more"));
            }
            self.have_thread(&mut inner)?;
        }
        let slot = &mut inner.slots[subject as usize];
        if callback.is_none() {
            slot.waiting.clear();
        }
        let before = std::mem::replace(&mut slot.callback, callback);
        drop(inner);
        self.0.changed.notify_all();
        // What the host does then may call us.
        drop(before);
        Ok(())
    }

    fn have_thread(&self, inner: &mut Inner) -> Result<()> {
        if inner.thread.is_none() {
            let shared = self.clone();
            let run = move || {
                crate::signals::leave_signals_to_the_host();
                shared.call();
            };
            let thread = std::thread::Builder::new().name("kmirror-events".to_owned()).spawn(run);
            let thread = thread.map_err(|error| crate::limits::no_thread("calling the host", &error))?;
            inner.thread = Some(thread.thread().id());
        }
        Ok(())
    }

    /// Puts an event where callbacks hear it; returns whether somebody listens to all of them.
    pub(super) fn hear_event(&self, event: &Arc<Event>) -> bool {
        let is_sample = event.kind == EventKind::Lag;
        let is_lag = is_sample || matches!(event.kind, EventKind::LagAbove | EventKind::LagBelow);
        let mut inner = self.inner();
        let listens = inner.slots[Subject::Events as usize].callback.is_some();
        for (subject, wanted) in [(Subject::Events, listens || !is_sample), (Subject::Lag, is_lag)] {
            if wanted && (!is_sample || inner.slots[subject as usize].callback.is_some()) {
                self.put(&mut inner, subject, Item::Event(event.clone()));
            }
        }
        listens
    }

    /// Whether something of this level is wanted.
    pub(crate) fn wants_log(&self, level: LogLevel) -> bool {
        self.inner().log_level.is_some_and(|most| level <= most)
    }

    /// Puts something that is logged where a callback hears it.
    pub(crate) fn hear_log(&self, record: LogRecord) {
        self.put(&mut self.inner(), Subject::Logs, Item::Log(record));
    }

    fn put(&self, inner: &mut Inner, subject: Subject, item: Item) {
        if inner.ended {
            return;
        }
        let number = inner.next;
        inner.next += 1;
        let slot = &mut inner.slots[subject as usize];
        let listens = slot.callback.is_some();
        let length = if listens { LENGTH } else { BACKLOG };
        let lost = make_room(&mut slot.waiting, length, |(_, item)| item.comes_again());
        slot.waiting.push_back((number, item));
        inner.dropped += u64::from(lost && listens);
        if listens {
            self.0.changed.notify_all();
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.inner().dropped
    }

    /// The body of the thread: calls until there is nothing more to come.
    fn call(&self) {
        while let Some((callback, item)) = self.next() {
            let call = || match (&callback, &item) {
                (Callback::Event(callback), Item::Event(event)) => callback(event),
                (Callback::Log(callback), Item::Log(record)) => callback(record),
                _ => {}
            };
            let outcome = catch_unwind(AssertUnwindSafe(call));
            // Its end may be code of the host as well.
            let dropped = catch_unwind(AssertUnwindSafe(|| drop(callback)));
            if outcome.is_err() || dropped.is_err() {
                self.inner().failed += 1;
            }
        }
        let slots = std::mem::take(&mut self.inner().slots);
        let _ = catch_unwind(AssertUnwindSafe(|| drop(slots)));
        self.inner().thread = None;
        self.0.changed.notify_all();
    }

    /// The next thing to call for, in the order in which they happened; `None` when no more comes.
    fn next(&self) -> Option<(Callback, Item)> {
        let mut inner = self.inner();
        loop {
            if inner.given_up {
                return None;
            }
            if let Some(first) = inner.first(false) {
                return Some(first);
            }
            if inner.ended {
                return None;
            }
            inner = self.0.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// No more comes. Waits until what waits was told, but not for ever; a callback that ends its mirror is the last one.
    pub(crate) fn end(&self, deadline: Instant) {
        let mut inner = self.inner();
        inner.ended = true;
        self.0.changed.notify_all();
        if inner.thread != Some(std::thread::current().id()) {
            while inner.thread.is_some() {
                let left = deadline.saturating_duration_since(Instant::now());
                if left == Duration::ZERO {
                    break;
                }
                inner = self.0.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        inner.given_up = true;
        // Without a thread nobody else does it. What is to be taken stays for who takes it.
        let mut callbacks = Vec::new();
        if inner.thread.is_none() {
            let called = |slot: &&mut Slot| !matches!(slot.callback, Some(Callback::Taken));
            callbacks.extend(inner.slots.iter_mut().filter(called).map(std::mem::take));
        }
        drop(inner);
        drop(callbacks);
    }
}

impl Inner {
    /// The first that waits, of what is taken or of what is called for.
    fn first(&mut self, taken: bool) -> Option<(Callback, Item)> {
        let number = |slot: &&mut Slot| slot.waiting.front().map_or(u64::MAX, |(number, _)| *number);
        let waiting = |slot: &&mut Slot| {
            let wanted = slot.callback.as_ref().is_some_and(|callback| matches!(callback, Callback::Taken) == taken);
            wanted && !slot.waiting.is_empty()
        };
        let slot = self.slots.iter_mut().filter(waiting).min_by_key(number)?;
        slot.callback.clone().zip(slot.waiting.pop_front().map(|(_, item)| item))
    }
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn event(kind: EventKind, message: &str) -> Arc<Event> {
        Arc::new(Event::new(kind, message))
    }

    fn end(callbacks: &Callbacks) {
        callbacks.end(Instant::now() + LONG);
    }

    #[test]
    fn what_was_told_before_a_callback_is_kept_for_it_but_for_lag() -> Result<()> {
        let (sender, heard) = mpsc::channel();
        let callbacks = Callbacks::new();
        callbacks.hear_event(&event(EventKind::StateChanged, "starting"));
        callbacks.hear_event(&event(EventKind::Lag, "old"));
        callbacks.set_event(Some(Box::new(move |event| drop(sender.send(event.message.clone())))))?;
        callbacks.hear_event(&event(EventKind::Lag, "new"));
        callbacks.hear_event(&event(EventKind::StateChanged, "stopped"));
        end(&callbacks);
        assert_eq!(heard.iter().collect::<Vec<_>>(), ["starting", "new", "stopped"], "and it is dropped at the end");
        assert!(callbacks.set_event(Some(Box::new(|_| {}))).is_err(), "nobody would call it");
        Ok(())
    }

    #[test]
    fn one_thread_calls_for_all_in_the_order_of_what_happened() -> Result<()> {
        let (sender, heard) = mpsc::channel();
        let (events, lags, logs) = (sender.clone(), sender.clone(), sender);
        let tell = |to: mpsc::Sender<_>, what: String| drop(to.send((std::thread::current().id(), what)));
        let callbacks = Callbacks::new();
        callbacks.set_event(Some(Box::new(move |event| tell(events.clone(), format!("event {}", event.message)))))?;
        callbacks.set_lag(Some(Box::new(move |event| tell(lags.clone(), format!("lag {}", event.message)))))?;
        callbacks.set_log(LogLevel::Info, Some(Box::new(move |log| tell(logs.clone(), format!("log {log}")))))?;
        callbacks.hear_event(&event(EventKind::LagAbove, "a"));
        callbacks.hear_log(LogRecord::new(LogLevel::Warn, "kmirror", "b"));
        callbacks.hear_event(&event(EventKind::Error, "c"));
        end(&callbacks);
        let (threads, told): (Vec<_>, Vec<_>) = heard.iter().unzip();
        assert_eq!(told, ["event a", "lag a", "log b", "event c"]);
        assert!(threads.windows(2).all(|pair| pair[0] == pair[1]) && threads[0] != std::thread::current().id());
        Ok(())
    }

    #[test]
    fn a_callback_that_blocks_holds_up_nobody_and_loses_lag_first() -> Result<()> {
        let (release, blocked) = mpsc::channel::<()>();
        let (sender, heard) = mpsc::channel();
        let blocked = Mutex::new(blocked);
        let callbacks = Callbacks::new();
        callbacks.set_event(Some(Box::new(move |event| {
            let _ = blocked.lock().map(|blocked| blocked.recv());
            let _ = sender.send(event.kind);
        })))?;
        callbacks.hear_event(&event(EventKind::StateChanged, ""));
        for _ in 0..LENGTH * 2 {
            callbacks.hear_event(&event(EventKind::Lag, ""));
        }
        callbacks.hear_event(&event(EventKind::Error, ""));
        assert!(callbacks.dropped() >= LENGTH as u64);
        callbacks.end(Instant::now());
        drop(release);
        let kinds: Vec<_> = heard.iter().collect();
        assert_eq!(kinds, [EventKind::StateChanged], "after the wait for it was given up, nothing more is told");
        Ok(())
    }

    #[test]
    fn a_host_takes_in_order_what_would_be_called_for_also_after_the_end() {
        let callbacks = Callbacks::new();
        assert!(callbacks.take(Duration::ZERO).is_none());
        callbacks.hear_event(&event(EventKind::TopicAdded, "before"));
        callbacks.take_events(false);
        callbacks.take_logs(Some(LogLevel::Warn));
        callbacks.hear_log(LogRecord::new(LogLevel::Warn, "test", "logged"));
        callbacks.hear_event(&event(EventKind::Lag, "behind"));
        callbacks.close();
        end(&callbacks);
        let text = |told| match told {
            Told::Event(event) => event.message.clone(),
            Told::Log(record) => record.message,
        };
        let told: Vec<_> = std::iter::from_fn(|| callbacks.take(LONG)).map(text).collect();
        assert_eq!(told, ["before", "logged", "behind"]);
        assert!(callbacks.is_closed());
    }

    #[test]
    fn a_callback_may_set_others_end_the_mirror_and_panic() -> Result<()> {
        let (sender, heard) = mpsc::channel();
        let callbacks = Callbacks::new();
        let own = callbacks.clone();
        callbacks.set_lag(Some(Box::new(move |_| {
            let (sender, ended) = (sender.clone(), own.clone());
            let _ = own.set_event(Some(Box::new(move |event| {
                let _ = sender.send(event.message.clone());
                ended.end(Instant::now() + LONG);
            })));
            let _ = own.set_lag(None);
            std::panic::resume_unwind(Box::new("on purpose"));
        })))?;
        callbacks.hear_event(&event(EventKind::LagAbove, "first"));
        callbacks.hear_event(&event(EventKind::LagBelow, "never"));
        assert_eq!(heard.iter().collect::<Vec<_>>(), ["first"]);
        assert_eq!(callbacks.failed(), 1);
        end(&callbacks);
        Ok(())
    }
}
