//! What `plan` and `check` have in common: they look at every mirror of the configuration, run none, and print what was found.
//! What cannot be looked at ends the command with its own exit code.

use kmirror::config::Config;
use serde::Serialize;

use crate::args::{LogFormat, LookOptions};
use crate::exit::ExitCode;
use crate::progress::Display;
use crate::{logs, output, settings};

/// Looks at each, prints all, and returns what was found.
pub(crate) fn at_each<T: Serialize>(
    options: &LookOptions,
    look: impl Fn(Config) -> kmirror::Result<T>,
    text: impl Fn(&T) -> String,
) -> Result<Vec<T>, ExitCode> {
    let found = logs::start(LogFormat::Text, Display::new())
        .and_then(|()| settings::configure(&options.mirror))
        .and_then(|configs| configs.into_iter().map(look).collect::<kmirror::Result<Vec<T>>>())
        .map_err(|error| {
            output::complain(error.message());
            ExitCode::from(error.kind().exit_code())
        })?;
    match &found[..] {
        [one] if options.json => output::print_json(one),
        all if options.json => output::print_json(&all),
        all => output::print(&all.iter().map(text).collect::<Vec<_>>().join("\n")),
    }
    Ok(found)
}
