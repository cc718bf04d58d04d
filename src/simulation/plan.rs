//! What goes wrong in a history, and how often.
//! It is drawn from the seed; it never looks at what the mirror does.

use std::time::Duration;

use super::content;
use super::history::{History, TOPIC};
use super::world::{SOURCE, TARGET, World, tell};

/// What a history is about. Late and lost answers come on top in most of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Trouble {
    None,
    /// Connections break.
    Cuts,
    /// Processes crash, and are started again.
    Crashes,
    /// Processes stand still, and others are started meanwhile.
    Stops,
    /// Other brokers of the target lead.
    TargetElections,
    /// Other brokers of the source lead.
    SourceElections,
    /// Brokers of either side go down and come back.
    Outages,
    /// Followers of the target fall behind, and lead afterwards: acknowledged records are lost.
    TargetUnclean,
    /// The source's brokers lose records at the end.
    SourceUnclean,
    /// The target's brokers forget producers.
    Forgets,
    /// The same while a process stands still, which another one has taken the place of.
    StopsAndForgets,
    /// The target's leader comes back without its logs.
    TargetEmptied,
    /// The source loses its beginning.
    SourceRetention,
    /// Somebody else writes to the target's topic.
    Foreign,
}

impl Trouble {
    const ALL: [Trouble; 14] = [
        Trouble::None,
        Trouble::Cuts,
        Trouble::Crashes,
        Trouble::Stops,
        Trouble::TargetElections,
        Trouble::SourceElections,
        Trouble::Outages,
        Trouble::TargetUnclean,
        Trouble::SourceUnclean,
        Trouble::Forgets,
        Trouble::StopsAndForgets,
        Trouble::TargetEmptied,
        Trouble::SourceRetention,
        Trouble::Foreign,
    ];

    /// Whether no mirror can go on after it in some histories.
    pub(super) fn may_stop(self) -> bool {
        matches!(self, Trouble::SourceUnclean | Trouble::SourceRetention | Trouble::Foreign)
    }

    /// Whether it has to stop, however the logs look.
    pub(super) fn has_to_stop(self, world: &World) -> bool {
        self == Trouble::Foreign && world.has_excuse.get()
    }
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) trouble: Trouble,
    pub(super) partitions: usize,
    pub(super) translates: bool,
    pub(super) steps: u64,
    /// Longest pause between steps, in milliseconds.
    pub(super) pace: u64,
    /// The step at which the trouble begins, and one in how many steps brings it again.
    pub(super) at: u64,
    pub(super) again: u64,
    /// Of a thousand requests so many meet with something.
    pub(super) faults: u64,
    /// How late one can be, in milliseconds.
    pub(super) latest: u64,
    /// Of a thousand fetches so many are answered with nothing, and how long followers take, in milliseconds.
    pub(super) silence: u64,
    pub(super) lag: u64,
    /// Of a hundred batches of the source so many leave offsets without a record.
    pub(super) holes: u64,
}

impl Plan {
    pub(super) fn draw(world: &World) -> Self {
        let steps = world.draw(5..30);
        Plan {
            trouble: Trouble::ALL[world.draw(0..Trouble::ALL.len() as u64) as usize],
            partitions: 1 + world.one_in(3) as usize,
            translates: world.one_in(4),
            steps,
            pace: [5, 40, 400, 1500][world.draw(0..4) as usize],
            at: world.draw(0..steps),
            again: world.draw(2..12),
            faults: [0, 5, 20, 60][world.draw(0..4) as usize],
            latest: [20, 300, 2500][world.draw(0..3) as usize],
            silence: [0, 0, 20, 200][world.draw(0..4) as usize],
            lag: [4, 4, 40, 400][world.draw(0..4) as usize],
            holes: [0, 0, 20, 50][world.draw(0..4) as usize],
        }
    }
}

impl History {
    /// It happens.
    pub(super) async fn trouble(&self) {
        let world = &self.world;
        match self.plan.trouble {
            Trouble::None => {}
            Trouble::Cuts => {
                let (side, all) = (world.draw(0..2) as usize, world.one_in(2));
                let broker = world.draw(0..2) as usize;
                let cut = world.cut(|at, number, _| at == side && (all || number == broker));
                tell!(world, "{cut} connections to the {} break", world.clusters[side].side);
            }
            Trouble::Crashes => self.crash().await,
            Trouble::Stops => self.stop(false).await,
            Trouble::StopsAndForgets => self.stop(true).await,
            Trouble::TargetEmptied => self.empty(),
            Trouble::Foreign => {
                let partition = world.draw(0..self.plan.partitions as u64) as usize;
                let is_there = content::append_foreign(world, TOPIC, partition);
                world.has_excuse.set(world.has_excuse.get() || (is_there && !self.plan.translates));
            }
            Trouble::TargetElections => self.elect(TARGET, false),
            Trouble::SourceElections => self.elect(SOURCE, false),
            Trouble::Outages => self.outage(),
            Trouble::TargetUnclean => self.elect(TARGET, true),
            Trouble::SourceUnclean => {
                self.elect(SOURCE, true);
                // The new log soon ends behind where the mirror is.
                let batches = if world.one_in(2) { world.draw(1..12) } else { 0 };
                (0..batches).for_each(|_| self.grow());
            }
            Trouble::Forgets => self.forget(),
            Trouble::SourceRetention => self.retain(),
        }
    }

    async fn crash(&self) {
        let world = &self.world;
        let in_good_order = world.one_in(3);
        if let Some(last) = world.processes.borrow_mut().last_mut() {
            tell!(world, "the last process {}", if in_good_order { "is asked to stop" } else { "crashes" });
            if in_good_order { last.ask_to_stop() } else { last.crash() }
        }
        world.pause(0..500).await;
        self.start_process();
    }

    fn forget(&self) {
        tell!(self.world, "the target's brokers forget producers");
        self.world.clusters[TARGET].change(|state| state.logs().for_each(|log| log.forget_producers()));
    }

    /// The leader of the target's topic comes back without its logs, and its replicas follow it.
    fn empty(&self) {
        let world = &self.world;
        world.clusters[TARGET].change(|state| {
            for log in state.topics.get_mut(TOPIC).into_iter().flat_map(|topic| &mut topic.logs) {
                let leader = log.leader;
                log.replicas[leader].end = 0;
                log.elect(leader, 0);
                log.forget_producers();
                tell!(world, "a leader of the target has lost its log, which ends at {}", log.end());
            }
        });
        world.cut(|side, _, _| side == TARGET);
    }

    async fn stop(&self, forgets: bool) {
        let world = &self.world;
        let time = Duration::from_millis(world.draw(100..8000));
        let at = world.processes.borrow().len() - 1;
        tell!(world, "process {at} stands still for {} ms", time.as_millis());
        world.processes.borrow_mut()[at].is_stopped = true;
        tokio::time::sleep(time / 2).await;
        if forgets || world.one_in(2) {
            self.start_process();
        }
        tokio::time::sleep(time / 2).await;
        if forgets {
            world.pause(0..6000).await;
            self.grow();
            world.pause(0..1000).await;
            self.forget();
        }
        tell!(world, "process {at} goes on");
        world.processes.borrow_mut()[at].is_stopped = false;
    }

    /// Another broker leads. An unclean one has not got the last of what was acknowledged.
    fn elect(&self, side: usize, unclean: bool) {
        let world = &self.world;
        let cluster = &world.clusters[side];
        let (broker, lost) = (world.draw(0..2) as usize, world.draw(1..5) as i64);
        cluster.change(|state| {
            let topics = state.topics.iter_mut().filter(|(name, _)| !unclean || *name == TOPIC);
            for (name, topic) in topics {
                for log in &mut topic.logs {
                    let leader = (log.leader + 1 + broker) % log.replicas.len();
                    let end = log.replicas[leader].end;
                    if unclean {
                        world.has_excuse.set(world.has_excuse.get() || side == SOURCE);
                        // With all that it has of the mirror the target would lose what makes an append conditional.
                        let kept = usize::from(side == TARGET);
                        let mut at = log.batches.len().saturating_sub(lost as usize).max(kept);
                        // The end of a transaction stays with its records. What an election has taken the end of may
                        // end otherwise later: a mirror that was just filling the offsets of aborted records does not
                        // see that (a known fault).
                        while log.batches.get(at).is_some_and(|batch| batch.header.is_control()) {
                            at += 1;
                        }
                        log.replicas[leader].end = log.batches.get(at).map_or(end, |batch| batch.base());
                    }
                    log.elect(leader, lost);
                    tell!(world, "{name}: broker {leader} of the {} leads from offset {}", cluster.side, log.end());
                }
            }
        });
    }

    fn outage(&self) {
        let world = &self.world;
        let side = world.draw(0..2) as usize;
        let cluster = &world.clusters[side];
        let down = cluster.state.borrow().up.iter().position(|up| !up);
        match down {
            Some(broker) => {
                tell!(world, "{}-{broker} comes back", cluster.side);
                cluster.change(|state| state.come_back(broker));
            }
            None => {
                let brokers = cluster.state.borrow().up.len() as u64;
                let broker = world.draw(0..brokers) as usize;
                tell!(world, "{}-{broker} goes down", cluster.side);
                cluster.change(|state| {
                    state.sessions.clear();
                    state.leave(broker);
                });
                world.cut(|at, number, _| at == side && number == broker);
            }
        }
    }

    pub(super) fn retain(&self) {
        let world = &self.world;
        let kept = world.draw(0..4) as usize;
        world.clusters[SOURCE].change(|state| {
            for log in state.topics.get_mut(TOPIC).into_iter().flat_map(|topic| &mut topic.logs) {
                let at = log.batches.len().saturating_sub(kept);
                let offset = log.batches.get(at).map_or(log.last_stable(), |batch| batch.base()).min(log.last_stable());
                log.delete_before(offset);
                tell!(world, "the source keeps what is from offset {} on", log.start);
            }
        });
    }

    /// The source gets another batch, or something that leaves offsets without a record.
    pub(super) fn grow(&self) {
        let world = &self.world;
        let partition = world.draw(0..self.plan.partitions as u64) as usize;
        if world.draw(0..100) >= self.plan.holes {
            return content::append(world, TOPIC, partition, content::Kind::Records);
        }
        match world.draw(0..4) {
            0 => content::append(world, TOPIC, partition, content::Kind::Committed),
            1 => content::append(world, TOPIC, partition, content::Kind::Aborted),
            2 => content::append(world, TOPIC, partition, content::Kind::Open),
            _ => content::compact(world, TOPIC, partition),
        }
    }
}
