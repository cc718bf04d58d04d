//! Runs the tools that tests of the bindings need: compilers, cargo, python.
//!
//! A tool that is missing, or that fails, ends the test with a sentence and with what the tool said.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::failure::Context;
use super::{Outcome, fail, nursery};

/// Runs a tool to its end and returns what it printed; `missing` says how to get it.
pub(crate) fn run(command: &mut Command, missing: &str) -> Outcome<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = match command.stdin(Stdio::null()).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return fail(format!("{program} was not found: {missing}"));
        }
        other => other.context(format!("cannot start {program}"))?,
    };
    said(&format!("{command:?}"), &output).map(|(stdout, _)| stdout)
}

/// Runs a program of a test to its end, as a child that does not outlive the tests; returns what it has printed.
pub(crate) fn run_program(command: Command) -> Outcome<String> {
    run_with_stderr(command).map(|(stdout, _)| stdout)
}

/// As [`run_program`]; returns what it has printed to standard output and to standard error.
pub(crate) fn run_with_stderr(mut command: Command) -> Outcome<(String, String)> {
    let name = format!("{command:?}");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = nursery::spawn(command)?.wait_with_output()?;
    said(&name, &output)
}

fn said(what: &str, output: &std::process::Output) -> Outcome<(String, String)> {
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    match output.status.success() {
        true => Ok((stdout, stderr)),
        false => fail(format!("{what} ended with {}:\n{stdout}{stderr}", output.status)),
    }
}

/// Builds a package of the workspace and returns the directory with what came of it. `cargo test` builds what the tests link to,
/// which a shared library for other languages is not: without this, the tests would try an old one.
pub(crate) fn build(package: &str) -> Outcome<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--package", package]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("..").canonicalize()?;
    cargo.arg("--target-dir").arg(&target);
    run(&mut cargo, "it is part of Rust")?;
    Ok(target.join("debug"))
}
