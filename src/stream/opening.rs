//! Reads where partitions are, on both sides, before anything is written to them.
//!
//! The reads are several requests, and a late request of a dead process may be appended between them. So the target's log end is
//! read first and last: only if it did not move, and all replicas have it, do the answers belong together.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use super::{NO_LEADER, Side, Stream, leaders};
use crate::error::{Error, ErrorKind, Result};
use crate::machine::partition::{Likeness, Phase, Reading, SourceLog, Tail, TargetLog};
use crate::wire::connection::Connection;
use crate::wire::errors::{BrokerError, Class};
use crate::wire::positions::{self, ByPartition, TopicPartition, Which};

/// How often partitions that wait for their time are looked at.
const TICK: Duration = Duration::from_millis(20);

/// Runs for ever.
pub(super) async fn run(stream: Rc<Stream>) {
    loop {
        if stream.closed.borrow().is_empty() {
            stream.closed_changed.notified().await;
        } else {
            let _ = tokio::time::timeout(TICK, stream.closed_changed.notified()).await;
        }
        let due = take_due(&stream);
        for (leaders, slots) in leaders::by_leaders(&stream, &due) {
            tokio::task::spawn_local(open(stream.clone(), leaders, slots));
        }
    }
}

fn take_due(stream: &Stream) -> std::collections::BTreeSet<usize> {
    let now = stream.now();
    let mut slots = stream.slots.borrow_mut();
    let mut closed = stream.closed.borrow_mut();
    let mut due = std::collections::BTreeSet::new();
    closed.retain(|index| {
        let slot = &mut slots[*index];
        // Without leaders there is nobody to ask; the first metadata is on its way.
        if slot.leaders.contains(&NO_LEADER) {
            return true;
        }
        if slot.machine.poll_open(now) {
            slot.last_sent = now;
            due.insert(*index);
        }
        matches!(slot.machine.phase(), Phase::Closed { .. })
    });
    due
}

/// Opens partitions that share their leaders.
async fn open(stream: Rc<Stream>, leaders: [i32; 2], slots: Vec<usize>) {
    let partitions: Vec<TopicPartition> = {
        let all = stream.slots.borrow();
        slots.iter().map(|index| (all[*index].topic.clone(), all[*index].partition)).collect()
    };
    let sources = read_source(&stream, leaders[Side::Source as usize], &partitions);
    let targets = read_target(&stream, leaders[Side::Target as usize], &partitions);
    let (sources, targets) = tokio::join!(sources, targets);
    let now = stream.now();
    for (index, partition) in slots.into_iter().zip(&partitions) {
        let source = answer_of(&stream, Side::Source, &sources, partition);
        let target = answer_of(&stream, Side::Target, &targets, partition);
        if let (Ok(source), Some(slot)) = (&source, stream.slots.borrow().get(index)) {
            slot.progress.set_source_next(source.log_end_offset);
        }
        stream.with_machine(index, |machine| match (source, target) {
            (Ok(source), Ok(target)) => {
                machine.handle_opened(Reading { source, target, likeness: Likeness::Unknown }, now)
            }
            (Err(error), _) | (_, Err(error)) => machine.handle_open_failed(error, now),
        });
    }
}

fn answer_of<T: Copy>(
    stream: &Stream,
    side: Side,
    answers: &Result<ByPartition<T>>,
    partition: &TopicPartition,
) -> Result<T> {
    let answers = answers.as_ref().map_err(|error| {
        stream.leaders_are_stale(side);
        error.clone()
    })?;
    let broker = match answers.get(partition) {
        Some(Ok(answer)) => return Ok(*answer),
        Some(Err(error)) => *error,
        None => BrokerError::UNKNOWN_PARTITION,
    };
    if broker.class == Class::Leader {
        stream.leaders_are_stale(side);
    }
    let kind = if broker.class == Class::Unauthorized { ErrorKind::Authorization } else { ErrorKind::Broker };
    let message = format!("the position at the {} cannot be read: {broker}", stream.cluster(side).side);
    Err(Error::new(kind, message).with_kafka_code(broker.code))
}

async fn read_source(stream: &Stream, leader: i32, partitions: &[TopicPartition]) -> Result<ByPartition<SourceLog>> {
    let connection = stream.source.broker(leader).await?;
    let starts = positions::list_offsets(&connection, partitions, Which::LogStart).await?;
    let ends = positions::list_offsets(&connection, partitions, Which::LogEnd).await?;
    let log = |partition: &TopicPartition| {
        Ok(SourceLog {
            log_start_offset: get(&starts, partition)?,
            log_end_offset: get(&ends, partition)?,
            epoch_end_offset: None,
            last_epoch: -1,
        })
    };
    Ok(partitions.iter().map(|partition| (partition.clone(), log(partition))).collect())
}

async fn read_target(stream: &Stream, leader: i32, partitions: &[TopicPartition]) -> Result<ByPartition<TargetLog>> {
    let connection = stream.target.broker(leader).await?;
    let ends_before = positions::list_offsets(&connection, partitions, Which::LogEnd).await?;
    let starts = positions::list_offsets(&connection, partitions, Which::LogStart).await?;
    let writers = read_writers(stream, &connection, partitions, &starts, &ends_before).await?;
    let high_watermarks = positions::list_offsets(&connection, partitions, Which::HighWatermark).await?;
    let ends = positions::list_offsets(&connection, partitions, Which::LogEnd).await?;
    let log = |partition: &TopicPartition| {
        let log_end_offset = get(&ends, partition)?;
        let stable = get(&ends_before, partition)? == log_end_offset;
        Ok(TargetLog {
            log_start_offset: get(&starts, partition)?,
            log_end_offset,
            // A log that moved meanwhile is one that is not replicated yet: to be read again.
            high_watermark: if stable { get(&high_watermarks, partition)? } else { -1 },
            last_record: get(&writers, partition)?.0,
            tail: get(&writers, partition)?.1,
            begun: true,
        })
    };
    Ok(partitions.iter().map(|partition| (partition.clone(), log(partition))).collect())
}

type Writers = ByPartition<(Option<(i16, i32)>, Tail)>;

/// What the broker remembers of the mirror, and what is at the end of each log.
async fn read_writers(
    stream: &Stream,
    connection: &Connection,
    partitions: &[TopicPartition],
    starts: &ByPartition<i64>,
    ends: &ByPartition<i64>,
) -> Result<Writers> {
    let identity = stream.identity;
    let states = positions::describe_producers(connection, partitions, identity.producer_id).await?;
    let mut writers: Writers = HashMap::new();
    let mut unknown = Vec::new();
    for partition in partitions {
        let state = states.as_ref().map_or(Ok(None), |states| get(states, partition));
        let (start, end) = (get(starts, partition), get(ends, partition));
        match (state, start, end) {
            (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => {
                drop(writers.insert(partition.clone(), Err(error)))
            }
            (Ok(state), Ok(start), Ok(end)) => {
                writers.insert(partition.clone(), Ok((state, Tail::Empty)));
                if end > start {
                    unknown.push((partition.clone(), end - 1));
                }
            }
        }
    }
    for (partition, header) in positions::last_batches(connection, &unknown).await? {
        if let Some(Ok((_, tail))) = writers.get_mut(&partition) {
            *tail = header.ok().flatten().map_or(Tail::Unknown, |header| Tail::of(&header));
        }
    }
    Ok(writers)
}

fn get<T: Copy>(answers: &ByPartition<T>, partition: &TopicPartition) -> Result<T, BrokerError> {
    answers.get(partition).copied().unwrap_or(Err(BrokerError::UNKNOWN_PARTITION))
}
