//! Deletions of keys that the source's cleaner has taken before they were copied: the keys would live on on the target for ever.
//! What was removed is counted by the tests' own reader; that a mirror which was level in time says nothing is shown beside it.

use crate::support::Outcome;
use crate::support::cluster::{Pair, shared, unique};
use crate::support::everything::{COMPACTED, settle};
use crate::support::ledger::{Isolation, Ledger};
use crate::support::mirroring::Mirroring;
use crate::support::records::{Record, Writing, produce};

/// The year 2100, as [`settle`] wants it.
const FUTURE: i64 = 4_102_444_800_000;
const DATA_LOSS: i32 = 5;

/// Writes a record, or the deletion, of each key.
fn write(pair: &Pair, topic: &str, keys: std::ops::Range<i64>, value: Option<&str>) -> Outcome {
    let record = |key: i64| Record {
        key: Some(format!("k{key}").into_bytes()),
        value: value.map(|value| value.as_bytes().to_vec()),
        headers: Vec::new(),
        timestamp: FUTURE + key,
    };
    produce(&pair.source.bootstrap(), topic, 0, keys.map(record), &Writing::default()).map(drop)
}

#[test]
fn deletions_that_the_source_has_removed_before_they_were_copied_are_told() -> Outcome {
    let pair = shared()?;
    let name = unique("deleted");
    let [late, kept] = ["late", "kept"].map(|topic| format!("{name}.{topic}"));
    pair.source.create_topic(&late, 1, &COMPACTED)?;
    let mut a_day = COMPACTED;
    a_day.iter_mut().filter(|(key, _)| *key == "delete.retention.ms").for_each(|(_, value)| *value = "86400000");
    pair.source.create_topic(&kept, 1, &a_day)?;
    for topic in [&late, &kept] {
        write(pair, topic, 0..10, Some("here"))?;
    }
    let topics = format!("{late},{kept}");
    let mirroring = Mirroring::of(&pair.source, &pair.target, &name, &topics);
    mirroring.catch_up()?;

    // Nothing runs. Of the one topic deletions go at once, of the other only values that were there before them.
    for topic in [&late, &kept] {
        write(pair, topic, 0..5, Some("again"))?;
        write(pair, topic, 0..5, None)?;
    }
    settle(&pair.source, &late, 5)?;
    settle(&pair.source, &kept, 10)?;
    let left = Ledger::read(&pair.source.bootstrap(), &kept, Isolation::ReadUncommitted)?;
    let offsets: Vec<i64> = left.partitions[&0].records.iter().map(|(offset, _)| *offset).collect();
    assert!(offsets[..5] == [5, 6, 7, 8, 9] && offsets[5] > 10, "the test has come to nothing: {offsets:?}");

    let plan = mirroring.plan()?;
    let planned = |topic: &str| {
        let mut topics = plan["topics"].as_array().into_iter().flatten();
        topics.find(|planned| planned["topic"] == topic).map(|planned| planned["deletions"]["at_risk"].clone())
    };
    assert_eq!((planned(&late), planned(&kept)), (Some(true.into()), Some(false.into())), "{plan}");
    let (parked, code) = mirroring.finish()?;
    let said = parked.stderr();
    assert_eq!(code, DATA_LOSS, "{said}");
    let words = "deletions of keys may be missing from offset 10 to";
    assert!(said.contains(words), "{said}");
    assert!(said.lines().filter(|line| line.contains(words)).all(|line| line.contains(&late)), "{said}");

    let told = mirroring.clone().set("on.data.loss=continue").catch_up()?.stderr();
    assert!(told.contains(words) && told.contains(&late), "{told}");
    // It is level now, and what comes is in time.
    write(pair, &late, 20..25, Some("new"))?;
    let quiet = mirroring.catch_up()?.stderr();
    assert!(!quiet.contains(words), "{quiet}");
    Ok(())
}
