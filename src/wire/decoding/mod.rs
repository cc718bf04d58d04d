//! How answers of brokers are decoded, so that a damaged one is an error and never takes memory for what it only claims to hold.
//!
//! `kafka-protocol` makes room for as many elements as an array says it has, before it looks for them. What stands
//! between that and the network:
//! - No frame is longer than the longest answer of its kind ([`Decode::LONGEST`]), see `connection`.
//! - Fetch and Produce, the answers of every second, are read by hand in [`walk`]: no array may have more elements than
//!   the bytes that are left can hold, so what is decoded takes a small multiple of the answer.
//! - All others are looked through in [`layout`] before `kafka-protocol` decodes them, along what [`layouts`] says of them.
//!   So they take a small multiple of their bytes too.
//!
//! The records in an answer are slices of it here; the codec in `batch` reads them, which believes no length either.

mod layout;
mod layouts;
#[cfg(test)]
pub mod samples;
#[cfg(test)]
pub mod tests;
mod walk;

use bytes::Bytes;
use kafka_protocol::messages::{FetchResponse, ProduceResponse};

/// A message of which a damaged one takes no memory.
pub trait Decode: Sized {
    /// Bytes of the longest answer of this kind.
    const LONGEST: usize;

    /// For how long the broker asks to be sent nothing, by the answer's first field where it has one for that.
    fn throttle_time_ms(_answer: &[u8], _version: i16) -> i32 {
        0
    }

    /// Decodes it from the front of `answer`; the error says what is wrong with it.
    fn decode_bounded(answer: &mut Bytes, version: i16) -> Result<Self, String>;
}

/// A broker answers with one batch at least, however large it is, and so many bytes are more than the brokers' default for the
/// largest request by which it could have come there.
const LONGEST_FETCH: usize = 130 << 20;
/// Some bytes for each partition that a request was about, and a broker's sentence for one that was refused.
const LONGEST_PRODUCE: usize = 32 << 20;

impl Decode for FetchResponse {
    const LONGEST: usize = LONGEST_FETCH;

    fn throttle_time_ms(answer: &[u8], _version: i16) -> i32 {
        layout::number_in_front(answer)
    }

    fn decode_bounded(answer: &mut Bytes, version: i16) -> Result<Self, String> {
        walk::fetch(answer, version)
    }
}

impl Decode for ProduceResponse {
    const LONGEST: usize = LONGEST_PRODUCE;

    fn decode_bounded(answer: &mut Bytes, version: i16) -> Result<Self, String> {
        walk::produce(answer, version)
    }
}
