//! The floors of the house: an import goes down, never up, and the rooms that decide never import those that talk.
//!
//! Which room is on which floor stands in `src/manual/architecture.md`, and nowhere else. The arrows that go up still are listed here,
//! so that none is added; one that is gone has to leave the list.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use super::{expect_none, files, read};
use crate::support::{Outcome, fail};

/// From one room to another.
const STILL_THERE: &[(&str, &str)] = &[("control", "promote"), ("promote", "mirror")];

/// Rooms on one floor that must not know of each other.
const APART: [(&str, &str); 4] = [("machine", "wire"), ("wire", "machine"), ("batch", "wire"), ("batch", "machine")];

/// The floor of each room, as the table in the manual has it.
fn floors() -> Outcome<BTreeMap<String, u32>> {
    let row = Regex::new(r"(?m)^\| (\d) [^|]*\| ([^|]*)\|")?;
    let name = Regex::new(r"`(\w+)`")?;
    let text = read("src/manual/architecture.md")?;
    let mut floors = BTreeMap::new();
    for row in row.captures_iter(&text) {
        let floor = row[1].parse()?;
        for name in name.captures_iter(&row[2]) {
            if floors.insert(name[1].to_owned(), floor).is_some() {
                return fail(format!("the room {} is on two floors", &name[1]));
            }
        }
    }
    Ok(floors)
}

/// What a file imports of other rooms, outside of its tests.
fn imports(text: &str) -> Outcome<BTreeSet<String>> {
    let without_tests: String = text
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .map(|line| format!("{}\n", line.split("//").next().unwrap_or_default()))
        .collect();
    let path = Regex::new(r"\bcrate::(\w+|\{[^;]*\})")?;
    let inside = Regex::new(r"[{,]\s*(\w+)")?;
    let mut found = BTreeSet::new();
    for path in path.captures_iter(&without_tests) {
        match path[1].starts_with('{') {
            true => found.extend(inside.captures_iter(&path[1]).map(|name| name[1].to_owned())),
            false => drop(found.insert(path[1].to_owned())),
        }
    }
    Ok(found)
}

/// Whether a room may not import another.
fn goes_up(floors: &BTreeMap<String, u32>, from: &str, to: &str) -> bool {
    floors.get(to) > floors.get(from) || APART.contains(&(from, to))
}

#[test]
fn every_import_goes_down() -> Outcome {
    let floors = floors()?;
    let (mut complaints, mut seen) = (Vec::new(), BTreeSet::new());
    let is_part = |path: &String| {
        let left_out = ["src/bin/", "src/lib.rs", "src/machine/simulation/", "src/batch/fuzz", "src/batch/samples"];
        path.starts_with("src/")
            && path.ends_with(".rs")
            && !path.ends_with("tests.rs")
            && !path.contains("/tests/")
            && !left_out.iter().any(|place| path.starts_with(place))
    };
    let parts: Vec<String> = files()?.into_iter().filter(is_part).collect();
    assert!(parts.len() > 150, "only {} files were found", parts.len());
    for path in parts {
        let from = path["src/".len()..].split(['/', '.']).next().unwrap_or_default().to_owned();
        if !floors.contains_key(&from) {
            complaints.push(format!("{path}: the room '{from}' is on no floor of src/manual/architecture.md"));
        }
        for to in imports(&read(&path)?)? {
            // Names that the library gives away are those of their rooms.
            if to == from || !floors.contains_key(&to) || !goes_up(&floors, &from, &to) {
                continue;
            }
            match STILL_THERE.iter().find(|arrow| **arrow == (&*from, &*to)) {
                Some(arrow) => drop(seen.insert(*arrow)),
                None => complaints
                    .push(format!("{path} imports '{to}', which is above '{from}' or has to be apart from it")),
            }
        }
    }
    let gone = STILL_THERE.iter().filter(|arrow| !seen.contains(arrow));
    complaints.extend(gone.map(|(from, to)| format!("'{from}' does not import '{to}' any more: take it off the list")));
    expect_none("imports go down (src/manual/architecture.md, floors)", complaints)
}

#[test]
fn the_floors_find_what_they_are_for() -> Outcome {
    let floors = floors()?;
    for (from, to, wrong) in [
        ("wire", "control", true),
        ("machine", "wire", true),
        ("batch", "wire", true),
        ("event", "terms", false),
        ("error", "event", true),
        ("control", "wire", false),
        ("verify", "plan", false),
        ("stream", "mirror", true),
    ] {
        assert!(floors.contains_key(from) && floors.contains_key(to), "{from}, {to}");
        assert_eq!(goes_up(&floors, from, to), wrong, "{from} imports {to}");
    }
    let text = "use crate::{batch::Header, wire};\nfn f() { crate::text::cut() } // crate::plan\n#[cfg(test)]\nuse crate::control;";
    assert_eq!(imports(text)?.into_iter().collect::<Vec<_>>(), ["batch", "text", "wire"]);
    Ok(())
}
