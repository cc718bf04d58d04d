//! Smoke fuzzing: valid answers and payloads are damaged at random, and whatever comes of it must be an answer or an error.
//!
//! The rounds are the same each time; `KMIRROR_FUZZ` multiplies them. They run once more in a process of their own that
//! may have little memory, where a length that is believed ends the process. The targets of libFuzzer in
//! `tests/fuzz` begin where this ends.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{FetchResponse, MetadataResponse, ProduceResponse};
use kafka_protocol::protocol::Encodable;

use super::compression::unpack::Unpacking;
use super::compression::{Codec, compress, decompress, decompress_magic_0};
use super::pieces::{Piece, Reading, pieces};
use super::samples::log::Log;
use super::samples::{CODECS, Told, batch, header, record, told};
use super::{CHECKSUMMED_FROM, HEADER_LEN, Header, LOG_OVERHEAD, field};
use crate::wire::decoding::tests::made;
use crate::wire::decoding::{Decode, samples};

const INSIDE: &str = "KMIRROR_FUZZ_INSIDE";

/// Runs something; also the most memory that was taken for it, if nothing else runs in this process.
pub fn memory_of<T>(run: impl FnOnce() -> T) -> (T, usize) {
    static INSIDE_IT: LazyLock<bool> = LazyLock::new(|| std::env::var_os(INSIDE).is_some());
    if !*INSIDE_IT {
        return (run(), 0);
    }
    let before = crate::MEMORY.current_usage();
    crate::MEMORY.reset_peak_usage();
    let outcome = run();
    (outcome, crate::MEMORY.peak_usage().saturating_sub(before))
}

fn rounds(count: u64) -> std::ops::Range<u64> {
    let times = std::env::var("KMIRROR_FUZZ").ok().and_then(|times| times.parse().ok());
    0..count * times.unwrap_or(1)
}

/// Changes a few bytes, the length, or the place of parts.
fn damage(random: &mut fastrand::Rng, bytes: &mut Vec<u8>) {
    const NUMBERS: [i32; 8] = [0, 1, -1, i32::MAX, i32::MIN, 0x0101_0101, 60, 1 << 28];
    for _ in 0..random.usize(1..4) {
        if bytes.is_empty() {
            return;
        }
        let at = random.usize(..bytes.len());
        match random.u8(..8) {
            0..3 => bytes[at] ^= 1 << random.u8(..8),
            3 => bytes[at] = random.u8(..),
            4 => {
                let number = NUMBERS[random.usize(..NUMBERS.len())].to_be_bytes();
                let end = bytes.len().min(at + 4);
                bytes[at..end].copy_from_slice(&number[..end - at]);
            }
            5 => bytes.truncate(at),
            6 => {
                let end = random.usize(at..=bytes.len().min(at + 100));
                bytes.drain(at..end);
            }
            _ => {
                let end = random.usize(at..=bytes.len().min(at + 100));
                let part = bytes[at..end].to_vec();
                let to = random.usize(..=bytes.len());
                bytes.splice(to..to, part);
            }
        }
    }
}

/// Makes the checksums right again, so that the damage is looked at.
fn bless(bytes: &mut [u8]) {
    let mut at = 0;
    while bytes.len() - at >= HEADER_LEN {
        let Ok(length) = usize::try_from(i32::from_be_bytes(field(bytes, at + 8))) else { return };
        let end = at + LOG_OVERHEAD + length;
        let Some(entry) = bytes.get_mut(at..end).filter(|entry| entry.len() > 25) else { return };
        if entry[16] < 2 {
            let mut crc = flate2::Crc::new();
            crc.update(&entry[16..]);
            entry[12..16].copy_from_slice(&crc.sum().to_be_bytes());
        } else {
            let crc = crc32c::crc32c(&entry[CHECKSUMMED_FROM..]);
            entry[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        at = end;
    }
}

fn damaged_logs(count: u64) {
    let (mut refused, mut read) = (0, 0);
    for seed in rounds(count) {
        let mut random = fastrand::Rng::with_seed(seed);
        let log = Log::random(&mut random);
        let mut bytes = log.bytes;
        damage(&mut random, &mut bytes);
        if random.u8(..4) > 0 {
            bless(&mut bytes);
        }
        let batch_limit = if random.bool() { 1 << 20 } else { random.usize(..3000) };
        let reading =
            Reading { from: random.i64(0..log.end + 1), read_committed: random.bool(), batch_limit, without: &[] };
        let mut position = reading.from;
        let source = Bytes::from(bytes);
        for piece in pieces(source.clone(), &log.aborted, reading, &Bytes::from) {
            match piece {
                Ok(Piece::Nothing { next_offset, .. }) => {
                    assert!(next_offset > position, "seed {seed}");
                    position = next_offset;
                }
                Ok(Piece::Records(batch)) => {
                    assert!(batch.header.base_offset >= position && batch.header.is_dense(), "seed {seed}");
                    position = batch.header.last_offset() + 1;
                    let is_new = !source.as_ptr_range().contains(&batch.bytes.as_ptr());
                    // What passes may be damaged, which the target will find; what was written here is right.
                    if is_new {
                        let records = told(&batch);
                        assert_eq!(records.len() as i32, batch.header.record_count, "seed {seed}");
                        assert!(batch.len() <= batch_limit || records.len() == 1, "seed {seed}");
                        read += 1;
                    }
                }
                Err(malformed) => {
                    let error = crate::error::Error::from(malformed);
                    assert!(error.to_string().contains("offset"), "{error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > count / 10 && read > count / 10, "{refused} refused, {read} read: the damage misses its aim");
}

fn damaged_payloads(count: u64) {
    const LIMIT: usize = 1 << 20;
    let mut refused = 0;
    for seed in rounds(count) {
        let mut random = fastrand::Rng::with_seed(seed);
        let codec = CODECS[random.usize(1..5)];
        let length = random.usize(..3000);
        let word: Vec<u8> = (0..random.usize(1..50)).map(|_| random.u8(..)).collect();
        let sample: Vec<u8> = word.into_iter().cycle().take(length).collect();
        let mut bytes = compress(codec, &sample).unwrap();
        damage(&mut random, &mut bytes);
        let bytes = Bytes::from(bytes);
        let whole = decompress(codec, &bytes, LIMIT);
        match (&whole, unpacked(codec, &bytes, LIMIT)) {
            (Ok(whole), Ok(some)) => assert_eq!(whole, &some, "seed {seed}"),
            (Ok(_), Err(reason)) => assert_eq!(codec, Codec::Zstd, "seed {seed}: {reason}"),
            (Err(reason), Ok(_)) => panic!("seed {seed}: {reason}"),
            (Err(_), Err(_)) => {}
        }
        let read = if random.bool() { whole } else { decompress_magic_0(codec, &bytes, LIMIT) };
        match read {
            Ok(payload) => assert!(payload.len() <= LIMIT, "seed {seed}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > count / 10, "{refused}");
}

/// What comes of it some at a time, up to a limit.
fn unpacked(codec: Codec, bytes: &Bytes, limit: usize) -> Result<Vec<u8>, &'static str> {
    let mut unpacked = Vec::new();
    let mut unpacking = Unpacking::new(codec, bytes.clone())?.unwrap();
    while unpacking.more(&mut unpacked)? {
        if unpacked.len() > limit {
            return Err("it is too large");
        }
    }
    Ok(unpacked)
}

/// Batches of some kilobytes that become large; each record gets its time, so that they cannot pass as they are.
#[cfg(target_os = "linux")]
fn bombs() {
    const RECORDS: i32 = 48_000;
    const MOST: usize = 20 << 20;
    let told = |offset: i32| Told { offset: offset.into(), value: Some(vec![b'x'; 1000]), ..Told::default() };
    let payload: Vec<u8> = (0..RECORDS).flat_map(|offset| record(&told(offset), offset.into(), 0)).collect();
    for codec in CODECS.into_iter().filter(|codec| *codec != Codec::None) {
        let header = Header {
            base_offset: 0,
            attributes: super::attributes::LOG_APPEND_TIME | codec.bits(),
            last_offset_delta: RECORDS - 1,
            record_count: RECORDS,
            ..header()
        };
        let bomb = Bytes::from(batch(header, &compress(codec, &payload).unwrap()));
        // As long as the target refuses none for its length.
        let reading = Reading { from: 0, read_committed: true, batch_limit: i32::MAX as usize, without: &[] };
        // Codecs of C take memory that only the kernel counts: its mark goes back to what is in use now.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = highest_memory();
        let (records, taken) = memory_of(|| {
            let pieces = pieces(bomb.clone(), &[], reading, &Bytes::from).map(|piece| match piece.unwrap() {
                Piece::Records(batch) => batch.header.record_count,
                piece => panic!("{codec:?}: {piece:?}"),
            });
            pieces.sum::<i32>()
        });
        assert_eq!(records, RECORDS, "{codec:?}");
        let resident = highest_memory() - before;
        println!("{codec:?}: {} bytes take {taken} bytes, {resident} resident", bomb.len());
        assert!(taken <= MOST && resident <= 2 * MOST, "{codec:?}: {taken} bytes, {resident} resident");
    }
}

/// What this process had resident at most.
#[cfg(target_os = "linux")]
fn highest_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() << 10
}

fn damaged_answers(count: u64) {
    let (mut refused, mut read) = (0, 0);
    for seed in rounds(count) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut count = |is_read: bool| *(if is_read { &mut read } else { &mut refused }) += 1;
        for version in 4..=12 {
            let bytes = damaged_answer(&mut random, samples::fetch, version);
            let length = bytes.len();
            let mut bytes = Bytes::from(bytes);
            let (answer, taken) = memory_of(|| FetchResponse::decode_bounded(&mut bytes, version));
            assert!(answer.iter().all(|answer| taken_by_fetch(answer) <= 64 * length), "seed {seed}");
            assert!(taken <= 32 * length + 1000, "seed {seed}: {length} took {taken}");
            count(answer.is_ok());
        }
        for version in 3..=8 {
            let bytes = damaged_answer(&mut random, samples::produce, version);
            let (length, mut bytes) = (bytes.len(), Bytes::from(bytes));
            let (answer, taken) = memory_of(|| ProduceResponse::decode_bounded(&mut bytes, version));
            assert!(taken <= 32 * length + 1000, "seed {seed}: {length} took {taken}");
            count(answer.is_ok());
        }
    }
    let (others_read, others_refused) = made::damaged(rounds(count / 20), damage);
    let (refused, read) = (refused + others_refused, read + others_read);
    assert!(refused > count && read > count, "{refused} refused, {read} read: the damage misses its aim");
}

fn damaged_answer<T: Encodable>(
    random: &mut fastrand::Rng,
    sample: fn(&mut fastrand::Rng, i16) -> T,
    version: i16,
) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    sample(random, version).encode(&mut bytes, version).unwrap();
    let mut bytes = bytes.to_vec();
    damage(random, &mut bytes);
    bytes
}

/// Bytes of the arrays of an answer.
fn taken_by_fetch(answer: &FetchResponse) -> usize {
    let aborted = |data: &PartitionData| {
        data.aborted_transactions.as_ref().map_or(0, |aborted| aborted.capacity() * size_of::<AbortedTransaction>())
    };
    let partitions = |topic: &FetchableTopicResponse| {
        topic.partitions.capacity() * size_of::<PartitionData>() + topic.partitions.iter().map(aborted).sum::<usize>()
    };
    answer.responses.capacity() * size_of::<FetchableTopicResponse>()
        + answer.responses.iter().map(partitions).sum::<usize>()
}

#[test]
fn damaged_logs_are_read_or_refused() {
    damaged_logs(3000);
}

#[test]
fn damaged_payloads_are_decompressed_or_refused() {
    damaged_payloads(20_000);
}

#[test]
fn damaged_answers_are_decoded_or_refused() {
    damaged_answers(5000);
}

/// The same in a process that may have 1 GiB of addresses, and in which the memory is counted.
#[cfg(target_os = "linux")]
#[test]
fn damage_takes_no_memory() {
    if std::env::var_os(INSIDE).is_some() {
        // Ten bytes that claim to be 2 GiB.
        let lie = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x07, 0, 0, 0, 0, 0]);
        assert!(decompress(Codec::Snappy, &lie, 1 << 31).is_err());
        // 60 MB that claim to be as many topics, which would be 6 GB.
        let mut lie = made::zeros_that_claim_to_be_topics(60 << 20);
        let (answer, taken) = memory_of(|| MetadataResponse::decode_bounded(&mut lie, 1));
        assert!(answer.is_err() && taken < 1000, "{taken}");
        bombs();
        damaged_answers(2000);
        damaged_logs(2000);
        return damaged_payloads(5000);
    }
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "ulimit -v 1048576 && exec \"$0\" --exact batch::fuzz::damage_takes_no_memory --test-threads=1"]);
    let output = shell.arg(std::env::current_exe().unwrap()).env(INSIDE, "1").output().unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
