//! What the records of the internal topic mean, whatever came before them.
//! No broker is asked: the records are made by hand.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::log::{decode, encode};
use super::*;

/// Records as the topic would give them.
fn records(entries: &[(&str, Option<&str>)]) -> Vec<Record> {
    let entry = |(key, value): &(&str, Option<&str>)| ((*key).to_owned(), value.map(|value| value.as_bytes().to_vec()));
    decode(encode(entries.iter().map(entry).collect()).unwrap()).unwrap()
}

fn start(nonce: u64) -> (Start, String) {
    let start = Start { started_at_ms: 1, nonce };
    let written = String::from_utf8(json(&start).unwrap()).unwrap();
    (start, written)
}

#[test]
fn a_number_belongs_to_who_wrote_it_first() {
    let ((ours, our), (theirs, their)) = (start(1), start(2));
    let both = records(&[("start/1", Some(&their)), ("start/2", Some(&our)), ("start/2", Some(&their))]);
    assert!(has_number(&both, 2, &ours));
    assert!(!has_number(&both, 2, &theirs));
    assert!(!has_number(&both, 3, &ours), "nobody has it");
}

#[test]
fn a_number_behind_a_later_one_is_nobodys() {
    let ((ours, our), (_, their)) = (start(1), start(2));
    // Who had number 5 first has been removed, by who has 6.
    let late = records(&[("start/6", Some(&their)), ("start/5", None), ("start/5", Some(&our))]);
    assert!(!has_number(&late, 5, &ours));
    let removed =
        records(&[("start/5", Some(&our)), ("start/6", None), ("start/x", Some(&their)), ("other/9", Some("?"))]);
    assert!(has_number(&removed, 5, &ours));
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
