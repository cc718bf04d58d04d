//! Lays results out: aligned columns for a terminal, Markdown for the README. One set of rows serves both.
//! Works nothing out: the numbers and the verdicts come as they are shown.

use std::fmt::Write;

use crate::bars::Verdict;
use crate::contender::Contender;
use crate::report::Results;
use crate::stage::RECORD_BYTES;

/// A heading, column names, rows of cells.
struct Table {
    title: String,
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// For the terminal.
pub(crate) fn text(results: &Results) -> String {
    let mut text = format!("\n{}\n", setting(results));
    for table in tables(results) {
        let width = |column: usize| {
            let cells = table.rows.iter().map(|row| row[column].chars().count());
            cells.chain([table.columns[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..table.columns.len()).map(width).collect();
        let headings: Vec<String> = table.columns.iter().map(|name| (*name).to_owned()).collect();
        _ = write!(text, "\n{}\n", table.title);
        for row in std::iter::once(&headings).chain(&table.rows) {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            _ = writeln!(text, "  {}", cells.collect::<Vec<_>>().join("  "));
        }
    }
    text.push('\n');
    for bar in &results.bars {
        _ = writeln!(text, "{:<4}  {}: {}", bar.verdict.name(), bar.what, bar.found);
    }
    let disturbed = results.disturbed();
    if !disturbed.is_empty() {
        _ = writeln!(text, "NOTE  other processes were busy during: {}", disturbed.join(", "));
    }
    text
}

/// For the README.
pub(crate) fn markdown(results: &Results) -> String {
    let mut text = format!("{}\n", setting(results));
    for table in tables(results) {
        _ = write!(text, "\n{}:\n\n| {} |\n", table.title, table.columns.join(" | "));
        _ = writeln!(text, "| --- |{}", " ---: |".repeat(table.columns.len() - 1));
        for row in &table.rows {
            _ = writeln!(text, "| {} |", row.join(" | "));
        }
    }
    text
}

fn setting(results: &Results) -> String {
    let (machine, versions) = (&results.machine, &results.versions);
    format!(
        "{}, Kafka {}, librdkafka {}, {}; {} cores ({}), one broker each side, all on one machine in one run{}.",
        versions.kmirror,
        versions.kafka,
        versions.librdkafka,
        versions.java,
        machine.cores,
        machine.processor,
        if results.quick { "; a smoke test, no measure" } else { "" },
    )
}

fn tables(results: &Results) -> Vec<Table> {
    [throughput(results), sweep(results), latency(results), partitions(results)].into_iter().flatten().collect()
}

fn throughput(results: &Results) -> Option<Table> {
    let workload = results.workload.as_ref()?;
    let title = format!(
        "Copying {} records of {} bytes in {} partitions ({:.2} GB as lz4 batches of {} KB), CPU of the copier alone",
        grouped(workload.records),
        workload.record_bytes,
        workload.partitions,
        workload.log_bytes as f64 / 1e9,
        workload.batch_bytes >> 10,
    );
    let rows = results.throughput.iter().map(|copy| {
        let start = copy.steady_cpu_seconds.map(|steady| copy.cpu_seconds - steady);
        vec![
            copy.contender.title().to_owned(),
            format!("{:.2}", copy.cpu_seconds),
            start.map_or_else(|| "-".to_owned(), |start| format!("{start:.2}")),
            format!("{:.2}", copy.cpu_seconds_per_gb),
            format!("{:.1}", copy.wall_seconds),
            format!("{:.0}", copy.megabytes_per_second),
            format!("{:.0}", copy.peak_bytes as f64 / 1e6),
        ]
    });
    let columns = vec!["", "CPU s", "of it start", "CPU s per GB", "wall s", "MB/s", "peak MB"];
    Some(Table { title, columns, rows: rows.collect() })
}

fn sweep(results: &Results) -> Option<Table> {
    let first = results.sweep.first()?;
    let title = format!("Copying records of {} bytes in batches of all sizes, CPU of the copier alone", RECORD_BYTES);
    let mut columns = vec!["records in a batch", "codec", "records"];
    for copy in &first.copies {
        columns.extend(match copy.contender {
            Contender::Kmirror => ["kmirror CPU s", "wall s"],
            _ => ["rdkafka loop CPU s", "wall s"],
        });
    }
    columns.extend(["CPU ratio", "wall ratio"]);
    let rows = results.sweep.iter().map(|cell| {
        let mut row = vec![grouped(cell.batch_records.into()), cell.codec.to_owned(), grouped(cell.records)];
        let seconds = cell.copies.iter().flat_map(|copy| [copy.cpu_seconds, copy.wall_seconds]);
        row.extend(seconds.map(|seconds| format!("{seconds:.2}")));
        match cell.ratios() {
            Some((cpu, wall)) => row.extend([cpu, wall].map(|ratio| format!("{ratio:.2}"))),
            None => row.extend(["-"; 2].map(String::from)),
        }
        row
    });
    Some(Table { title, columns, rows: rows.collect() })
}

fn latency(results: &Results) -> Option<Table> {
    let first = results.latency.first()?;
    let title = format!(
        "Latency in ms at 500 records a second ({} records), from the produce call to a consumer",
        grouped(first.records as u64)
    );
    let rows = results.latency.iter().map(|latency| {
        vec![
            latency.contender.title().to_owned(),
            format!("{:.2}", latency.direct.p50_ms),
            format!("{:.2}", latency.mirrored.p50_ms),
            format!("{:.2}", latency.added_p50_ms),
            format!("{:.2}", latency.direct.p99_ms),
            format!("{:.2}", latency.mirrored.p99_ms),
            format!("{:.1}", latency.cpu_percent),
        ]
    });
    let columns = vec!["", "source p50", "target p50", "added p50", "source p99", "target p99", "CPU %"];
    Some(Table { title, columns, rows: rows.collect() })
}

fn partitions(results: &Results) -> Option<Table> {
    let found = results.partitions.as_ref()?;
    let title = format!("kmirror with {} partitions in {} topics", grouped(found.partitions as u64), found.topics);
    let seconds = |wall: f64, cpu: f64| format!("{wall:.1} s (CPU {cpu:.1} s)");
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let rows = vec![
        row(
            "start until caught up, topics exist",
            seconds(found.start_existing_seconds, found.start_existing_cpu_seconds),
        ),
        row(
            "start until caught up, topics have to be created",
            seconds(found.start_creating_seconds, found.start_creating_cpu_seconds),
        ),
        row("CPU of a core while nothing is written", format!("{:.1} %", found.idle_cpu_percent)),
        row("peak memory", format!("{:.0} MB", found.peak_bytes as f64 / 1e6)),
    ];
    Some(Table { title, columns: vec!["", "kmirror"], rows })
}

/// 2000000 as 2,000,000.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Aim => "AIM",
        }
    }
}
