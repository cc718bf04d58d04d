//! Standard error, which only a thread of its own writes to: whoever does not read it holds up that thread and nothing else.
//!
//! Lines wait in a queue with a limit; what comes when it is full is left out and counted. Of what is drawn only the latest waits.
//! At its end a command waits for the queue, but not for ever once a signal has come.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Bytes of lines that wait at most: some 50 000 lines.
const WAITING: usize = 8 << 20;
/// How long a command that was told to stop waits for whoever reads its last lines.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it looks for a signal while it waits.
const LOOK: Duration = Duration::from_millis(20);

/// What is to be done, in this order.
enum Order {
    /// Writes lines, above what is drawn.
    Write(Vec<u8>),
    /// Removes what is drawn.
    Clear,
    /// Lets what is drawn stand as it is. A terminal echoes Ctrl-C into it, and what is redrawn after that is in the wrong place.
    Leave,
}

#[derive(Default)]
struct Waiting {
    orders: VecDeque<Order>,
    bytes: usize,
    left_out: usize,
    /// What is to be drawn next.
    drawing: Option<String>,
    /// Whether the thread is at something.
    busy: bool,
    /// Whether there is something to draw on, and a thread that does it.
    shown: bool,
}

struct Screen {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    done: Condvar,
}

static SCREEN: LazyLock<Screen> =
    LazyLock::new(|| Screen { waiting: Mutex::default(), changed: Condvar::new(), done: Condvar::new() });

/// Whether the thread is there; without one everything is written where it is said.
static WRITER: LazyLock<bool> = LazyLock::new(|| {
    let run = || SCREEN.run();
    std::thread::Builder::new().name("kmirror-stderr".to_owned()).spawn(run).is_ok()
});

/// Writes lines to standard error, above what is drawn there. A reader that has gone away is no error.
pub(crate) fn write(lines: Vec<u8>) {
    if !*WRITER {
        let _ = std::io::stderr().lock().write_all(&lines);
        return;
    }
    let mut waiting = SCREEN.lock();
    if waiting.bytes > 0 && waiting.bytes + lines.len() > WAITING {
        waiting.left_out += 1;
        return;
    }
    waiting.bytes += lines.len();
    waiting.orders.push_back(Order::Write(lines));
    SCREEN.changed.notify_one();
}

/// Makes a place for what is drawn, if standard error is a terminal that can redraw; whether there is one.
pub(crate) fn show() -> bool {
    let smart = std::env::var("TERM").is_ok_and(|term| term != "dumb");
    let shown = smart && std::io::stderr().is_terminal() && *WRITER;
    SCREEN.lock().shown = shown;
    shown
}

/// Whether what is drawn is to be seen.
pub(crate) fn is_shown() -> bool {
    SCREEN.lock().shown
}

/// Draws lines in place of the ones before.
pub(crate) fn draw(lines: &[String]) {
    let mut waiting = SCREEN.lock();
    if waiting.shown {
        waiting.drawing = Some(lines.join("\n"));
        SCREEN.changed.notify_one();
    }
}

/// Removes what is drawn.
pub(crate) fn clear() {
    SCREEN.end_drawing(Order::Clear);
}

/// Lets what is drawn stand as it is.
pub(crate) fn leave() {
    SCREEN.end_drawing(Order::Leave);
}

/// Waits until everything is written; only for a moment once `interrupted` says that a signal has come.
pub(crate) fn finish(interrupted: impl Fn() -> bool) {
    let mut patience: Option<Instant> = None;
    let mut waiting = SCREEN.lock();
    while waiting.busy || !waiting.orders.is_empty() {
        if patience.is_none() && interrupted() {
            patience = Some(Instant::now() + PATIENCE);
        }
        if patience.is_some_and(|end| Instant::now() >= end) {
            return;
        }
        let woken = SCREEN.done.wait_timeout(waiting, LOOK);
        waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
    }
}

impl Screen {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_drawing(&self, order: Order) {
        let mut waiting = self.lock();
        if std::mem::take(&mut waiting.shown) {
            waiting.drawing = None;
            waiting.orders.push_back(order);
            self.changed.notify_one();
        }
    }

    fn run(&self) {
        let mut bar = None;
        loop {
            let (orders, left_out, drawing) = self.next();
            for order in orders {
                perform(order, &mut bar);
            }
            if left_out > 0 {
                let line = format!("{left_out} lines are left out here: nobody has read standard error for a while\n");
                perform(Order::Write(line.into_bytes()), &mut bar);
            }
            if let Some(text) = drawing {
                let bar = bar.get_or_insert_with(place);
                bar.set_message(text);
                bar.tick();
            }
        }
    }

    /// Waits for something to do, and takes it.
    fn next(&self) -> (VecDeque<Order>, usize, Option<String>) {
        let mut waiting = self.lock();
        waiting.busy = false;
        self.done.notify_all();
        while waiting.orders.is_empty() && waiting.drawing.is_none() {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.busy = true;
        waiting.bytes = 0;
        let left_out = std::mem::take(&mut waiting.left_out);
        (std::mem::take(&mut waiting.orders), left_out, waiting.drawing.take())
    }
}

fn place() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
    if let Ok(style) = ProgressStyle::with_template("{msg}") {
        bar.set_style(style);
    }
    bar
}

fn perform(order: Order, bar: &mut Option<ProgressBar>) {
    match order {
        Order::Write(lines) => {
            let write = || drop(std::io::stderr().lock().write_all(&lines));
            match bar {
                Some(bar) => bar.suspend(write),
                None => write(),
            }
        }
        Order::Clear => {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
        }
        Order::Leave => {
            if let Some(bar) = bar.take() {
                bar.set_draw_target(ProgressDrawTarget::hidden());
                let _ = std::io::stderr().lock().write_all(b"\n");
            }
        }
    }
}
