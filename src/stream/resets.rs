//! Tells a topic that was created again from a log that has lost something: both have fewer records than were copied, or others.
//!
//! What tells them apart is the topic's id, which the source is asked for before the error of a partition is told. The next look at
//! the topics decides what becomes of it.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use super::Stream;
use crate::error::{Error, ErrorKind};
use crate::machine::topics::created_again;

/// How often the source is asked for the ids, with a pause in between, before the error is told as it is.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);

/// What is known of the topic of a partition.
enum Known {
    /// It is the one that is mirrored.
    Same,
    /// It is another one, of this id.
    Other(u128),
    /// There is none.
    Gone,
    /// The source did not say.
    Unknown,
}

/// Runs for ever.
pub(super) async fn run(stream: Rc<Stream>) {
    loop {
        let suspects = stream.suspects.take();
        if suspects.is_empty() {
            stream.suspects.changed.notified().await;
            continue;
        }
        judge(&stream, suspects).await;
    }
}

async fn judge(stream: &Rc<Stream>, mut open: BTreeSet<usize>) {
    for attempt in 1..=TRIES {
        let topics: BTreeSet<String> = {
            let slots = stream.slots.borrow();
            open.iter().filter_map(|index| Some(slots.get(*index)?.topic.to_string())).collect()
        };
        let topics: Vec<String> = topics.into_iter().collect();
        // Left open: it is asked again, and what is not known then is told as it is.
        let metadata = stream.source.metadata(Some(&topics), false).await.ok();
        open.retain(|index| {
            let known = {
                let slots = stream.slots.borrow();
                let Some(slot) = slots.get(*index) else { return false };
                let topic = metadata.as_ref().map(|metadata| metadata.topics.get(&*slot.topic));
                match topic {
                    None => Known::Unknown,
                    Some(Some(topic)) if topic.id == slot.progress.ids.source => Known::Same,
                    Some(Some(topic)) if topic.error_code == 0 && topic.id != 0 => Known::Other(topic.id),
                    Some(_) => Known::Gone,
                }
            };
            let is_last = attempt == TRIES;
            let is_decided = is_last || matches!(known, Known::Same | Known::Other(_));
            if is_decided {
                decide(stream, *index, &known);
            }
            !is_decided
        });
        if open.is_empty() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Lets the error of a partition be told, or another one in its place.
fn decide(stream: &Stream, index: usize, known: &Known) {
    {
        let mut slots = stream.slots.borrow_mut();
        let Some(slot) = slots.get_mut(index) else { return };
        slot.is_judged = true;
        let ids = slot.progress.ids;
        match known {
            Known::Other(id) => {
                let what = created_again(&slot.topic, *id, ids.source);
                let message = format!("{what}; the next look at the topics decides what becomes of it");
                slot.machine.park(Error::new(ErrorKind::TopicReset, message));
            }
            Known::Gone => {
                let message = format!("topic '{}' is gone at the source", slot.topic);
                slot.machine.park(Error::new(ErrorKind::Topic, message));
            }
            Known::Same | Known::Unknown => {}
        }
    }
    stream.update(index);
}
