//! Decompresses payloads for the comparison. It shares no code with the engine's `batch/compression`: an error there must show as a
//! difference here, and not on both sides alike.
//!
//! The codecs are those of the crates (frames of LZ4 included); the frame around snappy and the old header of LZ4 are read here.

use std::io::Read;

use bytes::Bytes;

/// A payload that is larger when it is decompressed is not read: it may be a bomb.
const LIMIT: usize = 256 << 20;

/// The bits of a batch's attributes that name its codec.
pub const NOT_COMPRESSED: i16 = 0;
const GZIP: i16 = 1;
const SNAPPY: i16 = 2;
const LZ4: i16 = 3;
const ZSTD: i16 = 4;

const TOO_LARGE: &str = "it becomes too large when it is decompressed";
const GZIP_DAMAGED: &str = "its gzip payload cannot be decompressed";
const SNAPPY_DAMAGED: &str = "its snappy payload cannot be decompressed";
const LZ4_DAMAGED: &str = "its LZ4 payload cannot be decompressed";
const ZSTD_DAMAGED: &str = "its zstd payload cannot be decompressed";

/// What was compressed.
pub fn decompress(codec: i16, bytes: &Bytes) -> Result<Bytes, &'static str> {
    within(codec, bytes, LIMIT)
}

/// As [`decompress`] for message format 0: its writers computed the checksum in the header of an LZ4 frame over too many bytes, so
/// it is put right first.
pub fn decompress_magic_0(codec: i16, bytes: &Bytes) -> Result<Bytes, &'static str> {
    match codec {
        LZ4 => within(LZ4, &with_right_checksum(bytes)?, LIMIT),
        _ => decompress(codec, bytes),
    }
}

fn within(codec: i16, bytes: &Bytes, limit: usize) -> Result<Bytes, &'static str> {
    let mut input = &bytes[..];
    let output = match codec {
        NOT_COMPRESSED if bytes.len() > limit => return Err(TOO_LARGE),
        NOT_COMPRESSED => return Ok(bytes.clone()),
        GZIP => all(flate2::bufread::MultiGzDecoder::new(input), limit, GZIP_DAMAGED)?,
        SNAPPY => snappy(input, limit)?,
        LZ4 => {
            let output = all(lz4_flex::frame::FrameDecoder::new(&mut input), limit, LZ4_DAMAGED)?;
            // The decoder takes a frame that is cut off at its end for one that ends there.
            match input.is_empty() && has_end_mark(bytes) {
                true => output,
                false => return Err(LZ4_DAMAGED),
            }
        }
        ZSTD => {
            let decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(|_| ZSTD_DAMAGED)?;
            all(decoder, limit, ZSTD_DAMAGED)?
        }
        _ => return Err("its compression codec is not known"),
    };
    Ok(Bytes::from(output))
}

/// Everything a decoder gives. The buffer grows with what comes, not with what the payload claims.
fn all(decoder: impl Read, limit: usize, damaged: &'static str) -> Result<Vec<u8>, &'static str> {
    let mut output = Vec::new();
    decoder.take(limit as u64 + 1).read_to_end(&mut output).map_err(|_| damaged)?;
    if output.len() > limit { Err(TOO_LARGE) } else { Ok(output) }
}

/// What begins the frame of the library xerial, of which Java's clients write one. Others write a bare block.
const XERIAL: [u8; 8] = *b"\x82SNAPPY\0";
/// With the two versions that follow.
const XERIAL_HEADER: usize = 16;
/// No instruction makes more of its bytes: three of them copy 64. A block that claims more is not allocated for.
const MOST_OF_A_BYTE: usize = 22;

fn snappy(bytes: &[u8], limit: usize) -> Result<Vec<u8>, &'static str> {
    let mut output = Vec::new();
    if bytes.get(..XERIAL.len()) != Some(&XERIAL[..]) {
        snappy_block(bytes, limit, &mut output)?;
        return Ok(output);
    }
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if rest.starts_with(&XERIAL) {
            // Also between blocks, where one frame follows another.
            at += XERIAL_HEADER;
            continue;
        }
        let length = rest.get(..4).ok_or(SNAPPY_DAMAGED)?;
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let block = rest[4..].get(..length).ok_or(SNAPPY_DAMAGED)?;
        snappy_block(block, limit, &mut output)?;
        at += 4 + length;
    }
    // A header may be cut off.
    if at == bytes.len() { Ok(output) } else { Err(SNAPPY_DAMAGED) }
}

fn snappy_block(block: &[u8], limit: usize, output: &mut Vec<u8>) -> Result<(), &'static str> {
    let claimed = snap::raw::decompress_len(block).map_err(|_| SNAPPY_DAMAGED)?;
    if claimed > block.len() * MOST_OF_A_BYTE {
        return Err(SNAPPY_DAMAGED);
    }
    if output.len() + claimed > limit {
        return Err(TOO_LARGE);
    }
    output.extend(snap::raw::Decoder::new().decompress_vec(block).map_err(|_| SNAPPY_DAMAGED)?);
    Ok(())
}

/// Magic number of an LZ4 frame.
const LZ4_MAGIC: usize = 4;

/// Whether four zeros end the blocks; the checksum of the content may follow.
fn has_end_mark(frame: &[u8]) -> bool {
    let checksum = if frame.get(LZ4_MAGIC).is_some_and(|flags| flags & 0x04 != 0) { 4 } else { 0 };
    frame.len().checked_sub(checksum).is_some_and(|end| frame[..end].ends_with(&[0; 4]))
}

/// An LZ4 frame whose header has the checksum that the format asks for: of the descriptor, without the magic number.
fn with_right_checksum(frame: &Bytes) -> Result<Bytes, &'static str> {
    let flags = *frame.get(LZ4_MAGIC).ok_or(LZ4_DAMAGED)?;
    // Flags and block size; the size of the content and the number of a dictionary, if they are there.
    let length = 2 + if flags & 0x08 != 0 { 8 } else { 0 } + if flags & 0x01 != 0 { 4 } else { 0 };
    let descriptor = frame.get(LZ4_MAGIC..LZ4_MAGIC + length).ok_or(LZ4_DAMAGED)?;
    let checksum = (xxh32_of_few(descriptor) >> 8) as u8;
    let mut frame = frame.to_vec();
    *frame.get_mut(LZ4_MAGIC + length).ok_or(LZ4_DAMAGED)? = checksum;
    Ok(Bytes::from(frame))
}

/// XXH32 without a seed, of fewer than 16 bytes. <https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>
fn xxh32_of_few(bytes: &[u8]) -> u32 {
    const PRIMES: [u32; 5] = [0x9e37_79b1, 0x85eb_ca77, 0xc2b2_ae3d, 0x27d4_eb2f, 0x1656_67b1];
    let mut hash = PRIMES[4].wrapping_add(bytes.len() as u32);
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        hash = hash.wrapping_add(u32::from_le_bytes(*word).wrapping_mul(PRIMES[2]));
        hash = hash.rotate_left(17).wrapping_mul(PRIMES[3]);
    }
    for byte in rest {
        hash = hash.wrapping_add(u32::from(*byte).wrapping_mul(PRIMES[4]));
        hash = hash.rotate_left(11).wrapping_mul(PRIMES[0]);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(PRIMES[1]);
    hash = (hash ^ (hash >> 13)).wrapping_mul(PRIMES[2]);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::compression::{self, Codec};

    const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    fn texts() -> [Vec<u8>; 3] {
        let mixed = (0..200_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> (number % 29)) as u8);
        [Vec::new(), b"once more ".repeat(20_000), mixed.collect()]
    }

    #[test]
    fn what_the_engine_writes_is_read() {
        for codec in CODECS {
            for text in texts() {
                let compressed = Bytes::from(compression::compress(codec, &text).expect("it compresses"));
                assert_eq!(decompress(codec.bits(), &compressed).as_deref(), Ok(&text[..]), "{codec:?}");
                assert!(text.is_empty() || within(codec.bits(), &compressed, text.len() - 1) == Err(TOO_LARGE));
                for cut in (1..compressed.len()).rev().take(20).filter(|_| codec != Codec::None) {
                    let read = decompress(codec.bits(), &compressed.slice(..cut));
                    assert!(read.is_err() || read.is_ok_and(|read| read.len() < text.len()), "{codec:?} cut at {cut}");
                }
            }
        }
        assert!(decompress(5, &Bytes::new()).is_err());
    }

    #[test]
    fn frames_of_other_writers_are_read() {
        use std::io::Write as _;

        let text = &texts()[1];
        let bare = snap::raw::Encoder::new().compress_vec(text).expect("it compresses");
        assert_eq!(decompress(SNAPPY, &Bytes::from(bare)).as_deref(), Ok(&text[..]));
        let twice = [compression::compress(Codec::Snappy, text), compression::compress(Codec::Snappy, text)];
        let twice = Bytes::from(twice.map(|one| one.expect("it compresses")).concat());
        assert_eq!(decompress(SNAPPY, &twice).map(|read| read.len()), Ok(2 * text.len()));
        for mode in [lz4_flex::frame::BlockMode::Linked, lz4_flex::frame::BlockMode::Independent] {
            let info = lz4_flex::frame::FrameInfo::new()
                .block_mode(mode)
                .block_checksums(true)
                .content_checksum(true)
                .content_size(Some(text.len() as u64));
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(text).expect("it compresses");
            let mut frame = encoder.finish().expect("it compresses");
            assert_eq!(decompress(LZ4, &Bytes::from(frame.clone())).as_deref(), Ok(&text[..]));
            // As writers of format 0 had it.
            frame[LZ4_MAGIC + 10] ^= 0x55;
            let frame = Bytes::from(frame);
            assert_eq!(decompress(LZ4, &frame), Err(LZ4_DAMAGED));
            assert_eq!(decompress_magic_0(LZ4, &frame).as_deref(), Ok(&text[..]));
        }
    }

    #[test]
    fn damage_is_an_error_or_other_bytes_and_never_a_panic() {
        let mut random = 7u32;
        for codec in &CODECS[1..] {
            let compressed = compression::compress(*codec, &texts()[2][..5_000]).expect("it compresses");
            for _ in 0..2_000 {
                let mut damaged = compressed.clone();
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (random >> 8) as usize % damaged.len();
                damaged[at] ^= (random >> 3) as u8 | 1;
                let _ = within(codec.bits(), &Bytes::from(damaged), 1 << 20);
            }
        }
    }
}
