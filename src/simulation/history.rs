//! One seeded history: what happens to a mirror and both clusters, and what has to be true at the end.
//!
//! A plan drawn from the seed says what goes wrong; then the source grows while it does. At last everything heals, and
//! the mirror has a minute to bring the target to where it has to be.

use std::rc::Rc;
use std::time::Duration;

use super::content::{self, Compared};
use super::plan::{Plan, Trouble};
use super::process::Process;
use super::world::{SOURCE, TARGET, World, tell};
use crate::clock::simulated::Time;
use crate::config::{Config, Properties};
use crate::planted::Bug;
use crate::planted::tests as planted;
use crate::terms::state::State;

pub(super) const TOPIC: &str = "orders";
/// So long a healed world may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often is looked whether it is over.
const LOOK: Duration = Duration::from_millis(250);

/// How a history came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) trouble: Trouble,
    /// Records that were compared.
    pub(super) records: usize,
    /// The mirror has stopped a partition and says why.
    pub(super) stopped: Option<String>,
    /// What has happened, as a number.
    pub(super) trace: u64,
}

/// Runs the history of a seed. The error says which promise was broken.
pub(super) fn run(seed: u64, bug: Option<Bug>, verbose: bool) -> Result<Outcome, String> {
    planted::plant(bug);
    let outcome = run_planted(seed, verbose);
    planted::plant(None);
    outcome
}

fn run_planted(seed: u64, verbose: bool) -> Result<Outcome, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let _time = Time::begin();
        let (world, accepting) = World::new(seed, verbose, [2, 3]);
        let history = History { plan: Plan::draw(&world), world: world.clone() };
        tell!(world, "{:?}", history.plan);
        let outcome = world.run(accepting, history.live()).await;
        // Connections go while time is still simulated; the network of a process holds the world, too.
        world.processes.borrow_mut().clear();
        match world.violation() {
            Some(violation) => Err(format!("{:?}: {violation}", history.plan.trouble)),
            None => Ok(Outcome { trace: world.trace(), trouble: history.plan.trouble, ..outcome }),
        }
    })
}

pub(super) struct History {
    pub(super) plan: Plan,
    pub(super) world: Rc<World>,
}

impl History {
    async fn live(&self) -> Outcome {
        let world = &self.world;
        world.clusters[SOURCE].change(|state| state.create(TOPIC, self.plan.partitions, [].into()));
        (0..world.draw(0..6)).for_each(|_| self.grow());
        if world.one_in(10) {
            self.retain();
        }
        self.start_process();
        world.faults.set(self.plan.faults);
        world.latest.set(self.plan.latest);
        world.silence.set(self.plan.silence);
        world.lag.set(self.plan.lag);
        for step in 0..self.plan.steps {
            world.pause(0..self.plan.pace).await;
            if world.one_in(3) {
                self.grow();
            }
            if step == self.plan.at || (step > self.plan.at && world.one_in(self.plan.again)) {
                self.trouble().await;
            }
            self.keep_running();
            if world.violation().is_some() {
                break;
            }
        }
        self.heal().await;
        self.end().await
    }

    fn config(&self) -> Config {
        let mut properties = Properties::new();
        for (key, value) in [
            ("name", "m"),
            ("topics", TOPIC),
            ("source.bootstrap.servers", &*self.world.clusters[SOURCE].bootstrap()),
            ("target.bootstrap.servers", &*self.world.clusters[TARGET].bootstrap()),
            ("sync.group.offsets", "false"),
            ("sync.topic.configs", "false"),
            ("offsets", if self.plan.translates { "translate" } else { "preserve" }),
        ] {
            properties.set(key, value);
        }
        let (config, _) = properties.build().unwrap();
        config
    }

    pub(super) fn start_process(&self) {
        let number = self.world.processes.borrow().len();
        tell!(self.world, "process {number} starts");
        let process = Process::start(&self.world, number, self.config());
        self.world.processes.borrow_mut().push(process);
    }

    /// Whoever runs the mirror starts it again when it is not there, and nobody is who has taken its place.
    pub(super) fn keep_running(&self) {
        let last = {
            let mut processes = self.world.processes.borrow_mut();
            if let Some(at) = processes.iter().position(Process::has_panicked) {
                self.world.violate(format!("process {at} has panicked"));
            }
            let Some(last) = processes.last_mut() else { return };
            if last.is_there() {
                return;
            }
            last.error()
        };
        if let Some(error) = last {
            tell!(self.world, "the last process has ended: {error}");
        }
        self.start_process();
    }

    async fn heal(&self) {
        let world = &self.world;
        tell!(world, "everything heals");
        world.faults.set(0);
        world.silence.set(0);
        world.lag.set(4);
        world.processes.borrow_mut().iter_mut().for_each(|process| process.is_stopped = false);
        for cluster in &world.clusters {
            cluster.change(|state| {
                for broker in 0..state.up.len() {
                    state.come_back(broker);
                }
            });
        }
        (0..world.draw(0..3)).for_each(|_| self.grow());
        content::end_transactions(world, TOPIC);
        // Somebody else's record is seen when the next one is sent.
        let partitions = (0..self.plan.partitions).filter(|_| self.plan.trouble == Trouble::Foreign);
        partitions.for_each(|partition| content::append(world, TOPIC, partition, content::Kind::Records));
    }

    async fn end(&self) -> Outcome {
        let world = &self.world;
        let mut outcome = Outcome { trouble: self.plan.trouble, records: 0, stopped: None, trace: 0 };
        let until = crate::clock::Instant::now() + PATIENCE;
        loop {
            self.keep_running();
            if let Some(stopped) = self.stopped() {
                tell!(world, "the mirror has stopped: {stopped}");
                if !self.plan.trouble.may_stop() {
                    world.violate(format!("the mirror has stopped: {stopped}"));
                }
                outcome.stopped = Some(stopped);
                break;
            }
            match content::compare(self, TOPIC) {
                Compared::Same { records } if !self.plan.trouble.has_to_stop(world) => {
                    outcome.records = records;
                    break;
                }
                Compared::Same { .. } if crate::clock::Instant::now() > until => {
                    world.violate(format!("the mirror has not seen what it should have; {}", self.last_words()));
                }
                Compared::Same { .. } => {}
                Compared::Different(what) => world.violate(what),
                Compared::Behind(what) if crate::clock::Instant::now() > until => {
                    world.violate(format!("{what}; {}", self.last_words()));
                }
                Compared::Behind(_) => {}
            }
            if world.violation().is_some() {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        // Nothing may come behind what is the same.
        tokio::time::sleep(LOOK).await;
        if let Compared::Different(what) = content::compare(self, TOPIC) {
            world.violate(what);
        }
        outcome
    }

    /// Why partitions of the last process have stopped.
    fn stopped(&self) -> Option<String> {
        let processes = self.world.processes.borrow();
        let partitions = processes.last()?.shared.partitions();
        let failed = partitions.iter().filter(|partition| partition.state() == State::Failed);
        let errors: Vec<String> = failed.filter_map(|partition| Some(partition.error()?.to_string())).collect();
        (!errors.is_empty()).then(|| errors.join("; "))
    }

    fn last_words(&self) -> String {
        let processes = self.world.processes.borrow();
        let Some(last) = processes.last() else { return String::new() };
        let partitions = last.shared.partitions();
        let errors: Vec<String> =
            partitions.iter().filter_map(|partition| Some(partition.error()?.to_string())).collect();
        format!("the mirror is {:?}, {errors:?}", last.shared.state())
    }
}
