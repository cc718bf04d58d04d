//! What the process may not have more of, threads and file descriptors, said with the limit and its number: whoever embeds the engine
//! has to know what to raise. Nothing here is a bug of anybody.

use std::io;

use crate::error::{Error, ErrorKind};

/// A thread that could not be started, and what it was for.
pub(crate) fn no_thread(what: &str, error: &io::Error) -> Error {
    Error::new(ErrorKind::Config, format!("{what} has no thread: {error}; {}", why_no_thread(error)))
}

fn why_no_thread(error: &io::Error) -> String {
    if let Some(why) = no_descriptor(error) {
        return why;
    }
    format!(
        "the process may start no more threads ({}), or has no memory for one; raise the limit (ulimit -u, TasksMax= of a service, pids.max \
         of its control group), or lower num.streams",
        numbered("RLIMIT_NPROC, for all processes of the user, is", threads())
    )
}

/// Why there is no file descriptor, if that is what an error says.
pub(crate) fn no_descriptor(error: &io::Error) -> Option<String> {
    /// Numbers of Linux, macOS and the BSDs.
    const OF_ALL: i32 = 23;
    const OF_THE_PROCESS: i32 = 24;
    match error.raw_os_error()? {
        OF_THE_PROCESS => Some(format!(
            "the process may have no more file descriptors ({}); raise the limit (ulimit -n, LimitNOFILE= of a service), or lower \
             num.streams: every stream has connections of its own to the brokers",
            numbered("RLIMIT_NOFILE is", descriptors())
        )),
        OF_ALL => Some("all processes of this machine together have too many files open (fs.file-max)".to_owned()),
        _ => None,
    }
}

/// A thread that has ended because of something the process could not have.
pub(crate) fn lost_thread(what: &str, error: &io::Error) -> Error {
    match no_descriptor(error) {
        Some(why) => Error::new(ErrorKind::Config, format!("{what}: {error}; {why}")),
        None => Error::new(ErrorKind::Internal, format!("{what}: {error}")),
    }
}

fn numbered(what: &str, number: Option<u64>) -> String {
    number.map_or_else(|| format!("{what} not known"), |number| format!("{what} {number}"))
}

#[cfg(unix)]
fn descriptors() -> Option<u64> {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn threads() -> Option<u64> {
    use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NPROC).ok().map(|(soft, _)| soft).filter(|soft| *soft != RLIM_INFINITY)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn threads() -> Option<u64> {
    None
}

#[cfg(not(unix))]
fn descriptors() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_with_its_number() {
        let error = lost_thread("a stream", &io::Error::from_raw_os_error(24));
        let number = descriptors().unwrap_or_default();
        assert!(error.message().contains(&format!("(RLIMIT_NOFILE is {number})")), "{error}");
        assert_eq!(error.kind(), ErrorKind::Config);
        let error = no_thread("a stream", &io::Error::from_raw_os_error(11));
        assert!(error.message().contains("RLIMIT_NPROC") && error.message().contains("ulimit -u"), "{error}");
        assert_eq!(lost_thread("a stream", &io::Error::from_raw_os_error(5)).kind(), ErrorKind::Internal);
    }
}
