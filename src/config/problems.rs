//! Gathers what is wrong and what is only worth a warning, and puts all of it into one error, in the order of the
//! files.

use std::fmt;

use super::collect::Origin;
use crate::error::{Error, ErrorKind};

/// Something in the configuration that works, but perhaps not as meant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// The key as it is written.
    pub key: String,
    /// `file:line`, or what the user wrote; empty if it was set by a call.
    pub origin: String,
    /// What to know about it.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&line(&self.origin, &self.key, &self.message))
    }
}

fn line(origin: &str, key: &str, message: &str) -> String {
    let parts = [origin, key, message];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
}

/// What was found so far.
#[derive(Default)]
pub(super) struct Report {
    problems: Vec<(usize, String)>,
    warnings: Vec<(usize, Warning)>,
}

/// The place of what is about no line: after all lines.
pub(super) const AT_END: usize = usize::MAX;

impl Report {
    /// Adds a problem with what stood at this place of the order.
    pub(super) fn problem(&mut self, order: usize, origin: Option<&Origin>, key: &str, what: &str) {
        let origin = origin.map(Origin::to_string).unwrap_or_default();
        self.problems.push((order, line(&origin, key, what)));
    }

    /// Adds a warning.
    pub(super) fn warning(&mut self, order: usize, origin: Option<&Origin>, key: &str, message: impl Into<String>) {
        let origin = origin.map(Origin::to_string).unwrap_or_default();
        self.warnings.push((order, Warning { key: key.to_owned(), origin, message: message.into() }));
    }

    /// The warnings, or the error that lists every problem on a line of its own.
    pub(super) fn finish(mut self) -> Result<Vec<Warning>, Error> {
        self.problems.sort_by_key(|(order, _)| *order);
        self.warnings.sort_by_key(|(order, _)| *order);
        let message = match self.problems.as_slice() {
            [] => return Ok(self.warnings.into_iter().map(|(_, warning)| warning).collect()),
            [(_, only)] => only.clone(),
            several => {
                let lines: String = several.iter().map(|(_, line)| format!("\n  {line}")).collect();
                format!("the configuration has {} problems:{lines}", several.len())
            }
        };
        Err(Error::new(ErrorKind::Config, message))
    }
}
