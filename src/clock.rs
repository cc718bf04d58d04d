//! A clock that goes on while the machine is suspended. What must not outlive a pause is measured by it.
//!
//! `std::time::Instant` is `CLOCK_MONOTONIC`, which stands still during a suspension on Linux. Timers of the runtime go by that,
//! so a timer alone is never the proof that little time has passed.

use std::time::Duration;

/// Time since the machine was started, with the time in which it was suspended.
#[cfg(unix)]
pub(crate) fn since_boot() -> Duration {
    use nix::time::ClockId;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
    // Elsewhere the monotonic clock counts a suspension itself, as on macOS, or there is no clock that does.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;
    CLOCK.now().map_or_else(|_| since_first_call(), Duration::from)
}

/// Time since this was first asked.
#[cfg(not(unix))]
pub(crate) fn since_boot() -> Duration {
    since_first_call()
}

fn since_first_call() -> Duration {
    static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    FIRST.get_or_init(std::time::Instant::now).elapsed()
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
}
