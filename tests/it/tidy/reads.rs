//! Errors of reads are not dropped where it is decided what a log holds: what a broker does not say is not known, and never nothing.
//!
//! The patterns are those that make of an error a value like any other. Where that is right, a comment says why.

use regex::Regex;

use super::{expect_none, files, read};
use crate::support::Outcome;

/// Where what brokers answer is judged.
const WHERE: [&str; 3] = ["src/stream/", "src/control/", "src/verify/"];
/// How the comment begins, on the same line or among those directly above.
const REASON: &str = "// Left open:";

/// Whether a line takes an error for a value.
fn drops_errors() -> Outcome<Regex> {
    let patterns = [
        r"\.ok\(\)",
        r"Result::ok\b",
        r"\blet Ok\(",
        r"\bErr\(_\)",
        r"\.await\s*\.unwrap_or(_default)?\(",
        r"\bis_ok_and\(",
        r"\.flatten_ok\(",
    ];
    Ok(Regex::new(&patterns.join("|"))?)
}

/// The lines of a file, without its tests, that drop an error and do not say why.
fn dropped(text: &str, pattern: &Regex) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).collect();
    let is_comment = |line: &&&str| line.trim_start().starts_with("//");
    let says_why = |at: usize| {
        let above = lines[..at].iter().rev().take_while(is_comment);
        lines[at].contains(REASON) || above.into_iter().any(|line| line.contains(REASON))
    };
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    let found = (0..lines.len()).filter(|at| pattern.is_match(&code(lines[*at])) && !says_why(*at));
    found.map(|at| (at + 1, lines[at].trim().to_owned())).collect()
}

#[test]
fn no_error_of_a_read_is_dropped_without_a_reason() -> Outcome {
    let pattern = drops_errors()?;
    let is_judged = |path: &String| {
        path.ends_with(".rs") && WHERE.iter().any(|place| path.starts_with(place)) && !path.ends_with("tests.rs")
    };
    let judged: Vec<String> = files()?.into_iter().filter(is_judged).filter(|path| !path.contains("/tests/")).collect();
    assert!(judged.len() > 30, "only {} files were found", judged.len());
    let mut complaints = Vec::new();
    for path in judged {
        let lines = dropped(&read(&path)?, &pattern);
        complaints.extend(lines.into_iter().map(|(line, text)| format!("{path}:{line}: {text}")));
    }
    let what = "an error becomes a value here; hand it on, or say in a comment that begins with 'Left open:' why it may be dropped";
    expect_none(what, complaints)
}

#[test]
fn the_lint_finds_what_it_is_for() -> Outcome {
    let pattern = drops_errors()?;
    let lines = |text: &str| dropped(text, &pattern).into_iter().map(|(line, _)| line).collect::<Vec<_>>();
    let once_there = [
        "    answers.get(partition).copied()?.ok().flatten()",
        "    let Ok(look) = look(connection).await? else { return Ok(None) };",
        "    let offsets = list_offsets(&connection).await.unwrap_or_default();",
        "    Err(_) => Likeness::Unknown,",
        "    found.and_then(Result::ok)",
    ];
    for line in once_there {
        assert_eq!(lines(line), [1], "{line}");
        assert_eq!(lines(&format!("    {REASON} it is asked again.\n{line}")), [0; 0], "{line}");
        assert_eq!(lines(&format!("    {REASON} of another line.\n    let x = 1;\n{line}")), [3], "{line}");
    }
    assert_eq!(lines("    let x = known.unwrap_or_default(); // .ok() is in a comment"), [0; 0]);
    Ok(())
}
