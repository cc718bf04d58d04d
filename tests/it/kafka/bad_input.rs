//! Damage that the source itself hands out, again and again: the partition parks with topic, partition, offset and reason; the
//! others go on; the process neither panics nor grows.
//!
//! A proxy edits the answers of a real broker. Every partition but the last has one kind of damage in its second batch, so
//! that there is something before it that must be copied, and something after it that must not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::BufMut;

use crate::support::cluster::{Options, Pair};
use crate::support::ledger::{Isolation, Ledger, compare};
use crate::support::mirroring::Mirroring;
use crate::support::records::{Generator, Record, Writing, produce};
use crate::support::tampering::{self, HEADER, RecordsEditor};
use crate::support::{Outcome, fail};

const TOPIC: &str = "spoiled";
const BATCH: i64 = 20;
/// Time for the mirror to give up on all it has to give up on.
const LIMIT: Duration = Duration::from_secs(60);
const MEMORY_KIB: u64 = 160 << 10;

/// What is wrong with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Checksum,
    Magic,
    LengthTooSmall,
    LengthNegative,
    MoreRecordsThanOffsets,
    /// The count says that one record is missing, and none is.
    FewerRecords,
    /// The count says that there are none: a batch that was compacted away, if it were empty.
    NoRecords,
    /// One record, says the header; one gigabyte of zeros, says the payload.
    Bomb,
    OffsetBackwards,
    /// The payload is no records, and the checksum is right.
    Payload,
}

const DAMAGES: [Damage; 10] = [
    Damage::Checksum,
    Damage::Magic,
    Damage::LengthTooSmall,
    Damage::LengthNegative,
    Damage::MoreRecordsThanOffsets,
    Damage::FewerRecords,
    Damage::NoRecords,
    Damage::Bomb,
    Damage::OffsetBackwards,
    Damage::Payload,
];

impl Damage {
    fn spoil(self, batch: &mut Vec<u8>) {
        let mut put = |at: usize, value: &[u8]| batch[at..at + value.len()].copy_from_slice(value);
        let count = BATCH as i32;
        match self {
            Self::Checksum => batch[17] ^= 0xff,
            Self::Magic => batch[16] = 9,
            Self::LengthTooSmall => put(8, &5_i32.to_be_bytes()),
            Self::LengthNegative => put(8, &(-1_i32).to_be_bytes()),
            Self::MoreRecordsThanOffsets => put(57, &(count + 5).to_be_bytes()),
            Self::FewerRecords => put(57, &(count - 1).to_be_bytes()),
            Self::NoRecords => put(57, &0_i32.to_be_bytes()),
            Self::OffsetBackwards => put(0, &0_i64.to_be_bytes()),
            Self::Payload => batch[HEADER..].fill(0xee),
            Self::Bomb => {
                const ZSTD: u8 = 4;
                put(57, &1_i32.to_be_bytes());
                batch[22] = ZSTD;
                batch.truncate(HEADER);
                batch.extend(zstd_bomb());
                let length = (batch.len() - 12) as i32;
                batch[8..12].copy_from_slice(&length.to_be_bytes());
            }
        }
        // All but the first kind have a right checksum: it must not be what finds them.
        if self != Self::Checksum {
            tampering::seal(batch);
        }
    }
}

/// A gigabyte of zeros in 32 KB: blocks of one repeated byte.
fn zstd_bomb() -> Vec<u8> {
    const BLOCK: u32 = 128 << 10;
    const BLOCKS: u32 = (1 << 30) / BLOCK;
    const REPEATED: u32 = 1 << 1;
    // The magic number, no flags, a window of 2 MB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 11 << 3];
    for block in 1..=BLOCKS {
        let last = u32::from(block == BLOCKS);
        frame.put_uint_le(u64::from(last | REPEATED | (BLOCK << 3)), 3);
        frame.push(0);
    }
    frame
}

/// Spoils the batch at offset 20 of every partition that has a damage; at 40 where the batch itself moves back.
fn spoil() -> impl RecordsEditor {
    |topic, partition, records| {
        let Some(damage) = DAMAGES.get(partition as usize).filter(|_| topic == TOPIC) else { return false };
        let spoiled = offset_of(*damage);
        let mut edited = Vec::with_capacity(records.len());
        let mut rest = 0;
        for range in tampering::batches(records) {
            let mut batch = records[range.clone()].to_vec();
            if tampering::base_offset(&batch) == spoiled {
                damage.spoil(&mut batch);
            }
            edited.extend(batch);
            rest = range.end;
        }
        edited.extend_from_slice(&records[rest..]);
        let changed = edited != *records;
        *records = edited;
        changed
    }
}

/// Where the spoiled batch lies.
fn offset_of(damage: Damage) -> i64 {
    if damage == Damage::OffsetBackwards { 2 * BATCH } else { BATCH }
}

fn write(pair: &Pair) -> Outcome {
    pair.source.create_topic(TOPIC, DAMAGES.len() as i32 + 1, &[])?;
    let writing = Writing { batch_records: BATCH as usize, linger_ms: 100, ..Writing::codec("lz4") };
    for partition in 0..=DAMAGES.len() as i32 {
        for seed in 0..4 {
            let records: Vec<Record> = Generator::new(seed).take(BATCH as usize).collect();
            produce(&pair.source.direct(), TOPIC, partition, records, &writing)?;
        }
    }
    Ok(())
}

#[test]
fn spoiled_batches_park_their_partitions_and_nothing_else() -> Outcome {
    let pair = Pair::start(Options::default().proxied(), Options::default())?;
    write(&pair)?;
    pair.source.proxy(1).edit(Some(tampering::fetch_answers(spoil())));
    let mut mirror = Mirroring::of(&pair.source, &pair.target, "spoiled", TOPIC).start()?;
    let start = Instant::now();
    let mut said = String::new();
    let parked = |said: &str| said.matches("partition parked").count();
    while parked(&said) < DAMAGES.len() && start.elapsed() < LIMIT {
        if let Some(status) = mirror.exited()? {
            return fail(format!("it ended with {status}, and one partition is sound:\n{}", mirror.stderr()));
        }
        std::thread::sleep(Duration::from_millis(100));
        said = mirror.stderr();
    }
    let peak = mirror.usage().peak_kib;
    mirror.kill9()?;
    let complaints = judge(&pair, &said, peak)?;
    match complaints.is_empty() {
        true => Ok(()),
        false => fail(format!("{}\nkmirror said:\n{said}", complaints.join("\n"))),
    }
}

/// What is not as it should be, all of it: ten kinds of damage are ten tests.
fn judge(pair: &Pair, said: &str, peak: u64) -> Outcome<Vec<String>> {
    let mut complaints = Vec::new();
    let ends = pair.target.client().bounds(TOPIC)?;
    let parked: BTreeMap<usize, &str> = (0..=DAMAGES.len())
        .filter_map(|partition| {
            let name = format!("topic '{TOPIC}' partition {partition}:");
            let line = said.lines().find(|line| line.contains("partition parked") && line.contains(&name));
            line.map(|line| (partition, line))
        })
        .collect();
    for (partition, damage) in DAMAGES.into_iter().enumerate() {
        let offset = offset_of(damage);
        match parked.get(&partition) {
            None => complaints.push(format!("{damage:?}: partition {partition} is not parked")),
            Some(line) if !["offset", "offsets"].iter().any(|word| line.contains(&format!("{word} {offset}"))) => {
                complaints.push(format!("{damage:?}: offset {offset} is not named: {line}"));
            }
            Some(_) => {}
        }
        let end = ends[&(partition as i32)].end;
        if end != offset {
            complaints.push(format!("{damage:?}: the target ends at {end}, what is sound at {offset}"));
        }
    }
    let sound = DAMAGES.len();
    if let Some(line) = parked.get(&sound) {
        complaints.push(format!("the sound partition is parked: {line}"));
    }
    let [source, target] = [&pair.source, &pair.target].map(|cluster| -> Outcome<Ledger> {
        let mut ledger = Ledger::read(&cluster.direct(), TOPIC, Isolation::ReadCommitted)?;
        ledger.partitions.retain(|partition, _| *partition == sound as i32);
        Ok(ledger)
    });
    if let Err(failure) = compare(&source?, &target?).expect_identical(4 * BATCH as usize) {
        complaints.push(format!("the sound partition: {failure}"));
    }
    if said.contains("panicked") {
        complaints.push("it panicked".to_owned());
    }
    if peak > MEMORY_KIB {
        complaints.push(format!("it grew to {peak} KiB"));
    }
    println!("{} of {} kinds of damage parked, peak memory {peak} KiB", parked.len(), DAMAGES.len());
    Ok(complaints)
}
