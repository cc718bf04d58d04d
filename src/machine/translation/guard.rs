//! Decides whether a mirror may begin a partition of whose copies it remembers nothing: only if the target has none.
//!
//! A mirror whose internal topic was lost has no map, and would append every record once more. Batches say for good what they are
//! copies of, so whoever has written them, and whatever is remembered of it, they are found.

use crate::batch::marker::Origin;
use crate::error::{Error, ErrorKind};

/// Which records on the target are in the way.
#[derive(Debug, Clone, Copy)]
pub struct Guard {
    producer_id: i64,
    source: Origin,
}

impl Guard {
    /// Of a mirror that writes under a producer id, and copies from this cluster.
    pub fn of(producer_id: i64, source: Origin) -> Self {
        Guard { producer_id, source }
    }

    /// Whether what a producer writes are copies of the same cluster: this mirror's own, or those of another one.
    pub fn is_copy(&self, producer_id: i64) -> bool {
        producer_id == self.producer_id || Origin::of_producer(producer_id) == Some(self.source)
    }

    /// Why a partition is not begun whose log holds copies by a producer, the first of them at an offset if that is known.
    pub fn refusal(&self, producer_id: i64, target_offset: Option<i64>) -> Error {
        let whose = match producer_id == self.producer_id {
            true => "of this mirror".to_owned(),
            false => format!("of a mirror that copies the same cluster, written under producer id {producer_id}"),
        };
        let place = target_offset.map(|offset| format!(" at offset {offset}")).unwrap_or_default();
        let message = format!(
            "the target partition holds records {whose}{place}, and nothing is remembered of them: the internal topic of that mirror was \
             lost, or it has another name; to begin here would copy every record once more. Restore the internal topic, or run \
             the mirror under the name it had, or mirror into a topic without copies of this cluster"
        );
        let error = Error::new(ErrorKind::TargetConflict, message);
        target_offset.map_or(error.clone(), |offset| error.with_offset(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_the_same_cluster_are_in_the_way_whoever_wrote_them() {
        let (here, elsewhere) = (Origin::of_cluster("here"), Origin::of_cluster("elsewhere"));
        let guard = Guard::of(here.producer_id(1), here);
        for (producer_id, is_copy) in [
            (here.producer_id(1), true),
            (here.producer_id(2), true),
            (elsewhere.producer_id(1), false),
            (-1, false),
            (4711, false),
        ] {
            assert_eq!(guard.is_copy(producer_id), is_copy, "{producer_id}");
        }
        assert!(Guard::of(4711, here).is_copy(4711), "the first mirrors wrote under ids that a broker had given out");
        let error = guard.refusal(here.producer_id(2), Some(7));
        assert_eq!((error.kind(), error.offset()), (ErrorKind::TargetConflict, Some(7)));
    }
}
