//! Where a partition goes on after its position was read: from the target's end, if both logs fit together.
//!
//! Nothing of the window survives that the target has already, or that the source has lost; what a policy leaves out is
//! told once.

use std::time::Duration;

use super::{Filling, LeftOut, Partition, Phase};
use crate::error::{Error, ErrorKind};
use crate::machine::opening::{
    EPOCH_NOT_KNOWN, Fit, Reading, SourceFit, check_epochs, check_logs, check_source, cut_back, lost, sequence_after,
};

/// Pause before asking again whether all replicas have what the leader has.
pub(super) const REPLICATION_PAUSE: Duration = Duration::from_millis(20);

/// So often in a row the position is read again before it is told that the target's log does not come to rest.
const UNSETTLED_READINGS: u32 = 25;
/// How often the pause between such readings is doubled.
const LONGEST_PAUSE: u32 = 5;

/// How often in a row a leader may not know an epoch that was replicated: one that was replaced and does not know it yet is
/// left alone by the others after their timeouts, which the pauses between so many questions outlast.
pub(super) const UNKNOWN_EPOCHS: u32 = 8;

impl<P> Partition<P> {
    /// Both logs were read. Goes on from the target's end, or parks if that cannot be right.
    ///
    /// The reading is several requests, and a late request of a dead process, another process of this mirror or an election
    /// may come between them. What is asked of the driver, so that a reading can be judged:
    ///
    /// - The target's log end is read first and again last, the high watermark and the writer in between, all from one leader. If
    ///   the log end moved, the high watermark is to be given as -1. The source's ends may be read at any time.
    /// - [`TargetLog::last_record`](super::TargetLog::last_record) is looked for in the log, behind any number of markers, if the broker has forgotten it.
    /// - [`TargetLog::tail`](super::TargetLog::tail) is the batch just before the log end that was read; [`Tail::Empty`](super::Tail::Empty) only if the log start
    ///   is that log end.
    /// - Every `poll_open` gets one answer, also if `reopen` or `park` was called meanwhile.
    /// - All batches of a generation, which is what is sent between two openings, go to that leader over one
    ///   connection. A new connection, also to the same broker, begins with `reopen`: what was sent over the old one may still
    ///   arrive, and a broker that has forgotten the producer would take a later batch in the place of an earlier one.
    /// - Markers are written once for each order; an answer that did not come is said to be lost, never asked for again.
    /// - A partition that was silent for minutes is told to `reopen` before it sends: if another process has written
    ///   meanwhile, a broker that has forgotten the producer would not refuse.
    pub fn handle_opened(&mut self, reading: Reading, now: Duration) {
        if self.phase != Phase::Opening {
            return;
        }
        if std::mem::take(&mut self.discard_reading) {
            self.phase = Phase::Closed { due: now };
            return;
        }
        let Reading { source, target, .. } = reading;
        // Until every replica has what the leader has, the log end is a promise that a dying leader can break. More than
        // the log end was replicated only if the log grew while it was read.
        if target.high_watermark != target.log_end_offset {
            return self.read_again_later(now);
        }
        self.unsettled = 0;
        if let Err(error) = check_epochs(&source, self.position, self.position_epoch) {
            if source.epoch_end_offset != Some(EPOCH_NOT_KNOWN) || self.unknown_epochs >= UNKNOWN_EPOCHS {
                return self.park(error);
            }
            self.unknown_epochs += 1;
            return self.close(Some(error), now);
        }
        self.unknown_epochs = 0;
        match check_logs(self.identity, &reading, &mut self.doubt) {
            Fit::Fits => self.next_sequence = target.last_record.map(|(_, last)| sequence_after(last, 1)),
            Fit::ReadAgain => {
                self.phase = Phase::Closed { due: now + REPLICATION_PAUSE };
                return;
            }
            Fit::Wrong(error) => return self.park(error),
        }
        if self.position != Some(target.log_end_offset) || self.position_epoch < 0 {
            self.position_epoch = source.last_epoch;
        }
        // A target that has lost what it had must not make a loss at the source look like a late start.
        self.begun |= target.begun || self.position.is_some_and(|position| position > target.log_end_offset);
        self.resume_at(target.log_end_offset);
        let left_out = target.log_end_offset < source.log_start_offset && self.window.next_hole().is_some();
        if self.next_fetch > source.log_end_offset || left_out {
            // The source was cut back: what it has lost must not be written to the target. Or its head is gone, which is judged
            // anew each time: another process may have copied some of it.
            self.forget_window();
            self.fetch_from(target.log_end_offset);
        }
        if !self.accept_source(&reading) {
            return;
        }
        if let Some(error) = self.no_fence_left() {
            return self.park(error);
        }
        let settling = Filling::Settling { end: self.end_of_log(target.log_end_offset) };
        let stood_still = self.filling == settling;
        if self.given_up && !stood_still {
            // What was ordered may still be written. Whatever comes here now, even records where the source had a hole before
            // it was cut back, has to wait for that as well.
            self.filling = settling;
            self.phase = Phase::Closed { due: now + self.limits.settle };
            return;
        }
        self.given_up = false;
        self.filling = if stood_still { Filling::StoodStill { read_at: now } } else { Filling::Unsettled };
        self.alone = true;
        self.phase = Phase::Running;
    }

    /// The target's log was not seen to be at rest and replicated. Mostly it is a moment later; one that is not is told of, and is not looked
    /// at fifty times a second for ever.
    fn read_again_later(&mut self, now: Duration) {
        self.unsettled += 1;
        let doubled = (self.unsettled / UNSETTLED_READINGS).min(LONGEST_PAUSE);
        self.phase = Phase::Closed { due: now + REPLICATION_PAUSE * 2u32.pow(doubled) };
        if self.unsettled >= UNSETTLED_READINGS {
            let message = "the position cannot be read: the target's log does not come to rest, or not all of its in-sync replicas have what \
                           its leader has; either another process of this mirror is writing, or a replica is slow";
            self.failures = self.failures.max(1);
            self.error = Some(Error::new(ErrorKind::Broker, message));
        }
    }

    /// Looks whether the source goes on where the fetching is; `false` if that was the partition's end.
    fn accept_source(&mut self, reading: &Reading) -> bool {
        let position = self.position.unwrap_or_default();
        if let SourceFit::CutBack(what) = check_source(reading, position) {
            self.park(cut_back(&what, position));
            return false;
        }
        let next_fetch = self.next_fetch;
        let mut reading = *reading;
        reading.target.begun |= self.begun || self.window.queued_bytes() > 0;
        let (next, is_loss) = match check_source(&reading, next_fetch) {
            SourceFit::Goes | SourceFit::CutBack(_) => return true,
            SourceFit::BeginsAt(next) => (next, false),
            SourceFit::Lost { next } => (next, true),
        };
        let left = match is_loss && !self.limits.go_on_after_loss {
            true => Err(lost(next_fetch, next)),
            false => self.leave_hole(next, -1),
        };
        match left {
            Ok(()) => {
                if is_loss || position > 0 {
                    // Nobody may have missed a record, but somebody may wonder where they went.
                    self.leave_out(next_fetch, next, |from| lost(from, next));
                }
            }
            Err(error) if self.window.is_empty() => {
                self.park(error);
                return false;
            }
            Err(error) => self.end = Some(error),
        }
        true
    }

    /// Remembers what is to be told of a range that a policy leaves out, once.
    pub(super) fn leave_out(&mut self, from: i64, next: i64, why: impl Fn(i64) -> Error) {
        let from = from.max(self.left_out_until);
        if from < next {
            self.left_out_until = next;
            self.left_out.push(LeftOut { from, next, offsets: next - from, error: why(from) });
        }
    }

    /// The position could not be read.
    pub fn handle_open_failed(&mut self, error: Error, now: Duration) {
        if self.phase == Phase::Opening {
            self.discard_reading = false;
            self.close(Some(error), now);
        }
    }

    /// Keeps what of the window still has to be sent from `position` on.
    fn resume_at(&mut self, position: i64) {
        self.generation = self.generation.wrapping_add(1);
        self.position = Some(position);
        if !self.window.resume_at(position) {
            self.forget_window();
            self.fetch_from(position);
            self.end = None;
        }
    }
}
