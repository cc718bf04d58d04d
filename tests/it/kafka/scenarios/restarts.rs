//! Tools that are stopped, killed and started again, and positions that somebody edits meanwhile.
//! How often each record is at the target is counted there.

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::checkpoints;
use super::finding::{Finding, Verdict};
use super::offsets::{read_all, wait_near};
use super::tool::{LIMIT, Stage, Tool, records, write};
use crate::support::cluster::Pair;
use crate::support::{Outcome, wait_for};

pub(super) fn restart(tool: Tool, pair: &Pair) -> Outcome<Finding> {
    let stage = Stage::new(tool, pair, "K8").with("sync.group.offsets.enabled", "true").with("offset.lag.max", "10");
    let (topic, group) = (stage.called("orders"), stage.called("group"));
    let copy = stage.copy(&topic);
    stage.source().create_topic(&topic, 4, &[])?;
    let mut running = stage.start()?;
    for (round, total) in [(1, 25), (2, 50)] {
        write(stage.source(), &topic, 0..4, 25, round)?;
        read_all(&stage, &group, &topic, 4)?;
        stage.wait_records(&mut running, stage.target(), &copy, 4 * usize::try_from(total)?)?;
        wait_near(&stage, &mut running, (&group, &copy), &[total; 4], 10)?;
        running.stop()?;
        if round == 1 {
            running = stage.start()?;
        }
    }
    let mut finding = Finding::default();
    finding.told("after an orderly restart ", stage.compared(&topic)?.told());
    finding.see(Verdict::Kept, "the group was near the end before and after");
    if stage.is(Tool::MirrorMaker2) {
        finding.judge(checkpoints::never_go_back(&checkpoints::of(&stage, &group)?), "checkpoints never go back");
    }
    // Kafka's tests have no such kill: right behind the records, before a position is written down.
    let mut running = stage.start()?;
    write(stage.source(), &topic, 0..4, 25, 3)?;
    stage.wait_records(&mut running, stage.target(), &copy, 300)?;
    running.kill9()?;
    let mut running = stage.start()?;
    write(stage.source(), &topic, 0..4, 25, 4)?;
    stage.wait_records(&mut running, stage.target(), &copy, 400)?;
    stage.wait(&mut running, "the last records are there", || {
        let before = records(stage.target(), &copy)?;
        std::thread::sleep(std::time::Duration::from_secs(2));
        Ok((records(stage.target(), &copy)? == before).then_some(()))
    })?;
    let twice = stage.compared(&topic)?.records - 400;
    finding.besides(format!("after kill -9 {twice} of 400 records are there twice"));
    Ok(finding)
}

pub(super) fn positions_edited(tool: Tool, pair: &Pair) -> Outcome<Finding> {
    let mut stage = Stage::new(tool, pair, "K14");
    let west = stage.west.clone();
    stage.set(&format!("{west}.exactly.once.source.support"), "enabled");
    match tool {
        Tool::Kmirror => no_position_to_edit(&stage),
        Tool::MirrorMaker2 => edited(&stage),
    }
}

/// 10 records in each of 10 partitions, and 10 in one.
fn two_topics(stage: &Stage<'_>) -> Outcome<[String; 2]> {
    let [wide, narrow] = ["wide", "narrow"].map(|what| stage.called(what));
    for (topic, partitions) in [(&wide, 10), (&narrow, 1)] {
        stage.source().create_topic(topic, partitions, &[])?;
        write(stage.source(), topic, 0..partitions, 10, 14)?;
    }
    Ok([wide, narrow])
}

fn edited(stage: &Stage<'_>) -> Outcome<Finding> {
    let [wide, narrow] = two_topics(stage)?;
    let counts = || -> Outcome<[usize; 2]> { Ok([stage.compared(&wide)?.records, stage.compared(&narrow)?.records]) };
    let mut finding = Finding::default();
    let round = |what: &str, wanted: [usize; 2], finding: &mut Finding| -> Outcome {
        let mut running = stage.start()?;
        stage.wait(&mut running, &format!("{what}: {wanted:?} records"), || {
            let ready = [&wide, &narrow]
                .iter()
                .all(|topic| records(stage.target(), &stage.copy(topic)).is_ok_and(|count| count > 0));
            let found = if ready { counts()? } else { [0, 0] };
            Ok((found[0] >= wanted[0] && found[1] >= wanted[1]).then_some(()))
        })?;
        // More would come soon.
        std::thread::sleep(std::time::Duration::from_secs(3));
        running.stop()?;
        let found = counts()?;
        finding.judge(found == wanted, format!("{what}, {} and {} records", found[0], found[1]));
        Ok(())
    };
    round("at first", [100, 10], &mut finding)?;
    // As its interface would: 0 is the last record that was copied, no value is no position. Its dedicated mode has no interface.
    let set = |topic: &str, partitions: i32, value: Option<&str>| -> Outcome { edit(stage, topic, partitions, value) };
    set(&wide, 10, Some("{\"offset\":0}"))?;
    set(&narrow, 1, None)?;
    round("with one at 0 and the other reset", [190, 20], &mut finding)?;
    set(&wide, 10, None)?;
    set(&narrow, 1, None)?;
    round("with both reset", [290, 30], &mut finding)?;
    Ok(finding)
}

/// Writes positions into the topic where MirrorMaker 2 keeps them, while it is down.
fn edit(stage: &Stage<'_>, topic: &str, partitions: i32, value: Option<&str>) -> Outcome {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", stage.target().direct()).create()?;
    let offsets = format!("mm2-offsets.{}.internal", stage.east);
    for partition in 0..partitions {
        let key = format!(
            "[\"MirrorSourceConnector\",{{\"cluster\":\"{}\",\"partition\":{partition},\"topic\":\"{topic}\"}}]",
            stage.east
        );
        let mut record = BaseRecord::<str, str>::to(&offsets).key(&key);
        record.payload = value;
        producer.send(record).map_err(|(error, _)| error)?;
    }
    Ok(producer.flush(LIMIT)?)
}

/// What somebody does who would edit a position: kmirror's is the end of the target's log.
fn no_position_to_edit(stage: &Stage<'_>) -> Outcome<Finding> {
    let [wide, narrow] = two_topics(stage)?;
    let (copies, target) = ([stage.copy(&wide), stage.copy(&narrow)], stage.target().client());
    let mut finding = Finding::default();
    let told = |finding: &mut Finding, what: &str| -> Outcome {
        let [wide, narrow] = [stage.compared(&wide)?, stage.compared(&narrow)?];
        let good = wide.same_offsets && narrow.same_offsets;
        let verdict = if good { Verdict::AnotherWay } else { Verdict::NotKept };
        finding.see(verdict, format!("{what} {} and {} records at the same offsets", wide.records, narrow.records));
        Ok(())
    };
    let mut running = stage.start()?;
    stage.wait_records(&mut running, stage.target(), &copies[0], 100)?;
    stage.wait_records(&mut running, stage.target(), &copies[1], 10)?;
    running.stop()?;
    told(&mut finding, "there is no position to edit, the target's log is the position: at first")?;

    // The way to have a topic copied anew.
    target.delete_topic(&copies[0])?;
    wait_for("the topic is gone", LIMIT, || Ok((!target.topics()?.contains(&copies[0])).then_some(())))?;
    let mut running = stage.start()?;
    stage.wait_records(&mut running, stage.target(), &copies[0], 100)?;
    running.stop()?;
    told(&mut finding, "when one is deleted at the target it is copied anew,")?;

    // Deleting records moves no position.
    target.delete_records(&copies[1], 0, -1)?;
    write(stage.source(), &narrow, 0..1, 5, 15)?;
    let mut running = stage.start()?;
    stage.wait_records(&mut running, stage.target(), &copies[1], 5)?;
    running.stop()?;
    let bounds = target.bounds(&copies[1])?[&0];
    finding.see(
        if (bounds.start, bounds.end) == (10, 15) { Verdict::AnotherWay } else { Verdict::NotKept },
        format!(
            "with its 10 records deleted at the target the other goes on with 5 new ones at offsets {} to {}",
            bounds.start,
            bounds.end - 1
        ),
    );

    let internal = format!("kmirror.{}-to-{}.internal", stage.east, stage.west);
    target.delete_topic(&internal)?;
    wait_for("the internal topic is gone", LIMIT, || Ok((!target.topics()?.contains(&internal)).then_some(())))?;
    write(stage.source(), &narrow, 0..1, 5, 16)?;
    let mut running = stage.start()?;
    let code = running.wait()?;
    let end = target.bounds(&copies[1])?[&0].end;
    finding.see(
        if end == 15 && code == 5 { Verdict::AnotherWay } else { Verdict::NotKept },
        format!("with its internal topic deleted it refuses (exit code {code}) and appends {} records", end - 15),
    );
    Ok(finding)
}
