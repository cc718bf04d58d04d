//! What `kmirror verify` finds on real brokers, and what it must not find.
//!
//! Targets that differ are written by librdkafka, record by record like the source, with one thing changed. The verifier is
//! judged by what was written, never by the mirror, and the ledger says what is identical where a mirror wrote.

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::producer::Producer;
use serde_json::Value;

use crate::support::cluster::{Cluster, Options, Pair, shared, unique};
use crate::support::ledger::{self, Isolation, Ledger};
use crate::support::mirroring::Mirroring;
use crate::support::process::{Kmirror, Usage};
use crate::support::records::{Generator, Load, Record, Writer, Writing, produce};
use crate::support::{Outcome, fail, wait_for};

mod incomplete;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// A hang limit, not a measure.
const LIMIT: Duration = Duration::from_secs(120);

/// How a verification ended.
struct Verified {
    code: i32,
    document: Value,
    usage: Usage,
    stderr: String,
}

fn verify(pair: &Pair, topics: &str, more: &[&str]) -> Outcome<Verified> {
    verify_from(&pair.source, &pair.target, topics, more)
}

fn verify_from(source: &Cluster, target: &Cluster, topics: &str, more: &[&str]) -> Outcome<Verified> {
    finish(start(source, target, topics, more)?)
}

fn start(source: &Cluster, target: &Cluster, topics: &str, more: &[&str]) -> Outcome<Kmirror> {
    let settings = [
        format!("source.bootstrap.servers={}", source.bootstrap()),
        format!("target.bootstrap.servers={}", target.bootstrap()),
        format!("topics={topics}"),
    ];
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    Kmirror::start(["verify", "--json"].into_iter().chain(settings).chain(more.iter().copied()))
}

fn finish(mut kmirror: Kmirror) -> Outcome<Verified> {
    let status = kmirror.wait(LIMIT)?;
    let Ok(document) = serde_json::from_str(&kmirror.stdout()) else {
        return fail(format!("no JSON document: {}\n{}", kmirror.stdout(), kmirror.stderr()));
    };
    let code = status.code().unwrap_or(-1);
    Ok(Verified { code, document, usage: kmirror.usage(), stderr: kmirror.stderr() })
}

impl Verified {
    fn count(&self, class: &str) -> u64 {
        self.document["result"]["counts"][class].as_u64().unwrap_or(u64::MAX)
    }

    fn number(&self, field: &str) -> u64 {
        self.document["result"][field].as_u64().unwrap_or(u64::MAX)
    }

    /// Demands that nothing differs in so many records, and that of all classes only these are not empty.
    fn expect_identical(&self, records: usize, classes: &[&str]) -> Outcome {
        let counts = self.document["result"]["counts"].as_object().cloned().unwrap_or_default();
        let found: Vec<_> = counts.iter().filter(|(_, count)| **count != 0).map(|(class, _)| class.as_str()).collect();
        let identical = self.document["result"]["identical"] == true && self.code == 0;
        match identical && found == classes && self.number("records_compared") == records as u64 {
            true => Ok(()),
            false => fail(format!("{records} identical records expected: {:#}\n{}", self.document, self.stderr)),
        }
    }

    /// Demands exactly these differences: kind, first and last offset, fields.
    fn expect_differences(&self, expected: &[(&str, i64, i64, &[&str])]) -> Outcome {
        let differences = self.document["result"]["differences"].as_array().cloned().unwrap_or_default();
        let found: Vec<_> = differences
            .iter()
            .map(|difference| {
                let fields = difference["fields"].as_array().cloned().unwrap_or_default();
                let fields: Vec<String> =
                    fields.iter().filter_map(|field| Some(field["field"].as_str()?.to_owned())).collect();
                let offset = |name: &str| difference[name].as_i64().unwrap_or(-1);
                (
                    difference["kind"].as_str().unwrap_or_default().to_owned(),
                    offset("offset"),
                    offset("last_offset"),
                    fields,
                )
            })
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(kind, from, to, fields)| {
                ((*kind).to_owned(), *from, *to, fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>())
            })
            .collect();
        match found == expected && self.code == 6 && self.document["result"]["identical"] == false {
            true => Ok(()),
            false => fail(format!("{expected:?} expected: {:#}\n{}", self.document, self.stderr)),
        }
    }
}

/// Writes the same records to both sides, those of the target after a change.
fn write_both(
    pair: &Pair,
    topic: &str,
    count: usize,
    writing: [&Writing; 2],
    change: impl FnOnce(&mut Vec<Record>),
) -> Outcome {
    let mut records: Vec<Record> = Generator::new(11).take(count).collect();
    pair.source.create_topic(topic, 1, &[])?;
    pair.target.create_topic(topic, 1, &[])?;
    produce(&pair.source.bootstrap(), topic, 0, records.clone(), writing[0])?;
    change(&mut records);
    produce(&pair.target.bootstrap(), topic, 0, records, writing[1])?;
    Ok(())
}

#[test]
fn what_a_mirror_copied_is_identical_and_is_not_opened() -> Outcome {
    let pair = shared()?;
    let topic = unique("verified");
    pair.source.create_topic(&topic, 5, &[])?;
    for (partition, codec) in (0..).zip(CODECS) {
        let records = Generator::new(partition as u64).take(2000);
        produce(&pair.source.bootstrap(), &topic, partition, records, &Writing::codec(codec))?;
    }
    Mirroring::pair(pair, &topic).catch_up()?;
    ledger::expect_identical(&pair.source.bootstrap(), &pair.target.bootstrap(), &topic, 10_000)?;
    let verified = verify(pair, &topic, &[])?;
    verified.expect_identical(10_000, &[])?;
    assert_eq!(verified.number("bytes_decoded"), 0, "equal payloads were opened");
    let uncommitted = verify(pair, &topic, &["--set", "isolation.level=read_uncommitted", "--num.streams", "3"])?;
    uncommitted.expect_identical(10_000, &[])
}

#[test]
fn one_changed_record_is_found_whatever_changed() -> Outcome {
    let pair = shared()?;
    type Change = fn(&mut Record);
    let changes: [(&str, Change); 6] = [
        ("value", |record| record.value = Some(b"another value".to_vec())),
        ("key", |record| record.key = Some(b"another key".to_vec())),
        ("timestamp", |record| record.timestamp += 1),
        ("headers", |record| record.headers.reverse()),
        ("headers", |record| record.headers.push(("trace".to_owned(), None))),
        ("headers", |record| record.headers.truncate(1)),
    ];
    for (field, change) in changes {
        for codec in ["none", "zstd"] {
            let topic = unique("changed");
            let headers: Vec<_> = ["1", "2"].map(|value| ("trace".to_owned(), Some(value.into()))).into();
            let mut records: Vec<Record> = Generator::new(11).take(300).collect();
            records[123].headers = headers;
            for cluster in [&pair.source, &pair.target] {
                cluster.create_topic(&topic, 1, &[])?;
                produce(&cluster.bootstrap(), &topic, 0, records.clone(), &Writing::codec(codec))?;
                change(&mut records[123]);
            }
            verify(pair, &topic, &[])?.expect_differences(&[("different", 123, 123, &[field])])?;
        }
    }
    Ok(())
}

#[test]
fn records_that_only_one_side_has_are_missing_or_extra() -> Outcome {
    let pair = shared()?;
    let topic = unique("hole");
    let records: Vec<Record> = Generator::new(11).take(9).collect();
    for cluster in [&pair.source, &pair.target] {
        cluster.create_topic(&topic, 1, &[])?;
    }
    produce(&pair.source.bootstrap(), &topic, 0, records.clone(), &Writing::default())?;
    // Two aborted records and their marker take the place of three records.
    produce(&pair.target.bootstrap(), &topic, 0, records[..4].to_vec(), &Writing::default())?;
    write_transaction(&pair.target, &topic, &records[4..6], false)?;
    produce(&pair.target.bootstrap(), &topic, 0, records[7..].to_vec(), &Writing::default())?;
    let verified = verify(pair, &topic, &[])?;
    verified.expect_differences(&[("missing", 4, 6, &[])])?;
    assert_eq!((verified.count("missing"), verified.number("records_compared")), (3, 6));
    // The other way round it has too much.
    let verified = verify_from(&pair.target, &pair.source, &topic, &[])?;
    verified.expect_differences(&[("extra", 4, 6, &[])])?;
    // Who reads uncommitted sees the aborted records, and only the marker's place is empty.
    let verified = verify(pair, &topic, &["--set", "isolation.level=read_uncommitted"])?;
    verified.expect_differences(&[("missing", 6, 6, &[])])
}

#[test]
fn a_target_that_goes_on_beyond_the_source_is_told() -> Outcome {
    let pair = shared()?;
    let topic = unique("beyond");
    let more = |records: &mut Vec<Record>| records.extend(Generator::new(12).take(7));
    write_both(pair, &topic, 40, [&Writing::default(); 2], more)?;
    let verified = verify(pair, &topic, &[])?;
    verified.expect_differences(&[("beyond_source_end", 40, 46, &[])])?;
    assert_eq!(verified.number("records_compared"), 40);
    Ok(())
}

#[test]
fn aborted_records_are_no_difference_to_who_reads_committed() -> Outcome {
    let pair = shared()?;
    let topic = unique("aborted");
    let committed: Vec<Record> = Generator::new(1).take(20).collect();
    for (cluster, seed) in [(&pair.source, 2), (&pair.target, 3)] {
        cluster.create_topic(&topic, 1, &[])?;
        let aborted: Vec<Record> = Generator::new(seed).take(5).collect();
        write_transaction(cluster, &topic, &committed[..10], true)?;
        write_transaction(cluster, &topic, &aborted, false)?;
        write_transaction(cluster, &topic, &committed[10..], true)?;
    }
    verify(pair, &topic, &[])?.expect_identical(20, &[])?;
    let verified = verify(pair, &topic, &["--set", "isolation.level=read_uncommitted"])?;
    assert_eq!((verified.code, verified.count("different"), verified.number("records_compared")), (6, 5, 25));
    Ok(())
}

#[test]
fn an_open_transaction_is_the_end_for_who_reads_committed() -> Outcome {
    let pair = shared()?;
    let topic = unique("open");
    write_both(pair, &topic, 10, [&Writing::default(); 2], |_| {})?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", pair.source.bootstrap()).set("transactional.id", unique("transaction"));
    let writer = Writer::from_config(&config)?;
    writer.producer().init_transactions(LIMIT)?;
    writer.producer().begin_transaction()?;
    for record in Generator::new(2).take(5) {
        writer.send(&topic, 0, &record)?;
    }
    writer.producer().flush(LIMIT)?;
    // What is behind it nobody sees yet, so nobody can say that it is the same.
    let verified = verify(pair, &topic, &["--wait", "0"])?;
    verified.expect_incomplete(10, &[("open_transaction", 10, 14, 5)])?;
    verify(pair, &topic, &["--wait", "0", "--allow-behind"])?.expect_identical(10, &["open_transaction"])?;
    let uncommitted = ["--wait", "0", "--set", "isolation.level=read_uncommitted"];
    verify(pair, &topic, &uncommitted)?.expect_incomplete(10, &[("not_yet_replicated", 10, 14, 5)])?;
    // Transactions are short mostly: one that ends in time is waited for.
    let waiting = start(&pair.source, &pair.target, &topic, &["--wait", "600"])?;
    produce(&pair.target.bootstrap(), &topic, 0, Generator::new(2).take(5), &Writing::default())?;
    std::thread::sleep(Duration::from_secs(1));
    writer.producer().commit_transaction(LIMIT)?;
    finish(waiting)?.expect_identical(15, &[])?;
    writer.producer().begin_transaction()?;
    writer.producer().abort_transaction(LIMIT)?;
    writer.finish().map(drop)
}

/// Writes the records in one transaction.
fn write_transaction(cluster: &Cluster, topic: &str, records: &[Record], commit: bool) -> Outcome {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap()).set("transactional.id", unique("transaction"));
    let writer = Writer::from_config(&config)?;
    writer.producer().init_transactions(LIMIT)?;
    writer.producer().begin_transaction()?;
    for record in records {
        writer.send(topic, 0, record)?;
    }
    writer.producer().flush(LIMIT)?;
    match commit {
        true => writer.producer().commit_transaction(LIMIT)?,
        false => writer.producer().abort_transaction(LIMIT)?,
    }
    writer.finish().map(drop)
}

#[test]
fn what_is_behind_or_has_expired_is_no_difference_and_not_identical() -> Outcome {
    let pair = shared()?;
    let topic = unique("uneven");
    write_both(pair, &topic, 100, [&Writing::default(); 2], |records| records.truncate(80))?;
    let behind = ("not_yet_replicated", 80, 99, 20);
    // A name under which no mirror has run: nobody knows who wrote what.
    let name = format!("name={topic}");
    let once = &["--set", &name, "--wait", "0"][..];
    let all = &[once, &["--allow-behind", "--allow-expired"]].concat()[..];
    verify(pair, &topic, once)?.expect_incomplete(80, &[behind])?;
    verify(pair, &topic, all)?.expect_identical(80, &["not_yet_replicated"])?;
    pair.target.client().delete_records(&topic, 0, 30)?;
    verify(pair, &topic, once)?.expect_incomplete(50, &[("expired_on_target", 0, 29, 30), behind])?;
    verify(pair, &topic, &[once, &["--allow-expired"]].concat())?
        .expect_incomplete(50, &[("expired_on_target", 0, 29, 30), behind])?;
    verify(pair, &topic, all)?.expect_identical(50, &["expired_on_target", "not_yet_replicated"])?;
    pair.source.client().delete_records(&topic, 0, 45)?;
    verify(pair, &topic, once)?.expect_incomplete(35, &[("expired_on_source", 30, 44, 15), behind])?;
    verify(pair, &topic, all)?.expect_identical(35, &["expired_on_source", "not_yet_replicated"])?;
    // Nothing is left on one side.
    pair.target.client().delete_records(&topic, 0, -1)?;
    verify(pair, &topic, all)?.expect_identical(0, &["expired_on_target", "not_yet_replicated"])
}

#[test]
fn what_expires_meanwhile_is_no_difference_and_not_identical() -> Outcome {
    let pair = shared()?;
    let topic = unique("meanwhile");
    // So large that not all of them are read at once.
    let records = || Generator::new(11).value_size(60_000..60_001).take(100);
    let writing = Writing { batch_records: 1, ..Writing::default() };
    for (cluster, count) in [(&pair.source, 100), (&pair.target, 50)] {
        cluster.create_topic(&topic, 1, &[])?;
        produce(&cluster.bootstrap(), &topic, 0, records().take(count), &writing)?;
    }
    let more = ["--wait", "600", "--set", "buffer.memory=2097152"];
    let waiting = start(&pair.source, &pair.target, &topic, &more)?;
    // It has compared what there is, and waits for the target.
    std::thread::sleep(Duration::from_secs(2));
    pair.source.client().delete_records(&topic, 0, 90)?;
    produce(&pair.target.bootstrap(), &topic, 0, records().skip(50), &writing)?;
    let verified = finish(waiting)?;
    let compared = verified.number("records_compared");
    assert!(compared < 90, "nothing was read after it had expired");
    let findings = &verified.document["result"]["findings"];
    assert_eq!((verified.code, findings.as_array().map(Vec::len)), (6, Some(1)), "{:#}", verified.document);
    assert_eq!((&findings[0]["kind"], &findings[0]["last_offset"]), (&"expired_on_source".into(), &89.into()));
    assert_eq!(verified.count("expired_on_source") + compared, 100);
    Ok(())
}

#[test]
fn batches_may_be_cut_and_compressed_in_other_ways() -> Outcome {
    let pair = shared()?;
    let small = Writing { batch_records: 1, ..Writing::codec("none") };
    let odd = Writing { batch_records: 7, ..Writing::codec("snappy") };
    let large = Writing::codec("lz4");
    for writing in [[&small, &large], [&large, &small], [&odd, &large], [&small, &odd]] {
        let topic = unique("cut");
        write_both(pair, &topic, 1500, writing, |_| {})?;
        let verified = verify(pair, &topic, &[])?;
        verified.expect_identical(1500, &[])?;
        assert!(verified.number("bytes_decoded") > 0);
    }
    // The target's broker compresses what the mirror passes on.
    let topic = unique("recompressed");
    pair.source.create_topic(&topic, 1, &[])?;
    pair.target.create_topic(&topic, 1, &[("compression.type", "gzip")])?;
    produce(&pair.source.bootstrap(), &topic, 0, Generator::new(1).take(3000), &Writing::codec("zstd"))?;
    // As long as that is its setting, which would be kept like the source's.
    Mirroring::pair(pair, &topic).set("sync.topic.configs=false").catch_up()?;
    let verified = verify(pair, &topic, &[])?;
    verified.expect_identical(3000, &[])?;
    assert_eq!(verified.number("bytes_decoded"), verified.number("bytes_compared"));
    Ok(())
}

#[test]
fn the_brokers_time_is_compared_with_what_consumers_read() -> Outcome {
    let pair = shared()?;
    let topic = unique("stamped");
    let records: Vec<Record> = Generator::new(5).take(50).collect();
    pair.source.create_topic(&topic, 1, &[("message.timestamp.type", "LogAppendTime")])?;
    pair.target.create_topic(&topic, 1, &[])?;
    produce(&pair.source.bootstrap(), &topic, 0, records.clone(), &Writing::default())?;
    produce(&pair.target.bootstrap(), &topic, 0, records.clone(), &Writing::default())?;
    let verified = verify(pair, &topic, &[])?;
    assert_eq!((verified.code, verified.count("different")), (6, 50), "the payloads are equal, the times are not");
    Ok(())
}

#[test]
fn both_sides_may_be_live() -> Outcome {
    let pair = shared()?;
    let topic = unique("live");
    pair.source.create_topic(&topic, 3, &[])?;
    let load = Load::start(&pair.source.bootstrap(), &topic, 3, 3000, 5, &Writing::codec("lz4"))?;
    load.wait_for_more(1000)?;
    let mut mirror = Mirroring::pair(pair, &topic).start()?;
    let started = Instant::now();
    let mut most = 0;
    for _ in 0..4 {
        load.wait_for_more(1500)?;
        let verified = verify(pair, &topic, &["--wait", "60"])?;
        let records = verified.number("records_compared");
        assert!(records > most, "{records} after {most}");
        verified.expect_identical(records as usize, &[])?;
        most = records;
    }
    assert!(started.elapsed() < LIMIT);
    load.stop()?;
    mirror.kill9()
}

#[test]
fn a_damaged_batch_is_named_and_the_other_partitions_are_compared() -> Outcome {
    let pair = shared()?;
    let topic = unique("damaged");
    for cluster in [&pair.source, &pair.target] {
        cluster.create_topic(&topic, 2, &[])?;
        for partition in 0..2 {
            produce(&cluster.bootstrap(), &topic, partition, Generator::new(1).take(100), &Writing::codec("lz4"))?;
        }
    }
    let segment = find(&pair.target.data_directory(1), &format!("{topic}-1"))?.join("00000000000000000000.log");
    let file = fs::OpenOptions::new().read(true).write(true).open(segment)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, 100)?;
    file.write_all_at(&[byte[0] ^ 1], 100)?;
    let verified = verify(pair, &topic, &[])?;
    assert_eq!(verified.code, 6, "{}", verified.stderr);
    let unread = &verified.document["result"]["unread"];
    assert_eq!(unread[0]["partition"], 1, "{unread}");
    let message = unread[0]["error"].as_str().unwrap_or_default();
    assert!(message.contains("the batch at offset 0 of the target cannot be read: its checksum"), "{message}");
    assert_eq!(verified.number("records_compared"), 100);
    assert_eq!(verified.document["outcome"], "incomplete");
    Ok(())
}

/// The directory of a partition below a broker's.
fn find(directory: &std::path::Path, name: &str) -> Outcome<std::path::PathBuf> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|found| found == name) {
            return Ok(path);
        }
        if path.is_dir()
            && let Ok(found) = find(&path, name)
        {
            return Ok(found);
        }
    }
    fail(format!("there is no {name}"))
}

#[test]
fn what_compaction_removed_on_one_side_is_explained() -> Outcome {
    let cleaning = Options::default().property("log.cleaner.backoff.ms", "100");
    let pair = Pair::start(Options::default(), cleaning)?;
    let topic = "compacted";
    let keep = [("cleanup.policy", "compact"), ("min.compaction.lag.ms", "86400000")];
    let compact = [("cleanup.policy", "compact"), ("segment.ms", "200"), ("min.cleanable.dirty.ratio", "0.001")];
    pair.source.create_topic(topic, 1, &keep)?;
    pair.target.create_topic(topic, 1, &compact)?;
    let record = |number: usize| Record {
        key: Some(vec![b'a' + (number % 10) as u8]),
        value: Some(number.to_string().into_bytes()),
        headers: Vec::new(),
        // Segments are closed by the time of their records.
        timestamp: 1_700_000_000_000 + number as i64 * 1000,
    };
    let write = |numbers: std::ops::Range<usize>| -> Outcome {
        for cluster in [&pair.source, &pair.target] {
            produce(&cluster.bootstrap(), topic, 0, numbers.clone().map(record), &Writing::default())?;
        }
        Ok(())
    };
    write(0..200)?;
    // Only segments that are closed are cleaned, and a record closes one that is old.
    let mut written = 200;
    wait_for("the target is compacted", LIMIT, || {
        std::thread::sleep(Duration::from_millis(300));
        write(written..written + 1)?;
        written += 1;
        let left = Ledger::read(&pair.target.bootstrap(), topic, Isolation::ReadCommitted)?.count();
        Ok((left < 100).then_some(()))
    })?;
    let left = Ledger::read(&pair.target.bootstrap(), topic, Isolation::ReadCommitted)?.count();
    let verified = verify(&pair, topic, &[])?;
    verified.expect_identical(verified.number("records_compared") as usize, &["compacted"])?;
    assert!(verified.number("records_compared") <= left as u64, "{left} are left");
    assert_eq!(verified.count("compacted") + verified.number("records_compared"), written as u64);
    let verified = verify_from(&pair.target, &pair.source, topic, &[])?;
    verified.expect_identical(verified.number("records_compared") as usize, &["compacted"])?;
    // Where a sample does not know it all, it looks at all.
    let sample = verify(&pair, topic, &["--sample", "100"])?;
    assert_eq!((sample.code, sample.count("perhaps_compacted")), (0, 0), "{:#}", sample.document);
    assert_eq!(sample.document["outcome"], "identical_in_a_sample");
    Ok(())
}

#[test]
fn memory_stays_bounded_and_large_batches_pass() -> Outcome {
    const MEGABYTES: usize = 150;
    let pair = shared()?;
    let topic = unique("large");
    let record = |number: usize| Record {
        key: Some(number.to_be_bytes().to_vec()),
        value: Some(vec![number as u8; 100_000]),
        headers: Vec::new(),
        timestamp: 1_700_000_000_000,
    };
    for cluster in [&pair.source, &pair.target] {
        cluster.create_topic(&topic, 2, &[("max.message.bytes", "8000000")])?;
        for partition in 0..2 {
            let records = (0..MEGABYTES * 5).map(record);
            produce(&cluster.bootstrap(), &topic, partition, records, &Writing::default())?;
        }
    }
    // Answers of 512 KiB are asked for, and batches are twice as large.
    let small = ["--set", "buffer.memory=2097152"];
    let verified = verify(pair, &topic, &small)?;
    verified.expect_identical(2 * MEGABYTES * 5, &[])?;
    let peak = verified.usage.peak_kib / 1024;
    println!("{} MB compared unopened: {} s, {peak} MiB", MEGABYTES, verified.document["seconds"]);
    assert!(peak < 60, "{peak} MiB at the most, of {MEGABYTES} MB on each side");
    Ok(())
}

#[test]
#[ignore = "a measurement: run it in release, alone, and read what it prints"]
fn how_fast_it_is() -> Outcome {
    let pair = shared()?;
    for (what, compression, writing) in [
        ("equal payloads, lz4", "producer", Writing::codec("lz4")),
        ("recompressed as zstd", "zstd", Writing::codec("lz4")),
        ("recompressed as lz4, in other batches", "lz4", Writing { batch_records: 100, ..Writing::codec("lz4") }),
    ] {
        let topic = unique("speed");
        let records = |partition: i32| Generator::new(partition as u64).value_size(600..1000).take(100_000);
        pair.source.create_topic(&topic, 4, &[])?;
        pair.target.create_topic(&topic, 4, &[("compression.type", compression)])?;
        for partition in 0..4 {
            produce(&pair.source.bootstrap(), &topic, partition, records(partition), &Writing::codec("lz4"))?;
        }
        match what.contains("other batches") {
            false => drop(Mirroring::pair(pair, &topic).catch_up()?),
            true => {
                for partition in 0..4 {
                    produce(&pair.target.bootstrap(), &topic, partition, records(partition), &writing)?;
                }
            }
        }
        for streams in ["1", "2"] {
            let verified = verify(pair, &topic, &["--num.streams", streams])?;
            verified.expect_identical(400_000, &[])?;
            let megabytes = verified.number("bytes_compared") as f64 / 1e6;
            let seconds = verified.document["seconds"].as_f64().unwrap_or(f64::NAN);
            println!(
                "{what}, {streams} threads: {megabytes:.0} MB (about 340 MB of records) in {seconds:.2} s, {:.0} MB/s, {:.2} s CPU, {} MiB",
                megabytes / seconds,
                verified.usage.cpu_seconds,
                verified.usage.peak_kib / 1024
            );
        }
    }
    Ok(())
}
