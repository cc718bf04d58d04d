//! What the mirror does where the target does not let it write control markers, against real brokers with an authorizer.
//!
//! The mirror reaches the target through a proxy, and brokers see it come from an address of its own: what is taken from that
//! address is taken from nobody else.

use std::time::{Duration, Instant};

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, CreateAclsRequest, DeleteAclsRequest, InitProducerIdRequest, TransactionalId,
};

use crate::support::cluster::{Cluster, Options, Pair};
use crate::support::ledger::{self, Isolation, Ledger};
use crate::support::mirroring::Mirroring;
use crate::support::proxy::CLIENTS_COME_FROM;
use crate::support::raw::{check, text, topic_name};
use crate::support::records::{Generator, Writing, produce};
use crate::support::transactions::{End, Transactions};
use crate::support::{Failure, Outcome, hand_made, wait_for};

const LIMIT: Duration = Duration::from_secs(120);
const PARTITIONS: i32 = 3;
/// Offsets of markers, all in one go.
const HOLE: usize = 1_000;

const CLUSTER: (i8, &str) = (4, "kafka-cluster");
const TRANSACTIONAL_ID: i8 = 5;
const LITERAL: i8 = 3;
const PREFIXED: i8 = 4;
const DENY: i8 = 2;
const ALLOW: i8 = 3;
const ALL: i8 = 2;
const WRITE: i8 = 4;
const ALTER: i8 = 7;
const DESCRIBE: i8 = 8;
const CLUSTER_ACTION: i8 = 9;

pub(super) fn acl((kind, name): (i8, &str), pattern: i8, host: &str, operation: i8, permission: i8) -> AclCreation {
    AclCreation::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_resource_pattern_type(pattern)
        .with_principal(text("User:ANONYMOUS"))
        .with_host(text(host))
        .with_operation(operation)
        .with_permission_type(permission)
}

pub(super) fn create(cluster: &Cluster, acls: Vec<AclCreation>) -> Outcome {
    for answer in cluster.client().any()?.send(3, &CreateAclsRequest::default().with_creations(acls))?.results {
        check(answer.error_code, "cannot create an ACL")?;
    }
    Ok(())
}

/// Takes back what was denied of one thing.
pub(super) fn grant(cluster: &Cluster, (kind, name): (i8, &str), operation: i8) -> Outcome {
    let filter = DeleteAclsFilter::default()
        .with_resource_type_filter(kind)
        .with_resource_name_filter(Some(text(name)))
        .with_pattern_type_filter(LITERAL)
        .with_principal_filter(None)
        .with_host_filter(None)
        .with_operation(operation)
        .with_permission_type(DENY);
    let request = DeleteAclsRequest::default().with_filters(vec![filter]);
    for answer in cluster.client().any()?.send(3, &request)?.filter_results {
        check(answer.error_code, "cannot delete an ACL")?;
        assert_eq!(answer.matching_acls.len(), 1, "the permission was missing");
    }
    Ok(())
}

/// A pair of which the target lets the mirror neither write markers nor have a transactional id.
fn guarded() -> Outcome<Pair> {
    let options = Options::default()
        .proxied()
        .property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        .property("allow.everyone.if.no.acl.found", "true");
    let pair = Pair::start(Options::default(), options)?;
    let mirror = CLIENTS_COME_FROM.to_string();
    let acls = vec![
        acl(CLUSTER, LITERAL, "*", ALL, ALLOW),
        acl(CLUSTER, LITERAL, &mirror, ALTER, DENY),
        acl(CLUSTER, LITERAL, &mirror, CLUSTER_ACTION, DENY),
        // With this, everybody else needs a permission.
        acl((TRANSACTIONAL_ID, "*"), LITERAL, "127.0.0.1", ALL, ALLOW),
    ];
    create(&pair.target, acls)?;
    Ok(pair)
}

fn allow_transactions(target: &Cluster, mirror: &str) -> Outcome {
    let ids = format!("kmirror.{mirror}:");
    let grant = |operation| acl((TRANSACTIONAL_ID, &ids), PREFIXED, "*", operation, ALLOW);
    create(target, vec![grant(WRITE), grant(DESCRIBE)])
}

fn allow_markers(target: &Cluster) -> Outcome {
    grant(target, CLUSTER, ALTER)
}

/// Committed and aborted transactions in every partition.
fn write_transactions(source: &Cluster, topic: &str) -> Outcome {
    let transactions = Transactions::open(&source.bootstrap(), &Writing::codec("lz4"))?;
    let mut generator = Generator::new(5);
    for round in 0..30 {
        let end = if round % 3 == 1 { End::Abort } else { End::Commit };
        transactions.write(topic, round % PARTITIONS, generator.by_ref().take(7), end)?;
    }
    Ok(())
}

/// Readers of committed data see the same on both sides, and the target has nothing that only others see.
fn expect_same(pair: &Pair, topic: &str, least: usize) -> Outcome {
    let read = |cluster: &Cluster, isolation| Ledger::read(&cluster.direct(), topic, isolation);
    let source = read(&pair.source, Isolation::ReadCommitted)?;
    for isolation in [Isolation::ReadCommitted, Isolation::ReadUncommitted] {
        ledger::compare(&source, &read(&pair.target, isolation)?).expect_identical(least)?;
    }
    assert_eq!(pair.source.client().bounds(topic)?, pair.target.client().bounds(topic)?, "{topic}");
    Ok(())
}

fn wait_caught_up(pair: &Pair, topic: &str) -> Outcome {
    ledger::wait_caught_up(&pair.source.direct(), &pair.target.direct(), topic, LIMIT)
}

#[test]
fn holes_are_filled_by_empty_transactions_where_markers_are_forbidden() -> Outcome {
    let pair = guarded()?;
    let name = "ids-only";
    let [topic, hole] = ["transactions", "hole"].map(|topic| format!("{name}.{topic}"));
    pair.source.create_topic(&topic, PARTITIONS, &[])?;
    write_transactions(&pair.source, &topic)?;
    allow_transactions(&pair.target, name)?;
    let mirroring = Mirroring::of(&pair.source, &pair.target, name, &format!("{name}\\..*"));
    let mut mirror = mirroring.start()?;
    wait_caught_up(&pair, &topic)?;
    expect_same(&pair, &topic, 140)?;
    assert!(mirror.stderr().contains("filled by empty transactions"), "{}", mirror.stderr());

    // Every partition has a hole to be filled at the same time.
    pair.source.create_topic(&hole, PARTITIONS, &[])?;
    for partition in 0..PARTITIONS {
        // The log of a new topic is there for certain once a record is in it.
        let write = |count| {
            produce(&pair.source.bootstrap(), &hole, partition, Generator::new(6).take(count), &Writing::default())
        };
        write(1)?;
        hand_made::send_markers(&pair.source.client(), &hole, partition, 1 << 40, HOLE)?;
        write(50)?;
    }
    let copied = || pair.target.client().bounds(&hole).map(|bounds| bounds.values().map(|b| b.end).sum::<i64>());
    let first = i64::from(PARTITIONS);
    wait_for("filling begins", LIMIT, || Ok(copied().is_ok_and(|end| end > first).then_some(())))?;
    let (started, before) = (Instant::now(), copied()?);
    let all = i64::from(PARTITIONS) * (1 + HOLE as i64);
    wait_for("the holes are filled", LIMIT, || Ok((copied()? >= all).then_some(())))?;
    let rate = (all - before) as f64 / started.elapsed().as_secs_f64();
    println!("{rate:.0} empty transactions a second in {PARTITIONS} partitions together");
    wait_caught_up(&pair, &hole)?;
    mirror.kill9()?;
    expect_same(&pair, &hole, 51 * PARTITIONS as usize)
}

#[test]
fn holes_wait_for_either_permission_and_nothing_else_waits() -> Outcome {
    let pair = guarded()?;
    for grant in ["ids", "markers"] {
        let [topic, other] = ["transactions", "other"].map(|topic| format!("{grant}.{topic}"));
        pair.source.create_topic(&topic, PARTITIONS, &[])?;
        pair.source.create_topic(&other, 1, &[])?;
        write_transactions(&pair.source, &topic)?;
        produce(&pair.source.bootstrap(), &other, 0, Generator::new(7).take(500), &Writing::default())?;
        let mut mirror = Mirroring::of(&pair.source, &pair.target, grant, &format!("{grant}\\..*")).start()?;
        let id = format!("TransactionalId 'kmirror.{grant}:{topic}:0'");
        wait_for("the mirror names the permissions", LIMIT, || {
            let said = mirror.stderr();
            let named = said.contains("allow ALTER on the cluster (CLUSTER_ACTION before Kafka 3.8)");
            Ok((named && said.contains(&id) && said.contains(&format!("prefixed 'kmirror.{grant}:'"))).then_some(()))
        })?;
        wait_caught_up(&pair, &other)?;
        produce(&pair.source.bootstrap(), &other, 0, Generator::new(8).take(500), &Writing::default())?;
        wait_caught_up(&pair, &other)?;
        let behind = pair.target.client().bounds(&topic)?.values().map(|bounds| bounds.end).max();
        assert_eq!(behind, Some(7), "nothing comes behind a hole that is not filled");

        if grant == "ids" {
            allow_transactions(&pair.target, grant)?
        } else {
            allow_markers(&pair.target)?
        }
        let granted = Instant::now();
        wait_caught_up(&pair, &topic)?;
        println!("{grant}: goes on {:.1?} after the grant", granted.elapsed());
        assert_eq!(mirror.exited()?, None);
        mirror.kill9()?;
        expect_same(&pair, &topic, 140)?;
        expect_same(&pair, &other, 1000)?;
    }
    Ok(())
}

/// Begins an empty transaction as the mirror does, and no more. The cluster has one broker, which coordinates all.
fn leave_open(target: &Cluster, mirror: &str, topic: &str, partition: i32) -> Outcome {
    let id = TransactionalId(text(&format!("kmirror.{mirror}:{topic}:{partition}")));
    let mut coordinator = target.client().any()?;
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(id.clone()))
        .with_transaction_timeout_ms(10_000)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let producer = wait_for("the transactional id is free", LIMIT, || {
        let answer = coordinator.send(4, &request)?;
        Ok((answer.error_code == 0).then_some(answer))
    })?;
    let topic = AddPartitionsToTxnTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    let request = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(id)
        .with_v3_and_below_producer_id(producer.producer_id)
        .with_v3_and_below_producer_epoch(producer.producer_epoch)
        .with_v3_and_below_topics(vec![topic]);
    for topic in coordinator.send(3, &request)?.results_by_topic_v3_and_below {
        for answer in topic.results_by_partition {
            check(answer.partition_error_code, "cannot leave a transaction open")?;
        }
    }
    Ok(())
}

/// The last transaction of a process that died is open, and the next one is allowed markers: what is open has to be ended before the
/// coordinator does that by itself, at an offset that is another's by then.
#[test]
fn a_mirror_killed_in_a_transaction_goes_on_with_markers() -> Outcome {
    const ROUNDS: usize = 3;
    let pair = guarded()?;
    let mirroring = Mirroring::of(&pair.source, &pair.target, "killed", "killed");
    pair.source.create_topic("killed", PARTITIONS, &[])?;
    for partition in 0..PARTITIONS {
        let write =
            || produce(&pair.source.bootstrap(), "killed", partition, Generator::new(9).take(20), &Writing::default());
        write()?;
        hand_made::send_markers(&pair.source.client(), "killed", partition, 1 << 40, HOLE)?;
        write()?;
    }
    allow_transactions(&pair.target, "killed")?;
    let copied = || pair.target.client().bounds("killed").map(|bounds| bounds.values().map(|b| b.end).sum::<i64>());
    let mut before = i64::from(PARTITIONS) * 20;
    for round in 0..ROUNDS {
        let mut mirror = mirroring.start()?;
        let goes_on = wait_for("filling goes on", LIMIT, || Ok(copied().is_ok_and(|end| end > before).then_some(())));
        goes_on.map_err(|error| Failure(format!("round {round}: {error}\n{}", mirror.stderr())))?;
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..200)));
        mirror.kill9()?;
        before = copied()?;
    }
    // Where a kill hits is luck; this is what one between two requests leaves.
    for partition in 0..PARTITIONS {
        leave_open(&pair.target, "killed", "killed", partition)?;
    }
    allow_markers(&pair.target)?;
    let mut mirror = mirroring.start()?;
    wait_caught_up(&pair, "killed")?;
    // Longer than a transaction of the mirror may be open.
    std::thread::sleep(Duration::from_secs(13));
    println!("{before} offsets when it was killed last\n{}", mirror.stderr());
    assert_eq!(mirror.exited()?, None);
    mirror.kill9()?;
    expect_same(&pair, "killed", 40 * PARTITIONS as usize)
}
