//! The README's examples in Rust and for the command line, run as they are written between real clusters. Those of other languages
//! run where the bindings are tested.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::c::{expect_copied, written};
use crate::support::cluster::shared;
use crate::support::process::Kmirror;
use crate::support::{Outcome, fail, nursery, readme, tool, wait_for};

/// What takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// The engine that these tests are linked to: the last one that was built before them. One that is just being built is later.
fn engine() -> Outcome<PathBuf> {
    let tests = std::env::current_exe()?;
    let built = |path: &Path| path.metadata().and_then(|metadata| metadata.modified());
    let linked = built(&tests)?;
    let directory = tests.with_file_name("");
    let names = fs::read_dir(&directory)?.flatten().map(|entry| entry.path());
    let engines = names.filter(|path| path.extension().is_some_and(|extension| extension == "rlib"));
    let engines =
        engines.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libkmirror-")));
    let before = engines.filter_map(|path| Some((built(&path).ok().filter(|time| *time <= linked)?, path)));
    match before.max() {
        Some((_, engine)) => Ok(engine),
        None => fail(format!("there is no libkmirror-*.rlib in {}", directory.display())),
    }
}

#[test]
fn the_rust_example_of_the_readme_runs() -> Outcome {
    let pair = shared()?;
    let topic = written(pair, "rust-readme")?;
    let directory = nursery::directory("rust-readme")?;
    fs::write(directory.join("main.rs"), readme::example("rust,no_run", pair, &topic)?)?;
    let engine = engine()?;
    let mut rustc = Command::new("rustc");
    rustc.current_dir(&directory).args(["--edition", "2024", "main.rs", "-o", "quickstart"]);
    rustc.arg("--extern").arg(format!("kmirror={}", engine.display()));
    rustc.arg("-L").arg(format!("dependency={}", engine.with_file_name("").display()));
    tool::run(&mut rustc, "it is part of Rust")?;
    let said = tool::run_program(nursery::command(directory.join("quickstart")))?;
    assert_eq!(said, "0 records behind\n");
    expect_copied(pair, &topic)
}

#[test]
fn the_command_lines_of_the_readme_run() -> Outcome {
    let pair = shared()?;
    let topic = written(pair, "cli-readme")?;
    let examples = readme::examples("sh", pair, &topic)?.concat();
    let lines: Vec<_> = examples.lines().filter(|line| line.starts_with("kmirror run ")).collect();
    let [until_stopped, until_caught_up] = lines[..] else {
        return fail(format!("the README runs other mirrors than this test knows: {lines:?}"));
    };
    let directory = nursery::directory("cli-readme")?;
    for (name, cluster) in [("consumer", &pair.source), ("producer", &pair.target)] {
        fs::write(
            directory.join(format!("{name}.properties")),
            format!("bootstrap.servers={}\n", cluster.bootstrap()),
        )?;
    }
    let shell = |line: &str| {
        let mut shell = nursery::command("sh");
        let line = line.replacen("kmirror", &format!("exec {}", env!("CARGO_BIN_EXE_kmirror")), 1);
        shell.current_dir(&directory).arg("-c").arg(line);
        shell
    };
    tool::run_program(shell(until_caught_up))?;
    expect_copied(pair, &topic)?;

    let mut running = Kmirror::start_as(shell(until_stopped), directory.clone())?;
    wait_for("in sync", LIMIT, || Ok(running.stderr().contains("in sync").then_some(())))?;
    running.signal(Signal::SIGINT)?;
    let status = running.wait(LIMIT)?;
    assert_eq!(status.code(), Some(130), "{}", running.stderr());
    Ok(())
}
