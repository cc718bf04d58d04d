//! Processes: one, and three of the same mirror that are started anew one after the other.
//! MirrorMaker 2 runs in its dedicated mode in all scenarios; these are about that mode itself.

use super::finding::{Finding, Verdict};
use super::tool::{Running, Stage, Tool, write};
use crate::support::cluster::Pair;
use crate::support::{Outcome, wait_for};

/// A topic that is created while the tool runs, and 10 records of it.
fn later(stage: &Stage<'_>, running: &mut Running, what: &str) -> Outcome<String> {
    let topic = stage.called(what);
    stage.source().create_topic(&topic, 1, &[])?;
    write(stage.source(), &topic, 0..1, 10, 19)?;
    stage.wait_records(running, stage.target(), &stage.copy(&topic), 10)?;
    Ok(topic)
}

/// Something to mirror from the first moment on.
fn first(stage: &Stage<'_>) -> Outcome {
    stage.source().create_topic(&stage.called("there-before"), 1, &[])
}

pub(super) fn one_process(tool: Tool, pair: &Pair) -> Outcome<Finding> {
    let stage = Stage::new(tool, pair, "K19").with("dedicated.mode.enable.internal.rest", "false");
    let mut finding = Finding::default();
    let mut running = stage.start()?;
    if stage.is(Tool::Kmirror) {
        let code = running.wait()?;
        assert!(running.said().contains("no topic of the source matches"), "{}", running.said());
        finding.see(
            Verdict::NotKept,
            format!("while no topic of the source is selected it does not start (exit code {code}), and says so"),
        );
        first(&stage)?;
        running = stage.start()?;
    }
    let topic = later(&stage, &mut running, "later")?;
    finding.told("a topic that comes later: ", stage.compared(&topic)?.told());
    Ok(finding)
}

pub(super) fn without_offset_syncs(tool: Tool, pair: &Pair) -> Outcome<Finding> {
    let stage =
        Stage::new(tool, pair, "K20").with("dedicated.mode.enable.internal.rest", "false").without_offset_syncs();
    first(&stage)?;
    let mut running = stage.start()?;
    let topic = later(&stage, &mut running, "later")?;
    let mut finding = Finding::default();
    finding.told("", stage.compared(&topic)?.told());
    let made = [stage.internal_topics(stage.source())?, stage.internal_topics(stage.target())?].concat();
    let syncs = made.iter().filter(|topic| topic.contains("offset-syncs")).count();
    finding.judge(syncs == 0, format!("{syncs} topics for offset syncs"));
    Ok(finding)
}

/// Characters that have a meaning in a URL, as in Kafka's test. Not `/`, `\`, `%`: the web server in MirrorMaker 2 of Kafka 4 refuses
/// them in a path, and its processes do not reach each other.
const ODD: &str = "w- ._~:?#[]@!$&'()*+;=\"<>{}|^`618";

const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

/// One more process. Of a mirror the newest writes alone, and the one before it ends and says so.
fn add_process(stage: &Stage<'_>, nodes: &mut Vec<Running>) -> Outcome {
    let newest = stage.start()?;
    if stage.is(Tool::Kmirror) {
        for mut older in nodes.drain(..) {
            assert_eq!(older.wait()?, 5, "{}", older.said());
        }
        // Which of two is the newest is decided when they have begun.
        wait_for("the process has begun", LIMIT, || Ok(newest.said().contains("mirror starts").then_some(())))?;
    }
    nodes.push(newest);
    Ok(())
}

pub(super) fn three_processes(tool: Tool, pair: &Pair) -> Outcome<Finding> {
    let mut stage = Stage::new(tool, pair, "K21")
        .with("dedicated.mode.enable.internal.rest", "true")
        .with("listeners", "http://localhost:0")
        // Its name would hold the alias of the other side.
        .with("offset-syncs.topic.location", "target");
    let mut finding = Finding::default();
    let plain = stage.west.clone();
    stage.rename_west(ODD);
    if stage.is(Tool::Kmirror) {
        let mut refused = stage.start()?;
        let code = refused.wait()?;
        assert!(refused.said().contains("as a topic's name does"), "{}", refused.said());
        finding.see(
            Verdict::NotKept,
            format!("an alias takes the characters of a topic's name: another one is refused (exit code {code})"),
        );
        stage.rename_west(&plain);
    }
    let west = stage.west.clone();
    stage.set(&format!("{west}.exactly.once.source.support"), "enabled");
    stage.set(&format!("{}.consumer.isolation.level", stage.east), "read_committed");
    first(&stage)?;
    let mut nodes = Vec::new();
    for _ in 0..3 {
        add_process(&stage, &mut nodes)?;
    }
    let mut topics = Vec::new();
    for what in ["first", "second", "third"] {
        topics.push(later(&stage, &mut nodes[0], what)?);
    }
    // One after the other is started anew, with a setting that shows.
    let excluded = stage.called("fourth");
    stage.set("topics.exclude", &excluded);
    for number in 0..3 {
        if stage.is(Tool::Kmirror) {
            add_process(&stage, &mut nodes)?;
            topics.push(later(&stage, &mut nodes[0], &format!("without-{number}"))?);
            continue;
        }
        nodes[number].stop()?;
        // As in Kafka's test: the others have taken over before the next one comes.
        topics.push(later(&stage, &mut nodes[(number + 1) % 3], &format!("without-{number}"))?);
        nodes[number] = stage.start()?;
    }
    topics.push(later(&stage, &mut nodes[0], "fifth")?);
    if stage.is(Tool::MirrorMaker2) {
        // The new setting comes when a new process has become the leader of the workers.
        std::thread::sleep(std::time::Duration::from_secs(20));
    }
    stage.source().create_topic(&excluded, 1, &[])?;
    write(stage.source(), &excluded, 0..1, 10, 20)?;
    topics.push(later(&stage, &mut nodes[0], "sixth")?);
    let mut once = 0;
    for topic in &topics {
        let copied = stage.compared(topic)?;
        once += usize::from(copied.in_order && copied.records == 10);
    }
    let left_out = !stage.target().client().topics()?.contains(&stage.copy(&excluded));
    let who = match stage.is(Tool::Kmirror) {
        true => "the newest of 3 processes goes on alone, and",
        false => "with 3 processes",
    };
    finding.judge(
        once == topics.len(),
        format!("{who} {once} of {} topics that come later are copied exactly once", topics.len()),
    );
    finding.judge(
        left_out,
        format!(
            "after the rolling restart the new topics.exclude {}",
            if left_out { "holds" } else { "does not hold" }
        ),
    );
    Ok(finding)
}
