//! LZ4 frames, read and written here because a general frame decoder wants buffers of several blocks for every frame,
//! which costs more than a small batch does.
//!
//! Written as Java's producer does: independent blocks of 64 KiB, no checksums but that of the header. Checksums of
//! blocks and content are skipped when read: the batch around them has its own.
//!
//! Format: <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>.

use std::cell::RefCell;

use lz4_flex::block::{self, CompressTable};

use super::{CANNOT_COMPRESS, TOO_LARGE};

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// Version 1 and independent blocks; blocks of 64 KiB; the checksum of these two.
const WRITTEN_DESCRIPTOR: [u8; 3] = [0x60, 0x40, 0x82];
const WRITTEN_BLOCK: usize = 64 << 10;
/// The bit of a block's length that says it is not compressed.
const STORED: u32 = 1 << 31;
/// How far back a block may refer to the ones before it.
const WINDOW: usize = 64 << 10;
/// A byte of a block stands for at most this many.
const HIGHEST_RATIO: usize = 255;
/// Scratch space that has grown beyond this is not kept.
const KEPT_SCRATCH: usize = 256 << 10;

const DAMAGED: &str = "its LZ4 payload is damaged";

/// Whether the checksum in the header of the frame has to be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderChecksum {
    Checked,
    Ignored,
}

/// What the header of a frame says of its blocks.
struct Descriptor {
    largest_block: usize,
    independent: bool,
    block_checksums: bool,
}

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static TABLES: RefCell<Option<CompressTable>> = const { RefCell::new(None) };
}

pub(super) fn decompress(mut input: &[u8], limit: usize, checksum: HeaderChecksum) -> Result<Vec<u8>, &'static str> {
    let descriptor = read_descriptor(&mut input, checksum)?;
    let mut output = Vec::new();
    let mut scratch = SCRATCH.take();
    while let Some(block) = next_block(&mut input, &descriptor, &mut scratch, &output)? {
        append(&mut output, block, limit)?;
    }
    scratch.truncate(KEPT_SCRATCH);
    scratch.shrink_to(KEPT_SCRATCH);
    SCRATCH.set(scratch);
    Ok(output)
}

/// What the next block becomes; none at the end. Blocks may refer back to what came `before` them.
fn next_block<'a, 'input: 'a>(
    input: &mut &'input [u8],
    descriptor: &Descriptor,
    scratch: &'a mut Vec<u8>,
    before: &[u8],
) -> Result<Option<&'a [u8]>, &'static str> {
    let length = input.split_off(..4).and_then(|bytes| bytes.first_chunk()).ok_or(DAMAGED)?;
    let length = u32::from_le_bytes(*length);
    if length == 0 {
        return Ok(None);
    }
    let compressed = input.split_off(..(length & !STORED) as usize).ok_or(DAMAGED)?;
    if descriptor.block_checksums {
        input.split_off(..4).ok_or(DAMAGED)?;
    }
    if length & STORED != 0 {
        return if compressed.len() > descriptor.largest_block { Err(DAMAGED) } else { Ok(Some(compressed)) };
    }
    let room = descriptor.largest_block.min(compressed.len().saturating_mul(HIGHEST_RATIO));
    if scratch.len() < room {
        scratch.resize(room, 0);
    }
    let written = if descriptor.independent {
        block::decompress_into(compressed, &mut scratch[..room])
    } else {
        let window = &before[before.len().saturating_sub(WINDOW)..];
        block::decompress_into_with_dict(compressed, &mut scratch[..room], window)
    };
    Ok(Some(&scratch[..written.map_err(|_| DAMAGED)?]))
}

/// A frame that is decompressed block by block.
pub(super) struct Unpacking {
    descriptor: Descriptor,
    scratch: Vec<u8>,
    /// The end of what came before, if blocks may refer to it.
    window: Vec<u8>,
}

impl Unpacking {
    /// Reads the header of the frame.
    pub(super) fn new(input: &mut &[u8]) -> Result<Self, &'static str> {
        let descriptor = read_descriptor(input, HeaderChecksum::Checked)?;
        Ok(Unpacking { descriptor, scratch: Vec::new(), window: Vec::new() })
    }

    /// Appends what the next block becomes; `false` at the end.
    pub(super) fn next_block(&mut self, input: &mut &[u8], output: &mut Vec<u8>) -> Result<bool, &'static str> {
        let Some(block) = next_block(input, &self.descriptor, &mut self.scratch, &self.window)? else {
            return Ok(false);
        };
        output.extend_from_slice(block);
        if !self.descriptor.independent {
            self.window.extend_from_slice(block);
            let beyond = self.window.len().saturating_sub(WINDOW);
            self.window.drain(..beyond);
        }
        Ok(true)
    }
}

fn append(output: &mut Vec<u8>, bytes: &[u8], limit: usize) -> Result<(), &'static str> {
    if bytes.len() > limit - output.len() {
        return Err(TOO_LARGE);
    }
    output.extend_from_slice(bytes);
    Ok(())
}

fn read_descriptor(input: &mut &[u8], checksum: HeaderChecksum) -> Result<Descriptor, &'static str> {
    if input.split_off(..4).ok_or(DAMAGED)? != MAGIC {
        return Err(DAMAGED);
    }
    let (flags, block) = match input {
        [flags, block, ..] => (*flags, *block),
        _ => return Err(DAMAGED),
    };
    // Version 1, no dictionary (nobody could know it), the reserved bits 0.
    let size = (block >> 4) & 7;
    if flags >> 6 != 1 || flags & 0x03 != 0 || block & 0x8f != 0 || size < 4 {
        return Err("its LZ4 payload is of a kind that is not known");
    }
    let content_size = flags & 0x08 != 0;
    let descriptor = input.split_off(..if content_size { 10 } else { 2 }).ok_or(DAMAGED)?;
    let stated = input.split_off_first().ok_or(DAMAGED)?;
    if checksum == HeaderChecksum::Checked && *stated != (short_xxh32(descriptor) >> 8) as u8 {
        return Err(DAMAGED);
    }
    Ok(Descriptor {
        largest_block: 1 << (8 + 2 * size),
        independent: flags & 0x20 != 0,
        block_checksums: flags & 0x10 != 0,
    })
}

/// The checksum XXH32 with seed 0 of less than 16 bytes, which is all that a frame's header has.
fn short_xxh32(bytes: &[u8]) -> u32 {
    const PRIMES: [u32; 5] = [0x9e37_79b1, 0x85eb_ca77, 0xc2b2_ae3d, 0x27d4_eb2f, 0x1656_67b1];
    let mut hash = PRIMES[4].wrapping_add(bytes.len() as u32);
    let (words, rest) = bytes.as_chunks();
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

pub(super) fn compress(input: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut table = TABLES.take().unwrap_or_else(CompressTable::large);
    let mut output = Vec::with_capacity(input.len() / 2 + 64);
    output.extend(MAGIC);
    output.extend(WRITTEN_DESCRIPTOR);
    for plain in input.chunks(WRITTEN_BLOCK) {
        let start = output.len() + 4;
        output.resize(start + block::get_maximum_output_size(plain.len()), 0);
        let written = block::compress_into_with_table(plain, &mut output[start..], &mut table);
        let mut written = written.map_err(|_| CANNOT_COMPRESS)?;
        let mut length = written as u32;
        if written >= plain.len() {
            output[start..start + plain.len()].copy_from_slice(plain);
            written = plain.len();
            length = written as u32 | STORED;
        }
        output[start - 4..start].copy_from_slice(&length.to_le_bytes());
        output.truncate(start + written);
    }
    output.extend([0; 4]);
    TABLES.set(Some(table));
    Ok(output)
}
