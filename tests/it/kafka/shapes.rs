//! Shapes of deployment, all of them in one process: one source to several targets, and a chain through a third cluster.
//! What arrives is compared with the first source at every end: the same records at the same offsets.

use std::time::Duration;

use kmirror::Mirror;
use kmirror::config::Properties;

use crate::support::cluster::{Cluster, Options, shared, unique};
use crate::support::records::{Generator, Load, Writing};
use crate::support::transactions::{End, Transactions};
use crate::support::{Outcome, groups, ledger, wait_for};

const PARTITIONS: i32 = 2;
/// A hang limit, not a measure.
const LIMIT: Duration = Duration::from_secs(90);

fn start(source: &Cluster, target: &Cluster, name: &str, topic: &str) -> Outcome<Mirror> {
    let mut properties = Properties::new();
    properties
        .set("source.bootstrap.servers", source.bootstrap())
        .set("target.bootstrap.servers", target.bootstrap())
        .set("name", name)
        .set("topics", topic)
        .set("refresh.interval.ms", "500");
    let (config, _) = properties.build()?;
    Ok(Mirror::start(config)?)
}

#[test]
fn one_process_mirrors_to_several_targets_and_through_a_chain() -> Outcome {
    let pair = shared()?;
    let third = Cluster::start(Options::default())?;
    let (spread, chained) = (unique("spread"), unique("chained"));
    for topic in [&spread, &chained] {
        pair.source.create_topic(topic, PARTITIONS, &[])?;
    }
    let load = |topic: &str, seed| {
        let writing = Writing::codec("lz4");
        Load::start(&pair.source.bootstrap(), topic, PARTITIONS, 200, seed, &writing)
    };
    let loads = [load(&spread, 1)?, load(&chained, 2)?];
    // Markers of the first source are holes, which have to be the same at the end of the chain.
    let transactions = Transactions::open(&pair.source.bootstrap(), &Writing::codec("zstd"))?;
    let mut generator = Generator::new(3);
    for round in 0..6 {
        let end = if round % 2 == 0 { End::Commit } else { End::Abort };
        transactions.write(&chained, round % PARTITIONS, generator.by_ref().take(3), end)?;
    }
    let mirrors = [
        start(&pair.source, &pair.target, &format!("{spread}-second"), &spread)?,
        start(&pair.source, &third, &format!("{spread}-third"), &spread)?,
        start(&pair.source, &pair.target, &format!("{chained}-first"), &chained)?,
        // It starts when the first link of the chain has created the topic.
        {
            let there = || Ok(pair.target.client().topics()?.contains(&chained).then_some(()));
            wait_for("the chain's topic is there", LIMIT, there)?;
            start(&pair.target, &third, &format!("{chained}-last"), &chained)?
        },
    ];
    loads.iter().try_for_each(|load| load.wait_for_more(300))?;
    loads.into_iter().try_for_each(|load| load.stop().map(drop))?;
    for topic in [&spread, &chained] {
        groups::commit(&pair.source, &format!("{topic}-readers"), &[(topic, 0, 17)])?;
    }
    let mut told = 0;
    // The last link has its source's end only when the first one has brought it.
    for mirror in &mirrors {
        mirror.wait_until_caught_up(LIMIT)?;
        told += mirror.status().replicated_records;
    }
    assert!(told >= 4 * 300, "{told}");
    ledger::expect_identical(&pair.source.bootstrap(), &pair.target.bootstrap(), &spread, 300)?;
    ledger::expect_identical(&pair.source.bootstrap(), &third.bootstrap(), &spread, 300)?;
    for copy in [&pair.target, &third] {
        // What was aborted is no record of a copy, so readers of committed data see the same everywhere.
        let read =
            |cluster: &Cluster| ledger::Ledger::read(&cluster.bootstrap(), &chained, ledger::Isolation::ReadCommitted);
        ledger::compare(&read(&pair.source)?, &read(copy)?).expect_identical(300)?;
    }
    for (topic, cluster) in [(&spread, &pair.target), (&spread, &third), (&chained, &pair.target), (&chained, &third)] {
        groups::wait_offset(cluster, &format!("{topic}-readers"), topic, 0, 17)?;
    }
    mirrors.iter().try_for_each(|mirror| mirror.stop(LIMIT))?;
    Ok(())
}
