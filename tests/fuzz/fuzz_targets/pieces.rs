//! A fetch answer of any bytes is cut into pieces, or refused. Checksums are made right first, because no fuzzer finds them;
//! pieces that were written anew have to be right too.
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

use batch::pieces::{Piece, Reading, pieces};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

/// Makes the checksums right, so that what they cover is looked at.
fn bless(mut bytes: &mut [u8]) {
    while bytes.len() > 26 {
        let length = u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize;
        let Some((entry, rest)) = bytes.split_at_mut_checked(12 + length).filter(|(entry, _)| entry.len() > 26) else {
            return;
        };
        if entry[16] < 2 {
            let mut crc = flate2::Crc::new();
            crc.update(&entry[16..]);
            entry[12..16].copy_from_slice(&crc.sum().to_be_bytes());
        } else {
            let crc = crc32c::crc32c(&entry[21..]);
            entry[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        bytes = rest;
    }
}

fuzz_target!(|input: (u16, u16, bool, &[u8])| {
    let (from, batch_limit, read_committed, bytes) = input;
    let mut bytes = bytes.to_vec();
    bless(&mut bytes);
    let reading = Reading { from: from.into(), read_committed, batch_limit: batch_limit.into(), without: &[] };
    let mut position = reading.from;
    for piece in pieces(Bytes::from(bytes), &[(0, 0), (1, 100)], reading, &Bytes::from) {
        match piece {
            Ok(Piece::Nothing { next_offset, .. }) => {
                assert!(next_offset > position);
                position = next_offset;
            }
            Ok(Piece::Records(batch)) => {
                assert!(batch.header.base_offset >= position && batch.header.is_dense());
                position = batch.header.last_offset() + 1;
            }
            Err(_) => {}
        }
    }
});
