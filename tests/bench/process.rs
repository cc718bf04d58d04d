//! A contender as a child process, measured from `/proc`.
//!
//! CPU time is read once more between its end and the moment it is waited for: the kernel keeps it that long, and
//! nothing of a short run is missed. The memory peak is gone by then and comes from the last look before.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::machine::{busy_seconds, ticks_per_second};
use crate::support::{Outcome, fail, nursery};

const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    /// User and system time of all its threads and of children it has waited for.
    pub(crate) cpu_seconds: f64,
    pub(crate) wall_seconds: f64,
    /// The highest resident memory.
    pub(crate) peak_bytes: u64,
}

/// A running contender, killed when dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    started: Instant,
    used: Used,
}

impl Process {
    /// Starts a command made by [`nursery::command`]; its output goes to a file.
    pub(crate) fn start(name: &str, mut command: Command) -> Outcome<Self> {
        let directory = nursery::directory(name)?;
        let log = directory.join("output");
        let output = File::create(&log)?;
        command.stdout(output.try_clone()?).stderr(output).current_dir(&directory);
        let started = Instant::now();
        let child = nursery::spawn(command)?;
        Ok(Self { name: name.to_owned(), child, log, started, used: Used::default() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has used by now; an error when it has ended.
    pub(crate) fn look(&mut self) -> Outcome<Used> {
        match self.sample()? {
            true => Ok(self.used),
            false => fail(format!("{} ended too early; it said:\n{}", self.name, self.output_end())),
        }
    }

    /// Waits for its end, which must be that of success.
    pub(crate) fn wait(mut self, limit: Duration) -> Outcome<Used> {
        while self.sample()? {
            if self.started.elapsed() > limit {
                return self.give_up("it does not end");
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let status = self.child.wait()?;
        match status.success() {
            true => Ok(self.used),
            false => fail(format!("{} ended with {status}; it said:\n{}", self.name, self.output_end())),
        }
    }

    /// An error with the errors and the end of what it said.
    pub(crate) fn give_up<T>(&self, why: &str) -> Outcome<T> {
        let waited = self.started.elapsed().as_secs();
        fail(format!("{} runs since {waited} s, and {why}; it said:\n{}", self.name, self.output_end()))
    }

    /// Brings `used` up to date; false when the process has ended (and has not been waited for).
    fn sample(&mut self) -> Outcome<bool> {
        let pid = self.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        if let Some(peak) = peak_of(&status) {
            self.used.peak_bytes = peak;
        }
        let (state, cpu_seconds) = stat_of(pid)?;
        self.used.cpu_seconds = cpu_seconds;
        self.used.wall_seconds = self.started.elapsed().as_secs_f64();
        Ok(state != 'Z')
    }

    fn output_end(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        // MirrorMaker says much more after what went wrong.
        let first = lines.iter().position(|line| line.contains(" ERROR ")).unwrap_or(lines.len());
        let last = lines.len().saturating_sub(30);
        let errors = &lines[first.min(last)..(first + 10).min(last)];
        [errors, &lines[last..]].concat().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Tells how many cores were busy with something else while a contender ran.
pub(crate) struct Company {
    ours: Vec<u32>,
    ours_before: f64,
    all_before: f64,
    started: Instant,
}

impl Company {
    /// `ours` are the processes that belong to the run and live through it.
    pub(crate) fn watch(mut ours: Vec<u32>) -> Outcome<Self> {
        ours.push(std::process::id());
        let ours_before = sum(&ours)?;
        Ok(Self { ours, ours_before, all_before: busy_seconds()?, started: Instant::now() })
    }

    /// Cores used by others; `contender` is what the measured process has used.
    pub(crate) fn cores(&self, contender: Used) -> Outcome<f64> {
        let all = busy_seconds()? - self.all_before;
        let ours = sum(&self.ours)? - self.ours_before + contender.cpu_seconds;
        Ok(((all - ours) / self.started.elapsed().as_secs_f64()).max(0.0))
    }
}

fn sum(pids: &[u32]) -> Outcome<f64> {
    pids.iter().map(|pid| Ok(stat_of(*pid)?.1)).sum()
}

/// State and CPU seconds.
fn stat_of(pid: u32) -> Outcome<(char, f64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The program's name in brackets may hold spaces. After it come the state, ten fields, and then user and system
    // time, first the process's own and then that of children it has waited for.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<_> = after_name.split_whitespace().collect();
    let ticks: f64 = fields.iter().skip(11).take(4).filter_map(|field| field.parse::<f64>().ok()).sum();
    match fields.first().and_then(|state| state.chars().next()) {
        Some(state) if fields.len() > 15 => Ok((state, ticks / ticks_per_second())),
        _ => fail(format!("/proc/{pid}/stat does not look as expected: {stat}")),
    }
}

fn peak_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}
