//! Compares what consumers would read from source and target, while both are live.
//!
//! `identical` is a proof: every record that the source had when it began was read from both sides and is equal. What was not seen is
//! never taken for equal, nor for absent.
//!
//! Compared are offset, key, value, headers in their order, timestamp, and the timestamp's type where a target's broker has replaced
//! the producer's time. Not compared is what only producers and brokers need, and what a copy has of its own: the producer's id, epoch
//! and sequence numbers (on the target they are the mirror's), the leader epoch, the bits for transactions (what was aborted is left
//! out on both sides), how records are cut into batches and compressed, checksums (each was right, else the batch could not be read)
//! and a batch's largest timestamp, which brokers work out from its records.
//!
//! It shares the connections to brokers with the mirror and nothing else: batches are cut, opened and judged here. The ends
//! are fixed when it begins ([`plan`]); then threads of its own work on several partitions each ([`partition`]), and
//! memory is bounded by what is read at once. Nothing is written anywhere.

mod batches;
mod classes;
mod compare;
mod decompress;
mod partition;
mod plan;
mod reading;
mod records;
mod repeated;
mod report;
mod sample;
mod superseded;
mod tally;
#[cfg(test)]
mod testing;
mod translated;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use serde::Serialize;

use crate::clock::Instant;
use crate::config::{Config, TopicSelection};
use crate::error::{Error, ErrorKind, Result};
use crate::waiting::{self, GivenUp};
use crate::wire::cluster::Cluster;
pub use classes::FindingKind;
use partition::{Verified, Work};
use plan::{Plan, Planned};
pub use report::{
    Difference, DifferenceKind, FieldDifference, Finding, Unread, VerifiedPartition, VerifyCounts, VerifyOutcome,
    VerifyReport,
};
pub use sample::Sample;

/// Partitions that a thread works on at the same time: while one waits for brokers another one is compared.
const PARTITIONS_PER_THREAD: usize = 4;
/// How often is asked whether to give up.
const SLICE: Duration = Duration::from_millis(50);
/// More than anybody waits, and no overflow when it is added to a time.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);
/// How long things may take that are about to change, such as an election.
const MEANWHILE: Duration = Duration::from_secs(2);

/// What to verify, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// Only these of the configured topics.
    pub topics: Option<TopicSelection>,
    /// How much of each partition.
    pub sample: Sample,
    /// Makes a sample the same as an earlier one.
    pub sample_seed: Option<u64>,
    /// How many differences are listed.
    pub max_differences: usize,
    /// For how long, from the beginning, a target is waited for that has not yet what the source has; what it lacks then is
    /// not yet replicated. Open transactions of the source are waited for as long.
    pub wait: Duration,
    /// Whether a target that is behind is accepted.
    pub allow_behind: bool,
    /// Whether it is accepted that one side has removed records which the other still has, at the beginning of a log.
    pub allow_expired: bool,
    /// How many keys are remembered at a time, for each partition of a compacted topic of which one side lacks records. Where there
    /// are more, both sides are read once more for each so many. A million take about 50 MB.
    pub max_keys: usize,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        VerifyOptions {
            topics: None,
            sample: Sample::Full,
            sample_seed: None,
            max_differences: 100,
            wait: Duration::from_secs(5),
            allow_behind: false,
            allow_expired: false,
            max_keys: 1 << 20,
        }
    }
}

/// How far a verification is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// Partitions that there are; 0 until it is known.
    pub partitions: u64,
    /// Partitions that are finished.
    pub partitions_done: u64,
    /// Records compared so far.
    pub records: u64,
    /// Bytes of the source's batches compared so far.
    pub bytes: u64,
    /// Real differences so far.
    pub differences: u64,
}

/// Compares what consumers would read from source and target, and waits for the result.
///
/// Every selected topic is compared partition by partition, up to where the source ends now: key, value, headers in their order,
/// timestamp and offset of every record, for the `isolation.level` of the configuration. The report is identical only if all of it was
/// seen and is equal, see [`VerifyOutcome`]. The number of threads is `num.streams`; answers of brokers take at most about
/// `buffer.memory`.
///
/// ```no_run
/// use kmirror::{VerifyOptions, config::Properties};
///
/// # fn main() -> kmirror::Result<()> {
/// let mut properties = Properties::new();
/// properties.set("source.bootstrap.servers", "a:9092");
/// properties.set("target.bootstrap.servers", "b:9092");
/// let (config, _warnings) = properties.build()?;
/// let report = kmirror::verify(config, VerifyOptions::default())?;
/// for difference in report.differences() {
///     println!("{difference}");
/// }
/// assert!(report.identical());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`ErrorKind::Connect`] if a cluster cannot be reached, [`ErrorKind::Config`] if no topic is selected. That something
/// differs, or that something is not proved to be equal, is no error here: it is in the report.
pub fn verify(config: Config, options: VerifyOptions) -> Result<VerifyReport> {
    verify_or(config, options, |_| false)
}

/// As [`verify`], telling the progress every 50 ms and asking whether to give up: for hosts that have to look for signals
/// while they wait.
///
/// # Errors
/// As there, and [`ErrorKind::TimedOut`] when `give_up` says so.
pub fn verify_or(
    config: Config,
    options: VerifyOptions,
    mut give_up: impl FnMut(&VerifyProgress) -> bool,
) -> Result<VerifyReport> {
    let now = Instant::now();
    let patience = now.checked_add(options.wait).unwrap_or(now + FOR_EVER);
    let shared = Arc::new(Shared { config, options, counters: Counters::default(), given_up: GivenUp::default() });
    let planned = Arc::new(Mutex::new(None));
    let (threads, of_plan) = (Threads::new(shared.clone()), planned.clone());
    threads.run(1, &mut give_up, move |shared, _| {
        let of_plan = of_plan.clone();
        async move {
            let plan = plan::plan(&shared.config, &shared.options, patience).await;
            *lock(&of_plan) = Some(plan);
        }
    })?;
    let plan = lock(&planned).take().unwrap_or_else(|| Err(Error::new(ErrorKind::Internal, LOST)))?;
    shared.counters.partitions.store(plan.partitions.len() as u64, Ordering::Relaxed);
    let jobs = Arc::new(Jobs::new(&plan, &shared, patience));
    let of_jobs = jobs.clone();
    let count = shared.config.num_streams.min(plan.partitions.len()).max(1);
    threads.run(count, &mut give_up, move |shared, threads| work(shared, of_jobs.clone(), threads))?;
    let done = std::mem::take(&mut *lock(&jobs.done));
    if done.len() < jobs.partitions.len() {
        return Err(Error::new(ErrorKind::Internal, LOST));
    }
    let seed = (shared.options.sample != Sample::Full).then_some(jobs.seed);
    Ok(summarise(plan, done, &shared.options, seed))
}

const LOST: &str = "a thread of the verification ended unexpectedly";

/// What the threads of a verification share.
struct Shared {
    config: Config,
    options: VerifyOptions,
    counters: Counters,
    given_up: GivenUp,
}

/// The progress, as it is counted.
#[derive(Default)]
struct Counters {
    partitions: AtomicU64,
    partitions_done: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    differences: AtomicU64,
}

/// Records, bytes and differences of a partition.
type Shown = [u64; 3];

impl Counters {
    fn add(&self, before: Shown, after: Shown) {
        for ((counter, before), after) in
            [&self.records, &self.bytes, &self.differences].into_iter().zip(before).zip(after)
        {
            counter.fetch_add(after.saturating_sub(before), Ordering::Relaxed);
        }
    }

    fn progress(&self) -> VerifyProgress {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        VerifyProgress {
            partitions: of(&self.partitions),
            partitions_done: of(&self.partitions_done),
            records: of(&self.records),
            bytes: of(&self.bytes),
            differences: of(&self.differences),
        }
    }
}

/// The partitions, and what came of those that are finished.
struct Jobs {
    partitions: Vec<Planned>,
    next: AtomicUsize,
    done: Mutex<Vec<Verified>>,
    patience: Instant,
    seed: u64,
}

impl Jobs {
    fn new(plan: &Plan, shared: &Shared, patience: Instant) -> Self {
        Jobs {
            partitions: plan.partitions.clone(),
            next: AtomicUsize::new(0),
            done: Mutex::default(),
            patience,
            seed: shared.options.sample_seed.unwrap_or_else(sample::random_seed),
        }
    }
}

/// Works on several partitions at a time until there are none left.
async fn work(shared: Arc<Shared>, jobs: Arc<Jobs>, threads: usize) {
    // Fewer, if there are so few that other threads would have none.
    let at_a_time = jobs.partitions.len().div_ceil(threads).min(PARTITIONS_PER_THREAD);
    let one_after_the_other = async |number: usize| {
        if number >= at_a_time {
            return;
        }
        let work = Work {
            config: &shared.config,
            options: &shared.options,
            source: Cluster::new("source", shared.config.source.clone()),
            target: Cluster::new("target", shared.config.target.clone()),
            readers: threads * at_a_time * 2,
            patience: jobs.patience,
            seed: jobs.seed,
            counters: &shared.counters,
        };
        while let Some(planned) = jobs.partitions.get(jobs.next.fetch_add(1, Ordering::Relaxed)) {
            let verified = partition::verify(planned, &work).await;
            lock(&jobs.done).push(verified);
            shared.counters.partitions_done.fetch_add(1, Ordering::Relaxed);
        }
    };
    let all: [usize; PARTITIONS_PER_THREAD] = [0, 1, 2, 3];
    let [first, second, third, fourth] = all.map(one_after_the_other);
    tokio::join!(first, second, third, fourth);
}

/// The threads of a verification. They end when they are dropped, finished or not.
struct Threads {
    shared: Arc<Shared>,
}

impl Threads {
    fn new(shared: Arc<Shared>) -> Self {
        Threads { shared }
    }

    /// Runs something on so many threads, each with a runtime of its own, and waits until all have ended.
    fn run<F: Future<Output = ()>>(
        &self,
        count: usize,
        give_up: &mut impl FnMut(&VerifyProgress) -> bool,
        body: impl Fn(Arc<Shared>, usize) -> F + Clone + Send + 'static,
    ) -> Result<()> {
        let (alive, ended) = crossbeam_channel::bounded(0);
        let mut threads = Vec::new();
        for number in 0..count {
            let (shared, body, alive) = (self.shared.clone(), body.clone(), alive.clone());
            let run = move || run_one(&shared, alive, body(shared.clone(), count));
            let thread = std::thread::Builder::new().name(format!("kmirror-verify-{number}")).spawn(run);
            threads.push(thread.map_err(|error| {
                self.shared.given_up.set();
                crate::limits::no_thread("the verification", &error)
            })?);
        }
        drop(alive);
        let outcome = self.wait(&ended, give_up);
        for thread in threads {
            join(thread)?;
        }
        outcome
    }

    fn wait(&self, ended: &Receiver<()>, give_up: &mut impl FnMut(&VerifyProgress) -> bool) -> Result<()> {
        loop {
            match ended.recv_timeout(SLICE) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => return Ok(()),
            }
            let progress = self.shared.counters.progress();
            if give_up(&progress) {
                self.shared.given_up.set();
                let message = format!(
                    "the verification was given up after {} records in {} of {} partitions",
                    progress.records, progress.partitions_done, progress.partitions
                );
                return Err(Error::new(ErrorKind::TimedOut, message));
            }
        }
    }
}

fn join(thread: JoinHandle<Result<()>>) -> Result<()> {
    thread.join().unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Error::new(ErrorKind::Internal, format!("{LOST}: {}", text.unwrap_or("panic"))))
    })
}

/// The body of a thread: runs to its end, or until it is to stop.
fn run_one(shared: &Shared, alive: Sender<()>, body: impl Future<Output = ()>) -> Result<()> {
    let ran = waiting::block_on(async {
        tokio::select! {
            () = body => {}
            () = shared.given_up.wait() => {}
        }
    });
    drop(alive);
    ran.map_err(|error| Error::new(ErrorKind::Internal, format!("{LOST}: {error}")))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts together what came of the partitions.
fn summarise(plan: Plan, mut done: Vec<Verified>, options: &VerifyOptions, sample_seed: Option<u64>) -> VerifyReport {
    done.sort_by(|a, b| (&a.details.topic, a.details.partition).cmp(&(&b.details.topic, b.details.partition)));
    let mut report = VerifyReport { topics: plan.topics, unread: plan.unread, sample_seed, ..VerifyReport::default() };
    for Verified { details, tally, error } in done {
        report.partitions += 1;
        report.records_compared += tally.records_compared;
        report.bytes_compared += tally.bytes_compared;
        report.bytes_decoded += tally.bytes_decoded;
        report.counts.add(&tally.counts);
        report.more_differences |= tally.more;
        let room = options.max_differences.saturating_sub(report.differences.len());
        report.more_differences |= tally.differences.len() > room;
        report.differences.extend(tally.differences.into_iter().take(room));
        report.findings.extend(tally.findings);
        if let Some((error, offset)) = error {
            let (topic, partition) = (details.topic.clone(), Some(details.partition));
            report.unread.push(Unread { topic, partition, offset: Some(offset), error });
        }
        report.details.push(details);
    }
    report.allow(options.allow_behind, options.allow_expired);
    report
}
