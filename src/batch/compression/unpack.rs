//! Decompresses some at a time, so that what a small payload becomes never has to be in memory as a whole.
//!
//! The codecs are those of [`decompress`](super::decompress), and so is what they take for damaged. What is kept between two calls is
//! the state of the codec: 32 KiB of gzip, 64 KiB of LZ4, the window of zstd, which is bounded. A block of snappy or LZ4 comes
//! as a whole.

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::{Codec, DAMAGED_GZIP, DAMAGED_ZSTD, GZIP_WINDOW, lz4, snappy};

/// Bytes that come at a time, where the codec leaves the choice.
const CHUNK: usize = 256 << 10;
/// A bare block of snappy, which has no smaller parts, may become so large.
const LARGEST_BLOCK: usize = 32 << 20;
/// As a power of two, the farthest that zstd may refer back: what writers use up to their twentieth level.
const FARTHEST: u32 = 25;

/// A payload that is being decompressed.
pub struct Unpacking {
    input: Bytes,
    /// How much of it was read.
    at: usize,
    state: State,
    ended: bool,
}

enum State {
    Gzip(Option<Box<Decompress>>),
    Snappy { framed: bool },
    Lz4(Box<lz4::Unpacking>),
    Zstd(DCtx<'static>),
}

impl std::fmt::Debug for Unpacking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} bytes unpacked", self.at, self.input.len())
    }
}

impl Unpacking {
    /// Begins; what is not compressed needs no unpacking.
    pub fn new(codec: Codec, input: Bytes) -> Result<Option<Self>, &'static str> {
        let mut at = 0;
        let state = match codec {
            Codec::None => return Ok(None),
            Codec::Gzip => State::Gzip(None),
            Codec::Snappy => State::Snappy { framed: snappy::is_framed(&input) },
            Codec::Lz4 => {
                let mut rest = &input[..];
                let unpacking = lz4::Unpacking::new(&mut rest)?;
                at = input.len() - rest.len();
                State::Lz4(Box::new(unpacking))
            }
            Codec::Zstd => {
                let mut state = DCtx::try_create().ok_or("there is no memory to decompress it")?;
                state.set_parameter(DParameter::WindowLogMax(FARTHEST)).map_err(|_| DAMAGED_ZSTD)?;
                State::Zstd(state)
            }
        };
        Ok(Some(Unpacking { input, at, state, ended: false }))
    }

    /// Appends what comes next; `false` if that is nothing, because it has ended.
    pub fn more(&mut self, output: &mut Vec<u8>) -> Result<bool, &'static str> {
        let before = output.len();
        while !self.ended && output.len() == before {
            self.step(output)?;
        }
        Ok(output.len() > before)
    }

    fn step(&mut self, output: &mut Vec<u8>) -> Result<(), &'static str> {
        let mut rest = &self.input[self.at..];
        match &mut self.state {
            State::Gzip(member) => {
                let mut state = member.take().unwrap_or_else(|| Box::new(Decompress::new_gzip(GZIP_WINDOW)));
                output.reserve_exact(CHUNK);
                let (before_in, before_out) = (state.total_in(), state.total_out());
                let status = state.decompress_vec(rest, output, FlushDecompress::None).map_err(|_| DAMAGED_GZIP)?;
                let taken = state.total_in() - before_in;
                self.at += taken as usize;
                match status {
                    Status::StreamEnd => self.ended = self.at == self.input.len(),
                    // Neither read nor written: the end is missing.
                    _ if taken == 0 && state.total_out() == before_out => return Err(DAMAGED_GZIP),
                    _ => *member = Some(state),
                }
            }
            State::Snappy { framed: false } => {
                snappy::block(rest, output, output.len().saturating_add(LARGEST_BLOCK))?;
                self.ended = true;
            }
            State::Snappy { framed: true } => {
                let limit = output.len().saturating_add(LARGEST_BLOCK);
                self.ended = !snappy::next_block(&mut rest, output, limit)?;
                self.at = self.input.len() - rest.len();
            }
            State::Lz4(state) => {
                self.ended = !state.next_block(&mut rest, output)?;
                self.at = self.input.len() - rest.len();
            }
            State::Zstd(state) => {
                output.reserve_exact(CHUNK);
                let written = output.len();
                let mut source = InBuffer::around(rest);
                let mut target = OutBuffer::around_pos(output, written);
                let hint = state.decompress_stream(&mut target, &mut source).map_err(|_| DAMAGED_ZSTD)?;
                let read = source.pos();
                self.at += read;
                // A hint of 0 says that a frame is complete; another one may follow.
                match (hint, self.at == self.input.len()) {
                    (0, true) => self.ended = true,
                    (_, _) if read == 0 && output.len() == written => return Err(DAMAGED_ZSTD),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
