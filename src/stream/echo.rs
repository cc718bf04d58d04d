//! Keeps records that came from the target from going back there, where two clusters mirror each other under the same names.
//!
//! Batches of the mirror the other way are known by their producer id, which says what they are copies of ([`Origin`]). The first
//! mirrors wrote under ids that say nothing: whether one is that of such a mirror is looked up when it is seen for the first
//! time, before anything of it is handed out: the claim is there before the first record is.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::time::Duration;

use super::Stream;
use crate::batch;
use crate::batch::marker::Origin;
use crate::error::Result;
use crate::identity::origins::Origins;
use crate::wire::fetch::FetchedPartition;

/// Looks at the source's internal topics follow each other no faster.
const PAUSE: Duration = Duration::from_millis(200);

/// What is known of the producers at the source.
#[derive(Default)]
pub(super) struct Echo {
    origins: tokio::sync::Mutex<Origins>,
    /// Producer ids that were looked up.
    known: RefCell<HashSet<i64>>,
    /// Those of them whose records come from the target.
    of_target: RefCell<Vec<i64>>,
    /// When was looked last.
    looked: Cell<Option<Duration>>,
}

impl Echo {
    /// The producer ids whose records come from the target.
    pub(super) fn of_target(&self) -> Vec<i64> {
        self.of_target.borrow().clone()
    }
}

impl Stream {
    /// Looks up the producers of what was fetched that were not seen before.
    pub(super) async fn look_up_producers(&self, fetched: &[FetchedPartition]) -> Result<()> {
        let new = self.unknown_producers(fetched);
        let target = Origin::of_cluster(&self.target_id);
        let (tagged, new): (Vec<i64>, Vec<i64>) = new.into_iter().partition(|id| Origin::of_producer(*id).is_some());
        let from_target = tagged.iter().copied().filter(|id| Origin::of_producer(*id) == Some(target));
        self.echo.of_target.borrow_mut().extend(from_target);
        self.echo.known.borrow_mut().extend(tagged);
        if new.is_empty() {
            return Ok(());
        }
        let mut origins = self.echo.origins.lock().await;
        if let Some(rest) = self.echo.looked.get().and_then(|looked| (looked + PAUSE).checked_sub(self.now())) {
            tokio::time::sleep(rest).await;
        }
        self.echo.looked.set(Some(self.now()));
        origins.read(&self.source, &self.target_id, false).await?;
        let mut of_target = self.echo.of_target.borrow_mut();
        of_target.extend(origins.producers());
        of_target.sort_unstable();
        of_target.dedup();
        self.echo.known.borrow_mut().extend(new);
        Ok(())
    }

    fn unknown_producers(&self, fetched: &[FetchedPartition]) -> HashSet<i64> {
        let known = self.echo.known.borrow();
        // Left open: the errors of partitions, and of batches below, are judged when they are handed out.
        let records = fetched.iter().filter_map(|partition| Some(partition.result.as_ref().ok()?.records.clone()));
        // Left open: as above.
        let producers = records.flat_map(|records| batch::split(records).map_while(Result::ok));
        let producers = producers.map(|batch| batch.header.producer_id);
        producers.filter(|producer_id| *producer_id >= 0 && !known.contains(producer_id)).collect()
    }
}
