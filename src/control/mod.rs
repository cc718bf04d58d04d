//! The control thread of a mirror: connects, plans, assigns partitions to streams, watches lag, stops.
//!
//! It owns the streams and talks to them by commands only. What the host wants comes in as [`Request`]s. What is
//! mirrored is seen to in [`topics`], where partitions begin in [`prefix`], what a host waits for in [`catch_up`], how a mirror
//! ends for ever in [`promotion`], which of several processes may write in [`lease`]. What is kept in step beside the records has tasks of its own: [`configs`], [`groups`], [`acls`], and so has
//! what is written for MirrorMaker 2's tools: [`mirror_maker_2`].

pub(crate) mod acls;
mod catch_up;
pub(crate) mod configs;
pub(crate) mod deletions;
pub(crate) mod groups;
mod lease;
mod looks;
mod mirror_maker_2;
mod open_transactions;
pub(crate) mod prefix;
pub(crate) mod promotion;
mod rest;
mod topics;
mod translations;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::clock::Instant;
use crate::config::{Config, OnTopicReset};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventKind, now_ms};
use crate::identity::groups::Notebook;
use crate::identity::starts::Tail;
use crate::identity::{self, Established, Recalled};
use crate::limits;
use crate::machine::lease::Purpose;
use crate::machine::lifecycle::{KnownLag, LagAlarm};
use crate::machine::partition::Identity;
use crate::machine::start;
use crate::machine::topics::Lives;
use crate::repeat::Repeated;
use crate::shared::Shared;
use crate::stream;
use crate::tasks::{self, Worker};
use crate::terms::state::{Lag, State};
use crate::terms::topic::Metadata;
use crate::waiting::Answer;
use crate::wire::cluster::Cluster;
use crate::wire::transactions;

/// What the host asks of a running mirror.
pub(crate) enum Request {
    /// Answer when every partition has reached the source's end as it is now.
    CatchUp(Answer<()>),
    /// Stop or resume fetching.
    Pause(bool),
    /// End for a switch-over.
    Promote(promotion::Promotion),
    /// Stop, waiting until the time given for answers under way.
    Stop(Instant),
}

/// Requests that may wait for the control thread.
pub(crate) const REQUESTS: usize = 64;

const STREAM_LOST: &str = "a stream thread of the mirror ended unexpectedly";

struct Control {
    config: Arc<Config>,
    shared: Arc<Shared>,
    source: Cluster,
    target: Cluster,
    streams: RefCell<Vec<Stream>>,
    lives: RefCell<Lives>,
    /// When copies were begun and level, by the internal topic.
    recalled: RefCell<Recalled>,
    translations: translations::Translations,
    /// When the streams were told to drop topics whose copies are to be deleted.
    let_go_at: RefCell<BTreeMap<String, Instant>>,
    source_metadata: RefCell<Metadata>,
    ends: looks::Looks,
    /// The mirror's producer id, once it is known.
    identity: Cell<Option<Identity>>,
    prefixes: prefix::Prefixes,
    configs: configs::Following,
    groups: groups::Groups,
    emitters: mirror_maker_2::Emitters,
    /// How often the topics were looked at, and how often when everything was found to have failed.
    looks: Cell<u64>,
    failed_at_look: Cell<Option<u64>>,
    /// Whether the ACLs were looked at once.
    acls_were_seen_to: Cell<bool>,
    paused: Cell<bool>,
    trouble: Cell<bool>,
    /// What could not be done, by the sentence that tells it.
    told: RefCell<BTreeMap<&'static str, Repeated>>,
    switch_over: promotion::SwitchOver,
    keeping: lease::Keeping,
    /// What runs beside the requests of the host until the mirror ends.
    tasks: RefCell<Vec<JoinTask>>,
}

type JoinTask = tokio::task::JoinHandle<()>;

struct Stream {
    commands: mpsc::Sender<stream::Command>,
    worker: Worker,
    partitions: usize,
}

/// A start looks at least so often whether what stood in its way has passed.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The host's side of a mirror. It outlives [`run`]: whoever hears that nobody listens any more finds the reason in the status.
pub(crate) struct Host {
    requests: mpsc::Receiver<Request>,
    /// Hears once whether the mirror could start.
    started: Option<Answer<()>>,
    /// Who waits for it to catch up while it stands by.
    waiting: Vec<Answer<()>>,
    paused: bool,
}

impl Host {
    /// `started` hears once whether the mirror could start.
    pub(crate) fn new(requests: mpsc::Receiver<Request>, started: Answer<()>) -> Self {
        Self { requests, started: Some(started), waiting: Vec::new(), paused: false }
    }
}

/// Runs a mirror on the thread that calls it.
pub(crate) fn run(config: Arc<Config>, shared: Arc<Shared>, purpose: Purpose, host: &mut Host) -> std::io::Result<()> {
    tasks::block_on(serve(config, shared, purpose, host))
}

/// Runs a mirror as a part of a runtime, until it ends.
pub(crate) async fn serve(config: Arc<Config>, shared: Arc<Shared>, purpose: Purpose, host: &mut Host) {
    loop {
        let control = Rc::new(Control::new(config.clone(), shared.clone(), purpose));
        let Some(standing_by) = control.serve(host).await else { return };
        if !standing_by.wait(&shared, host).await {
            return;
        }
        shared.begin_anew();
    }
}

impl Control {
    fn new(config: Arc<Config>, shared: Arc<Shared>, purpose: Purpose) -> Self {
        let keeping = lease::Keeping::new(&config, purpose);
        let [source_reach, target_reach] = shared.reach.clone();
        let target = Cluster::new("target", config.target.clone()).told_by(target_reach);
        Control {
            source: Cluster::new("source", config.source.clone()).told_by(source_reach),
            target: target.under(keeping.lease.clone()),
            emitters: mirror_maker_2::Emitters::of(&config),
            config,
            shared,
            streams: RefCell::default(),
            lives: RefCell::default(),
            recalled: RefCell::default(),
            translations: translations::Translations::default(),
            let_go_at: RefCell::default(),
            source_metadata: RefCell::default(),
            ends: looks::Looks::default(),
            identity: Cell::new(None),
            prefixes: prefix::Prefixes::default(),
            configs: configs::Following::default(),
            groups: groups::Groups::default(),
            looks: Cell::new(0),
            failed_at_look: Cell::new(None),
            acls_were_seen_to: Cell::new(false),
            paused: Cell::new(false),
            trouble: Cell::new(false),
            told: RefCell::default(),
            switch_over: promotion::SwitchOver::default(),
            keeping,
            tasks: RefCell::default(),
        }
    }

    /// Runs it until it ends, or has to stand by.
    async fn serve(self: Rc<Self>, host: &mut Host) -> Option<lease::StandBy> {
        let outcome = tokio::select! {
            biased;
            outcome = self.start() => outcome,
            // Nothing can be started any more: another process has been.
            () = self.keeping.over.notified() => Err(self.keeping.lease.why_over()),
            deadline = stop_requested(&mut host.requests) => {
                self.stop(deadline).await;
                return None;
            }
        };
        if let Err(error) = outcome {
            // Who starts it goes on waiting: the promotion may be refused.
            if self.keeping.stands_by() {
                return self.end_over(host).await;
            }
            // Whoever starts it hears of it, and there is nobody else yet.
            tracing::debug!(%error, "the mirror does not start");
            self.end_tasks();
            self.end_streams(Instant::now()).await;
            self.say_last_word(Instant::now() + Duration::from_secs(1)).await;
            match host.started.take() {
                Some(started) => started.send(Err(error)),
                None => self.shared.fail(&error),
            }
            return None;
        }
        if let Some(started) = host.started.take() {
            started.send(Ok(()));
        }
        self.start_tasks();
        if host.paused {
            self.pause(true).await;
        }
        for answer in host.waiting.drain(..) {
            tasks::spawn(self.clone().catch_up(answer));
        }
        let deadline = loop {
            let request = tokio::select! {
                biased;
                request = host.requests.recv() => request,
                () = self.switch_over.over.notified() => {
                    self.end_promoted().await;
                    return None;
                }
                () = self.keeping.over.notified() => return self.end_over(host).await,
            };
            match request {
                Some(Request::CatchUp(answer)) => drop(tasks::spawn(self.clone().catch_up(answer))),
                Some(Request::Pause(paused)) => self.pause(paused).await,
                Some(Request::Promote(promotion)) => drop(tasks::spawn(self.clone().promote(promotion))),
                Some(Request::Stop(deadline)) => break deadline,
                None => break Instant::now(),
            }
        };
        self.end_tasks();
        self.stop(deadline).await;
        None
    }

    fn start_tasks(self: &Rc<Self>) {
        let mut tasks = self.tasks.borrow_mut();
        tasks.push(tasks::spawn(self.clone().keep_fresh()));
        tasks.push(tasks::spawn(self.clone().keep_looking()));
        tasks.push(tasks::spawn(self.clone().watch()));
        tasks.push(tasks::spawn(self.clone().watch_transactions()));
        tasks.push(tasks::spawn(self.clone().see_to_starts()));
        tasks.push(tasks::spawn(self.clone().keep_configs()));
        tasks.push(tasks::spawn(self.clone().keep_groups()));
        tasks.push(tasks::spawn(self.clone().keep_translations()));
        tasks.push(tasks::spawn(self.clone().watch_for_mark()));
        tasks.push(tasks::spawn(self.clone().write_down_ends()));
        tasks.push(tasks::spawn(self.clone().keep_learning_of_deletions()));
        if self.config.sync_topic_acls {
            tasks.push(tasks::spawn(self.clone().keep_acls()));
        }
        tasks.extend(self.start_emitting());
    }

    fn end_tasks(&self) {
        for task in self.tasks.take() {
            task.abort();
        }
    }

    async fn start(self: &Rc<Self>) -> Result<()> {
        let none: [String; 0] = [];
        let bootstrap = |cluster: &Cluster| cluster.config().bootstrap_servers.join(",");
        let (source, target) = (bootstrap(&self.source), bootstrap(&self.target));
        tracing::info!(version = env!("CARGO_PKG_VERSION"), source, target, "connecting");
        let (source, target) =
            tokio::join!(self.source.metadata(Some(&none), false), self.target.metadata(Some(&none), false));
        let (source, target) = (source?, target?);
        start::two_clusters(&source, &target)?;
        let cluster_ids = [source.cluster_id, target.cluster_id];
        let [source_id, target_id] = cluster_ids.clone().map(|id| id.unwrap_or_else(|| "unknown".to_owned()));
        let name = self.config.name.clone().unwrap_or_else(|| default_name(&source_id, &target_id));
        self.shared.set_name(&name);
        self.keeping.ledger.is_known_as(cluster_ids[1].as_deref());
        let mut established = self.patiently(async || self.identify(&name, &source_id).await).await?;
        let identity = established.identity;
        self.identity.set(Some(identity));
        let start = established.start.take();
        let tail = start.as_ref().map(|start| Tail::of(&name, established.topic_id, established.read_until, start));
        if let (Some(start), Some(tail)) = (start, tail)
            && self.take_lease(&name, start, tail).await?
        {
            // What the process before has written down meanwhile.
            let again = async || identity::find(&self.keeping.ledger, self.whose(&name, &source_id)).await;
            established = self.patiently(again).await?.unwrap_or(established);
        }
        let Established { topics, created, maps, groups, recalled, read_until, topic_id, .. } = established;
        let not_selected = start::not_selected(&self.config, topics.keys());
        let warnings =
            [start::default_name_is_shared(&self.config, &name), start::another_selection(&name, &not_selected)];
        for warning in warnings.iter().flatten() {
            tracing::warn!("{warning}");
        }
        self.switch_over.read_until.set(read_until);
        *self.lives.borrow_mut() = Lives::restored(topics, created);
        *self.recalled.borrow_mut() = recalled;
        *self.groups.turn.lock().await = Notebook::of(groups, read_until);
        *self.translations.restored.borrow_mut() = maps;
        self.translations.memory_id.set(topic_id);
        tracing::info!(
            name,
            producer_id = identity.producer_id,
            source = source_id,
            target = target_id,
            "mirror starts"
        );
        self.tasks.borrow_mut().push(tasks::spawn({
            let control = self.clone();
            async move { control.target.watch_lease().await }
        }));
        self.end_open_transactions(&name).await;
        *self.translations.source_id.borrow_mut() = source_id;
        *self.translations.target_id.borrow_mut() = target_id.clone();
        self.start_streams(stream::Start {
            name: Arc::from(name),
            target_id: Arc::from(target_id),
            cluster_ids,
            identity,
            read_until,
            lease: self.keeping.lease.clone(),
        })?;
        self.patiently(async || self.refresh().await).await
    }

    /// Before any hole is filled, so that no marker comes late.
    async fn end_open_transactions(&self, name: &str) {
        match self.patiently(async || transactions::end_open(&self.target, name).await).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "ended empty transactions that another process had left open"),
            Err(error) => tracing::warn!(%error, "transactions that another process has left open cannot be ended"),
        }
    }

    fn whose<'a>(&self, name: &'a str, source_id: &'a str) -> identity::Whose<'a> {
        identity::Whose { name, source_cluster_id: source_id, offsets: self.config.offsets }
    }

    async fn identify(&self, name: &str, source_id: &str) -> Result<Established> {
        start::something_is_selected(&self.config, &self.source.metadata(None, false).await?)?;
        let (ledger, purpose) = (&self.keeping.ledger, self.keeping.purpose());
        let whose = self.whose(name, source_id);
        identity::establish(ledger, whose, self.config.replication_factor, purpose).await
    }

    /// Both clusters have answered: a broker that goes down now is no reason not to start, for as long as a request may
    /// take.
    async fn patiently<T>(&self, step: impl AsyncFn() -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + self.target.config().request_timeout;
        let mut pause = self.target.config().retry_backoff;
        loop {
            // When it began, and not when it failed: a process that was stopped meanwhile asks once more.
            let began = Instant::now();
            match step().await {
                Err(error) if matches!(error.kind(), ErrorKind::Connect | ErrorKind::Broker) && began < deadline => {
                    self.tell("not started yet; will be tried again", &error);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(self.target.config().retry_backoff_max).min(LONGEST_PAUSE);
                }
                outcome => return outcome,
            }
        }
    }

    fn start_streams(&self, start: stream::Start) -> Result<()> {
        for number in 0..self.config.num_streams {
            let (commands, receiver) = mpsc::channel(stream::COMMANDS);
            let (config, shared, start) = (self.config.clone(), self.shared.clone(), start.clone());
            let guarded = shared.clone();
            let guard = move |body| crate::shared::guard(&guarded, STREAM_LOST, body);
            let work = move || stream::run(config, start, shared, receiver);
            let worker = Worker::start(format!("kmirror-stream-{number}"), guard, work);
            let worker =
                worker.map_err(|error| limits::no_thread(&format!("stream {number} of the mirror"), &error))?;
            self.streams.borrow_mut().push(Stream { commands, worker, partitions: 0 });
        }
        Ok(())
    }

    /// Looks for new topics and partitions for ever.
    async fn keep_fresh(self: Rc<Self>) {
        let mut next = Instant::now();
        loop {
            // What a look takes does not come on top, unless it takes longer than the pause.
            next = (next + self.config.refresh_interval).max(Instant::now());
            tokio::time::sleep_until(next).await;
            match self.refresh().await {
                Ok(()) => self.trouble.set(false),
                Err(error) => {
                    self.tell("topics cannot be refreshed; will be tried again", &error);
                    if !self.trouble.replace(true) && error.kind() != ErrorKind::Connect {
                        self.shared.events.send(Event::of_error(EventKind::Error, &error));
                    }
                }
            }
        }
    }

    /// Tells that something could not be done which will be tried again: at first, then ever more rarely. That a cluster cannot be
    /// reached has been told by who met it.
    pub(super) fn tell(&self, what: &'static str, error: &Error) {
        if error.kind() == ErrorKind::Connect {
            return tracing::debug!(%error, "{what}");
        }
        let told = self.told.borrow_mut().entry(what).or_default().met(Instant::now());
        match told.map(|told| told.times) {
            None => tracing::debug!(%error, "{what}"),
            Some(1) => tracing::warn!(%error, "{what}"),
            Some(times) => tracing::warn!(times, %error, "{what}"),
        }
    }

    async fn command_all(&self, command: impl Fn() -> stream::Command) {
        let streams = self.streams.borrow().len();
        for number in 0..streams {
            self.command(number, command()).await;
        }
    }

    async fn command(&self, stream: usize, command: stream::Command) {
        let commands = self.streams.borrow().get(stream).map(|stream| stream.commands.clone());
        if let Some(commands) = commands {
            // Only a stream that has ended does not listen, and that has been told by its guard.
            let _ = commands.send(command).await;
        }
    }

    async fn pause(&self, paused: bool) {
        self.paused.set(paused);
        self.command_all(|| stream::Command::Pause(paused)).await;
        self.show_state();
    }

    /// Tells of the lag, the state and alarms, for ever.
    async fn watch(self: Rc<Self>) {
        const STATE_TICK: Duration = Duration::from_millis(100);
        let mut alarm = LagAlarm::default();
        let mut next_lag = Instant::now() + self.config.lag_interval;
        loop {
            let tick = Instant::now() + STATE_TICK;
            tokio::time::sleep_until(tick.min(next_lag)).await;
            self.show_state();
            if Instant::now() >= next_lag {
                next_lag += self.config.lag_interval;
                self.tell_lag(&mut alarm);
            }
        }
    }

    fn show_state(&self) {
        let has_failed = Cell::new(false);
        self.shared.update_state(self.paused.get(), || {
            has_failed.set(true);
            self.may_recreate()
        });
        if !has_failed.get() {
            self.failed_at_look.set(None);
        }
    }

    /// Whether what has failed may be that a topic was created again, which the next looks at the source's topics find and
    /// put right.
    fn may_recreate(&self) -> bool {
        const LOOKS: u64 = 2;
        let since = self.failed_at_look.get().unwrap_or(self.looks.get());
        self.failed_at_look.set(Some(since));
        let is_fresh = self.config.on_topic_reset == OnTopicReset::RecreateTarget && self.looks.get() - since < LOOKS;
        is_fresh || self.lives.borrow().may_be_made_anew(&self.config)
    }

    fn tell_lag(&self, alarm: &mut LagAlarm) {
        let partitions = self.shared.partitions();
        let topics = crate::status::topics(&partitions, now_ms());
        let total = Lag::of_all(topics.iter().map(|topic| topic.lag));
        let event = |kind, what: &str, topic, lag: Lag| {
            let known = |number: Option<u64>| number.map_or_else(|| "unknown".to_owned(), |number| number.to_string());
            let message = match lag.records {
                None => format!("how far {what} is behind is not known"),
                Some(records) => {
                    let (bytes, ms) = (known(lag.bytes), known(lag.ms));
                    format!("{what} is {records} records, {bytes} bytes, {ms} ms behind")
                }
            };
            Event { topic, lag: Some(lag), ..Event::new(kind, message) }
        };
        for topic in &topics {
            let what = format!("topic '{}'", topic.topic);
            self.shared.events.send(event(EventKind::Lag, &what, Some(topic.topic.clone()), topic.lag));
        }
        self.shared.events.send(event(EventKind::Lag, "the mirror", None, total));
        let lags = || topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.lag);
        let known = KnownLag {
            records: lags().filter_map(|lag| lag.records).sum(),
            ms: lags().filter_map(|lag| lag.ms).max().unwrap_or(0),
            unknown_for: partitions.iter().filter_map(|partition| partition.unknown_for()).max(),
        };
        let crossed = alarm.handle_lag(known, self.config.lag_threshold_records, self.config.lag_threshold);
        if let Some(above) = crossed {
            let kind = if above { EventKind::LagAbove } else { EventKind::LagBelow };
            self.shared.events.send(event(kind, "the mirror", None, total));
        }
    }

    async fn stop(&self, deadline: Instant) {
        // A host that stops a mirror right after its promotion has one that was promoted.
        let is_over = || self.shared.state() == State::Promoted;
        if !is_over() {
            self.shared.set_state(State::Stopping, "stopping");
        }
        self.end_streams(deadline).await;
        self.say_last_word(deadline).await;
        if !is_over() {
            self.shared.set_state(State::Stopped, "stopped");
        }
    }

    async fn end_streams(&self, deadline: Instant) {
        let streams = std::mem::take(&mut *self.streams.borrow_mut());
        let mut answers = Vec::new();
        for stream in &streams {
            let (done, finished) = oneshot::channel();
            if stream.commands.send(stream::Command::Stop(deadline, done)).await.is_ok() {
                answers.push(finished);
            }
        }
        for finished in answers {
            // A little longer than the streams themselves wait; one that hangs must not hang the host.
            let limit = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(200);
            let _ = tokio::time::timeout(limit, finished).await;
        }
        // What the last answers have said.
        if !self.keeping.lease.has_successor()
            && let Err(error) = self.keep_changed_translations().await
        {
            tracing::warn!(%error, "where the last records are on the target is not written down; the next start reads it off the target's log");
        }
        for Stream { commands, worker, .. } in streams {
            drop(commands);
            // One that hangs is left to itself.
            while !worker.is_finished() && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if worker.is_finished() {
                worker.join();
            } else {
                // It may still write: nobody may say that this process has ended.
                self.keeping.lease.give_up_answer();
            }
        }
    }
}

async fn stop_requested(requests: &mut mpsc::Receiver<Request>) -> Instant {
    loop {
        match requests.recv().await {
            Some(Request::Stop(deadline)) => return deadline,
            Some(_) => {}
            None => return Instant::now(),
        }
    }
}

/// The name of a mirror that was given none: both cluster ids, shortened.
pub(crate) fn default_name(source_id: &str, target_id: &str) -> String {
    format!("{}-to-{}", short_id(source_id), short_id(target_id))
}

/// A cluster id as far as it is in a name.
pub(crate) fn short_id(id: &str) -> String {
    id.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).take(8).collect()
}
