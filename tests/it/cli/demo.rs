//! `kmirror demo`, all of it.
//! It stands for the first thing a newcomer does, so it has to be right on every machine.

use super::run;
use crate::support::Outcome;

#[test]
fn both_clusters_are_identical() -> Outcome {
    let finished = run(["demo", "--json"])?.expect(0, &["kill -9", "caught up"])?;
    let document = finished.json()?;
    assert_eq!(document["outcome"], "identical", "{finished}");
    assert_eq!(document["records_written"], document["records_compared"]);
    let partitions = document["partitions"].as_array().expect("a list of partitions");
    assert_eq!(partitions.len(), 9);
    for partition in partitions {
        assert_eq!(partition["identical"], true);
        assert_eq!(partition["source_end"], partition["target_end"]);
        assert!(partition["records"].as_u64() > Some(0), "{partition}");
    }
    Ok(())
}

#[test]
fn it_tells_its_story_and_ends_with_the_verdict() -> Outcome {
    let finished = run(["demo", "--kills", "1"])?.expect(0, &[])?;
    assert!(finished.stderr.is_empty(), "{finished}");
    let verdict = finished.stdout.lines().last().unwrap_or_default();
    assert!(verdict.starts_with("identical: "), "{finished}");
    Ok(())
}
