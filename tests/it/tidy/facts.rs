//! Facts that stand in more than one place: each test compares the copies with the one table that decides.
//!
//! Numbers of errors and events are promised for ever to programs in other languages: what was in a list stays in it.

use std::collections::BTreeSet;

use kmirror::config::properties;
use kmirror::{ErrorKind, EventKind};
use regex::Regex;

use super::{expect_none, files, read};
use crate::support::Outcome;

#[test]
fn the_number_of_an_error_never_changes_its_meaning() -> Outcome {
    let row = |kind: &ErrorKind| format!("{} {} {}", kind.code(), kind.name(), kind.exit_code());
    expect_listed("tests/data/error_codes.txt", ErrorKind::ALL.iter().map(row).collect())
}

#[test]
fn the_number_of_an_event_never_changes_its_meaning() -> Outcome {
    let row = |kind: &EventKind| format!("{} {}", kind.code(), kind.name());
    expect_listed("tests/data/event_kinds.txt", EventKind::ALL.iter().map(row).collect())
}

/// Compares the rows of a table with the list of those that were ever promised.
fn expect_listed(path: &str, rows: Vec<String>) -> Outcome {
    let list = read(path)?;
    let listed: Vec<_> = list.lines().filter(|line| !line.starts_with('#')).collect();
    let changed = listed.iter().filter(|line| !rows.iter().any(|row| row == *line));
    let missing = rows.iter().filter(|row| !listed.contains(&row.as_str()));
    let complaints = changed.map(|line| format!("{line}: was promised, and the table does not say so any more"));
    let complaints = complaints.chain(missing.map(|row| format!("{row}: is new; add this line at the end")));
    expect_none(path, complaints.collect())
}

#[test]
fn the_exit_codes_of_the_readme_are_those_of_the_table_of_errors() -> Outcome {
    // Success and the two signals are no errors.
    let others = [0, 130, 143];
    let table: BTreeSet<u8> = ErrorKind::ALL.iter().map(|kind| kind.exit_code()).chain(others).collect();
    let readme = read("README.md")?;
    let (_, rows) = readme.split_once("| exit code | meaning |").unwrap_or_default();
    let codes = rows.lines().skip(2).map_while(|row| row.strip_prefix("| ")?.split_once(" |"));
    let told: BTreeSet<u8> =
        codes.flat_map(|(codes, _)| codes.split(", ").map(str::parse)).collect::<Result<_, _>>()?;
    assert_eq!(told, table, "README.md: the table of exit codes");
    Ok(())
}

#[test]
fn every_property_of_the_readme_exists() -> Outcome {
    let readme = read("README.md")?;
    // A dotted key by itself between backticks or quotes, and whatever is set by --set, by set("...") and in C.
    let key = Regex::new(concat!(
        r#"`([a-z]+(?:\.[a-z]+)+)`|"([a-z]+(?:\.[a-z]+)+)"|--set ([a-z]+(?:\.[a-z]+)+)=|\.set\("([a-z.]+)"|"#,
        r#"kmirror_config_set\(\w+, "([a-z.]+)""#
    ))?;
    let is_file = |name: &str| [".md", ".properties", ".toml", ".a", ".so"].iter().any(|end| name.ends_with(end));
    let found: BTreeSet<_> = key
        .captures_iter(&readme)
        .filter_map(|captures| captures.iter().skip(1).flatten().next().map(|key| key.as_str()))
        .filter(|key| !is_file(key))
        .collect();
    assert!(found.contains("buffer.memory") && found.contains("source.bootstrap.servers"), "{found:?}");
    let exists = |key: &str| {
        let bare = key.strip_prefix("source.").or_else(|| key.strip_prefix("target.")).unwrap_or(key);
        let named = |property: &properties::Property| property.key == bare || property.aliases.contains(&bare);
        properties::table().any(named)
    };
    let unknown = found.into_iter().filter(|key| !exists(key)).map(str::to_owned);
    expect_none("README.md names properties that do not exist", unknown.collect())
}

#[test]
fn there_is_one_version() -> Outcome {
    // The header's is written from the workspace's, and compared by its own test.
    let takes_it = |path: &str| match path.rsplit('/').next() {
        Some("Cargo.toml") => Some("version.workspace = true"),
        Some("pyproject.toml") => Some("dynamic = [\"version\"]"),
        _ => None,
    };
    let mut complaints = Vec::new();
    for path in files()? {
        if let Some(line) = takes_it(&path).filter(|line| !read(&path).is_ok_and(|text| text.contains(line))) {
            complaints.push(format!("{path} does not say {line}"));
        }
    }
    expect_none("versions", complaints)
}
