//! The command line of kmirror.
//!
//! It uses the library's public interface and nothing else, so whatever it does a program that embeds the engine can do
//! too. Results go to standard output, everything else to standard error; what the exit codes mean is in the help.
#![forbid(unsafe_code)]

use std::process::ExitCode;

mod args;
mod config;
mod demo;
mod logs;
mod output;
mod plan;
mod progress;
mod promote;
mod reverse;
mod run;
mod settings;
mod signals;
mod summary;
mod text;
mod verify;

fn main() -> ExitCode {
    match args::parse() {
        Ok(args::Command::Run(options)) => run::command(&options),
        Ok(args::Command::Plan(options)) => plan::command(&options),
        Ok(args::Command::Verify(arguments)) => verify::command(&arguments),
        Ok(args::Command::Promote(arguments)) => promote::command(&arguments),
        Ok(args::Command::Demo(options)) => demo::command(&options),
        Ok(args::Command::Config(options)) => config::command(&options),
        Err(code) => code,
    }
}
