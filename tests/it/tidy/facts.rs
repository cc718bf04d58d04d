//! Facts that stand in more than one place: each test compares the copies with the one table that decides.
//!
//! Numbers of errors are promised for ever to programs in other languages: what was in the list stays in it.

use std::collections::BTreeSet;

use kmirror::ErrorKind;
use kmirror::config::properties;
use regex::Regex;

use super::{expect_none, files, read};
use crate::support::Outcome;

const ERROR_CODES: &str = "tests/data/error_codes.txt";

#[test]
fn the_number_of_an_error_never_changes_its_meaning() -> Outcome {
    let list = read(ERROR_CODES)?;
    let listed: Vec<_> = list.lines().filter(|line| !line.starts_with('#')).collect();
    let row = |kind: &ErrorKind| format!("{} {} {}", kind.code(), kind.name(), kind.exit_code());
    let rows: Vec<_> = ErrorKind::ALL.iter().map(row).collect();
    let changed = listed.iter().filter(|line| !rows.iter().any(|row| row == *line));
    let missing = rows.iter().filter(|row| !listed.contains(&row.as_str()));
    let complaints = changed.map(|line| format!("{line}: the table of errors does not say so any more"));
    let complaints = complaints.chain(missing.map(|row| format!("{row}: new; add this line at the end")));
    expect_none(ERROR_CODES, complaints.collect())
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
    let manifests = files()?.into_iter().filter(|path| path.ends_with("Cargo.toml"));
    let mut complaints = Vec::new();
    for path in manifests {
        if !read(&path)?.contains("version.workspace = true") {
            complaints.push(format!("{path}: takes its version from the workspace"));
        }
    }
    expect_none("versions", complaints)
}
