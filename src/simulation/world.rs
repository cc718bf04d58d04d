//! Everything of a history that is not the mirror: both clusters, the network, chance, and what is told of it.
//! Time is tokio's, which is paused; nothing here waits.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, LocalSet};

use super::cluster::Cluster;
use super::network::{self, Accepted};
use super::process::Process;
use crate::clock::simulated;

pub(super) const SOURCE: usize = 0;
pub(super) const TARGET: usize = 1;

macro_rules! tell {
    ($world:expr, $($what:tt)*) => {
        if $world.verbose { $world.print(&format!($($what)*)); }
    };
}
pub(super) use tell;

/// Values by partition and offset.
type Written = BTreeMap<(usize, i64), Vec<Vec<u8>>>;

/// The world.
pub(super) struct World {
    rng: RefCell<fastrand::Rng>,
    pub(super) clusters: [Rc<Cluster>; 2],
    pub(super) processes: RefCell<Vec<Process>>,
    /// Of a thousand requests so many meet with something, and how late one can be, in milliseconds.
    pub(super) faults: Cell<u64>,
    pub(super) latest: Cell<u64>,
    /// Of a thousand fetches so many are answered with nothing, and how long followers take, in milliseconds.
    pub(super) silence: Cell<u64>,
    pub(super) lag: Cell<u64>,
    /// Something has happened after which the target may hold what it should not, and the mirror has to stop and say
    /// so.
    pub(super) has_excuse: Cell<bool>,
    /// Every value that the source has had at an offset, by partition.
    pub(super) written: RefCell<Written>,
    pub(super) verbose: bool,
    accepted: mpsc::UnboundedSender<Accepted>,
    connections: RefCell<Vec<(usize, usize, usize, AbortHandle)>>,
    violation: RefCell<Option<String>>,
    /// What has happened, as a number: the same history has the same.
    trace: Cell<u64>,
}

impl World {
    pub(super) fn new(seed: u64, verbose: bool, brokers: [usize; 2]) -> (Rc<Self>, mpsc::UnboundedReceiver<Accepted>) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let by_id = [rng.bool(), rng.bool()];
        let cluster = |side: usize, name| Rc::new(Cluster::new(name, brokers[side], by_id[side], verbose));
        let clusters = [cluster(SOURCE, "source"), cluster(TARGET, "target")];
        let (accepted, accepting) = mpsc::unbounded_channel();
        let world = World {
            rng: RefCell::new(rng),
            clusters,
            processes: RefCell::default(),
            faults: Cell::new(0),
            latest: Cell::new(0),
            silence: Cell::new(0),
            lag: Cell::new(4),
            has_excuse: Cell::new(false),
            written: RefCell::default(),
            verbose,
            accepted,
            connections: RefCell::default(),
            violation: RefCell::default(),
            trace: Cell::new(0),
        };
        (Rc::new(world), accepting)
    }

    pub(super) fn draw(&self, range: Range<u64>) -> u64 {
        let drawn = self.rng.borrow_mut().u64(range);
        let now = simulated::passed().unwrap_or_default().as_nanos() as u64;
        self.trace.set((self.trace.get().rotate_left(7) ^ drawn ^ now).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        drawn
    }

    /// One time in so many.
    pub(super) fn one_in(&self, count: u64) -> bool {
        self.draw(0..count) == 0
    }

    pub(super) fn trace(&self) -> u64 {
        self.trace.get()
    }

    /// Waits for some milliseconds.
    pub(super) async fn pause(&self, range: Range<u64>) {
        let time = self.draw(range);
        if time > 0 {
            tokio::time::sleep(Duration::from_millis(time)).await;
        }
    }

    pub(super) fn print(&self, what: &str) {
        println!("{:>7} ms  {what}", simulated::passed().unwrap_or_default().as_millis());
    }

    /// A promise was broken; the first one counts.
    pub(super) fn violate(&self, what: String) {
        tell!(self, "BROKEN: {what}");
        self.violation.borrow_mut().get_or_insert(what);
    }

    pub(super) fn violation(&self) -> Option<String> {
        self.violation.borrow().clone()
    }

    /// Side and number of the broker at `side-number:port`.
    pub(super) fn broker_at(&self, address: &str) -> Option<(usize, usize)> {
        let (side, number) = address.split_once(':')?.0.rsplit_once('-')?;
        let side = self.clusters.iter().position(|cluster| cluster.side == side)?;
        Some((side, number.parse().ok()?))
    }

    pub(super) fn accept(&self, connection: Accepted) {
        // The world outlives its processes.
        let _ = self.accepted.send(connection);
    }

    /// Breaks connections.
    pub(super) fn cut(&self, which: impl Fn(usize, usize, usize) -> bool) -> usize {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| !connection.3.is_finished());
        let cut: Vec<_> = connections.iter().filter(|one| which(one.0, one.1, one.2)).collect();
        cut.iter().for_each(|connection| connection.3.abort());
        cut.len()
    }

    async fn keep_accepting(self: Rc<Self>, mut accepting: mpsc::UnboundedReceiver<Accepted>) {
        while let Some(accepted) = accepting.recv().await {
            let (side, broker, process) = (accepted.side, accepted.broker, accepted.process);
            let task = tokio::task::spawn_local(network::serve(self.clone(), accepted));
            let mut connections = self.connections.borrow_mut();
            connections.retain(|connection| !connection.3.is_finished());
            connections.push((side, broker, process, task.abort_handle()));
        }
    }

    /// Followers take what leaders have, a little later.
    async fn keep_replicating(self: Rc<Self>, side: usize) {
        let cluster = self.clusters[side].clone();
        loop {
            let changed = cluster.changed.notified();
            if !cluster.state.borrow_mut().logs().any(|log| log.is_behind()) {
                changed.await;
                continue;
            }
            self.pause(0..self.lag.get()).await;
            cluster.change(|state| {
                let up = state.up.clone();
                for log in state.logs() {
                    for broker in (0..up.len()).filter(|broker| up[*broker]) {
                        if log.replicas[broker].in_sync {
                            log.replicate(broker);
                        }
                    }
                    log.advance();
                }
            });
        }
    }

    /// Runs the world and its processes as long as a history takes.
    pub(super) async fn run<T>(
        self: &Rc<Self>,
        accepting: mpsc::UnboundedReceiver<Accepted>,
        history: impl Future<Output = T>,
    ) -> T {
        let local = LocalSet::new();
        local.spawn_local(self.clone().keep_accepting(accepting));
        local.spawn_local(self.clone().keep_replicating(SOURCE));
        local.spawn_local(self.clone().keep_replicating(TARGET));
        let (mut local, mut history) = (pin!(local), pin!(history));
        poll_fn(|context| {
            if let Poll::Ready(outcome) = history.as_mut().poll(context) {
                return Poll::Ready(outcome);
            }
            // It never ends by itself.
            let _ = local.as_mut().poll(context);
            for process in self.processes.borrow_mut().iter_mut() {
                process.poll(context);
            }
            Poll::Pending
        })
        .await
    }
}
