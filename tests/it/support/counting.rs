//! Counts the requests that pass a broker's proxy, by their kind.
//! What passes is not changed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kafka_protocol::messages::ApiKey;

use super::cluster::Cluster;
use super::proxy::Direction;

/// How many requests of each kind have passed.
#[derive(Clone, Default)]
pub(crate) struct Counts(Arc<Mutex<Both>>);

#[derive(Default)]
struct Both {
    since: Taken,
    all: Taken,
}

/// Requests by their kind, shown by its name.
#[derive(Clone, Default)]
pub(crate) struct Taken(pub(crate) BTreeMap<i16, usize>);

/// Counts from now on what clients send to a cluster's first broker.
pub(crate) fn of(cluster: &Cluster) -> Counts {
    let counts = Counts::default();
    let counting = counts.clone();
    cluster.proxy(1).edit(Some(Arc::new(move |passing, _| {
        if passing.direction == Direction::ToBroker {
            let mut both = counting.both();
            *both.since.0.entry(passing.api_key).or_default() += 1;
            *both.all.0.entry(passing.api_key).or_default() += 1;
        }
    })));
    counts
}

impl Counts {
    fn both(&self) -> MutexGuard<'_, Both> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has passed since this was asked last.
    pub(crate) fn take(&self) -> Taken {
        std::mem::take(&mut self.both().since)
    }

    /// How many of a kind have passed since [`Counts::take`].
    pub(crate) fn count(&self, key: ApiKey) -> usize {
        self.both().since.of(key)
    }

    /// How many of a kind have passed at all.
    pub(crate) fn total(&self, key: ApiKey) -> usize {
        self.both().all.of(key)
    }
}

impl Taken {
    /// How many of a kind.
    pub(crate) fn of(&self, key: ApiKey) -> usize {
        self.0.get(&(key as i16)).copied().unwrap_or(0)
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.0.iter().map(|(key, count)| match ApiKey::try_from(*key) {
            Ok(key) => (format!("{key:?}"), count),
            Err(()) => (key.to_string(), count),
        });
        formatter.debug_map().entries(named).finish()
    }
}
