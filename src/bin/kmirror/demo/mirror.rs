//! The mirror of the demo: `kmirror run` of this same executable, as a process of its own that can be killed.
//! A process, not a thread, because the demo is about what is left when it dies without a chance to clean up.

use std::ffi::OsString;
use std::io::Read as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use kmirror::{Error, ErrorKind};

use super::clusters::{Clusters, NAME, PARTITIONS};
use super::{Halt, Outcome, broken};

/// Should this process be killed too, the mirror ends by itself after so many seconds.
const LONGEST: &str = "120";
const PAUSE: Duration = Duration::from_millis(20);
/// Log lines that are shown when it ends unexpectedly.
const LINES: usize = 15;

/// A running mirror. Dropping it kills it.
pub(super) struct MirrorProcess {
    child: Child,
    arguments: Vec<String>,
    said: Arc<Mutex<Vec<u8>>>,
    listener: Option<JoinHandle<()>>,
}

impl MirrorProcess {
    pub(super) fn start(program: &[OsString], clusters: &Clusters, more: &[&str]) -> Outcome<Self> {
        let arguments = arguments(clusters, more);
        let (executable, first) = program.split_first().ok_or_else(|| broken("start", "this program is not found"))?;
        let child = Command::new(executable)
            .args(first)
            .args(&arguments)
            .args(["--timeout", LONGEST])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| broken("the mirror cannot be started", error))?;
        let mut process = MirrorProcess { child, arguments, said: Arc::default(), listener: None };
        process.listen()?;
        Ok(process)
    }

    /// Keeps what it says, in case it ends unexpectedly.
    fn listen(&mut self) -> Outcome {
        let (Some(mut stderr), said) = (self.child.stderr.take(), self.said.clone()) else { return Ok(()) };
        let listen = move || {
            let mut some = [0; 4096];
            while let Some(length) = stderr.read(&mut some).ok().filter(|length| *length > 0) {
                said.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&some[..length]);
            }
        };
        let listener = std::thread::Builder::new().spawn(listen);
        self.listener = Some(listener.map_err(|error| broken("no thread can be started", error))?);
        Ok(())
    }

    /// As one would type it, on several lines.
    pub(super) fn command_line(&self) -> String {
        let mut text = "kmirror".to_owned();
        for (number, argument) in self.arguments.iter().enumerate() {
            let begins_a_line = number > 1 && argument.starts_with("--");
            text.push_str(if begins_a_line { " \\\n             " } else { " " });
            text.push_str(argument);
        }
        text
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error if it has ended.
    pub(super) fn check(&mut self) -> Outcome {
        match self.exited()? {
            None => Ok(()),
            Some(status) => Err(self.ended(status)),
        }
    }

    /// SIGKILL, which nothing can prepare for.
    pub(super) fn kill(&mut self) -> Outcome {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.map(drop).map_err(|error| broken("the mirror cannot be killed", error))
    }

    /// Waits for its end, which has to be a success.
    pub(super) fn wait_for_success(mut self, check: impl Fn() -> Outcome) -> Outcome {
        loop {
            match self.exited()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.ended(status)),
                None => check()?,
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn exited(&mut self) -> Outcome<Option<ExitStatus>> {
        self.child.try_wait().map_err(|error| broken("the mirror cannot be waited for", error))
    }

    /// The error of a mirror that ended by itself: its exit code counts for the demo too.
    fn ended(&mut self, status: ExitStatus) -> Halt {
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().collect();
        let last: String =
            lines[lines.len().saturating_sub(LINES)..].iter().map(|line| format!("\n  {line}")).collect();
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        let kind = ErrorKind::ALL.iter().find(|kind| Some(kind.exit_code()) == code).copied();
        let message = format!("demo: the mirror ended with {status}; it said:{last}");
        Halt::Failed(Error::new(kind.unwrap_or(ErrorKind::Internal), message))
    }
}

fn arguments(clusters: &Clusters, more: &[&str]) -> Vec<String> {
    let set = [
        format!("source.bootstrap.servers={}", clusters.source()),
        format!("target.bootstrap.servers={}", clusters.target()),
        format!("name={NAME}"),
        // The embedded clusters cannot list groups.
        "sync.group.offsets=false".to_owned(),
    ];
    let mut arguments = vec!["run".to_owned()];
    arguments.extend(set.into_iter().flat_map(|property| ["--set".to_owned(), property]));
    arguments.extend(["--include".to_owned(), PARTITIONS.map(|(topic, _)| topic).join(",")]);
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    arguments
}

impl Drop for MirrorProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
