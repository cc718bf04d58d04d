//! `kmirror check` on real brokers: what is fine, what is not, in which line, with which exit code; and that nothing is written.
//! What a cluster cannot be brought to here, such as a wrong clock, is judged in the unit tests of the engine.

use std::time::Duration;

use serde_json::Value;

use crate::support::cluster::{Options, Pair, shared, unique};
use crate::support::mirroring::Mirroring;
use crate::support::{Failure, Outcome, acls, wait_for};

/// A hang limit, not a measure.
const LIMIT: Duration = Duration::from_secs(90);

/// The lines of a subject, as "side outcome message; fix".
fn lines(report: &Value, subject: &str) -> Vec<String> {
    let lines = report["lines"].as_array().into_iter().flatten().filter(|line| line["subject"] == subject);
    let text = |line: &Value| {
        let part = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
        format!("{} {} {}; {}", part("side"), part("outcome"), part("message"), part("fix"))
    };
    lines.map(text).collect()
}

fn expect_line(report: &Value, subject: &str, words: &[&str]) -> Outcome {
    let lines = lines(report, subject);
    let found = lines.iter().any(|line| words.iter().all(|word| line.contains(word)));
    found.then_some(()).ok_or_else(|| Failure(format!("no line of '{subject}' has {words:?}: {report:#}")))
}

#[test]
fn all_is_well_and_nothing_is_written() -> Outcome {
    let pair = shared()?;
    let topic = unique("checked");
    pair.source.create_topic(&topic, 3, &[])?;
    let mirroring = Mirroring::pair(pair, &topic);
    let (code, report) = mirroring.document("check", &[])?;
    assert_eq!((code, &report["ok"]), (0, &Value::Bool(true)), "{report:#}");
    for (side, cluster) in [("source", &pair.source), ("target", &pair.target)] {
        expect_line(&report, "connection", &[side, "ok its broker is reached", cluster.cluster_id()])?;
        expect_line(&report, "clock", &[side, "ok its clock is that of this machine, within"])?;
        expect_line(&report, "security", &[side, "neither encrypted nor authenticated"])?;
    }
    expect_line(&report, "clusters", &["ok source and target are two clusters"])?;
    expect_line(&report, "mirror", &[&format!("mirror '{topic}' has not run yet")])?;
    expect_line(&report, "topics", &["ok 1 topic with 3 partitions can be mirrored"])?;
    expect_line(&report, "permissions", &["ok nothing that the mirror needs is denied"])?;
    for side in ["source", "target"] {
        expect_line(&report, "quotas", &[side, "ok no quota limits client 'kmirror'"])?;
    }

    // The text has the same lines, and the target still has neither the topic nor the mirror's own.
    let mut kmirror = mirroring.command("check", &[])?;
    assert!(kmirror.wait(LIMIT)?.success());
    assert_eq!(kmirror.stdout().lines().count(), report["lines"].as_array().map_or(0, Vec::len));
    assert!(kmirror.stdout().lines().all(|line| line.starts_with("ok ")), "{}", kmirror.stdout());
    let there = pair.target.client().topics()?;
    assert!(!there.iter().any(|name| name.contains(&topic)), "{there:?}");
    mirroring.catch_up()?;
    let (_, report) = mirroring.document("check", &[])?;
    expect_line(&report, "mirror", &["has run before"])?;
    assert_eq!(mirroring.document("promote", &[])?.0, 0);
    let (code, report) = mirroring.document("check", &[])?;
    assert_eq!(code, 2, "{report:#}");
    expect_line(&report, "mirror", &["failed", "was promoted at 20", "promote --undo"])
}

#[test]
fn what_is_wrong_with_one_side_does_not_hide_the_other() -> Outcome {
    let pair = shared()?;
    let topic = unique("half-checked");
    pair.source.create_topic(&topic, 1, &[])?;
    let gone = Mirroring::pair(pair, &topic).set("source.bootstrap.servers=127.0.0.1:1,127.0.0.1:2");
    let (code, report) = gone.document("check", &[])?;
    assert_eq!((code, &report["ok"]), (3, &Value::Bool(false)), "{report:#}");
    for address in ["127.0.0.1:1", "127.0.0.1:2"] {
        expect_line(&report, "connection", &["source failed", address, "check source.bootstrap.servers"])?;
    }
    expect_line(&report, "connection", &["target ok"])?;
    expect_line(&report, "clock", &["target ok its clock is that of this machine"])?;

    let half = format!("source.bootstrap.servers=127.0.0.1:1,{}", pair.source.bootstrap());
    let (code, report) = Mirroring::pair(pair, &topic).set(&half).document("check", &[])?;
    assert_eq!(code, 0, "{report:#}");
    expect_line(&report, "connection", &["source warning", "127.0.0.1:1", "remove 127.0.0.1:1"])?;
    expect_line(&report, "topics", &["ok 1 topic with 1 partition"])?;

    let same = format!("source.bootstrap.servers=localhost:{}", port_of(&pair.target.bootstrap()));
    let (code, report) = Mirroring::pair(pair, &topic).set(&same).document("check", &[])?;
    assert_eq!(code, 2, "{report:#}");
    expect_line(&report, "clusters", &["failed source and target are the same cluster", pair.target.cluster_id()])?;

    let (code, report) = Mirroring::of(&pair.source, &pair.target, &topic, "no-such-topic").document("check", &[])?;
    assert_eq!(code, 2, "{report:#}");
    expect_line(&report, "topics", &["failed no topic of the source is selected", "check 'topics'"])?;

    let many = Mirroring::pair(pair, &topic).set("replication.factor=3");
    let (code, report) = many.document("check", &[])?;
    assert_eq!(code, 0, "{report:#}");
    expect_line(&report, "topics", &["target warning", "1 replica instead of 3", "too few brokers"])
}

fn port_of(address: &str) -> &str {
    address.rsplit(':').next().unwrap_or(address)
}

#[test]
fn a_broker_that_is_not_where_it_says_and_what_is_denied_are_told() -> Outcome {
    let pair = Pair::start(Options::default().nodes(2).proxied(), acls::guarded())?;
    for topic in ["open", "closed"] {
        pair.source.create_topic(topic, 1, &[])?;
    }
    pair.target.create_topic("closed", 1, &[])?;
    let everything = "allow User:ANONYMOUS ALL cluster kafka-cluster *";
    acls::create(&pair.target, &[everything, "deny User:ANONYMOUS WRITE topic closed *"])?;
    let mirroring = Mirroring::of(&pair.source, &pair.target, "guarded", "open,closed");
    let (code, report) = mirroring.document("check", &[])?;
    assert_eq!(code, 4, "{report:#}");
    let words =
        ["target failed Write on topic 'closed' is not allowed", "to write records", "allow Write on topic 'closed'"];
    expect_line(&report, "permissions", &words)?;
    expect_line(&report, "connection", &["source ok all 2 brokers are reached at the advertised listener"])?;

    pair.source.proxy(2).refuse(true);
    let first = format!("source.bootstrap.servers={}", pair.source.proxy(1).address());
    let (code, report) = mirroring.set(&first).document("check", &[])?;
    assert_eq!(code, 3, "{report:#}");
    expect_line(
        &report,
        "connection",
        &["source failed broker 2 of the source", &pair.source.proxy(2).address(), "advertised.listeners"],
    )
}

#[test]
fn a_quota_on_the_mirrors_client_is_a_warning() -> Outcome {
    let pair = shared()?;
    let (topic, client) = (unique("limited"), unique("client"));
    pair.source.create_topic(&topic, 1, &[])?;
    pair.source.client().limit_reader(&client, Some(12_000_000.0))?;
    let [source, target] = ["source", "target"].map(|side| format!("{side}.client.id={client}"));
    let mirroring = Mirroring::pair(pair, &topic).set(&source).set(&target);
    wait_for("the quota is there", LIMIT, || {
        let (code, report) = mirroring.document("check", &[])?;
        assert_eq!((code, &report["ok"]), (0, &Value::Bool(true)), "{report:#}");
        expect_line(&report, "quotas", &["target ok no quota limits", &client])?;
        Ok(expect_line(&report, "quotas", &["source warning", &client, "consumer_byte_rate=12000000"]).ok())
    })
}

/// It speaks Kafka's protocol, and offers neither topics nor records.
#[test]
fn a_controller_in_place_of_a_broker_is_named() -> Outcome {
    let pair = shared()?;
    let topic = unique("controlled");
    let mirroring = Mirroring::pair(pair, &topic);
    for side in [("source", &pair.source), ("target", &pair.target)] {
        let lost = mirroring.clone().set(&format!("{}.bootstrap.servers={}", side.0, side.1.controller()));
        let (code, report) = lost.document("check", &[])?;
        assert_eq!(code, 3, "{report:#}");
        expect_line(&report, "connection", &[side.0, "failed", "is a controller of KRaft and no broker"])?;
        for command in ["plan", "run"] {
            let mut kmirror = lost.command(command, &[])?;
            assert_eq!(kmirror.wait(LIMIT)?.code(), Some(3), "{command}: {}", kmirror.stderr());
            assert!(kmirror.stderr().contains("is a controller of KRaft"), "{command}: {}", kmirror.stderr());
        }
    }
    // With a broker beside it, it does no harm.
    pair.source.create_topic(&topic, 1, &[])?;
    let both = format!("source.bootstrap.servers={},{}", pair.source.controller(), pair.source.bootstrap());
    mirroring.set(&both).catch_up().map(drop)
}
