//! `kmirror run` between two mock clusters: what it copies, when it ends, and what it says then.
//! Only the command line is tried here; the engine is tried on real brokers, which do more than mocks.

use super::mock::{Mocks, fill};
use super::run;
use crate::support::Outcome;
use crate::support::ledger::expect_identical;

#[test]
fn until_caught_up_copies_everything() -> Outcome {
    let mocks = Mocks::start(&[("orders", 3), ("clicks", 1)])?;
    for partition in 0..3 {
        fill(&mocks.source, "orders", partition, 400)?;
    }
    fill(&mocks.source, "clicks", 0, 100)?;
    let (source, target) = (mocks.source.bootstrap_servers(), mocks.target.bootstrap_servers());

    let document = run(mocks.arguments("orders,clicks", &["--until-caught-up", "--json"]))?.expect(0, &[])?.json()?;
    assert_eq!(document["outcome"], "caught_up");
    assert_eq!(document["error"], serde_json::Value::Null);
    assert_eq!(document["status"]["state"], "stopped");
    assert_eq!(document["status"]["replicated_records"], 1300);
    assert_eq!(document["status"]["topics"][1]["partitions"][2]["target_offset_next"], 400);
    expect_identical(&source, &target, "orders", 1200)?;
    expect_identical(&source, &target, "clicks", 100)?;

    fill(&mocks.source, "clicks", 0, 50)?;
    let again = run(mocks.arguments("orders,clicks", &["--until-caught-up"]))?.expect(0, &[])?;
    assert!(again.stdout.starts_with("cli: caught up: 50 records, "), "{again}");
    assert!(again.stdout.contains("2 topics, 4 partitions"), "{again}");
    expect_identical(&source, &target, "clicks", 150)?;
    Ok(())
}

#[test]
fn a_cluster_is_not_mirrored_to_itself() -> Outcome {
    let mocks = Mocks::start(&[("orders", 1)])?;
    let address = mocks.source.bootstrap_servers();
    let other = address.replace("127.0.0.1", "localhost");
    let (source, target) = (format!("source.bootstrap.servers={address}"), format!("target.bootstrap.servers={other}"));
    for command in ["run", "plan"] {
        run([command, "--set", &source, "--set", &target])?.expect(2, &["source and target are the same cluster"])?;
    }
    Ok(())
}

#[test]
fn a_pattern_that_matches_nothing_is_an_error() -> Outcome {
    let mocks = Mocks::start(&[("orders", 1)])?;
    let mut arguments = mocks.arguments("ordres", &[]);
    run(&arguments)?.expect(2, &["no topic of the source matches"])?;
    arguments[0] = "plan".to_owned();
    run(&arguments)?.expect(2, &["no topic of the source matches"])?;
    Ok(())
}

#[test]
fn a_refused_topic_lets_the_others_finish() -> Outcome {
    let mocks = Mocks::start(&[("orders", 2)])?;
    // The target knows no request that would add the partitions it lacks.
    for topic in ["clicks", "views"] {
        mocks.source.create_topic(topic, 3, 2)?;
        mocks.target.create_topic(topic, 1, 2)?;
    }
    fill(&mocks.source, "orders", 1, 300)?;
    let args = mocks.arguments("orders,clicks,views", &["--until-caught-up"]);
    let message = "kmirror: 2 topics or partitions cannot be mirrored, the first of them: ";
    let finished = run(args)?.expect(5, &[message, "clicks"])?;
    assert!(finished.stdout.contains("2 topics refused\n  ") && finished.stdout.contains("views"), "{finished}");
    expect_identical(&mocks.source.bootstrap_servers(), &mocks.target.bootstrap_servers(), "orders", 300)?;
    Ok(())
}

#[test]
fn a_parked_partition_lets_the_others_finish() -> Outcome {
    let mocks = Mocks::start(&[("orders", 2)])?;
    fill(&mocks.source, "orders", 0, 300)?;
    fill(&mocks.source, "orders", 1, 10)?;
    fill(&mocks.target, "orders", 1, 20)?;
    let args = mocks.arguments("orders", &["--until-caught-up", "--json"]);
    let document = run(args)?.expect(5, &["topic 'orders' partition 1"])?.json()?;
    assert_eq!(document["outcome"], "failed");
    assert_eq!(document["error"]["kind"], "target_conflict");
    assert_eq!(document["error"]["topic"], "orders");
    assert_eq!(document["error"]["partition"], 1);
    let partitions = &document["status"]["topics"][0]["partitions"];
    assert_eq!(partitions[0]["target_offset_next"], 300);
    assert!(partitions[1]["error"].is_string(), "{partitions}");
    Ok(())
}

#[test]
fn a_mirror_with_nothing_left_to_do_ends() -> Outcome {
    let mocks = Mocks::start(&[("orders", 2)])?;
    for partition in 0..2 {
        fill(&mocks.source, "orders", partition, 10)?;
        fill(&mocks.target, "orders", partition, 20)?;
    }
    let finished = run(mocks.arguments("orders", &[]))?.expect(5, &["kmirror: all 2 partitions are parked"])?;
    assert!(finished.stdout.contains("2 partitions parked\n  "), "{finished}");
    Ok(())
}

#[test]
fn a_timeout_stops_cleanly() -> Outcome {
    let mocks = Mocks::start(&[("orders", 1)])?;
    fill(&mocks.source, "orders", 0, 10)?;
    let document =
        run(mocks.arguments("orders", &["--timeout", "2", "--json"]))?.expect(7, &["stopped after"])?.json()?;
    assert_eq!(document["outcome"], "timed_out");
    assert_eq!(document["status"]["state"], "stopped");
    Ok(())
}
