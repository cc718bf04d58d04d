//! Follows who leads the stream's partitions, and starts a fetcher or sender for each broker that leads one.
//!
//! Metadata is read only when something has shown that it is old: an answer of the class "leader", a broker that cannot
//! be reached, a new assignment. A partition whose leader moved on the target is opened again, because answers of
//! the old leader say nothing about the new one.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::{NO_LEADER, Side, Stream, Tries, fetching, filling, producing};
use crate::machine::partition::Phase;
use crate::tasks;
use crate::terms::topic::Metadata;

/// Runs for ever.
pub(super) async fn run(stream: Rc<Stream>) {
    let mut tries = [Side::Source, Side::Target].map(Tries::of);
    loop {
        stream.stale_changed.notified().await;
        for tries in &mut tries {
            let side = tries.side;
            if !stream.stale[side as usize].replace(false) {
                continue;
            }
            let outcome = refresh(&stream, side).await;
            if matches!(outcome, Ok(true)) {
                tries.succeeded();
                continue;
            }
            tries.failed(&stream, outcome.err().as_ref());
            stream.leaders_are_stale(side);
        }
        // A broker that answers "not leader" at once must not make this a busy loop.
        let slower = if tries[1].failures > tries[0].failures { &tries[1] } else { &tries[0] };
        slower.pause(&stream).await;
    }
}

/// Reads the leaders of all partitions of the stream; `false` if some have none yet.
async fn refresh(stream: &Rc<Stream>, side: Side) -> crate::error::Result<bool> {
    let topics: Vec<String> = match side {
        Side::Source => stream.by_name.borrow().keys().map(ToString::to_string).collect(),
        Side::Target => stream.names_at_source.borrow().keys().map(ToString::to_string).collect(),
    };
    let metadata = stream.cluster(side).metadata(Some(&topics), false).await?;
    Ok(apply(stream, side, &metadata))
}

fn apply(stream: &Rc<Stream>, side: Side, metadata: &Metadata) -> bool {
    let mut complete = true;
    let count = stream.slots.borrow().end();
    for index in 0..count {
        let now = stream.now();
        let (before, leader, is_another) = {
            let mut slots = stream.slots.borrow_mut();
            let Some(slot) = slots.get_mut(index) else { continue };
            // A topic of another id is another topic: its leaders have nothing to do with this partition.
            let topic = metadata.topics.get(slot.topic_at(side));
            let is_another = topic.is_some_and(|topic| slot.has_other_id(side, topic.id));
            let topic = topic.filter(|_| !is_another);
            let leader =
                topic.and_then(|topic| topic.leaders.get(slot.partition as usize)).copied().unwrap_or(NO_LEADER);
            // One that is parked goes on only when it is told to, and then its leaders are looked for again.
            complete &= leader != NO_LEADER || slot.machine.phase() == Phase::Parked;
            // The new leader is asked for all that it has.
            slot.apart &= side == Side::Target || slot.leaders[side as usize] == leader;
            (std::mem::replace(&mut slot.leaders[side as usize], leader), leader, is_another)
        };
        if before == leader {
            continue;
        }
        if is_another {
            stream.show_another_topic(index, side);
        }
        start_lane(stream, side, leader);
        match side {
            Side::Source => {
                // The old fetcher has to leave it out, the new one to take it in.
                for broker in [before, leader] {
                    if let Some(lane) = stream.fetchers.borrow().get(&broker) {
                        lane.put(index);
                    }
                }
            }
            Side::Target => stream.with_machine(index, |machine| machine.reopen(now)),
        }
        stream.update(index);
    }
    stream.closed_changed.notify_one();
    complete
}

fn start_lane(stream: &Rc<Stream>, side: Side, broker: i32) {
    let lanes = match side {
        Side::Source => &stream.fetchers,
        Side::Target => &stream.senders,
    };
    if broker == NO_LEADER || lanes.borrow().contains_key(&broker) {
        return;
    }
    let lane = Rc::default();
    lanes.borrow_mut().insert(broker, Rc::clone(&lane));
    match side {
        Side::Source => drop(tasks::spawn(fetching::run(stream.clone(), broker, lane))),
        Side::Target => {
            drop(tasks::spawn(producing::run(stream.clone(), broker, lane)));
            let lane = Rc::default();
            stream.fillers.borrow_mut().insert(broker, Rc::clone(&lane));
            drop(tasks::spawn(filling::run(stream.clone(), broker, lane)));
        }
    }
}

/// The leaders of some slots, grouped: one question to each broker asks about all of them.
pub(super) fn by_leaders(stream: &Stream, slots: &BTreeSet<usize>) -> BTreeMap<[i32; 2], Vec<usize>> {
    let mut groups: BTreeMap<[i32; 2], Vec<usize>> = BTreeMap::new();
    let all = stream.slots.borrow();
    for index in slots {
        if let Some(slot) = all.get(*index) {
            groups.entry(slot.leaders).or_default().push(*index);
        }
    }
    groups
}
