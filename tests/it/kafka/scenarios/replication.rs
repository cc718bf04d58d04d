//! Records between two clusters: both ways, from the end, out of transactions, under the same names.
//! Read back by librdkafka and compared record by record.

use super::checkpoints;
use super::finding::{Finding, Verdict};
use super::offsets::{at_target, go_on, read_all, wait_near};
use super::tool::{Running, Stage, Tool, compare, records, write};
use crate::kafka::mirror::configs_of;
use crate::support::Outcome;
use crate::support::cluster::{Options, Pair};
use crate::support::groups;
use crate::support::ledger::{Isolation, Ledger};
use crate::support::records::{Generator, Writing};
use crate::support::transactions::{End, Transactions};

pub(super) fn both_ways(tool: Tool, _: &Pair) -> Outcome<Finding> {
    // Heartbeats would be mirrored by whoever mirrors between the clusters that all tests share.
    let pair = Pair::start(Options::default(), Options::default())?;
    let stage = Stage::new(tool, &pair, "K1")
        .both_ways()
        .with("emit.heartbeats.enabled", "true")
        .with("heartbeats.replication.enabled", "true")
        .with("emit.checkpoints.enabled", "true")
        .with("emit.offset-syncs.enabled", "true")
        .with("sync.group.offsets.enabled", "true")
        .with("offset.lag.max", "10")
        .with("config.properties.exclude", "delete.retention.ms");
    let (source, target) = (stage.source(), stage.target());
    let (topic, group) = (stage.called("orders"), stage.called("group"));
    let configs = [("cleanup.policy", "compact"), ("delete.retention.ms", "1000")];
    source.create_topic(&topic, 10, &configs)?;
    target.create_topic(&topic, 10, &configs)?;
    write(source, &topic, 0..10, 10, 1)?;
    write(target, &topic, 0..10, 10, 2)?;
    read_all(&stage, &group, &topic, 10)?;
    let mut running = stage.start()?;
    let (copy, back) = (stage.copy(&topic), stage.copy_back(&topic));
    stage.wait_records(&mut running, target, &copy, 100)?;
    stage.wait_records(&mut running, source, &back, 100)?;

    let mut finding = Finding::default();
    finding.told("there ", stage.compared(&topic)?.told());
    finding.told("back ", compare((target, &topic), (source, &back))?.told());
    let copied = configs_of(target, &copy)?;
    let value = |key: &str| copied.get(key).map(String::as_str);
    finding.judge(
        value("cleanup.policy") == Some("compact") && value("delete.retention.ms") != Some("1000"),
        "cleanup.policy is copied, the excluded delete.retention.ms is not",
    );
    failover(&stage, &mut running, &group, &topic, &mut finding)?;

    let [there, here] = ["later", "too"].map(|what| stage.called(what));
    source.create_topic(&there, 1, &[])?;
    target.create_topic(&here, 1, &[])?;
    write(source, &there, 0..1, 10, 3)?;
    write(target, &here, 0..1, 10, 4)?;
    stage.wait_records(&mut running, target, &stage.copy(&there), 10)?;
    stage.wait_records(&mut running, source, &stage.copy_back(&here), 10)?;
    finding.see(Verdict::Kept, "topics that come later are copied both ways");
    heartbeats(&stage, &mut running, &group, &mut finding)?;
    Ok(finding)
}

/// The group goes on at the target, reads something new there, and comes back.
fn failover(stage: &Stage<'_>, running: &mut Running, group: &str, topic: &str, finding: &mut Finding) -> Outcome {
    let copy = stage.copy(topic);
    let offsets = wait_near(stage, running, (group, &copy), &[10; 10], 9)?;
    let good = offsets.iter().all(|offset| (1..=10).contains(offset));
    let again = go_on(stage, group, &copy, 10)?;
    finding.judge(good, format!("a group that has read all 100 reads {again} again at the target"));
    // It reads the target's own topic as well, and takes that back to the source.
    groups::commit(stage.target(), group, &(0..10).map(|partition| (topic, partition, 10)).collect::<Vec<_>>())?;
    let back = stage.copy_back(topic);
    let mut at = Vec::new();
    stage.wait(running, "the group has come back", || {
        let committed = groups::committed(stage.source(), group)?;
        at = (0..10)
            .filter_map(|partition| committed.get(&(back.clone(), partition)).map(|(offset, ..)| *offset))
            .collect();
        Ok((at.len() == 10 && at.iter().all(|offset| *offset > 0)).then_some(()))
    })?;
    let good = at.iter().all(|offset| (1..=10).contains(offset));
    let again: i64 = at.iter().map(|offset| 10 - offset).sum();
    finding.judge(good, format!("back at the source it reads {again} of the target's 100 again"));
    Ok(())
}

/// Heartbeats on both sides and mirrored, and checkpoints that never go back.
fn heartbeats(stage: &Stage<'_>, running: &mut Running, group: &str, finding: &mut Finding) -> Outcome {
    let mirrored = [
        (stage.target(), format!("{}.heartbeats", stage.east)),
        (stage.source(), format!("{}.heartbeats", stage.west)),
    ];
    let own = [(stage.source(), "heartbeats".to_owned()), (stage.target(), "heartbeats".to_owned())];
    for (cluster, topic) in own.iter().chain(&mirrored) {
        stage.wait_records(running, cluster, topic, 1)?;
    }
    let beating = |topics: &[(&_, String)]| -> Outcome<usize> {
        let counts = topics.iter().map(|(cluster, topic)| records(cluster, topic)).collect::<Outcome<Vec<_>>>()?;
        Ok(counts.into_iter().filter(|count| *count > 0).count())
    };
    let beating = [beating(&own)?, beating(&mirrored)?];
    finding.judge(beating == [2, 2], format!("heartbeats on {} sides, mirrored to {}", beating[0], beating[1]));
    stage.wait(running, "there are checkpoints", || Ok((!checkpoints::of(stage, group)?.is_empty()).then_some(())))?;
    finding.judge(checkpoints::never_go_back(&checkpoints::of(stage, group)?), "checkpoints that never go back");
    Ok(())
}

pub(super) fn from_latest(tool: Tool, pair: &Pair) -> Outcome<Finding> {
    let stage = Stage::new(tool, pair, "K13");
    let key = format!("{}.consumer.auto.offset.reset", stage.east);
    let stage = stage.with(&key, "latest");
    let [topic, sentinel] = ["orders", "sentinel"].map(|what| stage.called(what));
    for topic in [&topic, &sentinel] {
        stage.source().create_topic(topic, 2, &[])?;
        write(stage.source(), topic, 0..2, 50, 13)?;
    }
    let mut running = stage.start()?;
    // Whoever is at the end of the one topic is at the end of the other.
    let copy = stage.copy(&sentinel);
    stage.wait(&mut running, "the sentinel comes", || {
        write(stage.source(), &sentinel, 0..2, 1, 14)?;
        std::thread::sleep(std::time::Duration::from_millis(500));
        let arrived = records(stage.target(), &copy)? > 0;
        Ok((arrived && stage.target().client().bounds(&copy)?.values().all(|bounds| bounds.end > bounds.start))
            .then_some(()))
    })?;
    write(stage.source(), &topic, 0..2, 30, 15)?;
    stage.wait_records(&mut running, stage.target(), &stage.copy(&topic), 60)?;
    let copied = Ledger::read(&stage.target().direct(), &stage.copy(&topic), Isolation::ReadCommitted)?;
    let firsts: Vec<i64> =
        copied.partitions.values().filter_map(|partition| Some(partition.records.first()?.0)).collect();
    let mut finding = Finding::default();
    finding.judge(
        copied.count() == 60,
        format!(
            "of 100 records before the start and 60 after it {} are at the target, from offsets {firsts:?} on",
            copied.count()
        ),
    );
    Ok(finding)
}

pub(super) fn transactions(tool: Tool, pair: &Pair) -> Outcome<Finding> {
    let stage = Stage::new(tool, pair, "K16").with("sync.group.offsets.enabled", "true").with("offset.lag.max", "0");
    let (topic, group) = (stage.called("orders"), stage.called("group"));
    let copy = stage.copy(&topic);
    stage.source().create_topic(&topic, 1, &[])?;
    let writer = Transactions::open(&stage.source().direct(), &Writing::default())?;
    let mut generator = Generator::new(16).numbered();
    let mut write = |count: usize, end: End| {
        let records: Vec<_> = generator.by_ref().take(count).collect();
        writer.write(&topic, 0, records, end)
    };
    for _ in 0..10 {
        write(10, End::Commit)?;
    }
    let mut running = stage.start()?;
    stage.wait_records(&mut running, stage.target(), &copy, 100)?;
    write(20, End::Abort)?;
    write(10, End::Commit)?;
    // A transaction has ended when its coordinator knows; its marker comes a moment later.
    const END: i64 = 10 * (10 + 1) + 20 + 1 + 10 + 1;
    let end = stage.wait(&mut running, "the last marker is in the log", || {
        Ok(Some(stage.source().client().offset_at(&topic, 0, -1)?).filter(|end| *end == END))
    })?;
    groups::commit(stage.source(), &group, &[(&topic, 0, end)])?;
    let count = |isolation| -> Outcome<usize> { Ok(Ledger::read(&stage.target().direct(), &copy, isolation)?.count()) };
    stage.wait(&mut running, "all committed records are there", || {
        Ok((count(Isolation::ReadCommitted)? >= 110).then_some(()))
    })?;
    // Near the end: behind the last record there is the marker of its transaction.
    let wanted = match stage.tool {
        Tool::Kmirror => end,
        Tool::MirrorMaker2 => 1,
    };
    stage.wait_group(&mut running, &group, &copy, 0, wanted)?;
    std::thread::sleep(std::time::Duration::from_secs(3));
    running.kill9()?;
    let there = count(Isolation::ReadUncommitted)?;
    let at = at_target(&stage, &group, &copy, 1)?[0].unwrap_or(-1);
    let again = go_on(&stage, &group, &copy, 1)?;
    let mut finding = Finding::default();
    finding.see(Verdict::Kept, "all 110 committed records are at the target");
    finding.besides(format!("{} of 20 aborted records are records there", there.saturating_sub(110)));
    finding.judge(again <= 1, format!("a group at the end ({end}) is at {at}, and reads {again} records again"));
    Ok(finding)
}

pub(super) fn same_names(tool: Tool, pair: &Pair) -> Outcome<Finding> {
    let stage = Stage::new(tool, pair, "K17")
        .same_names()
        .with("sync.group.offsets.enabled", "true")
        .with("offset.lag.max", "10");
    let (topic, group) = (stage.called("orders"), stage.called("group"));
    stage.source().create_topic(&topic, 3, &[])?;
    write(stage.source(), &topic, 0..3, 100, 17)?;
    read_all(&stage, &group, &topic, 3)?;
    let mut running = stage.start()?;
    stage.wait_records(&mut running, stage.target(), &topic, 300)?;
    wait_near(&stage, &mut running, (&group, &topic), &[100; 3], 10)?;
    running.kill9()?;
    let mut finding = Finding::default();
    finding.told("", stage.compared(&topic)?.told());
    let again = go_on(&stage, &group, &topic, 3)?;
    finding.judge(again <= 27, format!("a group at the end reads {again} of them again"));
    Ok(finding)
}
