//! What stands in the way of one topic only, on real brokers: a permission of one kind on one side, or a topic of somebody else in its place.
//!
//! Each is named in plan and status, everything else goes on, and it recovers by itself when the cause is gone. Brokers see the mirror come
//! from an address of its own, through a proxy, so that what is denied to it is denied to nobody else.

use std::time::Duration;

use kmirror::config::Properties;
use kmirror::{Mirror, Status};
use serde_json::Value;

use super::mirror::{configs_of, wait_copied};
use crate::support::acls;
use crate::support::cluster::{Cluster, Pair, shared, unique};
use crate::support::mirroring::Mirroring;
use crate::support::records::{Generator, Writing, produce};
use crate::support::{Failure, Outcome, ledger, wait_for};

/// A hang limit, not a measure.
const LIMIT: Duration = Duration::from_secs(90);
const SETTING: (&str, &str) = ("retention.ms", "900000000000");

fn write(cluster: &Cluster, topic: &str, count: usize) -> Outcome {
    produce(&cluster.direct(), topic, 0, Generator::new(3).take(count), &Writing::default()).map(drop)
}

/// A mirror in this process, so that its status can be asked for while it runs.
pub(super) fn start(pair: &Pair, name: &str, topics: &str, more: &[(&str, &str)]) -> Outcome<Mirror> {
    let mut properties = Properties::new();
    let (source, target) = (pair.source.bootstrap(), pair.target.bootstrap());
    for (key, value) in [
        ("source.bootstrap.servers", source.as_str()),
        ("target.bootstrap.servers", target.as_str()),
        ("name", name),
        ("topics", topics),
        ("refresh.interval.ms", "500"),
    ]
    .iter()
    .chain(more)
    {
        properties.set(*key, *value);
    }
    Ok(Mirror::start(properties.build()?.0)?)
}

/// What the status says of a topic that is not as it should be.
pub(super) fn said_of(status: &Status, topic: &str) -> String {
    let refused = status.refused.get(topic).cloned();
    let troubles =
        status.troubles.iter().filter(|trouble| trouble.name == topic).map(|trouble| trouble.message.clone());
    let partitions = status.topics.iter().filter(|one| &*one.topic == topic).flat_map(|one| &one.partitions);
    let errors = partitions.filter_map(|partition| Some(partition.error.as_ref()?.message().to_owned()));
    refused.into_iter().chain(troubles).chain(errors).collect::<Vec<_>>().join("; ")
}

pub(super) fn wait_named(mirror: &Mirror, topic: &str, what: &str) -> Outcome {
    let waited = wait_for(&format!("the status says of {topic}: {what}"), LIMIT, || {
        Ok(said_of(&mirror.status(), topic).contains(what).then_some(()))
    });
    waited.map_err(|error| Failure(format!("{error}; it says: {}", said_of(&mirror.status(), topic))))
}

pub(super) fn wait_nothing_said(mirror: &Mirror, topic: &str) -> Outcome {
    let waited = wait_for(&format!("the status has nothing to say of {topic}"), LIMIT, || {
        Ok(said_of(&mirror.status(), topic).is_empty().then_some(()))
    });
    waited.map_err(|error| Failure(format!("{error}; it says: {}", said_of(&mirror.status(), topic))))
}

fn wait_configured(pair: &Pair, topic: &str, mirror: &Mirror) -> Outcome {
    let waited = wait_for(&format!("the configuration of {topic} follows"), LIMIT, || {
        Ok((configs_of(&pair.target, topic)?.get(SETTING.0).map(String::as_str) == Some(SETTING.1)).then_some(()))
    });
    waited.map_err(|error| Failure(format!("{error}; it says: {}", said_of(&mirror.status(), topic))))
}

/// Which side denies what of which topic, and what is said of it then.
const DENIED: [(&str, &str, &str, &str); 6] = [
    ("source", "READ", "unread", "TOPIC_AUTHORIZATION_FAILED"),
    ("source", "DESCRIBE", "hidden", "the source does not describe topic 'hidden'"),
    ("source", "DESCRIBE_CONFIGS", "untold", "DescribeConfigs on topic 'untold' of the source"),
    ("target", "WRITE", "unwritten", "TOPIC_AUTHORIZATION_FAILED"),
    ("target", "DESCRIBE", "unseen", "the target does not describe topic 'unseen'"),
    ("target", "ALTER_CONFIGS", "fixed", "AlterConfigs on topic 'fixed' of the target"),
];

#[test]
fn each_kind_of_denial_holds_up_one_topic_only_until_it_is_taken_back() -> Outcome {
    let pair = Pair::start(acls::guarded(), acls::guarded())?;
    let side = |side: &str| if side == "source" { &pair.source } else { &pair.target };
    let rule = |operation: &str, topic: &str| format!("deny User:ANONYMOUS {operation} topic {topic} 127.0.0.2");
    for topic in DENIED.iter().map(|(_, _, topic, _)| *topic).chain(["free"]) {
        for cluster in [&pair.source, &pair.target] {
            acls::create(cluster, &[&format!("allow User:ANONYMOUS ALL topic {topic} *")])?;
        }
        pair.source.create_topic(topic, 1, &[SETTING])?;
        write(&pair.source, topic, 30)?;
    }
    // These are there, and so there is something to see, to write to and to change.
    for topic in ["unwritten", "unseen", "fixed"] {
        pair.target.create_topic(topic, 1, &[])?;
    }
    for (of, operation, topic, _) in DENIED {
        acls::create(side(of), &[&rule(operation, topic)])?;
    }
    let topics = "free, unread, hidden, untold, unwritten, unseen, fixed";
    expect_planned(&Mirroring::of(&pair.source, &pair.target, "denials", topics).plan()?);

    // Who translates offsets has to see what mirrors the other way have written down.
    let hidden = ["deny User:ANONYMOUS DESCRIBE topic ^kmirror. 127.0.0.2"];
    let translating = Mirroring::of(&pair.source, &pair.target, "translating", "free").set("offsets=translate");
    let named = || -> Outcome<bool> {
        Ok(translating.plan()?["missing_permissions"].to_string().contains("kmirror.any-mirror.internal"))
    };
    assert!(!named()?);
    acls::create(&pair.source, &hidden)?;
    wait_for("it is missed that they cannot be seen", LIMIT, || Ok(named()?.then_some(())))?;
    acls::delete(&pair.source, &hidden)?;

    let mirror = start(&pair, "denials", topics, &[])?;
    for (_, _, topic, what) in DENIED {
        wait_named(&mirror, topic, what)?;
    }
    let copied = |topic: &str| ledger::wait_caught_up(&pair.source.direct(), &pair.target.direct(), topic, LIMIT);
    copied("free")?;
    // What is about the configuration alone keeps no record back where the topic is there.
    copied("fixed")?;
    wait_configured(&pair, "free", &mirror)?;
    write(&pair.source, "free", 30)?;
    copied("free")?;
    assert_eq!(said_of(&mirror.status(), "free"), "");
    for (of, operation, topic, _) in DENIED {
        acls::delete(side(of), &[&rule(operation, topic)])?;
        let waited = copied(topic);
        waited.map_err(|error| Failure(format!("{error}; it says: {}", said_of(&mirror.status(), topic))))?;
        wait_configured(&pair, topic, &mirror)?;
        wait_nothing_said(&mirror, topic)?;
        ledger::expect_identical(&pair.source.direct(), &pair.target.direct(), topic, 30)?;
    }
    mirror.stop(LIMIT)?;
    Ok(())
}

/// The plan names every permission that is missing, and says which topics it would not mirror for that.
fn expect_planned(plan: &Value) {
    let missing = plan["missing_permissions"].as_array().into_iter().flatten();
    let words = |one: &Value| ["side", "operation", "resource"].map(|key| one[key].as_str().unwrap_or("?").to_owned());
    let missing: Vec<[String; 3]> = missing.map(words).collect();
    for (side, operation, topic, _) in DENIED {
        let named = missing.iter().any(|[of, what, of_topic]| {
            of == side && of_topic == topic && what.to_uppercase() == operation.replace('_', "")
        });
        let refused = plan["topics"].as_array().into_iter().flatten().any(|one| {
            one["topic"] == topic && one["reason"].as_str().is_some_and(|why| why.contains(side) && why.contains(topic))
        });
        let operation = operation.replace('_', "");
        assert!(named || refused, "{side} {operation} {topic}: {plan:#}");
    }
    assert!(!missing.iter().any(|[_, _, topic]| topic == "free"), "{plan:#}");
}

#[test]
fn a_topic_of_somebody_else_in_the_place_of_a_copy_is_named_until_it_is_deleted() -> Outcome {
    let pair = shared()?;
    for made_again in [false, true] {
        let name = unique("taken");
        let [free, taken] = ["free", "taken"].map(|topic| format!("{name}.{topic}"));
        for topic in [&free, &taken] {
            pair.source.create_topic(topic, 2, &[SETTING])?;
            write(&pair.source, topic, 30)?;
        }
        // Only one partition is in use; nobody can tell that of the other.
        pair.target.create_topic(&taken, 2, &[])?;
        write(&pair.target, &taken, 5)?;
        let plan = Mirroring::of(&pair.source, &pair.target, &name, &format!(r"{name}\..*")).plan()?;
        let planned = plan["topics"].as_array().into_iter().flatten().find(|topic| topic["topic"] == taken.as_str());
        let why = planned.map(|topic| topic["refused_partitions"]["0"].to_string()).unwrap_or_default();
        assert!(why.contains("another writer"), "{plan:#}");

        let mirror = start(pair, &name, &format!(r"{name}\..*"), &[])?;
        wait_named(&mirror, &taken, "another writer")?;
        wait_copied(pair, &free)?;
        produce(&pair.source.direct(), &taken, 1, Generator::new(4).take(40), &Writing::default())?;
        wait_for("the other partition goes on", LIMIT, || {
            Ok((pair.target.client().bounds(&taken)?[&1].end == 40).then_some(()))
        })?;
        assert_eq!(pair.target.client().bounds(&taken)?[&0].end, 5, "nothing is written behind what is another's");

        pair.target.client().delete_topic(&taken)?;
        if made_again {
            wait_for("there is room again", LIMIT, || Ok(pair.target.create_topic(&taken, 2, &[]).ok()))?;
        }
        wait_for("it is copied", LIMIT, || {
            let there = pair.target.client().bounds(&taken).ok();
            let ends = there.map(|there| there.values().map(|bounds| bounds.end).collect::<Vec<_>>());
            Ok((ends == Some(vec![30, 40])).then_some(()))
        })
        .map_err(|error| Failure(format!("{error}; it says: {}", said_of(&mirror.status(), &taken))))?;
        wait_configured(pair, &taken, &mirror)?;
        wait_nothing_said(&mirror, &taken)?;
        ledger::expect_identical(&pair.source.direct(), &pair.target.direct(), &taken, 70)?;
        // It goes on as any other, also after a start.
        write(&pair.source, &taken, 10)?;
        wait_copied(pair, &taken)?;
        mirror.stop(LIMIT)?;
        write(&pair.source, &taken, 10)?;
        Mirroring::of(&pair.source, &pair.target, &name, &format!(r"{name}\..*")).catch_up()?;
        ledger::expect_identical(&pair.source.direct(), &pair.target.direct(), &taken, 90)?;
    }
    Ok(())
}
