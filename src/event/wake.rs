//! A file descriptor that is readable or not, as it is told: what a host waits at with `epoll` beside its own sockets.
//!
//! A pair of sockets, because that works on every Unix, and writing to it can neither block nor raise a signal.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

#[derive(Debug)]
pub(super) struct Wake {
    ours: UnixStream,
    theirs: UnixStream,
    is_set: bool,
}

impl Wake {
    pub(super) fn new() -> std::io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        Ok(Wake { ours, theirs, is_set: false })
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.theirs.as_raw_fd()
    }

    /// Makes the descriptor readable, or not readable any more. A host that reads from it by itself only spoils its own waiting.
    pub(super) fn set(&mut self, wanted: bool) {
        if wanted != self.is_set {
            let moved = match wanted {
                true => self.ours.write(&[1]),
                false => self.theirs.read(&mut [0; 8]),
            };
            // There is always room for one byte, and none to read only if the host has read it.
            let _ = moved;
            self.is_set = wanted;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    #[test]
    fn it_is_readable_as_it_was_told() -> std::io::Result<()> {
        let mut wake = Wake::new()?;
        for wanted in [false, true, true, false, false, true, false, true] {
            wake.set(wanted);
            let mut fds = [PollFd::new(wake.theirs.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut fds, PollTimeout::ZERO)? == 1, wanted);
        }
        Ok(())
    }
}
