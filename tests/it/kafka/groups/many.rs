//! Thousands of groups: in how few requests they are looked at, and that all of them arrive.
//! Requests are counted by proxies before both clusters; time is not looked at.

use kafka_protocol::messages::ApiKey;

use super::{LIMIT, write};
use crate::support::cluster::{Options, Pair};
use crate::support::counting;
use crate::support::groups;
use crate::support::mirroring::Mirroring;
use crate::support::{Outcome, wait_for};

const GROUPS: usize = 2000;

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
    let (source, target) = (counting::of(&pair.source), counting::of(&pair.target));
    let mirroring = Mirroring::pair(&pair, "many").set("groups=group-.*");
    let report = mirroring.report()?;
    let asked = (source.take(), target.take());
    println!("first copy: source {:?}, target {:?}", asked.0, asked.1);
    let status = &report["status"]["groups"];
    assert_eq!(status["synced"].as_u64(), Some(GROUPS as u64), "{status}");
    for number in (0..GROUPS).step_by(97) {
        let group = format!("group-{number}");
        assert_eq!(groups::offset(&pair.target, &group, "many", 0)?, Some((number % 50) as i64), "{group}");
        assert_eq!(groups::offset(&pair.target, &group, "many", 1)?, Some(0), "{group}");
    }
    // A commit is of one group in Kafka's protocol, whoever sends it; nothing else is asked once for each.
    let commits = asked.1.of(ApiKey::OffsetCommit);
    assert_eq!(commits, GROUPS, "each group is committed once");
    for key in [ApiKey::OffsetFetch, ApiKey::FindCoordinator, ApiKey::ListGroups] {
        let sides = [&asked.0, &asked.1].map(|side| side.of(key));
        // Just before they are committed, sixteen at a time are looked at again.
        let again = if key == ApiKey::OffsetFetch { GROUPS.div_ceil(16) } else { 0 };
        assert!(sides[0] <= 20 && sides[1] <= again + 20, "{key:?}: {sides:?}");
    }

    let mut mirror = mirroring.start()?;
    wait_for("the mirror runs", LIMIT, || Ok((target.count(ApiKey::ListGroups) >= 2).then_some(())))?;
    let _ = (source.take(), target.take());
    wait_for("four rounds have passed", LIMIT, || {
        Ok([&source, &target].iter().all(|side| side.count(ApiKey::ListGroups) >= 4).then_some(()))
    })?;
    mirror.kill9()?;
    for (side, counts) in [("source", source.take()), ("target", target.take())] {
        let rounds = counts.of(ApiKey::ListGroups);
        let asked: usize = ABOUT_GROUPS.iter().map(|key| counts.of(*key)).sum();
        println!("{side}: {asked} requests in {rounds} rounds: {counts:?}");
        assert!(asked <= rounds * 4, "{side}: {asked} requests in {rounds} rounds: {counts:?}");
        assert_eq!(counts.of(ApiKey::OffsetCommit), 0, "{side}: nothing has changed");
    }
    Ok(())
}
