//! The records of a batch that becomes large when it is decompressed, some whole ones at a time.
//! So a batch of a few kilobytes that becomes a hundred megabytes takes as much memory as its largest record.

use bytes::Bytes;

use super::compression::Codec;
use super::compression::unpack::Unpacking;
use super::records::{CUT_OFF, TRAILING, varint};

/// Bytes of records that come at a time, if no record is larger.
const PORTION: usize = 1 << 20;
/// Bytes of the largest record. One that travels alone, as producers send it, is never opened.
const LARGEST_RECORD: usize = 32 << 20;
const RECORD_TOO_LARGE: &str = "a record of it has more than 32 MiB when it is decompressed";

/// What is left of the records.
#[derive(Debug)]
pub struct Portions {
    unpacking: Unpacking,
    /// What was decompressed and is in no portion yet.
    tail: Vec<u8>,
    /// Records that are in no portion yet.
    left: i32,
}

impl Portions {
    /// Of a payload that is compressed, with so many records.
    pub fn new(codec: Codec, payload: Bytes, record_count: i32) -> Result<Option<Self>, &'static str> {
        let unpacking = Unpacking::new(codec, payload)?;
        Ok(unpacking.map(|unpacking| Portions { unpacking, tail: Vec::new(), left: record_count }))
    }

    /// The next whole records, and how many they are.
    pub fn next(&mut self) -> Result<Option<(Bytes, i32)>, &'static str> {
        let (mut end, mut count) = (0, 0);
        loop {
            while count < self.left && end < PORTION {
                let Some(length) = whole_record(&self.tail[end..])? else { break };
                end += length;
                count += 1;
            }
            if end >= PORTION || (count == self.left && count > 0) {
                break;
            }
            if self.left == 0 && !self.tail.is_empty() {
                return Err(TRAILING);
            }
            if !self.unpacking.more(&mut self.tail)? {
                match (end, self.left) {
                    (0, 0) => return Ok(None),
                    (0, _) => return Err(CUT_OFF),
                    _ => break,
                }
            }
        }
        let rest = self.tail.split_off(end);
        let portion = std::mem::replace(&mut self.tail, rest);
        self.left -= count;
        Ok(Some((Bytes::from(portion), count)))
    }
}

/// The length of the record in front, if all of it is there.
fn whole_record(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
    let mut rest = bytes;
    let Some(length) = varint(&mut rest) else {
        return if bytes.len() < 5 { Ok(None) } else { Err(CUT_OFF) };
    };
    let length = usize::try_from(length).map_err(|_| "a record of it has a negative length")?;
    if length > LARGEST_RECORD {
        return Err(RECORD_TOO_LARGE);
    }
    Ok((length <= rest.len()).then_some(bytes.len() - rest.len() + length))
}
