//! What is wrong before any cluster is asked: exit code 2, and a sentence for each problem.
//! Every problem is told at once, and nothing is connected to.

use std::fs;
use std::process::Stdio;

use super::{LIMIT, run};
use crate::support::{Outcome, nursery, wait_for};

const CLUSTERS: [&str; 4] =
    ["--set", "source.bootstrap.servers=a.invalid:1", "--set", "target.bootstrap.servers=b.invalid:1"];

/// `kmirror run` with valid clusters and something more.
fn arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
    ["run"].iter().chain(&CLUSTERS).chain(more).copied().collect()
}

#[test]
fn nothing_at_all_shows_the_help() -> Outcome {
    let none: [&str; 0] = [];
    run(none)?.expect(2, &["Usage: kmirror", "run", "config", "demo", "Exit codes"])?;
    let help = run(["--help"])?.expect(0, &[])?;
    assert!(help.stdout.contains("Usage: kmirror") && help.stderr.is_empty());
    let version = run(["--version"])?.expect(0, &[])?;
    assert_eq!(version.stdout.trim(), concat!("kmirror ", env!("CARGO_PKG_VERSION")));
    Ok(())
}

#[test]
fn a_misspelt_flag_is_named_with_its_neighbour() -> Outcome {
    run(["run", "--until-cought-up"])?.expect(2, &["kmirror: unexpected argument", "--until-caught-up"])?;
    run(["run", "--set", "topics"])?.expect(2, &["--set", "KEY=VALUE"])?;
    // Where a blank is in place of '=', what stands behind it may be a secret.
    for secret in [&["--set", "sasl.password canary"][..], &["--set", "sasl.password", "canary"], &["canary"]] {
        let finished = run(["run"].iter().chain(secret))?.expect(2, &["'='", "may be a secret"])?;
        assert!(!finished.stderr.contains("canary") && !finished.stdout.contains("canary"), "{finished}");
    }
    run(["run", "--timeout", "soon"])?.expect(2, &["--timeout", "number of seconds"])?;
    run(["run", "--timeout=-1"])?.expect(2, &["--timeout", "number of seconds"])?;
    Ok(())
}

#[test]
fn commands_that_do_not_exist_yet_are_not_offered() -> Outcome {
    for command in ["status", "lag"] {
        run([command])?.expect(2, &["unrecognized subcommand"])?;
    }
    Ok(())
}

#[test]
fn a_switch_over_takes_no_flags_that_contradict_each_other() -> Outcome {
    run(["promote", "--undo", "--force"])?.expect(2, &["--undo", "cannot be used with"])?;
    run(["promote", "--timeout", "soon"])?.expect(2, &["--timeout", "number of seconds"])?;
    run(["run", "--reverse", "--until-caught-up"])?.expect(2, &["--reverse", "cannot be used with"])?;
    let help = run(["promote", "--help"])?.expect(0, &[])?;
    assert!(help.stdout.contains("--undo") && help.stdout.contains("--force"), "{help}");
    let help = run(["run", "--help"])?.expect(0, &[])?;
    assert!(help.stdout.contains("--reverse") && help.stdout.contains("fresh topics"), "{help}");
    let clusters = CLUSTERS.iter().chain(&["--set", "name=x", "--json"]);
    let document = run(["promote"].iter().chain(clusters))?.expect(3, &["b.invalid"])?.json()?;
    assert_eq!((&document["outcome"], &document["report"]), (&"failed".into(), &serde_json::Value::Null));
    run(arguments(&["--reverse"]))?.expect(3, &["b.invalid"])?;
    Ok(())
}

#[test]
fn missing_clusters_are_both_named() -> Outcome {
    for command in ["run", "plan", "promote"] {
        let finished = run([command])?.expect(2, &["source.bootstrap.servers", "target.bootstrap.servers"])?;
        assert!(finished.stdout.is_empty());
    }
    Ok(())
}

#[test]
fn all_problems_are_told_at_once() -> Outcome {
    let more = [
        "--set",
        "topixs=a",
        "--set",
        "source.fetch.max.byte=1",
        "--num.streams",
        "900",
        "--include",
        "(",
        "--set",
        "buffer.memory=much",
    ];
    let finished = run(arguments(&more))?.expect(
        2,
        &[
            "kmirror: the configuration has 5 problems",
            "topixs",
            "source.fetch.max.byte",
            "--num.streams",
            "--include",
            "buffer.memory",
        ],
    )?;
    let lines = finished.stderr.lines().filter(|line| line.starts_with("  ")).count();
    assert_eq!(lines, 5, "a line each:\n{}", finished.stderr);
    Ok(())
}

#[test]
fn a_file_is_named_with_its_line() -> Outcome {
    let directory = nursery::directory("properties")?;
    let consumer = directory.join("consumer.properties");
    fs::write(&consumer, "bootstrap.servers=a.invalid:9092\nfetch.min.bites=1\n")?;
    let producer = directory.join("producer.properties");
    fs::write(&producer, "bootstrap.servers=b.invalid:9092\nmax.in.flight.requests.per.connection=6\n")?;
    let (consumer, producer) = (consumer.display().to_string(), producer.display().to_string());
    let args = ["run", "--consumer.config", &consumer, "--producer.config", &producer];
    run(args)?.expect(2, &["consumer.properties:2", "fetch.min.bites", "fetch.min.bytes", "producer.properties:2"])?;
    Ok(())
}

#[test]
fn all_files_that_cannot_be_read_are_named() -> Outcome {
    let args = ["run", "--consumer.config", "no-such-file", "--producer.config", "nor-this", "--config", "."];
    run(args)?.expect(2, &["3 files cannot be read", "no-such-file", "nor-this", "."])?;
    Ok(())
}

#[test]
fn what_this_version_cannot_do_is_an_error() -> Outcome {
    run(arguments(&["--set", "source.security.protocol=SSL"]))?.expect(2, &["security.protocol", "PLAINTEXT"]).map(drop)
}

#[test]
fn flags_of_mirror_maker_1_are_answered() -> Outcome {
    let handler = ["--message.handler", "com.example.Handler"];
    run(arguments(&handler))?.expect(2, &["--message.handler", "runs no code on records"])?;
    run(arguments(&["--abort.on.send.failure", "false"]))?.expect(2, &["--abort.on.send.failure", "silently"])?;
    // These lose nothing, so the command goes on, and finds that the clusters do not exist.
    let more = ["--new.consumer", "--offset.commit.interval.ms", "60000", "--whitelist", "a|b", "--blacklist", "c"];
    run(arguments(&more))?.expect(3, &["WARN", "--new.consumer", "--offset.commit.interval.ms", "a.invalid"])?;
    Ok(())
}

#[test]
fn a_secret_on_the_command_line_is_warned_of_and_never_shown() -> Outcome {
    let more = ["--set", "source.sasl.password=canary", "--set", "target.ssl.key.password=canary", "--json"];
    let finished = run(arguments(&more))?
        .expect(2, &["WARN", "list of processes", "source.sasl.password", "target.ssl.key.password"])?;
    assert!(!finished.to_string().contains("canary"), "{finished}");
    Ok(())
}

#[test]
fn the_log_filter_is_checked() -> Outcome {
    let kmirror = crate::support::process::Kmirror::start_with(arguments(&[]), &[("KMIRROR_LOG", "kmirror=loud")])?;
    super::finish(kmirror)?.expect(2, &["KMIRROR_LOG"])?;
    Ok(())
}

#[test]
fn log_lines_can_all_be_json() -> Outcome {
    let finished = run(arguments(&["--log-format", "json", "--new.consumer"]))?.expect(3, &["a.invalid"])?;
    for line in finished.stderr.lines() {
        let parsed: serde_json::Value = serde_json::from_str(line)?;
        assert!(parsed["level"].is_string(), "{line}");
    }
    Ok(())
}

#[test]
fn a_failure_is_a_json_document_too() -> Outcome {
    let document = run(arguments(&["--json"]))?.expect(3, &["a.invalid"])?.json()?;
    assert_eq!(document["outcome"], "failed");
    assert_eq!(document["exit_code"], 3);
    assert_eq!(document["error"]["kind"], "connect");
    assert!(document["error"]["message"].as_str().is_some_and(|message| message.contains("a.invalid")));
    let document = run(["run", "--json"])?.expect(2, &[])?.json()?;
    assert_eq!(document["error"]["kind"], "config");
    Ok(())
}

#[test]
fn the_table_of_properties_is_printed() -> Outcome {
    let text = run(["config"])?.expect(0, &[])?;
    for key in ["bootstrap.servers", "topics.exclude", "buffer.memory", "max.in.flight.requests.per.connection"] {
        assert!(text.stdout.contains(key), "{key}");
    }
    assert!(text.stderr.is_empty());
    let document = run(["config", "--json"])?.expect(0, &[])?.json()?;
    let rows = document.as_array().expect("a list of properties");
    assert!(rows.iter().any(|row| row["key"] == "topics" && row["default"] == ".*" && row["scope"] == "mirror"));
    for row in rows {
        assert!(text.stdout.contains(row["key"].as_str().unwrap_or("no key")), "{row}");
    }
    Ok(())
}

#[test]
fn readers_that_have_gone_away_are_no_error() -> Outcome {
    for (args, code) in [(vec!["config"], 0), (vec!["--help"], 0), (arguments(&["--json"]), 3), (vec!["run"], 2)] {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let mut command = nursery::command(env!("CARGO_BIN_EXE_kmirror"));
        command.args(&args).stdout(Stdio::from(writer.try_clone()?)).stderr(Stdio::from(writer));
        let mut child = nursery::spawn(command)?;
        let status = wait_for("kmirror ends", LIMIT, || Ok(child.try_wait()?))?;
        assert_eq!(status.code(), Some(code), "{args:?}");
    }
    Ok(())
}
