//! Asks apart for partitions of which nothing comes although the source has more, and says so when that does not help.
//!
//! Brokers with tiered storage read from the remote store for one partition of a request only (Kafka 3.6 to 4.3), answer
//! without an error and without records when that takes long or a quota is used up, and before 3.8 give up when the
//! request has waited. So such a partition is taken out of its broker's session, where it would hold up the others and be held up
//! by them, until it is level with the source: it is asked for alone, with a wait that grows. From an answer without
//! records nothing is concluded but that the partition waits.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::fetching::Fetcher;
use super::{Lane, Side, Stream, Tries};
use crate::clock::Instant;
use crate::error::{Error, ErrorKind};
use crate::machine::partition::Phase;
use crate::tasks;

/// How often it is looked for such partitions.
const WATCH: Duration = Duration::from_secs(1);
/// Looks in a row that find a partition waiting for the same offset, each with answers that had room for it.
const LOOKS: u32 = 2;
/// The first and the longest time that a broker may look for the records of one partition.
const WAITS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(5)];
/// The first pause after an answer that brought nothing, doubled up to the longest one.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];
/// Questions that bring nothing before it is said.
const TELL: u32 = 3;

/// Looks for partitions of which nothing comes. Runs for ever.
pub(super) async fn watch(stream: Rc<Stream>) {
    let mut answers: BTreeMap<i32, u32> = BTreeMap::new();
    loop {
        tokio::time::sleep(WATCH).await;
        // Answers that were full say nothing: others had their turn.
        let mut with_room: BTreeMap<i32, bool> = BTreeMap::new();
        for (broker, lane) in stream.fetchers.borrow().iter() {
            let count = lane.answers_with_room.get();
            with_room.insert(*broker, answers.insert(*broker, count).is_some_and(|before| before != count));
        }
        for (index, broker) in waiting(&stream, &with_room) {
            ask_apart(&stream, index, broker);
        }
    }
}

/// The partitions that have waited for so many looks, and their leaders.
fn waiting(stream: &Stream, with_room: &BTreeMap<i32, bool>) -> Vec<(usize, i32)> {
    let mut slots = stream.slots.borrow_mut();
    let mut found = Vec::new();
    for (index, slot) in slots.iter_mut() {
        let broker = slot.leaders[Side::Source as usize];
        let waits_for = slot.fetch_told.filter(|offset| !slot.apart && slot.progress.source_next() > Some(*offset));
        slot.waits_at = match waits_for {
            None => (-1, 0),
            Some(offset) if slot.waits_at.0 != offset => (offset, 0),
            Some(offset) => (offset, slot.waits_at.1 + u32::from(with_room.get(&broker) == Some(&true))),
        };
        if slot.waits_at.1 >= LOOKS {
            slot.apart = true;
            slot.waits_at = (-1, 0);
            found.push((index, broker));
        }
    }
    found
}

fn ask_apart(stream: &Rc<Stream>, index: usize, broker: i32) {
    let lane = { stream.silent.borrow_mut() }
        .entry(broker)
        .or_insert_with(|| {
            let lane = Rc::<Lane>::default();
            tasks::spawn(run(stream.clone(), broker, lane.clone()));
            lane
        })
        .clone();
    lane.put(index);
    // It leaves the session.
    if let Some(lane) = stream.fetchers.borrow().get(&broker) {
        lane.put(index);
    }
}

/// One partition that is asked for apart.
struct Asked {
    /// Not before.
    due: Instant,
    /// How long the broker may look.
    wait: Duration,
    /// Questions in a row that brought nothing, and the pause after the next of them.
    nothing: u32,
    pause: Duration,
}

/// Asks one broker, for one partition at a time. Runs for ever.
async fn run(stream: Rc<Stream>, broker: i32, lane: Rc<Lane>) {
    let mut fetcher = Fetcher::new(stream.clone(), broker);
    let mut tries = Tries::of(Side::Source);
    let mut asked: BTreeMap<usize, Asked> = BTreeMap::new();
    loop {
        for index in lane.take() {
            let asked_first = Asked { due: Instant::now(), wait: WAITS[0], nothing: 0, pause: PAUSES[0] };
            asked.entry(index).or_insert(asked_first);
        }
        let next = { asked.iter() }.min_by_key(|(_, asked)| asked.due).map(|(index, asked)| (*index, asked.due));
        let Some((index, due)) = next else {
            lane.changed.notified().await;
            continue;
        };
        if due > Instant::now() {
            let _ = tokio::time::timeout_at(due, lane.changed.notified()).await;
            continue;
        }
        let Some(Question { topic, id, partition, offset, epoch }) = question(&stream, index, broker) else {
            // Its turn comes again with the next thing that it wants.
            asked.remove(&index);
            continue;
        };
        let Some(one) = asked.get_mut(&index) else { continue };
        fetcher.session.want((&topic, id), partition, index, offset, epoch);
        let brought = fetcher.fetch(Some(one.wait)).await;
        fetcher.session.forget(&topic, partition, index);
        match brought {
            Err(error) => {
                fetcher.failed(&error);
                fetcher.session.reset();
                let now = stream.now();
                stream.with_machine(index, |machine| machine.handle_unreachable(error.clone(), now));
                tries.failed(&stream, Some(&error));
                tries.pause(&stream).await;
            }
            Ok(brought) if brought.bytes > 0 => {
                tries.succeeded();
                one.nothing = 0;
                one.pause = PAUSES[0];
                one.due = Instant::now();
            }
            Ok(_) => {
                tries.succeeded();
                one.nothing += 1;
                one.due = Instant::now() + one.pause;
                one.pause = (one.pause * 2).min(PAUSES[1]);
                let longest = WAITS[1].min(stream.config.source.request_timeout / 2);
                one.wait = (one.wait * 2).min(longest);
                if one.nothing >= TELL {
                    tell(&stream, index, broker, offset, one.nothing);
                }
            }
        }
    }
}

/// What is asked for one partition.
struct Question {
    topic: Rc<str>,
    id: u128,
    partition: i32,
    offset: i64,
    epoch: i32,
}

/// What is to be asked for a partition; `None` if it takes no more now, or is asked for apart no longer.
fn question(stream: &Stream, index: usize, broker: i32) -> Option<Question> {
    let mut slots = stream.slots.borrow_mut();
    let slot = slots.get_mut(index).filter(|slot| slot.apart)?;
    let wanted = slot.machine.poll_fetch();
    let stays = slot.leaders[Side::Source as usize] == broker
        && slot.machine.phase() == Phase::Running
        && wanted.is_none_or(|offset| slot.progress.source_next() > Some(offset));
    if !stays {
        slot.apart = false;
        if let Some(lane) = stream.fetchers.borrow().get(&slot.leaders[Side::Source as usize]) {
            lane.put(index);
        }
        return None;
    }
    let offset = wanted.filter(|_| !stream.halted.get())?;
    let (topic, id) = (slot.topic.clone(), slot.ids[Side::Source as usize]);
    Some(Question { topic, id, partition: slot.partition, offset, epoch: slot.machine.fetch_epoch() })
}

/// Says that a partition waits, and for what.
fn tell(stream: &Stream, index: usize, broker: i32, offset: i64, times: u32) {
    let end = stream.slots.borrow().get(index).and_then(|slot| slot.progress.source_next()).unwrap_or(-1);
    let message = format!(
        "broker {broker} of the source gives nothing from offset {offset} on, although the log ends at {end}: asked for this partition \
         alone, {times} times, it answered without an error and without records. Tiered storage does so while a read from the \
         remote store takes longer than remote.fetch.max.wait.ms of the broker, or while the broker's \
         remote.log.manager.fetch.max.bytes.per.second is used up: look at these. The partition waits, and nothing is left out"
    );
    let error = Error::new(ErrorKind::Broker, message).with_offset(offset);
    stream.with_machine(index, |machine| machine.handle_silence(offset, error));
}
