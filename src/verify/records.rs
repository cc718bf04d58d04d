//! Reads the records of a batch one after the other, of all formats, strictly: what a consumer could not read is an error.
//!
//! This is the verifier's own decoder. Nothing is allocated for a record; what is compressed is decompressed
//! as a whole.

use bytes::Bytes;

use super::batches::{Batch, Malformed, field};
use super::decompress::{NOT_COMPRESSED, decompress, decompress_magic_0};

/// A record as a consumer sees it.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its place in the log.
    pub offset: i64,
    /// Milliseconds since 1970; -1 without.
    pub timestamp: i64,
    /// Whether that is the time of the broker and not of the producer.
    pub has_append_time: bool,
    /// `None` is another thing than empty.
    pub key: Option<&'a [u8]>,
    /// `None` is another thing than empty.
    pub value: Option<&'a [u8]>,
    /// In their order.
    pub headers: Headers<'a>,
}

/// Headers of a record: names may come more than once, and the order counts.
#[derive(Debug, Clone, Copy, Hash)]
pub struct Headers<'a> {
    /// How many.
    pub count: usize,
    bytes: &'a [u8],
}

/// The records of one batch.
#[derive(Debug)]
pub struct Records {
    bytes: Bytes,
    at: usize,
    left: i64,
    format: Format,
    /// Of the batch, for messages.
    offset: i64,
    last_offset: i64,
    previous: i64,
    current: Option<Parsed>,
}

/// What the numbers inside are relative to.
#[derive(Debug, Clone, Copy)]
enum Format {
    Current { base_offset: i64, base_timestamp: i64, append_time: Option<i64> },
    Old { base_offset: i64, magic: i8, append_time: Option<i64> },
}

type Span = (usize, usize);

#[derive(Debug, Clone, Copy)]
struct Parsed {
    offset: i64,
    timestamp: i64,
    key: Option<Span>,
    value: Option<Span>,
    header_count: usize,
    headers: Span,
}

/// Offset, length, checksum, format, attributes.
const OLD_HEADER: usize = 18;

impl Records {
    /// Decompresses the batch. The first record is there after the first [`advance`](Self::advance).
    pub fn open(batch: &Batch) -> Result<Self, Malformed> {
        let malformed = |reason| Malformed { offset: batch.last_offset, reason };
        let codec = batch.codec();
        if batch.magic == 2 {
            let bytes = decompress(codec, &batch.payload()).map_err(malformed)?;
            return Ok(Self::inside(batch, bytes));
        }
        let append_time = batch.is_log_append_time().then_some(batch.max_timestamp);
        let mut records = Records {
            bytes: batch.whole(),
            at: 0,
            left: i64::MAX,
            format: Format::Old { base_offset: 0, magic: batch.magic, append_time },
            offset: batch.last_offset,
            last_offset: batch.last_offset,
            previous: -1,
            current: None,
        };
        if codec != NOT_COMPRESSED {
            let outer = records.parse_old().map_err(malformed)?;
            let (from, to) = outer.value.ok_or(malformed("it is compressed, but empty"))?;
            let inner = batch.whole().slice(from..to);
            let inner = match batch.magic {
                0 => decompress_magic_0(codec, &inner),
                _ => decompress(codec, &inner),
            };
            records.bytes = inner.map_err(malformed)?;
            records.at = 0;
            let base_offset = match batch.magic {
                0 => 0,
                // Inside they count from 0, and the last one has the offset outside.
                _ => batch.last_offset - records.last_inner_offset().map_err(malformed)?,
            };
            records.format = Format::Old { base_offset, magic: batch.magic, append_time };
        }
        Ok(records)
    }

    /// The records of a batch that was decompressed already.
    pub fn inside(batch: &Batch, bytes: Bytes) -> Self {
        let append_time = batch.is_log_append_time().then_some(batch.max_timestamp);
        let (base_offset, base_timestamp) = (batch.first_offset, batch.base_timestamp);
        Records {
            bytes,
            at: 0,
            left: i64::from(batch.record_count),
            format: Format::Current { base_offset, base_timestamp, append_time },
            offset: batch.first_offset,
            last_offset: batch.last_offset,
            previous: batch.first_offset - 1,
            current: None,
        }
    }

    /// The record it stands on; `None` before the first and after the last.
    pub fn current(&self) -> Option<Record<'_>> {
        let span = |(from, to): Span| &self.bytes[from..to];
        let (Format::Current { append_time, .. } | Format::Old { append_time, .. }) = self.format;
        self.current.map(|parsed| Record {
            offset: parsed.offset,
            timestamp: parsed.timestamp,
            has_append_time: append_time.is_some(),
            key: parsed.key.map(span),
            value: parsed.value.map(span),
            headers: Headers { count: parsed.header_count, bytes: span(parsed.headers) },
        })
    }

    /// Goes to the next record.
    pub fn advance(&mut self) -> Result<(), Malformed> {
        self.current = None;
        let ended = match self.format {
            Format::Current { .. } => self.left == 0,
            Format::Old { .. } => self.at == self.bytes.len(),
        };
        if ended {
            let trailing = self.at != self.bytes.len();
            return if trailing { Err(self.malformed("bytes follow its last record")) } else { Ok(()) };
        }
        self.left -= 1;
        let parsed = match self.format {
            Format::Current { .. } => self.parse(),
            Format::Old { .. } => self.parse_old(),
        };
        let parsed = parsed.map_err(|reason| self.malformed(reason))?;
        if parsed.offset <= self.previous || parsed.offset > self.last_offset {
            return Err(self.malformed("its records' offsets are not in order"));
        }
        self.previous = parsed.offset;
        self.current = Some(parsed);
        Ok(())
    }

    fn malformed(&self, reason: &'static str) -> Malformed {
        Malformed { offset: self.offset, reason }
    }

    fn parse(&mut self) -> Result<Parsed, &'static str> {
        let Format::Current { base_offset, base_timestamp, append_time } = self.format else {
            return Err("its format is not known");
        };
        let mut input = Input { bytes: &self.bytes, at: self.at };
        let length = usize::try_from(input.varint()?).map_err(|_| NEGATIVE)?;
        let end = input.at.checked_add(length).filter(|end| *end <= self.bytes.len()).ok_or(TOO_SHORT)?;
        input.bytes = &self.bytes[..end];
        input.take(1)?;
        let timestamp_delta = input.varlong()?;
        let offset_delta = input.varint()?;
        let key = input.optional_varint_span()?;
        let value = input.optional_varint_span()?;
        let header_count = usize::try_from(input.varint()?).map_err(|_| NEGATIVE)?;
        let headers_from = input.at;
        for _ in 0..header_count {
            input.header()?;
        }
        if input.at != end {
            return Err("a record in it is shorter than it says");
        }
        self.at = end;
        Ok(Parsed {
            offset: base_offset.wrapping_add(i64::from(offset_delta)),
            timestamp: append_time.unwrap_or_else(|| base_timestamp.wrapping_add(timestamp_delta)),
            key,
            value,
            header_count,
            headers: (headers_from, end),
        })
    }

    fn parse_old(&mut self) -> Result<Parsed, &'static str> {
        let Format::Old { base_offset, magic, append_time } = self.format else {
            return Err("its format is not known");
        };
        let mut input = Input { bytes: &self.bytes, at: self.at };
        let offset = i64::from_be_bytes(input.fixed()?);
        let length = usize::try_from(i32::from_be_bytes(input.fixed()?)).map_err(|_| NEGATIVE)?;
        let end = input.at.checked_add(length).filter(|end| *end <= self.bytes.len()).ok_or(TOO_SHORT)?;
        input.bytes = &self.bytes[..end];
        // The checksum of what is inside a compressed message is covered by that of the message.
        input.take(4)?;
        if i8::from_be_bytes(input.fixed()?) != magic {
            return Err("a message in it has another format");
        }
        input.take(1)?;
        let own_time = if magic == 0 { -1 } else { i64::from_be_bytes(input.fixed()?) };
        let key = input.optional_span()?;
        let value = input.optional_span()?;
        if input.at != end {
            return Err("a message in it is shorter than it says");
        }
        self.at = end;
        Ok(Parsed {
            offset: base_offset.wrapping_add(offset),
            timestamp: append_time.unwrap_or(own_time),
            key,
            value,
            header_count: 0,
            headers: (end, end),
        })
    }

    /// Looks through the messages inside a compressed one.
    fn last_inner_offset(&self) -> Result<i64, &'static str> {
        let mut input = Input { bytes: &self.bytes, at: 0 };
        let mut last = Err("it is compressed, but holds no message");
        while input.at < self.bytes.len() {
            let offset = i64::from_be_bytes(input.fixed()?);
            let length = usize::try_from(i32::from_be_bytes(input.fixed()?)).map_err(|_| NEGATIVE)?;
            if length < OLD_HEADER - 12 {
                return Err(TOO_SHORT);
            }
            input.take(length)?;
            last = Ok(offset);
        }
        last
    }
}

impl Headers<'_> {
    /// Whether names, values and order are the same.
    pub fn is_same(&self, other: &Headers<'_>) -> bool {
        if self.count != other.count {
            return false;
        }
        // Numbers may be written in more bytes than they need, so unequal bytes are looked at closely.
        self.bytes == other.bytes || self.iter().eq(other.iter())
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let mut input = Input { bytes: self.bytes, at: 0 };
        let span = |(from, to): Span| &self.bytes[from..to];
        // Left open: they were read once when the record was, so there is no error here.
        std::iter::from_fn(move || input.header().ok())
            .take(self.count)
            .map(move |(key, value)| (span(key), value.map(span)))
    }
}

const NEGATIVE: &str = "a length in it is negative";
const TOO_SHORT: &str = "it ends within a record";
const TOO_LONG: &str = "a number in it does not end";

/// Where reading is.
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn take(&mut self, length: usize) -> Result<Span, &'static str> {
        let from = self.at;
        let to = from.checked_add(length).filter(|to| *to <= self.bytes.len()).ok_or(TOO_SHORT)?;
        self.at = to;
        Ok((from, to))
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (from, _) = self.take(N)?;
        Ok(field(self.bytes, from))
    }

    fn unsigned(&mut self, longest: u32) -> Result<u64, &'static str> {
        let mut value = 0u64;
        for index in 0..longest {
            let byte = *self.bytes.get(self.at).ok_or(TOO_SHORT)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(TOO_LONG)
    }

    fn varint(&mut self) -> Result<i32, &'static str> {
        let value = self.unsigned(5)? as u32;
        Ok((value >> 1) as i32 ^ -((value & 1) as i32))
    }

    fn varlong(&mut self) -> Result<i64, &'static str> {
        let value = self.unsigned(10)?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn optional_varint_span(&mut self) -> Result<Option<Span>, &'static str> {
        let length = self.varint()?;
        self.span_of(length)
    }

    fn optional_span(&mut self) -> Result<Option<Span>, &'static str> {
        let length = i32::from_be_bytes(self.fixed()?);
        self.span_of(length)
    }

    fn span_of(&mut self, length: i32) -> Result<Option<Span>, &'static str> {
        match usize::try_from(length) {
            Ok(length) => self.take(length).map(Some),
            // Left open: that the length is negative is what is judged.
            Err(_) if length == -1 => Ok(None),
            // Left open: as above.
            Err(_) => Err(NEGATIVE),
        }
    }

    fn header(&mut self) -> Result<(Span, Option<Span>), &'static str> {
        let key = self.optional_varint_span()?.ok_or("a header in it has no name")?;
        Ok((key, self.optional_varint_span()?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::batches::cut;
    use super::super::testing::{Make, put_varint, record};
    use super::*;

    /// Reads a payload as a batch of so many records.
    fn read(payload: &[u8], count: i32) -> Result<usize, &'static str> {
        let bytes = Make::default().frame(0, 9, count, payload);
        let batches = cut(Bytes::from(bytes)).map_err(|malformed| malformed.reason)?;
        let mut records = Records::open(&batches[0]).map_err(|malformed| malformed.reason)?;
        let mut read = 0;
        loop {
            records.advance().map_err(|malformed| malformed.reason)?;
            match records.current() {
                Some(_) => read += 1,
                None => return Ok(read),
            }
        }
    }

    /// A record with these numbers, and the rest as given.
    fn body(offset_delta: i64, rest: &[u8]) -> Vec<u8> {
        let mut body = vec![0, 0];
        put_varint(&mut body, offset_delta);
        body.extend(rest);
        let mut record = Vec::new();
        put_varint(&mut record, body.len() as i64);
        record.extend(body);
        record
    }

    #[test]
    fn what_no_consumer_could_read_is_refused() {
        const NOTHING: [u8; 3] = [1, 1, 0];
        let good = body(0, &NOTHING);
        assert_eq!(read(&good, 1), Ok(1));
        let cases: [(Vec<u8>, i32, &str); 11] = [
            (good.clone(), 2, TOO_SHORT),
            ([&good[..], &[0]].concat(), 1, "bytes follow its last record"),
            ([good.clone(), good.clone()].concat(), 2, "its records' offsets are not in order"),
            ([body(1, &NOTHING), good.clone()].concat(), 2, "its records' offsets are not in order"),
            (body(10, &NOTHING), 1, "its records' offsets are not in order"),
            (body(-1, &NOTHING), 1, "its records' offsets are not in order"),
            (body(0, &[3, 1, 0]), 1, NEGATIVE),
            (body(0, &[200, 1, 1, 0]), 1, TOO_SHORT),
            (body(0, &[1, 1, 2, 1, 1]), 1, "a header in it has no name"),
            (body(0, &[1, 1, 0, 0]), 1, "a record in it is shorter than it says"),
            ([&[0xff; 6][..], &[0]].concat(), 1, TOO_LONG),
        ];
        for (payload, count, reason) in cases {
            assert_eq!(read(&payload, count), Err(reason), "{payload:?}");
        }
    }

    #[test]
    fn damage_is_noticed_by_the_checksum_and_nothing_panics() {
        let bytes = Make::default().bytes(&[record(0, "key", "value"), record(1, "key", "value")]);
        for at in 16..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            assert!(cut(Bytes::from(damaged)).map_or(true, |batches| batches.is_empty()), "byte {at}");
        }
        // And behind a checksum that is right, whatever comes.
        let mut random = 1u32;
        for _ in 0..20_000 {
            let mut payload =
                Make::default().bytes(&[record(0, "key", "value"), record(1, "key", "value")])[61..].to_vec();
            for _ in 0..3 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (random >> 8) as usize % payload.len();
                payload[at] = random as u8;
            }
            let _ = read(&payload, 2);
        }
    }

    #[test]
    fn numbers_that_are_written_too_long_are_still_the_same() {
        let name = [2, b'a', 2, b'b'];
        let long = [0x82, 0, b'a', 2, b'b'];
        let headers = |bytes| Headers { count: 1, bytes };
        assert!(headers(&name).is_same(&headers(&long)));
        assert!(!headers(&name).is_same(&headers(&[2, b'a', 2, b'c'])));
    }
}
