//! The handle of a running mirror: start, watch, pause, wait, promote, stop.
//!
//! Every call is an ordinary blocking one and may come from any thread; the engine works on threads of its own and has
//! no global state. Whatever the mirror has to tell waits in its event queue until [`Mirror::poll`] takes it.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::Instant;
use crate::config::Config;
use crate::control::promotion::Promotion;
use crate::control::{self, Request};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Callbacks, Event};
use crate::limits;
use crate::machine::lease::Purpose;
use crate::plan::Plan;
use crate::promote::{PromoteOptions, PromoteReport};
use crate::shared::{Shared, guard};
use crate::signals::leave_signals_to_the_host;
use crate::status::Status;
use crate::terms::state::State;
use crate::verify::{VerifyOptions, VerifyProgress, VerifyReport};
use crate::waiting::{self, NoAnswer};

/// How long a mirror that is dropped waits for answers under way and for callbacks.
const DROP_TIMEOUT: Duration = Duration::from_secs(10);

/// A running mirror.
///
/// ```no_run
/// use std::time::Duration;
/// use kmirror::{Mirror, config::Properties};
///
/// # fn main() -> kmirror::Result<()> {
/// let mut properties = Properties::new();
/// properties.set("source.bootstrap.servers", "a:9092");
/// properties.set("target.bootstrap.servers", "b:9092");
/// properties.set("topics", "orders");
/// let (config, _warnings) = properties.build()?;
/// let mirror = Mirror::start(config)?;
/// mirror.wait_until_caught_up(Duration::from_secs(600))?;
/// println!("{}", mirror.status().lag);
/// mirror.stop(Duration::from_secs(10))
/// # }
/// ```
pub struct Mirror {
    config: Arc<Config>,
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The process that has its threads.
    process: u32,
}

impl Mirror {
    /// Starts a mirror: connects to both clusters, prepares the topics, and begins to copy.
    ///
    /// Returns when copying has begun, or with what keeps it from beginning: nothing is retried for ever here. Later trouble is
    /// told by [events](Self::poll) and in the [status](Self::status).
    ///
    /// # Errors
    /// [`ErrorKind::Connect`] if a cluster cannot be reached, [`ErrorKind::Config`] if source and target are the same
    /// cluster or no topic matches, [`ErrorKind::Authorization`] if a permission is missing.
    pub fn start(config: Config) -> Result<Self> {
        Self::launch(config, Shared::new(Callbacks::new()), Purpose::Run, || false)
    }

    /// As [`start`](Self::start), calling the host for what happens, also for what is logged, from the beginning.
    ///
    /// # Errors
    /// As there. The callbacks have been told everything by then.
    pub fn start_with(config: Config, callbacks: Callbacks) -> Result<Self> {
        Self::start_or(config, callbacks, || false)
    }

    /// As [`start_with`](Self::start_with), asking every 50 ms whether to give up: for hosts that have to look for signals while
    /// they wait. A mirror that had begun to start is stopped then.
    ///
    /// # Errors
    /// As there, and [`ErrorKind::TimedOut`] when `give_up` says so.
    pub fn start_or(config: Config, callbacks: Callbacks, give_up: impl FnMut() -> bool) -> Result<Self> {
        Self::start_for(Purpose::Run, config, callbacks, give_up)
    }

    /// As there, to mirror or to promote.
    pub(crate) fn start_for(
        purpose: Purpose,
        config: Config,
        callbacks: Callbacks,
        give_up: impl FnMut() -> bool,
    ) -> Result<Self> {
        let logs = crate::logs::dispatch(&callbacks);
        let outcome = Self::launch(config, Shared::new(callbacks.clone()).with_logs(logs), purpose, give_up);
        if outcome.is_err() {
            callbacks.end(Instant::now() + DROP_TIMEOUT);
        }
        outcome
    }

    fn launch(config: Config, shared: Shared, purpose: Purpose, give_up: impl FnMut() -> bool) -> Result<Self> {
        let (config, shared) = (Arc::new(config), Arc::new(shared));
        shared.throttle.set(config.throttle_bytes_per_second);
        let (requests, receiver) = mpsc::channel(control::REQUESTS);
        let (waiter, started) = waiting::pair();
        let thread = {
            let (config, shared) = (config.clone(), shared.clone());
            let run = move || {
                leave_signals_to_the_host();
                let mut host = control::Host::new(receiver, started);
                let body = || control::run(config, shared.clone(), purpose, &mut host);
                guard(&shared, "the control thread of the mirror ended unexpectedly", body);
                drop(host);
                shared.events.close();
            };
            std::thread::Builder::new().name("kmirror-control".to_owned()).spawn(run)
        };
        let thread = thread.map_err(|error| limits::no_thread("the mirror", &error))?;
        let (thread, process) = (Mutex::new(Some(thread)), std::process::id());
        let mirror = Mirror { config, shared, requests, thread, process };
        match waiter.wait(give_up) {
            Ok(outcome) => outcome.map(|()| mirror),
            Err(NoAnswer::GivenUp) => {
                let _ = mirror.request(Request::Stop(Instant::now()));
                Err(waiting::given_up("the start"))
            }
            // It was stopped or promoted while it stood by for a promotion, or has failed.
            Err(NoAnswer::Lost) => Err(mirror.ended()),
        }
    }

    /// Whether this is the process that has started it. In a child after `fork` a mirror has no threads: nothing but this may be
    /// asked of it there, and dropping it frees nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Forked`] if it is not.
    pub fn check_process(&self) -> Result<()> {
        let here = std::process::id();
        if here == self.process {
            return Ok(());
        }
        let message = format!(
            "the mirror belongs to process {}, and this is process {here}, which was forked from it: start a mirror in the \
             process that uses it",
            self.process
        );
        Err(Error::new(ErrorKind::Forked, message))
    }

    /// What it was started with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What it calls for; to be changed at any time.
    pub fn callbacks(&self) -> &Callbacks {
        self.shared.events.callbacks()
    }

    /// Its name, which is its identity on the target.
    pub fn name(&self) -> String {
        self.shared.status().name
    }

    /// Its state.
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// Everything it knows of itself, now.
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// The next event, waiting for it at most so long. Several threads may call this; each event goes to one of them. When the
    /// mirror has ended and nothing waits any more, there is none at once.
    pub fn poll(&self, timeout: Duration) -> Option<Event> {
        self.check_process().ok()?;
        self.shared.events.poll(timeout)
    }

    /// A file descriptor that is readable while events wait to be [polled](Self::poll), for hosts that wait for other things at the
    /// same time. It is the mirror's, and closed with it: nothing but waiting may be done with it.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if the process may have no more descriptors.
    #[cfg(unix)]
    pub fn event_fd(&self) -> Result<std::os::fd::RawFd> {
        self.check_process()?;
        let none = |error| limits::lost_thread("there is no file descriptor for events", &error);
        self.shared.events.descriptor().map_err(none)
    }

    /// Changes `throttle.bytes.per.second`, for the mirror as it runs; `None` is without limit.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for 0, which would be a pause.
    pub fn set_throttle(&self, bytes_per_second: Option<u64>) -> Result<()> {
        self.check_process()?;
        if bytes_per_second == Some(0) {
            return Err(Error::new(
                ErrorKind::Config,
                "throttle.bytes.per.second is 0: to copy nothing, pause the mirror",
            ));
        }
        self.shared.throttle.set(bytes_per_second);
        Ok(())
    }

    /// What a start with the same configuration would do now. Writes nothing.
    ///
    /// # Errors
    /// As of [`plan`](crate::plan()).
    pub fn plan(&self) -> Result<Plan> {
        self.check_process()?;
        crate::plan::plan(self.config().clone())
    }

    /// Compares what consumers would read from source and target, for the topics of this mirror, while it runs or later.
    ///
    /// # Errors
    /// As of [`verify`](crate::verify()).
    pub fn verify(&self, options: VerifyOptions) -> Result<VerifyReport> {
        self.verify_or(options, |_| false)
    }

    /// As [`verify`](Self::verify), asking every 50 ms whether to give up.
    ///
    /// # Errors
    /// As there, and [`ErrorKind::TimedOut`] when `give_up` says so.
    pub fn verify_or(
        &self,
        options: VerifyOptions,
        give_up: impl FnMut(&VerifyProgress) -> bool,
    ) -> Result<VerifyReport> {
        self.check_process()?;
        let mut report = crate::verify::verify_or(self.config().clone(), options, give_up)?;
        // What both clusters cannot tell: that a partition that is behind will stay so.
        let status = self.status();
        report.park(|topic, partition| {
            let topic = status.topics.iter().find(|one| &*one.topic == topic)?;
            let one = topic.partitions.iter().find(|one| one.partition == partition && one.state == State::Failed)?;
            Some(one.error.as_ref().map_or("it has failed", Error::message).to_owned())
        });
        Ok(report)
    }

    /// Stops fetching. What is under way is finished; connections stay open.
    ///
    /// # Errors
    /// [`ErrorKind::State`] if the mirror has ended.
    pub fn pause(&self) -> Result<()> {
        self.request(Request::Pause(true))
    }

    /// Goes on after [`pause`](Self::pause).
    ///
    /// # Errors
    /// [`ErrorKind::State`] if the mirror has ended.
    pub fn resume(&self) -> Result<()> {
        self.request(Request::Pause(false))
    }

    /// Waits until every selected partition has reached the source's end as it is at the time of this call.
    ///
    /// # Errors
    /// The error of a partition or topic that never will, when all others have; [`ErrorKind::TimedOut`] if it takes
    /// longer than `timeout`; [`ErrorKind::State`] if the mirror ends meanwhile.
    pub fn wait_until_caught_up(&self, timeout: Duration) -> Result<()> {
        self.wait_until_caught_up_or(timeout, || false)
    }

    /// As [`wait_until_caught_up`](Self::wait_until_caught_up), asking every 50 ms whether to give up: for hosts that have to
    /// look for signals while they wait.
    ///
    /// # Errors
    /// As there, and [`ErrorKind::TimedOut`] when `give_up` says so.
    pub fn wait_until_caught_up_or(&self, timeout: Duration, mut give_up: impl FnMut() -> bool) -> Result<()> {
        let started = Instant::now();
        let (waiter, answer) = waiting::pair();
        self.request(Request::CatchUp(answer))?;
        match waiter.wait(|| started.elapsed() >= timeout || give_up()) {
            Ok(outcome) => outcome,
            Err(NoAnswer::Lost) => Err(self.ended()),
            Err(NoAnswer::GivenUp) => {
                let (waited, behind) = (started.elapsed().as_millis(), self.status().lag.in_records());
                let message = format!("not caught up after {waited} ms: {behind} behind");
                Err(Error::new(ErrorKind::TimedOut, message))
            }
        }
    }

    /// Ends the mirror for a switch-over: copies what the source has and waits for it to rest, marks the mirror on the target so
    /// that no process of it writes again, and ends in the state `promoted`. When the source is gone, what is not copied is
    /// reported as far as it was known.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] if the source is there and not everything was copied in time, and the error of a partition that never
    /// will be: the mirror goes on then, and nothing is marked. After any other error the mirror has ended.
    pub fn promote(&self, timeout: Duration) -> Result<PromoteReport> {
        self.promote_or(PromoteOptions { timeout, ..PromoteOptions::default() }, || false)
    }

    /// As [`promote`](Self::promote), asking every 50 ms whether to give up: for hosts that have to look for signals while they
    /// wait. Once everything is copied it is too late to give up.
    ///
    /// # Errors
    /// As there, and [`ErrorKind::TimedOut`] when `give_up` says so.
    pub fn promote_or(&self, options: PromoteOptions, give_up: impl FnMut() -> bool) -> Result<PromoteReport> {
        let (waiter, answer) = waiting::pair();
        self.request(Request::Promote(Promotion { options, answer }))?;
        waiter.wait_to_the_end(give_up).unwrap_or_else(|| Err(self.ended()))
    }

    /// Stops the mirror: nothing more is fetched or sent, and answers under way are waited for at most so long. The target
    /// is exact at any moment; what was not sent is copied by the next start. Stopping twice is no error.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] if the engine's threads have not ended in time. They end by themselves later.
    pub fn stop(&self, timeout: Duration) -> Result<()> {
        const GRACE: Duration = Duration::from_millis(500);
        self.check_process()?;
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or(now + DROP_TIMEOUT);
        // A mirror that has ended already does not listen; that is what is wanted.
        let _ = self.request(Request::Stop(deadline));
        // Whoever stops it at the same time waits, too, and hears of it if it takes too long.
        while !self.has_ended() {
            if Instant::now() > deadline + GRACE {
                let message = format!("the mirror has not stopped within {} ms", timeout.as_millis());
                return Err(Error::new(ErrorKind::TimedOut, message));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether it has ended, and with it all its threads but that of the callbacks: nothing more happens.
    pub fn has_ended(&self) -> bool {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return false;
        }
        if let Some(thread) = thread.take() {
            let _ = thread.join();
        }
        true
    }

    fn request(&self, mut request: Request) -> Result<()> {
        self.check_process()?;
        loop {
            match self.requests.try_send(request) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(self.ended()),
                Err(mpsc::error::TrySendError::Full(back)) => {
                    request = back;
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }

    fn ended(&self) -> Error {
        let how = if self.state() == State::Promoted { "was promoted" } else { "has been stopped" };
        self.shared.error().unwrap_or_else(|| Error::new(ErrorKind::State, format!("the mirror {how}")))
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        if self.check_process().is_err() {
            // Locks may be held for ever by threads that are not here, and what would be woken up is the parent's.
            std::mem::forget((self.shared.clone(), self.config.clone(), self.requests.clone()));
            std::mem::forget(self.thread.get_mut().map(Option::take));
            return;
        }
        let deadline = Instant::now() + DROP_TIMEOUT;
        let _ = self.stop(DROP_TIMEOUT);
        self.callbacks().end(deadline);
    }
}
