//! Topics that are called otherwise on the target (`replication.policy=default`), on real brokers: their ACLs, and a switch-over of them.
//! What belongs to a topic of the same name there is somebody else's and stays as it is.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::cluster::{Pair, shared, unique};
use crate::support::ledger::{self, Isolation, Ledger};
use crate::support::mirroring::Mirroring;
use crate::support::records::{Generator, Writing, produce};
use crate::support::{Failure, Outcome, acls, groups, wait_for};

/// A hang limit, not a measure.
const LIMIT: Duration = Duration::from_secs(90);

fn renaming(pair: &Pair, name: &str, topics: &str) -> Mirroring {
    Mirroring::of(&pair.source, &pair.target, name, topics)
        .set("replication.policy=default")
        .set("source.cluster.alias=north")
}

fn set(lines: &[&str]) -> BTreeSet<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn acls_are_about_the_names_that_topics_have_on_the_target() -> Outcome {
    const CLUSTER: &str = "allow User:* ALL cluster kafka-cluster *";
    const AT_SOURCE: [&str; 6] = [
        "allow User:app READ topic orders *",
        "deny User:mallory ALL topic ^ord *",
        "allow User:all DESCRIBE topic * *",
        "allow User:app READ group app *",
        "allow User:app READ topic unmirrored *",
        // For whoever writes and reads here.
        "allow User:ANONYMOUS ALL topic orders *",
    ];
    // The target has a topic of the same name, and its people.
    const TARGETS_OWN: [&str; 2] = ["allow User:app WRITE topic orders *", "allow User:other READ topic ^ord *"];
    const COPIES: [&str; 5] = [
        "allow User:app READ topic north.orders *",
        "deny User:mallory ALL topic ^north.ord *",
        "allow User:all DESCRIBE topic ^north. *",
        "allow User:app READ group app *",
        "allow User:ANONYMOUS ALL topic north.orders *",
    ];
    let pair = Pair::start(acls::guarded(), acls::guarded())?;
    acls::create(&pair.source, &[CLUSTER])?;
    acls::create(&pair.source, &AT_SOURCE)?;
    acls::create(&pair.target, &[CLUSTER])?;
    acls::create(&pair.target, &TARGETS_OWN)?;
    pair.source.create_topic("orders", 1, &[])?;
    produce(&pair.source.direct(), "orders", 0, Generator::new(1).take(100), &Writing::default())?;
    // Once there are permissions for copies, the mirror needs some itself.
    let mirrors = ["allow User:ANONYMOUS ALL topic ^north. 127.0.0.2", "allow User:ANONYMOUS ALL group * *"];
    acls::create(&pair.target, &mirrors)?;
    let before = set(&[&[CLUSTER], &TARGETS_OWN[..], &mirrors[..]].concat());
    assert_eq!(acls::all(&pair.target)?, before);

    let mirroring = renaming(&pair, "renamed-acls", "orders").set("sync.topic.acls=true");
    let plan = mirroring.plan()?;
    let planned: BTreeSet<&str> =
        plan["acls"].as_array().into_iter().flatten().filter_map(|step| step["acl"]["name"].as_str()).collect();
    assert_eq!(planned, BTreeSet::from(["north.orders", "north.ord", "north.", "app"]), "{plan:#}");
    let mut mirror = mirroring.start()?;
    let wait_acls = |expected: &BTreeSet<String>| {
        let waited =
            wait_for("the target has the ACLs", LIMIT, || Ok((acls::all(&pair.target)? == *expected).then_some(())));
        let found = acls::all(&pair.target)?;
        waited.map_err(|error| Failure(format!("{error}: {found:#?} instead of {expected:#?}")))
    };
    let copies = set(&COPIES);
    wait_acls(&before.union(&copies).cloned().collect())?;
    wait_for("records are copied", LIMIT, || {
        let read = Ledger::read(&pair.target.direct(), "north.orders", Isolation::ReadCommitted);
        Ok(read.is_ok_and(|read| read.count() == 100).then_some(()))
    })?;
    // What goes at the source goes on the target, under the name that it has there; the target's own stays.
    acls::delete(&pair.source, &[AT_SOURCE[0], AT_SOURCE[1]])?;
    let left: BTreeSet<String> =
        before.union(&copies).filter(|acl| !COPIES[..2].contains(&acl.as_str())).cloned().collect();
    wait_acls(&left)?;
    assert_eq!(mirror.exited()?, None);
    mirror.kill9()
}

#[test]
fn a_switch_over_of_renamed_topics_says_where_they_are() -> Outcome {
    let pair = shared()?;
    let topic = unique("switched");
    let there = format!("north.{topic}");
    let group = format!("{topic}-readers");
    pair.source.create_topic(&topic, 2, &[])?;
    // A topic of the same name that is none of the mirror's business.
    pair.target.create_topic(&topic, 2, &[])?;
    produce(&pair.target.bootstrap(), &topic, 0, Generator::new(9).take(7), &Writing::default())?;
    produce(&pair.source.bootstrap(), &topic, 0, Generator::new(2).take(60), &Writing::default())?;
    produce(&pair.source.bootstrap(), &topic, 1, Generator::new(3).take(40), &Writing::default())?;
    groups::commit(&pair.source, &group, &[(&topic, 0, 25)])?;
    let mirroring = renaming(pair, &topic, &topic);
    mirroring.catch_up()?;
    produce(&pair.source.bootstrap(), &topic, 0, Generator::new(4).take(20), &Writing::default())?;
    groups::commit(&pair.source, &group, &[(&topic, 0, 75), (&topic, 1, 40)])?;

    let (code, document) = mirroring.document("promote", &[])?;
    assert_eq!((code, document["outcome"].as_str()), (0, Some("promoted")), "{document}");
    let report = &document["report"];
    assert_eq!((&report["drained"], &report["records_not_copied"]), (&true.into(), &0.into()), "{document}");
    assert_eq!(report["written_afterwards"], serde_json::json!([]), "{document}");
    let read = |cluster: &crate::support::cluster::Cluster, name: &str| {
        Ledger::read(&cluster.bootstrap(), name, Isolation::ReadCommitted)
    };
    let (source, target) = (read(&pair.source, &topic)?, read(&pair.target, &there)?);
    ledger::compare(&source, &target).expect_identical(120)?;
    assert_eq!(groups::offset(&pair.target, &group, &there, 0)?, Some(75), "{document}");
    assert_eq!(groups::offset(&pair.target, &group, &there, 1)?, Some(40), "{document}");
    assert_eq!(groups::offset(&pair.target, &group, &topic, 0)?, None, "it is another topic");
    assert_eq!(read(&pair.target, &topic)?.count(), 7, "it is somebody else's");

    // What was written to a copy since keeps the mark from being taken back; topics go by their names at the source in all that is told.
    assert_eq!(mirroring.finish()?.1, 2);
    produce(&pair.target.bootstrap(), &topic, 1, Generator::new(5).take(3), &Writing::default())?;
    produce(&pair.target.bootstrap(), &there, 1, Generator::new(5).take(3), &Writing::default())?;
    let (code, document) = mirroring.document("promote", &["--undo"])?;
    let message = document["error"]["message"].as_str().unwrap_or_default();
    assert_eq!(code, 5, "{document}");
    assert!(message.contains(&format!("{topic}-1 ended at 40 and ends at 43")), "{message}");
    Ok(())
}
