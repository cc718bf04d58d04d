//! The producer ids of what a mirror writes besides records: control markers for holes, and filler for a removed head.
//!
//! Real producer ids are given out from 0 upward, so the two highest bits are free. A marker's id and epoch say for which
//! offset it was meant: one that is elsewhere shows that somebody else has written to the log.

/// Set in the producer ids of markers.
const MARKER: i64 = 1 << 62;
/// Set in the producer ids of filler.
const FILLER: i64 = 1 << 61;
/// Bits of an offset that are in the epoch, which only grows while the id stays.
const EPOCH_BITS: u32 = 15;

/// Producer id and epoch of the marker for an offset.
pub fn identity_of(offset: i64) -> (i64, i16) {
    (MARKER | offset >> EPOCH_BITS, (offset & ((1 << EPOCH_BITS) - 1)) as i16)
}

/// The offset that a marker was meant for; `None` if no mirror made it.
pub fn offset_of(producer_id: i64, producer_epoch: i16) -> Option<i64> {
    let is_marker = producer_id & MARKER != 0 && producer_epoch >= 0;
    is_marker.then(|| (producer_id & !MARKER) << EPOCH_BITS | i64::from(producer_epoch))
}

/// The producer id with which a mirror writes filler.
pub fn filler_of(mirror_producer_id: i64) -> i64 {
    FILLER | mirror_producer_id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_says_its_offset() {
        for offset in [0, 1, 32_767, 32_768, 10_000_000_000, (1 << 47) + 12_345] {
            let (producer_id, producer_epoch) = identity_of(offset);
            assert!(producer_epoch >= 0);
            assert_eq!(offset_of(producer_id, producer_epoch), Some(offset));
        }
        assert_eq!(offset_of(4711, 3), None);
        assert_eq!(offset_of(filler_of(4711), 0), None);
    }
}
