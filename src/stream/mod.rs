//! What joins: one thread with its own runtime, connections, memory and partitions.
//!
//! A stream reads the position of its partitions ([`opening`]), fetches from the leaders on the source ([`fetching`]),
//! produces to the leaders on the target ([`producing`]), has holes filled there ([`filling`]) or written down ([`mapping`]) and follows both clusters' metadata ([`leaders`]). Each of these is a
//! task on the stream's own thread; they meet in [`Stream`], whose cells are borrowed only between awaits.
//! After every word to a machine, [`Stream::update`] looks at what it wants next and wakes whose turn it is.

mod another;
mod contents;
mod echo;
mod ends;
mod fetching;
mod filling;
mod lanes;
mod leaders;
mod likeness;
mod mapping;
mod opening;
mod producing;
mod resets;
mod silence;
mod slots;
mod telling;
mod translated;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};

use crate::batch::Batch;
use crate::clock::{Instant, since_boot};
use crate::config::{Config, IsolationLevel, OnDataLoss, OnRecordRefused};
use crate::error::{Error, ErrorKind};
use crate::event::{Event, EventKind, Events};
use crate::identity::offsets::Notebook;
use crate::lease::Lease;
use crate::machine::partition::{Holes, Identity, Limits, Partition, Phase};
use crate::planted::{self, Bug};
use crate::shared::Shared;
use crate::status::{Progress, Side};
use crate::tasks;
use crate::terms::state::State;
use crate::throttle::Throttle;
use crate::wire::cluster::Cluster;
use crate::wire::memory::Budget;
use lanes::{Closings, Lane, Task, Tries};
use slots::Slots;

/// What the mirror tells a stream to do.
pub(crate) enum Command {
    /// Mirror these partitions from now on.
    Assign(Vec<Arc<Progress>>),
    /// Park the partitions of a topic.
    Park(Arc<str>, Error),
    /// Go on with the partitions of a topic that was parked.
    Resume(Arc<str>),
    /// Have nothing to do any more with the partitions of a topic that was parked: what comes under its name is another one.
    Forget(Arc<str>),
    /// Read the positions of these partitions again: their logs are not what they were.
    Reopen(Vec<Arc<Progress>>),
    /// Fetch nothing more for now.
    Pause(bool),
    /// Wait for the answers under way until the time given, then end.
    Stop(Instant, oneshot::Sender<()>),
}

/// How a mirror was found when it started.
#[derive(Clone)]
pub(crate) struct Start {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// The id of the target's cluster.
    pub(crate) target_id: Arc<str>,
    /// The ids of source and target, where clusters have any: what answers with others is not asked.
    pub(crate) cluster_ids: [Option<String>; 2],
    /// Who it is on the target.
    pub(crate) identity: Identity,
    /// Up to where its internal topic was read.
    pub(crate) read_until: i64,
    /// What it needs to write to the target.
    pub(crate) lease: Arc<Lease>,
}

/// Commands that may wait for a stream.
pub(crate) const COMMANDS: usize = 64;

/// Everything a stream's tasks share.
struct Stream {
    config: Arc<Config>,
    /// The mirror's, also where the configuration gives none.
    name: Arc<str>,
    /// The id of the target's cluster.
    target_id: Arc<str>,
    identity: Identity,
    source: Cluster,
    target: Cluster,
    lease: Arc<Lease>,
    slots: RefCell<Slots>,
    by_name: RefCell<HashMap<Rc<str>, HashMap<i32, usize>>>,
    /// The names at the source of topics, by their names on the target.
    names_at_source: RefCell<HashMap<Rc<str>, Rc<str>>>,
    /// The same by their ids there.
    names_by_id: RefCell<HashMap<u128, Rc<str>>>,
    /// Work for each source broker: slots whose wish to fetch has changed.
    fetchers: RefCell<BTreeMap<i32, Rc<Lane>>>,
    /// Work for each source broker: slots of which nothing comes, and that are asked for apart.
    silent: RefCell<BTreeMap<i32, Rc<Lane>>>,
    /// Work for each target broker: slots that have something to send.
    senders: RefCell<BTreeMap<i32, Rc<Lane>>>,
    /// Work for each target broker: slots that have a hole to be filled.
    fillers: RefCell<BTreeMap<i32, Rc<Lane>>>,
    /// Slots that have holes to be written down, and where that is done, if offsets are translated.
    mapper: Rc<Lane>,
    notebook: tokio::sync::Mutex<Notebook>,
    echo: echo::Echo,
    /// Slots that are parked, and may be so because their topic is another one now.
    suspects: Lane,
    /// How holes are filled on this target.
    markers: Cell<filling::Way>,
    /// Slots whose position has to be read.
    closed: RefCell<BTreeSet<usize>>,
    closed_changed: Notify,
    stale: [Cell<bool>; 2],
    stale_changed: Notify,
    budget: Budget,
    /// How fast the whole mirror may copy.
    throttle: Arc<Throttle>,
    events: Events,
    /// By the clock since boot.
    started: Duration,
    halted: Cell<bool>,
}

/// One partition of the stream.
struct Slot {
    /// The name at the source.
    topic: Rc<str>,
    /// The name on the target.
    target_topic: Rc<str>,
    /// The topic's ids by side, nil where a cluster has none.
    ids: [u128; 2],
    partition: i32,
    machine: Partition<Batch>,
    progress: Arc<Progress>,
    leaders: [i32; 2],
    /// Whether it is known that what it is parked for is not that its topic is another one now.
    is_judged: bool,
    /// What the fetcher was told that this partition wants.
    fetch_told: Option<i64>,
    /// It is asked for apart, because nothing came of it.
    apart: bool,
    /// The offset that it waits for, and for how many looks.
    waits_at: (i64, u32),
    /// An empty transaction may be open. It is ended before holes are filled in any other way: it would be
    /// aborted some time, and the marker of that would be an offset too much.
    in_transaction: bool,
    /// Up to this offset of the source was counted what is left out because it comes from the target.
    echo_until: i64,
    state_told: State,
    /// It was logged why it waits.
    wait_told: bool,
    /// Where the long hole ends that was told, -1 if there is none.
    hole_told: i64,
    ran: bool,
    /// When a batch was sent last, or the position was read.
    last_sent: Duration,
    /// How many connections to the target's leader each [`Task`] had opened when the position began to be read.
    opened_over: [u32; 2],
}

const NO_LEADER: i32 = -1;
/// Batches are not cut unless the target refuses them.
const LARGEST_BATCH: usize = i32::MAX as usize;
/// Markers written for one partition in one request: many partitions share a request.
const MARKERS: i32 = 10_000;
/// A request to write markers of a process that died is worked off by then, or its connection is gone.
const SETTLE: Duration = Duration::from_secs(1);

/// Two processes that are started at the same moment must not both have waited long enough at the same moment.
fn settle_time(identity: Identity) -> Duration {
    const STEPS: i32 = 8;
    SETTLE + SETTLE / STEPS as u32 * (identity.fence / 256 % STEPS) as u32
}

/// A broker that is silent for so long beyond what it was allowed may be gone.
const PATIENCE: Duration = Duration::from_secs(3);

/// Runs a stream until it is told to stop.
pub(crate) async fn run(config: Arc<Config>, start: Start, shared: Arc<Shared>, commands: mpsc::Receiver<Command>) {
    let budget = Budget::new(config.buffer_memory / config.num_streams);
    let [source_id, target_id] = start.cluster_ids;
    let [source_reach, target_reach] = shared.reach.clone();
    let stream = Rc::new(Stream {
        source: Cluster::new("source", config.source.clone()).known_as(source_id).told_by(source_reach),
        target: Cluster::new("target", config.target.clone())
            .known_as(target_id)
            .told_by(target_reach)
            .under(start.lease.clone()),
        lease: start.lease,
        notebook: tokio::sync::Mutex::new(Notebook::of(&start.name, start.read_until)),
        echo: echo::Echo::default(),
        mapper: Rc::default(),
        name: start.name,
        target_id: start.target_id,
        identity: start.identity,
        config,
        events: shared.events.clone(),
        throttle: shared.throttle.clone(),
        budget,
        slots: RefCell::default(),
        by_name: RefCell::default(),
        names_at_source: RefCell::default(),
        names_by_id: RefCell::default(),
        fetchers: RefCell::default(),
        silent: RefCell::default(),
        senders: RefCell::default(),
        fillers: RefCell::default(),
        suspects: Lane::default(),
        markers: Cell::new(filling::Way::Markers),
        closed: RefCell::default(),
        closed_changed: Notify::new(),
        stale: [Cell::new(false), Cell::new(false)],
        stale_changed: Notify::new(),
        started: since_boot(),
        halted: Cell::new(false),
    });
    drop(shared);
    stream.serve(commands).await;
}

impl Stream {
    async fn serve(self: Rc<Self>, mut commands: mpsc::Receiver<Command>) {
        tasks::spawn(opening::run(self.clone()));
        tasks::spawn(leaders::run(self.clone()));
        tasks::spawn(silence::watch(self.clone()));
        tasks::spawn(mapping::run(self.clone(), self.mapper.clone()));
        tasks::spawn(resets::run(self.clone()));
        let stream = self.clone();
        tasks::spawn(async move { stream.target.watch_lease().await });
        while let Some(command) = commands.recv().await {
            match command {
                Command::Assign(partitions) => self.assign(partitions),
                Command::Park(topic, error) => self.each_of(&topic, |machine| machine.park(error.clone())),
                Command::Resume(topic) => {
                    let now = self.now();
                    self.each_of(&topic, |machine| machine.resume(now));
                    self.leaders_are_stale(Side::Source);
                    self.leaders_are_stale(Side::Target);
                }
                Command::Forget(topic) => self.forget(&topic),
                Command::Reopen(partitions) => self.reopen(&partitions),
                Command::Pause(paused) => self.halt(paused),
                Command::Stop(deadline, done) => {
                    self.halt(true);
                    self.drain(deadline).await;
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    fn assign(&self, partitions: Vec<Arc<Progress>>) {
        let mut names: HashMap<Arc<str>, Rc<str>> = HashMap::new();
        let mut name = |name: &Arc<str>| names.entry(name.clone()).or_insert_with(|| Rc::from(&**name)).clone();
        for progress in partitions {
            let (topic, target_topic) = (name(&progress.topic), name(&progress.target_topic));
            self.names_at_source.borrow_mut().insert(target_topic.clone(), topic.clone());
            let mut slots = self.slots.borrow_mut();
            self.by_name.borrow_mut().entry(topic.clone()).or_default().insert(progress.partition, slots.end());
            self.closed.borrow_mut().insert(slots.end());
            let ids = [progress.ids.source, progress.ids.target];
            self.names_by_id.borrow_mut().insert(ids[Side::Target as usize], topic.clone());
            slots.push(Slot {
                topic,
                target_topic,
                ids,
                partition: progress.partition,
                machine: Partition::new(self.identity, self.limits()),
                progress,
                leaders: [NO_LEADER; 2],
                is_judged: false,
                fetch_told: None,
                apart: false,
                waits_at: (-1, 0),
                in_transaction: false,
                echo_until: 0,
                state_told: State::Starting,
                wait_told: false,
                hole_told: -1,
                ran: false,
                last_sent: Duration::ZERO,
                opened_over: [0; 2],
            });
        }
        self.leaders_are_stale(Side::Source);
        self.leaders_are_stale(Side::Target);
    }

    /// Those of them that are this stream's.
    fn reopen(&self, partitions: &[Arc<Progress>]) {
        let now = self.now();
        for progress in partitions {
            let slot = self.slot(&progress.topic, progress.partition);
            let is_ours =
                |slot: &usize| self.slots.borrow().get(*slot).is_some_and(|it| Arc::ptr_eq(&it.progress, progress));
            if let Some(slot) = slot.filter(is_ours) {
                self.with_machine(slot, |machine| machine.reopen(now));
            }
        }
    }

    fn forget(&self, topic: &str) {
        let forgotten = self.by_name.borrow_mut().remove(topic).unwrap_or_default();
        self.names_at_source.borrow_mut().retain(|_, at_source| &**at_source != topic);
        self.names_by_id.borrow_mut().retain(|_, at_source| &**at_source != topic);
        let mut slots = self.slots.borrow_mut();
        for index in forgotten.into_values() {
            slots.remove(index);
            // Whoever fetches it leaves it out.
            self.fetchers.borrow().values().for_each(|lane| lane.put(index));
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            max_in_flight: self.config.target.max_in_flight,
            queued_bytes: self.config.source.max_partition_fetch_bytes as usize,
            batch_bytes: LARGEST_BATCH,
            holes: if self.translates() { Holes::Mapped } else { Holes::Filled { at_once: MARKERS } },
            settle: settle_time(self.identity),
            go_on_after_loss: self.config.on_data_loss == OnDataLoss::Continue,
            skip_refused: self.config.on_record_refused == OnRecordRefused::Skip,
            backoff: self.config.target.retry_backoff,
            backoff_max: self.config.target.retry_backoff_max,
        }
    }

    fn translates(&self) -> bool {
        self.config.translates()
    }

    fn read_committed(&self) -> bool {
        self.config.isolation_level == IsolationLevel::ReadCommitted
    }

    /// Time since the stream began, as the machines count it: also while the machine was suspended.
    fn now(&self) -> Duration {
        since_boot().saturating_sub(self.started)
    }

    /// Stops or resumes fetching and the filling of holes.
    fn halt(&self, halted: bool) {
        self.halted.set(halted);
        for lane in self.fillers.borrow().values() {
            lane.changed.notify_one();
        }
        let all: Vec<usize> = self.slots.borrow().numbers().collect();
        for lane in self.fetchers.borrow().values().chain(self.silent.borrow().values()) {
            lane.slots.borrow_mut().extend(&all);
            lane.changed.notify_one();
        }
    }

    /// Says something to the machines of all partitions of a topic.
    fn each_of(&self, topic: &str, say: impl Fn(&mut Partition<Batch>)) {
        let slots: Vec<usize> =
            self.by_name.borrow().get(topic).map(|slots| slots.values().copied().collect()).unwrap_or_default();
        for slot in slots {
            self.with_machine(slot, &say);
        }
    }

    /// Waits until no answer is under way.
    async fn drain(&self, deadline: Instant) {
        const PAUSE: Duration = Duration::from_millis(2);
        while Instant::now() < deadline && !self.slots.borrow().iter().all(|slot| slot.machine.is_idle()) {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Says something to a partition's machine, and sees to what it wants then.
    fn with_machine(&self, slot: usize, say: impl FnOnce(&mut Partition<Batch>)) {
        if let Some(slot) = self.slots.borrow_mut().get_mut(slot) {
            say(&mut slot.machine);
        }
        self.update(slot);
    }

    /// Wakes whose turn it is, and shows the partition's progress.
    fn update(&self, index: usize) {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.get_mut(index) else { return };
        if slot.machine.can_produce()
            && slot.leaders[Side::Target as usize] != NO_LEADER
            && let Some(lane) = self.senders.borrow().get(&slot.leaders[Side::Target as usize])
        {
            lane.put(index);
        }
        if self.translates() && slot.machine.can_fill() {
            self.mapper.put(index);
        } else if slot.machine.can_fill()
            && slot.leaders[Side::Target as usize] != NO_LEADER
            && let Some(lane) = self.fillers.borrow().get(&slot.leaders[Side::Target as usize])
        {
            lane.put(index);
        }
        if slot.apart
            && let Some(lane) = self.silent.borrow().get(&slot.leaders[Side::Source as usize])
        {
            lane.put(index);
        } else if slot.machine.poll_fetch() != slot.fetch_told
            && let Some(lane) = self.fetchers.borrow().get(&slot.leaders[Side::Source as usize])
        {
            lane.put(index);
        }
        slot.progress.set_replicated(slot.machine.position(), slot.machine.replicated());
        slot.progress.set_in_flight(!slot.machine.is_idle());
        self.tell_left_out(slot);
        self.tell_hole(slot);
        let phase = slot.machine.phase();
        slot.is_judged &= phase == Phase::Parked;
        if phase == Phase::Parked && !slot.is_judged && slot.may_be_another_topic() {
            self.suspects.put(index);
            return;
        }
        if matches!(phase, Phase::Closed { .. }) && self.closed.borrow_mut().insert(index) {
            self.closed_changed.notify_one();
        }
        slot.ran |= phase == Phase::Running && !slot.machine.is_failing();
        let state = match phase {
            Phase::Parked => State::Failed,
            _ if !slot.ran => State::Starting,
            _ if slot.machine.is_failing() || slot.leaders.contains(&NO_LEADER) => State::Stalled,
            _ => State::CatchingUp,
        };
        if state == slot.state_told && (state == State::Failed || !slot.machine.is_failing()) {
            return;
        }
        let before = std::mem::replace(&mut slot.state_told, state);
        let changed = before != state;
        if before == State::Failed {
            let message = format!("topic '{}' partition {} goes on", slot.topic, slot.partition);
            let (topic, partition) = (Some(slot.progress.topic.clone()), Some(slot.partition));
            self.events.send(Event { topic, partition, ..Event::new(EventKind::PartitionResumed, message) });
        }
        match slot.machine.error().filter(|_| state != State::CatchingUp) {
            Some(_) if state == State::Failed => self.tell_parked(slot),
            error => {
                slot.progress.set_state(state, error);
                match error.filter(|_| changed || !slot.wait_told) {
                    None => {}
                    // An outage is told once, not by each partition.
                    Some(error) if error.kind() == ErrorKind::Connect => {
                        tracing::debug!(topic = &*slot.topic, partition = slot.partition, %error, "partition waits");
                    }
                    Some(error) => {
                        tracing::warn!(topic = &*slot.topic, partition = slot.partition, %error, "partition waits");
                    }
                }
                slot.wait_told = error.is_some();
            }
        }
    }

    /// The name at the source of a topic of the target.
    fn name_at_source(&self, target_topic: &str) -> Option<Rc<str>> {
        self.names_at_source.borrow().get(target_topic).cloned()
    }

    /// The slot of a partition, by the name of its topic at the source.
    fn slot(&self, topic: &str, partition: i32) -> Option<usize> {
        self.by_name.borrow().get(topic)?.get(&partition).copied()
    }

    fn is_opened_over(&self, slot: usize, lane: &Lane, task: Task) -> bool {
        self.slots.borrow().get(slot).is_some_and(|slot| slot.is_opened_over(lane, task))
    }

    /// The slots whose partition is led by a broker.
    fn slots_led_by(&self, side: Side, broker: i32) -> Vec<usize> {
        let slots = self.slots.borrow();
        let is_led = |index: &usize| slots.get(*index).is_some_and(|slot| slot.leaders[side as usize] == broker);
        slots.numbers().filter(is_led).collect()
    }

    /// The metadata of a cluster is to be read again.
    fn leaders_are_stale(&self, side: Side) {
        if planted::is(Bug::LeadersStay) && side == Side::Source && !self.fetchers.borrow().is_empty() {
            return;
        }
        self.stale[side as usize].set(true);
        self.stale_changed.notify_one();
    }

    /// Waits for a broker's answer. While it is silent the metadata is read again and again: it may have vanished without
    /// closing its connections, and its partitions may have been given other leaders.
    async fn watched<T>(&self, side: Side, patience: Duration, answer: impl Future<Output = T>) -> T {
        let mut answer = std::pin::pin!(answer);
        loop {
            match tokio::time::timeout(patience, &mut answer).await {
                Ok(answer) => return answer,
                // Left open: that the time is over is no answer; it is waited on.
                Err(_) => self.leaders_are_stale(side),
            }
        }
    }

    fn cluster(&self, side: Side) -> &Cluster {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }
}

impl Slot {
    /// Whether its position was read after the connection was opened over which it would be written to now.
    fn is_opened_over(&self, lane: &Lane, task: Task) -> bool {
        self.opened_over[task as usize] == lane.connections.get() || planted::is(Bug::KeepsPositions)
    }

    /// Whether it is parked for what a topic that was created again looks like, too.
    fn may_be_another_topic(&self) -> bool {
        let kind = self.machine.error().map(Error::kind);
        self.progress.ids.source != 0 && matches!(kind, Some(ErrorKind::DataLoss | ErrorKind::Diverged))
    }

    /// The name of its topic.
    fn topic_at(&self, side: Side) -> &str {
        match side {
            Side::Source => &self.topic,
            Side::Target => &self.target_topic,
        }
    }
}
