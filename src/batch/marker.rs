//! What batches say of themselves by their producer: markers for which offset they stand, filler whose it is.
//!
//! Producer ids of Kafka count up from 0 and stay far below 2^61; the two bits above are free to say that a batch is the
//! mirror's own, without any state beside the log. Nothing here reads or writes a batch.

/// Markers' producer ids have this bit.
const MARKER: i64 = 1 << 62;
/// Filler's producer ids have this bit, and not the one above it.
const FILLER: i64 = 1 << 61;
/// How many bits of an offset a producer epoch can hold.
const EPOCH_BITS: u32 = 15;

/// The producer id and epoch of the marker that stands for an offset.
pub fn identity_of(offset: i64) -> (i64, i16) {
    (MARKER | (offset >> EPOCH_BITS), (offset & ((1 << EPOCH_BITS) - 1)) as i16)
}

/// The offset that a marker of this producer stands for; `None` if it is no marker of a mirror.
pub fn offset_of(producer_id: i64, producer_epoch: i16) -> Option<i64> {
    let is_marker = producer_id & MARKER != 0 && producer_id > 0 && producer_epoch >= 0;
    is_marker.then(|| ((producer_id & !MARKER) << EPOCH_BITS) | i64::from(producer_epoch))
}

/// The number of the block of offsets that share the producer id of their markers. Brokers compare coordinator epochs within one.
pub fn block_of(offset: i64) -> i64 {
    offset >> EPOCH_BITS
}

/// The first offset behind the block that an offset is in.
pub fn end_of_block(offset: i64) -> i64 {
    (block_of(offset) + 1) << EPOCH_BITS
}

/// The producer id of the filler that a mirror writes before the first offset of a late start.
pub fn filler_of(mirror_producer_id: i64) -> i64 {
    FILLER | mirror_producer_id
}

/// Whether a producer id is that of some mirror's filler.
pub fn is_filler(producer_id: i64) -> bool {
    producer_id >> 61 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_says_which_offset_it_stands_for() {
        for offset in [0, 1, 32_767, 32_768, 1 << 40, (1 << 47) + 12_345] {
            let (producer_id, producer_epoch) = identity_of(offset);
            assert_eq!(offset_of(producer_id, producer_epoch), Some(offset));
            assert!(!is_filler(producer_id));
        }
        assert_eq!([0, 32_767, 32_768].map(block_of), [0, 0, 1]);
        assert_eq!([0, 32_767, 32_768].map(end_of_block), [32_768, 32_768, 65_536]);
        assert_eq!(offset_of(-1, -1), None);
        assert_eq!(offset_of(4711, 0), None);
        assert_eq!(offset_of(filler_of(4711), 0), None);
    }

    #[test]
    fn filler_says_whose_it_is() {
        assert!(is_filler(filler_of(0)) && is_filler(filler_of(4711)));
        assert_ne!(filler_of(1), filler_of(2));
        assert!(!is_filler(4711) && !is_filler(-1) && !is_filler(i64::MAX));
    }
}
