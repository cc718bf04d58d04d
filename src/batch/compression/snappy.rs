//! Snappy as the Java library xerial frames it, which is what Java producers write; other clients write one bare block.
//!
//! Frame: 8 bytes of magic, two versions, then blocks with their length in front. Frames may follow each other.

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::{CANNOT_COMPRESS, TOO_LARGE};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEADER_LEN: usize = 16;
/// Version and the oldest version that can read it, as xerial writes them.
const VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// The block of xerial.
const BLOCK: usize = 32 << 10;
/// The shortest instruction for 64 bytes has 3 bytes, so a block that claims more than this many times its own length lies.
const HIGHEST_RATIO: usize = 22;

const DAMAGED: &str = "its snappy payload is damaged";

pub(super) fn decompress(mut input: &[u8], limit: usize) -> Result<Vec<u8>, &'static str> {
    let mut output = Vec::new();
    if !is_framed(input) {
        block(input, &mut output, limit)?;
        return Ok(output);
    }
    while next_block(&mut input, &mut output, limit)? {}
    Ok(output)
}

/// Whether it is framed, and not one bare block.
pub(super) fn is_framed(input: &[u8]) -> bool {
    input.starts_with(&MAGIC)
}

/// Appends the next block of a frame; `false` at the end.
pub(super) fn next_block(input: &mut &[u8], output: &mut Vec<u8>, limit: usize) -> Result<bool, &'static str> {
    while input.starts_with(&MAGIC) {
        *input = input.get(HEADER_LEN..).ok_or(DAMAGED)?;
    }
    if input.is_empty() {
        return Ok(false);
    }
    let (length, rest) = input.split_first_chunk().ok_or(DAMAGED)?;
    let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| DAMAGED)?;
    let (compressed, rest) = rest.split_at_checked(length).ok_or(DAMAGED)?;
    block(compressed, output, limit)?;
    *input = rest;
    Ok(true)
}

/// Appends one block.
pub(super) fn block(input: &[u8], output: &mut Vec<u8>, limit: usize) -> Result<(), &'static str> {
    let start = output.len();
    let length = decompress_len(input).map_err(|_| DAMAGED)?;
    if length > input.len().saturating_mul(HIGHEST_RATIO) {
        return Err(DAMAGED);
    }
    if length > limit - start {
        return Err(TOO_LARGE);
    }
    output.resize(start + length, 0);
    let written = Decoder::new().decompress(input, &mut output[start..]).map_err(|_| DAMAGED)?;
    if written != length {
        return Err(DAMAGED);
    }
    Ok(())
}

pub(super) fn compress(input: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut encoder = Encoder::new();
    let mut output = Vec::with_capacity(HEADER_LEN + input.len() / 2);
    output.extend(MAGIC);
    output.extend(VERSIONS);
    for block in input.chunks(BLOCK) {
        let start = output.len() + 4;
        output.resize(start + max_compress_len(block.len()), 0);
        let written = encoder.compress(block, &mut output[start..]).map_err(|_| CANNOT_COMPRESS)?;
        output[start - 4..start].copy_from_slice(&(written as i32).to_be_bytes());
        output.truncate(start + written);
    }
    Ok(output)
}
