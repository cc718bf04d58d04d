//! Trouble that lasts is told when it begins, then ever more rarely, with how often it was met since it was told last.
//! What is told, and to whom, is for those who met it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Instant;

/// How long after the first time it is told again; twice as long after that each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// Trouble that was not met for so long is over; the next one is another.
const QUIET: Duration = Duration::from_secs(30);

/// Trouble of one kind.
#[derive(Debug, Default)]
pub(crate) struct Repeated(Mutex<Option<Series>>);

#[derive(Debug, Clone, Copy)]
struct Series {
    since: Instant,
    met_at: Instant,
    next: Instant,
    pause: Duration,
    times: u64,
    is_over: bool,
}

/// That it is to be told now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    /// How often it was met since it was told last, this time included.
    pub(crate) times: u64,
    /// How long it has lasted.
    pub(crate) lasted: Duration,
}

impl Repeated {
    fn series(&self) -> MutexGuard<'_, Option<Series>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It was met; whether it is to be told.
    pub(crate) fn met(&self, now: Instant) -> Option<Told> {
        let mut series = self.series();
        match series.as_mut().filter(|series| now.saturating_duration_since(series.met_at) < QUIET) {
            None => {
                let next = now + FIRST_PAUSE;
                *series = Some(Series { since: now, met_at: now, next, pause: FIRST_PAUSE, times: 0, is_over: false });
                Some(Told { times: 1, lasted: Duration::ZERO })
            }
            Some(series) => {
                series.met_at = now;
                series.is_over = false;
                series.times += 1;
                if now < series.next {
                    return None;
                }
                series.pause = (series.pause * 2).min(LONGEST_PAUSE);
                series.next = now + series.pause;
                Some(Told { times: std::mem::take(&mut series.times), lasted: now - series.since })
            }
        }
    }

    /// It is over, if there was any: how long it has lasted. If it comes back soon, it is the same still.
    pub(crate) fn over(&self, now: Instant) -> Option<Duration> {
        let mut series = self.series();
        let series = series.as_mut().filter(|series| !series.is_over)?;
        series.is_over = true;
        Some(now.saturating_duration_since(series.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_of_ten_minutes_is_told_four_times_with_how_often_it_was_met() {
        let (repeated, start) = (Repeated::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let told: Vec<(u64, Told)> = (0..600).filter_map(|second| Some((second, repeated.met(at(second))?))).collect();
        let told: Vec<(u64, u64, u64)> =
            told.iter().map(|(second, told)| (*second, told.times, told.lasted.as_secs())).collect();
        assert_eq!(told, [(0, 1, 0), (60, 60, 60), (180, 120, 180), (420, 240, 420)]);
        assert_eq!(repeated.over(at(600)), Some(Duration::from_secs(600)));
        assert_eq!(repeated.over(at(601)), None);
        // It comes back at once, and is no news; later it is.
        assert_eq!(repeated.met(at(602)), None);
        assert_eq!(repeated.over(at(603)), Some(Duration::from_secs(603)));
        assert_eq!(repeated.met(at(640)), Some(Told { times: 1, lasted: Duration::ZERO }));
    }
}
