//! MirrorMaker 2 in its dedicated mode, started as Kafka's own script starts it: once as it comes, once tuned.
//!
//! Every kind of run has cluster aliases of its own: the names of its internal topics follow from them, and with the same
//! ones a second run would find the positions of the first and copy nothing.

use std::fs;
use std::process::Command;

use crate::contender::{Contender, Work};
use crate::stage::{BATCH_BYTES, Stage};
use crate::support::cluster::Version;
use crate::support::{Outcome, nursery};

pub(crate) fn source_alias(contender: Contender, work: Work) -> String {
    let work = if work == Work::CatchUp { "load" } else { "trickle" };
    format!("{}-{work}-source", contender.name())
}

pub(crate) fn command(contender: Contender, stage: &Stage, topic: &str, work: Work) -> Outcome<Command> {
    let file = nursery::directory("mirror-maker")?.join("mm2.properties");
    fs::write(&file, properties(contender, stage, topic, work))?;
    let mut command = nursery::command("java");
    command
        // The heap and the performance options of connect-mirror-maker.sh.
        .args(["-Xms256m", "-Xmx2g", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"])
        .args(["-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent"])
        .args(["-Djava.awt.headless=true", "-cp"])
        .arg(Version::Latest.jars()?.join("*"))
        .arg("org.apache.kafka.connect.mirror.MirrorMaker")
        .arg(&file);
    Ok(command)
}

fn properties(contender: Contender, stage: &Stage, topic: &str, work: Work) -> String {
    let source = source_alias(contender, work);
    let target = source.replace("source", "target");
    let mut text = format!(
        "clusters={source},{target}\n\
         {source}.bootstrap.servers={}\n\
         {target}.bootstrap.servers={}\n\
         {source}->{target}.enabled=true\n\
         {source}->{target}.topics={topic}\n\
         {target}->{source}.enabled=false\n",
        stage.pair.source.bootstrap(),
        stage.pair.target.bootstrap(),
    );
    // One broker each side holds one replica.
    for topic in ["", "checkpoints.topic.", "heartbeats.topic.", "offset-syncs.topic."] {
        text += &format!("{topic}replication.factor=1\n");
    }
    for storage in ["offset", "status", "config"] {
        text += &format!("{storage}.storage.replication.factor=1\n");
    }
    if contender == Contender::MirrorMakerTuned {
        text += &tuning(&source, &target, work);
    }
    text
}

fn tuning(source: &str, target: &str, work: Work) -> String {
    let mut text = format!(
        "tasks.max=2\n\
         replication.policy.class=org.apache.kafka.connect.mirror.IdentityReplicationPolicy\n\
         emit.heartbeats.enabled=false\n\
         emit.checkpoints.enabled=false\n\
         sync.topic.acls.enabled=false\n\
         sync.topic.configs.enabled=false\n\
         {target}.producer.compression.type=lz4\n"
    );
    text += &match work {
        Work::CatchUp => format!(
            "{source}.consumer.fetch.min.bytes=1048576\n\
             {source}.consumer.fetch.max.wait.ms=100\n\
             {source}.consumer.max.partition.fetch.bytes=4194304\n\
             {source}.consumer.max.poll.records=5000\n\
             {source}.consumer.receive.buffer.bytes=1048576\n\
             {target}.producer.batch.size={BATCH_BYTES}\n\
             {target}.producer.linger.ms=20\n\
             {target}.producer.buffer.memory=67108864\n"
        ),
        Work::Follow => format!("{target}.producer.linger.ms=0\n"),
    };
    text
}
