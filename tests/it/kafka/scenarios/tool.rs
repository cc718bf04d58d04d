//! The two tools a scenario is run with, and the file both are started with: keys of MirrorMaker 2, the same for either.
//!
//! A [`Stage`] is a tool between two clusters, with a name that is in every topic, group and alias of the scenario, so that all
//! scenarios can share their clusters and nothing of one is seen by another.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::cluster::{Cluster, Pair, Version, unique};
use crate::support::ledger::{self, Isolation, Ledger};
use crate::support::records::{Generator, Writing, produce};
use crate::support::{Failure, Outcome, fail, groups, nursery};

/// A hang limit, not a measure: a worker of Kafka Connect alone takes a quarter of a minute to start on a busy machine.
pub(super) const LIMIT: Duration = Duration::from_secs(150);
/// Asking costs the brokers something, and MirrorMaker 2 needs the processor.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// Who mirrors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    Kmirror,
    MirrorMaker2,
}

/// A tool, two clusters, and names that no other scenario uses.
pub(super) struct Stage<'a> {
    pub(super) tool: Tool,
    pub(super) pair: &'a Pair,
    pub(super) name: String,
    /// The aliases of source and target.
    pub(super) east: String,
    pub(super) west: String,
    /// A folder of classes that MirrorMaker 2 gets besides its own.
    pub(super) more_classes: Option<PathBuf>,
    settings: BTreeMap<String, String>,
}

impl<'a> Stage<'a> {
    pub(super) fn new(tool: Tool, pair: &'a Pair, id: &str) -> Self {
        let name = unique(&id.to_lowercase());
        let (east, west) = (format!("{name}-east"), format!("{name}-west"));
        let mut stage = Self { tool, pair, name, east, west, more_classes: None, settings: BTreeMap::new() };
        stage.set_common();
        stage
    }

    /// What Kafka's own tests set: everything is looked at every second, and one broker holds one replica.
    fn set_common(&mut self) {
        let (east, west, name) = (self.east.clone(), self.west.clone(), self.name.clone());
        self.set("clusters", &format!("{east}, {west}"));
        self.set(&format!("{east}.bootstrap.servers"), &self.pair.source.bootstrap());
        self.set(&format!("{west}.bootstrap.servers"), &self.pair.target.bootstrap());
        self.set(&format!("{east}->{west}.enabled"), "true");
        self.set("topics", &format!("{name}-.*"));
        self.set("groups", &format!("{name}-.*"));
        for topic in ["", "checkpoints.topic.", "heartbeats.topic.", "offset-syncs.topic."] {
            self.set(&format!("{topic}replication.factor"), "1");
        }
        for storage in ["offset", "status", "config"] {
            self.set(&format!("{storage}.storage.replication.factor"), "1");
        }
        for what in ["refresh.topics", "refresh.groups", "sync.topic.configs", "sync.group.offsets", "emit.checkpoints"]
        {
            self.set(&format!("{what}.interval.seconds"), "1");
        }
        // Workers of Kafka Connect take these from their own cluster only.
        for alias in [&east, &west] {
            self.set(&format!("{alias}.offset.flush.interval.ms"), "5000");
            self.set(&format!("{alias}.scheduled.rebalance.max.delay.ms"), "1000");
        }
        for (key, value) in [
            ("offset.storage.partitions", "1"),
            ("status.storage.partitions", "1"),
            ("emit.heartbeats.interval.seconds", "1"),
            ("emit.heartbeats.enabled", "false"),
            // Nobody else's, where clusters are shared.
            ("heartbeats.replication.enabled", "false"),
            ("sync.topic.acls.enabled", "false"),
        ] {
            self.set(key, value);
        }
    }

    /// Sets a key of the file.
    pub(super) fn set(&mut self, key: &str, value: &str) {
        self.settings.insert(key.to_owned(), value.to_owned());
    }

    /// The same in one expression.
    pub(super) fn with(mut self, key: &str, value: &str) -> Self {
        self.set(key, value);
        self
    }

    /// Without offset syncs, and then no key may speak of them.
    pub(super) fn without_offset_syncs(mut self) -> Self {
        self.settings.retain(|key, _| !key.starts_with("offset-syncs."));
        self.with("emit.offset-syncs.enabled", "false")
    }

    /// Both directions.
    pub(super) fn both_ways(self) -> Self {
        let back = format!("{}->{}.enabled", self.west, self.east);
        self.with(&back, "true")
    }

    pub(super) fn same_names(self) -> Self {
        self.with("replication.policy.class", "org.apache.kafka.connect.mirror.IdentityReplicationPolicy")
    }

    /// Takes everything out that was said about an alias, and gives the cluster another one.
    pub(super) fn rename_west(&mut self, alias: &str) {
        let old = std::mem::replace(&mut self.west, alias.to_owned());
        let settings = std::mem::take(&mut self.settings);
        let renamed = |text: &str| text.replace(&old, alias);
        self.settings = settings.iter().map(|(key, value)| (renamed(key), renamed(value))).collect();
    }

    pub(super) fn source(&self) -> &Cluster {
        &self.pair.source
    }

    pub(super) fn target(&self) -> &Cluster {
        &self.pair.target
    }

    /// The name of a topic or group of this scenario.
    pub(super) fn called(&self, what: &str) -> String {
        format!("{}-{what}", self.name)
    }

    /// What a topic of the source is called at the target.
    pub(super) fn copy(&self, topic: &str) -> String {
        match self.settings.contains_key("replication.policy.class") {
            true => topic.to_owned(),
            false => format!("{}.{topic}", self.east),
        }
    }

    /// What a topic of the target is called at the source.
    pub(super) fn copy_back(&self, topic: &str) -> String {
        format!("{}.{topic}", self.west)
    }

    pub(super) fn is(&self, tool: Tool) -> bool {
        self.tool == tool
    }

    /// The settings as a file.
    pub(super) fn file(&self) -> Outcome<PathBuf> {
        let path = nursery::directory("scenario")?.join("mm2.properties");
        let line = |(key, value): (&String, &String)| format!("{}={}\n", escaped(key, true), escaped(value, false));
        fs::write(&path, self.settings.iter().map(line).collect::<String>())?;
        Ok(path)
    }

    /// Starts the tool with the settings as they are now.
    pub(super) fn start(&self) -> Outcome<Running> {
        let file = self.file()?;
        let mut command = match self.tool {
            Tool::Kmirror => {
                let mut command = nursery::command(env!("CARGO_BIN_EXE_kmirror"));
                command.args(["run", "--config"]);
                command
            }
            Tool::MirrorMaker2 => self.mirror_maker()?,
        };
        let log = file.with_file_name("said");
        let output = File::create(&log)?;
        command.arg(&file).current_dir(file.with_file_name("")).stdout(output.try_clone()?).stderr(output);
        Ok(Running { child: nursery::spawn(command)?, log, tool: self.tool })
    }

    /// As Kafka's own script starts it, with a smaller heap and without the compiler that takes long to warm up.
    fn mirror_maker(&self) -> Outcome<Command> {
        let mut classes = Version::Latest.jars()?.join("*").display().to_string();
        let mut command = nursery::command("java");
        command.args(["-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        if let Some(more) = &self.more_classes {
            classes += &format!(":{}", more.display());
        }
        command.args(["-Djava.awt.headless=true", "-cp", &classes, "org.apache.kafka.connect.mirror.MirrorMaker"]);
        Ok(command)
    }

    /// Waits until something is so while the tool runs, and fails with what the tool said.
    pub(super) fn wait<T>(
        &self,
        running: &mut Running,
        what: &str,
        mut condition: impl FnMut() -> Outcome<Option<T>>,
    ) -> Outcome<T> {
        let start = Instant::now();
        loop {
            if let Some(found) = condition()? {
                return Ok(found);
            }
            if let Some(code) = running.exited()? {
                return fail(format!(
                    "{what}: {:?} has ended with {code}; it said:\n{}",
                    self.tool,
                    running.end_of_log()
                ));
            }
            if start.elapsed() > LIMIT {
                return fail(format!(
                    "waited {LIMIT:?} in vain: {what}; {:?} said:\n{}",
                    self.tool,
                    running.end_of_log()
                ));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until a topic holds so many records for a reader of everything.
    pub(super) fn wait_records(&self, running: &mut Running, cluster: &Cluster, topic: &str, count: usize) -> Outcome {
        let mut last = 0;
        let what = format!("{topic} holds {count} records");
        let waited = self.wait(running, &what, || {
            last = records(cluster, topic)?;
            Ok((last >= count).then_some(()))
        });
        waited.map_err(|error| Failure(format!("{error}\n(it holds {last})")))
    }

    /// Waits until a group has an offset of a partition at the target that is no less than this, and returns it.
    pub(super) fn wait_group(
        &self,
        running: &mut Running,
        group: &str,
        topic: &str,
        partition: i32,
        least: i64,
    ) -> Outcome<i64> {
        let what = format!("{group} is at {least} in {topic}-{partition} at the target");
        self.wait(running, &what, || {
            Ok(groups::offset(self.target(), group, topic, partition)?.filter(|offset| *offset >= least))
        })
    }

    /// Compares a topic of the source with its copy.
    pub(super) fn compared(&self, topic: &str) -> Outcome<Copy> {
        compare((self.source(), topic), (self.target(), &self.copy(topic)))
    }

    /// Topics of a cluster that the tool has made for itself: the alias or the name of this scenario is in their names.
    pub(super) fn internal_topics(&self, cluster: &Cluster) -> Outcome<Vec<String>> {
        let mut topics = cluster.client().topics()?;
        let prefix = format!("{}-", self.name);
        let is_internal = |topic: &String| topic.contains(&prefix) && topic.ends_with(".internal");
        topics.retain(|topic| is_internal(topic) || topic.contains("heartbeats") && topic.contains(&prefix));
        topics.sort();
        Ok(topics)
    }
}

/// What became of the records of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    /// Records at the target, those that lie there twice twice.
    pub(super) records: usize,
    /// Every record is at the offset it has at the source, and both logs have the same bounds.
    pub(super) same_offsets: bool,
    /// The same records in the same order, at whatever offsets.
    pub(super) in_order: bool,
}

impl Copy {
    /// Whether everything was copied once, and in words how.
    pub(super) fn told(self) -> (bool, String) {
        let how = match (self.same_offsets, self.in_order) {
            (true, _) => "at the same offsets",
            (false, true) => "in the same order, at other offsets",
            (false, false) => "not the records of the source one for one",
        };
        (self.in_order, format!("{} records {how}", self.records))
    }
}

/// Compares what readers of committed data see.
pub(super) fn compare((source, topic): (&Cluster, &str), (target, copy): (&Cluster, &str)) -> Outcome<Copy> {
    let read = |cluster: &Cluster, topic: &str| Ledger::read(&cluster.direct(), topic, Isolation::ReadCommitted);
    let (ours, theirs) = (read(source, topic)?, read(target, copy)?);
    Ok(Copy {
        records: theirs.count(),
        same_offsets: ledger::compare(&ours, &theirs).differences == 0,
        in_order: ledger::compare_sequence(&ours, &theirs).differences == 0,
    })
}

/// How many offsets the partitions of a topic span; none where there is no such topic.
pub(super) fn records(cluster: &Cluster, topic: &str) -> Outcome<usize> {
    let client = cluster.client();
    if !client.topics()?.iter().any(|name| name == topic) {
        return Ok(0);
    }
    // It may be so new that a leader is on its way.
    let Ok(bounds) = client.bounds(topic) else { return Ok(0) };
    Ok(usize::try_from(bounds.values().map(|bounds| bounds.end - bounds.start).sum::<i64>())?)
}

/// Writes records to some partitions, so many to each. All have keys, as a compacted topic wants it.
pub(super) fn write(
    cluster: &Cluster,
    topic: &str,
    partitions: std::ops::Range<i32>,
    each: usize,
    seed: u64,
) -> Outcome {
    for partition in partitions {
        let seed = seed * 1000 + partition.unsigned_abs() as u64;
        let keyed = Generator::new(seed).filter(|record| record.key.is_some());
        produce(&cluster.direct(), topic, partition, keyed.take(each), &Writing::default())?;
    }
    Ok(())
}

/// As `java.util.Properties` reads it.
fn escaped(text: &str, key: bool) -> String {
    let special = |character| match key {
        true => " :=\\#!".contains(character),
        false => character == '\\',
    };
    text.chars().flat_map(|character| special(character).then_some('\\').into_iter().chain([character])).collect()
}

/// A running tool, killed when dropped.
pub(super) struct Running {
    child: Child,
    log: PathBuf,
    tool: Tool,
}

impl Running {
    /// All it has said.
    pub(super) fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The file it says that to.
    pub(super) fn log_path(&self) -> PathBuf {
        self.log.clone()
    }

    /// Its exit code, when it has ended.
    pub(super) fn exited(&mut self) -> Outcome<Option<i32>> {
        Ok(self.child.try_wait()?.map(|status| status.code().unwrap_or(-1)))
    }

    /// Waits for its end.
    pub(super) fn wait(&mut self) -> Outcome<i32> {
        let start = Instant::now();
        loop {
            match self.exited()? {
                Some(code) => return Ok(code),
                None if start.elapsed() > LIMIT => {
                    return fail(format!("{:?} does not end; it said:\n{}", self.tool, self.end_of_log()));
                }
                None => std::thread::sleep(LOOK_EVERY),
            }
        }
    }

    /// SIGTERM, and its end.
    pub(super) fn stop(&mut self) -> Outcome {
        if self.exited()?.is_none() {
            kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        }
        self.wait().map(drop)
    }

    /// SIGKILL, and its end.
    pub(super) fn kill9(&mut self) -> Outcome {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The errors and the last lines.
    pub(super) fn end_of_log(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with('\t')).collect();
        let errors = lines.iter().filter(|line| line.contains("ERROR")).take(10);
        let last = &lines[lines.len().saturating_sub(15)..];
        errors.chain(last).copied().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
