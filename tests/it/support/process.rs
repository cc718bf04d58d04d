//! Runs the `kmirror` command as a child: to be signalled, killed without warning, and measured.
//!
//! Its output goes to two files. CPU time and peak memory come from `/proc` and are kept from the last look while the
//! process lived, because they are gone with it: call [`Kmirror::usage`] before killing, or let [`Kmirror::wait`] look.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};

use super::failure::Context;
use super::{Outcome, fail, nursery, wait_for};

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time of all threads.
    pub(crate) cpu_seconds: f64,
    /// The highest resident memory (VmHWM).
    pub(crate) peak_kib: u64,
}

/// A running `kmirror`, killed when dropped.
pub(crate) struct Kmirror {
    child: Child,
    directory: PathBuf,
    usage: Usage,
}

impl Kmirror {
    /// Starts `kmirror ARGS` in a directory of its own.
    pub(crate) fn start<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> Outcome<Self> {
        Self::start_with(args, &[])
    }

    /// With environment variables too.
    pub(crate) fn start_with<I: AsRef<OsStr>>(
        args: impl IntoIterator<Item = I>,
        environment: &[(&str, &str)],
    ) -> Outcome<Self> {
        let mut command = nursery::command(env!("CARGO_BIN_EXE_kmirror"));
        command.args(args).envs(environment.iter().copied());
        Self::start_as(command, nursery::directory("kmirror")?)
    }

    /// Starts a command that becomes `kmirror`, in this directory.
    pub(crate) fn start_as(command: Command, directory: PathBuf) -> Outcome<Self> {
        let inside = directory.clone();
        Self::start_in(command, directory, &inside)
    }

    /// The same, while what it prints goes to files of another directory than that which it runs in.
    pub(crate) fn start_in(mut command: Command, directory: PathBuf, inside: &Path) -> Outcome<Self> {
        command
            .current_dir(inside)
            .stdout(File::create(directory.join("stdout"))?)
            .stderr(File::create(directory.join("stderr"))?);
        let child = nursery::spawn(command)?;
        Ok(Self { child, directory, usage: Usage::default() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The directory it runs in.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What it has printed so far.
    pub(crate) fn stdout(&self) -> String {
        self.output("stdout")
    }

    pub(crate) fn stderr(&self) -> String {
        self.output("stderr")
    }

    /// `None` while it runs.
    pub(crate) fn exited(&mut self) -> Outcome<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// SIGKILL; returns when it is gone.
    pub(crate) fn kill9(&mut self) -> Outcome {
        self.usage();
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub(crate) fn signal(&mut self, signal: Signal) -> Outcome {
        // Between its end and our waiting for it the id still is its own, so the signal cannot reach a stranger.
        if let Some(status) = self.exited()? {
            return fail(format!("kmirror had ended with {status} before {signal}:\n{}", self.stderr()));
        }
        kill(Pid::from_raw(i32::try_from(self.pid())?), signal).context(format!("cannot send {signal}"))
    }

    /// Waits until it handles a signal, so that this does not end it as it ends every program that has just been started.
    pub(crate) fn wait_until_caught(&mut self, signal: Signal, limit: Duration) -> Outcome {
        wait_for(&format!("it handles {signal}"), limit, || {
            if let Some(status) = self.exited()? {
                return fail(format!("it ended with {status}:\n{}", self.stderr()));
            }
            let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0");
            let caught = u64::from_str_radix(caught.trim(), 16)?;
            Ok((caught >> (signal as i32 - 1) & 1 == 1).then_some(()))
        })
    }

    /// Waits for its end; an error with its messages when that takes longer than `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> Outcome<ExitStatus> {
        let start = Instant::now();
        loop {
            self.usage();
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if start.elapsed() > limit {
                return fail(format!("kmirror still runs after {limit:?}; it said:\n{}", self.stderr()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it has used, as of now or of the last look before it ended.
    pub(crate) fn usage(&mut self) -> Usage {
        if let Ok(usage) = usage_of(self.pid()) {
            self.usage = usage;
        }
        self.usage
    }

    fn output(&self, name: &str) -> String {
        let bytes = fs::read(self.directory.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Kmirror {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// CPU time and peak memory of any process of ours: a broker's, another mirror's.
pub(crate) fn usage_of(pid: u32) -> Outcome<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in brackets and may hold spaces; utime and stime are fields 14 and 15.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = after_name.split_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|field| field.parse::<f64>().ok());
    let (Some(user), Some(system)) = (ticks(), ticks()) else {
        return fail(format!("/proc/{pid}/stat does not look as expected: {stat}"));
    };
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100);
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse().ok());
    // A process that has ended and not been waited for has no memory any more.
    let Some(peak_kib) = peak else {
        return fail(format!("process {pid} has ended"));
    };
    Ok(Usage { cpu_seconds: (user + system) / ticks_per_second as f64, peak_kib })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_runs_and_its_output_is_kept() -> Outcome {
        let mut kmirror = Kmirror::start(["--version"])?;
        let status = kmirror.wait(Duration::from_secs(30))?;
        assert!(status.success(), "{}", kmirror.stderr());
        assert!(kmirror.exited()?.is_some());
        assert!(kmirror.signal(Signal::SIGTERM).is_err(), "it is gone");
        Ok(())
    }

    #[test]
    fn usage_of_this_process() -> Outcome {
        let before = usage_of(std::process::id())?;
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(300) {
            std::hint::black_box(start.elapsed());
        }
        let after = usage_of(std::process::id())?;
        assert!(after.cpu_seconds > before.cpu_seconds, "busy work costs CPU time");
        assert!(after.peak_kib > 1_000);
        Ok(())
    }
}
