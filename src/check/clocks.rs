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
    let untold = |message: String| (CheckLine::ok(Some(side), SUBJECT, message), None);
    let clock = match clock {
        Ok(Some(clock)) => clock,
        Ok(None) => return untold("the cluster does not tell its time (Kafka 3.3 and newer with KRaft do)".to_owned()),
        Err(error) => return untold(format!("the cluster does not tell its time: {error}")),
    };
    let line = match difference("its clock", clock, "that of this machine") {
        Some(message) => CheckLine::warning(Some(side), SUBJECT, message, FIX),
        None => {
            let within_ms = clock.ahead_ms.abs() + clock.uncertain_ms;
            CheckLine::ok(Some(side), SUBJECT, format!("its clock is that of this machine, within {within_ms} ms"))
        }
    };
    (line, Some(clock))
}

/// Both clusters' clocks against each other, if they differ.
pub(super) fn between(source: Option<Clock>, target: Option<Clock>) -> Option<CheckLine> {
    let (source, target) = (source?, target?);
    let apart =
        Clock { ahead_ms: target.ahead_ms - source.ahead_ms, uncertain_ms: target.uncertain_ms + source.uncertain_ms };
    let message = difference("the target's clock", apart, "the source's")?;
    Some(CheckLine::warning(None, SUBJECT, message, FIX))
}

/// How far a clock is from another one, if that surely is too much.
fn difference(what: &str, Clock { ahead_ms, uncertain_ms }: Clock, from: &str) -> Option<String> {
    let apart_ms = ahead_ms.abs();
    let direction = if ahead_ms > 0 { "ahead of" } else { "behind" };
    (apart_ms - uncertain_ms > TOLERATED_MS)
        .then(|| format!("{what} is {apart_ms} ms {direction} {from} (± {uncertain_ms} ms)"))
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
