//! Names of groups that a terminal or a reader of lines would obey: whoever may commit an offset may choose them. Such groups are
//! selected and copied like others, and their names are shown escaped.

use super::*;

#[test]
fn names_that_terminals_obey_are_copied_and_shown_escaped() -> Outcome {
    let pair = shared()?;
    let topic = unique("evil");
    pair.source.create_topic(&topic, 1, &[])?;
    write(pair, &topic, 0, 20)?;
    let evil = |name: &str| {
        format!("{topic}-{name}\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}\u{202e}\n2026-01-01T00:00:00Z ERROR forged line")
    };
    let (copied, used) = (evil("copied"), evil("used"));
    groups::commit(&pair.source, &copied, &[(&topic, 0, 7)])?;
    groups::commit(&pair.source, &used, &[(&topic, 0, 7)])?;
    let mirroring = Mirroring::pair(pair, &topic);
    let shown = |mut command: Kmirror| -> Outcome<String> {
        command.wait(LIMIT)?;
        let said = command.stdout() + &command.stderr();
        assert!(!said.chars().any(|c| kmirror::text::is_obeyed(c) && c != '\n'), "{said:?}");
        assert!(!said.lines().any(|line| line.starts_with("2026-01-01T00:00:00Z ERROR forged")), "{said}");
        Ok(said)
    };
    let escaped = |name: &str| {
        let evil = r"\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}\u{202e}\n2026-01-01T00:00:00Z ERROR forged line";
        format!("{topic}-{name}{evil}")
    };
    let plan = shown(mirroring.command("plan", &[])?)?;
    assert!(plan.contains(&format!("group {}: set the offsets", escaped("copied"))), "{plan}");
    shown(mirroring.catch_up()?)?;
    for group in [&copied, &used] {
        assert_eq!(groups::offset(&pair.target, group, &topic, 0)?, Some(7), "{group:?}");
    }
    // One that was used on the target is left as it is, and named.
    groups::commit(&pair.target, &used, &[(&topic, 0, 19)])?;
    let plan = shown(mirroring.command("plan", &[])?)?;
    assert!(plan.contains(&escaped("used")), "{plan}");
    let run = shown(mirroring.catch_up()?)?;
    assert!(run.contains(&escaped("used")), "{run}");
    let report = mirroring.report()?.to_string();
    assert!(report.contains(r"\u001b[2J") && !report.contains('\u{1b}'), "{report}");
    Ok(())
}
