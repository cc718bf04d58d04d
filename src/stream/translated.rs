//! Reads the target's logs where offsets are translated: others write there too, so what is read is the mirror's part of them.
//!
//! What has to be looked at to know how far the mirror is, and what follows from it, is decided in [`search`](crate::machine::translation::search);
//! here it is read, of many partitions together. What the machine gets to see is a target with the mirror's records alone, at their
//! offsets of the source.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use super::ends::TargetEnd;
use super::likeness::{Compared, Place, compare_records, headers_at, is_same_payload};
use super::opening::{Names, Target, get};
use super::{Side, Stream};
use crate::batch::{self, Header};
use crate::error::Result;
use crate::identity::offsets::News;
use crate::machine::partition::{Likeness, SourceLog};
use crate::machine::translation::search::{Facts, Looked, Search, Step, Unclear};
use crate::machine::translation::{Note, OffsetMap};
use crate::status::Translation;
use crate::terms::broker_error::BrokerError;
use crate::terms::topic::TopicPartition;
use crate::wire::connection::Connection;
use crate::wire::positions::{self, ByPartition, Which};
use crate::wire::seen::{Held, Seen};

/// Bytes of one read.
const READ: i32 = 1 << 20;

impl Translation {
    /// What is known of the offsets. It is never held while somebody is waited for.
    pub(crate) fn map(&self) -> MutexGuard<'_, OffsetMap> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    /// Takes in what processes of this mirror have written down, this one or others.
    pub(super) fn hear(&self, news: News) {
        let slots = self.slots.borrow();
        let translations = || slots.iter().filter_map(|slot| slot.progress.translation.get());
        for (place, note) in news {
            match place {
                None => {
                    if let Note::Start(number) = note {
                        self.lease.hear_of_start(number);
                    }
                    translations().for_each(|translation| translation.map().hear(note.clone()));
                }
                Some(place) => {
                    let slot = self.slot(&place.topic, place.partition).and_then(|index| slots.get(index));
                    let translation = slot.and_then(|slot| slot.progress.translation.get());
                    if let Some(translation) = translation.filter(|translation| translation.place == place) {
                        translation.map().hear(note);
                    }
                }
            }
        }
    }

    /// Works with the map of a partition, by the slot.
    pub(super) fn with_map<T>(&self, index: usize, work: impl FnOnce(&mut OffsetMap) -> T) -> Option<T> {
        let slots = self.slots.borrow();
        let translation = slots.get(index)?.progress.translation.get()?;
        Some(work(&mut translation.map()))
    }

    fn slot_of(&self, names: &Names) -> usize {
        self.slot(&names.source.0, names.source.1).unwrap_or(usize::MAX)
    }
}

/// Epoch and sequence number of the mirror's last record, as the broker knows it.
type Known = BTreeMap<TopicPartition, Result<Option<(i16, i32)>, BrokerError>>;

async fn known(connection: &Connection, producer_id: i64, partitions: &[TopicPartition]) -> Result<Known> {
    let ours = |state: &positions::ProducerState| state.producer_id == producer_id && state.last_sequence >= 0;
    let Some(states) = positions::producers(connection, partitions, ours).await? else { return Ok(Known::new()) };
    let last =
        |states: Vec<positions::ProducerState>| states.first().map(|state| (state.producer_epoch, state.last_sequence));
    Ok(states.into_iter().map(|(partition, states)| (partition, states.map(last))).collect())
}

/// What was found of the target's logs, and of which of them it cannot be told how far the mirror is.
pub(super) struct Found {
    pub(super) targets: ByPartition<Target>,
    pub(super) unclear: BTreeMap<TopicPartition, Unclear>,
}

/// Reads the target's logs, of partitions with one leader.
pub(super) async fn read_target(stream: &Stream, leader: i32, names: &[Names]) -> Result<Found> {
    let connection = stream.target.broker(leader).await?;
    let facts = facts(stream, &connection, names).await?;
    let mut looking = Looking { stream, connection: &connection, open: BTreeMap::new(), failed: BTreeMap::new() };
    let mut unclear = BTreeMap::new();
    for (names, facts) in names.iter().zip(&facts) {
        match facts {
            Ok((facts, _)) => {
                let search = Search::new(stream.identity.producer_id, *facts);
                looking.open.insert(names.target.clone(), (stream.slot_of(names), search));
            }
            Err(error) => drop(looking.failed.insert(names.target.clone(), *error)),
        }
    }
    // What is not replicated yet cannot be read, and the position is read again anyway.
    let replicated =
        |facts: &Result<(Facts, i64), BrokerError>| matches!(facts, Ok((facts, high)) if *high >= facts.log_end);
    let readable: Vec<&Names> =
        names.iter().zip(&facts).filter(|(_, facts)| replicated(facts)).map(|(names, _)| names).collect();
    looking.look(readable, &mut unclear).await?;
    let partitions: Vec<TopicPartition> = names.iter().map(|names| names.target.clone()).collect();
    let after = known(&connection, stream.identity.producer_id, &partitions).await?;
    let mut targets = BTreeMap::new();
    for (names, facts) in names.iter().zip(facts) {
        targets.insert(names.target.clone(), looking.target(names, facts, &after));
    }
    Ok(Found { targets, unclear })
}

/// What the leader says of logs before they are read, and their high watermarks; in the order of the names.
async fn facts(
    stream: &Stream,
    connection: &Connection,
    names: &[Names],
) -> Result<Vec<Result<(Facts, i64), BrokerError>>> {
    let partitions: Vec<TopicPartition> = names.iter().map(|names| names.target.clone()).collect();
    let remembered = known(connection, stream.identity.producer_id, &partitions).await?;
    let ends = positions::log_ends(connection, &partitions).await?;
    let starts = positions::list_offsets(connection, &partitions, Which::LogStart).await?;
    let high_watermarks = positions::list_offsets(connection, &partitions, Which::HighWatermark).await?;
    // What was written down before a record was sent is there when the record is.
    let news = stream.notebook.lock().await.read(&stream.target, &stream.name).await?;
    stream.hear(news);
    let seal = |names: &Names| {
        let seal = stream.with_map(stream.slot_of(names), |map| map.seal()).flatten()?;
        Some((names.target.clone(), seal.epoch))
    };
    let seals: Vec<(TopicPartition, i32)> = names.iter().filter_map(seal).collect();
    let epoch_ends = match seals.is_empty() {
        true => None,
        false => positions::epoch_ends(connection, &seals).await?,
    };
    let facts = |names: &Names| {
        let partition = &names.target;
        let (log_end, leader_epoch) = get(&ends, partition)?;
        let epoch_end = epoch_ends.as_ref().and_then(|ends| ends.get(partition)).copied().transpose()?;
        let facts = Facts {
            remembered: get_known(&remembered, partition)?,
            log_start: get(&starts, partition)?,
            log_end,
            leader_epoch,
            epoch_end,
        };
        Ok((facts, get(&high_watermarks, partition)?))
    };
    Ok(names.iter().map(facts).collect())
}

/// Nothing is remembered by a broker that cannot tell.
fn get_known(known: &Known, partition: &TopicPartition) -> Result<Option<(i16, i32)>, BrokerError> {
    known.get(partition).copied().unwrap_or(Ok(None))
}

/// Searches in the logs of partitions with one leader.
struct Looking<'a> {
    stream: &'a Stream,
    connection: &'a Connection,
    /// With the slots of their partitions.
    open: BTreeMap<TopicPartition, (usize, Search)>,
    failed: BTreeMap<TopicPartition, BrokerError>,
}

impl Looking<'_> {
    /// Looks at whatever the searches want, until they want nothing more.
    async fn look(&mut self, mut names: Vec<&Names>, unclear: &mut BTreeMap<TopicPartition, Unclear>) -> Result<()> {
        while !names.is_empty() {
            let (mut looks, mut reads) = (Vec::new(), Vec::new());
            names.retain(|names| {
                let partition = &names.target;
                match self.next(partition) {
                    Some(Ok(Step::Look { at })) => looks.push((partition.clone(), at)),
                    Some(Ok(Step::Read { from })) => reads.push((partition.clone(), from)),
                    Some(Ok(Step::Done)) | None => return false,
                    Some(Err(why)) => {
                        unclear.insert(partition.clone(), why);
                        return false;
                    }
                }
                true
            });
            for (partition, held) in positions::batch_headers(self.connection, &looks).await? {
                let looked = match held {
                    Ok(Seen::There(Held::Batch(header))) => Looked::Batch(header),
                    Ok(Seen::There(Held::OldFormat)) => Looked::Other,
                    Ok(Seen::Absent { .. }) => Looked::Nothing,
                    Err(error) => {
                        self.failed.insert(partition, error);
                        continue;
                    }
                };
                if let Some((_, search)) = self.open.get_mut(&partition) {
                    search.looked(looked);
                }
            }
            for (partition, from) in reads {
                if let Some(Err(why)) = self.read(&partition, from).await? {
                    unclear.insert(partition, why);
                }
            }
            names.retain(|names| !self.failed.contains_key(&names.target) && !unclear.contains_key(&names.target));
        }
        Ok(())
    }

    fn next(&mut self, partition: &TopicPartition) -> Option<Result<Step, Unclear>> {
        let (slot, search) = self.open.get_mut(partition)?;
        self.stream.with_map(*slot, |map| search.next(map))
    }

    async fn read(&mut self, partition: &TopicPartition, from: i64) -> Result<Option<Result<(), Unclear>>> {
        let headers: Vec<Header> = match positions::look(self.connection, partition, from, READ).await? {
            // Left open: a batch that cannot be read ends what is taken of the answer; one without any is an error below.
            Ok(records) => batch::split(records).map_while(Result::ok).map(|batch| batch.header).collect(),
            Err(error) => {
                self.failed.insert(partition.clone(), error);
                return Ok(None);
            }
        };
        if headers.last().is_none_or(|last| last.last_offset() < from) {
            self.failed.insert(partition.clone(), BrokerError::CUT_OFF);
            return Ok(None);
        }
        let Some((slot, search)) = self.open.get_mut(partition) else { return Ok(None) };
        Ok(self.stream.with_map(*slot, |map| search.read(map, headers)))
    }

    /// What was found of a partition's log.
    fn target(
        &self,
        names: &Names,
        facts: Result<(Facts, i64), BrokerError>,
        after: &Known,
    ) -> Result<Target, BrokerError> {
        let (_, high_watermark) = facts?;
        let partition = &names.target;
        if let Some(error) = self.failed.get(partition) {
            return Err(*error);
        }
        let (slot, search) = self.open.get(partition).ok_or(BrokerError::UNKNOWN_PARTITION)?;
        let after = get_known(after, partition)?;
        let seen = |map: &mut OffsetMap| {
            if let Some(from) = search.cut_at() {
                let (topic, partition, goes_on_at) =
                    (&*names.source.0, names.source.1, map.source_offset_of(map.known_until()));
                tracing::warn!(
                    topic,
                    partition,
                    from,
                    goes_on_at,
                    "the target has lost records that were copied; they are copied again"
                );
            }
            search.seen(map, self.stream.identity, after, high_watermark)
        };
        let log = self.stream.with_map(*slot, seen).ok_or(BrokerError::UNKNOWN_PARTITION)?;
        let last_batch = search.last_batch();
        let end = TargetEnd { tail: log.tail, last_record: log.last_record, last_batch, last_filler: None };
        Ok(Target { log, end })
    }
}

/// Compares the mirror's last records with what the source has at their offsets there. With it the leader epoch that the source has
/// just before the place where it goes on. By the name at the source.
pub(super) async fn compare(
    stream: &Stream,
    leaders: [i32; 2],
    names: &[Names],
    sources: &ByPartition<(SourceLog, i64)>,
    targets: &ByPartition<Target>,
) -> Result<BTreeMap<TopicPartition, Result<Compared>>> {
    let mut compared = BTreeMap::new();
    let mut known = Vec::new();
    for names in names {
        let (Some(Ok((source, _))), Some(Ok(target))) = (sources.get(&names.source), targets.get(&names.target)) else {
            continue;
        };
        let last = stream.with_map(stream.slot_of(names), |map| map.last_record()).flatten();
        let last = last.zip(target.end.last_batch).filter(|((_, offset), _)| source.holds(*offset));
        let before_end = Some(target.log.log_end_offset - 1).filter(|offset| source.holds(*offset));
        match before_end.is_some() || last.is_some() {
            true => known.push((names, before_end, last)),
            false => drop(compared.insert(names.source.clone(), Ok((Likeness::Unknown, -1)))),
        }
    }
    if known.is_empty() {
        return Ok(compared);
    }
    let source = stream.source.broker(leaders[Side::Source as usize]).await?;
    let offsets = known
        .iter()
        .map(|(names, before_end, last)| (names.source.clone(), [*before_end, last.map(|((_, offset), _)| offset)]));
    let [at_end, last_records] = headers_at(&source, offsets.collect()).await?;
    for (names, before_end, last) in known {
        let there = Place { stream, side: Side::Source, connection: &source, partition: &names.source };
        let leader = leaders[Side::Target as usize];
        let likeness = async {
            let at_end = there.answer(&at_end, before_end.unwrap_or_default())?;
            let last_epoch = at_end.and_then(Seen::header).map_or(-1, |header| header.partition_leader_epoch);
            let Some((place, header)) = last else { return Ok((Likeness::Unknown, last_epoch)) };
            let seen = there.answer(&last_records, place.1)?;
            Ok((compare_last(there, leader, names, place, &header, seen).await?, last_epoch))
        };
        compared.insert(names.source.clone(), likeness.await);
    }
    Ok(compared)
}

/// Compares the mirror's last record, given its batch and what holds it at the source.
async fn compare_last(
    there: Place<'_>,
    leader: i32,
    names: &Names,
    (on_target, offset): (i64, i64),
    header: &Header,
    seen: Option<Seen<Held>>,
) -> Result<Likeness> {
    if let Some(likeness) = seen.and_then(|seen| judge(header, on_target, seen, offset)) {
        return Ok(likeness);
    }
    let connection = there.stream.target.broker(leader).await?;
    let here = Place { side: Side::Target, connection: &connection, partition: &names.target, ..there };
    Ok(compare_records((there, offset), (here, on_target)).await?.unwrap_or(Likeness::Unknown))
}

/// What headers alone tell; `None` if the records have to be looked at.
fn judge(target: &Header, on_target: i64, source: Seen<Held>, offset: i64) -> Option<Likeness> {
    let source = source.header()?;
    if source.is_control() {
        return Some(Likeness::Different { offset });
    }
    let same_place = offset - source.base_offset == on_target - target.base_offset;
    let same_length = source.last_offset_delta == target.last_offset_delta;
    (same_place && same_length && is_same_payload(target, &source)).then_some(Likeness::Same)
}
