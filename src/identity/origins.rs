//! Finds out which records of the source come from the target: those that a mirror the other way has written.
//!
//! Such a mirror keeps its internal topic on what is the source here, and the claim in it names the cluster that it copies from.
//! Its claim is written before its first record, so whoever looks after having seen a record finds it. What it has written down
//! of its offsets says where the target's own records are at the source.

use std::collections::{BTreeMap, BTreeSet};

use super::log::{Follower, Record};
use super::offsets::{Place, WrittenDown};
use super::{CLAIM_PREFIX, Claim, promotion, record_key};
use crate::error::Result;
use crate::machine::translation::OffsetMap;
use crate::wire::cluster::Cluster;

/// What mirrors the other way have said, as far as it was read.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    mirrors: BTreeMap<String, Mirror>,
}

/// A mirror whose internal topic is at the source.
#[derive(Debug, Default)]
struct Mirror {
    follower: Follower,
    /// Producer ids that copy from the target.
    producers: BTreeSet<i64>,
    written: WrittenDown,
    /// It was promoted: it copies nothing any more, so nothing waits for it.
    mark: Option<promotion::Mark>,
}

impl Origins {
    /// Reads what is new, in the internal topics of all mirrors that write to the source.
    pub(crate) async fn read(&mut self, source: &Cluster, target_id: &str, with_maps: bool) -> Result<()> {
        let metadata = source.metadata(None, false).await?;
        let names: Vec<String> = metadata.topics.keys().filter_map(|topic| mirror_of(topic)).collect();
        self.mirrors.retain(|name, _| names.contains(name));
        for name in names {
            let mirror = self.mirrors.entry(name.clone()).or_default();
            mirror.read(source, &name, target_id, with_maps).await?;
        }
        Ok(())
    }

    /// The producer ids under which records of the target come to the source.
    pub(crate) fn producers(&self) -> BTreeSet<i64> {
        self.mirrors.values().flat_map(|mirror| mirror.producers.iter().copied()).collect()
    }

    /// Where records of a partition of the target are at the source, by the id of the topic there; one map for each mirror the
    /// other way.
    pub(crate) fn maps(&self, source_topic_id: u128, partition: i32) -> impl Iterator<Item = &OffsetMap> {
        let is_it = move |place: &Place| (place.target_topic_id, place.partition) == (source_topic_id, partition);
        let of_target = self.mirrors.values().filter(|mirror| !mirror.producers.is_empty() && mirror.mark.is_none());
        let all = of_target.flat_map(|mirror| mirror.written.iter());
        all.filter(move |(place, _)| is_it(place)).map(|(_, map)| map)
    }
}

impl Mirror {
    async fn read(&mut self, source: &Cluster, name: &str, target_id: &str, with_maps: bool) -> Result<()> {
        let news = self.follower.read(source, name).await?;
        if news.anew {
            (self.producers, self.written, self.mark) = (BTreeSet::new(), WrittenDown::default(), None);
        }
        self.mark = promotion::mark_of(&news.records, self.mark.take());
        for record in &news.records {
            self.producers.extend(claimed(record, target_id));
            if with_maps {
                self.written.take_in(record);
            }
        }
        Ok(())
    }
}

/// The mirror whose internal topic has this name.
fn mirror_of(topic: &str) -> Option<String> {
    let name = topic.strip_prefix("kmirror.")?.strip_suffix(".internal")?;
    Some(name.to_owned())
}

/// The producer id that a record claims for copies from a cluster.
fn claimed(record: &Record, cluster_id: &str) -> Option<i64> {
    record_key(record)?.strip_prefix(CLAIM_PREFIX)?;
    let claim: Claim = serde_json::from_slice(record.value.as_ref()?).ok()?;
    (claim.source_cluster_id == cluster_id).then_some(claim.producer_id)
}
