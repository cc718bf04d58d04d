//! Compresses and decompresses payloads as Kafka's clients and brokers write and read them.
//!
//! It decides the framing (xerial for snappy, frames of independent blocks for LZ4) and the bounds: what comes from a
//! broker may lie about its size, so memory grows with the bytes that really come out, and not beyond a limit. The
//! states of the codecs are kept for the next call of the same thread, because making them anew costs more than a
//! small payload does.

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use zstd::zstd_safe::{CCtx, CParameter, DCtx, InBuffer, OutBuffer, ResetDirective};

mod lz4;
mod snappy;
pub mod unpack;

/// How the payload of a batch is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    None,
    /// RFC 1952, any number of members.
    Gzip,
    /// Snappy blocks in the frame of the library xerial, or one bare block.
    Snappy,
    /// One LZ4 frame.
    Lz4,
    /// Zstandard frames.
    Zstd,
}

/// What is written costs less to compress than the default level, and is still smaller than the small batches it is
/// made of.
const GZIP_LEVEL: u32 = 4;
const GZIP_WINDOW: u8 = 15;
const ZSTD_LEVEL: i32 = 1;
/// The first guess of how much larger a payload gets.
const USUAL_RATIO: usize = 4;
const SMALLEST_BUFFER: usize = 512;
/// States that have grown beyond this are not kept.
const KEPT_STATE: usize = 4 << 20;

/// Why what is larger than its limit is not given.
pub const TOO_LARGE: &str = "it becomes too large when it is decompressed";
const DAMAGED_GZIP: &str = "its gzip payload is damaged";
const DAMAGED_ZSTD: &str = "its zstd payload is damaged";
const CANNOT_COMPRESS: &str = "its records cannot be compressed again";

impl Codec {
    /// The codec that the attributes of a batch name.
    pub fn of(attributes: i16) -> Result<Codec, &'static str> {
        match attributes & 0x07 {
            0 => Ok(Codec::None),
            1 => Ok(Codec::Gzip),
            2 => Ok(Codec::Snappy),
            3 => Ok(Codec::Lz4),
            4 => Ok(Codec::Zstd),
            _ => Err("its compression codec is not known"),
        }
    }

    /// The attribute bits that name it.
    pub fn bits(self) -> i16 {
        self as i16
    }
}

/// What was compressed, if that is at most `limit` bytes.
pub fn decompress(codec: Codec, bytes: &Bytes, limit: usize) -> Result<Bytes, &'static str> {
    let output = match codec {
        Codec::None if bytes.len() > limit => return Err(TOO_LARGE),
        Codec::None => return Ok(bytes.clone()),
        Codec::Gzip => gunzip(bytes, limit),
        Codec::Snappy => snappy::decompress(bytes, limit),
        Codec::Lz4 => lz4::decompress(bytes, limit, lz4::HeaderChecksum::Checked),
        Codec::Zstd => unzstd(bytes, limit),
    };
    #[cfg(test)]
    let output = output.map(planted_bug);
    output.map(Bytes::from)
}

/// [`decompress`] for message format 0, whose writers compute the checksum of the LZ4 frame's header wrongly.
pub fn decompress_magic_0(codec: Codec, bytes: &Bytes, limit: usize) -> Result<Bytes, &'static str> {
    match codec {
        Codec::Lz4 => lz4::decompress(bytes, limit, lz4::HeaderChecksum::Ignored).map(Bytes::from),
        _ => decompress(codec, bytes, limit),
    }
}

/// Compresses as the clients do.
pub fn compress(codec: Codec, bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
    match codec {
        Codec::None => Ok(bytes.to_vec()),
        Codec::Gzip => gzip(bytes),
        Codec::Snappy => snappy::compress(bytes),
        Codec::Lz4 => lz4::compress(bytes),
        Codec::Zstd => zstd(bytes),
    }
}

/// A buffer for what so many bytes will probably become.
fn first_buffer(compressed: usize, limit: usize) -> Vec<u8> {
    let guess = compressed.saturating_mul(USUAL_RATIO).max(SMALLEST_BUFFER);
    Vec::with_capacity(guess.min(limit.saturating_add(1)))
}

/// Makes room for more when the buffer is full: as much again as there is, but only one byte beyond the limit, by which
/// that is noticed.
fn make_room(output: &mut Vec<u8>, limit: usize) -> Result<(), &'static str> {
    if output.len() > limit {
        return Err(TOO_LARGE);
    }
    if output.len() == output.capacity() {
        let more = output.len().max(SMALLEST_BUFFER).min(limit.saturating_add(1) - output.len());
        output.reserve_exact(more);
    }
    Ok(())
}

// They are taken out while they are used, so after an error nothing comes back.
thread_local! {
    static GZIP: RefCell<Option<Compress>> = const { RefCell::new(None) };
    static UNZSTD: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
    static ZSTD: RefCell<Option<CCtx<'static>>> = const { RefCell::new(None) };
}

fn gunzip(mut input: &[u8], limit: usize) -> Result<Vec<u8>, &'static str> {
    let mut output = first_buffer(input.len(), limit);
    loop {
        // Nothing would be won by keeping the state: resetting it makes a new one.
        let mut state = Decompress::new_gzip(GZIP_WINDOW);
        let mut done = 0;
        loop {
            make_room(&mut output, limit)?;
            let (before_in, before_out) = (state.total_in(), state.total_out());
            let status = state.decompress_vec(&input[done..], &mut output, FlushDecompress::None);
            let status = status.map_err(|_| DAMAGED_GZIP)?;
            let taken = state.total_in() - before_in;
            done += taken as usize;
            match status {
                Status::StreamEnd => break,
                // Neither read nor written: the end is missing.
                _ if taken == 0 && state.total_out() == before_out => return Err(DAMAGED_GZIP),
                _ => {}
            }
        }
        input = &input[done..];
        if input.is_empty() {
            break;
        }
    }
    if output.len() > limit {
        return Err(TOO_LARGE);
    }
    Ok(output)
}

fn gzip(input: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut state = GZIP.take().unwrap_or_else(|| Compress::new_gzip(Compression::new(GZIP_LEVEL), GZIP_WINDOW));
    state.reset();
    let mut output = Vec::with_capacity(input.len() / USUAL_RATIO + SMALLEST_BUFFER);
    loop {
        make_room(&mut output, usize::MAX)?;
        let rest = &input[state.total_in() as usize..];
        match state.compress_vec(rest, &mut output, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => break,
            Ok(_) => {}
            Err(_) => return Err(CANNOT_COMPRESS),
        }
    }
    GZIP.set(Some(state));
    Ok(output)
}

fn unzstd(input: &[u8], limit: usize) -> Result<Vec<u8>, &'static str> {
    let mut state = match UNZSTD.take() {
        Some(state) => state,
        None => DCtx::try_create().ok_or("there is no memory to decompress it")?,
    };
    state.reset(ResetDirective::SessionOnly).map_err(|_| DAMAGED_ZSTD)?;
    let mut output = first_buffer(input.len(), limit);
    let mut source = InBuffer::around(input);
    loop {
        make_room(&mut output, limit)?;
        let (read, written) = (source.pos(), output.len());
        let mut target = OutBuffer::around_pos(&mut output, written);
        let hint = state.decompress_stream(&mut target, &mut source).map_err(|_| DAMAGED_ZSTD)?;
        let stuck = source.pos() == read && output.len() == written;
        // A hint of 0 says that a frame is complete; another one may follow.
        match (hint, source.pos() == input.len()) {
            (0, true) => break,
            (_, _) if stuck && output.len() < output.capacity() => return Err(DAMAGED_ZSTD),
            _ => {}
        }
    }
    if output.len() > limit {
        return Err(TOO_LARGE);
    }
    if state.sizeof() <= KEPT_STATE {
        UNZSTD.set(Some(state));
    }
    Ok(output)
}

fn zstd(input: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut state = match ZSTD.take() {
        Some(state) => state,
        None => CCtx::try_create().ok_or(CANNOT_COMPRESS)?,
    };
    let level = CParameter::CompressionLevel(ZSTD_LEVEL);
    state.set_parameter(level).map_err(|_| CANNOT_COMPRESS)?;
    let mut output = Vec::with_capacity(zstd::zstd_safe::compress_bound(input.len()));
    state.compress2(&mut output, input).map_err(|_| CANNOT_COMPRESS)?;
    if state.sizeof() <= KEPT_STATE {
        ZSTD.set(Some(state));
    }
    output.shrink_to_fit();
    Ok(output)
}

#[cfg(test)]
thread_local! {
    static BUG: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// For tests of who has to notice: until this is dropped, the last but one byte of what this thread decompresses is wrong.
#[cfg(test)]
pub(crate) fn plant_a_bug() -> impl Drop {
    struct Planted;
    impl Drop for Planted {
        fn drop(&mut self) {
            BUG.set(false);
        }
    }
    BUG.set(true);
    Planted
}

#[cfg(test)]
fn planted_bug(mut output: Vec<u8>) -> Vec<u8> {
    if let Some(at) = output.len().checked_sub(2).filter(|_| BUG.get()) {
        output[at] ^= 1;
    }
    output
}

#[cfg(test)]
mod tests;
