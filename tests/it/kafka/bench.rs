//! A smoke test of the measuring bench, so that it cannot rot: every contender really runs and copies everything.
//!
//! It judges no number but "more than nothing": the machine is busy with other tests, and the amounts are tiny.

use std::process::Command;

use serde_json::Value;

use crate::support::{Failure, Outcome, fail, nursery, tool};

#[test]
fn every_contender_of_the_bench_runs_and_copies_everything() -> Outcome {
    let output = nursery::directory("bench")?;
    // The C library lies beside the command line.
    tool::build("kmirror-c")?;
    // Built as the tests are: the release build would take minutes.
    let run = Command::new(env!("CARGO"))
        .args(["bench", "--locked", "--quiet", "--profile", "dev", "--bench", "mirror", "--"])
        .args(["--quick", "--only", "kmirror,kmirror-c,rdkafka,relay,mm2-tuned"])
        .args(["--kmirror", env!("CARGO_BIN_EXE_kmirror")])
        .arg("--output")
        .arg(&output)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    if !run.status.success() {
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        return fail(format!("the bench ended with {}:\n{said}", run.status));
    }
    let results: Value = serde_json::from_slice(&std::fs::read(output.join("results.json"))?)?;

    let copies = list(&results, "throughput")?;
    assert_eq!(names(copies), ["kmirror", "kmirror-c", "rdkafka", "relay", "mm2-tuned"]);
    for copy in copies {
        assert_eq!(copy["complete"], true, "{copy}");
        // The relay's CPU time for so few bytes may be less than the kernel's clock can tell.
        let measures = ["wall_seconds", "megabytes_per_second", "peak_bytes", "cpu_seconds"];
        for measure in measures.into_iter().filter(|measure| copy["name"] != "relay" || *measure != "cpu_seconds") {
            positive(copy, measure);
        }
    }
    let cells = list(&results, "sweep")?;
    let combinations: Vec<_> =
        cells.iter().map(|cell| (cell["batch_records"].as_u64(), cell["codec"].as_str())).collect();
    let expected = [1, 1000].map(|size| ["none", "zstd"].map(|codec| (Some(size), Some(codec)))).concat();
    assert_eq!(combinations, expected);
    for cell in cells {
        let copies = list(cell, "copies")?;
        assert_eq!(names(copies), ["kmirror", "rdkafka"]);
        for copy in copies {
            positive(copy, "wall_seconds");
        }
    }
    let latencies = list(&results, "latency")?;
    assert_eq!(names(latencies), ["kmirror", "rdkafka"]);
    for latency in latencies {
        positive(latency, "records");
        positive(&latency["direct"], "p50_ms");
        positive(&latency["mirrored"], "p50_ms");
    }
    assert_eq!(results["partitions"]["partitions"], 200);
    positive(&results["partitions"], "start_existing_seconds");
    positive(&results["partitions"], "peak_bytes");

    let table = std::fs::read_to_string(output.join("results.md"))?;
    assert!(table.contains("| kmirror |"), "{table}");
    Ok(())
}

fn list<'a>(results: &'a Value, name: &str) -> Outcome<&'a Vec<Value>> {
    results[name].as_array().ok_or_else(|| Failure(format!("{name} is no list in {results}")))
}

fn names(list: &[Value]) -> Vec<&str> {
    list.iter().filter_map(|entry| entry["name"].as_str()).collect()
}

fn positive(object: &Value, name: &str) {
    assert!(object[name].as_f64().is_some_and(|number| number > 0.0), "{name} in {object}");
}
