//! ACLs are kept in step between real brokers with authorizers, and the target's own ones stay.
//!
//! Brokers see the mirror come from an address of its own, through a proxy; everybody else is a client of the same principal from
//! another address, and has what the ACLs give to that.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_protocol::messages::ApiKey;

use crate::support::cluster::{Cluster, Pair, shared, unique};
use crate::support::ledger::{self, Isolation, Ledger};
use crate::support::mirroring::Mirroring;
use crate::support::process::Kmirror;
use crate::support::proxy::Direction;
use crate::support::records::{Generator, Writing, produce};
use crate::support::tampering::Editor;
use crate::support::{Failure, Outcome, acls, wait_for};

const LIMIT: Duration = Duration::from_secs(60);
const TOPIC: &str = "guarded";
const NAME: &str = "acls";

/// What the target's people have set up before the mirror came.
const TARGETS_OWN: [&str; 6] = [
    "allow User:* ALL cluster kafka-cluster *",
    "allow User:ANONYMOUS ALL topic ^kmirror. 127.0.0.2",
    "allow User:ANONYMOUS ALL topic guarded 127.0.0.2",
    "allow User:operator WRITE topic guarded *",
    "allow User:operator ALL group ^app *",
    // As at the source.
    "allow User:both READ topic guarded *",
];
const READ: &str = "allow User:ANONYMOUS READ topic guarded 127.0.0.1";
const WRITE: &str = "allow User:ANONYMOUS WRITE topic guarded 127.0.0.1";
const GROUPS: &str = "allow User:ANONYMOUS ALL group * 127.0.0.1";
const COPIED: [&str; 12] = [
    READ,
    WRITE,
    GROUPS,
    "allow User:ANONYMOUS ALL topic guarded 127.0.0.2",
    "allow User:both READ topic guarded *",
    "deny User:mallory ALL topic ^guard *",
    "allow User:app READ topic * 10.1.1.1",
    "allow User:app READ group app *",
    "allow User:app READ group ^app- *",
    "deny User:app DELETE group * 10.9.9.9",
    "allow User:app WRITE id ^tx- *",
    "deny User:app DESCRIBE id tx 10.9.9.9",
];
const NOT_COPIED: [&str; 5] = [
    "allow User:* ALL cluster kafka-cluster *",
    "allow User:app READ topic unmirrored *",
    "allow User:app READ topic ^unmirrored *",
    "allow User:app READ group other *",
    "allow User:mirror WRITE id ^kmirror.back: *",
];

fn set(lines: &[&str]) -> BTreeSet<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

fn and(one: &[&str], other: &[&str]) -> BTreeSet<String> {
    set(&[one, other].concat())
}

fn wait_for_acls(target: &Cluster, mirror: &Kmirror, expected: &BTreeSet<String>) -> Outcome {
    let mut last = BTreeSet::new();
    let waited = wait_for("the target has these ACLs", LIMIT, || {
        last = acls::all(target)?;
        Ok((last == *expected).then_some(()))
    });
    waited.map_err(|error| {
        let missing: Vec<_> = expected.difference(&last).collect();
        let extra: Vec<_> = last.difference(expected).collect();
        Failure(format!("{error}: missing {missing:?}, too many {extra:?}\n{}", mirror.stderr()))
    })
}

fn wait_until_said(mirror: &Kmirror, what: &str) -> Outcome {
    wait_for(what, LIMIT, || Ok(mirror.stderr().contains(what).then_some(())))
        .map_err(|error| Failure(format!("{error}\n{}", mirror.stderr())))
}

/// Records that are written now arrive, whatever is the matter with ACLs.
fn expect_records_go_on(pair: &Pair, topic: &str) -> Outcome {
    produce(&pair.source.direct(), topic, 0, Generator::new(1).take(100), &Writing::default())?;
    ledger::wait_caught_up(&pair.source.direct(), &pair.target.direct(), topic, LIMIT)
}

fn read_as_client(cluster: &Cluster) -> Outcome<Ledger> {
    Ledger::read(&cluster.direct(), TOPIC, Isolation::ReadCommitted)
}

fn expect_forbidden(cluster: &Cluster) {
    let error = read_as_client(cluster).expect_err("the client may read").to_string().to_lowercase();
    assert!(error.contains("topicauthorizationfailed"), "{error}");
}

/// What a plan wants to do about ACLs, as lines.
fn planned(mirroring: &Mirroring) -> Outcome<(BTreeSet<String>, Vec<String>)> {
    let plan = mirroring.plan()?;
    let (mut steps, mut refusals) = (BTreeSet::new(), Vec::new());
    for entry in plan["acls"].as_array().into_iter().flatten() {
        let (action, reason) = (entry["action"].as_str().unwrap(), entry["reason"].as_str().unwrap());
        assert!(!reason.is_empty());
        if action == "refuse" {
            refusals.push(reason.to_owned());
            continue;
        }
        let field = |name: &str| entry["acl"][name].as_str().unwrap().to_owned();
        let prefix = if field("pattern") == "prefixed" { "^" } else { "" };
        let resource = field("resource").replace("transactional_id", "id");
        let [permission, principal, operation, name, host] =
            ["permission", "principal", "operation", "name", "host"].map(field);
        steps.insert(format!("{action} {permission} {principal} {operation} {resource} {prefix}{name} {host}"));
    }
    Ok((steps, refusals))
}

#[test]
fn acls_are_kept_in_step_and_the_targets_own_ones_stay() -> Outcome {
    let pair = Pair::start(acls::guarded(), acls::guarded())?;
    pair.source.create_topic(TOPIC, 1, &[])?;
    produce(&pair.source.direct(), TOPIC, 0, Generator::new(1).take(100), &Writing::default())?;
    acls::create(&pair.target, &TARGETS_OWN)?;
    acls::create(&pair.source, &[&NOT_COPIED[..], &COPIED[..]].concat())?;
    let without = Mirroring::of(&pair.source, &pair.target, NAME, TOPIC);
    without.catch_up()?;
    expect_forbidden(&pair.target);
    let mirroring = without.set("sync.topic.acls=true").set("groups=app.*");

    expect_copies(&pair, &mirroring)?;
    expect_removals(&pair, &mirroring)?;
    expect_recovery_from_a_missing_permission(&pair, &mirroring)?;
    expect_killed_mirror_forgets_nothing(&pair, &mirroring)?;
    expect_downgrade(&pair, &mirroring)?;
    expect_one_denied_topic_to_recover(&pair)
}

fn expect_copies(pair: &Pair, mirroring: &Mirroring) -> Outcome {
    let new: BTreeSet<String> =
        set(&COPIED).difference(&set(&TARGETS_OWN)).map(|acl| format!("create {acl}")).collect();
    assert_eq!(planned(mirroring)?, (new, Vec::new()));
    assert_eq!(acls::all(&pair.target)?, set(&TARGETS_OWN), "a plan writes nothing");
    // Whoever has caught up has looked at the ACLs, too.
    mirroring.catch_up()?;
    assert_eq!(acls::all(&pair.target)?, and(&TARGETS_OWN, &COPIED));
    assert_eq!(planned(mirroring)?, (BTreeSet::new(), Vec::new()));
    ledger::compare(&read_as_client(&pair.source)?, &read_as_client(&pair.target)?).expect_identical(100)
}

/// What stays of the copies.
const LEFT: [&str; 4] = [WRITE, GROUPS, "allow User:app READ topic * 10.1.1.1", "allow User:app WRITE id ^tx- *"];

fn expect_removals(pair: &Pair, mirroring: &Mirroring) -> Outcome {
    let mut mirror = mirroring.start()?;
    let removed: Vec<&str> =
        COPIED.iter().copied().filter(|acl| !LEFT.contains(acl) && !acl.contains("127.0.0.2")).collect();
    acls::delete(&pair.source, &removed)?;
    wait_for_acls(&pair.target, &mirror, &and(&TARGETS_OWN, &LEFT))?;
    expect_forbidden(&pair.target);
    expect_records_go_on(pair, TOPIC)?;
    acls::create(&pair.source, &[READ])?;
    wait_for_acls(&pair.target, &mirror, &and(&and_own(&[READ]), &LEFT))?;
    // More than fit into a request.
    let many: Vec<String> = (0..1200).map(|n| format!("allow User:many READ group app-{n} *")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    acls::create(&pair.source, &many)?;
    wait_for_acls(&pair.target, &mirror, &and(&and_own(&[&[READ], &many[..]].concat()), &LEFT))?;
    acls::delete(&pair.source, &many)?;
    wait_for_acls(&pair.target, &mirror, &and(&and_own(&[READ]), &LEFT))?;
    // Somebody has deleted a copy.
    acls::delete(&pair.target, &[WRITE])?;
    wait_for_acls(&pair.target, &mirror, &and(&and_own(&[READ]), &LEFT))?;
    mirror.kill9()
}

fn and_own<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    [&TARGETS_OWN[..], lines].concat()
}

fn expect_recovery_from_a_missing_permission(pair: &Pair, mirroring: &Mirroring) -> Outcome {
    const DENIED: &str = "deny User:ANONYMOUS ALTER cluster kafka-cluster 127.0.0.2";
    const NEW: &str = "allow User:new READ topic guarded *";
    acls::create(&pair.target, &[DENIED])?;
    acls::create(&pair.source, &[NEW])?;
    let sentence =
        "the target cluster does not let the mirror change ACLs: allow ALTER on the cluster to the mirror's principal";
    assert_eq!(planned(mirroring)?, (set(&[&format!("create {NEW}")]), vec![sentence.to_owned()]));
    let report = mirroring.report()?;
    let trouble = &report["status"]["troubles"][0];
    assert_eq!(
        (&trouble["subject"], &trouble["name"], &trouble["message"]),
        (&"acl".into(), &"target".into(), &sentence.into())
    );
    let mut mirror = mirroring.start()?;
    wait_until_said(&mirror, sentence)?;
    expect_records_go_on(pair, TOPIC)?;
    acls::delete(&pair.target, &[DENIED])?;
    wait_for_acls(&pair.target, &mirror, &and(&and_own(&[READ, NEW]), &LEFT))?;
    assert_eq!(mirror.stderr().matches(sentence).count(), 1, "it is told once:\n{}", mirror.stderr());
    // The same at the source, where the mirror may not even look.
    const BLIND: &str = "deny User:ANONYMOUS DESCRIBE cluster kafka-cluster 127.0.0.2";
    acls::create(&pair.source, &[BLIND])?;
    wait_until_said(&mirror, "the source cluster refuses to describe ACLs")?;
    wait_until_said(&mirror, "allow DESCRIBE on the cluster to the mirror's principal")?;
    acls::delete(&pair.source, &[NEW])?;
    expect_records_go_on(pair, TOPIC)?;
    assert!(acls::all(&pair.target)?.contains(NEW), "what is not seen is not gone");
    acls::delete(&pair.source, &[BLIND])?;
    wait_for_acls(&pair.target, &mirror, &and(&and_own(&[READ]), &LEFT))?;
    mirror.kill9()
}

/// The mirror dies when the target has created an ACL and the mirror does not know.
fn expect_killed_mirror_forgets_nothing(pair: &Pair, mirroring: &Mirroring) -> Outcome {
    const NEW: &str = "allow User:brief READ topic guarded *";
    let holding = Arc::new(AtomicBool::new(true));
    let gate = Mutex::new(holding.clone());
    let editor: Editor = Arc::new(move |passing, _| {
        if passing.direction == Direction::ToClient && passing.api_key == ApiKey::CreateAcls as i16 {
            let holding = gate.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
            while holding.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    });
    pair.target.proxy(1).edit(Some(editor));
    let mut mirror = mirroring.start()?;
    acls::create(&pair.source, &[NEW])?;
    wait_for_acls(&pair.target, &mirror, &and(&and_own(&[READ, NEW]), &LEFT))?;
    mirror.kill9()?;
    pair.target.proxy(1).edit(None);
    holding.store(false, Ordering::Relaxed);
    acls::delete(&pair.source, &[NEW])?;
    assert_eq!(planned(mirroring)?, (set(&[&format!("delete {NEW}")]), Vec::new()));
    mirroring.catch_up()?;
    assert_eq!(acls::all(&pair.target)?, and(&and_own(&[READ]), &LEFT));
    Ok(())
}

fn expect_downgrade(pair: &Pair, mirroring: &Mirroring) -> Outcome {
    acls::create(&pair.source, &["allow User:w ALL topic ^gua *", "deny User:w WRITE topic guarded *"])?;
    mirroring.clone().set("topic.acls.downgrade=read-only").catch_up()?;
    let left: Vec<&str> = LEFT.iter().copied().filter(|acl| *acl != WRITE).collect();
    let mirrors = "allow User:ANONYMOUS READ topic guarded 127.0.0.2";
    let downgraded = [READ, mirrors, "allow User:w READ topic ^gua *", "deny User:w WRITE topic guarded *"];
    assert_eq!(acls::all(&pair.target)?, and(&and_own(&downgraded), &left));
    Ok(())
}

/// Permissions for one topic only: it is named, the other one goes on, and it goes on too once it may.
fn expect_one_denied_topic_to_recover(pair: &Pair) -> Outcome {
    const FREE: &str = "free";
    let mirroring = Mirroring::of(&pair.source, &pair.target, "denied", "free, denied.*");
    let denied = [(&pair.source, "denied-read", "READ", "source"), (&pair.target, "denied-write", "WRITE", "target")];
    for topic in [FREE, "denied-read", "denied-write"] {
        acls::create(&pair.source, &[&format!("allow User:ANONYMOUS ALL topic {topic} *")])?;
        acls::create(&pair.target, &[&format!("allow User:ANONYMOUS ALL topic {topic} *")])?;
        pair.source.create_topic(topic, 1, &[])?;
    }
    mirroring.catch_up()?;
    let rule = |topic, operation| format!("deny User:ANONYMOUS {operation} topic {topic} 127.0.0.2");
    for (cluster, topic, operation, _) in denied {
        acls::create(cluster, &[&rule(topic, operation)])?;
        produce(&pair.source.direct(), topic, 0, Generator::new(1).take(100), &Writing::default())?;
    }
    let plan = mirroring.plan()?;
    let missing: Vec<_> = plan["missing_permissions"].as_array().into_iter().flatten().collect();
    let of =
        |key: &str| missing.iter().map(|one| one[key].as_str().unwrap_or_default().to_lowercase()).collect::<Vec<_>>();
    assert_eq!(of("side"), denied.map(|(_, _, _, side)| side), "{missing:?}");
    assert_eq!(of("resource"), denied.map(|(_, topic, _, _)| topic), "{missing:?}");
    assert_eq!(of("operation"), denied.map(|(_, _, operation, _)| operation.to_lowercase()), "{missing:?}");
    let mut mirror = mirroring.start()?;
    for (_, topic, _, _) in denied {
        wait_for(&format!("{topic} is named"), LIMIT, || {
            let named = |line: &str| line.contains(topic) && line.contains("TOPIC_AUTHORIZATION_FAILED");
            Ok(mirror.stderr().lines().any(named).then_some(()))
        })
        .map_err(|error| Failure(format!("{error}\n{}", mirror.stderr())))?;
    }
    expect_records_go_on(pair, FREE)?;
    for (cluster, topic, operation, _) in denied {
        acls::delete(cluster, &[&rule(topic, operation)])?;
        ledger::wait_caught_up(&pair.source.direct(), &pair.target.direct(), topic, LIMIT)?;
    }
    mirror.kill9()
}

#[test]
fn clusters_without_an_authorizer_are_named_and_records_go_on() -> Outcome {
    let pair = shared()?;
    let topic = unique("no-acls");
    pair.source.create_topic(&topic, 1, &[])?;
    let mirroring = Mirroring::pair(pair, &topic).set("sync.topic.acls=true");
    let (steps, refusals) = planned(&mirroring)?;
    assert!(steps.is_empty() && refusals.len() == 2, "{refusals:?}");
    for (side, refusal) in ["source", "target"].into_iter().zip(&refusals) {
        assert!(
            refusal.starts_with(&format!("the {side} cluster refuses to describe ACLs: SECURITY_DISABLED (54)")),
            "{refusal}"
        );
    }
    produce(&pair.source.direct(), &topic, 0, Generator::new(1).take(100), &Writing::default())?;
    let report = mirroring.report()?;
    let troubles = report["status"]["troubles"].as_array().cloned().unwrap_or_default();
    let names: Vec<_> = troubles.iter().map(|trouble| trouble["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["source", "target"]);
    let read = |cluster: &Cluster| Ledger::read(&cluster.direct(), &topic, Isolation::ReadCommitted);
    ledger::compare(&read(&pair.source)?, &read(&pair.target)?).expect_identical(100)
}
