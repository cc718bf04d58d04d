//! Several flows of a MirrorMaker 2 file in one process, when the cluster of one of them cannot be reached at the start.
//! What the flows copy is compared; what is said of the one that is missing has to name it while the others run.

use nix::sys::signal::Signal;
use rdkafka::mocking::MockCluster;

use super::mock::{Cluster, fill};
use super::{Finished, LIMIT, finish, run};
use crate::support::ledger::expect_identical;
use crate::support::process::Kmirror;
use crate::support::proxy::Proxy;
use crate::support::{Outcome, nursery, wait_for};

/// Records of the topic.
const RECORDS: usize = 200;

/// One source with two targets; the second is reached through a proxy.
struct Three {
    hq: Cluster,
    east: Cluster,
    west: Cluster,
    before_west: Proxy,
    file: String,
}

impl Three {
    fn start() -> Outcome<Self> {
        let [hq, east, west] = [MockCluster::new(1)?, MockCluster::new(1)?, MockCluster::new(1)?];
        for (cluster, name) in [(&east, "hq-to-east"), (&west, "hq-to-west")] {
            cluster.create_topic(&format!("kmirror.{name}.internal"), 1, 1)?;
        }
        for cluster in [&hq, &east, &west] {
            cluster.create_topic("orders", 1, 1)?;
        }
        fill(&hq, "orders", 0, RECORDS)?;
        let before_west = Proxy::start(&west.bootstrap_servers())?;
        let text = format!(
            "clusters = hq, east, west\nhq.bootstrap.servers = {}\neast.bootstrap.servers = {}\nwest.bootstrap.servers = {}\n\
             hq->east.enabled = true\nhq->west.enabled = true\ntopics = orders\nsync.topic.configs.enabled = false\n\
             replication.policy.class = org.apache.kafka.connect.mirror.IdentityReplicationPolicy\n",
            hq.bootstrap_servers(),
            east.bootstrap_servers(),
            before_west.address(),
        );
        let path = nursery::directory("flows")?.join("mm2.properties");
        std::fs::write(&path, text)?;
        Ok(Self { hq, east, west, before_west, file: path.display().to_string() })
    }

    fn command(&self) -> [&str; 3] {
        ["run", "--config", &self.file]
    }

    fn is_copied(&self, target: &Cluster) -> Outcome {
        expect_identical(&self.hq.bootstrap_servers(), &target.bootstrap_servers(), "orders", RECORDS).map(drop)
    }
}

/// What is said of the flow whose cluster is not there.
const CANNOT_START: &str = "the mirror 'hq-to-west' cannot start; it is tried again as long as another one runs";

#[test]
fn a_flow_whose_cluster_comes_later_is_told_and_started_then() -> Outcome {
    let three = Three::start()?;
    three.before_west.refuse(true);
    let mut kmirror = Kmirror::start(three.command())?;
    let says = |kmirror: &mut Kmirror, words: &str| {
        wait_for(&format!("it says '{words}'"), LIMIT, || {
            assert_eq!(kmirror.exited()?, None, "{}", kmirror.stderr());
            Ok(kmirror.stderr().contains(words).then_some(()))
        })
    };
    says(&mut kmirror, CANNOT_START)?;
    wait_for("the other flow has copied", LIMIT, || Ok(three.is_copied(&three.east).ok()))?;
    three.before_west.refuse(false);
    says(&mut kmirror, "the mirror 'hq-to-west' runs now")?;
    wait_for("the late flow has copied", LIMIT, || Ok(three.is_copied(&three.west).ok()))?;
    kmirror.signal(Signal::SIGTERM)?;
    let finished = finish(kmirror)?.expect(143, &[])?;
    assert_eq!(finished.stderr.matches(CANNOT_START).count(), 1, "it is said once: {finished}");
    Ok(())
}

#[test]
fn a_flow_whose_cluster_never_comes_counts_in_the_exit_code() -> Outcome {
    let three = Three::start()?;
    three.before_west.refuse(true);
    let document = |finished: &Finished| finished.json();
    let finished = run(three.command().iter().chain(&["--until-caught-up", "--json"]))?.expect(3, &[CANNOT_START])?;
    three.is_copied(&three.east)?;
    let document = document(&finished)?;
    let outcomes = [0, 1].map(|index| document["mirrors"][index]["outcome"].clone());
    assert_eq!((outcomes, &document["exit_code"]), (["caught_up".into(), "failed".into()], &3.into()), "{document}");
    Ok(())
}

#[test]
fn flows_none_of_which_can_start_end_at_once() -> Outcome {
    let three = Three::start()?;
    three.before_west.refuse(true);
    let before_hq = Proxy::start(&three.hq.bootstrap_servers())?;
    before_hq.refuse(true);
    let text = std::fs::read_to_string(&three.file)?;
    std::fs::write(&three.file, text.replace(&three.hq.bootstrap_servers(), &before_hq.address()))?;
    run(three.command())?.expect(3, &[CANNOT_START])?;
    Ok(())
}
