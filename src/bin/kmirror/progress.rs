//! Shows how the mirror does: a display that is redrawn in place on a terminal, a log line now and then elsewhere.
//!
//! What it shows is decided in [`lines`], a function of a status and two rates; the rest is about when and where to draw.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use console::{Term, style};
use kmirror::text::printable;
use kmirror::{GroupsStatus, State, Status};

use crate::screen;
use crate::text::{clock, counted, grouped, megabytes, milliseconds};

/// How often the display is redrawn.
const FRAME: Duration = Duration::from_millis(250);
/// How often there is a log line.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// What rates are averaged over.
const WINDOW: Duration = Duration::from_secs(5);
/// Topics that are shown with their lag, where there is room.
const TOPICS: usize = 5;

/// The place on the terminal where the progress is shown; nowhere if standard error is no terminal.
#[derive(Clone, Copy)]
pub(crate) struct Display(bool);

impl Display {
    pub(crate) fn new() -> Self {
        Display(screen::show())
    }

    /// Nowhere.
    pub(crate) fn hidden() -> Self {
        Display(false)
    }

    pub(crate) fn is_shown(self) -> bool {
        self.0 && screen::is_shown()
    }

    /// Removes it from the terminal.
    pub(crate) fn clear(self) {
        screen::clear();
    }

    pub(crate) fn draw(self, lines: &[String]) {
        if self.0 {
            screen::draw(lines);
        }
    }
}

/// Tells of the progress from time to time.
pub(crate) struct Progress {
    display: Display,
    started: Instant,
    next: Instant,
    rates: Rates,
}

impl Progress {
    pub(crate) fn new(display: Display) -> Self {
        let now = Instant::now();
        let next = if display.is_shown() { now } else { now + LOG_INTERVAL };
        Progress { display, started: now, next, rates: Rates::since(now) }
    }

    /// To be called several times a second. The status is asked for only when it is shown.
    pub(crate) fn tick(&mut self, status: impl FnOnce() -> Status) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        let status = status();
        let rate = self.rates.add(now, status.replicated_records, status.replicated_bytes);
        if self.display.is_shown() {
            self.next = now + FRAME;
            let (rows, columns) = Term::stderr().size();
            let size = Size { rows: rows.into(), columns: columns.into() };
            self.display.draw(&lines(&status, rate, now - self.started, size));
        } else {
            self.next = now + LOG_INTERVAL;
            log(&status, rate);
        }
    }

    /// Before there is anything to tell.
    pub(crate) fn tick_connecting(&mut self) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        if self.display.is_shown() {
            self.next = now + FRAME;
            self.display.draw(&[format!("connecting  {}", clock(now - self.started))]);
        } else {
            self.next = now + LOG_INTERVAL;
            tracing::info!(seconds = (now - self.started).as_secs(), "still connecting");
        }
    }
}

fn log(status: &Status, rate: Rate) {
    let parked = parked(status);
    tracing::info!(
        mirror = status.name,
        state = status.state.name(),
        lag_records = status.lag.records,
        lag_ms = status.lag.ms,
        records = status.replicated_records,
        bytes = status.replicated_bytes,
        records_per_second = rate.records.round() as u64,
        bytes_per_second = rate.bytes.round() as u64,
        topics = status.topics.len(),
        partitions = partitions(status),
        parked,
        refused = status.refused.len(),
        groups = status.groups.matching,
        groups_behind = status.groups.behind,
        groups_skipped = status.groups.skipped,
        "progress"
    );
}

pub(crate) fn partitions(status: &Status) -> usize {
    status.topics.iter().map(|topic| topic.partitions.len()).sum()
}

pub(crate) fn parked(status: &Status) -> usize {
    let partitions = status.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.filter(|partition| partition.state == State::Failed).count()
}

/// How the offsets of groups are, in a few words.
pub(crate) fn groups(groups: &GroupsStatus) -> String {
    let mut text = format!("{} of {} copied", grouped(groups.synced as u64), counted(groups.matching as u64, "group"));
    if groups.behind > 0 {
        let offsets = counted(groups.behind_offsets, "offset");
        text.push_str(&format!(", {} behind by {offsets}", grouped(groups.behind as u64)));
    }
    if groups.skipped > 0 {
        text.push_str(&format!(", {} skipped", grouped(groups.skipped as u64)));
    }
    text
}

/// Per second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Rate {
    records: f64,
    bytes: f64,
}

/// Works out rates from what was counted in the last seconds.
struct Rates(VecDeque<(Instant, u64, u64)>);

impl Rates {
    fn since(start: Instant) -> Self {
        Rates(VecDeque::from([(start, 0, 0)]))
    }

    fn add(&mut self, now: Instant, records: u64, bytes: u64) -> Rate {
        self.0.push_back((now, records, bytes));
        // The oldest that is kept is just outside of the window, so that there always are two.
        while self.0.get(1).is_some_and(|(at, ..)| now - *at >= WINDOW) {
            self.0.pop_front();
        }
        let Some((at, old_records, old_bytes)) = self.0.front().copied() else { return Rate::default() };
        let seconds = (now - at).as_secs_f64();
        if seconds == 0.0 {
            return Rate::default();
        }
        let per_second = |new: u64, old: u64| new.saturating_sub(old) as f64 / seconds;
        Rate { records: per_second(records, old_records), bytes: per_second(bytes, old_bytes) }
    }
}

/// Of the terminal, in characters.
#[derive(Clone, Copy)]
struct Size {
    rows: usize,
    columns: usize,
}

/// What the display shows.
fn lines(status: &Status, rate: Rate, running: Duration, size: Size) -> Vec<String> {
    let partitions = partitions(status);
    let mut lines = vec![
        format!("{}  {}  {}", status.name, painted(status.state), clock(running)),
        format!("{} records/s  {}/s", grouped(rate.records.round() as u64), megabytes(rate.bytes)),
        match (status.lag.records, status.lag.ms) {
            (None, _) => "how far behind is not known".to_owned(),
            (Some(0), _) => "nothing behind".to_owned(),
            (Some(records), None) => format!("{} behind", counted(records, "record")),
            (Some(records), Some(ms)) => format!("{} behind, {}", counted(records, "record"), milliseconds(ms)),
        },
        format!("{}, {}", counted(status.topics.len() as u64, "topic"), counted(partitions as u64, "partition")),
    ];
    if status.groups.matching > 0 {
        lines[3].push_str(&format!(", {}", groups(&status.groups)));
    }
    let stuck = [(parked(status), "parked"), (status.refused.len(), "topics refused")];
    for (count, what) in stuck.into_iter().filter(|(count, _)| *count > 0) {
        let text = format!(", {count} {what}");
        lines[3].push_str(&style(text).red().for_stderr().to_string());
    }
    // Two rows are left to the shell's prompt and to log lines.
    let room = size.rows.saturating_sub(lines.len() + 2).min(TOPICS);
    lines.extend(most_behind(status, room));
    // A line that wraps could not be redrawn in place; the last column is left free for terminals that wrap there.
    let columns = size.columns.saturating_sub(1).max(1);
    lines.iter().map(|line| console::truncate_str(line, columns, "").into_owned()).collect()
}

fn painted(state: State) -> String {
    let text = style(state.name().replace('_', " ")).for_stderr().bold();
    let text = match state {
        State::InSync => text.green(),
        State::Degraded | State::Stalled | State::Paused => text.yellow(),
        State::Failed => text.red(),
        _ => text,
    };
    text.to_string()
}

fn most_behind(status: &Status, room: usize) -> Vec<String> {
    let mut topics: Vec<_> =
        status.topics.iter().filter(|topic| topic.lag.records.is_some_and(|records| records > 0)).collect();
    topics.sort_by(|a, b| b.lag.records.cmp(&a.lag.records).then_with(|| a.topic.cmp(&b.topic)));
    topics.truncate(room);
    let width = topics.iter().map(|topic| topic.topic.chars().count()).max().unwrap_or(0).min(40);
    let line = |topic: &&kmirror::TopicStatus| {
        format!("  {:width$}  {} behind", printable(&topic.topic), grouped(topic.lag.records.unwrap_or(0)))
    };
    topics.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_last_seconds() {
        let start = Instant::now();
        let mut rates = Rates::since(start);
        assert_eq!(rates.add(start, 0, 0), Rate::default());
        let mut last = Rate::default();
        for second in 1..=20 {
            let records = if second <= 10 { second * 100 } else { 1000 + (second - 10) * 10 };
            last = rates.add(start + Duration::from_secs(second), records, records * 5);
        }
        assert_eq!(last, Rate { records: 10.0, bytes: 50.0 });
        assert!(rates.0.len() <= 7);
    }
}
