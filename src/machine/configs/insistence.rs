//! Decides when a setting is given up that is made again and again and reads back otherwise: by a broker that makes something else of it,
//! or by somebody who sets it back. To alter it with every look for ever would help nobody, and hide why.

use std::collections::BTreeMap;

use super::Change;

/// So often a change is made before it is left.
const TRIES: u32 = 3;

/// What was changed, as far as it has not held.
#[derive(Debug, Default)]
pub struct Insistence {
    /// By topic and key.
    made: BTreeMap<(String, String), Made>,
}

#[derive(Debug)]
struct Made {
    from: Option<String>,
    to: Option<String>,
    times: u32,
}

impl Made {
    fn is(&self, change: &Change) -> bool {
        self.from.as_deref() == change.from() && self.to.as_deref() == change.to()
    }
}

impl Insistence {
    /// Takes what a topic needs now, and splits off what has been made often enough in vain. What is not needed any more holds.
    pub fn handle_planned(&mut self, topic: &str, changes: Vec<Change>) -> (Vec<Change>, Vec<Change>) {
        self.made.retain(|(of, key), made| {
            of != topic || changes.iter().any(|change| change.key() == key && made.is(change))
        });
        let is_in_vain = |change: &Change| {
            let made = self.made.get(&(topic.to_owned(), change.key().to_owned()));
            made.is_some_and(|made| made.times >= TRIES)
        };
        changes.into_iter().partition(|change| !is_in_vain(change))
    }

    /// A change was made.
    pub fn handle_made(&mut self, topic: &str, change: &Change) {
        let key = (topic.to_owned(), change.key().to_owned());
        let text = |text: Option<&str>| text.map(str::to_owned);
        let made = self.made.entry(key).or_insert(Made { from: text(change.from()), to: text(change.to()), times: 0 });
        made.times += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &str, from: &str, value: &str) -> Change {
        let (key, value, from) = (key.to_owned(), value.to_owned(), Some(from.to_owned()));
        Change::Set { key, value, from, reason: "it is set on the source".to_owned() }
    }

    /// One look: what is made, and what is left.
    fn look(insistence: &mut Insistence, topic: &str, changes: Vec<Change>) -> (usize, usize) {
        let (make, left) = insistence.handle_planned(topic, changes);
        make.iter().for_each(|change| insistence.handle_made(topic, change));
        (make.len(), left.len())
    }

    #[test]
    fn what_reads_back_otherwise_again_and_again_is_left_until_something_changes() {
        let mut insistence = Insistence::default();
        let odd = || vec![set("a", "5", "6"), set("b", "x", "y")];
        for _ in 0..3 {
            assert_eq!(look(&mut insistence, "t", odd()), (2, 0));
        }
        assert_eq!(look(&mut insistence, "t", odd()), (0, 2));
        assert_eq!(look(&mut insistence, "u", odd()), (2, 0), "another topic");
        // The source has another value now, or the target.
        assert_eq!(look(&mut insistence, "t", vec![set("a", "5", "7"), set("b", "z", "y")]), (2, 0));
        for _ in 0..2 {
            look(&mut insistence, "t", vec![set("a", "5", "7")]);
        }
        assert_eq!(look(&mut insistence, "t", vec![set("a", "5", "7")]), (0, 1));
        // It held once.
        assert_eq!(look(&mut insistence, "t", Vec::new()), (0, 0));
        assert_eq!(look(&mut insistence, "t", vec![set("a", "5", "7")]), (1, 0));
    }

    #[test]
    fn what_cannot_be_made_is_tried_for_ever() {
        let mut insistence = Insistence::default();
        for _ in 0..10 {
            assert_eq!(insistence.handle_planned("t", vec![set("a", "5", "6")]).0.len(), 1);
        }
    }
}
