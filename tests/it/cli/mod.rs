//! The command line as its users meet it: the real executable, its exit codes, what it prints and where.
//!
//! Clusters here are librdkafka's mock clusters, which start in milliseconds; what has to be shown on real brokers is in
//! `kafka`. No test asserts how long something takes; each ends by [`LIMIT`] when the command hangs.

mod demo;
mod flows;
mod forms;
mod hostile;
mod limits;
mod mirror;
mod mock;
mod signals;
mod unreachable;
mod usage;
mod verify;

use std::ffi::OsStr;
use std::time::Duration;

use crate::support::process::Kmirror;
use crate::support::{Outcome, fail};

/// A command that runs longer hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// How a command ended.
pub(super) struct Finished {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs `kmirror ARGS` to its end.
pub(super) fn run<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> Outcome<Finished> {
    finish(Kmirror::start(args)?)
}

/// Waits for the end of a command.
pub(super) fn finish(mut kmirror: Kmirror) -> Outcome<Finished> {
    let status = kmirror.wait(LIMIT)?;
    Ok(Finished { code: status.code(), stdout: kmirror.stdout(), stderr: kmirror.stderr() })
}

impl Finished {
    /// Demands an exit code, and these words on standard error.
    pub(super) fn expect(self, code: i32, words: &[&str]) -> Outcome<Self> {
        if self.code != Some(code) {
            return fail(format!("exit code {:?} instead of {code}; {self}", self.code));
        }
        match words.iter().find(|words| !self.stderr.contains(**words)) {
            Some(words) => fail(format!("standard error does not say '{words}'; {self}")),
            None if self.stderr.contains("panicked") => fail(format!("it panicked; {self}")),
            None => Ok(self),
        }
    }

    /// Standard output as one JSON document.
    pub(super) fn json(&self) -> Outcome<serde_json::Value> {
        match serde_json::from_str(&self.stdout) {
            Ok(document) => Ok(document),
            Err(error) => fail(format!("standard output is no JSON document: {error}; {self}")),
        }
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "standard output:\n{}\nstandard error:\n{}", self.stdout, self.stderr)
    }
}
