//! What the machine is, and whether somebody else uses it while the bench measures.
//!
//! Ratios of CPU time survive some company, wall times and latencies do not: every run therefore tells how many cores
//! were busy with processes that are not part of it.

use std::fs;

use nix::unistd::{SysconfVar, sysconf};

use crate::support::{Failure, Outcome};

/// Cores; what the system calls them; the load average of the last minute.
pub(crate) fn describe() -> (usize, String, f64) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
    (cores, model.trim_start_matches(['\t', ':', ' ']).to_owned(), load)
}

pub(crate) fn ticks_per_second() -> f64 {
    sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as f64
}

/// Seconds all cores together were busy since the machine started, time taken by a hypervisor included.
pub(crate) fn busy_seconds() -> Outcome<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let fields: Vec<f64> = stat
        .lines()
        .next()
        .map(|line| line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect())
        .unwrap_or_default();
    // user nice system idle iowait irq softirq steal; guests are counted in user already.
    let [user, nice, system, _, _, irq, softirq, steal, ..] = fields[..] else {
        return Err(Failure(format!("/proc/stat does not look as expected: {stat}")));
    };
    Ok((user + nice + system + irq + softirq + steal) / ticks_per_second())
}
