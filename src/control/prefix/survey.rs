//! Reads both logs of partitions that may start late, many in one request to each leader.
//! Shared with `plan`, so nothing here knows a running mirror, and nothing is written.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::batch::marker;
use crate::config::{IsolationLevel, Start};
use crate::error::{Error, ErrorKind, Result};
use crate::machine::partition::Identity;
use crate::machine::prefix::LastWriter;
use crate::machine::translation::guard::Guard;
use crate::terms::broker_error::{BrokerError, Class};
use crate::terms::topic::{Metadata, TopicPartition};
use crate::wire::cluster::Cluster;
use crate::wire::connection::Connection;
use crate::wire::positions::{self, ByPartition, Which};
use crate::wire::seen::Seen;
use crate::wire::together::all;

/// A broker that is silent for so long holds up only its own partitions.
const PATIENCE: Duration = Duration::from_secs(5);

/// The source's log, and where the mirror is to begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SourceStart {
    /// First offset that is kept.
    pub(crate) log_start: i64,
    /// Where to begin, by `start`.
    pub(crate) wanted: i64,
    /// Next offset that consumers cannot see yet.
    pub(crate) end: i64,
}

/// The target's log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TargetState {
    pub(crate) log_start: i64,
    pub(crate) log_end: i64,
    pub(crate) writer: LastWriter,
}

/// An answer for each partition.
pub(crate) type Answers<T> = BTreeMap<TopicPartition, Result<T>>;

/// Where source logs begin, without anything else.
pub(crate) async fn log_starts(source: &Cluster, metadata: &Metadata, partitions: &[TopicPartition]) -> Answers<i64> {
    ask(source, metadata, partitions, async |connection: &Connection, partitions: &[TopicPartition]| {
        let starts = positions::list_offsets(connection, partitions, Which::LogStart).await?;
        Ok(starts.into_iter().map(|(partition, start)| (partition, sentence(source, start))).collect())
    })
    .await
}

/// Where source logs begin and end, and where the mirror begins with them.
pub(crate) async fn sources(
    source: &Cluster,
    metadata: &Metadata,
    wanted: &BTreeMap<TopicPartition, Start>,
    isolation: IsolationLevel,
) -> Answers<SourceStart> {
    let end = Which::visible_to(isolation);
    let partitions: Vec<TopicPartition> = wanted.keys().cloned().collect();
    ask(source, metadata, &partitions, async |connection: &Connection, partitions: &[TopicPartition]| {
        let starts = positions::list_offsets(connection, partitions, Which::LogStart).await?;
        let ends = positions::list_offsets(connection, partitions, end).await?;
        let mut at_time = ByPartition::new();
        for (time, some) in by_time(partitions, wanted) {
            at_time.extend(positions::list_offsets(connection, &some, Which::Timestamp(time)).await?);
        }
        let start_of = |partition: &TopicPartition| {
            let (log_start, end) = (get(&starts, partition)?, get(&ends, partition)?);
            let chosen = match wanted.get(partition) {
                Some(Start::Latest) => end,
                Some(Start::Timestamp(_)) => match get(&at_time, partition)? {
                    -1 => end,
                    offset => offset.min(end),
                },
                Some(Start::Earliest) | None => log_start,
            };
            Ok(SourceStart { log_start, wanted: chosen.max(log_start), end })
        };
        Ok(partitions.iter().map(|partition| (partition.clone(), sentence(source, start_of(partition)))).collect())
    })
    .await
}

fn by_time(
    partitions: &[TopicPartition],
    wanted: &BTreeMap<TopicPartition, Start>,
) -> BTreeMap<i64, Vec<TopicPartition>> {
    let mut times: BTreeMap<i64, Vec<TopicPartition>> = BTreeMap::new();
    for partition in partitions {
        if let Some(Start::Timestamp(time)) = wanted.get(partition) {
            times.entry(*time).or_default().push(partition.clone());
        }
    }
    times
}

/// What target logs hold. Without an identity nothing there is the mirror's.
pub(crate) async fn targets(
    target: &Cluster,
    metadata: &Metadata,
    partitions: &[TopicPartition],
    identity: Option<Identity>,
) -> Answers<TargetState> {
    ask(target, metadata, partitions, async |connection: &Connection, partitions: &[TopicPartition]| {
        let starts = positions::list_offsets(connection, partitions, Which::LogStart).await?;
        let ends = positions::list_offsets(connection, partitions, Which::LogEnd).await?;
        // Only what all replicas have can be read, and is certain to stay.
        let replicated = positions::list_offsets(connection, partitions, Which::HighWatermark).await?;
        let mut answers: BTreeMap<TopicPartition, Result<TargetState>> = BTreeMap::new();
        let mut known = Vec::new();
        for partition in partitions {
            match (get(&starts, partition), get(&ends, partition), get(&replicated, partition)) {
                (Ok(start), Ok(end), Ok(high)) if high == end => known.push((partition.clone(), start, end)),
                (Ok(_), Ok(_), Ok(_)) => {
                    let message = "the end of the target's log is not replicated yet";
                    answers.insert(partition.clone(), Err(Error::new(ErrorKind::Broker, message)));
                }
                (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => {
                    answers.insert(partition.clone(), sentence(target, Err(error)));
                }
            }
        }
        let mut writers = last_writers(connection, &known, identity).await?;
        for (partition, log_start, log_end) in known {
            let writer = writers.remove(&partition).unwrap_or(Err(BrokerError::UNKNOWN_PARTITION));
            let state = writer.map(|writer| TargetState { log_start, log_end, writer });
            answers.insert(partition, sentence(target, state));
        }
        Ok(answers)
    })
    .await
}

/// A target's log to which records are to be appended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appendable {
    pub(crate) log_start: i64,
    pub(crate) log_end: i64,
    /// A producer whose copies are in the way, and where one of them is, as far as it is known without reading the log.
    pub(crate) copy: Option<(i64, Option<i64>)>,
}

/// What target logs hold to which records are to be appended: what their brokers know of those who wrote to them, and who wrote last.
pub(crate) async fn appendable(
    target: &Cluster,
    metadata: &Metadata,
    partitions: &[TopicPartition],
    guard: Guard,
) -> Answers<Appendable> {
    ask(target, metadata, partitions, async |connection: &Connection, partitions: &[TopicPartition]| {
        let starts = positions::list_offsets(connection, partitions, Which::LogStart).await?;
        let ends = positions::list_offsets(connection, partitions, Which::LogEnd).await?;
        // Only what all replicas have can be read.
        let replicated = positions::list_offsets(connection, partitions, Which::HighWatermark).await?;
        let is_copy = |state: &positions::ProducerState| guard.is_copy(state.producer_id);
        let states = positions::producers(connection, partitions, is_copy).await?;
        let is_filled = |partition: &&TopicPartition| match (get(&starts, partition), get(&ends, partition)) {
            (Ok(start), Ok(end)) => start < end && get(&replicated, partition) == Ok(end),
            _ => false,
        };
        let filled = partitions.iter().filter(is_filled);
        let last: Vec<(TopicPartition, i64)> =
            // Left open: what was not told is an error of the partition below.
            filled.filter_map(|partition| Some((partition.clone(), get(&ends, partition).ok()? - 1))).collect();
        let last = positions::batch_headers(connection, &last).await?;
        let log = |partition: &TopicPartition| {
            let (log_start, log_end) = (get(&starts, partition)?, get(&ends, partition)?);
            if get(&replicated, partition)? < log_end {
                return Err(BrokerError::NO_RECORDS);
            }
            let states = states.as_ref().and_then(|states| states.get(partition)).map(|states| states.as_deref());
            let known = states.transpose().map_err(|error| *error)?.and_then(<[_]>::first);
            let last = last.get(partition).copied().transpose()?.and_then(Seen::header);
            let last = last.filter(|header| guard.is_copy(header.producer_id));
            let last = last.map(|header| (header.producer_id, Some(header.base_offset)));
            Ok(Appendable { log_start, log_end, copy: last.or(known.map(|state| (state.producer_id, None))) })
        };
        Ok(partitions.iter().map(|partition| (partition.clone(), sentence(target, log(partition)))).collect())
    })
    .await
}

/// Whether somebody else than the mirror has written to logs, by their last batches and by all producers that brokers remember. What
/// cannot be read is an error.
pub(crate) async fn other_writers(
    target: &Cluster,
    metadata: &Metadata,
    partitions: &[TopicPartition],
    identity: Identity,
) -> Answers<bool> {
    let ours = [identity.producer_id, marker::filler_of(identity.producer_id)];
    let is_ours = |id: i64, epoch: i16| ours.contains(&id) || marker::offset_of(id, epoch).is_some();
    ask(target, metadata, partitions, async |connection: &Connection, partitions: &[TopicPartition]| {
        let starts = positions::list_offsets(connection, partitions, Which::LogStart).await?;
        let ends = positions::list_offsets(connection, partitions, Which::LogEnd).await?;
        let last = |partition: &TopicPartition| {
            // Left open: what was not told is an error of the partition below.
            let (start, end) = (get(&starts, partition).ok()?, get(&ends, partition).ok()?);
            (start < end).then(|| (partition.clone(), end - 1))
        };
        let filled: Vec<(TopicPartition, i64)> = partitions.iter().filter_map(last).collect();
        let headers = positions::batch_headers(connection, &filled).await?;
        let other = |state: &positions::ProducerState| !is_ours(state.producer_id, state.producer_epoch);
        let others = positions::producers(connection, partitions, other).await?.unwrap_or_default();
        let has_other = |partition: &TopicPartition| {
            if get(&starts, partition)? >= get(&ends, partition)? {
                return Ok(false);
            }
            match others.get(partition) {
                Some(Err(error)) => return Err(*error),
                Some(Ok(states)) if !states.is_empty() => return Ok(true),
                _ => {}
            }
            match headers.get(partition) {
                Some(Ok(held)) => {
                    let header = held.header().ok_or(BrokerError::UNKNOWN_PARTITION)?;
                    Ok(!is_ours(header.producer_id, header.producer_epoch))
                }
                Some(Err(error)) => Err(*error),
                None => Err(BrokerError::UNKNOWN_PARTITION),
            }
        };
        Ok(partitions.iter().map(|partition| (partition.clone(), sentence(target, has_other(partition)))).collect())
    })
    .await
}

/// Who wrote logs' last batches, or to empty logs last.
async fn last_writers(
    connection: &Connection,
    logs: &[(TopicPartition, i64, i64)],
    identity: Option<Identity>,
) -> Result<ByPartition<LastWriter>> {
    let mut writers: ByPartition<LastWriter> = BTreeMap::new();
    // Of a log that nobody has written to there is nothing to ask.
    let (written, fresh): (Vec<_>, Vec<_>) = logs.iter().partition(|(.., end)| *end > 0);
    writers.extend(fresh.into_iter().map(|(partition, ..)| (partition.clone(), Ok(LastWriter::Nobody))));
    let names: Vec<TopicPartition> = written.iter().map(|(partition, ..)| partition.clone()).collect();
    let of_mirror = states(connection, &names, identity.map(|identity| identity.producer_id)).await?;
    let filler = identity.map(|identity| marker::filler_of(identity.producer_id));
    let empty = |&&(_, start, end): &&&(TopicPartition, i64, i64)| start >= end;
    let names: Vec<TopicPartition> = written.iter().filter(empty).map(|(partition, ..)| partition.clone()).collect();
    let of_filler = states(connection, &names, filler).await?;
    let mut unknown = Vec::new();
    for (partition, start, end) in written {
        // Of whom nobody was asked, or no broker can tell, there is nothing; a broker that did not tell is another matter.
        let state = |states: &ByPartition<Option<i32>>| states.get(partition).copied().unwrap_or(Ok(None));
        let writer = match (state(&of_mirror), state(&of_filler)) {
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(Some(_)), _) => Ok(LastWriter::Mirror),
            (Ok(None), Ok(Some(last))) => Ok(LastWriter::Filler { next_sequence: after(last, 1) }),
            (Ok(None), Ok(None)) if start >= end => Ok(LastWriter::Nobody),
            (Ok(None), Ok(None)) => {
                unknown.push((partition.clone(), end - 1));
                continue;
            }
        };
        writers.insert(partition.clone(), writer);
    }
    for (partition, header) in positions::batch_headers(connection, &unknown).await? {
        let writer = header.map(|header| match header.header() {
            Some(header) if Some(header.producer_id) == filler => LastWriter::Filler {
                next_sequence: after(header.base_sequence, header.last_offset_delta.saturating_add(1)),
            },
            Some(header) if marker::is_filler(header.producer_id) => LastWriter::OtherFiller,
            Some(header) if Some(header.producer_id) == identity.map(|identity| identity.producer_id) => {
                LastWriter::Mirror
            }
            // Markers stand for holes of the source, which come with data.
            Some(header) if marker::offset_of(header.producer_id, header.producer_epoch).is_some() => {
                LastWriter::Mirror
            }
            _ => LastWriter::Other,
        });
        writers.insert(partition, writer);
    }
    Ok(writers)
}

/// The sequence number that a producer wrote last; nothing for a broker that cannot tell.
async fn states(
    connection: &Connection,
    partitions: &[TopicPartition],
    producer_id: Option<i64>,
) -> Result<ByPartition<Option<i32>>> {
    match producer_id.filter(|_| !partitions.is_empty()) {
        Some(producer_id) => {
            let of_it = |state: &positions::ProducerState| state.producer_id == producer_id && state.last_sequence >= 0;
            let states = positions::producers(connection, partitions, of_it).await?.unwrap_or_default();
            let last = |states: Vec<positions::ProducerState>| states.first().map(|state| state.last_sequence);
            Ok(states.into_iter().map(|(partition, states)| (partition, states.map(last))).collect())
        }
        None => Ok(BTreeMap::new()),
    }
}

fn after(sequence: i32, records: i32) -> i32 {
    ((i64::from(sequence) + i64::from(records)) % (1 << 31)) as i32
}

/// Asks the leader of each partition, all of them at the same time.
async fn ask<T>(
    cluster: &Cluster,
    metadata: &Metadata,
    partitions: &[TopicPartition],
    question: impl AsyncFn(&Connection, &[TopicPartition]) -> Result<Answers<T>>,
) -> Answers<T> {
    let mut answers = Answers::new();
    let mut groups: BTreeMap<i32, Vec<TopicPartition>> = BTreeMap::new();
    for partition in partitions {
        match leader_of(metadata, partition) {
            Some(leader) => groups.entry(leader).or_default().push(partition.clone()),
            None => {
                let message = format!("the {} has no leader for it at the moment", cluster.side);
                answers.insert(partition.clone(), Err(Error::new(ErrorKind::Broker, message)));
            }
        }
    }
    let question = &question;
    let asked = groups.into_iter().map(|(leader, partitions)| async move {
        let answer = async {
            let connection = cluster.broker(leader).await?;
            question(&connection, &partitions).await
        };
        let patience = PATIENCE + Duration::from_millis(partitions.len() as u64);
        let answer = tokio::time::timeout(patience, answer).await.unwrap_or_else(|_| {
            let message = format!("broker {leader} of the {} does not answer", cluster.side);
            Err(Error::new(ErrorKind::Connect, message))
        });
        (partitions, answer)
    });
    for (partitions, answer) in all(asked.collect()).await {
        match answer {
            Ok(some) => answers.extend(some),
            Err(error) => {
                answers.extend(partitions.into_iter().map(|partition| (partition, Err(error.clone()))));
            }
        }
    }
    answers
}

/// Who leads a partition.
pub(crate) fn leader_of(metadata: &Metadata, (topic, partition): &TopicPartition) -> Option<i32> {
    let leaders = &metadata.topics.get(&**topic)?.leaders;
    leaders.get(*partition as usize).copied().filter(|leader| *leader >= 0)
}

fn get<T: Copy>(answers: &ByPartition<T>, partition: &TopicPartition) -> Result<T, BrokerError> {
    answers.get(partition).copied().unwrap_or(Err(BrokerError::UNKNOWN_PARTITION))
}

fn sentence<T>(cluster: &Cluster, answer: Result<T, BrokerError>) -> Result<T> {
    answer.map_err(|broker| {
        let kind = if broker.class == Class::Unauthorized { ErrorKind::Authorization } else { ErrorKind::Broker };
        let message = format!("the position at the {} cannot be read: {broker}", cluster.side);
        Error::new(kind, message).with_kafka_code(broker.code)
    })
}
