//! The control thread of a mirror: connects, plans, assigns partitions to streams, watches lag, stops.
//!
//! It owns the streams and talks to them by commands only. What the host wants comes in as [`Request`]s.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use tokio::sync::{mpsc, oneshot};

use crate::config::{Config, IsolationLevel};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventKind, now_ms};
use crate::identity;
use crate::machine::lifecycle::LagAlarm;
use crate::machine::partition::Identity;
use crate::machine::topics::{self, Action, Mirrored};
use crate::shared::Shared;
use crate::status::{Lag, Progress, State};
use crate::stream;
use crate::wire::admin::{self, NewTopic};
use crate::wire::cluster::{Cluster, Metadata};
use crate::wire::positions::{self, TopicPartition, Which};

/// What the host asks of a running mirror.
pub(crate) enum Request {
    /// Answer when every partition has reached the source's end as it is now.
    CatchUp(Sender<Result<()>>),
    /// Stop or resume fetching.
    Pause(bool),
    /// Stop, waiting until the time given for answers under way.
    Stop(Instant),
}

/// Requests that may wait for the control thread.
pub(crate) const REQUESTS: usize = 64;

/// Pause between looks at topics that were just created and have no leaders yet.
const CREATION_PAUSE: Duration = Duration::from_millis(100);
/// Topics in one request to create them: brokers work on a request as a whole.
const CREATED_AT_ONCE: usize = 200;
/// How often the progress is compared with what a host waits for.
const CATCH_UP_TICK: Duration = Duration::from_millis(10);
/// How long a connection to either cluster may be missing before the mirror is told to be stalled by it.
const STREAM_LOST: &str = "a stream thread of the mirror ended unexpectedly";

struct Control {
    config: Arc<Config>,
    shared: Arc<Shared>,
    source: Cluster,
    target: Cluster,
    streams: RefCell<Vec<Stream>>,
    mirrored: RefCell<BTreeMap<String, Mirrored>>,
    parked: RefCell<BTreeMap<String, ()>>,
    source_metadata: RefCell<Metadata>,
    paused: Cell<bool>,
    trouble: Cell<bool>,
}

struct Stream {
    commands: mpsc::Sender<stream::Command>,
    thread: JoinHandle<()>,
    partitions: usize,
}

/// Runs a mirror on the thread that calls it. `started` hears once whether it could start.
pub(crate) fn run(
    config: Arc<Config>,
    shared: Arc<Shared>,
    requests: mpsc::Receiver<Request>,
    started: &Sender<Result<()>>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let control = Rc::new(Control {
        source: Cluster::new("source", config.source.clone()),
        target: Cluster::new("target", config.target.clone()),
        config,
        shared,
        streams: RefCell::default(),
        mirrored: RefCell::default(),
        parked: RefCell::default(),
        source_metadata: RefCell::default(),
        paused: Cell::new(false),
        trouble: Cell::new(false),
    });
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, control.serve(requests, started));
    Ok(())
}

impl Control {
    async fn serve(self: Rc<Self>, mut requests: mpsc::Receiver<Request>, started: &Sender<Result<()>>) {
        let outcome = tokio::select! {
            outcome = self.start() => outcome,
            deadline = stop_requested(&mut requests) => {
                return self.stop(deadline).await;
            }
        };
        if let Err(error) = outcome {
            self.stop(Instant::now()).await;
            self.shared.fail(&error);
            let _ = started.send(Err(error));
            return;
        }
        let _ = started.send(Ok(()));
        let refreshing = tokio::task::spawn_local(self.clone().keep_fresh());
        let watching = tokio::task::spawn_local(self.clone().watch());
        let deadline = loop {
            match requests.recv().await {
                Some(Request::CatchUp(reply)) => drop(tokio::task::spawn_local(self.clone().catch_up(reply))),
                Some(Request::Pause(paused)) => self.pause(paused).await,
                Some(Request::Stop(deadline)) => break deadline,
                None => break Instant::now(),
            }
        };
        refreshing.abort();
        watching.abort();
        self.stop(deadline).await;
    }

    async fn start(self: &Rc<Self>) -> Result<()> {
        let none: [String; 0] = [];
        let (source, target) =
            tokio::join!(self.source.metadata(Some(&none), false), self.target.metadata(Some(&none), false));
        let (source, target) = (source?, target?);
        if source.cluster_id.is_some() && source.cluster_id == target.cluster_id {
            let message = format!(
                "source and target are the same cluster (id {}): records would be copied onto themselves; check \
                 source.bootstrap.servers and target.bootstrap.servers",
                source.cluster_id.unwrap_or_default()
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        let source_id = source.cluster_id.unwrap_or_else(|| "unknown".to_owned());
        let target_id = target.cluster_id.unwrap_or_else(|| "unknown".to_owned());
        let name = self.config.name.clone().unwrap_or_else(|| default_name(&source_id, &target_id));
        self.shared.set_name(&name);
        let identity = self.patiently(async || self.identify(&name, &source_id).await).await?;
        tracing::info!(
            name,
            producer_id = identity.producer_id,
            source = source_id,
            target = target_id,
            "mirror starts"
        );
        self.start_streams(identity)?;
        self.patiently(async || self.refresh().await).await
    }

    async fn identify(&self, name: &str, source_id: &str) -> Result<Identity> {
        self.check_selection().await?;
        identity::establish(&self.target, name, source_id, self.config.replication_factor).await
    }

    /// Both clusters have answered: a broker that goes down now is no reason not to start, for as long as a request may
    /// take.
    async fn patiently<T>(&self, step: impl AsyncFn() -> Result<T>) -> Result<T> {
        let deadline = tokio::time::Instant::now() + self.target.config().request_timeout;
        loop {
            match step().await {
                Err(error)
                    if matches!(error.kind(), ErrorKind::Connect | ErrorKind::Broker)
                        && tokio::time::Instant::now() < deadline =>
                {
                    tracing::warn!(%error, "not started yet; will be tried again");
                    tokio::time::sleep(self.target.config().retry_backoff).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// A pattern that matches nothing is a mistake that is better found at once.
    async fn check_selection(&self) -> Result<()> {
        let metadata = self.source.metadata(None, false).await?;
        if metadata.topics.iter().any(|(name, topic)| topics::selects(&self.config.topics, name, topic)) {
            return Ok(());
        }
        let message = format!(
            "no topic of the source matches 'topics' (the source shows {} topics): check 'topics', 'topics.exclude' and the \
             permission to describe topics",
            metadata.topics.len()
        );
        Err(Error::new(ErrorKind::Config, message))
    }

    fn start_streams(&self, identity: Identity) -> Result<()> {
        for number in 0..self.config.num_streams {
            let (commands, receiver) = mpsc::channel(stream::COMMANDS);
            let (config, shared) = (self.config.clone(), self.shared.clone());
            let events = self.shared.events.clone();
            let run = move || {
                crate::shared::guard(&shared, STREAM_LOST, || stream::run(config, identity, events, receiver));
            };
            let thread = std::thread::Builder::new().name(format!("kmirror-stream-{number}")).spawn(run);
            let thread = thread
                .map_err(|error| Error::new(ErrorKind::Internal, format!("no thread can be started: {error}")))?;
            self.streams.borrow_mut().push(Stream { commands, thread, partitions: 0 });
        }
        Ok(())
    }

    /// Looks for new topics and partitions for ever.
    async fn keep_fresh(self: Rc<Self>) {
        loop {
            tokio::time::sleep(self.config.refresh_interval).await;
            match self.refresh().await {
                Ok(()) => self.trouble.set(false),
                Err(error) => {
                    tracing::warn!(%error, "topics cannot be refreshed; will be tried again");
                    if !self.trouble.replace(true) {
                        self.shared.events.send(Event::of_error(EventKind::Error, &error));
                    }
                }
            }
        }
    }

    /// Plans, applies, and plans again until what was created can be mirrored.
    async fn refresh(&self) -> Result<()> {
        let deadline = tokio::time::Instant::now() + self.target.config().request_timeout;
        loop {
            let (actions, metadata) = self.plan().await?;
            let changed = self.apply(actions, &metadata).await?;
            if !changed || tokio::time::Instant::now() > deadline {
                return Ok(());
            }
            tokio::time::sleep(CREATION_PAUSE).await;
        }
    }

    async fn plan(&self) -> Result<(BTreeMap<String, Action>, Metadata)> {
        let source = self.source.metadata(None, false).await?;
        let selected = source.topics.iter().filter(|(name, topic)| topics::selects(&self.config.topics, name, topic));
        let selected: Vec<String> = selected.map(|(name, _)| name.clone()).collect();
        let target = self.target.metadata(Some(&selected), false).await?;
        let mirrored = self.mirrored.borrow();
        let actions = topics::plan(&source, &target, &mirrored, &self.config.topics, self.config.replication_factor);
        drop(mirrored);
        *self.source_metadata.borrow_mut() = source;
        Ok((actions, target))
    }

    /// Does what was planned; `true` if something was changed on the target, so that it has to be looked at again.
    async fn apply(&self, actions: BTreeMap<String, Action>, target: &Metadata) -> Result<bool> {
        let (mut creations, mut growths) = (BTreeMap::new(), BTreeMap::new());
        let mut assigned = Vec::new();
        let mut refused = BTreeMap::new();
        for (name, action) in actions {
            match action {
                Action::Create { partitions, replication_factor, clamped_from } => {
                    if let Some(wanted) = clamped_from {
                        tracing::warn!(
                            topic = name,
                            wanted,
                            replication_factor,
                            "the target has fewer brokers than replicas are wanted"
                        );
                    }
                    creations.insert(name, (partitions, replication_factor));
                }
                Action::Grow { partitions } => drop(growths.insert(name, partitions)),
                Action::Mirror { from, to, id } => assigned.push((name, from, to, id)),
                Action::Refuse(error) => drop(refused.insert(name, error)),
                Action::Park(error) => self.park(&name, &error).await,
            }
        }
        let asked = creations.len() + growths.len();
        let mut unchanged = self.create(creations, target.controller_id).await?;
        let grown = admin::grow_topics(&self.target, target.controller_id, &growths).await?;
        unchanged.extend(grown.into_iter().filter_map(|(name, result)| Some((name, result.err()?))));
        let changed = asked > unchanged.len();
        refused.append(&mut unchanged);
        self.assign(assigned).await;
        self.refuse(refused);
        Ok(changed)
    }

    /// Creates topics as they are at the source; returns those that could not be, and why.
    async fn create(
        &self,
        topics: BTreeMap<String, (i32, i16)>,
        controller_id: i32,
    ) -> Result<BTreeMap<String, Error>> {
        let names: Vec<String> = topics.keys().cloned().collect();
        let mut refused = BTreeMap::new();
        let mut new = Vec::new();
        let configs = if self.config.sync_topic_configs {
            admin::topic_configs(&self.source, &names).await?
        } else {
            BTreeMap::new()
        };
        for (name, (partitions, replication_factor)) in topics {
            let configs = match configs.get(&name) {
                Some(Err(error)) => {
                    refused.insert(name, error.clone());
                    continue;
                }
                Some(Ok(configs)) => configs.clone(),
                None => BTreeMap::new(),
            };
            let configs = topics::configs_for_target(&configs, &self.config.topic_configs_override, replication_factor);
            new.push(NewTopic { name, partitions, replication_factor, configs });
        }
        for some in new.chunks(CREATED_AT_ONCE) {
            let created = admin::create_topics(&self.target, controller_id, some).await?;
            refused.extend(created.into_iter().filter_map(|(name, result)| Some((name, result.err()?))));
        }
        Ok(refused)
    }

    /// Remembers which topics are not mirrored, and tells of those that were not refused before.
    fn refuse(&self, refused: BTreeMap<String, Error>) {
        let before = self.shared.set_refused(refused.clone());
        for (name, error) in refused.iter().filter(|(name, _)| !before.contains_key(*name)) {
            tracing::error!(topic = name, %error, "topic is not mirrored");
            self.shared.events.send(Event::of_error(EventKind::Error, error));
        }
    }

    async fn assign(&self, topics: Vec<(String, usize, usize, u128)>) {
        let mut shares: Vec<Vec<Arc<Progress>>> = self.streams.borrow().iter().map(|_| Vec::new()).collect();
        for (name, from, to, id) in topics {
            let topic: Arc<str> = Arc::from(name.as_str());
            for partition in from..to {
                let progress = Progress::new(topic.clone(), partition as i32);
                self.shared.add_partition(progress.clone());
                let mut streams = self.streams.borrow_mut();
                if let Some((least, stream)) =
                    streams.iter_mut().enumerate().min_by_key(|(_, stream)| stream.partitions)
                {
                    stream.partitions += 1;
                    shares[least].push(progress);
                }
            }
            let known = self.mirrored.borrow_mut().insert(name.clone(), Mirrored { id, partitions: to });
            let message = match known {
                None => format!("topic '{name}' is mirrored, {to} partitions"),
                Some(_) => format!("topic '{name}' has {to} partitions now"),
            };
            tracing::info!(topic = name, partitions = to, "topic is mirrored");
            self.shared.events.send(Event { topic: Some(topic), ..Event::new(EventKind::TopicAdded, message) });
        }
        for (number, share) in shares.into_iter().enumerate().filter(|(_, share)| !share.is_empty()) {
            self.command(number, stream::Command::Assign(share)).await;
        }
    }

    async fn park(&self, topic: &str, error: &Error) {
        if self.parked.borrow_mut().insert(topic.to_owned(), ()).is_some() {
            return;
        }
        let kind = if error.kind() == ErrorKind::Topic { EventKind::TopicRemoved } else { EventKind::Error };
        self.shared.events.send(Event::of_error(kind, error));
        let streams = self.streams.borrow().len();
        for number in 0..streams {
            self.command(number, stream::Command::Park(Arc::from(topic), error.clone())).await;
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
        let streams = self.streams.borrow().len();
        for number in 0..streams {
            self.command(number, stream::Command::Pause(paused)).await;
        }
        self.show_state();
    }

    /// Tells of the lag, the state and alarms, for ever.
    async fn watch(self: Rc<Self>) {
        const STATE_TICK: Duration = Duration::from_millis(100);
        let mut alarm = LagAlarm::default();
        let mut next_lag = tokio::time::Instant::now() + self.config.lag_interval;
        loop {
            let tick = tokio::time::Instant::now() + STATE_TICK;
            tokio::time::sleep_until(tick.min(next_lag)).await;
            self.show_state();
            if tokio::time::Instant::now() >= next_lag {
                next_lag += self.config.lag_interval;
                self.tell_lag(&mut alarm);
            }
        }
    }

    fn show_state(&self) {
        self.shared.update_state(self.paused.get());
    }

    fn tell_lag(&self, alarm: &mut LagAlarm) {
        let topics = crate::status::topics(&self.shared.partitions(), now_ms());
        let total = topics.iter().map(|topic| topic.lag).fold(Lag::default(), Lag::and);
        let event = |kind, what: &str, topic, lag: Lag| {
            let message = format!("{what} is {} records, {} bytes, {} ms behind", lag.records, lag.bytes, lag.ms);
            Event { topic, lag: Some(lag), ..Event::new(kind, message) }
        };
        for topic in &topics {
            let what = format!("topic '{}'", topic.topic);
            self.shared.events.send(event(EventKind::Lag, &what, Some(topic.topic.clone()), topic.lag));
        }
        self.shared.events.send(event(EventKind::Lag, "the mirror", None, total));
        let crossed = alarm.handle_lag(total, self.config.lag_threshold_records, self.config.lag_threshold);
        if let Some(above) = crossed {
            let kind = if above { EventKind::LagAbove } else { EventKind::LagBelow };
            self.shared.events.send(event(kind, "the mirror", None, total));
        }
    }

    /// Answers when all partitions have reached the source's end as it is now, or one of them never will.
    async fn catch_up(self: Rc<Self>, reply: Sender<Result<()>>) {
        let outcome = self.reach_ends().await;
        self.show_state();
        let _ = reply.send(outcome);
    }

    async fn reach_ends(&self) -> Result<()> {
        self.refresh().await?;
        let ends = self.source_ends().await?;
        loop {
            let (mut behind, mut failed) = (0, Vec::new());
            for (progress, end) in &ends {
                match progress.state() {
                    State::Failed => failed.extend(progress.error()),
                    _ if progress.target_next().is_none_or(|next| next < *end) => behind += 1,
                    _ => {}
                }
            }
            if behind == 0 {
                failed.extend(self.shared.refused().into_values());
                return self.all_reached(failed, ends.len());
            }
            if self.shared.state() == State::Stopped {
                return Err(Error::new(ErrorKind::State, "the mirror was stopped before it had caught up"));
            }
            tokio::time::sleep(CATCH_UP_TICK).await;
        }
    }

    fn all_reached(&self, failed: Vec<Error>, partitions: usize) -> Result<()> {
        let count = failed.len();
        match failed.into_iter().next() {
            None => {
                tracing::info!(partitions, "caught up");
                Ok(())
            }
            Some(first) if count == 1 => Err(first),
            Some(first) => {
                Err(first.context(format!("{count} topics or partitions cannot be mirrored, the first of them: ")))
            }
        }
    }

    /// The end of every mirrored partition, as consumers see it now.
    async fn source_ends(&self) -> Result<Vec<(Arc<Progress>, i64)>> {
        let which = match self.config.isolation_level {
            IsolationLevel::ReadCommitted => Which::LastStable,
            IsolationLevel::ReadUncommitted => Which::HighWatermark,
        };
        let deadline = tokio::time::Instant::now() + self.source.config().request_timeout;
        let mut open = self.shared.partitions();
        let mut ends = Vec::with_capacity(open.len());
        loop {
            let mut missing = Vec::new();
            let mut groups: BTreeMap<i32, Vec<Arc<Progress>>> = BTreeMap::new();
            for progress in open {
                let metadata = self.source_metadata.borrow();
                let leaders = metadata.topics.get(&*progress.topic).map(|topic| &topic.leaders);
                match leaders.and_then(|leaders| leaders.get(progress.partition as usize)) {
                    Some(leader) if *leader >= 0 => groups.entry(*leader).or_default().push(progress),
                    // A partition that is parked is judged by its error, not by its end.
                    _ if progress.state() == State::Failed => ends.push((progress, 0)),
                    _ => missing.push(progress),
                }
            }
            for (leader, group) in groups {
                let named: Vec<TopicPartition> =
                    group.iter().map(|progress| (Rc::from(&*progress.topic), progress.partition)).collect();
                let offsets = match self.source.broker(leader).await {
                    Ok(connection) => positions::list_offsets(&connection, &named, which).await.unwrap_or_default(),
                    Err(_) => positions::ByPartition::default(),
                };
                for (progress, name) in group.into_iter().zip(named) {
                    match offsets.get(&name) {
                        Some(Ok(offset)) => {
                            progress.set_source_next(*offset);
                            ends.push((progress, *offset));
                        }
                        _ => missing.push(progress),
                    }
                }
            }
            if missing.is_empty() {
                return Ok(ends);
            }
            if tokio::time::Instant::now() > deadline {
                let message = format!("the source does not tell the end of {} partitions", missing.len());
                return Err(Error::new(ErrorKind::Broker, message));
            }
            open = missing;
            tokio::time::sleep(self.config.source.retry_backoff).await;
            if let Ok(metadata) = self.source.metadata(None, false).await {
                *self.source_metadata.borrow_mut() = metadata;
            }
        }
    }

    async fn stop(&self, deadline: Instant) {
        self.shared.set_state(State::Stopping, "stopping");
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
        for stream in streams {
            drop(stream.commands);
            if stream.thread.is_finished() || deadline > Instant::now() {
                let _ = stream.thread.join();
            }
        }
        self.shared.set_state(State::Stopped, "stopped");
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
fn default_name(source_id: &str, target_id: &str) -> String {
    let short =
        |id: &str| id.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).take(8).collect::<String>();
    format!("{}-to-{}", short(source_id), short(target_id))
}
