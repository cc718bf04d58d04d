//! Offsets that somebody else has set on the target are somebody's: of readers without membership, as Flink and Spark are, of
//! people with tools. The mirror tells of them and leaves them where they are, also in a later process, and follows its own.

use std::time::Duration;

use super::{wait_said, write};
use crate::support::Outcome;
use crate::support::cluster::{shared, unique};
use crate::support::groups::{commit, delete, offset, wait_offset};
use crate::support::mirroring::Mirroring;

/// Some rounds of a mirror that refreshes every half second.
const ROUNDS: Duration = Duration::from_millis(1800);

#[test]
fn a_reader_without_membership_is_never_moved() -> Outcome {
    let pair = shared()?;
    let topic = unique("assigned");
    let [used, ours, early] = ["used", "ours", "early"].map(|name| format!("{topic}-{name}"));
    pair.source.create_topic(&topic, 1, &[])?;
    write(pair, &topic, 0, 100)?;
    for group in [&used, &ours, &early] {
        commit(&pair.source, group, &[(&topic, 0, 60)])?;
    }
    let mirroring = Mirroring::pair(pair, &topic);
    let on_target = |group: &str| offset(&pair.target, group, &topic, 0);
    let told = |group: &str, at: i64, source: i64| {
        format!("group '{group}' was used on the target: {topic}-0 is at {at} there and at {source} at the source")
    };

    // One has read there before the mirror has copied the group at all.
    pair.target.create_topic(&topic, 1, &[])?;
    commit(&pair.target, &early, &[(&topic, 0, 5)])?;
    let mut mirror = mirroring.start()?;
    for group in [&used, &ours] {
        wait_offset(&pair.target, group, &topic, 0, 60)?;
    }
    wait_said(&mirror, &told(&early, 5, 60))?;
    commit(&pair.target, &used, &[(&topic, 0, 40)])?;
    wait_said(&mirror, &told(&used, 40, 60))?;
    for group in [&used, &ours, &early] {
        commit(&pair.source, group, &[(&topic, 0, 70)])?;
    }
    wait_offset(&pair.target, &ours, &topic, 0, 70)?;
    std::thread::sleep(ROUNDS);
    assert_eq!((on_target(&used)?, on_target(&early)?), (Some(40), Some(5)));
    mirror.kill9()?;

    // What a process has set is known to the next one, and so is what it has not.
    for group in [&used, &ours, &early] {
        commit(&pair.source, group, &[(&topic, 0, 80)])?;
    }
    let plan = mirroring.plan()?;
    let planned = |group: &str| plan["groups"].as_array().into_iter().flatten().find(|plan| plan["group"] == group);
    assert_eq!(planned(&ours).map(|plan| &plan["offsets"][0]["to"]), Some(&80.into()), "{plan}");
    for group in [&used, &early] {
        let skipped = planned(group).and_then(|plan| plan["skipped"].as_str()).unwrap_or_default();
        assert!(skipped.contains("was used on the target"), "{plan}");
    }
    let report = mirroring.report()?;
    let troubles = report["status"]["troubles"].to_string();
    assert_eq!([on_target(&used)?, on_target(&ours)?, on_target(&early)?], [Some(40), Some(80), Some(5)]);
    for words in [told(&used, 40, 80), told(&early, 5, 80)] {
        assert!(troubles.contains(&words), "{words} is missing in {troubles}");
    }
    assert!(!troubles.contains(&ours), "{troubles}");

    // The way out that the message names.
    delete(&pair.target, &used)?;
    mirroring.catch_up()?;
    assert_eq!([on_target(&used)?, on_target(&early)?], [Some(80), Some(5)]);
    Ok(())
}

#[test]
fn a_group_that_went_on_on_the_target_is_not_set_back_when_the_source_goes_back() -> Outcome {
    let pair = shared()?;
    let topic = unique("ahead-there");
    pair.source.create_topic(&topic, 1, &[])?;
    write(pair, &topic, 0, 200)?;
    commit(&pair.source, &topic, &[(&topic, 0, 100)])?;
    let mut mirror = Mirroring::pair(pair, &topic).start()?;
    wait_offset(&pair.target, &topic, &topic, 0, 100)?;
    commit(&pair.target, &topic, &[(&topic, 0, 150)])?;
    wait_said(&mirror, "was used on the target")?;
    commit(&pair.source, &topic, &[(&topic, 0, 50)])?;
    std::thread::sleep(ROUNDS);
    assert_eq!(offset(&pair.target, &topic, &topic, 0)?, Some(150));
    assert_eq!(mirror.exited()?, None);
    mirror.kill9()
}
