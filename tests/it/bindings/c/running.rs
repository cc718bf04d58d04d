//! Mirrors in C while a topic is written to all the time: lag that comes and goes, careless hosts, many starts and stops.
//!
//! The programs judge by themselves; here they get what they need, and what was copied is compared once more by the ledger.

use std::path::{Path, PathBuf};

use super::{compile, root, serve, written};
use crate::support::cluster::{Cluster, Options, Pair, shared, unique};
use crate::support::records::{Generator, Load, Writing, produce};
use crate::support::{Failure, Outcome, ledger, nursery, tool};

/// A program of `tests/c`, compiled. Before a topic is written to all the time: what is written meanwhile would have to be copied, too.
fn compiled(name: &str) -> Outcome<PathBuf> {
    compile(&root().join(format!("tests/c/{name}.c")), name, &[])
}

/// Runs a program with its arguments to its end; returns what it printed.
fn run(program: &Path, arguments: &[&str]) -> Outcome<String> {
    let mut command = nursery::command(program);
    command.args(arguments);
    tool::run_program(command)
}

/// A topic that is written to all the time.
fn busy(source: &Cluster, name: &str) -> Outcome<(String, Load)> {
    let topic = unique(name);
    source.create_topic(&topic, 2, &[])?;
    let load = Load::start(&source.bootstrap(), &topic, 2, 500, 11, &Writing { live: true, ..Writing::default() })?;
    load.wait_for_more(1)?;
    Ok((topic, load))
}

#[test]
fn lag_is_told_once_above_and_once_below_when_the_target_stands_still() -> Outcome {
    let source = &shared()?.source;
    let target = Cluster::start(Options::default())?;
    let program = compiled("lag")?;
    let (topic, load) = busy(source, "c-lag")?;
    let pid = target.pid(1).ok_or_else(|| Failure("the target's broker has no process".to_owned()))?;
    let outcome = run(&program, &[&source.bootstrap(), &target.bootstrap(), &topic, &pid.to_string()]);
    // A program that fails in between has left it standing still.
    target.resume(1).ok();
    outcome?;
    load.stop()?;
    Ok(())
}

#[test]
fn a_careless_host_gets_errors_and_no_crash_and_no_hang() -> Outcome {
    let pair = shared()?;
    let program = compiled("careless")?;
    let (topic, load) = busy(&pair.source, "c-careless")?;
    run(&program, &[&pair.source.bootstrap(), &pair.target.bootstrap(), &topic])?;
    load.stop()?;
    Ok(())
}

/// A topic that cannot be copied, as the target has records of somebody else in it.
pub(crate) fn occupied(pair: &Pair, name: &str) -> Outcome<String> {
    let topic = written(pair, name)?;
    pair.target.create_topic(&topic, 2, &[])?;
    produce(&pair.target.bootstrap(), &topic, 0, Generator::new(9).take(20), &Writing::default())?;
    Ok(topic)
}

#[test]
fn a_program_that_does_not_listen_hears_warnings_all_the_same() -> Outcome {
    let pair = shared()?;
    let program = compiled("unheard")?;
    let topic = occupied(pair, "c-unheard")?;
    for (logs, heard) in [("unset", true), ("nowhere", false)] {
        let mut command = nursery::command(&program);
        command.args([&pair.source.bootstrap(), &pair.target.bootstrap(), &topic, logs]);
        let (_, said) = tool::run_with_stderr(command)?;
        let warning = |line: &&str| line.starts_with("kmirror: error: partition parked") && line.contains(&topic);
        assert_eq!(said.lines().any(|line| warning(&line)), heard, "{logs}: {said}");
        assert!(!said.contains("info: "), "{said}");
    }
    Ok(())
}

#[test]
fn calls_that_wait_are_given_up_and_leave_nothing_behind() -> Outcome {
    let pair = shared()?;
    let program = compiled("cancelled")?;
    let (topic, load) = busy(&pair.source, "c-cancelled")?;
    run(&program, &[&pair.source.bootstrap(), &pair.target.bootstrap(), &topic])?;
    load.stop()?;
    Ok(())
}

#[test]
fn starts_and_stops_leave_nothing_behind() -> Outcome {
    cycles(15)
}

#[test]
#[ignore = "long: make nightly"]
fn a_thousand_starts_and_stops_leave_nothing_behind() -> Outcome {
    cycles(1_000)
}

fn cycles(count: usize) -> Outcome {
    let pair = shared()?;
    let topic = written(pair, "c-cycles")?;
    print!(
        "{}",
        run(&compiled("cycles")?, &[&pair.source.bootstrap(), &pair.target.bootstrap(), &topic, &count.to_string()])?
    );
    ledger::expect_identical(&pair.source.bootstrap(), &pair.target.bootstrap(), &topic, super::RECORDS).map(drop)
}

#[test]
fn the_examples_run_as_they_are() -> Outcome {
    let pair = shared()?;
    let topics = [written(pair, "c-minimal")?, written(pair, "c-service")?, written(pair, "c-service")?];
    let minimal = compile(&root().join("tests/examples/c/minimal.c"), "minimal", &[])?;
    let mut command = nursery::command(minimal);
    command.arg(pair.source.bootstrap()).arg(pair.target.bootstrap()).arg(&topics[0]);
    let said = tool::run_program(command)?;
    assert!(said.contains(&format!("identical after {} records", super::RECORDS)), "{said}");
    let service = compile(&root().join("tests/examples/c/service.c"), "service", &[])?;
    serve(nursery::command(service), pair, &topics[1..])?;
    topics.iter().try_for_each(|topic| super::expect_copied(pair, topic))
}
