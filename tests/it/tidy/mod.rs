//! What has to agree, or to be kept, in the repository itself: the checks that would otherwise be somebody's memory.
//!
//! They read files and start nothing but git, so they take no time: `cargo test --test it tidy`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::failure::Context;
use crate::support::{Failure, Outcome, fail};

mod c_header;
mod facts;
mod files;
mod floors;
mod reads;

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file, named by its path from the root.
fn read(path: &str) -> Outcome<String> {
    fs::read_to_string(root().join(path)).context(path)
}

/// The paths from the root of all files of the repository: what git knows, or, in an unpacked archive, what is there.
fn files() -> Outcome<Vec<String>> {
    if !root().join(".git").exists() {
        let mut found = Vec::new();
        walk(root(), &mut found)?;
        return Ok(found);
    }
    // Whose the directory is does not matter for a list of names.
    let mut git = Command::new("git");
    git.args(["-c", "safe.directory=*", "ls-files", "-z"]).current_dir(root());
    let listed = git.output().context("git, which knows the files of the repository, cannot be started")?;
    if !listed.status.success() {
        return fail(format!("git ls-files: {}", String::from_utf8_lossy(&listed.stderr)));
    }
    let paths = String::from_utf8(listed.stdout)?;
    let exists = |path: &&str| root().join(path).exists();
    Ok(paths.split_terminator('\0').filter(exists).map(str::to_owned).collect())
}

fn walk(directory: &Path, found: &mut Vec<String>) -> Outcome {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() && !["target", "__pycache__"].contains(&name.as_str()) {
            walk(&path, found)?;
        } else if path.is_file() {
            found.push(from_root(&path)?);
        }
    }
    Ok(())
}

fn from_root(path: &Path) -> Outcome<String> {
    let path: PathBuf = path.strip_prefix(root())?.to_owned();
    path.into_os_string().into_string().map_err(|path| Failure(format!("{path:?} is not UTF-8")))
}

/// All complaints at once, each on a line of its own.
fn expect_none(what: &str, complaints: Vec<String>) -> Outcome {
    if complaints.is_empty() { Ok(()) } else { fail(format!("{what}:\n  {}", complaints.join("\n  "))) }
}
