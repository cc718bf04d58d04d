//! Sources that lose what was not copied yet: records that are deleted, a topic that is created anew.
//! A tool may stop or go on; that somebody can know it is what counts.

use std::time::Duration;

use super::finding::{Finding, Verdict};
use super::tool::{LIMIT, Stage, Tool, write};
use crate::support::cluster::Pair;
use crate::support::{Outcome, wait_for};

/// Long enough for a tool that runs to copy what there is.
const SETTLE: Duration = Duration::from_secs(5);

/// The mirror has the first 50 records and is down.
fn half_copied(stage: &Stage<'_>) -> Outcome<String> {
    let topic = stage.called("orders");
    stage.source().create_topic(&topic, 1, &[])?;
    write(stage.source(), &topic, 0..1, 50, 1)?;
    let mut running = stage.start()?;
    stage.wait_records(&mut running, stage.target(), &stage.copy(&topic), 50)?;
    // MirrorMaker 2 writes its position down every five seconds, and when it stops.
    running.stop()?;
    Ok(topic)
}

pub(super) fn deleted_records(tool: Tool, pair: &Pair) -> Outcome<Finding> {
    let stage = Stage::new(tool, pair, "K22");
    let topic = half_copied(&stage)?;
    write(stage.source(), &topic, 0..1, 50, 2)?;
    stage.source().client().delete_records(&topic, 0, 80)?;
    let mut finding = Finding::default();
    let copy = stage.copy(&topic);
    let end = |stage: &Stage<'_>| stage.target().client().offset_at(&copy, 0, -1);
    let mut running = stage.start()?;
    if stage.is(Tool::MirrorMaker2) {
        stage.wait_records(&mut running, stage.target(), &copy, 70)?;
        let said = running.said();
        let told = said.lines().filter(|line| line.contains(" ERROR ") && line.contains(&topic)).count();
        finding.see(
            Verdict::NotKept,
            format!(
                "30 records are gone and 20 are left: it goes on with those, at offsets 50 to {}, with {told} errors about it in its log",
                end(&stage)? - 1
            ),
        );
        return Ok(finding);
    }
    let code = running.wait()?;
    let said = running.said();
    finding.judge(
        code == 5 && end(&stage)? == 50 && said.contains("50") && said.contains("80"),
        format!("stops (exit code {code}), names the offsets 50 to 80, and appends {} records", end(&stage)? - 50),
    );
    let mut running = stage.with("on.data.loss", "continue").start()?;
    wait_for("it goes on", LIMIT, || {
        let end = pair.target.client().offset_at(&copy, 0, -1)?;
        Ok((end == 100).then_some(()))
    })?;
    running.stop()?;
    let bounds = pair.target.client().bounds(&copy)?[&0];
    let told = crate::kafka::scenarios::tool::compare((&pair.source, &topic), (&pair.target, &copy))?;
    finding.see(
        Verdict::Kept,
        format!(
            "with on.data.loss=continue it goes on behind them, at the same offsets: {} records, the end is {}",
            told.records, bounds.end
        ),
    );
    Ok(finding)
}

pub(super) fn created_anew(tool: Tool, pair: &Pair) -> Outcome<Finding> {
    let stage = Stage::new(tool, pair, "K23");
    let topic = half_copied(&stage)?;
    let source = stage.source().client();
    source.delete_topic(&topic)?;
    wait_for("the topic is gone", LIMIT, || Ok((!source.topics()?.contains(&topic)).then_some(())))?;
    stage.source().create_topic(&topic, 1, &[])?;
    // Longer than it was: offsets alone tell nothing.
    write(stage.source(), &topic, 0..1, 70, 3)?;
    let copy = stage.copy(&topic);
    let mut finding = Finding::default();
    let mut running = stage.start()?;
    let log = running.log_path();
    if stage.is(Tool::MirrorMaker2) {
        stage.wait_records(&mut running, stage.target(), &copy, 51)?;
        std::thread::sleep(SETTLE);
        let end = stage.target().client().offset_at(&copy, 0, -1)?;
        finding.judge(
            end == 120,
            format!(
                "50 records were copied, the new topic has 70: {} of them are appended to the old ones, {} are missing",
                end - 50,
                120 - end
            ),
        );
        return Ok(finding);
    }
    stage.wait(&mut running, "the topic is told of", || {
        Ok(std::fs::read_to_string(&log)?.contains("topic_reset").then_some(()))
    })?;
    write(stage.source(), &topic, 0..1, 10, 4)?;
    std::thread::sleep(SETTLE);
    running.kill9()?;
    let end = stage.target().client().offset_at(&copy, 0, -1)?;
    finding.judge(
        end == 50,
        format!("says that the topic was created anew, and appends {} records to the old ones", end - 50),
    );
    let stage = stage.with("on.topic.reset", "recreate-target");
    let mut running = stage.start()?;
    stage.wait_records(&mut running, stage.target(), &copy, 80)?;
    running.stop()?;
    finding.told(
        "with on.topic.reset=recreate-target the copy is deleted, and the new topic copied: ",
        stage.compared(&topic)?.told(),
    );
    Ok(finding)
}
