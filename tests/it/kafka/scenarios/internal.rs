//! Which topics a tool makes for itself, and on which side.
//! Read from the clusters' lists of topics, never from what the tool says.

use super::finding::{Finding, Verdict};
use super::tool::{Stage, Tool, write};
use crate::support::Outcome;
use crate::support::cluster::Pair;

pub(super) fn no_offset_syncs(tool: Tool, pair: &Pair) -> Outcome<Finding> {
    let stage = Stage::new(tool, pair, "K5").with("emit.checkpoints.enabled", "false").without_offset_syncs();
    let topic = stage.called("orders");
    stage.source().create_topic(&topic, 1, &[])?;
    write(stage.source(), &topic, 0..1, 100, 5)?;
    let mut running = stage.start()?;
    stage.wait_records(&mut running, stage.target(), &stage.copy(&topic), 100)?;
    let mut finding = Finding::default();
    finding.told("", stage.compared(&topic)?.told());
    let made = [stage.internal_topics(stage.source())?, stage.internal_topics(stage.target())?].concat();
    let syncs = made.iter().filter(|topic| topic.contains("offset-syncs")).count();
    finding.judge(syncs == 0, format!("{syncs} topics for offset syncs"));
    Ok(finding)
}

pub(super) fn on_target_only(tool: Tool, pair: &Pair) -> Outcome<Finding> {
    let stage = Stage::new(tool, pair, "K6").with("offset-syncs.topic.location", "target");
    let (topic, group) = (stage.called("orders"), stage.called("group"));
    stage.source().create_topic(&topic, 1, &[])?;
    write(stage.source(), &topic, 0..1, 100, 6)?;
    crate::support::groups::commit(stage.source(), &group, &[(&topic, 0, 100)])?;
    let stage = stage.with("sync.group.offsets.enabled", "true");
    let mut running = stage.start()?;
    stage.wait_records(&mut running, stage.target(), &stage.copy(&topic), 100)?;
    let offset = stage.wait_group(&mut running, &group, &stage.copy(&topic), 0, 1)?;
    let mut finding = Finding::default();
    let made = stage.internal_topics(stage.source())?;
    finding.judge(made.is_empty(), format!("{} topics of its own at the source", made.len()));
    let made = stage.internal_topics(stage.target())?.len();
    finding.see(Verdict::Kept, format!("{made} at the target; a group at 100 is at {offset} there"));
    Ok(finding)
}
