//! Keeps the generated decoder from lengths that go beyond the end of the answer, without knowing any message.
//!
//! A 32-bit integer may be a length or any other number, and which it is the buffer is not told. So one that is
//! larger than the bytes that are left reads as one more than they are. If it was a length, decoding fails for want of
//! bytes, after room for at most that many elements. If decoding succeeds it was another number, all lengths are known
//! to be within bounds, and the answer is decoded once more as it is. What the generated code reads next never depends on
//! a number that is no length. Lengths of variable size need no such care: nothing else that large is written so.

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::protocol::Decodable;
use kafka_protocol::protocol::buf::ByteBuf;
use std::ops::Range;

/// Decodes a message from the front of `answer`.
pub fn decode<T: Decodable>(answer: &mut Bytes, version: i16) -> Result<T, String> {
    let mut guard = Guard { bytes: answer.clone(), altered: false };
    let decoded = T::decode(&mut guard, version).map_err(|error| error.to_string().trim_end().to_owned())?;
    if guard.altered {
        return T::decode(answer, version).map_err(|error| error.to_string());
    }
    *answer = guard.bytes;
    Ok(decoded)
}

struct Guard {
    bytes: Bytes,
    /// Whether a number did not read as it is.
    altered: bool,
}

impl Buf for Guard {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        let number = self.bytes.try_get_i32()?;
        let beyond = self.bytes.len().saturating_add(1);
        match usize::try_from(number) {
            Ok(length) if length > beyond => {
                self.altered = true;
                Ok(beyond as i32)
            }
            _ => Ok(number),
        }
    }

    /// One byte: a truth value, which is 0 or 1, or one of a length of variable size. Its later bytes are looked at
    /// like first ones, where they are less than the whole was.
    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        let length = self.bytes.iter().take(5).enumerate();
        let mut value = 0u64;
        for (index, byte) in length {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                break;
            }
        }
        // Lengths are written as one more than they are.
        if value > self.bytes.len() as u64 {
            return Err(TryGetError { requested: value as usize, available: self.bytes.len() });
        }
        self.bytes.try_get_u8()
    }
}

impl ByteBuf for Guard {
    fn peek_bytes(&mut self, range: Range<usize>) -> Bytes {
        self.bytes.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.bytes.split_to(size)
    }
}
