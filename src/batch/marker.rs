//! The producer identity of the control markers that fill the target's log, and the offset that it stands for.
//!
//! Each offset without a record has a marker with an identity of its own, so a marker in the target's log says for which
//! offset it was meant, and one that arrives late can be told from one that belongs there.

/// Producer ids from here on are those of markers; brokers give out ids counting from 0.
const FIRST_PRODUCER_ID: i64 = 1 << 62;
/// The low bits of an offset, which are the producer's epoch.
const EPOCH_BITS: u32 = 15;
const LARGEST_EPOCH: i64 = (1 << EPOCH_BITS) - 1;

/// Producer id and epoch of the marker at an offset.
pub fn identity_of(offset: i64) -> (i64, i16) {
    (FIRST_PRODUCER_ID | (offset >> EPOCH_BITS), (offset & LARGEST_EPOCH) as i16)
}

/// The offset for which a marker was meant, if it is one of ours.
pub fn offset_of(producer_id: i64, producer_epoch: i16) -> Option<i64> {
    let high = producer_id.checked_sub(FIRST_PRODUCER_ID)?;
    let fits = (0..=i64::MAX >> EPOCH_BITS).contains(&high) && producer_epoch >= 0;
    fits.then(|| high << EPOCH_BITS | i64::from(producer_epoch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_says_which_offset_it_is_for() {
        let cases = [
            (0, (1 << 62, 0)),
            (32_767, (1 << 62, 32_767)),
            (32_768, ((1 << 62) + 1, 0)),
            (98_309, ((1 << 62) + 3, 5)),
            (i64::MAX, ((1 << 62) + (1 << 48) - 1, 32_767)),
        ];
        for (offset, identity) in cases {
            assert_eq!(identity_of(offset), identity);
            assert_eq!(offset_of(identity.0, identity.1), Some(offset));
        }
    }

    #[test]
    fn other_producers_are_no_markers() {
        let foreign = [(-1, -1), (0, 0), (1 << 61, 0), ((1 << 62) - 1, 0), (1 << 62, -1), (i64::MAX, 0), (i64::MIN, 0)];
        for (producer_id, epoch) in foreign {
            assert_eq!(offset_of(producer_id, epoch), None, "{producer_id} {epoch}");
        }
        assert_eq!(offset_of((1 << 62) + (1 << 48), 0), None, "the offset would be too large");
    }
}
