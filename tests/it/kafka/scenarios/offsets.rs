//! Offsets of consumer groups: what they become at the target, and how much a consumer that is moved there reads again.
//! Consumers are librdkafka's, and really move.

use super::checkpoints;
use super::finding::{Finding, Verdict};
use super::tool::{Running, Stage, Tool, write};
use crate::support::cluster::Pair;
use crate::support::groups::{self, Protocol};
use crate::support::{Failure, Outcome, console};

/// Several rounds of what is done every second.
const ROUNDS: std::time::Duration = std::time::Duration::from_secs(3);
const CLASSIC: (Protocol, &str) = (Protocol::Classic, "earliest");

/// A member reads a topic of the source to its end, commits and leaves.
pub(super) fn read_all(stage: &Stage<'_>, group: &str, topic: &str, partitions: usize) -> Outcome<usize> {
    Ok(groups::read(stage.source(), group, CLASSIC, topic, usize::MAX, partitions)?.len())
}

/// Where a group is in each partition of a topic of the target.
pub(super) fn at_target(stage: &Stage<'_>, group: &str, topic: &str, partitions: i32) -> Outcome<Vec<Option<i64>>> {
    let committed = groups::committed(stage.target(), group)?;
    let at = |partition| committed.get(&(topic.to_owned(), partition)).map(|(offset, ..)| *offset);
    Ok((0..partitions).map(at).collect())
}

/// A member goes on at the target, reads to the end and leaves: how many records it gets.
pub(super) fn go_on(stage: &Stage<'_>, group: &str, copy: &str, partitions: usize) -> Outcome<usize> {
    Ok(groups::read(stage.target(), group, CLASSIC, copy, usize::MAX, partitions)?.len())
}

/// Waits until a group is so near to the end of each partition at the target as `offset.lag.max` promises.
pub(super) fn wait_near(
    stage: &Stage<'_>,
    running: &mut Running,
    (group, copy): (&str, &str),
    ends: &[i64],
    lag: i64,
) -> Outcome<Vec<i64>> {
    let mut last = Vec::new();
    let waited = stage.wait(running, &format!("{group} is within {lag} of {ends:?} in {copy}"), || {
        last = at_target(stage, group, copy, i32::try_from(ends.len())?)?;
        let near = |(offset, end): (&Option<i64>, &i64)| offset.is_some_and(|offset| end - offset <= lag);
        Ok(last.iter().zip(ends).all(near).then(|| last.iter().flatten().copied().collect()))
    });
    waited.map_err(|error| Failure(format!("{error}\n(it is at {last:?})")))
}

pub(super) fn empty_partition(tool: Tool, pair: &Pair) -> Outcome<Finding> {
    let stage = Stage::new(tool, pair, "K2").with("sync.group.offsets.enabled", "true").with("offset.lag.max", "0");
    let (topic, [group, reader]) = (stage.called("orders"), ["group", "reader"].map(|what| stage.called(what)));
    stage.source().create_topic(&topic, 4, &[])?;
    write(stage.source(), &topic, 0..3, 10, 2)?;
    groups::commit(stage.source(), &group, &[(&topic, 0, 10), (&topic, 1, 10), (&topic, 2, 10), (&topic, 3, 0)])?;
    let copy = stage.copy(&topic);
    let mut running = stage.start()?;
    stage.wait_records(&mut running, stage.target(), &copy, 30)?;
    // As in Kafka's test: a group that reads everything at the target commits 0 where there is nothing, as Java's client does.
    console::read_as_group(stage.target(), &copy, &reader, 30)?;
    let read = at_target(&stage, &reader, &copy, 4)?;
    wait_near(&stage, &mut running, (&group, &copy), &[10; 3], 0)?;
    std::thread::sleep(ROUNDS);
    let synced = at_target(&stage, &group, &copy, 4)?;
    let mut finding = Finding::default();
    finding.judge(read[3] == Some(0), format!("a consumer that has read the copy is at {}", shown(&read)));
    finding.besides(format!("with sync.group.offsets.enabled a group at 10, 10, 10 and 0 is at {}", shown(&synced)));
    Ok(finding)
}

fn shown(offsets: &[Option<i64>]) -> String {
    let each = offsets.iter().map(|offset| offset.map_or_else(|| "nowhere".to_owned(), |offset| offset.to_string()));
    each.collect::<Vec<_>>().join(", ")
}

pub(super) fn moved_with_lag(tool: Tool, pair: &Pair) -> Outcome<Finding> {
    moved(Stage::new(tool, pair, "K3"), 10)
}

pub(super) fn moved_without_lag(tool: Tool, pair: &Pair) -> Outcome<Finding> {
    moved(Stage::new(tool, pair, "K4"), 0)
}

fn moved(stage: Stage<'_>, lag: i64) -> Outcome<Finding> {
    const EACH: usize = 105;
    let stage = stage.with("sync.group.offsets.enabled", "true").with("offset.lag.max", &lag.to_string());
    let (group, half) = (stage.called("group"), stage.called("half"));
    let [first, later] = [stage.called("first"), stage.called("later")];
    let source = stage.source();
    source.create_topic(&first, 3, &[])?;
    write(source, &first, 0..3, EACH, 3)?;
    read_all(&stage, &group, &first, 3)?;
    groups::commit(source, &half, &[(&first, 0, 52)])?;
    let mut running = stage.start()?;
    stage.wait_records(&mut running, stage.target(), &stage.copy(&first), 3 * EACH)?;
    // Offset syncs come with records: what a partition gets later brings a group near its end.
    write(source, &first, 0..3, EACH, 4)?;
    read_all(&stage, &group, &first, 3)?;
    source.create_topic(&later, 2, &[])?;
    write(source, &later, 0..2, EACH, 5)?;
    read_all(&stage, &group, &later, 2)?;
    stage.wait_records(&mut running, stage.target(), &stage.copy(&first), 6 * EACH)?;
    stage.wait_records(&mut running, stage.target(), &stage.copy(&later), 2 * EACH)?;
    let each = i64::try_from(EACH)?;
    wait_near(&stage, &mut running, (&group, &stage.copy(&first)), &[2 * each; 3], lag)?;
    wait_near(&stage, &mut running, (&group, &stage.copy(&later)), &[each; 2], lag)?;
    std::thread::sleep(ROUNDS);
    running.kill9()?;
    let half_at = at_target(&stage, &half, &stage.copy(&first), 1)?;

    let mut finding = Finding::default();
    let again = [go_on(&stage, &group, &stage.copy(&first), 3)?, go_on(&stage, &group, &stage.copy(&later), 2)?];
    let most = usize::try_from(lag)?.saturating_sub(1);
    finding.judge(
        again[0] <= 3 * most && again[1] <= 2 * most,
        format!(
            "a group at the end reads {} records of 3 partitions again, {} of 2 that came later",
            again[0], again[1]
        ),
    );
    let made = stage.source().client().topics()?.iter().filter(|topic| topic.starts_with(&stage.west)).count();
    finding.judge(made == 0, format!("{made} topics come back to the source"));
    let there = half_at[0].map_or_else(|| "has no offset there".to_owned(), |offset| format!("goes on at {offset}"));
    finding.besides(format!("a group that had stopped at 52 before the mirror started {there}"));
    Ok(finding)
}

pub(super) fn nothing_mirrored_yet(tool: Tool, pair: &Pair) -> Outcome<Finding> {
    let stage = Stage::new(tool, pair, "K7").with("sync.group.offsets.enabled", "true").with("offset.lag.max", "0");
    let (group, [full, empty]) = (stage.called("group"), ["full", "empty"].map(|what| stage.called(what)));
    for topic in [&full, &empty] {
        stage.source().create_topic(topic, 1, &[])?;
    }
    write(stage.source(), &full, 0..1, 10, 7)?;
    let mut running = stage.start()?;
    stage.wait_records(&mut running, stage.target(), &stage.copy(&full), 10)?;
    groups::commit(stage.source(), &group, &[(&full, 0, 10), (&empty, 0, 0)])?;
    stage.wait_group(&mut running, &group, &stage.copy(&full), 0, 1)?;
    std::thread::sleep(ROUNDS);
    let before = groups::offset(stage.target(), &group, &stage.copy(&empty), 0)?;
    write(stage.source(), &empty, 0..1, 10, 8)?;
    stage.wait_records(&mut running, stage.target(), &stage.copy(&empty), 10)?;
    groups::commit(stage.source(), &group, &[(&full, 0, 10), (&empty, 0, 10)])?;
    let after = stage.wait_group(&mut running, &group, &stage.copy(&empty), 0, 1)?;
    let mut finding = Finding::default();
    match before {
        None => finding.see(Verdict::Kept, "no offset in an empty topic"),
        Some(offset) => finding.see(
            Verdict::AnotherWay,
            format!("in an empty topic, where the group is at 0, it is at {offset} at once: nothing has to be translated, and no record is skipped"),
        ),
    }
    finding.judge(after == 10, format!("at 10 of 10 records it is at {after}"));
    Ok(finding)
}

pub(super) fn slow_group(tool: Tool, pair: &Pair) -> Outcome<Finding> {
    let stage = Stage::new(tool, pair, "K9").with("sync.group.offsets.enabled", "true").with("offset.lag.max", "10");
    let (topic, group) = (stage.called("orders"), stage.called("group"));
    let copy = stage.copy(&topic);
    stage.source().create_topic(&topic, 1, &[])?;
    let mut running = stage.start()?;
    write(stage.source(), &topic, 0..1, 10, 9)?;
    stage.wait_records(&mut running, stage.target(), &copy, 10)?;
    for round in 0..9 {
        write(stage.source(), &topic, 0..1, 110, 100 + round)?;
    }
    stage.wait_records(&mut running, stage.target(), &copy, 1000)?;
    let (mut checkpointed, mut synced) = (Vec::new(), Vec::new());
    for at in [10, 900, 100] {
        groups::commit(stage.source(), &group, &[(&topic, 0, at)])?;
        let downstream = |stage: &Stage<'_>| -> Outcome<Option<i64>> {
            let found = checkpoints::of(stage, &group)?;
            Ok(found.iter().rev().find(|checkpoint| checkpoint.upstream == at).map(|checkpoint| checkpoint.downstream))
        };
        match stage.tool {
            Tool::MirrorMaker2 => {
                checkpointed.push(stage.wait(&mut running, "there is a checkpoint", || downstream(&stage))?);
                std::thread::sleep(ROUNDS);
            }
            Tool::Kmirror => groups::wait_offset(stage.target(), &group, &copy, 0, at)?,
        }
        synced.push(groups::offset(stage.target(), &group, &copy, 0)?.unwrap_or(-1));
    }
    let mut finding = Finding::default();
    let told =
        format!("with sync.group.offsets.enabled a group at 10, 900 and then 100 is at {synced:?} at the target");
    match checkpointed[..] {
        [first, far, back] => {
            finding.judge(
                first < far && back < far,
                format!("the checkpoints of a group at 10, 900 and then 100 say {checkpointed:?}"),
            );
            finding.besides(told);
        }
        _ => finding.judge(synced[0] < synced[1] && synced[2] < synced[1], told),
    }
    Ok(finding)
}
