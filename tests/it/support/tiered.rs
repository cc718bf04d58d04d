//! One broker with tiered storage (KIP-405) whose remote store is a folder, and as slow as a test wants, for each topic.
//!
//! [`Tiered::shared`] is one that all tests of a process use together: slowness is set for a topic, so take topic names from
//! [`unique`](super::cluster::unique). [`Tiered::fill`] writes records and waits until all but the newest are in the remote
//! store alone.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use super::cluster::{Cluster, Options};
use super::failure::Context;
use super::records::{Generator, Record, Writing, produce};
use super::{Outcome, fail, nursery, wait_for};

/// Segments are uploaded and removed every second.
const LIMIT: Duration = Duration::from_secs(90);
/// The smallest segment that brokers of all releases allow.
pub(crate) const SEGMENT: &str = "1048576";
/// Bytes of the values of [`Tiered::records`]: about a thousand of these records are a segment.
const VALUE: usize = 1_000;

/// A broker with a remote store.
pub(crate) struct Tiered {
    pub(crate) cluster: Cluster,
    folder: PathBuf,
}

impl Tiered {
    /// The one of the newest release that the tests of this process share.
    pub(crate) fn shared() -> Outcome<&'static Self> {
        static SHARED: OnceLock<Outcome<Tiered>> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::start(Options::default()))
            .as_ref()
            .map_err(Clone::clone)
            .context("the shared broker with tiered storage did not start")
    }

    /// Starts one with other options too.
    pub(crate) fn start(options: Options) -> Outcome<Self> {
        let (classes, folder) = (options.version.compile("SlowStorage")?, nursery::directory("remote-store")?);
        let [classes, remote] = [&classes, &folder].map(|path| path.display().to_string());
        let options = [
            ("remote.log.storage.system.enable", "true"),
            ("remote.log.storage.manager.class.name", "SlowStorage"),
            ("remote.log.storage.manager.class.path", &format!("{classes}/")),
            ("remote.log.storage.manager.impl.prefix", "rsm.config."),
            ("rsm.config.folder", &remote),
            ("remote.log.metadata.manager.listener.name", "DIRECT"),
            ("rlmm.config.remote.log.metadata.topic.replication.factor", "1"),
            ("rlmm.config.remote.log.metadata.topic.num.partitions", "2"),
            ("remote.log.manager.task.interval.ms", "300"),
        ]
        .into_iter()
        .fold(options, |options, (name, value)| options.property(name, value));
        Ok(Self { cluster: Cluster::start(options)?, folder })
    }

    /// Creates a topic whose segments go to the remote store and do not stay here. A broker rolls its newest segment too
    /// when that is older than `local.retention.ms`, so after a while even the last record is in the remote store alone.
    pub(crate) fn create_topic(&self, topic: &str, partitions: i32) -> Outcome {
        self.create(topic, partitions, ("local.retention.ms", "1000"))
    }

    /// Creates a topic of which a broker always keeps the newest records, and the older ones are in the remote store alone.
    pub(crate) fn create_topic_with_local_end(&self, topic: &str, partitions: i32) -> Outcome {
        self.create(topic, partitions, ("local.retention.bytes", SEGMENT))
    }

    fn create(&self, topic: &str, partitions: i32, local_retention: (&str, &str)) -> Outcome {
        let remote = ("remote.storage.enable", "true");
        let configs = [remote, ("segment.bytes", SEGMENT), ("retention.ms", "-1"), local_retention];
        self.cluster.create_topic(topic, partitions, &configs)
    }

    /// Records of about a kilobyte each.
    pub(crate) fn records(seed: u64) -> impl Iterator<Item = Record> {
        Generator::new(seed).value_size(VALUE..VALUE + 1)
    }

    /// Writes so many records to each partition, and waits until the first of them are in the remote store alone.
    pub(crate) fn fill(&self, topic: &str, partitions: i32, records: usize) -> Outcome {
        let writing = Writing { batch_bytes: 50_000, ..Writing::default() };
        for partition in 0..partitions {
            let some = Self::records(partition.unsigned_abs().into()).take(records);
            produce(&self.cluster.bootstrap(), topic, partition, some, &writing)?;
        }
        for partition in 0..partitions {
            wait_for(&format!("{topic}-{partition} is in the remote store"), LIMIT, || {
                Ok((self.local_start(topic, partition)? > 0).then_some(()))
            })?;
        }
        Ok(())
    }

    /// The first offset that the broker has in a file of its own.
    pub(crate) fn local_start(&self, topic: &str, partition: i32) -> Outcome<i64> {
        let log = self.cluster.data_directory(1).join(format!("{topic}-{partition}"));
        let mut starts = Vec::new();
        for file in fs::read_dir(&log).context(log.display())? {
            let name = file?.file_name().into_string().unwrap_or_default();
            starts.extend(name.strip_suffix(".log").and_then(|offset| offset.parse::<i64>().ok()));
        }
        match starts.into_iter().min() {
            Some(start) => Ok(start),
            None => fail(format!("{topic}-{partition} has no segment")),
        }
    }

    /// From now on each read of a segment of a topic takes so long; with zero it takes no time.
    pub(crate) fn slow(&self, topic: &str, read: Duration) -> Outcome {
        let [file, new] = ["slow", "new"].map(|what| self.folder.join(format!("{what}.{topic}")));
        if read.is_zero() {
            return Ok(fs::remove_file(file)?);
        }
        fs::write(&new, read.as_millis().to_string())?;
        Ok(fs::rename(new, file)?)
    }

    /// How often the remote store was asked for records of a topic.
    pub(crate) fn reads(&self, topic: &str) -> usize {
        fs::read_to_string(self.folder.join(format!("reads.{topic}"))).unwrap_or_default().lines().count()
    }

    /// What the broker may read from the remote store in a second (Kafka 3.9 and newer).
    pub(crate) fn limit_reads(&self, bytes_per_second: u64) -> Outcome {
        let name = "remote.log.manager.fetch.max.bytes.per.second";
        self.cluster.client().alter_brokers(&[(name, &bytes_per_second.to_string())])
    }
}
