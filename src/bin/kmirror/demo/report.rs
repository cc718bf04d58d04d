//! Prints what the comparison found: a table for people, a document for programs.
//! Decides nothing: whether the sides are identical was found out by the comparison.

use std::time::Duration;

use serde::Serialize;

use super::compare::{Compared, Comparison};
use crate::output;
use crate::text::{counted, grouped};

/// Differences of a partition that are listed for people; JSON has them all.
const LISTED: usize = 5;

pub(super) fn print_text(comparison: &Comparison) {
    let mut text =
        format!("\n{:<10} {:>9} {:>10} {:>12} {:>12}\n", "topic", "partition", "records", "source end", "target end");
    for partition in &comparison.0 {
        push_line(&mut text, partition);
    }
    let records = counted(comparison.records(), "record");
    let verdict = match comparison.0.iter().map(|partition| partition.differences.len() as u64).sum() {
        0 => format!("identical: {records}, each with the same offset, time, key, value, headers"),
        differences => format!("not identical: {}", counted(differences, "difference")),
    };
    output::print(&format!("{text}\n{verdict}\n"));
}

fn push_line(text: &mut String, partition: &Compared) {
    let end = |offset: i64| grouped(offset.max(0).unsigned_abs());
    let verdict = if partition.differences.is_empty() { "identical" } else { "different" };
    text.push_str(&format!(
        "{:<10} {:>9} {:>10} {:>12} {:>12}  {verdict}\n",
        partition.topic,
        partition.partition,
        grouped(partition.records),
        end(partition.source_end),
        end(partition.target_end),
    ));
    for difference in partition.differences.iter().take(LISTED) {
        text.push_str(&format!("    {difference}\n"));
    }
    if partition.differences.len() > LISTED {
        text.push_str(&format!("    and {} more\n", partition.differences.len() - LISTED));
    }
}

#[derive(Serialize)]
struct Document<'a> {
    outcome: &'static str,
    records_written: u64,
    records_compared: u64,
    seconds: f64,
    partitions: Vec<Partition<'a>>,
}

#[derive(Serialize)]
struct Partition<'a> {
    topic: &'a str,
    partition: i32,
    records: u64,
    source_end: i64,
    target_end: i64,
    identical: bool,
    differences: &'a [String],
}

impl<'a> From<&'a Compared> for Partition<'a> {
    fn from(compared: &'a Compared) -> Self {
        Partition {
            topic: compared.topic,
            partition: compared.partition,
            records: compared.records,
            source_end: compared.source_end,
            target_end: compared.target_end,
            identical: compared.differences.is_empty(),
            differences: &compared.differences,
        }
    }
}

pub(super) fn print_json(comparison: &Comparison, written: u64, running: Duration) {
    output::print_json(&Document {
        outcome: if comparison.is_identical() { "identical" } else { "different" },
        records_written: written,
        records_compared: comparison.records(),
        seconds: (running.as_secs_f64() * 1000.0).round() / 1000.0,
        partitions: comparison.0.iter().map(Partition::from).collect(),
    });
}
