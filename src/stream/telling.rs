//! What is told of a partition: that it stops and why, what a policy has left out, and what takes long.
//! Decides nothing: what is told was decided by the partition's machine.

use super::{Slot, Stream};
use crate::error::{Error, ErrorKind};
use crate::event::{Event, EventKind};
use crate::machine::partition::{LONG_FILL, estimate};
use crate::terms::state::State;

impl Stream {
    /// Tells of what a policy has left out: the partition goes on, but never silently.
    pub(super) fn tell_left_out(&self, slot: &mut Slot) {
        for left_out in slot.machine.take_left_out() {
            slot.progress.add_left_out(left_out.offsets);
            let place = format!("topic '{}' partition {}", slot.topic, slot.partition);
            let error = left_out.error.context(place).with_partition(&*slot.topic, slot.partition);
            let (from, to) = (left_out.from, left_out.next - 1);
            tracing::error!(topic = &*slot.topic, partition = slot.partition, from, to, %error, "left out by policy");
            let kind = if error.kind() == ErrorKind::DataLoss { EventKind::DataLoss } else { EventKind::Error };
            self.events.send(Event::of_error(kind, &error));
        }
    }

    /// Tells of a hole that takes long to fill, and shows how much of it is left until it is filled.
    pub(super) fn tell_hole(&self, slot: &mut Slot) {
        let hole = slot.machine.hole();
        if hole.is_none() && slot.hole_told < 0 {
            return;
        }
        let is_told = hole.is_some_and(|(_, next)| next == slot.hole_told);
        let per_second = self.markers.get().per_second();
        let left = hole.map_or(0, |(from, next)| next - from);
        let takes = estimate(left, per_second);
        match hole {
            Some((from, next)) if is_told || takes >= LONG_FILL => {
                let message = format!(
                    "topic '{}' partition {}: the source has no record from offset {from} to {}: these {left} offsets are filled \
                     on the target, which takes about {} minutes, and what comes behind them waits",
                    slot.topic,
                    slot.partition,
                    next - 1,
                    takes.as_secs().div_ceil(60)
                );
                let error = Error::new(ErrorKind::OffsetGap, message).with_partition(&*slot.topic, slot.partition);
                slot.progress.note(Some(error.with_offset(from)));
                if !is_told {
                    slot.hole_told = next;
                    tracing::warn!(
                        topic = &*slot.topic,
                        partition = slot.partition,
                        from,
                        next,
                        minutes = takes.as_secs().div_ceil(60),
                        "a hole of {left} offsets is filled"
                    );
                }
            }
            _ if slot.hole_told >= 0 => {
                slot.hole_told = -1;
                slot.progress.note(None);
            }
            _ => {}
        }
    }

    pub(super) fn tell_parked(&self, slot: &Slot) {
        let Some(error) = slot.machine.error() else { return };
        let place = format!("topic '{}' partition {}", slot.topic, slot.partition);
        let error = error.clone().context(place).with_partition(&*slot.topic, slot.partition);
        slot.progress.set_state(State::Failed, Some(&error));
        tracing::error!(topic = &*slot.topic, partition = slot.partition, kind = error.kind().name(), %error, "partition parked");
        if error.kind() == ErrorKind::DataLoss {
            self.events.send(Event::of_error(EventKind::DataLoss, &error));
        }
        self.events.send(Event::of_error(EventKind::PartitionParked, &error));
    }
}
