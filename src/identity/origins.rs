//! Finds out which records of the source come from the target: those that a mirror the other way has written.
//!
//! Batches say it themselves ([`Origin`]). Those of the first mirrors do not: such a mirror keeps its internal topic on what is
//! the source here, and the claim in it names the cluster that it copies from. Whoever may write to such a topic can claim whatever he
//! likes, so a claim is believed only if the target confirms it ([`evidence`]). What the mirror has written down of its offsets says
//! where the target's own records are at the source.

mod evidence;

use std::collections::{BTreeMap, BTreeSet};

use super::log::{Followed, Follower, Record};
use super::offsets::{Place, WrittenDown};
use super::{CLAIM_PREFIX, Claim, promotion, record_key, topic_of};
use crate::batch::marker::Origin;
use crate::error::{Error, ErrorKind, Result};
use crate::machine::translation::OffsetMap;
use crate::wire::cluster::Cluster;

/// Both clusters, as those see them who ask where records come from.
#[derive(Clone, Copy)]
pub(crate) struct Clusters<'a> {
    pub(crate) source: &'a Cluster,
    pub(crate) target: &'a Cluster,
    /// The id of the target.
    pub(crate) target_id: &'a str,
    /// Under which producer id this mirror writes there, if it has run.
    pub(crate) own: Option<i64>,
}

/// What mirrors the other way have said, as far as it was read.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    mirrors: BTreeMap<String, Mirror>,
}

/// A mirror whose internal topic is at the source.
#[derive(Debug, Default)]
struct Mirror {
    follower: Follower,
    /// Producer ids that are said to copy from the target.
    claimed: BTreeSet<i64>,
    /// Those of them that the target has confirmed.
    confirmed: BTreeSet<i64>,
    written: WrittenDown,
    /// It was promoted: it copies nothing any more, so nothing waits for it.
    mark: Option<promotion::Mark>,
    /// What was told of it, so that it is told once.
    told: Option<String>,
    /// Records that were taken in.
    notes: usize,
    /// Nobody can make sense of it.
    unreadable: bool,
}

/// So often it is read until it is left out: what was damaged on its way comes whole the next time.
const TRIES: u32 = 3;
/// Records of an internal topic of somebody else's that are taken in: maps of more were not made by a mirror.
const MOST_NOTES: usize = 1_000_000;

impl Origins {
    /// Reads what is new in the internal topics of all mirrors that write to the source, and has the target confirm what they claim.
    pub(crate) async fn read(&mut self, clusters: Clusters<'_>) -> Result<()> {
        let metadata = clusters.source.metadata(None, false).await?;
        let names = metadata.topics.keys().filter_map(|topic| mirror_of(topic)).collect();
        self.read_of(clusters, names).await
    }

    /// The same, with what every broker of the source shows: one that is behind does not show a topic that was created a moment ago.
    pub(crate) async fn read_from_all_brokers(&mut self, clusters: Clusters<'_>) -> Result<()> {
        let mut names = BTreeSet::new();
        let mut outcome = Err(Error::new(ErrorKind::Broker, "the source names no broker"));
        for broker in clusters.source.brokers() {
            match clusters.source.metadata_of(broker).await {
                Ok(metadata) => {
                    names.extend(metadata.topics.keys().filter_map(|topic| mirror_of(topic)));
                    outcome = Ok(());
                }
                // Another one knows as much, unless none answers.
                Err(error) if outcome.is_err() => outcome = Err(error),
                Err(_) => {}
            }
        }
        outcome?;
        self.read_of(clusters, names).await
    }

    async fn read_of(&mut self, clusters: Clusters<'_>, names: BTreeSet<String>) -> Result<()> {
        self.mirrors.retain(|name, _| names.contains(name));
        for name in names {
            let mirror = self.mirrors.entry(name.clone()).or_default();
            if mirror.unreadable {
                continue;
            }
            for left in (0..TRIES).rev() {
                match mirror.read(clusters.source, &name, clusters.target_id).await {
                    Ok(()) => {
                        mirror.confirm(clusters, &name).await;
                        break;
                    }
                    Err(error) if error.kind() != ErrorKind::TargetConflict => return Err(error),
                    Err(_) if left > 0 => {}
                    // No mirror of today has written it.
                    Err(error) => {
                        mirror.unreadable = true;
                        tracing::warn!(%error, "an internal topic at the source is left out: no record is known by it to come from the target");
                    }
                }
            }
        }
        Ok(())
    }

    /// The producer ids, of those that do not say it themselves, under which records of the target come to the source.
    pub(crate) fn producers(&self) -> BTreeSet<i64> {
        self.mirrors.values().flat_map(|mirror| mirror.confirmed.iter().copied()).collect()
    }

    /// Whether a producer id is claimed for copies from the target, and the target has not confirmed it yet.
    pub(crate) fn is_doubtful(&self, producer_id: i64) -> bool {
        self.mirrors.values().any(|mirror| mirror.is_doubtful(producer_id))
    }

    /// Tells once of what is claimed and not believed.
    pub(crate) fn tell_of_doubts(&mut self, producer_id: i64) {
        for (name, mirror) in &mut self.mirrors {
            if mirror.is_doubtful(producer_id) {
                let topic = topic_of(name);
                let why = format!(
                    "'{topic}' at the source claims that producer {producer_id} copies from the target, and the target does not confirm it: \
                     no record is there that this producer has copied; its records are mirrored"
                );
                if mirror.told.as_ref() != Some(&why) {
                    tracing::warn!("{why}");
                    mirror.told = Some(why);
                }
            }
        }
    }

    /// Where records of a partition of the target are at the source, by the id of the topic there; one map for each mirror the
    /// other way, and whether the target has confirmed it.
    pub(crate) fn maps(&self, source_topic_id: u128, partition: i32) -> impl Iterator<Item = (&OffsetMap, bool)> {
        let is_it = move |place: &Place| (place.target_topic_id, place.partition) == (source_topic_id, partition);
        let of_target = self.mirrors.values().filter(|mirror| !mirror.claimed.is_empty() && mirror.mark.is_none());
        let all =
            of_target.flat_map(|mirror| mirror.written.iter().map(|written| (written, !mirror.confirmed.is_empty())));
        all.filter(move |((place, _), _)| is_it(place)).map(|((_, map), confirmed)| (map, confirmed))
    }
}

impl Mirror {
    fn is_doubtful(&self, producer_id: i64) -> bool {
        self.claimed.contains(&producer_id) && !self.confirmed.contains(&producer_id)
    }

    async fn read(&mut self, source: &Cluster, name: &str, target_id: &str) -> Result<()> {
        let Mirror { follower, claimed, written, mark, confirmed, notes, .. } = self;
        let take = |followed: Followed| match followed {
            Followed::Anew => {
                (*claimed, *confirmed, *notes) = (BTreeSet::new(), BTreeSet::new(), 0);
                (*written, *mark) = (WrittenDown::default(), None);
            }
            Followed::Records(records) => {
                *mark = promotion::mark_of(&records, mark.take());
                claimed.extend(records.iter().filter_map(|record| claimed_by(record, target_id)));
                *notes += records.len();
                if *notes > MOST_NOTES {
                    *written = WrittenDown::default();
                } else {
                    records.iter().for_each(|record| written.take_in(record));
                }
            }
        };
        follower.follow(source, name, take).await
    }

    /// Asks the target whether what is claimed is so, until it has been confirmed.
    async fn confirm(&mut self, clusters: Clusters<'_>, name: &str) {
        if self.claimed.is_subset(&self.confirmed) {
            return;
        }
        match evidence::look(clusters, &self.claimed, &self.written).await {
            Ok(confirmed) => self.confirmed.extend(confirmed),
            Err(error) => {
                tracing::debug!(mirror = name, %error, "it cannot be seen whether the target confirms a claim")
            }
        }
    }
}

/// The mirror whose internal topic has this name.
fn mirror_of(topic: &str) -> Option<String> {
    let name = topic.strip_prefix("kmirror.")?.strip_suffix(".internal")?;
    Some(name.to_owned())
}

/// The producer id that a record claims for copies from a cluster. One that says itself that it copies from another is not that.
fn claimed_by(record: &Record, cluster_id: &str) -> Option<i64> {
    record_key(record)?.strip_prefix(CLAIM_PREFIX)?;
    let claim: Claim = serde_json::from_slice(record.value.as_ref()?).ok()?;
    let says = Origin::of_producer(claim.producer_id);
    let is_it = claim.source_cluster_id == cluster_id && says.is_none_or(|says| says == Origin::of_cluster(cluster_id));
    is_it.then_some(claim.producer_id)
}
