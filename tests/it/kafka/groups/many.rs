//! Thousands of groups: in how few requests they are looked at, and that all of them arrive.
//! Requests are counted by proxies before both clusters; time is not looked at.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kafka_protocol::messages::ApiKey;

use super::{LIMIT, write};
use crate::support::cluster::{Cluster, Options, Pair};
use crate::support::groups;
use crate::support::mirroring::Mirroring;
use crate::support::proxy::Direction;
use crate::support::{Outcome, wait_for};

const GROUPS: usize = 2000;

/// Requests by their kind.
type Counts = Arc<Mutex<BTreeMap<i16, usize>>>;

fn count(cluster: &Cluster) -> Counts {
    let counts = Counts::default();
    let counting = counts.clone();
    cluster.proxy(1).edit(Some(Arc::new(move |passing, _| {
        if passing.direction == Direction::ToBroker {
            *counting.lock().unwrap_or_else(PoisonError::into_inner).entry(passing.api_key).or_default() += 1;
        }
    })));
    counts
}

fn taken(counts: &Counts) -> BTreeMap<i16, usize> {
    std::mem::take(&mut *counts.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What is asked about groups in a round, on one side.
const ABOUT_GROUPS: [ApiKey; 4] =
    [ApiKey::OffsetFetch, ApiKey::FindCoordinator, ApiKey::DescribeGroups, ApiKey::OffsetCommit];

#[test]
fn two_thousand_groups_that_do_not_change_are_looked_at_in_a_handful_of_requests() -> Outcome {
    let pair = Pair::start(Options::default().proxied(), Options::default().proxied())?;
    pair.source.create_topic("many", 2, &[])?;
    write(&pair, "many", 0, 50)?;
    std::thread::scope(|scope| {
        let commit = |share: usize| {
            let source = &pair.source;
            scope.spawn(move || {
                let mine = (0..GROUPS).filter(|number| number % 8 == share);
                mine.into_iter().try_for_each(|number| {
                    let offset = (number % 50) as i64;
                    groups::commit(source, &format!("group-{number}"), &[("many", 0, offset), ("many", 1, 0)])
                })
            })
        };
        let threads: Vec<_> = (0..8).map(commit).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a thread that commits"))
    })?;
    let (source, target) = (count(&pair.source), count(&pair.target));
    let mirroring = Mirroring::pair(&pair, "many").set("groups=group-.*");
    let report = mirroring.report()?;
    let asked = (taken(&source), taken(&target));
    println!("first copy: source {:?}, target {:?}", asked.0, asked.1);
    let status = &report["status"]["groups"];
    assert_eq!(status["synced"].as_u64(), Some(GROUPS as u64), "{status}");
    for number in (0..GROUPS).step_by(97) {
        let group = format!("group-{number}");
        assert_eq!(groups::offset(&pair.target, &group, "many", 0)?, Some((number % 50) as i64), "{group}");
        assert_eq!(groups::offset(&pair.target, &group, "many", 1)?, Some(0), "{group}");
    }
    // A commit is of one group in Kafka's protocol, whoever sends it; nothing else is asked once for each.
    let commits = asked.1[&(ApiKey::OffsetCommit as i16)];
    assert_eq!(commits, GROUPS, "each group is committed once");
    for key in [ApiKey::OffsetFetch, ApiKey::FindCoordinator, ApiKey::ListGroups] {
        let sides = [&asked.0, &asked.1].map(|side| side.get(&(key as i16)).copied().unwrap_or(0));
        assert!(sides.iter().all(|count| *count <= 20), "{key:?}: {sides:?}");
    }

    let mut mirror = mirroring.start()?;
    let rounds = |counts: &Counts| {
        counts.lock().unwrap_or_else(PoisonError::into_inner).get(&(ApiKey::ListGroups as i16)).copied().unwrap_or(0)
    };
    wait_for("the mirror runs", LIMIT, || Ok((rounds(&target) >= 2).then_some(())))?;
    let _ = (taken(&source), taken(&target));
    wait_for("four rounds have passed", LIMIT, || Ok((rounds(&source) >= 4 && rounds(&target) >= 4).then_some(())))?;
    mirror.kill9()?;
    for (side, counts) in [("source", taken(&source)), ("target", taken(&target))] {
        let rounds = counts[&(ApiKey::ListGroups as i16)];
        let asked: usize = ABOUT_GROUPS.iter().filter_map(|key| counts.get(&(*key as i16))).sum();
        println!("{side}: {asked} requests in {rounds} rounds: {counts:?}");
        assert!(asked <= rounds * 4, "{side}: {asked} requests in {rounds} rounds: {counts:?}");
        assert_eq!(counts.get(&(ApiKey::OffsetCommit as i16)), None, "{side}: nothing has changed");
    }
    Ok(())
}
