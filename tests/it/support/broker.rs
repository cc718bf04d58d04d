//! One real Kafka broker (also its own controller) as a child process: its properties, its storage, its life.
//!
//! The jars are fetched on first use by `kafka/fetch.sh`. Tuned for many short-lived brokers on a small machine:
//! small heap, no C2 compiler, few threads, short timeouts. What a broker writes goes to `broker.log` in its directory,
//! and the end of it into the error when the broker does not come up.

use std::fmt::Write;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::failure::Context;
use super::{Outcome, fail, nursery};

/// A Kafka release the tests run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// The newest release.
    Latest,
    /// The newest release of the line before, which many still run.
    Previous,
    /// The last line that writes message formats 0 and 1 (topic config `message.format.version`). Needs a ZooKeeper,
    /// which is started with it; one broker only.
    Old,
    /// A release of another line, by its number. With a ZooKeeper before Kafka 3.3, and then one broker only.
    Line(&'static str),
}

impl Version {
    /// Those a mirror has to work with in every respect.
    pub(crate) const ALL: [Self; 2] = [Self::Latest, Self::Previous];

    pub(crate) fn number(self) -> &'static str {
        match self {
            Self::Latest => "4.3.1",
            Self::Previous => "3.9.2",
            Self::Old => "2.8.2",
            Self::Line(number) => number,
        }
    }

    /// Whether its brokers need a ZooKeeper.
    pub(crate) fn has_zookeeper(self) -> bool {
        self.line() < (3, 3)
    }

    /// The first two numbers of the release.
    pub(crate) fn line(self) -> (u32, u32) {
        let mut parts = self.number().split('.').map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }

    /// The folder with the jars of this release, fetched if need be.
    pub(crate) fn jars(self) -> Outcome<PathBuf> {
        // Cargo's `tmp` folder lies in the target directory, wherever that was put.
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let jars = tmp.with_file_name("kafka").join(self.number());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/kafka/fetch.sh");
        let output = Command::new("sh").arg(script).arg(self.number()).arg(&jars).output()?;
        match output.status.success() {
            true => Ok(jars),
            false => fail(format!(
                "Kafka {} is not there: {}",
                self.number(),
                String::from_utf8_lossy(&output.stderr).trim()
            )),
        }
    }

    /// Where the loaded classes of a broker are kept, see [`super::warm`].
    pub(crate) fn archive(self) -> Outcome<PathBuf> {
        Ok(self.jars()?.join(".classes.jsa"))
    }

    /// Compiles a class beside `fetch.sh` for this release; the folder that holds it then.
    pub(crate) fn compile(self, class: &str) -> Outcome<PathBuf> {
        let classes = nursery::directory(class)?;
        let source = format!("{}/tests/it/support/kafka/{class}.java", env!("CARGO_MANIFEST_DIR"));
        let mut command = nursery::command("javac");
        command.arg("-cp").arg(self.jars()?.join("*")).arg("-d").arg(&classes).arg(source);
        match nursery::spawn(command)?.wait_with_output()?.status.success() {
            true => Ok(classes),
            false => fail(format!("javac does not take {class}.java; it is part of a JDK")),
        }
    }

    /// A command that runs `class` of this release.
    pub(crate) fn java(self, options: &[String], class: &str) -> Outcome<Command> {
        self.java_beside(None, options, class)
    }

    /// The same with classes of a test's own beside the jars.
    fn java_beside(self, own: Option<&Path>, options: &[String], class: &str) -> Outcome<Command> {
        let mut command = nursery::command("java");
        let archive = self.archive()?;
        if archive.exists() {
            // One that does not fit (another JVM, other jars) is ignored.
            command.arg(format!("-XX:SharedArchiveFile={}", archive.display()));
        }
        let mut classes = self.jars()?.join("*").into_os_string();
        if let Some(own) = own {
            classes.push(":");
            classes.push(own);
        }
        command
            .args(["-Xms32m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args(["-Xshare:auto", "-Djava.awt.headless=true"])
            .args(options)
            .args(["-Dorg.slf4j.simpleLogger.showDateTime=true"])
            .args(["-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS"])
            .arg("-cp")
            .arg(classes)
            .arg(class);
        Ok(command)
    }
}

/// The ports of one broker, all on loopback.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) client: u16,
    /// The second listener, for the other brokers and for the harness when a proxy stands before the first.
    pub(crate) direct: u16,
    pub(crate) controller: u16,
    /// What clients are told to connect to: `client`, or a proxy's port.
    pub(crate) advertised: u16,
}

/// What all brokers of a cluster have in common.
#[derive(Clone)]
pub(crate) struct Shape {
    pub(crate) version: Version,
    pub(crate) cluster_id: String,
    pub(crate) ports: Vec<Ports>,
    /// Options for the JVM.
    pub(crate) jvm: Vec<String>,
    /// Classes of the test's own that brokers load, for example a policy.
    pub(crate) classes: Option<PathBuf>,
    /// Broker properties of the test, which win over the harness's.
    pub(crate) properties: Vec<(String, String)>,
}

impl Shape {
    fn java(&self, options: &[String], class: &str) -> Outcome<Command> {
        self.version.java_beside(self.classes.as_deref(), options, class)
    }
}

/// One broker, running or not.
pub(crate) struct Broker {
    pub(crate) id: i32,
    pub(crate) ports: Ports,
    directory: PathBuf,
    shape: Shape,
    process: Option<Child>,
    zookeeper: Option<Child>,
    paused: bool,
}

impl Broker {
    /// Writes the properties and formats the storage of node `id` (from 1).
    pub(crate) fn format(shape: &Shape, id: i32, directory: PathBuf) -> Outcome<Self> {
        fs::create_dir_all(&directory)?;
        let ports = shape.ports[usize::try_from(id - 1)?];
        let properties = directory.join("server.properties");
        fs::write(&properties, server_properties(shape, id, &directory)?)?;
        let broker = Self { id, ports, directory, shape: shape.clone(), process: None, zookeeper: None, paused: false };
        if shape.version.has_zookeeper() {
            // It formats its storage by itself, and finds its cluster id in ZooKeeper.
            return Ok(broker);
        }
        let mut command = shape.java(&["-Xmx128m".to_owned()], "kafka.tools.StorageTool")?;
        command
            .args(["format", "-t", &shape.cluster_id, "-c"])
            .arg(&properties)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = nursery::spawn(command)?.wait_with_output()?;
        if !output.status.success() {
            return fail(format!(
                "formatting the storage of broker {id} ended with {}: {}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        Ok(broker)
    }

    /// Starts the process and returns at once; the log of an earlier run is kept and continued.
    pub(crate) fn launch(&mut self) -> Outcome {
        if self.shape.version.has_zookeeper() && self.zookeeper.is_none() {
            self.zookeeper = Some(self.launch_zookeeper()?);
        }
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut command = self.shape.java(&self.shape.jvm, "kafka.Kafka")?;
        command
            .arg(self.directory.join("server.properties"))
            .current_dir(&self.directory)
            .stdout(log.try_clone()?)
            .stderr(log);
        self.process = Some(nursery::spawn(command)?);
        Ok(())
    }

    /// The broker waits until it can connect to it.
    fn launch_zookeeper(&self) -> Outcome<Child> {
        let properties = self.directory.join("zookeeper.properties");
        let (data, port) = (self.directory.join("zookeeper"), self.ports.controller);
        let text = format!(
            "dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\ntickTime=500\n",
            data.display()
        );
        fs::write(&properties, text)?;
        let log = File::create(self.directory.join("zookeeper.log"))?;
        let class = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
        let mut command = self.shape.version.java(&["-Xmx64m".to_owned()], class)?;
        command.arg(&properties).current_dir(&self.directory).stdout(log.try_clone()?).stderr(log);
        nursery::spawn(command)
    }

    /// Whether a process is there and not paused.
    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some() && !self.paused
    }

    /// An error with the end of the log when the process ended by itself.
    pub(crate) fn check_alive(&mut self) -> Outcome {
        let ended = match &mut self.process {
            Some(process) => process.try_wait()?,
            None => None,
        };
        match ended {
            None => Ok(()),
            Some(status) => fail(format!(
                "broker {} (Kafka {}) ended with {status}; the end of its log:\n{}",
                self.id,
                self.shape.version.number(),
                self.log_end()
            )),
        }
    }

    /// SIGKILL; returns when the process is gone.
    pub(crate) fn kill(&mut self) -> Outcome {
        self.paused = false;
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// SIGTERM: an orderly end. Waits for it.
    pub(crate) fn terminate(&mut self) -> Outcome {
        self.signal(Signal::SIGTERM)?;
        if let Some(mut process) = self.process.take() {
            process.wait()?;
        }
        Ok(())
    }

    /// SIGSTOP, or SIGCONT.
    pub(crate) fn pause(&mut self, paused: bool) -> Outcome {
        let signal = if paused { Signal::SIGSTOP } else { Signal::SIGCONT };
        self.signal(signal)?;
        self.paused = paused;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Outcome {
        let Some(pid) = self.pid() else {
            return fail(format!("broker {} does not run", self.id));
        };
        kill(Pid::from_raw(i32::try_from(pid)?), signal).context(format!("cannot send {signal} to broker {}", self.id))
    }

    /// The process id of the JVM.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    pub(crate) fn data_directory(&self) -> PathBuf {
        self.directory.join("data")
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.directory.join("broker.log")
    }

    /// The last lines of the broker's output, without the long list of its settings.
    pub(crate) fn log_end(&self) -> String {
        let text = fs::read(self.log_path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().filter(|line| !(line.starts_with('\t') && line.contains(" = "))).collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill().ok();
        if let Some(zookeeper) = &mut self.zookeeper {
            zookeeper.kill().ok();
            zookeeper.wait().ok();
        }
        if !nursery::keeps_directories() {
            fs::remove_dir_all(&self.directory).ok();
        }
    }
}

/// A loopback port nobody listens on and this process has not given out before.
///
/// From below the range the system takes outgoing ports from: a client that keeps dialling a dead broker's port in
/// that range sooner or later gets the same port as its own and connects to itself.
pub(crate) fn free_port() -> Outcome<u16> {
    static GIVEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    let mut given = GIVEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for _ in 0..1000 {
        let port = fastrand::u16(12_000..30_000);
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.push(port);
            return Ok(port);
        }
    }
    fail("no free loopback port between 12000 and 30000")
}

fn server_properties(shape: &Shape, id: i32, directory: &Path) -> Outcome<String> {
    let ports = shape.ports[usize::try_from(id - 1)?];
    let nodes = shape.ports.len();
    let mut text = format!(
        "advertised.listeners=CLIENT://127.0.0.1:{},DIRECT://127.0.0.1:{}\n\
         listener.security.protocol.map=CLIENT:PLAINTEXT,DIRECT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         inter.broker.listener.name=DIRECT\n\
         log.dirs={}\n",
        ports.advertised,
        ports.direct,
        directory.join("data").display(),
    );
    let listeners = format!("CLIENT://127.0.0.1:{},DIRECT://127.0.0.1:{}", ports.client, ports.direct);
    if shape.version.has_zookeeper() {
        if nodes != 1 {
            return fail(format!("Kafka {} is started as one broker only", shape.version.number()));
        }
        writeln!(text, "broker.id={id}\nlisteners={listeners}\nzookeeper.connect=127.0.0.1:{}", ports.controller)?;
        // A killed broker cannot come back before ZooKeeper has forgotten it.
        writeln!(text, "zookeeper.session.timeout.ms=2000")?;
        // Which is else the session's: on a busy machine a broker would not come up at all.
        writeln!(text, "zookeeper.connection.timeout.ms=60000")?;
    } else {
        let voters: Vec<_> =
            (1..).zip(&shape.ports).map(|(node, ports)| format!("{node}@127.0.0.1:{}", ports.controller)).collect();
        writeln!(text, "process.roles=broker,controller\nnode.id={id}\ncontroller.listener.names=CONTROLLER")?;
        writeln!(text, "controller.quorum.voters={}", voters.join(","))?;
        writeln!(text, "listeners={listeners},CONTROLLER://127.0.0.1:{}", ports.controller)?;
    }
    // One of three brokers may be down in a test, and the internal topics must go on.
    let (replicas, in_sync) = if nodes == 1 { (1, 1) } else { (nodes.min(3), 2) };
    for name in ["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"] {
        writeln!(text, "{name}.replication.factor={replicas}\n{name}.num.partitions=4")?;
    }
    writeln!(text, "transaction.state.log.min.isr={in_sync}")?;
    writeln!(text, "share.coordinator.state.topic.min.isr={in_sync}")?;
    writeln!(text, "min.insync.replicas={in_sync}\ndefault.replication.factor={replicas}")?;
    text.push_str(COMMON);
    for (name, value) in &shape.properties {
        // java.util.Properties takes the last of two.
        writeln!(text, "{name}={value}")?;
    }
    Ok(text)
}

// Retention is off: the records of the tests carry timestamps of a fixed day in the past, and the broker, asked to look
// every second so that tests of retention end soon, would remove them at once. Such tests set `retention.*` per topic.
const COMMON: &str = "\
auto.create.topics.enable=false
auto.leader.rebalance.enable=false
background.threads=2
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
controlled.shutdown.enable=false
group.coordinator.threads=1
group.initial.rebalance.delay.ms=0
log.cleaner.backoff.ms=500
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.threads=1
log.initial.task.delay.ms=500
log.retention.ms=-1
log.retention.check.interval.ms=1000
log.segment.delete.delay.ms=1000
num.io.threads=4
num.network.threads=2
num.recovery.threads.per.data.dir=1
num.replica.fetchers=1
replica.lag.time.max.ms=3000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
unclean.leader.election.interval.ms=1000
";
