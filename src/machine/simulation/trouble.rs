//! What a history is about happens: brokers forget, logs lose what they had, others write.
//!
//! Faults that are in all histories, like crashes and elections, are in [`super::history`].

use super::history::{History, tell};
use super::plan::Trouble;
use super::source::Kind;
use super::world::{Entry, FOREIGN, FOREIGN_END, MAX_RECORDS, MIRROR};

impl History {
    /// The trouble of this history.
    pub(super) fn trouble(&mut self) {
        match self.plan.trouble {
            Trouble::Nothing | Trouble::SourceHasPoison | Trouble::TargetTakesSmall => {}
            Trouble::StateExpires | Trouble::TargetCleaned => self.expire(),
            Trouble::MemoryLost => self.lose_memory(),
            Trouble::TargetEmptied => {
                for broker in &mut self.target.brokers {
                    broker.remove_all();
                }
                self.expire();
            }
            Trouble::TargetUnclean => self.lose_target_data(),
            Trouble::ForeignWriter => {
                self.write_to_target(FOREIGN, -1);
                if self.rng.bool() {
                    self.write_to_target(FOREIGN_END, -1);
                }
                // What would show that the records are not the source's is gone there.
                if self.rng.bool() {
                    self.source.start = self.source.start.max(self.target.leader().end().min(self.source.end));
                }
            }
            Trouble::TargetCompacts => {
                self.target.compact(&mut self.rng);
                tell!(self, "the target is compacted, {:?} are gone", self.target.compacted);
            }
            Trouble::NewOwner => self.write_to_target(MIRROR.producer_id, MIRROR.producer_epoch + 1),
            Trouble::SourceRetention => {
                let (end, start) = (self.source.end, self.source.start);
                let kept = self.source.batches.iter().rev().nth(self.rng.usize(0..4)).map_or(end, |batch| batch.base);
                self.source.start = kept.max(start);
                tell!(self, "the source begins at {} now", self.source.start);
            }
            Trouble::SourceCompacts => self.compact_source(),
            Trouble::SourceUnclean => {
                self.source.cut_back(self.rng.usize(1..5));
                self.plan.clean_batches = 0;
                tell!(self, "the source ends at {} now", self.source.end);
                // Past where it was, before anybody looks.
                if self.rng.bool() {
                    (0..8).for_each(|_| self.grow());
                }
            }
        }
    }

    fn lose_target_data(&mut self) {
        let broker = self.rng.usize(0..3);
        let len = self.target.brokers[broker].log.len();
        let keep = self.rng.usize(0..=len);
        self.step_down();
        let before = self.target.brokers[broker].producer_state().copied();
        self.target.elect_unclean(broker, keep);
        // It has started anew, and with its connections all orders to write markers are gone.
        for at in 0..self.processes.len() {
            if self.processes[at].connection.is_some_and(|at| self.connections[at].broker == broker) {
                self.cut_all(at, usize::MAX);
            }
        }
        for connection in self.connections.iter_mut().filter(|connection| connection.broker == broker) {
            connection.requests.retain(|request| !request.what.is_fill());
        }
        tell!(self, "broker {broker} is elected with its log cut back to {}", self.target.leader().end());
        // What is under way would be taken anywhere in a log without a batch of the mirror, as when the brokers have forgotten it.
        let after = self.target.leader().producer_state().copied();
        let empty = after.is_none();
        self.cut_at = Some(self.now);
        // Sequence numbers do not show that markers are lost.
        if empty || before == after {
            self.forgot_at = Some(self.now);
        }
        for process in &mut self.processes {
            process.target_lost_data(empty);
        }
    }

    fn write_to_target(&mut self, producer_id: i64, epoch: i16) {
        let end = self.target.leader().end();
        let leader = self.target.leader_mut();
        let whole = self.source.batch_at(end).filter(|batch| batch.base == end && batch.kind == Kind::Records);
        let entry: Entry = match whole {
            Some(batch) if epoch >= 0 => leader.append(batch.count, batch.id, producer_id, epoch, 0),
            // A new owner has nothing to write yet.
            None if epoch >= 0 => {
                self.plan.at += 1;
                return;
            }
            _ if producer_id == FOREIGN_END => leader.append(1, u32::MAX, producer_id, epoch, -1),
            _ => leader.append(self.rng.i32(1..=MAX_RECORDS), u32::MAX, producer_id, epoch, -1),
        };
        self.target.advance_high_watermark();
        tell!(self, "somebody else writes {entry:?}");
    }
}
