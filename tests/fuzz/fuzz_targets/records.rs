//! The records of any bytes are read, or refused, as the internal topic is read: the checksums are made right first, because no
//! fuzzer finds them. No count and no length takes memory.
#![no_main]
#![allow(dead_code, unused_imports, reason = "only a part of the engine is used")]

#[path = "../../../src/batch/mod.rs"]
mod batch;
#[path = "../../../src/error.rs"]
mod error;
#[path = "../../../src/limits.rs"]
mod limits;
#[path = "../../../src/text.rs"]
mod text;

use batch::records::Records;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const LIMIT: usize = 1 << 20;

/// Makes the checksums right, so that what they cover is looked at.
fn bless(mut bytes: &mut [u8]) {
    while bytes.len() > 26 {
        let length = u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize;
        let Some((entry, rest)) = bytes.split_at_mut_checked(12 + length).filter(|(entry, _)| entry.len() > 26) else {
            return;
        };
        let crc = crc32c::crc32c(&entry[21..]);
        entry[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes = rest;
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    bless(&mut bytes);
    let length = bytes.len();
    let bytes = Bytes::from(bytes);
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    for batch in batch::split(bytes).map_while(Result::ok) {
        let Ok(payload) = batch.decompressed_within(LIMIT) else { continue };
        for record in Records::new(&batch.header, &payload) {
            let Ok(record) = record else { break };
            record.headers.for_each(drop);
        }
    }
    let taken = MEMORY.peak_usage().saturating_sub(before);
    assert!(taken <= 2 * LIMIT + 32 * length + (1 << 20), "{length} bytes took {taken}");
});
