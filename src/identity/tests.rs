//! What the records of the internal topic mean, whatever came before them.
//! No broker is asked: the records are made by hand.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::log::{decode, encode};
use super::starts::next_number;
use super::*;

/// Records as the topic would give them.
fn records(entries: &[(&str, Option<&str>)]) -> Vec<Record> {
    let entry = |(key, value): &(&str, Option<&str>)| ((*key).to_owned(), value.map(|value| value.as_bytes().to_vec()));
    decode(encode(entries.iter().map(entry).collect()).unwrap()).unwrap()
}

#[test]
fn the_last_record_of_a_topic_counts_and_a_damaged_one_is_none() {
    let written = |source: u128, target: u128| {
        format!(r#"{{"source_topic_id":"{source:032x}","target_topic_id":"{target:032x}"}}"#)
    };
    let (first, second) = (written(1, 2), written(u128::MAX, 0));
    let topics = remembered(&records(&[
        ("topic/orders", Some(&first)),
        ("topic/gone", Some(&first)),
        ("topic/damaged", Some(&first)),
        ("topic/orders", Some(&second)),
        ("topic/gone", None),
        ("topic/damaged", Some(r#"{"source_topic_id":"x","target_topic_id":"0"}"#)),
        ("topic/a.b-c_d", Some(&first)),
    ]));
    let expected =
        [("a.b-c_d", TopicIds { source: 1, target: 2 }), ("orders", TopicIds { source: u128::MAX, target: 0 })];
    assert_eq!(topics, expected.map(|(name, ids)| (name.to_owned(), ids)).into());
}

fn claim(rest: &str) -> String {
    format!(r#"{{"version":1,"producer_id":7,"producer_epoch":0,"source_cluster_id":"A","claimed_at_ms":1{rest}}}"#)
}

/// Whether a mirror with this claim and what else is remembered may run with `offsets`.
fn runs(claim: &str, others: &[(&str, Option<&str>)], offsets: Offsets) -> Result<Identity> {
    let claim = serde_json::from_str(claim).unwrap();
    accept(claim, Whose { name: "m", source_cluster_id: "A", offsets }, &records(others))
}

#[test]
fn a_mirror_goes_on_with_the_offsets_it_has_claimed_and_with_no_others() {
    use Offsets::{Preserve, Translate};
    let topic = ("topic/orders", Some("{}"));
    let begun = ("offsets/orders/00/0/runs/1/0", Some("{}"));
    let of_translate = claim(r#","offsets":"translate""#);
    for (claim, others, right, wrong) in [
        (of_translate.as_str(), &[topic][..], Translate, Preserve),
        (&claim(r#","offsets":"preserve""#), &[topic], Preserve, Translate),
        // The first claims did not say it, but the rest does.
        (&claim(""), &[topic, begun], Translate, Preserve),
        (&claim(""), &[topic], Preserve, Translate),
    ] {
        assert!(runs(claim, others, right).is_ok(), "{claim}");
        let error = runs(claim, others, wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.message().contains("every record would be copied once more"), "{error}");
    }
    for offsets in [Preserve, Translate] {
        assert!(runs(&claim(""), &[], offsets).is_ok(), "it has copied nothing yet");
    }
}

#[test]
fn a_claim_says_what_it_does_with_offsets_and_the_first_ones_can_be_read() {
    let first: Claim = serde_json::from_str(&claim("")).unwrap();
    assert_eq!(first.offsets, None);
    let new = Claim { offsets: Some(Mode::Translate), ..first };
    assert_eq!(String::from_utf8(json(&new).unwrap()).unwrap(), claim(r#","offsets":"translate""#));
}

#[test]
fn a_start_that_no_number_can_follow_is_refused() {
    assert_eq!(next_number(0, "t").unwrap(), 1);
    assert_eq!(next_number(41, "t").unwrap(), 42);
    for impossible in [i32::MAX, i32::MAX / ATTEMPTS, -1, i32::MIN] {
        let error = next_number(impossible, "kmirror.t.internal").unwrap_err();
        assert!(error.message().contains(&format!("start/{impossible}")), "{error}");
    }
}

#[test]
fn which_copy_the_mirror_has_created_is_known_whatever_copy_it_has_now() {
    let written = |target: u128, created: bool, id: Option<u128>| {
        let id = id.map(|id| format!(r#","created_topic_id":"{id:032x}""#)).unwrap_or_default();
        format!(r#"{{"source_topic_id":"{:032x}","target_topic_id":"{target:032x}","created":{created}{id}}}"#, 1)
    };
    let created = created(&records(&[
        ("topic/before", Some(&written(2, true, None))),
        ("topic/foreign", Some(&written(2, false, None))),
        ("topic/ours", Some(&written(2, true, Some(2)))),
        ("topic/other", Some(&written(3, false, Some(2)))),
    ]));
    assert_eq!(created, ["before", "other", "ours"].map(|name| (name.to_owned(), 2)).into());
}
