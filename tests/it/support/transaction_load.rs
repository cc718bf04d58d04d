//! Writes transactions of a few records in the background until stopped, commits or aborts each, and remembers which.
//!
//! Brokers die under it. A transaction whose end nobody can tell is kept apart: its records may be there or not.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::cluster::unique;
use super::records::{Acknowledged, Generator, Writing};
use super::transactions::{End, Transactions};
use super::{Failure, Outcome, fail, wait_for};

/// What became of the records that brokers have acknowledged, by hash. The load gives every record a number, so that no
/// two have the same hash.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    pub(crate) committed: Vec<Acknowledged>,
    pub(crate) aborted: HashSet<u64>,
    pub(crate) unknown: HashSet<u64>,
}

/// A transactional writer in the background.
pub(crate) struct TransactionLoad {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    thread: JoinHandle<Outcome<Outcomes>>,
}

/// What and where to write.
#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) bootstrap: String,
    pub(crate) topic: String,
    pub(crate) partitions: i32,
    pub(crate) seed: u64,
    pub(crate) writing: Writing,
    /// Between transactions.
    pub(crate) pause: Duration,
}

impl TransactionLoad {
    pub(crate) fn start(work: Work) -> Self {
        let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&committed));
        let thread = thread::spawn(move || work.write(&stopped, &counted));
        Self { stop, committed, thread }
    }

    /// Waits until so many more transactions are committed.
    pub(crate) fn wait_for_more(&self, transactions: u64) -> Outcome {
        let wanted = self.committed.load(Ordering::Relaxed) + transactions;
        wait_for(&format!("{transactions} more transactions are committed"), Duration::from_secs(120), || {
            if self.thread.is_finished() {
                return fail("the transactional load has given up writing");
            }
            Ok((self.committed.load(Ordering::Relaxed) >= wanted).then_some(()))
        })
    }

    /// Ends the last transaction and says what became of all.
    pub(crate) fn stop(self) -> Outcome<Outcomes> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| Failure("the transactional load panicked".to_owned()))?
    }
}

impl Work {
    fn write(&self, stop: &AtomicBool, committed: &AtomicU64) -> Outcome<Outcomes> {
        let id = unique("transaction-load");
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut generator = Generator::new(self.seed).numbered();
        let mut outcomes = Outcomes::default();
        let mut writer = None;
        while !stop.load(Ordering::Relaxed) {
            let transactions = match writer.take() {
                Some(transactions) => transactions,
                // Its broker may be down for a while; giving up is for the wait of a test.
                None => match Transactions::open_as(&self.bootstrap, &self.writing, &id, Duration::from_secs(30)) {
                    Ok(transactions) => transactions,
                    Err(_) => continue,
                },
            };
            let ended = self.one(&transactions, &mut random, &mut generator);
            let records = transactions.take_acknowledged();
            match ended {
                Ok(End::Commit) => {
                    outcomes.committed.extend(records);
                    committed.fetch_add(1, Ordering::Relaxed);
                }
                Ok(End::Abort) => outcomes.aborted.extend(records.iter().map(|record| record.hash)),
                Err(_) => {
                    outcomes.unknown.extend(records.iter().map(|record| record.hash));
                    // A new one of the same id finishes what this one has left.
                    continue;
                }
            }
            writer = Some(transactions);
            thread::sleep(self.pause);
        }
        Ok(outcomes)
    }

    fn one(&self, writer: &Transactions, random: &mut fastrand::Rng, generator: &mut Generator) -> Outcome<End> {
        writer.begin()?;
        let mut sent = Ok(());
        for _ in 0..random.usize(1..4) {
            let records = generator.by_ref().take(random.usize(1..5));
            // A refused record makes the transaction one to be aborted.
            sent = sent.and(writer.send(&self.topic, random.i32(0..self.partitions), records));
        }
        writer.end_somehow(if sent.is_err() || random.u8(..3) == 0 { End::Abort } else { End::Commit })
    }
}
