//! The command line of kmirror.
//!
//! It uses the library's public interface and nothing else, so whatever it does a program that embeds the engine can do
//! too. Results go to standard output, everything else to standard error; what the exit codes mean is in the help. It is a library as
//! well, of which the Python module makes its command `kmirror`.
#![forbid(unsafe_code)]

use std::ffi::OsString;

mod args;
mod check;
mod config;
mod demo;
mod exit;
mod flows;
mod logs;
mod looking;
mod output;
mod plan;
mod progress;
mod promote;
mod reverse;
mod run;
mod screen;
mod settings;
mod signals;
mod summary;
mod text;
mod verify;

pub use exit::ExitCode;

#[allow(dead_code, reason = "the library has none")]
fn main() -> ExitCode {
    let program = std::env::current_exe().map(OsString::from).unwrap_or_default();
    run(std::env::args_os(), &[program])
}

/// Does what the arguments say; the first of them is the name of the program. How this program is started is told for
/// commands that start another one of it.
pub fn run(arguments: impl IntoIterator<Item = OsString>, program: &[OsString]) -> ExitCode {
    let code = match args::parse(arguments) {
        Ok(args::Command::Run(options)) => run::command(&options),
        Ok(args::Command::Plan(options)) => plan::command(&options),
        Ok(args::Command::Check(options)) => check::command(&options),
        Ok(args::Command::Verify(arguments)) => verify::command(&arguments),
        Ok(args::Command::Promote(arguments)) => promote::command(&arguments),
        Ok(args::Command::Demo(options)) => demo::command(&options, program),
        Ok(args::Command::Config(options)) => config::command(&options),
        Err(code) => code,
    };
    screen::finish(signals::interrupted);
    output::settle(code)
}
