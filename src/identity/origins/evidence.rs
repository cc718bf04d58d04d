//! Whether the target confirms that a mirror copies from it to the source: by the copies themselves.
//!
//! The mirror's map says which record of the target each of its copies is. If the target has the very record there, and it is not a
//! copy that this mirror has made of the source's, then the record did come from the target, and to leave it out loses
//! nothing. Who can only write to the source cannot bring that about. Nothing is concluded from what cannot be read.

use std::collections::BTreeSet;
use std::rc::Rc;

use bytes::Bytes;

use super::super::offsets::WrittenDown;
use super::Clusters;
use crate::batch::pieces::{self, Piece, Reading};
use crate::batch::records::Records;
use crate::error::Result;
use crate::terms::topic::Metadata;
use crate::wire::cluster::Cluster;
use crate::wire::positions;

/// Copies that are looked at until one is confirmed.
const COPIES: usize = 8;
/// Bytes of one look.
const LOOK: i32 = 1 << 20;

/// What is at an offset: who wrote it, and all that a consumer sees.
struct Found {
    producer_id: i64,
    timestamp: i64,
    body: Bytes,
}

/// Looks at copies that the map knows: the producers of those that the target has. None, if what it has there is another record.
pub(super) async fn look(
    clusters: Clusters<'_>,
    claimed: &BTreeSet<i64>,
    written: &WrittenDown,
) -> Result<BTreeSet<i64>> {
    let at_source = clusters.source.metadata(None, false).await?;
    let places = written.iter().filter_map(|(place, map)| Some((place, map.last_record()?)));
    let mut confirmed = BTreeSet::new();
    for (place, (at_source_offset, on_target_offset)) in places.take(COPIES) {
        let topic = at_source.topics.iter().find(|(_, topic)| topic.id == place.target_topic_id && topic.id != 0);
        let Some((topic, _)) = topic else { continue };
        let copy = found(clusters.source, &at_source, topic, place.partition, at_source_offset).await?;
        let Some(copy) = copy.filter(|copy| claimed.contains(&copy.producer_id)) else { continue };
        let on_target = clusters.target.metadata(Some(std::slice::from_ref(&place.topic)), false).await?;
        let original = found(clusters.target, &on_target, &place.topic, place.partition, on_target_offset).await?;
        let Some(original) = original else { continue };
        let is_ours = Some(original.producer_id) == clusters.own;
        if is_ours || (original.timestamp, &original.body) != (copy.timestamp, &copy.body) {
            return Ok(BTreeSet::new());
        }
        confirmed.insert(copy.producer_id);
    }
    Ok(confirmed)
}

/// The record at an offset; `None` if it cannot be read, or is not there.
async fn found(
    cluster: &Cluster,
    metadata: &Metadata,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<Option<Found>> {
    let leaders = metadata.topics.get(topic).map(|topic| &topic.leaders);
    let leader = leaders.and_then(|leaders| leaders.get(partition as usize)).copied();
    let Some(leader) = leader.filter(|leader| *leader >= 0) else { return Ok(None) };
    let connection = cluster.broker(leader).await?;
    let Ok(look) = positions::look(&connection, &(Rc::from(topic), partition), offset, LOOK).await? else {
        return Ok(None);
    };
    let Some(walked) = crate::batch::walk(&look).find(|walked| walked.last_offset >= offset) else { return Ok(None) };
    let reading = Reading { from: offset, read_committed: false, batch_limit: usize::MAX, without: &[] };
    let Some(Ok(Piece::Records(batch))) = pieces::pieces(look, &[], reading, &Bytes::from).next() else {
        return Ok(None);
    };
    let Ok(payload) = batch.decompressed() else { return Ok(None) };
    let at = |record: &crate::batch::records::Record<'_>| batch.header.base_offset + i64::from(record.offset_delta);
    let record = Records::new(&batch.header, &payload).filter_map(Result::ok).find(|record| at(record) == offset);
    Ok(record.zip(walked.producer_id).map(|(record, producer_id)| {
        let timestamp = match batch.header.is_log_append_time() {
            true => batch.header.max_timestamp,
            false => record.timestamp(&batch.header),
        };
        Found { producer_id, timestamp, body: Bytes::copy_from_slice(record.body) }
    }))
}
