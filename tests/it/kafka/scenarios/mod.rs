//! What Apache Kafka's own tests ask of MirrorMaker 2, one function for each of them, run with kmirror and with MirrorMaker 2.
//!
//! Each does between two real clusters what Kafka's test does, with the same file for both tools, and tells what it has seen.
//! `make test` runs kmirror and compares with the table in the manual, word by word; `make nightly` runs both tools, one after
//! the other, and compares the verdicts. `KMIRROR_BLESS=1` writes the table instead, `KMIRROR_SCENARIOS=K3,K4` picks some.

mod admin;
mod checkpoints;
mod configs;
mod dedicated;
mod finding;
mod internal;
mod lost;
mod offsets;
mod page;
mod replication;
mod restarts;
mod tls;
mod tool;

use crate::support::cluster::{Pair, shared};
use crate::support::failure::Context;
use crate::support::{Outcome, fail};
use finding::Finding;
use tool::Tool;

/// One of Kafka's tests.
struct Scenario {
    id: &'static str,
    /// What it is called there.
    test: &'static str,
    /// What it asks for, in a sentence.
    asks: &'static str,
    run: fn(Tool, &Pair) -> Outcome<Finding>,
}

const fn scenario(
    id: &'static str,
    test: &'static str,
    asks: &'static str,
    run: fn(Tool, &Pair) -> Outcome<Finding>,
) -> Scenario {
    Scenario { id, test, asks, run }
}

const SCENARIOS: [Scenario; 23] = [
    scenario(
        "K1",
        "testReplication",
        "Two clusters are mirrored into each other: records, a topic's settings but for excluded ones, topics that come later, \
         heartbeats and checkpoints; a group goes on at the other cluster, and comes back",
        replication::both_ways,
    ),
    scenario(
        "K2",
        "testReplicationWithEmptyPartition",
        "A group's offset in a partition that has never held a record is 0 at the target",
        offsets::empty_partition,
    ),
    scenario(
        "K3",
        "testOneWayReplicationWithAutoOffsetSync",
        "With offset.lag.max=10 a consumer that is moved to the target reads fewer than 10 records of each partition again, also in a \
         topic that comes later; nothing is made at the source",
        offsets::moved_with_lag,
    ),
    scenario(
        "K4",
        "testOneWayReplicationWithFrequentOffsetSyncs",
        "With offset.lag.max=0 a consumer that is moved reads nothing again",
        offsets::moved_without_lag,
    ),
    scenario(
        "K5",
        "testReplicationWithoutOffsetSyncWillNotCreateOffsetSyncsTopic",
        "Without offset syncs there is no topic for them",
        internal::no_offset_syncs,
    ),
    scenario(
        "K6",
        "testOffsetSyncsTopicsOnTarget",
        "With offset-syncs.topic.location=target nothing is made at the source",
        internal::on_target_only,
    ),
    scenario(
        "K7",
        "testNoCheckpointsIfNoRecordsAreMirrored",
        "A group's offset is translated only where records have been mirrored",
        offsets::nothing_mirrored_yet,
    ),
    scenario(
        "K8",
        "testRestartReplication",
        "After a restart all that was written meanwhile comes once, and offsets of groups go on and never back",
        restarts::restart,
    ),
    scenario(
        "K9",
        "testOffsetTranslationBehindReplicationFlow",
        "The offset of a group far behind the mirror advances, and goes back when the group goes back",
        offsets::slow_group,
    ),
    scenario(
        "K10",
        "testSyncTopicConfigs",
        "An excluded setting keeps the target's value, another one gets the source's value again",
        configs::excluded,
    ),
    scenario(
        "K11",
        "testReplicateSourceDefault",
        "With use.defaults.from=source what is not set at the source gets the source's default",
        configs::source_default,
    ),
    scenario(
        "K12",
        "testReplicateTargetDefault",
        "A setting that is removed at the source gets the target's default",
        configs::target_default,
    ),
    scenario(
        "K13",
        "testReplicateFromLatest",
        "A mirror that starts at the end copies exactly what is written after its start",
        replication::from_latest,
    ),
    scenario(
        "K14",
        "MirrorConnectorsIntegrationExactlyOnceTest",
        "Exactly once: after positions are set to 0 and then reset the target holds exactly 190 and 290 records of one topic, 20 and 30 \
         of another",
        restarts::positions_edited,
    ),
    scenario(
        "K15",
        "MirrorConnectorsIntegrationSSLTest",
        "The target is reached over TLS with a trust store",
        tls::target,
    ),
    scenario(
        "K16",
        "MirrorConnectorsIntegrationTransactionsTest",
        "The source is written in transactions, and a group is moved",
        replication::transactions,
    ),
    scenario("K17", "IdentityReplicationIntegrationTest", "Topics keep their names", replication::same_names),
    scenario(
        "K18",
        "MirrorConnectorsWithCustomForwardingAdminIntegrationTest",
        "Topics, a new partition, settings and ACLs are made through somebody's own admin class",
        admin::own_class,
    ),
    scenario(
        "K19",
        "testSingleNodeCluster",
        "One dedicated process finds a topic that is created later",
        dedicated::one_process,
    ),
    scenario(
        "K20",
        "testClusterWithEmitOffsetDisabled",
        "The same with emit.offset-syncs.enabled=false, and there is no topic for offset syncs",
        dedicated::without_offset_syncs,
    ),
    scenario(
        "K21",
        "testMultiNodeCluster",
        "Three processes, exactly once, with a target alias of all odd characters: topics that come later are found, and a rolling \
         restart brings a new setting",
        dedicated::three_processes,
    ),
    scenario(
        "K22",
        "DataLossAndTopicResetDetectionIntegrationTest (not merged)",
        "Records that are deleted before they were copied stop the mirror with a DataLossException",
        lost::deleted_records,
    ),
    scenario(
        "K23",
        "DataLossAndTopicResetDetectionIntegrationTest (not merged)",
        "A topic that is deleted and created again is told of, or copied on from its beginning",
        lost::created_anew,
    ),
];

/// One test for each, so that they run side by side and a failure has its name.
macro_rules! by_kmirror {
    ($($id:ident)*) => {
        $(#[test]
        fn $id() -> Outcome {
            by_kmirror(stringify!($id))
        })*

        const TESTED: &[&str] = &[$(stringify!($id)),*];
    };
}

by_kmirror! { k1 k2 k3 k4 k5 k6 k7 k8 k9 k10 k11 k12 k13 k14 k15 k16 k17 k18 k19 k20 k21 k22 k23 }

fn by_kmirror(id: &str) -> Outcome {
    let Some(scenario) = SCENARIOS.iter().find(|scenario| scenario.id.eq_ignore_ascii_case(id)) else {
        return fail(format!("there is no scenario {id}"));
    };
    let cell = (scenario.run)(Tool::Kmirror, shared()?).context(scenario.id)?.cell();
    page::settle(scenario, Tool::Kmirror, &cell, page::Strictness::Words)
}

#[test]
#[ignore = "MirrorMaker 2 is started three dozen times: minutes (make nightly)"]
fn both_tools_do_what_the_table_says() -> Outcome {
    let picked = std::env::var("KMIRROR_SCENARIOS").ok();
    let is_picked = |id: &str| picked.as_deref().is_none_or(|picked| picked.split(',').any(|other| other == id));
    let mut failures = Vec::new();
    for scenario in SCENARIOS.iter().filter(|scenario| is_picked(scenario.id)) {
        for tool in [Tool::Kmirror, Tool::MirrorMaker2] {
            let started = std::time::Instant::now();
            let outcome = (scenario.run)(tool, shared()?).and_then(|finding| {
                let cell = finding.cell();
                println!("{} {tool:?} {} s: {cell}", scenario.id, started.elapsed().as_secs());
                page::settle(scenario, tool, &cell, page::Strictness::Verdict)
            });
            if let Err(error) = outcome {
                println!("{} {tool:?} failed after {} s: {error}", scenario.id, started.elapsed().as_secs());
                failures.push(format!("{} {tool:?}: {error}", scenario.id));
            }
        }
    }
    match failures.is_empty() {
        true => Ok(()),
        false => fail(failures.join("\n\n")),
    }
}

#[test]
fn the_table_lists_exactly_the_scenarios_that_exist_and_each_is_tested() -> Outcome {
    let ids: Vec<String> = SCENARIOS.iter().map(|scenario| scenario.id.to_lowercase()).collect();
    assert_eq!(ids, TESTED);
    page::expect_complete(&SCENARIOS)
}
