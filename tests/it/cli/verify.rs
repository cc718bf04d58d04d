//! `kmirror verify` between two mock clusters: what it prints and how it ends.
//! What it finds is tried on real brokers; mocks hold logs that are equal, or not, and that is enough here.

use super::mock::{Mocks, fill};
use super::{finish, run};
use crate::support::process::Kmirror;
use crate::support::records::{Record, Writing, produce};
use crate::support::{Outcome, wait_for};

/// The same as for `kmirror run`, for `kmirror verify`.
fn arguments(mocks: &Mocks, topics: &str, more: &[&str]) -> Vec<String> {
    let mut arguments = mocks.arguments(topics, more);
    arguments[0] = "verify".to_owned();
    arguments
}

fn filled(topics: &[(&str, i32)], records: usize) -> Outcome<Mocks> {
    let mocks = Mocks::start(topics)?;
    for (topic, partitions) in topics {
        for partition in 0..*partitions {
            fill(&mocks.source, topic, partition, records)?;
            fill(&mocks.target, topic, partition, records)?;
        }
    }
    Ok(mocks)
}

fn one(value: &str) -> [Record; 1] {
    [Record { key: None, value: Some(value.into()), headers: Vec::new(), timestamp: 1_700_000_000_000 }]
}

#[test]
fn identical_is_the_last_line_and_exit_code_0() -> Outcome {
    let mocks = filled(&[("orders", 2), ("clicks", 1)], 200)?;
    let finished = run(arguments(&mocks, "orders,clicks", &[]))?.expect(0, &[])?;
    let last = finished.stdout.lines().last();
    assert_eq!(last, Some("identical: 600 records in 3 partitions of 2 topics"), "{finished}");
    let narrowed = run(arguments(&mocks, "orders,clicks", &["--topics", "cl.*"]))?.expect(0, &[])?;
    assert!(narrowed.stdout.ends_with("identical: 200 records in 1 partition of 1 topic\n"), "{narrowed}");

    let document = run(arguments(&mocks, "orders,clicks", &["--json"]))?.expect(0, &[])?.json()?;
    assert_eq!(document["command"], "verify");
    assert_eq!(document["outcome"], "identical");
    assert_eq!(document["exit_code"], 0);
    assert_eq!(document["result"], document["report"], "the name it had first");
    assert_eq!(document["report"]["identical"], true);
    assert_eq!(document["report"]["records_compared"], 600);
    assert_eq!(document["report"]["details"][2]["topic"], "orders");
    assert_eq!(document["report"]["details"][2]["source_offset_end"], 200);
    Ok(())
}

#[test]
fn differences_are_listed_and_exit_code_6() -> Outcome {
    let mocks = filled(&[("orders", 2)], 100)?;
    for (cluster, value) in [(&mocks.source, "right"), (&mocks.target, "wrong")] {
        for _ in 0..3 {
            produce(&cluster.bootstrap_servers(), "orders", 1, one(value), &Writing::default())?;
        }
    }
    let finished = run(arguments(&mocks, "orders", &[]))?.expect(6, &[])?;
    let line = "orders-1 offset 100: different: value (source 5 bytes, target 5 bytes, others from byte 0)\n";
    assert!(finished.stdout.starts_with(line), "{finished}");
    assert!(
        finished.stdout.ends_with("different: 203 records in 2 partitions of 1 topic; 3 different\n"),
        "{finished}"
    );

    let document = run(arguments(&mocks, "orders", &["--json", "--differences", "2"]))?.expect(6, &[])?.json()?;
    assert_eq!(document["outcome"], "different");
    assert_eq!(document["error"]["kind"], "verification_failed");
    assert_eq!(document["error"]["partition"], 1);
    assert_eq!(document["report"]["counts"]["different"], 3);
    assert_eq!(document["report"]["differences"][1]["offset"], 101);
    assert_eq!(document["report"]["differences"][1]["kind"], "different");
    assert_eq!(document["report"]["differences"][1]["fields"][0]["field"], "value");
    assert_eq!(document["report"]["differences"].as_array().map(Vec::len), Some(2));
    assert_eq!(document["report"]["more_differences"], true);
    Ok(())
}

#[test]
fn a_topic_that_the_target_lacks_is_a_difference() -> Outcome {
    let mocks = filled(&[("orders", 1)], 10)?;
    mocks.source.create_topic("clicks", 2, 2)?;
    fill(&mocks.source, "clicks", 1, 10)?;
    let finished = run(arguments(&mocks, "orders,clicks", &[]))?.expect(6, &[])?;
    assert!(finished.stdout.contains("clicks-0 is missing on the target\nclicks-1 is missing"), "{finished}");
    assert!(finished.stdout.contains("2 partitions missing on the target"), "{finished}");
    Ok(())
}

#[test]
fn a_target_that_is_behind_is_waited_for_and_is_not_identical() -> Outcome {
    let mocks = filled(&[("orders", 1)], 50)?;
    fill(&mocks.source, "orders", 0, 20)?;
    let finished = run(arguments(&mocks, "orders", &["--wait", "0"]))?.expect(6, &[])?;
    assert!(finished.stdout.starts_with("orders-0 offsets 50 to 69: not yet replicated\n"), "{finished}");
    let last = "incomplete: 50 records in 1 partition of 1 topic; 20 not yet replicated\n";
    assert!(finished.stdout.contains("(--allow-behind)") && finished.stdout.ends_with(last), "{finished}");
    let finished = run(arguments(&mocks, "orders", &["--wait", "0", "--allow-behind"]))?.expect(0, &[])?;
    assert!(finished.stdout.starts_with("orders-0 offsets 50 to 69: not yet replicated (allowed)\n"), "{finished}");
    let last = "identical: 50 records in 1 partition of 1 topic; 20 not yet replicated\n";
    assert!(finished.stdout.ends_with(last), "{finished}");
    let document = run(arguments(&mocks, "orders", &["--wait", "0", "--json"]))?.expect(6, &[])?.json()?;
    assert_eq!((&document["outcome"], &document["exit_code"]), (&"incomplete".into(), &6.into()));
    assert_eq!(document["error"]["partition"], 0);
    assert_eq!(document["error"]["source_offset"], 50);

    let mut waiting = Kmirror::start(arguments(&mocks, "orders", &["--wait", "600"]))?;
    wait_for("it looks at the target", super::LIMIT, || {
        std::thread::sleep(std::time::Duration::from_secs(1));
        Ok(Some(()))
    })?;
    assert!(waiting.exited()?.is_none(), "it does not wait");
    fill(&mocks.target, "orders", 0, 20)?;
    let finished = finish(waiting)?.expect(0, &[])?;
    assert!(finished.stdout.ends_with("identical: 70 records in 1 partition of 1 topic\n"), "{finished}");
    Ok(())
}

#[test]
fn it_gives_up_when_the_time_is_up_or_a_signal_comes() -> Outcome {
    let mocks = filled(&[("orders", 1)], 5)?;
    fill(&mocks.source, "orders", 0, 5)?;
    let waiting = ["--wait", "600", "--json"];
    let document = run(arguments(&mocks, "orders", &[&waiting[..], &["--timeout", "1"]].concat()))?
        .expect(7, &["given up"])?
        .json()?;
    assert_eq!(document["outcome"], "timed_out");
    let mut kmirror = Kmirror::start(arguments(&mocks, "orders", &waiting))?;
    kmirror.wait_until_caught(nix::sys::signal::Signal::SIGTERM, super::LIMIT)?;
    kmirror.signal(nix::sys::signal::Signal::SIGTERM)?;
    let document = finish(kmirror)?.expect(143, &[])?.json()?;
    assert_eq!(document["outcome"], "stopped");
    assert_eq!(document["signal"], "SIGTERM");
    Ok(())
}

#[test]
fn what_cannot_be_verified_is_an_error_with_its_exit_code() -> Outcome {
    let mocks = filled(&[("orders", 1)], 5)?;
    run(arguments(&mocks, "ordres", &[]))?.expect(2, &["no topic of the source is selected"])?;
    run(arguments(&mocks, "orders", &["--topics", "("]))?.expect(2, &["--topics"])?;
    run(arguments(&mocks, "orders", &["--sample", "much"]))?.expect(2, &["--sample", "percentage such as 5%"])?;
    let nobody = ["verify", "--set", "source.bootstrap.servers=127.0.0.1:1"];
    run(nobody.into_iter().chain(["--set", "target.bootstrap.servers=127.0.0.1:2"]))?.expect(3, &["source cluster"])?;
    let address = mocks.source.bootstrap_servers();
    let (source, target) = (
        format!("source.bootstrap.servers={address}"),
        format!("target.bootstrap.servers={}", address.replace("127.0.0.1", "localhost")),
    );
    run(["verify", "--set", &source, "--set", &target])?.expect(2, &["the same cluster"])?;
    Ok(())
}

#[test]
fn a_sample_is_said_to_be_one_and_can_be_repeated() -> Outcome {
    let mocks = filled(&[("orders", 1)], 5000)?;
    let sample = |seed: &str| run(arguments(&mocks, "orders", &["--sample", "10%", "--sample-seed", seed, "--json"]));
    let document = sample("7")?.expect(0, &[])?.json()?;
    assert_eq!(document["outcome"], "identical_in_a_sample");
    assert_eq!(document["report"]["records_compared"], 500);
    assert_eq!(document["report"]["sample_seed"], 7);
    let finished = run(arguments(&mocks, "orders", &["--sample", "100"]))?.expect(0, &[])?;
    assert!(finished.stdout.ends_with("identical in a sample: 100 records in 1 partition of 1 topic\n"), "{finished}");
    // Of nothing nobody can say that it is the same.
    let finished = run(arguments(&mocks, "orders", &["--sample", "0"]))?.expect(6, &[])?;
    assert!(finished.stdout.contains("orders-0 offsets 0 to 4999: not looked at\n"), "{finished}");
    Ok(())
}

#[test]
fn a_result_that_cannot_be_written_is_no_success() -> Outcome {
    let mocks = filled(&[("orders", 1)], 5)?;
    for more in [&["--json"][..], &[]] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kmirror"));
        let full = std::fs::File::options().write(true).open("/dev/full")?;
        let output = command.args(arguments(&mocks, "orders", more)).stdout(full).output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("the result cannot be written to standard output: "), "{stderr}");
        // A reader that has had enough is no failure.
        let mut child = command.stdout(std::process::Stdio::piped()).spawn()?;
        drop(child.stdout.take());
        assert_eq!(child.wait()?.code(), Some(0));
    }
    Ok(())
}
