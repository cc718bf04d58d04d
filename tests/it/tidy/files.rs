//! What every file has to keep: its place, its first lines, its length, and no word that is true on one machine only.
//!
//! The patterns are written so that they do not match themselves.

use regex::Regex;

use super::{expect_none, files, read};
use crate::support::Outcome;

/// A file that is longer has more than one job.
const LONGEST: usize = 600;
/// Where Rust is written.
const RUST: [&str; 3] = ["src/", "bindings/", "tests/"];

fn rust_files() -> Outcome<Vec<String>> {
    let is_rust = |path: &String| path.ends_with(".rs") && RUST.iter().any(|folder| path.starts_with(folder));
    let files: Vec<_> = files()?.into_iter().filter(is_rust).collect();
    assert!(files.len() > 50, "only {} Rust files were found", files.len());
    Ok(files)
}

#[test]
fn the_root_holds_nothing_else() -> Outcome {
    const ALLOWED: [&str; 12] = [
        "Cargo.toml",
        "Cargo.lock",
        "pyproject.toml",
        "Makefile",
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
        "src",
        "bindings",
        "include",
        "python",
        "tests",
    ];
    let files = files()?;
    let mut names: Vec<_> = files.iter().filter_map(|path| path.split('/').next()).collect();
    names.dedup();
    let strange = names.into_iter().filter(|name| !name.starts_with('.') && !ALLOWED.contains(name));
    expect_none("these do not belong into the root", strange.map(str::to_owned).collect())
}

#[test]
fn every_rust_file_begins_with_what_it_decides_or_does() -> Outcome {
    let mut complaints = Vec::new();
    for path in rust_files()? {
        let lines = read(&path)?.lines().take_while(|line| line.starts_with("//!")).count();
        if lines < 2 {
            complaints.push(format!("{path} has {lines}"));
        }
    }
    expect_none(
        "a Rust file begins with at least two lines of //!: what it decides or does, and what it never does",
        complaints,
    )
}

#[test]
fn no_rust_file_is_long() -> Outcome {
    let mut complaints = Vec::new();
    for path in rust_files()? {
        let lines = read(&path)?.lines().count();
        if lines > LONGEST {
            complaints.push(format!("{path} has {lines}"));
        }
    }
    expect_none(&format!("a Rust file has at most {LONGEST} lines: split it by what its parts decide"), complaints)
}

#[test]
fn a_test_that_is_ignored_says_why() -> Outcome {
    let bare = Regex::new(r"#\[(?:ignore)\s*\]")?;
    let mut complaints = rust_files()?;
    complaints.retain(|path| read(path).is_ok_and(|text| bare.is_match(&text)));
    expect_none("an ignored test gives its reason in the attribute", complaints)
}

#[test]
fn nothing_names_a_place_on_somebodys_machine() -> Outcome {
    let place = Regex::new(r"(?:^|[^\w.~/-])/(?:work|root|tmp/dev|home/\w+|Users/\w+)(?:/|\b)")?;
    assert!(place.is_match("cd \x2fwork/x") && !place.is_match("https://host/workers"), "the pattern itself");
    let mut complaints = Vec::new();
    for path in files()? {
        // What is not text has no sentences in it.
        let Ok(text) = read(&path) else { continue };
        let lines = text.lines().enumerate().filter(|(_, line)| place.is_match(line));
        complaints.extend(lines.map(|(index, line)| format!("{path}:{}: {}", index + 1, line.trim())));
    }
    expect_none("a path that exists on one machine only", complaints)
}

/// What a simulation cannot put a clock of its own in the place of makes its histories different each time.
#[test]
fn only_the_clock_reads_clocks() -> Outcome {
    let clocks = Regex::new(r"\bSystemTime\b|std::time::(?:Instant\b|\{[^}]*\bInstant\b)")?;
    let is_engine = |path: &String| path.starts_with("src/") && !path.starts_with("src/bin/") && path != "src/clock.rs";
    let mut complaints = Vec::new();
    for path in rust_files()?.into_iter().filter(is_engine) {
        let text = read(&path)?;
        let lines = text.lines().enumerate().filter(|(_, line)| clocks.is_match(line));
        complaints.extend(lines.map(|(index, line)| format!("{path}:{}: {}", index + 1, line.trim())));
    }
    expect_none("time is told by src/clock.rs", complaints)
}
