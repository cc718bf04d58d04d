//! Round trips, damage and bombs.
//! Limits are tried at the byte where they begin to hold.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::super::samples::{CODECS, from_hex};
use super::*;

fn decompressed(codec: Codec, bytes: &[u8], limit: usize) -> Result<Vec<u8>, &'static str> {
    decompress(codec, &Bytes::copy_from_slice(bytes), limit).map(|bytes| bytes.to_vec())
}

/// Payloads of many lengths, from constant to random.
fn samples() -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut samples = vec![Vec::new(), vec![0], vec![7; 1_000_000], b"a word, a word, a word".repeat(10_000)];
    for length in [1, 10, 100, 511, 512, 513, 4095, 32_768, 65_535, 65_536, 65_537, 200_000] {
        samples.push(std::iter::repeat_with(|| random.u8(..)).take(length).collect());
        samples.push(std::iter::repeat_with(|| random.u8(b'a'..b'e')).take(length).collect());
    }
    samples
}

#[test]
fn what_was_compressed_comes_out_again() {
    for codec in CODECS {
        for sample in samples() {
            let compressed = compress(codec, &sample).unwrap();
            let out = decompressed(codec, &compressed, sample.len()).unwrap();
            assert!(out == sample, "{codec:?}, {} bytes", sample.len());
            if sample.len() > 1 {
                let limit = sample.len() - 1;
                assert_eq!(decompressed(codec, &compressed, limit).unwrap_err(), TOO_LARGE, "{codec:?} {limit}");
            }
        }
    }
}

#[test]
fn codecs_have_the_numbers_of_the_protocol() {
    for (number, codec) in (0i16..).zip(CODECS) {
        assert_eq!(Codec::of(number | 0x78), Ok(codec));
        assert_eq!(codec.bits(), number);
    }
    for number in 5..8 {
        assert!(Codec::of(number).is_err());
    }
}

#[test]
fn a_payload_that_is_cut_off_is_refused() {
    let sample = b"a word, a word, another word".repeat(50);
    for codec in &CODECS[1..] {
        let whole = compress(*codec, &sample).unwrap();
        for kept in 0..whole.len() {
            let cut = decompressed(*codec, &whole[..kept], 1 << 20);
            // Snappy in xerial's frame has no end, so a frame without a block is an empty payload.
            let empty = cut.as_ref().is_ok_and(|out| *codec == Codec::Snappy && kept == 16 && out.is_empty());
            assert!(cut.is_err() || empty, "{codec:?} {kept}");
        }
        // An error leaves nothing behind that would disturb the next payload.
        assert_eq!(decompressed(*codec, &whole, 1 << 20).unwrap(), sample);
    }
}

#[test]
fn several_members_and_frames_are_one_payload() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Zstd] {
        let both = [compress(codec, b"one, ").unwrap(), compress(codec, b"two").unwrap()].concat();
        assert_eq!(decompressed(codec, &both, 100).unwrap(), b"one, two", "{codec:?}");
    }
}

#[test]
fn snappy_without_a_frame_is_read() {
    let bare = snap::raw::Encoder::new().compress_vec(b"bare, bare, bare, bare").unwrap();
    assert_eq!(decompressed(Codec::Snappy, &bare, 100).unwrap(), b"bare, bare, bare, bare");
}

#[test]
fn a_lie_about_the_size_takes_no_memory() {
    // Snappy: 2 GiB claimed by ten bytes.
    assert_eq!(
        decompressed(Codec::Snappy, &[0xff, 0xff, 0xff, 0xff, 0x07, 0, 0, 0, 0, 0], 1 << 31),
        Err("its snappy payload is damaged")
    );
    // Zstd: a frame whose header says 2^40 bytes, and has none.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xc0, 0x70];
    frame.extend((1u64 << 40).to_le_bytes());
    assert_eq!(decompressed(Codec::Zstd, &frame, 1 << 30), Err(DAMAGED_ZSTD));
}

#[test]
fn bombs_are_stopped_at_the_limit() {
    let huge = vec![0; 64 << 20];
    for codec in &CODECS[1..] {
        let bomb = compress(*codec, &huge).unwrap();
        assert_eq!(decompressed(*codec, &bomb, 1 << 20), Err(TOO_LARGE), "{codec:?}");
    }
}

#[test]
fn the_checksum_of_an_lz4_header_counts_except_in_magic_0() {
    let mut frame = compress(Codec::Lz4, b"hello").unwrap();
    assert_eq!(frame[..7], [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]);
    frame[6] ^= 1;
    assert!(decompressed(Codec::Lz4, &frame, 100).is_err());
    let read = decompress_magic_0(Codec::Lz4, &Bytes::from(frame), 100).unwrap();
    assert_eq!(read, b"hello"[..]);
}

#[test]
fn frames_of_other_programs_are_read() {
    // Java, with everything that a frame may have: the size and checksums of blocks and content.
    let java = from_hex(concat!(
        "04224d187c505a00000000000000a525000000856120776f72642c200800616e6f746865721600162e16000110000f1e0016506f7264",
        "2e209bca638b00000000bbc175ed"
    ));
    assert_eq!(decompressed(Codec::Lz4, &java, 90).unwrap(), b"a word, a word, another word. ".repeat(3));
    // The program lz4, whose second block refers to the first one.
    let mut linked = vec![0x04, 0x22, 0x4d, 0x18, 0x44, 0x40, 0x5e, 0x1e, 0x01, 0, 0];
    linked.extend(b"\xf1\0a word, another\x0e\0\x1f\x0a\x15\0");
    linked.extend([0xff; 256]);
    linked.extend(b"\xd3Pther \x91\0\0\0\x0f\xf0");
    linked.extend([0xff; 136]);
    linked.extend(b"\x0fPr wor\0\0\0\0\x2f\xab\xac\x41");
    let text = b"a word, another word\n".repeat(5000);
    assert!(decompressed(Codec::Lz4, &linked, 1 << 20).unwrap() == text[..100_000]);
}

#[test]
fn what_cannot_be_compressed_is_stored_in_blocks_of_the_stated_length() {
    let mut random = fastrand::Rng::with_seed(9);
    let sample: Vec<u8> = (0..65_536).map(|_| random.u8(..)).collect();
    let frame = compress(Codec::Lz4, &sample).unwrap();
    assert_eq!(frame[7..11], [0, 0, 1, 0x80], "a stored block of 64 KiB");
    assert_eq!(frame.len(), 7 + 4 + 65_536 + 4);
}
