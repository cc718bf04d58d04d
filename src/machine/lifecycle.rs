//! Decides the state of a mirror from the states of its partitions, and when its lag is worth an alarm.
//! Remembers nothing but whether the alarm is on; what it decides from is handed in.

use std::time::Duration;

use crate::status::{Lag, State};

/// The state of a mirror whose partitions are in these states, while so many topics are refused. A refused topic is looked at
/// again and again, so it counts as one partition that is stalled.
pub fn mirror_state(partitions: impl IntoIterator<Item = State>, refused: usize, paused: bool) -> State {
    let (mut total, mut failed, mut stalled, mut starting, mut behind) = (refused, 0, refused, 0, 0);
    for state in partitions {
        total += 1;
        match state {
            State::Failed => failed += 1,
            State::Stalled => stalled += 1,
            State::Starting => starting += 1,
            State::CatchingUp => behind += 1,
            _ => {}
        }
    }
    let stuck = failed + stalled;
    if paused {
        State::Paused
    } else if total > 0 && failed == total {
        State::Failed
    } else if total > 0 && stuck == total {
        State::Stalled
    } else if stuck > 0 {
        State::Degraded
    } else if total == 0 || starting == total {
        State::Starting
    } else if starting + behind > 0 {
        State::CatchingUp
    } else {
        State::InSync
    }
}

/// Whether the lag is above its threshold, with hysteresis: it counts as below again only under half of it.
#[derive(Debug, Default)]
pub struct LagAlarm {
    above: bool,
}

impl LagAlarm {
    /// `Some(true)` when the lag has come to be above, `Some(false)` when it has come to be below again.
    pub fn handle_lag(&mut self, lag: Lag, records: Option<u64>, time: Option<Duration>) -> Option<bool> {
        let time = time.map(|time| time.as_millis() as u64);
        let exceeds = |value: u64, threshold: Option<u64>| threshold.is_some_and(|threshold| value > threshold);
        let half = |threshold: Option<u64>| threshold.map(|threshold| threshold / 2);
        let crossed = if self.above {
            !exceeds(lag.records, half(records)) && !exceeds(lag.ms, half(time))
        } else {
            exceeds(lag.records, records) || exceeds(lag.ms, time)
        };
        if crossed {
            self.above = !self.above;
        }
        crossed.then_some(self.above)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stuck_partition_degrades_and_all_stall() {
        use State::*;
        for (partitions, expected) in [
            (vec![], Starting),
            (vec![Starting, Starting], Starting),
            (vec![Starting, InSync], CatchingUp),
            (vec![Starting, CatchingUp, InSync], CatchingUp),
            (vec![CatchingUp, CatchingUp, InSync], CatchingUp),
            (vec![InSync, InSync], InSync),
            (vec![InSync, Failed], Degraded),
            (vec![CatchingUp, Stalled], Degraded),
            (vec![Failed, Stalled], Stalled),
            (vec![Failed, Failed], Failed),
        ] {
            assert_eq!(mirror_state(partitions.clone(), 0, false), expected, "{partitions:?}");
        }
        assert_eq!(mirror_state([InSync], 0, true), Paused);
        assert_eq!(mirror_state([InSync], 1, false), Degraded, "a refused topic does not progress");
        assert_eq!(mirror_state([], 2, false), Stalled);
    }

    #[test]
    fn the_alarm_does_not_flutter_around_the_threshold() {
        let mut alarm = LagAlarm::default();
        let mut told = Vec::new();
        for records in [0, 90, 101, 99, 101, 60, 49, 101] {
            told.extend(alarm.handle_lag(Lag { records, ..Lag::default() }, Some(100), None));
        }
        assert_eq!(told, [true, false, true]);
    }
}
