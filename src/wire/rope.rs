//! A request as the pieces it consists of, written without gluing them together.
//! So a payload goes from the buffer it was fetched into to the socket without being copied.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Pieces of bytes that are one message.
#[derive(Debug, Default)]
pub struct Rope {
    pieces: VecDeque<Bytes>,
    remaining: usize,
}

impl Rope {
    /// Adds a piece at the end.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.remaining += piece.len();
            self.pieces.push_back(piece);
        }
    }
}

impl Buf for Rope {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let used = slices.len().min(self.pieces.len());
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
        }
        used
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "advance beyond the end");
        self.remaining -= count;
        while count > 0 {
            let Some(front) = self.pieces.front_mut() else { break };
            if front.len() > count {
                front.advance(count);
                break;
            }
            count -= front.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advances_over_pieces() {
        let mut rope = Rope::default();
        for piece in ["ab", "", "cde", "f"] {
            rope.push(Bytes::from_static(piece.as_bytes()));
        }
        let mut slices = [IoSlice::new(&[]); 8];
        assert_eq!(rope.chunks_vectored(&mut slices), 3);
        rope.advance(3);
        assert_eq!((rope.remaining(), rope.chunk()), (3, &b"de"[..]));
        rope.advance(3);
        assert!(!rope.has_remaining());
    }
}
