//! What a read of a log says of an offset: what is there, or that nothing is, and what shows that.
//!
//! A read has three outcomes. The third is that it said nothing: the broker refused, its answer was empty, or cut off. That is an
//! error ([`BrokerError`]) beside these two, and it is never taken for an absence: a broker whose remote store is slow,
//! or whose quota is used up, answers without an error and without a record, and has the records all the same.

use crate::batch::Header;
use crate::terms::broker_error::BrokerError;

/// What a read has found out about an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen<T> {
    /// What is there.
    There(T),
    /// The log has nothing there, and this shows it: what it has next, or where it begins.
    Absent {
        /// The offset of that, behind the one that was asked for.
        next: i64,
    },
}

/// What holds an offset of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// A batch, with this header. Whether the record itself is in it still is another question.
    Batch(Header),
    /// Something in a format older than v2, whose headers say little.
    OldFormat,
}

impl Seen<Held> {
    /// The header of the batch that is there, if one is.
    pub fn header(self) -> Option<Header> {
        match self {
            Seen::There(Held::Batch(header)) => Some(header),
            Seen::There(Held::OldFormat) | Seen::Absent { .. } => None,
        }
    }
}

/// Where the format version is, in all formats.
const MAGIC_AT: usize = 16;
/// Offset and length come before what the length counts.
const LOG_OVERHEAD: usize = 12;

/// What an answer shows of an offset before the end of the log. The answer was asked for from that offset on, so it begins with
/// what holds the offset, or with what comes next; it may end anywhere.
pub fn held_at(mut answer: &[u8], offset: i64) -> Result<Seen<Held>, BrokerError> {
    if answer.is_empty() {
        return Err(BrokerError::NO_RECORDS);
    }
    loop {
        match answer.get(MAGIC_AT) {
            None => return Err(BrokerError::CUT_OFF),
            Some(0 | 1) => return Ok(Seen::There(Held::OldFormat)),
            Some(_) => {}
        }
        let header = Header::read(answer).ok_or(BrokerError::CUT_OFF)?;
        if header.last_offset() >= offset {
            return Ok(match header.base_offset {
                next if next > offset => Seen::Absent { next },
                _ => Seen::There(Held::Batch(header)),
            });
        }
        // A broker may begin a batch too early, but not end before what was asked for.
        let length = usize::try_from(header.length).map_err(|_| BrokerError::CUT_OFF)?;
        answer = answer.get(LOG_OVERHEAD.saturating_add(length)..).unwrap_or_default();
        if answer.is_empty() {
            return Err(BrokerError::CUT_OFF);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch without a payload at these offsets.
    fn batch(base_offset: i64, last_offset_delta: i32) -> Vec<u8> {
        let mut bytes = vec![0; 61];
        bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&49i32.to_be_bytes());
        bytes[MAGIC_AT] = 2;
        bytes[23..27].copy_from_slice(&last_offset_delta.to_be_bytes());
        bytes
    }

    #[test]
    fn what_holds_an_offset_is_there_and_what_comes_later_shows_that_nothing_is() {
        let header = Header::read(&batch(10, 4));
        for offset in [10, 14] {
            assert_eq!(held_at(&batch(10, 4), offset).map(Seen::header), Ok(header));
        }
        assert_eq!(held_at(&batch(10, 4), 9), Ok(Seen::Absent { next: 10 }));
        let two = [batch(10, 4), batch(20, 0)].concat();
        assert_eq!(held_at(&two, 17), Ok(Seen::Absent { next: 20 }));
        assert_eq!(held_at(&two, 20).map(Seen::header), Ok(Header::read(&batch(20, 0))));
    }

    #[test]
    fn what_says_nothing_is_no_absence() {
        assert_eq!(held_at(&[], 9), Err(BrokerError::NO_RECORDS));
        for length in [1, MAGIC_AT, 60] {
            assert_eq!(held_at(&batch(10, 4)[..length], 9), Err(BrokerError::CUT_OFF), "{length} bytes of it");
        }
        assert_eq!(held_at(&batch(10, 4), 15), Err(BrokerError::CUT_OFF), "it ends before what was asked for");
        let mut strange = batch(10, 4);
        strange[8..12].copy_from_slice(&(-1i32).to_be_bytes());
        assert_eq!(held_at(&strange, 15), Err(BrokerError::CUT_OFF));
    }

    #[test]
    fn what_is_in_an_old_format_is_there() {
        let mut old = batch(10, 0);
        old[MAGIC_AT] = 1;
        assert_eq!(held_at(&old, 10), Ok(Seen::There(Held::OldFormat)));
        assert_eq!(held_at(&old, 10).map(Seen::header), Ok(None));
    }
}
