//! A name is no identity: a topic of another id is another topic, whose partitions have nothing to do with those that are
//! mirrored. What becomes of them is decided by the next look at the topics, in `control`; until then nothing is asked or written.

use std::rc::Rc;

use super::{NO_LEADER, Side, Slot, Stream};
use crate::error::{Error, ErrorKind};
use crate::machine::partition::Phase;
use crate::terms::broker_error::BrokerError;
use crate::terms::state::State;

impl Stream {
    /// The name at the source of a topic of the target that goes by its name or, where that is empty, by its id.
    pub(super) fn name_of_answered(&self, name: &str, id: u128) -> Option<Rc<str>> {
        match name {
            "" => self.names_by_id.borrow().get(&id).cloned(),
            name => self.name_at_source(name),
        }
    }

    /// A broker says that the topic of a partition is not the one of this id. Nothing is asked or written under its name until the
    /// metadata shows it with its id again; otherwise the next look at the topics decides what becomes of it.
    pub(super) fn is_another_topic(&self, index: usize, side: Side, error: &BrokerError) {
        let now = self.now();
        let Some(other) = self.slots.borrow_mut().get_mut(index).map(|slot| {
            slot.leaders[side as usize] = NO_LEADER;
            slot.another_topic(side).context(error).with_kafka_code(error.code)
        }) else {
            return;
        };
        self.with_machine(index, |machine| machine.handle_unreachable(other, now));
        self.leaders_are_stale(side);
    }

    /// Shows on a partition that its topic has another id by the metadata.
    pub(super) fn show_another_topic(&self, index: usize, side: Side) {
        let slots = self.slots.borrow();
        let Some(slot) = slots.get(index).filter(|slot| slot.machine.phase() != Phase::Parked) else { return };
        let error = slot.another_topic(side);
        tracing::warn!(topic = &*slot.topic, partition = slot.partition, %error, "partition waits");
        slot.progress.set_state(State::Stalled, Some(&error));
    }
}

impl Slot {
    /// Whether an id is that of another topic.
    pub(super) fn has_other_id(&self, side: Side, id: u128) -> bool {
        let ours = self.ids[side as usize];
        ours != 0 && id != 0 && ours != id
    }

    /// Why it waits when its topic has another id.
    pub(super) fn another_topic(&self, side: Side) -> Error {
        let (topic, partition) = (self.topic_at(side), self.partition);
        let side = side.name();
        let message = format!(
            "topic '{topic}' was deleted, or created again, at the {side}: partition {partition} is not the one that is mirrored, and \
             waits until the next look at the topics decides"
        );
        Error::new(ErrorKind::Broker, message)
    }
}
