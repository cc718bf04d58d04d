//! A switch-over of a mirror whose target others write to: what they write is no sign of a mirror that goes on, and no reason not to
//! take the switch-over back.

use super::{expect_appended, expect_verified};
use crate::support::Outcome;
use crate::support::cluster::{shared, unique};
use crate::support::mirroring::Mirroring;
use crate::support::records::{Generator, Load, Writing, produce};

const RECORDS: usize = 300;

#[test]
fn others_go_on_writing_while_a_mirror_is_promoted_and_taken_back() -> Outcome {
    let (pair, topic) = (shared()?, unique("switched"));
    pair.source.create_topic(&topic, 2, &[])?;
    pair.target.create_topic(&topic, 2, &[("max.message.bytes", "2000000")])?;
    let other = Load::start(&pair.target.bootstrap(), &topic, 2, 200, 9, &Writing::codec("lz4"))?;
    other.wait_for_more(20)?;
    let write = |seed| {
        let writing = Writing::codec("zstd");
        produce(&pair.source.bootstrap(), &topic, 1, Generator::new(seed).take(RECORDS), &writing).map(drop)
    };
    write(1)?;
    let mirroring = Mirroring::pair(pair, &topic).set("offsets=translate");
    let plan = mirroring.plan()?;
    assert_eq!(plan["topics"][0]["refused_partitions"], serde_json::json!({}), "nothing there is in the way: {plan:#}");
    assert_eq!(plan["markers"], "not_needed");
    mirroring.catch_up()?;
    let (code, document) = mirroring.document("promote", &["--timeout", "60"])?;
    let report = &document["report"];
    assert_eq!((code, document["outcome"].as_str()), (0, Some("promoted")), "{document:#}");
    assert_eq!((&report["records_not_copied"], &report["drained"]), (&0.into(), &true.into()), "{document:#}");
    assert_eq!(report["written_afterwards"], serde_json::json!([]), "only others have written: {document:#}");
    let (_, code) = mirroring.finish()?;
    assert_eq!(code, 2, "it does not start again");
    other.wait_for_more(20)?;
    let (code, document) = mirroring.document("promote", &["--undo"])?;
    assert_eq!(code, 0, "what others write is appended to: {document:#}");
    write(2)?;
    mirroring.catch_up()?;
    expect_verified(&mirroring, 2 * RECORDS)?;
    let of_others = other.stop()?;
    let places = expect_appended((&pair.source, &topic), (&pair.target, &topic), &of_others)?;
    assert_eq!(places[&1].len(), 2 * RECORDS);
    // A topic that was there keeps what was set on it.
    let plan = mirroring.plan()?;
    assert_eq!(plan["configs"], serde_json::json!([]), "{plan:#}");
    Ok(())
}
