//! What signals of the host process mean to the threads of the engine: nothing.
//! It blocks them for the calling thread, and changes nothing of the host's own threads.

/// Handlers of the host never run on a thread of the engine, but for those of a crash, which is told where it happens, and a broker
/// that hangs up cannot end the process: Rust's standard library keeps plain writes to a socket from raising SIGPIPE, but not
/// vectored ones, and hosts written in C do not ignore it. Threads that this one starts inherit it.
#[cfg(unix)]
pub(crate) fn leave_signals_to_the_host() {
    use nix::sys::signal::{SigSet, Signal};
    let mut kept = SigSet::all();
    for crash in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGTRAP, Signal::SIGABRT] {
        kept.remove(crash);
    }
    if let Err(error) = kept.thread_block() {
        tracing::warn!(%error, "signals cannot be kept from the engine's threads");
    }
}

#[cfg(not(unix))]
pub(crate) fn leave_signals_to_the_host() {}
