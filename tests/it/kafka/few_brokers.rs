//! A target with fewer brokers than there should be, on real brokers: too few for the replicas that are wanted, and without the coordinator of some
//! groups. What cannot be had is named, all else goes on, and it recovers when the broker is back.

use std::time::Duration;

use super::denied::{said_of, start, wait_named, wait_nothing_said};
use super::mirror::{configs_of, wait_copied};
use crate::support::cluster::{Options, Pair};
use crate::support::groups;
use crate::support::mirroring::Mirroring;
use crate::support::records::{Generator, Writing, produce};
use crate::support::{Failure, Outcome, wait_for};

/// A hang limit, not a measure.
const LIMIT: Duration = Duration::from_secs(90);

#[test]
fn a_broker_that_is_missing_on_the_target_is_felt_by_what_needs_it_alone() -> Outcome {
    // Offsets are kept once, so that each group has its place on one broker alone.
    let target = Options::default().nodes(3).property("offsets.topic.replication.factor", "1");
    let pair = Pair::start(Options::default(), target)?;
    pair.source.create_topic("few", 1, &[])?;
    produce(&pair.source.bootstrap(), "few", 0, Generator::new(3).take(30), &Writing::default())?;
    let names: Vec<String> = (0..12).map(|number| format!("group-{number}")).collect();
    let mut nodes = Vec::new();
    for group in &names {
        groups::commit(&pair.source, group, &[("few", 0, 10)])?;
        let node = wait_for("a group has its place", LIMIT, || groups::coordinator_node(&pair.target, group))?;
        nodes.push(node.0);
    }
    let lost = nodes[0];
    let there = names.iter().zip(&nodes).find(|(_, node)| **node != lost).map(|(name, _)| name.clone());
    let there = there.ok_or_else(|| Failure("one broker has everything".to_owned()))?;
    pair.target.kill(lost)?;
    wait_for("the others notice", LIMIT, || Ok((pair.target.client().brokers()? == 2).then_some(())))?;

    let settings = "replication.factor=3";
    let plan = Mirroring::of(&pair.source, &pair.target, "few", "few").set(settings).plan()?;
    let planned = &plan["topics"][0];
    assert_eq!(
        (&planned["replication_factor"], &planned["replication_factor_wanted"]),
        (&2.into(), &3.into()),
        "{plan:#}"
    );
    let skipped = plan["groups"].as_array().into_iter().flatten().find(|group| group["group"] == names[0].as_str());
    assert!(skipped.is_some_and(|group| group["skipped"].is_string()), "{plan:#}");

    let mirror = start(&pair, "few", "few", &[("replication.factor", "3")])?;
    wait_copied(&pair, "few")?;
    wait_named(&mirror, "few", "2 of 3 replicas on the target, which has 2 brokers")?;
    wait_named(&mirror, &names[0], "COORDINATOR_NOT_AVAILABLE")?;
    groups::wait_offset(&pair.target, &there, "few", 0, 10)?;
    groups::commit(&pair.source, &there, &[("few", 0, 20)])?;
    groups::wait_offset(&pair.target, &there, "few", 0, 20)?;
    assert_eq!(said_of(&mirror.status(), &there), "");

    pair.target.restart(lost)?;
    for group in names.iter().filter(|group| **group != there) {
        groups::wait_offset(&pair.target, group, "few", 0, 10)?;
    }
    wait_nothing_said(&mirror, &names[0])?;
    // With a third broker nothing is said, but nobody moves replicas by himself; what the target's people do then is not undone.
    pair.target.client().reassign("few", 0, &[1, 2, 3])?;
    pair.target.wait_in_sync("few")?;
    wait_nothing_said(&mirror, "few")?;
    pair.source.client().alter_topic("few", &[("min.insync.replicas", "1"), ("retention.ms", "900000000000")])?;
    wait_for("its configuration follows", LIMIT, || {
        Ok(configs_of(&pair.target, "few")?.contains_key("retention.ms").then_some(()))
    })?;
    mirror.stop(LIMIT)?;
    Ok(())
}
