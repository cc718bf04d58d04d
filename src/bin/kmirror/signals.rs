//! Ctrl-C and `kill`: the first asks for a clean stop, the second ends the process at once.
//!
//! Commands look at [`Signals::received`] while they wait for something, several times a second. What they do not look at
//! cannot keep the process alive: the second signal is acted on by a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use kmirror::{Error, ErrorKind};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals as Incoming;

use crate::exit::ExitCode;
use crate::screen;

/// Whether any signal has come.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether a signal asks this process to stop, whichever command runs.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// The signals that stop a command.
#[derive(Clone)]
pub(crate) struct Signals(Arc<AtomicI32>);

/// A signal that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signal(i32);

/// What an error says when the process may have no more file descriptors.
const NO_DESCRIPTOR: i32 = 24;

impl Signals {
    /// Listens from now on. The first one lets what is drawn stand as it is; nothing is waited for here, so that the second one
    /// is heard whatever the rest of the process waits for.
    pub(crate) fn listen() -> kmirror::Result<Self> {
        let failed = |error: std::io::Error| match error.raw_os_error() {
            Some(NO_DESCRIPTOR) => Error::no_thread("waiting for signals", &error),
            _ => Error::new(ErrorKind::Internal, format!("signals cannot be handled: {error}")),
        };
        let mut incoming = Incoming::new([SIGINT, SIGTERM]).map_err(failed)?;
        let received = Arc::new(AtomicI32::new(0));
        let first = received.clone();
        let listen = move || {
            for number in incoming.forever() {
                if first.swap(number, Ordering::Relaxed) != 0 {
                    Signal(number).exit_now();
                }
                INTERRUPTED.store(true, Ordering::Relaxed);
                screen::leave();
            }
        };
        let thread = std::thread::Builder::new().name("kmirror-signals".to_owned()).spawn(listen);
        thread.map_err(|error| Error::no_thread("waiting for signals", &error))?;
        Ok(Signals(received))
    }

    /// The signal that asks this process to stop, if there was one.
    pub(crate) fn received(&self) -> Option<Signal> {
        Some(Signal(self.0.load(Ordering::Relaxed))).filter(|signal| signal.0 != 0)
    }
}

impl Signal {
    /// As shells have it: 128 and the number.
    pub(crate) fn code(self) -> u8 {
        128u8.saturating_add(self.0.unsigned_abs() as u8)
    }

    pub(crate) fn exit_code(self) -> ExitCode {
        ExitCode::from(self.code())
    }

    pub(crate) fn name(self) -> &'static str {
        match self.0 {
            SIGINT => "SIGINT",
            SIGTERM => "SIGTERM",
            _ => "a signal",
        }
    }

    /// Ends the process here and now.
    pub(crate) fn exit_now(self) -> ! {
        std::process::exit(i32::from(self.code()))
    }
}
