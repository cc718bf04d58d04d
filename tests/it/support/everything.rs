//! Writes to a cluster whatever a Kafka log can hold: a family of topics named `<prefix>.<what>`.
//!
//! | topic | holds |
//! | --- | --- |
//! | `plain` | a partition for each codec, batches of every size, awkward records; the last one has lost its head |
//! | `compacted` | the same codecs thinned out by the cleaner, tombstones gone too; the last one has lost its head |
//! | `transactional` | committed, aborted, interleaved transactions, plain records between; the last one has one open |
//! | `compacted-transactional` | transactions that the cleaner has been at; the last partition has one open |
//! | `append-time` | timestamps given by the broker |
//! | `timestamps` | 0, -1, far in the future, going back |
//! | `big` | records of 10 MB |
//!
//! The cleaner is stopped (by topic configs, which a mirror copies) once it has done its work: it works whenever it likes,
//! and two logs that are cleaned at different times cannot be compared.

use std::thread;
use std::time::Duration;

use super::cluster::Cluster;
use super::failure::Context;
use super::hand_made::{self, Batch};
use super::ledger::{Isolation, Ledger, Stamps};
use super::records::{Generator, Record, Writer, Writing, produce};
use super::transactions::{End, Transactions};
use super::{Outcome, fail, wait_for};

pub(crate) const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// Where the heads of partitions end that have lost theirs: in the middle of a batch.
pub(crate) const HEAD: i64 = 137;
const BIG: usize = 10_000_000;
/// Of the compacted topics: keys that come again and again, and records in each partition.
const KEYS: usize = 40;
const RECORDS: usize = 600;
/// Records the cleaner leaves at most.
const LEFT: usize = KEYS + RECORDS / 9 + 1;
/// Long enough on an idle machine ten times over; the cleaner wakes up twice a second.
const CLEANING_LIMIT: Duration = Duration::from_secs(120);

/// One topic of the family.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    /// Records a reader of everything sees at least.
    pub(crate) least: usize,
    /// What a copy can keep of the timestamps.
    pub(crate) stamps: Stamps,
}

/// What was written. Transactions that are open stay so as long as this lives, or until [`Everything::end_open`].
pub(crate) struct Everything {
    pub(crate) topics: Vec<Topic>,
    open: Vec<(Transactions, End)>,
}

impl Everything {
    /// Writes the family; takes a quarter of a minute on an idle machine, most of which is waiting for the cleaner.
    pub(crate) fn write(cluster: &Cluster, prefix: &str) -> Outcome<Self> {
        let family = Family { cluster, prefix };
        let mut open = Vec::new();
        let writers: [&(dyn Fn() -> Outcome<Topic> + Sync); 6] = [
            &|| family.compacted(),
            &|| family.compacted_transactional(),
            &|| family.plain(),
            &|| family.append_time(),
            &|| family.timestamps(),
            &|| family.big(),
        ];
        let topics = thread::scope(|scope| {
            let writers = writers.map(|write| scope.spawn(write));
            let last = family.transactional(&mut open);
            let first = writers.into_iter().map(|writer| writer.join().unwrap_or_else(|_| fail("a writer panicked")));
            first.chain([last]).collect::<Outcome<Vec<_>>>()
        })?;
        thread::scope(|scope| {
            let settled = topics[..2].iter().map(|topic| scope.spawn(|| settle(cluster, &topic.name, LEFT)));
            let settled: Vec<_> = settled.collect();
            settled.into_iter().try_for_each(|topic| topic.join().unwrap_or_else(|_| fail("the waiting panicked")))
        })?;
        family.leave_open(&topics[1].name, &mut open)?;
        Ok(Self { topics, open })
    }

    /// A pattern that matches all of them.
    pub(crate) fn pattern(prefix: &str) -> String {
        format!("{prefix}\\..*")
    }

    /// Ends the transactions that were left open, one by a commit, one by an abort.
    pub(crate) fn end_open(&mut self) -> Outcome {
        self.open.drain(..).try_for_each(|(transactions, end)| transactions.end(end))
    }
}

struct Family<'a> {
    cluster: &'a Cluster,
    prefix: &'a str,
}

impl Family<'_> {
    fn topic(&self, what: &str, partitions: usize, configs: &[(&str, &str)]) -> Outcome<String> {
        let name = format!("{}.{what}", self.prefix);
        self.cluster.create_topic(&name, i32::try_from(partitions)?, configs)?;
        Ok(name)
    }

    fn produce(&self, topic: &str, partition: i32, records: Vec<Record>, writing: &Writing) -> Outcome {
        produce(&self.cluster.bootstrap(), topic, partition, records, writing).map(drop)
    }

    fn plain(&self) -> Outcome<Topic> {
        let name = self.topic("plain", CODECS.len() + 1, &[])?;
        let mut least = 0;
        for (partition, codec) in (0..).zip(CODECS.into_iter().chain(["lz4"])) {
            least += self.every_batch_size(&name, partition, codec)?;
        }
        let last = CODECS.len() as i32;
        self.cluster.client().delete_records(&name, last, HEAD)?;
        Ok(Topic { name, least: least - HEAD as usize, stamps: Stamps::WithType })
    }

    /// Large batches, small ones, single records, many tiny ones, from producers with idempotence and without.
    fn every_batch_size(&self, topic: &str, partition: i32, codec: &'static str) -> Outcome<usize> {
        let sizes = [(300, 100, true), (20, 1, false), (150, 3, true), (60, 60, false), (15, 1, true)];
        let mut written = 0;
        for (seed, (records, batch_records, idempotent)) in (0..).zip(sizes) {
            let writing = Writing { idempotent, batch_records, ..Writing::codec(codec) };
            self.produce(topic, partition, Generator::new(seed).take(records).collect(), &writing)?;
            written += records;
        }
        let awkward = awkward_records();
        written += awkward.len();
        self.produce(topic, partition, awkward, &Writing::codec(codec))?;
        Ok(written)
    }

    fn compacted(&self) -> Outcome<Topic> {
        let name = self.topic("compacted", CODECS.len() + 1, &COMPACTED)?;
        for (partition, codec) in (0..).zip(CODECS.into_iter().chain(["zstd"])) {
            let writing = Writing { batch_records: 20, ..Writing::codec(codec) };
            self.produce(&name, partition, keyed_records(partition as u64, RECORDS), &writing)?;
        }
        self.cluster.client().delete_records(&name, CODECS.len() as i32, HEAD)?;
        Ok(Topic { name, least: KEYS, stamps: Stamps::WithType })
    }

    fn transactional(&self, open: &mut Vec<(Transactions, End)>) -> Outcome<Topic> {
        let name = self.topic("transactional", 3, &[])?;
        let some = |seed: u64, count: usize| Generator::new(seed).take(count).collect::<Vec<_>>();
        let [one, other] =
            ["none", "zstd"].map(|codec| Transactions::open(&self.cluster.bootstrap(), &small_batches(codec)));
        let (one, other) = (one?, other?);
        for partition in 0..3 {
            for (seed, end) in (0..).zip([End::Commit, End::Abort, End::Commit, End::Abort, End::Abort]) {
                one.write(&name, partition, some(seed, 30), end)?;
                self.produce(&name, partition, some(seed, 5), &Writing::default())?;
                interleave(&one, &other, &name, partition, [end, End::Commit])?;
                other.write(&name, partition, some(seed, 1), end)?;
            }
        }
        other.begin()?;
        other.send(&name, 2, some(40, 25))?;
        // Beyond the open one there is more, committed and not, which a reader of committed data must not see yet.
        one.write(&name, 2, some(41, 10), End::Commit)?;
        one.write(&name, 2, some(42, 10), End::Abort)?;
        self.produce(&name, 2, some(43, 10), &Writing::codec("snappy"))?;
        open.push((other, End::Commit));
        Ok(Topic { name, least: 3 * 5 * 66 + 55, stamps: Stamps::WithType })
    }

    fn compacted_transactional(&self) -> Outcome<Topic> {
        let name = self.topic("compacted-transactional", 2, &COMPACTED)?;
        let writer = Transactions::open(&self.cluster.bootstrap(), &small_batches("lz4"))?;
        for partition in 0..2 {
            let records = keyed_records(partition as u64 + 20, RECORDS);
            for (number, records) in records.chunks(25).enumerate() {
                let end = if number % 3 == 1 { End::Abort } else { End::Commit };
                writer.write(&name, partition, records.to_vec(), end)?;
            }
        }
        Ok(Topic { name, least: KEYS, stamps: Stamps::WithType })
    }

    /// Only now: nothing after the first open transaction is ever cleaned.
    fn leave_open(&self, topic: &str, open: &mut Vec<(Transactions, End)>) -> Outcome {
        let writer = Transactions::open(&self.cluster.bootstrap(), &small_batches("lz4"))?;
        writer.begin()?;
        writer.send(topic, 1, keyed_records(30, 15))?;
        open.push((writer, End::Abort));
        Ok(())
    }

    fn append_time(&self) -> Outcome<Topic> {
        let name = self.topic("append-time", CODECS.len(), &[("message.timestamp.type", "LogAppendTime")])?;
        let mut least = 0;
        for (partition, codec) in (0..).zip(CODECS) {
            least += self.every_batch_size(&name, partition, codec)?;
        }
        Ok(Topic { name, least, stamps: Stamps::Value })
    }

    fn timestamps(&self) -> Outcome<Topic> {
        let name = self.topic("timestamps", 1, &[("message.timestamp.after.max.ms", FOR_EVER)])?;
        let stamps: [&[i64]; 6] = [&[0], &[-1], &[-1, -1, -1], &[FUTURE], &[0, -1, 5, FUTURE, 1], &[FUTURE, 0, -1]];
        let mut least = 0;
        for stamps in stamps {
            let mut records: Vec<_> = Generator::new(8).take(stamps.len()).collect();
            for (record, stamp) in records.iter_mut().zip(stamps) {
                record.timestamp = *stamp;
            }
            least += records.len();
            hand_made::produce(&self.cluster.client(), &name, 0, Batch::of(records).encode())?;
        }
        Ok(Topic { name, least, stamps: Stamps::WithType })
    }

    fn big(&self) -> Outcome<Topic> {
        let name = self.topic("big", 2, &[("max.message.bytes", "12000000")])?;
        for (partition, codec) in (0..).zip(["none", "lz4"]) {
            let mut config = Writing::codec(codec).config(&self.cluster.bootstrap());
            config.set("message.max.bytes", "12000000").set("queue.buffering.max.kbytes", "100000");
            let writer = Writer::from_config(&config)?;
            for size in [BIG, 100, BIG, BIG / 3] {
                let record = Generator::new(9).value_size(size..size + 1).find(|record| record.value.is_some());
                writer.send(&name, partition, &record.unwrap_or_else(|| unreachable!("the generator has no end")))?;
                writer.flush()?;
            }
        }
        Ok(Topic { name, least: 8, stamps: Stamps::WithType })
    }
}

/// The year 2100.
const FUTURE: i64 = 4_102_444_800_000;
/// The largest number of milliseconds.
const FOR_EVER: &str = "9223372036854775807";

/// Segments end after a minute by the records' own times; a record on the next day ends the last one. The records are
/// from the future: transaction markers have the time of day, and a segment that began with one would else never end.
pub(crate) const COMPACTED: [(&str, &str); 7] = [
    ("message.timestamp.after.max.ms", FOR_EVER),
    ("cleanup.policy", "compact,delete"),
    ("segment.ms", "60000"),
    ("min.cleanable.dirty.ratio", "0.001"),
    ("min.compaction.lag.ms", "0"),
    ("delete.retention.ms", "0"),
    ("file.delete.delay.ms", "1000"),
];

fn small_batches(codec: &'static str) -> Writing {
    Writing { batch_records: 8, ..Writing::codec(codec) }
}

/// Two transactions in one partition, turn by turn; they end in the order they are given.
fn interleave(one: &Transactions, other: &Transactions, topic: &str, partition: i32, ends: [End; 2]) -> Outcome {
    let both = [one, other];
    both.iter().try_for_each(|writer| writer.begin())?;
    for turn in 0..3 {
        for (seed, writer) in (0..).zip(both) {
            writer.send(topic, partition, Generator::new(100 + seed + turn).take(5))?;
        }
    }
    both.iter().zip(ends).try_for_each(|(writer, end)| writer.end(end))
}

/// A second apart. Most have one of a few keys, so that little is left of them; every ninth has a key of its own and stays
/// where it is, in the middle of a batch; every seventh is a tombstone.
fn keyed_records(seed: u64, count: usize) -> Vec<Record> {
    let mut records: Vec<_> = Generator::new(seed).take(count).collect();
    for (number, record) in records.iter_mut().enumerate() {
        let key = match number % 9 {
            4 => format!("alone-{number}"),
            _ => format!("key-{}", (number * 7 + number / 11) % KEYS),
        };
        record.key = Some(key.into_bytes());
        record.timestamp = FUTURE + number as i64 * 1000;
        if number % 7 == 3 {
            record.value = None;
        }
    }
    records
}

/// Records that show what a careless copy loses.
pub(crate) fn awkward_records() -> Vec<Record> {
    let timestamp = 1_700_000_000_000;
    let many: Vec<_> = (0..300)
        .map(|number| (["same", "other"][number % 2].to_owned(), Some(number.to_string().into_bytes())))
        .collect();
    let duplicates = ["x", "x", "", "x"].map(|name| (name.to_owned(), (!name.is_empty()).then(Vec::new))).to_vec();
    let plain = |key: Option<&[u8]>, value: Option<&[u8]>, headers| Record {
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        headers,
        timestamp,
    };
    vec![
        plain(None, None, Vec::new()),
        plain(Some(b""), Some(b""), Vec::new()),
        plain(Some(b"tombstone"), None, Vec::new()),
        plain(None, Some(b""), many),
        plain(Some(b"duplicates"), Some(b"value"), duplicates),
        plain(Some(&[b'k'; 3000]), Some(&[b'v'; 70_000]), vec![("h".to_owned(), Some(vec![b'h'; 20_000]))]),
    ]
}

/// Waits until the cleaner has left no more than `left` records in each partition of a topic, and stops it.
pub(crate) fn settle(cluster: &Cluster, topic: &str, left: usize) -> Outcome {
    let partitions = cluster.client().partitions(topic)?.len();
    // The newest record that ended a segment lies in one that the cleaner does not touch; others may wait for a pass.
    settle_as(cluster, topic, partitions * (left + 3), |cluster| {
        Ok(Ledger::read(&cluster.bootstrap(), topic, Isolation::ReadUncommitted)?.count())
    })
}

/// The same for all partitions together, as counted by `count`.
///
/// The cleaner never touches a partition's last segment, and needs a second pass for tombstones and markers: both want
/// another record a day later, again and again, until two passes in a row have found nothing to do.
pub(crate) fn settle_as(
    cluster: &Cluster,
    topic: &str,
    left: usize,
    count: impl Fn(&Cluster) -> Outcome<usize>,
) -> Outcome {
    let partitions = cluster.client().partitions(topic)?.len();
    // Message formats before 2 know no idempotence.
    let plainly = Writing { idempotent: false, ..Writing::default() };
    let mut day = 300;
    let mut before = None;
    let waited = wait_for(&format!("the cleaner leaves {left} records in {topic}"), CLEANING_LIMIT, || {
        day += 1;
        for partition in 0..i32::try_from(partitions)? {
            let closing = Record {
                key: Some(b"closing".to_vec()),
                value: Some(day.to_string().into_bytes()),
                headers: Vec::new(),
                timestamp: FUTURE + day * 86_400_000,
            };
            produce(&cluster.bootstrap(), topic, partition, [closing], &plainly)?;
        }
        thread::sleep(Duration::from_millis(1200));
        let now = count(cluster)?;
        let settled = now <= left && before == Some(now);
        before = Some(now);
        Ok(settled.then_some(()))
    });
    waited.context(format!("records in all its partitions: {before:?}"))?;
    let stopped = [("min.compaction.lag.ms", FOR_EVER), ("min.cleanable.dirty.ratio", "1.0")];
    cluster.client().alter_topic(topic, &stopped)?;
    // A pass that has begun goes on.
    thread::sleep(Duration::from_millis(1200));
    Ok(())
}
