//! The clocks of the engine, all of them, so that a test can put one of its own in their place.
//!
//! [`Instant`] is the runtime's: a runtime of a test can stop it, and move it on when nothing else is to be done. On
//! Linux it is `CLOCK_MONOTONIC`, which stands still while the machine is suspended, and so do timers. So a timer
//! alone is never the proof that little time has passed: what must not outlive a pause is measured by [`since_boot`],
//! which goes on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) use tokio::time::Instant;

/// Time since the machine was started, with the time in which it was suspended.
pub(crate) fn since_boot() -> Duration {
    #[cfg(test)]
    if let Some(passed) = simulated::passed() {
        return simulated::BOOTED_BEFORE + passed;
    }
    since_boot_by_the_system()
}

/// Time since 1970, by the wall clock.
pub(crate) fn since_1970() -> Duration {
    #[cfg(test)]
    if let Some(passed) = simulated::passed() {
        return simulated::BEGAN_AT + passed;
    }
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(unix)]
fn since_boot_by_the_system() -> Duration {
    use nix::time::ClockId;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
    // Elsewhere the monotonic clock counts a suspension itself, as on macOS, or there is no clock that does.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;
    CLOCK.now().map_or_else(|_| since_first_call(), Duration::from)
}

#[cfg(not(unix))]
fn since_boot_by_the_system() -> Duration {
    since_first_call()
}

fn since_first_call() -> Duration {
    static FIRST: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    FIRST.get_or_init(Instant::now).elapsed()
}

/// The time of a simulation: all clocks of a thread follow its runtime's, which is paused.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::Cell;
    use std::time::Duration;

    use super::Instant;

    /// How long the machine is up when a simulation begins.
    pub(super) const BOOTED_BEFORE: Duration = Duration::from_secs(1_000);
    /// When it begins, since 1970.
    pub(super) const BEGAN_AT: Duration = Duration::from_secs(1_700_000_000);

    thread_local! {
        static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
    }

    /// While it is there, time is simulated on this thread.
    pub(crate) struct Time(());

    impl Time {
        /// It begins now, inside of a runtime whose clock is paused.
        pub(crate) fn begin() -> Self {
            BEGAN.set(Some(Instant::now()));
            Time(())
        }
    }

    impl Drop for Time {
        fn drop(&mut self) {
            BEGAN.set(None);
        }
    }

    /// How much of it has passed; `None` where time is real.
    pub(crate) fn passed() -> Option<Duration> {
        BEGAN.get().map(|began| began.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_by_itself() {
        let before = since_boot();
        std::thread::sleep(Duration::from_millis(2));
        let passed = since_boot() - before;
        assert!(passed >= Duration::from_millis(2) && passed < Duration::from_secs(60), "{passed:?}");
    }

    #[test]
    fn all_clocks_of_a_simulation_go_on_together_and_only_there() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime without sockets");
        let hour = Duration::from_secs(3600);
        runtime.block_on(async {
            let _time = simulated::Time::begin();
            let before = (Instant::now(), since_boot(), since_1970());
            tokio::time::sleep(hour).await;
            assert_eq!(before.0.elapsed(), hour);
            assert_eq!((since_boot(), since_1970()), (before.1 + hour, before.2 + hour));
        });
        assert!(simulated::passed().is_none());
        assert!(since_1970() > simulated::BEGAN_AT + hour);
    }
}
