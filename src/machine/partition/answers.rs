//! What an answer of the target means for a partition: how far it is, what has to be tried again, what ends it.
//!
//! Only an answer to what the present generation has sent is believed; what an answer leaves open is read off both logs.

use std::time::Duration;

use super::{Filling, Partition, Phase, Ticket};
use crate::batch::marker;
use crate::error::{Error, ErrorKind};
use crate::machine::opening::other_writer;
use crate::terms::broker_error::{BrokerError, Class};

/// What became of a produce request for one partition.
#[derive(Debug, Clone)]
pub enum Produced {
    /// The target appended it, at this offset.
    Appended {
        /// Offset of the first record on the target.
        base_offset: i64,
    },
    /// The target appended it and gave every record the time of that: the records' own times are lost there.
    Restamped,
    /// The target said no.
    Refused(BrokerError, Option<String>),
    /// No answer came: it may have been appended or not.
    Lost,
}

/// What became of an order to fill a hole.
#[derive(Debug, Clone)]
pub enum Filled {
    /// The target answered, and its log ended at this offset afterwards.
    LogEnd(i64),
    /// It is written down where the holes are.
    Mapped,
    /// The target said no.
    Refused(BrokerError),
    /// It cannot be done, for a reason that the driver has found.
    Failed(Error),
    /// No answer came: markers may have been written or not, and may still be.
    Lost,
}

/// A batch that arrives damaged this many times is damaged at the source.
const CORRUPT_ATTEMPTS: u32 = 3;
/// A batch on which the target fails inside this often is looked into, and written anew record by record.
const FAILING_ATTEMPTS: u32 = 3;
/// A record on which it fails this often will not pass.
const FAILING_LIMIT: u32 = 30;
/// Attempts of one process that have a fence of their own.
const FENCES: i32 = 255;

impl<P> Partition<P> {
    /// An answer, or the loss of one, to a batch that was sent.
    pub fn handle_produced(&mut self, ticket: Ticket, produced: Produced, now: Duration) {
        if !self.is_awaited(ticket) {
            return;
        }
        let base_offset = ticket.base_offset;
        if self.window.find(base_offset).is_none() {
            return;
        }
        match produced {
            Produced::Appended { base_offset: appended_at } if appended_at == base_offset => {
                self.window.acknowledge(base_offset);
            }
            Produced::Appended { base_offset: appended_at } => {
                return self.park(other_writer(format!(
                    "the batch of source offset {base_offset} was appended at target offset {appended_at}"
                )));
            }
            Produced::Restamped => return self.park(restamped(base_offset)),
            Produced::Refused(broker, detail) => return self.handle_refused(base_offset, broker, detail, now),
            Produced::Lost => return self.close(None, now),
        }
        self.settle();
    }

    /// An answer, or the loss of one, to an order to fill.
    pub fn handle_filled(&mut self, ticket: Ticket, filled: Filled, now: Duration) {
        let Filling::UnderWay { from, next } = self.filling else { return };
        if !self.is_awaited(ticket) || ticket.base_offset != from {
            return;
        }
        match filled {
            Filled::LogEnd(log_end_offset) if log_end_offset == next => {
                self.filling = Filling::Settled;
                self.window.fill_up_to(next);
                self.pass_hole(next);
                self.alone = true;
                self.recover();
                self.settle();
            }
            Filled::Mapped => {
                self.filling = Filling::Settled;
                self.window.holes_are_written();
                self.recover();
                self.settle();
            }
            // Some were not written, or something else was: both logs tell.
            Filled::LogEnd(_) => self.reopen(now),
            // It may be a late order of a process that is dead: the log tells how far that has come. Nobody else stays at one place.
            Filled::Refused(broker) if broker.class == Class::Fenced && self.fenced_at != Some(from) => {
                self.fenced_at = Some(from);
                self.reopen(now);
            }
            Filled::Refused(broker) if broker.class == Class::Fenced => {
                let message = format!("another process of this mirror fills the hole at offset {from}: {broker}");
                self.park(Error::new(ErrorKind::Fenced, message).with_offset(from).with_kafka_code(broker.code));
            }
            Filled::Refused(broker) => {
                let message = format!("the target did not take markers for the hole at offset {from}: {broker}");
                let kind = match broker.class {
                    Class::Unauthorized => ErrorKind::Authorization,
                    _ => ErrorKind::Broker,
                };
                self.close(Some(Error::new(kind, message).with_offset(from).with_kafka_code(broker.code)), now);
            }
            Filled::Failed(error) => self.close(Some(error.with_offset(from)), now),
            Filled::Lost => self.close(None, now),
        }
    }

    /// Markers whose answer is not waited for may be written at any time, until others have come with a higher fence.
    pub(super) fn give_up_fill(&mut self) {
        if let Filling::UnderWay { next, .. } = self.filling {
            match self.attempts() < FENCES {
                true => self.identity.fence += 1,
                false => self.has_no_fence_left = true,
            }
            self.fenced_until = self.fenced_until.max(next);
            self.filling = Filling::Unsettled;
            self.given_up = true;
        }
    }

    /// Attempts to fill that were given up, as far as the fence counts them.
    fn attempts(&self) -> i32 {
        self.identity.fence % (FENCES + 1)
    }

    /// How far an order to fill from an offset may go. Brokers compare fences of one block of offsets, whose markers have one
    /// producer id: in a block that no order with a raised fence has reached, the attempts are counted anew, so that a
    /// process that runs for years has always one left.
    pub(super) fn fill_within_fence(&mut self, from: i64, next: i64) -> i64 {
        if self.attempts() == 0 {
            return next;
        }
        if marker::block_of(from) > marker::block_of(self.fenced_until - 1) {
            self.identity.fence -= self.attempts();
            return next;
        }
        let next = next.min(marker::end_of_block(from));
        self.fenced_until = self.fenced_until.max(next);
        next
    }

    /// Why it cannot go on: all fences of this start were used up in one block of offsets.
    pub(super) fn no_fence_left(&self) -> Option<Error> {
        self.has_no_fence_left.then(|| {
            let message = format!(
                "{FENCES} orders to fill holes were given up without an answer, one after the other, and a late one could not be told \
                 from a new one any more: start the mirror again, which takes a new number"
            );
            Error::new(ErrorKind::Fenced, message)
        })
    }

    fn handle_refused(&mut self, base_offset: i64, broker: BrokerError, detail: Option<String>, now: Duration) {
        let Some(fetched) = self.window.find(base_offset) else { return };
        let (header, size) = (fetched.header, fetched.size);
        let records = header.record_count;
        let detail = detail.map(|text| format!(" ({text})")).unwrap_or_default();
        let what = if records == 1 { "the record at offset" } else { "the batch at offset" };
        let bytes = if broker.class == Class::TooLarge { format!(" of {size} bytes") } else { String::new() };
        let message = |verb: &str| format!("the target {verb} {what} {base_offset}{bytes}: {broker}{detail}");
        let error = |kind, verb| Error::new(kind, message(verb)).with_offset(base_offset).with_kafka_code(broker.code);
        match broker.class {
            Class::Fenced => self.park(error(ErrorKind::Fenced, "gave to a newer owner")),
            Class::Refused | Class::TooLarge => {
                self.window.refuse(base_offset, error(ErrorKind::RecordRefused, "refuses"));
                self.settle();
            }
            Class::Corrupt => {
                if !self.is_damaged_again(base_offset) {
                    return self.park(error(ErrorKind::RecordRefused, "refuses as damaged, again and again,"));
                }
                // The copy in memory may be what is damaged; it is fetched again.
                self.close(Some(error(ErrorKind::Broker, "refuses as damaged")), now);
            }
            Class::Unauthorized | Class::Unauthenticated => {
                self.close(Some(error(ErrorKind::Authorization, "does not allow")), now);
            }
            // That is about the request, not about what is in it: no record is left out for it.
            Class::Unsupported => self.close(Some(error(ErrorKind::Broker, "cannot work with the request for")), now),
            // Once, this is how a lost answer shows; in a row, reading again at once would be a busy loop.
            Class::Position if self.failures == 0 => {
                self.failures = 1;
                self.reopen(now);
            }
            Class::Position => self.close(Some(error(ErrorKind::Broker, "does not expect")), now),
            Class::Wait if broker.code == BrokerError::UNKNOWN_SERVER_ERROR => {
                self.failing = (base_offset, if self.failing.0 == base_offset { self.failing.1 + 1 } else { 1 });
                let error = error(ErrorKind::RecordRefused, "fails on");
                match self.failing.1 {
                    FAILING_LIMIT.. => return self.park(error),
                    // A payload that is no payload at all has this effect on brokers.
                    FAILING_ATTEMPTS.. => self.singly_until = header.last_offset() + 1,
                    _ => {}
                }
                self.close(Some(error), now);
            }
            Class::Leader | Class::Wait | Class::OutOfRange | Class::Session | Class::Topic => {
                self.close(Some(error(ErrorKind::Broker, "did not take")), now);
            }
        }
    }

    /// Counts that a batch was damaged; `false` when that was often enough to think that it is so at the source.
    pub(super) fn is_damaged_again(&mut self, offset: i64) -> bool {
        self.corrupt = (offset, if self.corrupt.0 == offset { self.corrupt.1 + 1 } else { 1 });
        self.corrupt.1 < CORRUPT_ATTEMPTS
    }

    /// A refused batch whose turn it is: cut smaller if that may help, left out if that is the policy, else the end.
    pub(super) fn look_at_refused(&mut self) {
        let Some((fetched, error)) = self.window.front_refused() else { return };
        let (header, size, error) = (fetched.header, fetched.size, error.clone());
        let next = header.last_offset() + 1;
        if header.record_count > 1 {
            let too_large =
                error.kafka_code().and_then(BrokerError::of).is_some_and(|row| row.class == Class::TooLarge);
            if too_large {
                self.batch_bytes = self.batch_bytes.min(size) / 2;
            } else {
                self.singly_until = next;
            }
            self.forget_window();
            self.fetch_from(header.base_offset);
            // Every batch behind the refused one is refused as well: what is under way is read off the log.
            self.phase = Phase::Closed { due: Duration::ZERO };
        } else if self.limits.skip_refused {
            self.leave_out(header.base_offset, next, |_| error.clone());
            self.window.skip_front();
            self.generation = self.generation.wrapping_add(1);
            self.phase = Phase::Closed { due: Duration::ZERO };
        } else {
            self.park(error);
        }
    }
}

/// The target's topic is of a kind that a copy cannot have.
fn restamped(offset: i64) -> Error {
    let message = format!(
        "from offset {offset} on the target gave records the time at which it appended them, in place of their own: its topic has \
         message.timestamp.type=LogAppendTime; set it to CreateTime there, and delete the topic on the target to copy it anew"
    );
    Error::new(ErrorKind::TargetConflict, message).with_offset(offset)
}
