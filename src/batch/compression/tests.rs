//! Round trips, damage and bombs.
//! Limits are tried at the byte where they begin to hold.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;

pub(crate) const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

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
