//! Clusters of one or three real brokers, and what can be done to them.
//!
//! [`Cluster::start`] returns when every broker serves clients. Nodes are numbered from 1. Dropping a cluster kills its
//! brokers and removes their data. [`shared`] is a pair of one-broker clusters that all tests of a process use together
//! (starting one costs seconds): take topic names from [`unique`] there, and never kill, pause or reconfigure it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::Duration;

use super::broker::{Broker, Ports, Shape, free_port};
use super::failure::Context;
use super::proxy::Proxy;
use super::raw::{self, Client, Connection, Partition};
use super::{Failure, Outcome, fail, nursery, wait_for, warm};

pub(crate) use super::broker::Version;

/// Generous: three JVMs start on two cores while other tests run.
const READY_LIMIT: Duration = Duration::from_secs(180);

/// What cluster to start. `Options::default()` is one broker of the newest release.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) version: Version,
    /// 1 or 3.
    pub(crate) nodes: usize,
    /// Puts a [`Proxy`] before every broker, and has clients told the proxy's port.
    pub(crate) proxied: bool,
    /// Options for the JVM; the first is the heap.
    pub(crate) jvm: Vec<String>,
    /// Classes of the test's own that brokers load, for example a policy.
    pub(crate) classes: Option<PathBuf>,
    /// Broker properties that win over the harness's own.
    pub(crate) properties: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: Version::Latest,
            nodes: 1,
            proxied: false,
            jvm: vec!["-Xmx384m".to_owned()],
            classes: None,
            properties: Vec::new(),
        }
    }
}

impl Options {
    pub(crate) fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    pub(crate) fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    pub(crate) fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    pub(crate) fn heap(mut self, option: &str) -> Self {
        self.jvm[0] = option.to_owned();
        self
    }

    /// A broker that nobody kills keeps its leaderships, however seldom a busy machine lets it say that it is there.
    pub(crate) fn never_fenced(self) -> Self {
        // The interval is also how long the controller's answer is waited for.
        self.property("broker.session.timeout.ms", "600000").property("broker.heartbeat.interval.ms", "2000")
    }

    pub(crate) fn property(mut self, name: &str, value: &str) -> Self {
        self.properties.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A running cluster.
pub(crate) struct Cluster {
    brokers: Mutex<Vec<Broker>>,
    ports: Vec<Ports>,
    proxies: Vec<Proxy>,
    cluster_id: String,
    version: Version,
}

impl Cluster {
    /// Starts a cluster and waits until all its brokers serve clients.
    pub(crate) fn start(options: Options) -> Outcome<Self> {
        // Those of the matrix are started once.
        if !matches!(options.version, Version::Line(_)) {
            warm::up(options.version)?;
        }
        Self::start_cold(options)
    }

    /// Like [`Cluster::start`], without making the class archive first.
    pub(crate) fn start_cold(options: Options) -> Outcome<Self> {
        let version = options.version;
        let (shape, proxies) = plan(options)?;
        let directory = nursery::directory("cluster")?;
        let brokers = thread::scope(|scope| {
            let starts: Vec<_> = (1..)
                .zip(&shape.ports)
                .map(|(id, _)| {
                    let directory = directory.join(format!("broker-{id}"));
                    let shape = &shape;
                    scope.spawn(move || {
                        let mut broker = Broker::format(shape, id, directory)?;
                        broker.launch().map(|()| broker)
                    })
                })
                .collect();
            starts
                .into_iter()
                .map(|start| start.join().unwrap_or_else(|_| fail("a broker's start panicked")))
                .collect::<Outcome<Vec<_>>>()
        })?;
        let cluster =
            Self { brokers: Mutex::new(brokers), ports: shape.ports, proxies, cluster_id: shape.cluster_id, version };
        cluster.wait_ready()?;
        Ok(cluster)
    }

    /// Starts several clusters at the same time.
    pub(crate) fn start_all<const N: usize>(options: [Options; N]) -> Outcome<[Self; N]> {
        thread::scope(|scope| {
            let starts = options.map(|options| scope.spawn(|| Self::start(options)));
            let mut failure = None;
            let clusters =
                starts.map(|start| match start.join().unwrap_or_else(|_| fail("a cluster's start panicked")) {
                    Ok(cluster) => Some(cluster),
                    Err(error) => {
                        failure = Some(error);
                        None
                    }
                });
            match failure {
                Some(error) => Err(error),
                None => Ok(clusters.map(|cluster| cluster.expect("no start failed"))),
            }
        })
    }

    /// `host:port,...` of all brokers, as clients are meant to reach them (through the proxies, if there are any).
    pub(crate) fn bootstrap(&self) -> String {
        join(self.ports.iter().map(|ports| ports.advertised))
    }

    /// `host:port,...` past the proxies: for the writer and the reader of a test, which must not suffer with the engine.
    pub(crate) fn direct(&self) -> String {
        join(self.ports.iter().map(|ports| ports.direct))
    }

    /// `host:port` of the first node as a controller, which no client can use.
    pub(crate) fn controller(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0].controller)
    }

    /// The proxy before node `node`; panics when the cluster was started without.
    pub(crate) fn proxy(&self, node: i32) -> &Proxy {
        &self.proxies[index(node)]
    }

    pub(crate) fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    pub(crate) fn nodes(&self) -> usize {
        self.ports.len()
    }

    /// Single requests to the brokers that run now, past the proxies.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.running().join(","))
    }

    /// Creates a topic with as many replicas as there are brokers, and waits until every running broker knows it, and the leaders
    /// have begun to lead: they name themselves a moment earlier.
    pub(crate) fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Outcome {
        let replicas = i16::try_from(self.nodes().min(3))?;
        self.client().create_topic(name, partitions, replicas, configs)?;
        wait_for(&format!("all brokers know {name}"), READY_LIMIT, || {
            for address in self.running() {
                let known = metadata_of(&address, name).is_ok_and(|known| {
                    known.len() == partitions.unsigned_abs() as usize
                        && known.iter().all(|partition| partition.leader >= 0)
                });
                if !known {
                    return Ok(None);
                }
            }
            // Left open: the next look asks again.
            Ok(self.client().bounds(name).ok().map(drop))
        })
    }

    /// SIGKILL: the broker is gone at once, its data stays.
    pub(crate) fn kill(&self, node: i32) -> Outcome {
        self.brokers()[index(node)].kill()
    }

    /// SIGTERM: the broker ends in order, here without handing over its leaderships first.
    pub(crate) fn terminate(&self, node: i32) -> Outcome {
        self.brokers()[index(node)].terminate()
    }

    /// SIGSTOP: the broker keeps its connections and answers nothing.
    pub(crate) fn pause(&self, node: i32) -> Outcome {
        self.brokers()[index(node)].pause(true)
    }

    /// SIGCONT after [`Cluster::pause`].
    pub(crate) fn resume(&self, node: i32) -> Outcome {
        self.brokers()[index(node)].pause(false)
    }

    /// Kills the broker if it runs and starts it on the same ports and data; returns when it serves clients.
    pub(crate) fn restart(&self, node: i32) -> Outcome {
        self.relaunch(node)?;
        self.wait_ready()
    }

    /// Like [`Cluster::restart`], without waiting.
    pub(crate) fn relaunch(&self, node: i32) -> Outcome {
        let mut brokers = self.brokers();
        let broker = &mut brokers[index(node)];
        broker.kill()?;
        broker.launch()
    }

    /// The process id of a running broker's JVM, to measure it.
    pub(crate) fn pid(&self, node: i32) -> Option<u32> {
        self.brokers()[index(node)].pid()
    }

    /// Where a broker keeps its logs: for tests that read or spoil segment files.
    pub(crate) fn data_directory(&self, node: i32) -> PathBuf {
        self.brokers()[index(node)].data_directory()
    }

    /// Waits until every running broker answers clients and names every other running one.
    pub(crate) fn wait_ready(&self) -> Outcome {
        let waited = wait_for("all brokers serve clients", READY_LIMIT, || {
            for broker in self.brokers().iter_mut() {
                broker.check_alive()?;
            }
            let running = self.running();
            let ready = running.iter().all(|address| {
                Connection::open(address)
                    .and_then(|connection| connection.answer_limit(Duration::from_secs(2)))
                    .and_then(|mut connection| raw::metadata(&mut connection, Some("")))
                    .is_ok_and(|answer| answer.brokers.len() >= running.len())
            });
            Ok(ready.then_some(()))
        });
        waited.map_err(|error| {
            let ends: Vec<_> =
                self.brokers().iter().map(|broker| format!("broker {}:\n{}", broker.id, broker.log_end())).collect();
            Failure(format!("{error}\n{}", ends.join("\n")))
        })
    }

    /// Waits until every replica of every partition of `topic` is in sync.
    pub(crate) fn wait_in_sync(&self, topic: &str) -> Outcome {
        wait_for(&format!("all replicas of {topic} in sync"), READY_LIMIT, || {
            let partitions = self.client().partitions(topic)?;
            let in_sync =
                |partition: &Partition| partition.in_sync.len() == partition.replicas.len() && partition.leader >= 0;
            Ok(partitions.iter().all(in_sync).then_some(()))
        })
    }

    /// The node that leads a partition, as the first running broker knows it; `None` while there is none.
    pub(crate) fn leader_of(&self, topic: &str, partition: i32) -> Outcome<Option<i32>> {
        let leader = self.partition(topic, partition)?.leader;
        Ok((leader >= 0).then_some(leader))
    }

    /// Makes `node` the leader of a partition and waits until every running broker says so. A node that holds no
    /// replica takes the place of the last one, and the data moves there first.
    pub(crate) fn move_leader(&self, topic: &str, partition: i32, node: i32) -> Outcome {
        let mut replicas = self.partition(topic, partition)?.replicas;
        let place = replicas.iter().position(|replica| *replica == node);
        replicas.remove(place.unwrap_or(replicas.len() - 1));
        replicas.insert(0, node);
        let client = self.client();
        client.reassign(topic, partition, &replicas)?;
        wait_for(&format!("{node} leads {topic}-{partition}"), READY_LIMIT, || {
            let now = self.partition(topic, partition)?;
            if now.replicas == replicas && now.leader != node {
                // Refused while the replica is not in sync yet; the next round asks again.
                client.elect_preferred(topic, partition)?;
            }
            let agreed = self.running().iter().all(|address| {
                metadata_of(address, topic)
                    .is_ok_and(|known| known.iter().any(|known| known.index == partition && known.leader == node))
            });
            Ok((agreed && now.replicas == replicas).then_some(()))
        })
    }

    fn partition(&self, topic: &str, partition: i32) -> Outcome<Partition> {
        self.client()
            .partitions(topic)?
            .into_iter()
            .find(|found| found.index == partition)
            .ok_or_else(|| Failure(format!("{topic} has no partition {partition}")))
    }

    /// Direct addresses of the brokers that are neither dead nor paused.
    fn running(&self) -> Vec<String> {
        self.brokers()
            .iter()
            .filter(|broker| broker.is_running())
            .map(|broker| format!("127.0.0.1:{}", broker.ports.direct))
            .collect()
    }

    fn brokers(&self) -> MutexGuard<'_, Vec<Broker>> {
        self.brokers.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A source and a target.
pub(crate) struct Pair {
    pub(crate) source: Cluster,
    pub(crate) target: Cluster,
}

impl Pair {
    /// Starts both at the same time.
    pub(crate) fn start(source: Options, target: Options) -> Outcome<Self> {
        let [source, target] = Cluster::start_all([source, target])?;
        Ok(Self { source, target })
    }
}

/// The pair of one-broker clusters (newest release) that the tests of this process share.
pub(crate) fn shared() -> Outcome<&'static Pair> {
    static PAIR: OnceLock<Outcome<Pair>> = OnceLock::new();
    PAIR.get_or_init(|| Pair::start(Options::default().never_fenced(), Options::default().never_fenced()))
        .as_ref()
        .map_err(Clone::clone)
        .context("the shared clusters did not start")
}

/// A topic, group or client name no other test of this process uses.
pub(crate) fn unique(name: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

fn plan(options: Options) -> Outcome<(Shape, Vec<Proxy>)> {
    let mut ports = Vec::new();
    let mut proxies = Vec::new();
    for _ in 0..options.nodes {
        let client = free_port()?;
        let mut advertised = client;
        if options.proxied {
            let proxy = Proxy::start(&format!("127.0.0.1:{client}"))?;
            advertised = proxy.port();
            proxies.push(proxy);
        }
        ports.push(Ports { client, direct: free_port()?, controller: free_port()?, advertised });
    }
    let shape = Shape {
        version: options.version,
        cluster_id: cluster_id(),
        ports,
        jvm: options.jvm,
        classes: options.classes,
        properties: options.properties,
    };
    Ok((shape, proxies))
}

/// 16 random bytes as Kafka writes them: 22 characters of base64url. The first is a letter, because a leading dash
/// would be taken as an option by the storage tool; the last carries two bits only.
fn cluster_id() -> String {
    let middle = || match fastrand::usize(..64) {
        62 => '-',
        63 => '_',
        _ => fastrand::alphanumeric(),
    };
    std::iter::once(fastrand::alphabetic())
        .chain(std::iter::repeat_with(middle).take(20))
        .chain(std::iter::once('A'))
        .collect()
}

fn metadata_of(address: &str, topic: &str) -> Outcome<Vec<Partition>> {
    let answer = raw::metadata(&mut Connection::open(address)?, Some(topic))?;
    raw::partitions_of(&answer, topic)
}

fn join(ports: impl Iterator<Item = u16>) -> String {
    ports.map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
}

fn index(node: i32) -> usize {
    usize::try_from(node - 1).expect("nodes are numbered from 1")
}
