//! Verifies topics whose offsets are translated: reads the map that the mirror has written down, and shows the comparison the
//! mirror's records on the target at their offsets of the source, and of the source what does not come from the target.
//!
//! What the map says is taken at its word only as to which records belong together: a record that is not where the map says, is
//! there twice or is missing shows as a difference, or as an error of the partition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tokio::time::Instant;

use super::batches::{Batch, Malformed};
use super::plan::{Log, Plan, Planned};
use super::report::Unread;
use crate::batch::marker::Origin;
use crate::config::Config;
use crate::control::default_name;
use crate::error::{Error, ErrorKind, Result};
use crate::identity;
use crate::identity::offsets::Place;
use crate::identity::origins::{Clusters, Origins};
use crate::machine::translation::OffsetMap;
use crate::terms::topic::Metadata;
use crate::wire::cluster::Cluster;

/// How often it is looked whether a target that is behind has come further.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

/// How both sides of a partition are looked at.
#[derive(Debug)]
pub struct Lens {
    /// Who has written the mirror's records on the target.
    pub producer_id: i64,
    /// Where they are.
    pub map: OffsetMap,
    /// The target's log as it is.
    pub log: Log,
    /// Who has written records to the source that come from the target.
    pub without: Arc<Without>,
    /// Records of the source that come from the target, as far as it was read.
    pub echo: Counter,
}

/// Records that were seen, and up to which offset: what is read once more is not counted once more.
#[derive(Debug, Default)]
pub struct Counter {
    records: AtomicU64,
    until: AtomicI64,
}

impl Counter {
    /// What was counted.
    pub fn get(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    fn add(&self, batch: &Batch) {
        if batch.first_offset >= self.until.load(Ordering::Relaxed) {
            self.records.fetch_add(u64::from(batch.record_count.max(0).unsigned_abs()), Ordering::Relaxed);
            self.until.store(batch.last_offset.saturating_add(1), Ordering::Relaxed);
        }
    }
}

/// Whose records at the source come from the target.
#[derive(Debug, Default, PartialEq)]
pub struct Without {
    /// By the claims that the target has confirmed.
    claimed: BTreeSet<i64>,
    /// By what they say themselves.
    origin: Option<Origin>,
}

impl Without {
    fn contains(&self, producer_id: i64) -> bool {
        let says = Origin::of_producer(producer_id);
        says.map_or_else(|| self.claimed.contains(&producer_id), |says| Some(says) == self.origin)
    }
}

impl Lens {
    /// Leaves out of the source's batches those that come from the target, and counts their records.
    pub fn leave_out_echo(&self, batches: &mut Vec<Batch>) {
        batches.retain(|batch| {
            let comes_back = self.without.contains(batch.producer_id);
            if comes_back {
                self.echo.add(batch);
            }
            !comes_back
        });
    }

    /// Whether a batch of the target is a copy that the mirror made, as far as its map says so or does not know it yet.
    pub fn is_of_the_mirror(&self, batch: &Batch) -> bool {
        let is_known = self.map.run_at_target(batch.first_offset).is_some();
        batch.producer_id == self.producer_id && (is_known || batch.first_offset >= self.map.target_offset_next())
    }

    /// Makes of the target's batches those of the mirror at their offsets of the source.
    pub fn translate(&self, batches: Vec<Batch>) -> Result<Vec<Batch>, Malformed> {
        let own = batches.into_iter().filter(|batch| batch.producer_id == self.producer_id);
        own.filter(|batch| batch.first_offset < self.map.target_offset_next())
            .map(|mut batch| {
                let run = self.map.run_at_target(batch.first_offset);
                let Some(run) = run.filter(|run| batch.last_offset < run.target_offset + run.count) else {
                    let reason = "the mirror has written it, but its map of offsets does not know it";
                    return Err(Malformed { offset: batch.first_offset, reason });
                };
                let shift = run.source_offset - run.target_offset;
                (batch.first_offset, batch.last_offset) = (batch.first_offset + shift, batch.last_offset + shift);
                Ok(batch)
            })
            .collect()
    }
}

/// Gives the partitions of a plan their lenses, if offsets are translated. A mirror that is behind is waited for.
pub async fn translate(
    config: &Config,
    (source, at_source): (&Cluster, &Metadata),
    (target, on_target): (&Cluster, &Metadata),
    plan: &mut Plan,
    patience: Instant,
) -> Result<()> {
    if !config.translates() {
        return Ok(());
    }
    let id = |metadata: &Metadata| metadata.cluster_id.clone().unwrap_or_else(|| "unknown".to_owned());
    let (source_id, target_id) = (id(at_source), id(on_target));
    let name = config.name.clone().unwrap_or_else(|| default_name(&source_id, &target_id));
    let whose = identity::Whose { name: &name, source_cluster_id: &source_id, offsets: config.offsets };
    let (producer_id, maps) = loop {
        let Some(found) = identity::find(target, whose).await? else {
            let message = format!(
                "no mirror '{name}' has run to this target: with offsets=translate only it knows what is where"
            );
            return Err(Error::new(ErrorKind::Config, message));
        };
        let producer_id = found.identity.producer_id;
        let maps = found.maps;
        if plan.partitions.iter().all(|planned| is_level(planned, &maps, on_target)) || Instant::now() > patience {
            break (producer_id, maps);
        }
        tokio::time::sleep(PAUSE).await;
    };
    let mut origins = Origins::default();
    origins.read(Clusters { source, target, target_id: &target_id, own: Some(producer_id) }).await?;
    let without = Arc::new(Without { claimed: origins.producers(), origin: Some(Origin::of_cluster(&target_id)) });
    for planned in std::mem::take(&mut plan.partitions) {
        // Partitions that only the target has are those of others.
        let Some(source) = planned.source else { continue };
        match maps.get(&place_of(&planned, on_target)) {
            Some(map) => {
                let (map, log) = (map.clone(), planned.target.unwrap_or_default());
                let lens = Lens { producer_id, map, log, without: without.clone(), echo: Counter::default() };
                let target = planned.target.map(|log| seen(log, &lens.map));
                plan.partitions.push(Planned { target, lens: Some(Arc::new(lens)), ..planned });
            }
            None if source.start == source.end => {}
            None => {
                let message = format!("the mirror '{name}' has not begun it");
                let error = Error::new(ErrorKind::VerificationFailed, message);
                plan.unread.push(Unread {
                    topic: planned.topic,
                    partition: Some(planned.partition),
                    offset: None,
                    error,
                });
            }
        }
    }
    Ok(())
}

fn place_of(planned: &Planned, on_target: &Metadata) -> Place {
    let id = on_target.topics.get(&planned.target_topic).map_or(0, |topic| topic.id);
    Place { topic: planned.topic.clone(), target_topic_id: id, partition: planned.partition }
}

fn is_level(planned: &Planned, maps: &BTreeMap<Place, OffsetMap>, on_target: &Metadata) -> bool {
    let map = maps.get(&place_of(planned, on_target));
    planned.source.is_none_or(|source| map.is_some_and(|map| map.source_offset_of(map.known_until()) >= source.end))
}

/// The target's log as the mirror's records alone would make it, at their offsets of the source.
fn seen(log: Log, map: &OffsetMap) -> Log {
    let end = map.source_offset_of(map.known_until());
    let begin = map.begin();
    let start = if log.start <= begin.target_offset { begin.source_offset } else { map.source_offset_at(log.start) };
    Log { start: start.min(end), end, high_watermark: end }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use bytes::Bytes;

    use super::super::batches::cut;
    use super::*;
    use crate::batch::Stamp;
    use crate::batch::compression::Codec;
    use crate::batch::filler::Filler;

    /// A batch as it is in a log, of so many records.
    fn batch(first_offset: i64, records: u32, producer_id: i64) -> Batch {
        let filler = Filler::build(records, Codec::None).unwrap();
        let stamp = Stamp { producer_id, producer_epoch: 0, base_sequence: 0 };
        let mut bytes = [&filler.header(stamp, 0)[..], &filler.payload()].concat();
        bytes[..8].copy_from_slice(&first_offset.to_be_bytes());
        cut(Bytes::from(bytes)).unwrap().remove(0)
    }

    fn lens() -> Lens {
        let mut map = OffsetMap::beginning_at(100, 10);
        map.append(100, 100, 10, 5);
        map.append(105, 110, 20, 3);
        let log = Log { start: 0, end: 40, high_watermark: 40 };
        Lens { producer_id: 7, map, log, without: Arc::default(), echo: Counter::default() }
    }

    #[test]
    fn the_mirrors_records_are_seen_at_their_offsets_of_the_source() {
        let all = vec![batch(10, 5, 7), batch(15, 5, 8), batch(20, 3, 7), batch(23, 9, 7)];
        let seen = lens().translate(all).unwrap();
        let offsets: Vec<_> = seen.iter().map(|batch| (batch.first_offset, batch.last_offset)).collect();
        assert_eq!(offsets, [(100, 104), (110, 112)], "what is behind the map is not known yet");
        let log = Log { start: 0, end: 40, high_watermark: 40 };
        assert_eq!(super::seen(log, &lens().map), Log { start: 100, end: 113, high_watermark: 113 });
        let log = Log { start: 12, ..log };
        assert_eq!(super::seen(log, &lens().map).start, 102, "retention has taken two records");
    }

    #[test]
    fn what_the_mirror_wrote_is_told_from_what_others_wrote() {
        let is_own = |first_offset, producer_id| lens().is_of_the_mirror(&batch(first_offset, 2, producer_id));
        assert!(is_own(10, 7) && is_own(21, 7));
        assert!(!is_own(10, 8), "another writer");
        assert!(!is_own(3, 7) && !is_own(16, 7), "from before the map, or beside it");
        assert!(is_own(23, 7), "the map does not know it yet");
    }

    #[test]
    fn what_comes_back_from_the_target_is_left_out_and_counted() {
        let origin = Origin::of_cluster("target");
        let without = Without { claimed: BTreeSet::from([9]), origin: Some(origin) };
        let lens = Lens { without: Arc::new(without), ..lens() };
        let of_others = [8, Origin::of_cluster("elsewhere").producer_id(1), -1];
        let mut batches = vec![batch(0, 5, of_others[0]), batch(5, 3, origin.producer_id(4)), batch(8, 2, 9)];
        batches.extend([batch(10, 1, of_others[1]), batch(11, 1, of_others[2])]);
        lens.leave_out_echo(&mut batches);
        assert_eq!(batches.iter().map(|batch| batch.producer_id).collect::<Vec<_>>(), of_others);
        assert_eq!(lens.echo.get(), 5);
        lens.leave_out_echo(&mut vec![batch(5, 3, 9), batch(20, 4, 9)]);
        assert_eq!(lens.echo.get(), 9, "what is read again is not counted again");
    }

    #[test]
    fn a_record_that_is_there_twice_is_no_record_of_the_map() {
        let twice = vec![batch(10, 5, 7), batch(15, 5, 7), batch(20, 3, 7)];
        assert_eq!(lens().translate(twice).unwrap_err().offset, 15);
        let longer = vec![batch(10, 6, 7)];
        assert_eq!(lens().translate(longer).unwrap_err().offset, 10);
    }
}
