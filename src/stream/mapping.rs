//! Has it written down where holes are, for partitions whose offsets are translated: one write for all that wait, one after the
//! other, and what other processes have written meanwhile is read with it.
//!
//! What was ordered is durable in the internal topic before a machine hears of it. A process that finds that another has
//! started since stops there: what it has written does not count.

use std::rc::Rc;

use super::{Lane, Side, Stream, Tries};
use crate::error::Result;
use crate::identity::offsets::Entry;
use crate::identity::start_number_of;
use crate::machine::partition::{Filled, Ticket};

/// With so many holes in one note it is time to keep the runs before them, so that notes become short again.
const MANY_HOLES: usize = 64;

/// Runs for ever.
pub(super) async fn run(stream: Rc<Stream>, lane: Rc<Lane>) {
    let mut tries = Tries::of(Side::Target);
    loop {
        if lane.slots.borrow().is_empty() {
            lane.changed.notified().await;
            continue;
        }
        match write_down(&stream, &lane).await {
            Ok(()) => tries.succeeded(),
            Err(error) => {
                tries.failed(&stream, Some(&error));
                tries.pause(&stream).await;
            }
        }
    }
}

/// Writes down what the partitions in the lane want.
async fn write_down(stream: &Stream, lane: &Lane) -> Result<()> {
    let mut notebook = stream.notebook.lock().await;
    let (mut entries, mut tickets) = (Vec::new(), Vec::new());
    for index in lane.take() {
        tickets.extend(order(stream, index, &mut entries)?);
        // One that has to wait until its log has stood still is closed now.
        stream.update(index);
    }
    if tickets.is_empty() {
        return Ok(());
    }
    let written = notebook.write(&stream.target, &stream.name, entries).await;
    drop(notebook);
    let now = stream.now();
    let failed = match written {
        Ok(news) => {
            stream.hear(news);
            None
        }
        Err(error) => Some(error),
    };
    for Order { index, ticket, kept_until } in tickets {
        if failed.is_some() {
            stream.with_map(index, |map| map.keep_again(kept_until));
        }
        // With a later start before it, what was written down does not count.
        let counts = failed.is_none() && !stream.lease.has_successor();
        let filled = if counts { Filled::Mapped } else { Filled::Lost };
        stream.with_machine(index, |machine| machine.handle_filled(ticket, filled, now));
    }
    failed.map_or(Ok(()), Err)
}

struct Order {
    index: usize,
    ticket: Ticket,
    /// The number of the first record of which it was not kept before where it is.
    kept_until: i64,
}

/// What a partition wants written down, if it wants anything.
fn order(stream: &Stream, index: usize, entries: &mut Vec<Entry>) -> Result<Option<Order>> {
    let now = stream.now();
    let mut slots = stream.slots.borrow_mut();
    let Some(slot) = slots.get_mut(index) else { return Ok(None) };
    let Some(translation) = slot.progress.translation.get() else { return Ok(None) };
    let Some(mapping) = slot.machine.poll_map(now) else { return Ok(None) };
    slot.last_sent = now;
    let mut map = translation.map();
    let (before, kept_until) = (map.fence(), map.kept_until());
    let mut anchors = map.with_anchors(&mapping.anchors);
    if anchors.len() >= MANY_HOLES {
        entries.extend(translation.place.changed(start_number_of(stream.identity), &mut map)?);
        anchors = map.with_anchors(&mapping.anchors);
    }
    entries.push(translation.place.anchors(mapping.fence, &anchors)?);
    if before != 0 && before != mapping.fence {
        entries.push(translation.place.without_anchors(before));
    }
    Ok(Some(Order { index, ticket: mapping.ticket, kept_until }))
}
