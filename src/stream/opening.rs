//! Reads the positions of closed partitions: their logs on both sides, and who wrote the target's.
//!
//! Partitions that share both leaders are asked about together, so that thousands of them start in a few requests. The
//! order of the reads is what the machine asks of its driver, see `Partition::handle_opened`.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::ends::{self, TargetEnd};
use super::{NO_LEADER, Side, Stream, leaders, likeness, translated};
use crate::error::{Error, ErrorKind, Result};
use crate::event::now_ms;
use crate::machine::partition::{Likeness, Phase, Reading, SourceLog, Tail, TargetLog, is_end_of_filler};
use crate::machine::translation::search::Unclear;
use crate::planted::{self, Bug};
use crate::tasks;
use crate::terms::broker_error::{BrokerError, Class};
use crate::terms::topic::TopicPartition;
use crate::wire::positions::{self, ByPartition, Which};

/// How often closed partitions whose pause is over are looked at.
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
            tasks::spawn(open(stream.clone(), leaders, slots));
        }
    }
}

fn take_due(stream: &Stream) -> std::collections::BTreeSet<usize> {
    let now = stream.now();
    let mut slots = stream.slots.borrow_mut();
    let mut closed = stream.closed.borrow_mut();
    let mut due = std::collections::BTreeSet::new();
    closed.retain(|index| {
        let Some(slot) = slots.get_mut(*index) else { return false };
        // Without leaders there is nobody to ask; the first metadata is on its way.
        if slot.leaders.contains(&NO_LEADER) {
            return true;
        }
        // Nor before there is a connection to be sent over: what is read before it would have to be read again.
        let Some(connections) = connections(stream, slot.leaders[Side::Target as usize]) else { return true };
        if slot.machine.poll_open(now) {
            slot.last_sent = now;
            slot.opened_over = connections;
            due.insert(*index);
        }
        matches!(slot.machine.phase(), Phase::Closed { .. })
    });
    due
}

/// How many connections there have been to a broker of the target, to produce and to fill; `None` before the first was tried.
fn connections(stream: &Stream, broker: i32) -> Option<[u32; 2]> {
    let (senders, fillers) = (stream.senders.borrow(), stream.fillers.borrow());
    let (sender, filler) = (senders.get(&broker)?, fillers.get(&broker)?);
    sender.has_dialed.get().then(|| [sender.connections.get(), filler.connections.get()])
}

/// Opens partitions that share their leaders.
async fn open(stream: Rc<Stream>, leaders: [i32; 2], slots: Vec<usize>) {
    let (slots, partitions, names): (Vec<usize>, Vec<(TopicPartition, i32)>, Vec<Names>) = {
        let all = stream.slots.borrow();
        let name = |index: usize| {
            // It may have been forgotten meanwhile.
            let slot = all.get(index)?;
            let source = (slot.topic.clone(), slot.partition);
            let target = (slot.target_topic.clone(), slot.partition);
            Some((index, (source.clone(), slot.machine.position_epoch()), Names { source, target }))
        };
        let named: Vec<_> = slots.into_iter().filter_map(name).collect();
        let (mut slots, mut partitions, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (index, partition, name) in named {
            slots.push(index);
            partitions.push(partition);
            names.push(name);
        }
        (slots, partitions, names)
    };
    let sources = read_source(&stream, leaders[Side::Source as usize], &partitions);
    let targets = async {
        match stream.translates() {
            true => translated::read_target(&stream, leaders[Side::Target as usize], &names).await,
            false => {
                let targets = read_target(&stream, leaders[Side::Target as usize], &names).await;
                targets.map(|targets| translated::Found { targets, unclear: BTreeMap::new() })
            }
        }
    };
    let (sources, found) = tokio::join!(sources, targets);
    let (targets, mut unclear) = match found {
        Ok(found) => (Ok(found.targets), found.unclear),
        Err(error) => (Err(error), BTreeMap::new()),
    };
    let mut likenesses = match (&sources, &targets) {
        (Ok(sources), Ok(targets)) if stream.translates() => {
            translated::compare(&stream, leaders, &names, sources, targets).await
        }
        (Ok(sources), Ok(targets)) => likeness::compare(&stream, leaders, &names, sources, targets).await,
        _ => Ok(BTreeMap::new()),
    };
    let now = stream.now();
    for (index, names) in slots.into_iter().zip(&names) {
        let source = answer_of(&stream, Side::Source, &sources, &names.source);
        let target = answer_of(&stream, Side::Target, &targets, &names.target);
        let likeness = match &mut likenesses {
            Ok(likenesses) => likenesses
                .remove(&names.source)
                .unwrap_or_else(|| Err(Error::new(ErrorKind::Internal, "both logs were read, but not compared"))),
            Err(error) => Err(error.clone()),
        };
        if let (Ok((_, visible)), Some(slot)) = (&source, stream.slots.borrow().get(index)) {
            slot.progress.set_source_next(*visible);
        }
        // Left open: the error goes to the machine below.
        let last_batch = target.as_ref().ok().and_then(|target| target.end.last_batch);
        if let (Some(last), Some(slot)) = (last_batch, stream.slots.borrow().get(index)) {
            slot.progress.set_found_timestamp(last.max_timestamp);
        }
        if let (Ok(target), Some(slot)) = (&target, stream.slots.borrow().get(index))
            && !target.log.begun
        {
            // Nothing older than what is copied from now on is there.
            slot.progress.deletions().set_begun_at(now_ms());
        }
        if stream.lease.has_successor() {
            stream.with_machine(index, |machine| machine.handle_open_failed(stream.lease.why_over(), now));
            continue;
        }
        if let Some(why) = unclear.remove(&names.target) {
            stream.with_machine(index, |machine| match why {
                Unclear::Now(error) => machine.handle_open_failed(error, now),
                Unclear::Ever(error) => machine.park(error),
            });
            continue;
        }
        stream.with_machine(index, |machine| match (source, target, likeness) {
            (Ok((source, _)), Ok(target), Ok((likeness, last_epoch))) => {
                let source = SourceLog { last_epoch, ..source };
                machine.handle_opened(Reading { source, target: target.log, likeness }, now);
            }
            // Left open: this is the bug.
            (Ok((source, _)), Ok(target), Err(_)) if planted::is(Bug::FailureIsNothing) => {
                machine.handle_opened(Reading { source, target: target.log, likeness: Likeness::Unknown }, now);
            }
            (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => machine.handle_open_failed(error, now),
        });
    }
}

fn answer_of<T: Clone>(
    stream: &Stream,
    side: Side,
    answers: &Result<ByPartition<T>>,
    partition: &TopicPartition,
) -> Result<T> {
    let answers = answers.as_ref().map_err(|error| {
        stream.leaders_are_stale(side);
        error.clone()
    })?;
    match answers.get(partition) {
        Some(Ok(answer)) => Ok(answer.clone()),
        Some(Err(error)) => Err(refused(stream, side, "the position cannot be read", *error)),
        None => Err(refused(stream, side, "the position cannot be read", BrokerError::UNKNOWN_PARTITION)),
    }
}

/// The error of a read that a broker has refused, or that has brought nothing.
pub(super) fn refused(stream: &Stream, side: Side, what: impl std::fmt::Display, broker: BrokerError) -> Error {
    if broker.class == Class::Leader {
        stream.leaders_are_stale(side);
    }
    let kind = if broker.class == Class::Unauthorized { ErrorKind::Authorization } else { ErrorKind::Broker };
    let message = format!("{what} at the {}: {broker}", stream.cluster(side).side);
    Error::new(kind, message).with_kafka_code(broker.code)
}

/// Both ends of the source's logs and the end that readers see, and where the leader epochs end that were copied last.
async fn read_source(
    stream: &Stream,
    leader: i32,
    partitions: &[(TopicPartition, i32)],
) -> Result<ByPartition<(SourceLog, i64)>> {
    let connection = stream.source.broker(leader).await?;
    let names: Vec<TopicPartition> = partitions.iter().map(|(partition, _)| partition.clone()).collect();
    let starts = positions::list_offsets(&connection, &names, Which::LogStart).await?;
    let ends = positions::list_offsets(&connection, &names, Which::LogEnd).await?;
    let which = Which::visible_to(stream.config.isolation_level);
    let visible = positions::list_offsets(&connection, &names, which).await?;
    let known: Vec<(TopicPartition, i32)> = partitions.iter().filter(|(_, epoch)| *epoch >= 0).cloned().collect();
    let epochs = match known.is_empty() {
        true => None,
        false => positions::epoch_ends(&connection, &known).await?,
    };
    let log = |partition: &TopicPartition| {
        let epoch_end = epochs.as_ref().and_then(|epochs| epochs.get(partition)).copied().transpose()?;
        let log = SourceLog {
            log_start_offset: get(&starts, partition)?,
            log_end_offset: get(&ends, partition)?,
            epoch_end_offset: epoch_end,
            last_epoch: -1,
        };
        Ok((log, get(&visible, partition)?))
    };
    Ok(names.iter().map(|partition| (partition.clone(), log(partition))).collect())
}

/// What a partition is called on both sides.
pub(super) struct Names {
    pub(super) source: TopicPartition,
    pub(super) target: TopicPartition,
}

/// A target's log, and the last records of it.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) log: TargetLog,
    pub(super) end: TargetEnd,
}

async fn read_target(stream: &Stream, leader: i32, names: &[Names]) -> Result<ByPartition<Target>> {
    let partitions: Vec<TopicPartition> = names.iter().map(|names| names.target.clone()).collect();
    let partitions = &partitions[..];
    let connection = stream.target.broker(leader).await?;
    let ends_before = positions::list_offsets(&connection, partitions, Which::LogEnd).await?;
    let starts = positions::list_offsets(&connection, partitions, Which::LogStart).await?;
    let high_watermarks = positions::list_offsets(&connection, partitions, Which::HighWatermark).await?;
    // What is not replicated yet cannot be read by a consumer, and is read again anyway.
    let bounds = |partition: &TopicPartition| match (
        get(&starts, partition),
        get(&ends_before, partition),
        get(&high_watermarks, partition),
    ) {
        (Ok(start), Ok(end), Ok(replicated)) if replicated >= end || planted::is(Bug::CountsUnreplicated) => {
            Some((start, end))
        }
        _ => None,
    };
    let bounds: BTreeMap<TopicPartition, (i64, i64)> =
        partitions.iter().filter_map(|partition| Some((partition.clone(), bounds(partition)?))).collect();
    let found = ends::read(&connection, stream.identity.producer_id, &bounds).await?;
    let ends = positions::list_offsets(&connection, partitions, Which::LogEnd).await?;
    let log = |partition: &TopicPartition| {
        let log_end_offset = get(&ends, partition)?;
        let stable = get(&ends_before, partition)? == log_end_offset;
        let (log_start_offset, high_watermark) = (get(&starts, partition)?, get(&high_watermarks, partition)?);
        let end = match bounds.contains_key(partition) {
            true => get(&found, partition)?,
            false => TargetEnd { tail: Tail::Unknown, last_record: None, last_batch: None, last_filler: None },
        };
        let log = TargetLog {
            log_start_offset,
            log_end_offset,
            // A log that moved meanwhile is one that is not replicated yet: to be read again.
            high_watermark: match stable {
                true if planted::is(Bug::CountsUnreplicated) => log_end_offset,
                true => high_watermark,
                false => -1,
            },
            last_record: end.last_record,
            last_writer: end.last_batch.map(|batch| batch.producer_id),
            tail: end.tail,
            begun: end.last_record.is_some()
                || (log_start_offset > 0
                    && !end.last_filler.is_some_and(|last| is_end_of_filler(last, log_end_offset))),
        };
        Ok(Target { log, end })
    };
    Ok(partitions.iter().map(|partition| (partition.clone(), log(partition))).collect())
}

pub(super) fn get<T: Clone>(answers: &ByPartition<T>, partition: &TopicPartition) -> Result<T, BrokerError> {
    answers.get(partition).cloned().unwrap_or(Err(BrokerError::UNKNOWN_PARTITION))
}
