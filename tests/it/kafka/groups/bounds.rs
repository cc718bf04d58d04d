//! Offsets of groups that lie outside of what a log holds: before the first record of the copy, beyond the end of the source.
//! What counts is what a consumer that is moved to the target reads there, with either `auto.offset.reset`.

use serde_json::Value;

use super::write;
use crate::support::cluster::{Pair, shared, unique};
use crate::support::groups::{self, Protocol};
use crate::support::mirroring::Mirroring;
use crate::support::{Outcome, wait_for};

/// What a member of the group reads on the target, from its first record to the end.
fn offsets_read(pair: &Pair, group: &str, reset: &str, topic: &str) -> Outcome<Vec<i64>> {
    let read = groups::read(&pair.target, group, (Protocol::Classic, reset), topic, usize::MAX, 1)?;
    Ok(read.iter().map(|((_, offset), _)| *offset).collect())
}

#[test]
fn a_group_before_the_copys_first_record_begins_there_whatever_its_reset_is() -> Outcome {
    let pair = shared()?;
    let topic = unique("first");
    let [latest, earliest, ahead] = ["latest", "earliest", "ahead"].map(|name| format!("{topic}-{name}"));
    pair.source.create_topic(&topic, 1, &[])?;
    write(pair, &topic, 0, 100)?;
    for (group, offset) in [(&latest, 40), (&earliest, 0), (&ahead, 100)] {
        groups::commit(&pair.source, group, &[(&topic, 0, offset)])?;
    }
    let mirroring = Mirroring::pair(pair, &topic).set("start=latest");
    let planned = offsets_of(&mirroring.plan()?);
    assert_eq!(
        planned,
        [(ahead.clone(), 100, None), (earliest.clone(), 100, Some(0)), (latest.clone(), 100, Some(40))]
    );

    let mut mirror = mirroring.start()?;
    groups::wait_offset(&pair.target, &latest, &topic, 0, 100)?;
    super::wait_said(&mirror, "the copy begins behind the group's offset")?;
    write(pair, &topic, 0, 20)?;
    let end = || Ok(pair.target.client().bounds(&topic)?.get(&0).is_some_and(|bounds| bounds.end == 120).then_some(()));
    wait_for("the rest is copied", super::LIMIT, end)?;
    assert_eq!(groups::offset(&pair.target, &earliest, &topic, 0)?, Some(100));
    mirror.kill9()?;
    for (group, reset) in [(&latest, "latest"), (&earliest, "earliest"), (&ahead, "latest")] {
        assert_eq!(offsets_read(pair, group, reset, &topic)?, (100..120).collect::<Vec<_>>(), "{group}");
    }
    Ok(())
}

/// The offsets that a plan would set, by group: the offset, and that at the source if it is raised.
fn offsets_of(plan: &Value) -> Vec<(String, i64, Option<i64>)> {
    let one = |group: &Value| {
        let offset = &group["offsets"][0];
        Some((group["group"].as_str()?.to_owned(), offset["to"].as_i64()?, offset["raised_from"].as_i64()))
    };
    plan["groups"].as_array().into_iter().flatten().filter_map(one).collect()
}

#[test]
fn a_group_follows_the_first_record_of_a_target_that_has_lost_its_head() -> Outcome {
    let pair = shared()?;
    let topic = unique("head");
    pair.source.create_topic(&topic, 1, &[])?;
    write(pair, &topic, 0, 100)?;
    groups::commit(&pair.source, &topic, &[(&topic, 0, 10)])?;
    let mirroring = Mirroring::pair(pair, &topic);
    mirroring.catch_up()?;
    assert_eq!(groups::offset(&pair.target, &topic, &topic, 0)?, Some(10));
    pair.target.client().delete_records(&topic, 0, 60)?;
    mirroring.catch_up()?;
    assert_eq!(groups::offset(&pair.target, &topic, &topic, 0)?, Some(60));
    assert_eq!(offsets_read(pair, &topic, "latest", &topic)?, (60..100).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn a_group_beyond_the_end_of_a_topic_made_anew_says_so() -> Outcome {
    let pair = shared()?;
    let topic = unique("anew");
    pair.source.create_topic(&topic, 1, &[])?;
    write(pair, &topic, 0, 10)?;
    groups::commit(&pair.source, &topic, &[(&topic, 0, 1000)])?;
    let report = Mirroring::pair(pair, &topic).report()?;
    assert_eq!(groups::offset(&pair.target, &topic, &topic, 0)?, Some(10));
    let status = &report["status"];
    let counts = ["behind", "behind_offsets", "skipped"].map(|key| status["groups"][key].as_u64());
    assert_eq!(counts, [Some(0), Some(0), Some(1)], "{status}");
    let told = status["troubles"][0]["message"].as_str().unwrap_or_default();
    let expected = format!("group '{topic}' is at 1000 in {topic}-0 at the source, whose log ends at 10");
    assert!(told.contains(&expected), "{status}");
    Ok(())
}
