//! Which clocks are wrong: those of the controllers against this machine's, as far as clusters tell.
//!
//! Lag in milliseconds compares times that producers have written at the source with this machine's clock, and retention on the target
//! compares them with the target's. Seconds do not matter for that; more does.

use super::{CheckLine, CheckSubject};
use crate::error::Error;
use crate::wire::clock::Clock;

/// What is more than this is told.
const TOLERATED_MS: i64 = 2_000;

const SUBJECT: CheckSubject = CheckSubject::Clock;
const FIX: &str = "let NTP set the clocks: lag in milliseconds and retention by time go by them";

/// A cluster's clock against this machine's.
pub(super) fn of_side(side: &'static str, clock: Result<Option<Clock>, Error>) -> (CheckLine, Option<Clock>) {
    let clock = match clock {
        Ok(Some(clock)) => clock,
        Ok(None) => {
            let message = "the cluster does not tell its time (Kafka 3.3 and newer with KRaft do)";
            return (CheckLine::ok(Some(side), SUBJECT, message), None);
        }
        Err(error) => {
            let message = format!("the cluster does not tell its time: {error}");
            return (CheckLine::ok(Some(side), SUBJECT, message), None);
        }
    };
    let Clock { ahead_ms, uncertain_ms } = clock;
    if ahead_ms.abs() - uncertain_ms <= TOLERATED_MS {
        let message = format!("its clock is that of this machine, within {} ms", ahead_ms.abs() + uncertain_ms);
        return (CheckLine::ok(Some(side), SUBJECT, message), Some(clock));
    }
    let direction = if ahead_ms > 0 { "ahead of" } else { "behind" };
    let message = format!("its clock is {} ms {direction} that of this machine (± {uncertain_ms} ms)", ahead_ms.abs());
    (CheckLine::warning(Some(side), SUBJECT, message, FIX), Some(clock))
}

/// Both clusters' clocks against each other, if they differ.
pub(super) fn between(source: Option<Clock>, target: Option<Clock>) -> Option<CheckLine> {
    let (source, target) = (source?, target?);
    let ahead_ms = target.ahead_ms - source.ahead_ms;
    let uncertain_ms = target.uncertain_ms + source.uncertain_ms;
    if ahead_ms.abs() - uncertain_ms <= TOLERATED_MS {
        return None;
    }
    let direction = if ahead_ms > 0 { "ahead of" } else { "behind" };
    let message = format!("the target's clock is {} ms {direction} the source's (± {uncertain_ms} ms)", ahead_ms.abs());
    Some(CheckLine::warning(None, SUBJECT, message, FIX))
}

#[cfg(test)]
mod tests {
    use super::super::CheckOutcome;
    use super::*;
    use crate::error::ErrorKind;

    fn clock(ahead_ms: i64, uncertain_ms: i64) -> Clock {
        Clock { ahead_ms, uncertain_ms }
    }

    #[test]
    fn a_clock_is_wrong_when_it_surely_is() {
        let outcome = |ahead_ms, uncertain_ms| of_side("source", Ok(Some(clock(ahead_ms, uncertain_ms)))).0.outcome;
        assert_eq!(outcome(0, 1), CheckOutcome::Ok);
        assert_eq!(outcome(2_000, 0), CheckOutcome::Ok);
        assert_eq!(outcome(2_001, 0), CheckOutcome::Warning);
        assert_eq!(outcome(-2_001, 0), CheckOutcome::Warning);
        // The answer was on its way for so long that it may be right.
        assert_eq!(outcome(9_000, 8_000), CheckOutcome::Ok);
    }

    #[test]
    fn the_direction_is_told() {
        let message = |ahead_ms| of_side("target", Ok(Some(clock(ahead_ms, 5)))).0.message;
        assert_eq!(message(60_000), "its clock is 60000 ms ahead of that of this machine (± 5 ms)");
        assert_eq!(message(-60_000), "its clock is 60000 ms behind that of this machine (± 5 ms)");
    }

    #[test]
    fn a_cluster_that_does_not_tell_is_no_trouble() {
        let denied = Error::new(ErrorKind::Authorization, "the source answers CLUSTER_AUTHORIZATION_FAILED");
        for told in [Ok(None), Err(denied)] {
            let (line, clock) = of_side("source", told);
            assert_eq!((line.outcome, clock), (CheckOutcome::Ok, None));
        }
    }

    #[test]
    fn two_clocks_are_compared_with_each_other() {
        assert!(between(None, Some(clock(90_000, 0))).is_none());
        assert!(between(Some(clock(60_000, 1)), Some(clock(60_500, 1))).is_none());
        let line = between(Some(clock(1_500, 1)), Some(clock(-1_500, 1)));
        assert_eq!(
            line.map(|line| line.message).as_deref(),
            Some("the target's clock is 3000 ms behind the source's (± 2 ms)")
        );
    }
}
