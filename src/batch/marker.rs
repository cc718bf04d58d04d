//! What batches say of themselves by their producer: markers for which offset they stand, filler whose it is, and copies which
//! cluster they are copies of.
//!
//! Producer ids of Kafka count up from 0 and stay far below 2^60; the three bits above are free to say that a batch is a
//! mirror's, without any state beside the log. Brokers do not mind who has given out an id. Nothing here reads or writes a
//! batch.

/// Markers' producer ids have this bit.
const MARKER: i64 = 1 << 62;
/// Filler's producer ids have this bit, and not the one above it.
const FILLER: i64 = 1 << 61;
/// Producer ids of mirrors have this bit and neither of those above it. Below it are 32 bits that say which cluster the records
/// are copies of, and [`RANDOM_BITS`] that tell mirrors of the same cluster apart.
const COPY: i64 = 1 << 60;
const RANDOM_BITS: u32 = 28;
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

/// What stands for a cluster in the producer ids of its copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin(u32);

impl Origin {
    /// Of the cluster with an id. It stands in logs for good, so it may never be reckoned otherwise.
    pub fn of_cluster(cluster_id: &str) -> Self {
        Origin(crc32c::crc32c(cluster_id.as_bytes()))
    }

    /// A producer id for a mirror that copies from this cluster. `random` tells it from others that do so as well.
    pub fn producer_id(self, random: u64) -> i64 {
        COPY | (i64::from(self.0) << RANDOM_BITS) | (random & ((1 << RANDOM_BITS) - 1)) as i64
    }

    /// What the records of a producer are copies of, as the id itself says: a mirror's, or that of its filler. `None` for the ids that
    /// brokers give out, under which the first mirrors wrote as well.
    pub fn of_producer(producer_id: i64) -> Option<Self> {
        let is_copy = producer_id >= 0 && (producer_id & !FILLER) >> 60 == 1;
        is_copy.then_some(Origin((producer_id >> RANDOM_BITS) as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_says_which_cluster_it_comes_from() {
        let origin = Origin::of_cluster("0Qo0HN2wSBG3QmY6vVw3aA");
        assert_eq!(origin, Origin(0xb90b_5069), "it is in logs: never to be changed");
        for random in [0, 1, (1 << RANDOM_BITS) - 1, u64::MAX] {
            let producer_id = origin.producer_id(random);
            assert_eq!(Origin::of_producer(producer_id), Some(origin));
            assert_eq!(Origin::of_producer(filler_of(producer_id)), Some(origin));
            assert!(is_filler(filler_of(producer_id)) && !is_filler(producer_id));
            assert_eq!(offset_of(producer_id, 0), None);
        }
        assert_ne!(origin.producer_id(1), origin.producer_id(2));
        for of_a_broker in [-1, 0, 4711, (1 << 60) - 1, filler_of(4711)] {
            assert_eq!(Origin::of_producer(of_a_broker), None);
        }
        for offset in [0, 1 << 40, i64::MAX] {
            assert_eq!(Origin::of_producer(identity_of(offset).0), None, "a marker");
        }
    }

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
