//! Reads topics with Kafka's own console consumer, the Java client, as a second opinion beside librdkafka.
//!
//! It prints partition, offset, timestamp, headers, key and value of each record. It ends when nothing has come for a
//! while, which on a busy machine may be too soon: a reading with fewer records than are known to be there is repeated
//! with more patience.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use super::broker::Version;
use super::cluster::Cluster;
use super::ledger::{Isolation, Stamps};
use super::{Failure, Outcome, fail, nursery};

/// Longer lines are cut and hashed.
const LINE: usize = 300;
const CLASS: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";

/// What the console consumer printed, a record in each line, sorted.
pub(crate) struct Printed {
    pub(crate) lines: Vec<String>,
}

/// Reads all of some topics from both clusters at the same time; both must print the same, `least` records at least.
pub(crate) fn expect_identical(
    source: &Cluster,
    target: &Cluster,
    topics: &[String],
    isolation: Isolation,
    stamps: Stamps,
    least: usize,
) -> Outcome<usize> {
    let [source, target] = std::thread::scope(|scope| {
        let readings = [source, target].map(|cluster| scope.spawn(|| read(cluster, topics, isolation, stamps, least)));
        readings.map(|reading| reading.join().unwrap_or_else(|_| fail("a console consumer's reading panicked")))
    });
    let [source, target] = [source?.lines, target?.lines];
    let missing = difference(&source, &target);
    let extra = difference(&target, &source);
    if missing.is_empty() && extra.is_empty() && source.len() == target.len() {
        return Ok(source.len());
    }
    fail(format!(
        "the Java consumer ({isolation:?}) read {} records from the source and {} from the target;\n\
         {} only from the source:\n  {}\n{} only from the target:\n  {}",
        source.len(),
        target.len(),
        missing.len(),
        missing[..missing.len().min(10)].join("\n  "),
        extra.len(),
        extra[..extra.len().min(10)].join("\n  ")
    ))
}

fn difference(lines: &[String], others: &[String]) -> Vec<String> {
    let others: BTreeSet<_> = others.iter().collect();
    lines.iter().filter(|line| !others.contains(line)).cloned().collect()
}

/// Reads all of some topics.
pub(crate) fn read(
    cluster: &Cluster,
    topics: &[String],
    isolation: Isolation,
    stamps: Stamps,
    least: usize,
) -> Outcome<Printed> {
    let mut patience = Duration::from_secs(6);
    loop {
        let printed = read_once(cluster, topics, isolation, stamps, patience)?;
        if printed.lines.len() >= least || patience > Duration::from_secs(20) {
            return Ok(printed);
        }
        patience *= 2;
    }
}

fn read_once(
    cluster: &Cluster,
    topics: &[String],
    isolation: Isolation,
    stamps: Stamps,
    patience: Duration,
) -> Outcome<Printed> {
    let mut command = Version::Latest.java(&["-Xmx300m".to_owned()], CLASS)?;
    let isolation = if isolation == Isolation::ReadCommitted { "read_committed" } else { "read_uncommitted" };
    let include: Vec<_> = topics.iter().map(|topic| topic.replace('.', "\\.")).collect();
    command
        .args(["--bootstrap-server", &cluster.direct(), "--include", &include.join("|"), "--from-beginning"])
        .args(["--isolation-level", isolation, "--timeout-ms", &patience.as_millis().to_string()])
        .args(["--command-property", "check.crcs=true"]);
    for property in ["partition", "offset", "timestamp", "headers", "key"] {
        command.args(["--formatter-property", &format!("print.{property}=true")]);
    }
    command.args(["--formatter-property", "null.literal=<absent>"]);
    let directory = nursery::directory("console")?;
    let output = directory.join("stdout");
    command.stdout(std::fs::File::create(&output)?).stderr(Stdio::piped());
    let ended = nursery::spawn(command)?.wait_with_output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    if !ended.status.success() || !said.contains("Processed a total of") {
        return fail(format!("the console consumer ended with {}: {said}", ended.status));
    }
    let text = std::fs::read(&output)?;
    let mut lines = Vec::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        lines.push(shortened(line, stamps)?);
    }
    lines.sort_unstable();
    std::fs::remove_file(&output).ok();
    Ok(Printed { lines })
}

fn shortened(line: &[u8], stamps: Stamps) -> Outcome<String> {
    let text = String::from_utf8_lossy(line);
    let text = match stamps {
        Stamps::WithType => text.into_owned(),
        // -1 is what the format without timestamps becomes in one with them.
        Stamps::Value => text.replacen("LogAppendTime:", "CreateTime:", 1).replacen("NO_TIMESTAMP", "CreateTime:-1", 1),
    };
    // A line that does not begin so is part of a record with a line break in it, of which the tests write none.
    if !["CreateTime:", "LogAppendTime:", "NO_TIMESTAMP"].iter().any(|begin| text.starts_with(begin)) {
        return Err(Failure(format!("the console consumer printed a line that is no record: {text:.200}")));
    }
    match text.char_indices().nth(LINE) {
        None => Ok(text),
        Some((end, _)) => Ok(format!("{}... (checksum {:x})", &text[..end], crc32c::crc32c(text.as_bytes()))),
    }
}

/// Reads as a member of a group from where the group is, so many records of a topic; returns their partitions and offsets.
pub(crate) fn read_as_group(cluster: &Cluster, topic: &str, group: &str, count: usize) -> Outcome<Vec<(i32, i64)>> {
    let mut command = Version::Latest.java(&["-Xmx300m".to_owned()], CLASS)?;
    command
        .args(["--bootstrap-server", &cluster.direct(), "--topic", topic, "--group", group])
        .args(["--isolation-level", "read_committed", "--max-messages", &count.to_string(), "--timeout-ms", "60000"])
        .args(["--command-property", "auto.offset.reset=earliest"]);
    for (property, shown) in [("partition", true), ("offset", true), ("value", false), ("key", false)] {
        command.args(["--formatter-property", &format!("print.{property}={shown}")]);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = nursery::spawn(command)?.wait_with_output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    if !ended.status.success() {
        return fail(format!("the console consumer ended with {}: {said}", ended.status));
    }
    let number = |field: &str| field.rsplit(':').next().and_then(|text| text.parse().ok());
    let line = |line: &str| {
        let mut fields = line.split('\t');
        let at = (number(fields.next()?)?, number(fields.next()?)?);
        Some((i32::try_from(at.0).ok()?, at.1))
    };
    let printed = String::from_utf8_lossy(&ended.stdout).into_owned();
    // The JVM prints warnings of its own there.
    let found: Option<Vec<(i32, i64)>> =
        printed.lines().filter(|line| line.starts_with("Partition:")).map(line).collect();
    found.ok_or_else(|| Failure(format!("the console consumer printed something else than positions: {printed:.300}")))
}
