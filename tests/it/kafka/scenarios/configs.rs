//! Settings of topics: those that are excluded, those that are changed at the target, and defaults.
//! Read back from the target as what is set on the topic itself.

use super::finding::{Finding, Verdict};
use super::tool::{Running, Stage, Tool};
use crate::kafka::mirror::configs_of;
use crate::support::Outcome;
use crate::support::cluster::Pair;

/// Excluded, as it is in Kafka's tests.
const EXCLUDED: &str = "delete.retention.ms";

/// A topic with these settings, its copy, and the running tool.
fn mirrored(stage: &Stage<'_>, configs: &[(&str, &str)]) -> Outcome<(String, Running)> {
    let topic = stage.called("orders");
    stage.source().create_topic(&topic, 2, configs)?;
    let copy = stage.copy(&topic);
    let mut running = stage.start()?;
    stage.wait(&mut running, &format!("{copy} is there"), || {
        Ok(stage.target().client().topics()?.contains(&copy).then_some(()))
    })?;
    Ok((copy, running))
}

/// What is set on a topic of the target.
fn value(stage: &Stage<'_>, topic: &str, key: &str) -> Outcome<Option<String>> {
    Ok(configs_of(stage.target(), topic)?.remove(key))
}

fn shown(value: Option<&str>) -> &str {
    value.unwrap_or("the target's default")
}

pub(super) fn excluded(tool: Tool, pair: &Pair) -> Outcome<Finding> {
    let stage = Stage::new(tool, pair, "K10").with("config.properties.exclude", EXCLUDED);
    let (copy, mut running) = mirrored(&stage, &[(EXCLUDED, "1000"), ("retention.bytes", "1000")])?;
    let first = value(&stage, &copy, EXCLUDED)?;
    stage.target().client().alter_topic(&copy, &[(EXCLUDED, "2000"), ("retention.bytes", "2000")])?;
    stage.wait(&mut running, "retention.bytes is the source's again", || {
        Ok((value(&stage, &copy, "retention.bytes")?.as_deref() == Some("1000")).then_some(()))
    })?;
    let kept = value(&stage, &copy, EXCLUDED)?;
    let mut finding = Finding::default();
    finding.judge(first.is_none(), format!("{EXCLUDED} (excluded) is {} in the new copy", shown(first.as_deref())));
    finding.judge(
        kept.as_deref() == Some("2000"),
        format!("set to 2000 at the target, it stays {}", shown(kept.as_deref())),
    );
    finding.see(Verdict::Kept, "retention.bytes, set to 2000 at the target, is 1000 again");
    Ok(finding)
}

pub(super) fn source_default(tool: Tool, pair: &Pair) -> Outcome<Finding> {
    let stage =
        Stage::new(tool, pair, "K11").with("config.properties.exclude", EXCLUDED).with("use.defaults.from", "source");
    let mut finding = Finding::default();
    if stage.is(Tool::Kmirror) {
        let mut running = stage.start()?;
        let code = running.wait()?;
        let said = running.said();
        let why = said.contains("use.defaults.from")
            && said.contains("what is not set at the source has the target's default");
        assert!(why, "{said}");
        finding.see(
            Verdict::NotKept,
            format!(
                "the file is refused (exit code {code}), and says why: what is not set at the source has the target's default; \
                 a default to be kept is set on the topic, by topic.configs.override or at the source"
            ),
        );
        return Ok(finding);
    }
    let (copy, mut running) = mirrored(&stage, &[])?;
    stage.target().client().alter_topic(&copy, &[(EXCLUDED, "2000"), ("retention.bytes", "2000")])?;
    stage.wait(&mut running, "retention.bytes is the source's default", || {
        Ok((value(&stage, &copy, "retention.bytes")?.as_deref() != Some("2000")).then_some(()))
    })?;
    let (bytes, kept) = (value(&stage, &copy, "retention.bytes")?, value(&stage, &copy, EXCLUDED)?);
    let mut set = configs_of(stage.target(), &copy)?;
    set.remove(EXCLUDED);
    finding.judge(
        bytes.as_deref().is_none_or(|bytes| bytes == "-1"),
        format!("retention.bytes, set to 2000 at the target, is {} (the source's is -1)", shown(bytes.as_deref())),
    );
    finding.judge(kept.as_deref() == Some("2000"), format!("{EXCLUDED} (excluded) stays {}", shown(kept.as_deref())));
    finding.besides(format!("what is set on the copy of a topic that has no settings: {set:?}"));
    Ok(finding)
}

pub(super) fn target_default(tool: Tool, pair: &Pair) -> Outcome<Finding> {
    let stage = Stage::new(tool, pair, "K12").with("config.properties.exclude", EXCLUDED);
    let (copy, mut running) = mirrored(&stage, &[("retention.bytes", "1000")])?;
    stage.wait(&mut running, "retention.bytes is copied", || {
        Ok((value(&stage, &copy, "retention.bytes")?.as_deref() == Some("1000")).then_some(()))
    })?;
    stage.target().client().alter_topic(&copy, &[(EXCLUDED, "2000")])?;
    stage.source().client().change_topic(&stage.called("orders"), &[("retention.bytes", None)])?;
    stage.wait(&mut running, "retention.bytes is the target's default", || {
        Ok((value(&stage, &copy, "retention.bytes")?.as_deref() != Some("1000")).then_some(()))
    })?;
    let (bytes, kept) = (value(&stage, &copy, "retention.bytes")?, value(&stage, &copy, EXCLUDED)?);
    let mut finding = Finding::default();
    finding.judge(
        bytes.as_deref().is_none_or(|bytes| bytes == "-1"),
        format!("retention.bytes was 1000, is removed at the source, and is {}", shown(bytes.as_deref())),
    );
    finding.judge(
        kept.as_deref() == Some("2000"),
        format!("{EXCLUDED} (excluded), set to 2000 at the target, stays {}", shown(kept.as_deref())),
    );
    Ok(finding)
}
