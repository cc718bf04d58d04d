//! Decides the state of a mirror from the states of its partitions, and when its lag is worth an alarm.
//! Remembers nothing but whether the alarm is on; what it decides from is handed in.

use std::time::Duration;

use crate::terms::state::State;

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

/// What is known of how far all partitions are behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KnownLag {
    /// Records of all of which it is known.
    pub records: u64,
    /// Milliseconds of the worst of them.
    pub ms: u64,
    /// For how long it has not been known of some.
    pub unknown_for: Option<Duration>,
}

/// Whether the lag is above its threshold, with hysteresis: it counts as below again only under half of it.
#[derive(Debug, Default)]
pub struct LagAlarm {
    above: bool,
}

impl LagAlarm {
    /// `Some(true)` when the lag has come to be above, `Some(false)` when it has come to be below again. What has not been known
    /// for longer than the time is above it.
    pub fn handle_lag(&mut self, lag: KnownLag, records: Option<u64>, time: Option<Duration>) -> Option<bool> {
        let time = time.map(|time| time.as_millis() as u64);
        let unknown_ms = lag.unknown_for.map_or(0, |unknown_for| unknown_for.as_millis() as u64);
        let exceeds = |value: u64, threshold: Option<u64>| threshold.is_some_and(|threshold| value > threshold);
        let half = |threshold: Option<u64>| threshold.map(|threshold| threshold / 2);
        let crossed = if self.above {
            lag.unknown_for.is_none() && !exceeds(lag.records, half(records)) && !exceeds(lag.ms, half(time))
        } else {
            exceeds(lag.records, records) || exceeds(lag.ms.max(unknown_ms), time)
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
            told.extend(alarm.handle_lag(KnownLag { records, ..KnownLag::default() }, Some(100), None));
        }
        assert_eq!(told, [true, false, true]);
    }

    #[test]
    fn what_is_not_known_for_longer_than_the_time_is_an_alarm_and_its_end_too() {
        let mut alarm = LagAlarm::default();
        let mut tell = |ms, unknown_for: Option<u64>| {
            let unknown_for = unknown_for.map(Duration::from_millis);
            alarm.handle_lag(KnownLag { records: 0, ms, unknown_for }, None, Some(Duration::from_millis(100)))
        };
        let told = [tell(0, Some(90)), tell(0, Some(101)), tell(0, Some(500)), tell(80, None), tell(40, None)];
        assert_eq!(told, [None, Some(true), None, None, Some(false)]);
    }
}
