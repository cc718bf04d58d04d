//! Which records come from the other side: said by the records themselves, or claimed by those who wrote them. What is left out is
//! counted, and nobody can have records of others left out by claiming them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::support::cluster::{Cluster, Pair, shared, unique};
use crate::support::ledger::{Isolation, Ledger};
use crate::support::mirroring::Mirroring;
use crate::support::records::{Generator, Record, Writing, produce};
use crate::support::{Outcome, fail, wait_for};

const LIMIT: Duration = Duration::from_secs(60);

fn write(cluster: &Cluster, topic: &str, seed: u64, count: usize) -> Outcome {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    let records = Generator::new(seed).take(count).map(|record| Record { timestamp: now, ..record });
    produce(&cluster.bootstrap(), topic, 0, records, &Writing::default()).map(drop)
}

fn records(cluster: &Cluster, topic: &str) -> Outcome<usize> {
    Ok(Ledger::read(&cluster.direct(), topic, Isolation::ReadUncommitted)?.count())
}

/// A topic on both sides, and the mirrors there and back.
fn both_ways(pair: &Pair, what: &str) -> Outcome<(String, [Mirroring; 2])> {
    let topic = unique(what);
    for cluster in [&pair.source, &pair.target] {
        cluster.create_topic(&topic, 1, &[])?;
    }
    let there = Mirroring::of(&pair.source, &pair.target, &format!("{topic}-there"), &topic);
    let back = Mirroring::of(&pair.target, &pair.source, &format!("{topic}-back"), &topic);
    Ok((topic, [there, back].map(|mirroring| mirroring.set("offsets=translate"))))
}

/// Runs a mirror until it has caught up: what its status says of what it has left out.
fn left_out(mirroring: &Mirroring) -> Outcome<u64> {
    let report = mirroring.report()?;
    let partition = &report["status"]["topics"][0]["partitions"][0];
    partition["left_out_as_echo"].as_u64().map_or_else(|| fail(format!("no count: {report:#}")), Ok)
}

fn expect_verified(mirroring: &Mirroring, records: u64, echo: u64) -> Outcome {
    let (code, document) = mirroring.document("verify", &[])?;
    let report = &document["report"];
    let found = (report["records_compared"].as_u64(), report["counts"]["left_out_as_echo"].as_u64());
    match code == 0 && found == (Some(records), Some(echo)) {
        true => Ok(()),
        false => fail(format!("{records} identical and {echo} left out expected, exit code {code}: {document:#}")),
    }
}

/// Writes a record into an internal topic, as whoever may write there can.
fn claim(cluster: &Cluster, mirror: &str, producer_id: i64, copies_from: &str) -> Outcome {
    let topic = format!("kmirror.{mirror}.internal");
    cluster.create_topic(&topic, 1, &[("cleanup.policy", "compact")])?;
    let value = serde_json::json!({
        "version": 1, "producer_id": producer_id, "producer_epoch": 0, "source_cluster_id": copies_from, "claimed_at_ms": 1,
    });
    let record = Record {
        key: Some(format!("producer/{producer_id}").into_bytes()),
        value: Some(value.to_string().into_bytes()),
        headers: Vec::new(),
        timestamp: 1_700_000_000_000,
    };
    produce(&cluster.bootstrap(), &topic, 0, [record], &Writing { idempotent: false, ..Writing::default() }).map(drop)
}

#[test]
fn records_say_that_they_came_from_the_other_side_also_when_nothing_else_does() -> Outcome {
    let pair = shared()?;
    let (topic, [there, back]) = both_ways(pair, "echo-told")?;
    write(&pair.target, &topic, 1, 10)?;
    back.catch_up()?;
    write(&pair.source, &topic, 2, 5)?;
    let internal = format!("kmirror.{topic}-back.internal");
    pair.source.client().delete_topic(&internal)?;
    wait_for("the internal topic is gone", LIMIT, || Ok(pair.source.leader_of(&internal, 0).is_err().then_some(())))?;
    assert_eq!(left_out(&there)?, 10);
    assert_eq!((records(&pair.source, &topic)?, records(&pair.target, &topic)?), (15, 15));
    expect_verified(&there, 5, 10)
}

/// The first mirrors wrote under ids that brokers had given out, and claimed them. They go on, and are believed because the other side has
/// what they have copied.
#[test]
fn a_claim_of_one_of_the_first_mirrors_is_believed_when_the_other_side_confirms_it() -> Outcome {
    let pair = shared()?;
    let (topic, [there, back]) = both_ways(pair, "echo-claimed")?;
    let producer_id = 4_000_000_000 + i64::from(fastrand::u32(..));
    claim(&pair.source, &format!("{topic}-back"), producer_id, pair.target.cluster_id())?;
    write(&pair.target, &topic, 1, 10)?;
    back.catch_up()?;
    let states = pair.source.client().producers(&topic, 0)?;
    assert!(states.iter().any(|state| state.producer_id.0 == producer_id), "{states:?}");
    write(&pair.source, &topic, 2, 5)?;
    assert_eq!(left_out(&there)?, 10);
    assert_eq!((records(&pair.source, &topic)?, records(&pair.target, &topic)?), (15, 15));
    expect_verified(&there, 5, 10)
}

/// Whoever may write to a topic with such a name can claim anybody's producer id.
#[test]
fn a_claim_that_the_other_side_does_not_confirm_makes_no_record_vanish() -> Outcome {
    let pair = shared()?;
    let topic = unique("echo-forged");
    pair.source.create_topic(&topic, 1, &[])?;
    write(&pair.source, &topic, 1, 100)?;
    let states = pair.source.client().producers(&topic, 0)?;
    let Some(victim) = states.first().map(|state| state.producer_id.0) else { return fail("no producer is known") };
    claim(&pair.source, &unique("evil"), victim, pair.target.cluster_id())?;
    let mirroring = Mirroring::pair(pair, &topic).set("offsets=translate");
    let mirror = mirroring.catch_up()?;
    assert_eq!(records(&pair.target, &topic)?, 100, "{}", mirror.stderr());
    assert!(mirror.stderr().contains("the target does not confirm it"), "{}", mirror.stderr());
    let (code, document): (i32, Value) = mirroring.document("verify", &[])?;
    assert_eq!((code, &document["report"]["counts"]["left_out_as_echo"]), (0, &Value::from(0)), "{document:#}");
    Ok(())
}
