//! Reads the message formats 0 and 1, from before Kafka 0.11, into records of the present one.
//!
//! A log of these formats is a row of messages, each with its own checksum; a compressed one wraps a row of them. Format
//! 1 counts the offsets inside a wrapper from 0 and has timestamps; format 0 has absolute offsets and no timestamps.
//!
//! Layout: <https://kafka.apache.org/documentation/#messageset>.

use bytes::Bytes;

use super::compression::{self, Codec};
use super::records::Builder;
use super::{HEADER_LEN, Header, LARGEST_WHOLE, LOG_OVERHEAD, Malformed, attributes, field};

/// Checksum, magic, attributes and the lengths of key and value.
const SMALLEST_MESSAGE: i32 = 4 + 1 + 1 + 4 + 4;
/// Messages that are not compressed become one batch up to this length.
const LONGEST_RUN: usize = 512 << 10;

/// Records under a header that gives meaning to their offsets and times.
#[derive(Debug)]
pub struct Converted {
    /// Of the records as they are here, not compressed, with holes.
    pub header: Header,
    /// The records.
    pub payload: Bytes,
    /// How they were compressed.
    pub codec: Codec,
    /// Length of what they were read from.
    pub source_length: usize,
}

/// One message, whole and with the right checksum.
#[derive(Debug)]
struct Message<'a> {
    offset: i64,
    magic: i8,
    attributes: i16,
    /// -1 in format 0.
    timestamp: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    length: usize,
}

/// Whether what comes next is a message of one of these formats.
pub fn is_next(records: &[u8]) -> bool {
    matches!(records.get(16), Some(0 | 1))
}

/// Takes the next wrapper, or as many messages without one as make a batch. Nothing is taken of what is cut off.
pub fn take(records: &mut Bytes) -> Option<Result<Converted, Malformed>> {
    let first = match message(records)? {
        Ok(first) => first,
        Err(malformed) => return Some(Err(malformed)),
    };
    let length = first.length;
    if first.attributes & 0x07 == 0 {
        return Some(Ok(take_run(records)));
    }
    let converted = unwrap(&first, records);
    let _taken = records.split_to(length);
    Some(converted)
}

/// Messages that follow each other without a wrapper. The one where that ends is the next to be taken.
fn take_run(records: &mut Bytes) -> Converted {
    let mut builder = Builder::new(Codec::None);
    let (mut taken, mut base_offset, mut next_offset) = (0, None, 0);
    while let Some(Ok(message)) = message(&records[taken..]) {
        let base = *base_offset.get_or_insert(message.offset);
        let Ok(delta) = i32::try_from(message.offset - base) else { break };
        if message.attributes & 0x07 != 0 || message.offset < next_offset || builder.len() > LONGEST_RUN {
            break;
        }
        builder.push_pair(delta, message.timestamp, message.key, message.value);
        next_offset = message.offset.saturating_add(1);
        taken += message.length;
    }
    let _taken = records.split_to(taken);
    Converted {
        header: builder.header(base_offset.unwrap_or_default(), -1),
        payload: builder.into_payload(),
        codec: Codec::None,
        source_length: taken,
    }
}

fn unwrap(wrapper: &Message<'_>, records: &Bytes) -> Result<Converted, Malformed> {
    let corrupt = |reason| Malformed::Corrupt { offset: wrapper.offset, reason };
    let codec = Codec::of(wrapper.attributes).map_err(corrupt)?;
    if codec == Codec::Zstd {
        return Err(corrupt("zstd did not exist in its message format"));
    }
    let value = records.slice_ref(wrapper.value.ok_or(corrupt("it wraps nothing"))?);
    let decompress = if wrapper.magic == 0 { compression::decompress_magic_0 } else { compression::decompress };
    let inner = decompress(codec, &value, LARGEST_WHOLE).map_err(corrupt)?;
    let (first, last) = inner_offsets(&inner, wrapper)?;
    // Written by old versions of librdkafka, a wrapper at offset 0 counts from there, whatever it holds.
    let shift = if wrapper.magic == 1 && wrapper.offset != 0 { wrapper.offset - last } else { 0 };
    let base_offset = first + shift;
    let too_far = wrapper.magic == 0 && last > wrapper.offset;
    let last_offset = wrapper.offset.max(last + shift);
    if base_offset < 0 || too_far || i32::try_from(last_offset - base_offset).is_err() {
        return Err(corrupt("the offsets of the messages in it do not fit its own"));
    }
    let append_time = wrapper.magic == 1 && wrapper.attributes & attributes::LOG_APPEND_TIME != 0;
    let mut builder = Builder::new(Codec::None);
    for_each(&inner, wrapper, |message| {
        let timestamp = if append_time { wrapper.timestamp } else { message.timestamp };
        let delta = (message.offset - first) as i32;
        builder.push_pair(delta, timestamp, message.key, message.value);
        Ok(())
    })?;
    let mut header = builder.header(base_offset, -1);
    // What was compacted away at the end is a hole too.
    header.last_offset_delta = (last_offset - base_offset) as i32;
    Ok(Converted { header, payload: builder.into_payload(), codec, source_length: value.len() + HEADER_LEN })
}

/// The first and the last offset inside a wrapper, all messages of which are as they should be.
fn inner_offsets(inner: &[u8], wrapper: &Message<'_>) -> Result<(i64, i64), Malformed> {
    let mut offsets: Option<(i64, i64)> = None;
    for_each(inner, wrapper, |message| {
        if message.attributes & 0x07 != 0 {
            return Err("it wraps a message that is compressed itself");
        }
        if message.magic != wrapper.magic {
            return Err("it wraps a message of another format");
        }
        let (first, last) = offsets.unwrap_or((message.offset, -1));
        if message.offset <= last {
            return Err("the offsets of the messages in it are not in order");
        }
        offsets = Some((first, message.offset));
        Ok(())
    })?;
    offsets.ok_or(Malformed::Corrupt { offset: wrapper.offset, reason: "it wraps nothing" })
}

fn for_each(
    mut inner: &[u8],
    wrapper: &Message<'_>,
    mut each: impl FnMut(&Message<'_>) -> Result<(), &'static str>,
) -> Result<(), Malformed> {
    let corrupt = |reason| Malformed::Corrupt { offset: wrapper.offset, reason };
    while !inner.is_empty() {
        let next = message(inner).ok_or(corrupt("a message in it is cut off"))?;
        // The offsets in it are relative, so the error names the one of the wrapper.
        let next = next.map_err(|malformed| match malformed {
            Malformed::Corrupt { reason, .. } => corrupt(reason),
            _ => Malformed::Damaged { offset: wrapper.offset },
        })?;
        each(&next).map_err(corrupt)?;
        inner = &inner[next.length..];
    }
    Ok(())
}

/// The message at the beginning of the bytes; none if it is cut off.
fn message(bytes: &[u8]) -> Option<Result<Message<'_>, Malformed>> {
    if bytes.len() < LOG_OVERHEAD + SMALLEST_MESSAGE as usize {
        return None;
    }
    let offset = i64::from_be_bytes(field(bytes, 0));
    let size = i32::from_be_bytes(field(bytes, 8));
    let corrupt = |reason| Some(Err(Malformed::Corrupt { offset, reason }));
    if offset < 0 {
        return corrupt("its offset is negative");
    }
    if size < SMALLEST_MESSAGE {
        return corrupt("its length is smaller than a message");
    }
    let length = LOG_OVERHEAD + size as usize;
    let content = bytes.get(16..length)?;
    let mut checksum = flate2::Crc::new();
    checksum.update(content);
    if checksum.sum() != u32::from_be_bytes(field(bytes, 12)) {
        return Some(Err(Malformed::Damaged { offset }));
    }
    let magic = content[0] as i8;
    if !(0..2).contains(&magic) {
        return corrupt("its message format is not the one of its neighbours");
    }
    match parts(content, magic) {
        Some((timestamp, key, value)) => {
            let attributes = i16::from(content[1]);
            Some(Ok(Message { offset, magic, attributes, timestamp, key, value, length }))
        }
        None => corrupt("its key and value do not fit its length"),
    }
}

type Parts<'a> = (i64, Option<&'a [u8]>, Option<&'a [u8]>);

/// Timestamp, key and value of a message from its magic on.
fn parts(content: &[u8], magic: i8) -> Option<Parts<'_>> {
    let mut rest = content.get(2..)?;
    let timestamp = match magic {
        0 => -1,
        _ => i64::from_be_bytes(*rest.split_off(..8)?.first_chunk()?),
    };
    let key = sized(&mut rest)?;
    let value = sized(&mut rest)?;
    rest.is_empty().then_some((timestamp, key, value))
}

fn sized<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match i32::from_be_bytes(*bytes.split_off(..4)?.first_chunk()?) {
        -1 => Some(None),
        length => bytes.split_off(..usize::try_from(length).ok()?).map(Some),
    }
}

#[cfg(test)]
mod tests;
