//! Two who mirror different topics under one name: what one does to the mirror, the other has to hear of before.
//! Nothing that is copied for one of them ends without a word because the other one has switched over.

use serde_json::Value;

use super::{LIMIT, REFUSED, promoted, write};
use crate::support::Outcome;
use crate::support::cluster::{shared, unique};
use crate::support::ledger::expect_identical;
use crate::support::mirroring::Mirroring;

#[test]
fn a_mirror_that_copies_for_others_too_is_not_promoted_for_one_of_them() -> Outcome {
    let pair = shared()?;
    let name = unique("one-name");
    let [ours, theirs] = ["ours", "theirs"].map(|team| format!("{name}-{team}"));
    for topic in [&ours, &theirs] {
        pair.source.create_topic(topic, 1, &[])?;
        write(&pair.source, topic, 0, 20)?;
    }
    let of = |topic: &str| Mirroring::of(&pair.source, &pair.target, &name, topic);
    of(&theirs).catch_up()?;
    let told = format!("has copied topics that are not selected now: '{theirs}'");
    let plan = of(&ours).plan()?;
    assert!(plan["warnings"][0].as_str().is_some_and(|warning| warning.contains(&told)), "{plan}");
    let (_, check) = of(&ours).document("check", &[])?;
    let warns = |line: &Value| line["outcome"] == "warning" && line["message"].to_string().contains(&told);
    assert!(check["lines"].as_array().is_some_and(|lines| lines.iter().any(warns)), "{check}");
    let mirror = of(&ours).catch_up()?;
    assert!(mirror.stderr().contains(&told), "{}", mirror.stderr());

    // With the source, and without it.
    let gone = of(&ours).set("source.bootstrap.servers=127.0.0.1:1");
    for (mirroring, more) in [(of(&ours), vec![]), (gone, vec!["--timeout", "1"])] {
        let (code, document) = mirroring.document("promote", &more)?;
        let message = document["error"]["message"].as_str().unwrap_or_default();
        assert_eq!(code, REFUSED, "{document}");
        assert!(message.contains(&format!("not selected here, and would end for them too: '{theirs}'")), "{message}");
    }
    // Nothing was marked: theirs go on.
    write(&pair.source, &theirs, 0, 5)?;
    of(&theirs).catch_up()?;
    expect_identical(&pair.source.bootstrap(), &pair.target.bootstrap(), &theirs, 25)?;

    let mut running = of(&theirs).start()?;
    super::wait_until_it_says(&mut running, "mirror starts")?;
    promoted(&of(&ours), &["--force"])?;
    assert_eq!(running.wait(LIMIT)?.code(), Some(REFUSED), "{}", running.stderr());
    assert!(running.stderr().contains("was promoted by another process"), "{}", running.stderr());
    Ok(())
}

#[test]
fn a_name_that_nobody_has_chosen_is_told() -> Outcome {
    let pair = shared()?;
    let topic = unique("nameless");
    pair.source.create_topic(&topic, 1, &[])?;
    let plan = Mirroring::of(&pair.source, &pair.target, "", &topic).plan()?;
    let warning = plan["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.contains("has no name, so it is '") && warning.contains("-to-"), "{plan}");
    let named = Mirroring::pair(pair, &topic).plan()?;
    assert_eq!(named["warnings"], serde_json::json!([]), "{named}");
    Ok(())
}
