//! Groups between brokers of Kafka 2.8, which take one group in a request where newer ones take many.
//! What a user sees is the same.

use super::{expected, write};
use crate::support::Outcome;
use crate::support::cluster::{Options, Pair, Version};
use crate::support::groups::{self, Member, Protocol};
use crate::support::mirroring::Mirroring;

#[test]
#[ignore = "nightly: brokers of Kafka 2.8 with ZooKeeper take most of a minute to start"]
fn groups_are_copied_between_old_brokers() -> Outcome {
    let old = || Options::default().version(Version::Old);
    let pair = Pair::start(old(), old())?;
    let topic = "old";
    pair.source.create_topic(topic, 2, &[])?;
    write(&pair, topic, 0, 40)?;
    for group in ["first", "second"] {
        groups::commit_with(&pair.source, group, &[(topic, 0, 30), (topic, 1, 0)], "a text")?;
    }
    let mirroring = Mirroring::pair(&pair, topic);
    let report = mirroring.report()?;
    for group in ["first", "second"] {
        assert_eq!(groups::committed(&pair.target, group)?, expected(&pair, group)?, "{report:#}");
    }
    let member = Member::join(&pair.target, "first", Protocol::Classic, topic)?;
    for group in ["first", "second"] {
        groups::commit(&pair.source, group, &[(topic, 0, 35)])?;
    }
    let report = mirroring.report()?;
    assert_eq!(groups::offset(&pair.target, "first", topic, 0)?, Some(30), "it has a member");
    assert_eq!(groups::offset(&pair.target, "second", topic, 0)?, Some(35));
    assert!(report["status"]["troubles"].to_string().contains("has members on the target"), "{report:#}");
    member.leave()
}
