//! A payload of any bytes is decompressed within its limit, or refused; the first byte chooses the codec.
//! What comes out is compressed again and has to come out the same.
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

use batch::compression::{Codec, compress, decompress, decompress_magic_0};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, payload)) = bytes.split_first() else { return };
    let Ok(codec) = Codec::of(i16::from(*first)) else { return };
    let payload = Bytes::copy_from_slice(payload);
    let read = if first & 0x80 == 0 { decompress } else { decompress_magic_0 };
    if let Ok(plain) = read(codec, &payload, LIMIT) {
        assert!(plain.len() <= LIMIT);
        let again = Bytes::from(compress(codec, &plain).unwrap_or_default());
        assert_eq!(decompress(codec, &again, LIMIT), Ok(plain));
    }
});
