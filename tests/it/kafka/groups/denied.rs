//! Groups that cannot be had for a while: a permission that is missing for one of them, a coordinator that is gone.
//! Each is named in plan and status, the others go on, and it recovers by itself.

use std::collections::BTreeSet;

use super::super::permissions::{acl, create, grant};
use super::{LIMIT, wait_said, write};
use crate::support::cluster::{Cluster, Options, Pair};
use crate::support::groups;
use crate::support::mirroring::Mirroring;
use crate::support::proxy::CLIENTS_COME_FROM;
use crate::support::{Failure, Outcome, wait_for};

const GROUP: i8 = 3;
const LITERAL: i8 = 3;
const DENY: i8 = 2;
const ALLOW: i8 = 3;
const ANY: i8 = 1;
const ALL: i8 = 2;
const READ: i8 = 3;
const DESCRIBE: i8 = 8;

fn set(cluster: &Cluster, group: &str, host: &str, operation: i8, permission: i8) -> Outcome {
    create(cluster, vec![acl((GROUP, group), LITERAL, host, operation, permission)])
}

#[test]
fn one_denied_group_is_named_and_the_others_go_on() -> Outcome {
    let guarded = || {
        Options::default()
            .proxied()
            .property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
            .property("allow.everyone.if.no.acl.found", "true")
    };
    let pair = Pair::start(guarded(), guarded())?;
    let mirror = CLIENTS_COME_FROM.to_string();
    pair.source.create_topic("denied", 1, &[])?;
    write(&pair, "denied", 0, 30)?;
    let all = ["free", "hidden", "unreadable", "unwritable"];
    for group in all {
        groups::commit(&pair.source, group, &[("denied", 0, 12)])?;
    }
    // Each on the side and at the step where it hurts, for the mirror's address alone.
    for cluster in [&pair.source, &pair.target] {
        set(cluster, "*", "*", ALL, ALLOW)?;
    }
    set(&pair.source, "hidden", &mirror, DESCRIBE, DENY)?;
    set(&pair.target, "unreadable", &mirror, DESCRIBE, DENY)?;
    set(&pair.target, "unwritable", &mirror, READ, DENY)?;

    let mirroring = Mirroring::pair(&pair, "denied").set("groups=.*");
    let expected = [
        (
            "hidden",
            "the source cluster refuses to tell the offsets of group 'hidden'",
            "allow DESCRIBE on Group 'hidden'",
        ),
        ("unreadable", "the target cluster refuses to", "allow DESCRIBE on Group 'unreadable'"),
        ("unwritable", "the offset", "allow READ on Group 'unwritable'"),
    ];
    // A cluster that was never asked for a coordinator has no topic for them, and a plan does not have it created.
    let plan = mirroring.plan()?;
    assert!(
        plan.to_string().contains(r#""from":null,"partition":0,"raised_from":null,"reason":"missing","to":12"#),
        "{plan:#}"
    );
    assert!(!pair.target.client().topics()?.iter().any(|topic| topic == "__consumer_offsets"), "a plan writes nothing");
    pair.target.create_topic("elsewhere", 1, &[])?;
    groups::commit(&pair.target, "elsewhere", &[("elsewhere", 0, 0)])?;
    let plan = mirroring.plan()?;
    for (group, what, fix) in expected {
        let planned = plan["groups"].as_array().into_iter().flatten().find(|planned| planned["group"] == group);
        let why = planned.and_then(|planned| planned["skipped"].as_str()).unwrap_or_default();
        assert!(why.contains(what) && why.contains(fix), "{group}: {plan:#}");
    }
    let report = mirroring.report()?;
    assert_eq!(groups::offset(&pair.target, "free", "denied", 0)?, Some(12));
    let troubles = report["status"]["troubles"].as_array().cloned().unwrap_or_default();
    let named: BTreeSet<&str> = troubles.iter().filter_map(|trouble| trouble["name"].as_str()).collect();
    assert_eq!(named, BTreeSet::from(["hidden", "unreadable", "unwritable"]), "{troubles:?}");
    for (group, _, fix) in expected {
        assert!(troubles.iter().any(|it| it["message"].as_str().is_some_and(|why| why.contains(fix))), "{group}");
        assert_eq!(groups::offset(&pair.target, group, "denied", 0)?, None, "{group}");
    }

    let mut running = mirroring.start()?;
    for (_, _, fix) in expected {
        wait_said(&running, fix)?;
    }
    grant(&pair.source, (GROUP, "hidden"), ANY)?;
    grant(&pair.target, (GROUP, "unreadable"), ANY)?;
    grant(&pair.target, (GROUP, "unwritable"), ANY)?;
    for group in all {
        groups::wait_offset(&pair.target, group, "denied", 0, 12)?;
    }
    assert_eq!(running.exited()?, None);
    running.kill9()
}

/// Three brokers, and offsets that only one of them has: with it, the groups it coordinates are out of reach.
#[test]
fn groups_without_a_coordinator_are_named_and_recover_when_it_is_back() -> Outcome {
    let source = Options::default().nodes(3).property("offsets.topic.replication.factor", "1");
    let pair = Pair::start(source, Options::default())?;
    pair.source.create_topic("gone", 1, &[])?;
    write(&pair, "gone", 0, 30)?;
    let names: Vec<String> = (0..12).map(|number| format!("group-{number}")).collect();
    let mut nodes = Vec::new();
    for group in &names {
        groups::commit(&pair.source, group, &[("gone", 0, 10)])?;
        let node = groups::coordinator_node(&pair.source, group)?;
        nodes.push(node.ok_or_else(|| Failure("a group has no coordinator".to_owned()))?.0);
    }
    let lost = nodes[0];
    let there = names.iter().zip(&nodes).find(|(_, node)| **node != lost).map(|(name, _)| name.clone());
    let there = there.ok_or_else(|| Failure("one broker coordinates everything".to_owned()))?;
    let mirroring = Mirroring::pair(&pair, "gone");
    let mut mirror = mirroring.start()?;
    for group in &names {
        groups::wait_offset(&pair.target, group, "gone", 0, 10)?;
    }
    groups::commit(&pair.source, &names[0], &[("gone", 0, 20)])?;
    pair.source.kill(lost)?;
    wait_said(&mirror, &format!("name=\"{}\"", names[0]))?;
    wait_said(&mirror, "partitions of __consumer_offsets have no leader at the source")?;
    groups::commit(&pair.source, &there, &[("gone", 0, 21)])?;
    groups::wait_offset(&pair.target, &there, "gone", 0, 21)?;
    let plan = mirroring.plan()?;
    let unseen = plan["groups_unseen"]["__consumer_offsets"].as_str().unwrap_or_default();
    assert!(unseen.contains("have no leader at the source"), "{plan:#}");

    pair.source.restart(lost)?;
    wait_for("the group has its coordinator again", LIMIT, || {
        Ok(groups::coordinator_node(&pair.source, &names[0])?.is_some().then_some(()))
    })?;
    groups::commit(&pair.source, &names[0], &[("gone", 0, 25)])?;
    groups::wait_offset(&pair.target, &names[0], "gone", 0, 25)?;
    assert_eq!(mirror.exited()?, None);
    mirror.kill9()
}
