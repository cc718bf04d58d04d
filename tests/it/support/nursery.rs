//! Starts child processes that cannot outlive the test process, and gives them directories that do not either.
//!
//! Children run under `setpriv --pdeathsig KILL` (util-linux). Linux sends that signal when the *thread* that started
//! the child ends, and libtest runs every test in a thread of its own, so one thread that never ends starts them all.
//! Directories lie in the target's `tmp` folder; a small shell waits for this process to go and removes them, also
//! after a SIGKILL. `KMIRROR_TEST_KEEP=1` keeps them, to read the brokers' logs.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use super::failure::Context;
use super::{Failure, Outcome, fail};

/// `program` as a command for [`spawn`].
pub(crate) fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program.as_ref()).stdin(Stdio::null());
    command
}

/// Starts a command made by [`command`].
pub(crate) fn spawn(command: Command) -> Outcome<Child> {
    type Order = (Command, Sender<std::io::Result<Child>>);
    static STARTER: OnceLock<Sender<Order>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, inbox) = channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in inbox {
                // The asker may have panicked meanwhile; its child then simply lives until the process ends.
                answer.send(command.spawn()).ok();
            }
        });
        orders
    });
    let (answer, started) = channel();
    let name = format!("{command:?}");
    starter.send((command, answer))?;
    match started.recv()? {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => fail(
            "setpriv was not found; the tests start their brokers with it so that none outlives them (it is part of util-linux)",
        ),
        other => other.context(format!("cannot start {name}")),
    }
}

/// A new empty directory which is gone when the test process is.
pub(crate) fn directory(name: &str) -> Outcome<PathBuf> {
    static ROOT: OnceLock<Result<PathBuf, Failure>> = OnceLock::new();
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let root = ROOT.get_or_init(make_root).clone()?;
    let path = root.join(format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    fs::create_dir_all(&path)?;
    Ok(path)
}

/// Whether directories stay behind for a person to look at.
pub(crate) fn keeps_directories() -> bool {
    std::env::var_os("KMIRROR_TEST_KEEP").is_some()
}

fn make_root() -> Outcome<PathBuf> {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("it-{}", std::process::id()));
    // A process of the same id may have left one behind.
    fs::remove_dir_all(&root).ok();
    fs::create_dir_all(&root)?;
    if !keeps_directories() {
        // Killed brokers may still be writing when the first attempt is made. The own process group keeps Ctrl-C away.
        let script = r#"cat > /dev/null; for attempt in 1 2 3 4 5; do rm -rf "$1" && exit; sleep 1; done"#;
        let janitor = Command::new("sh")
            .args(["-c", script, "janitor"])
            .arg(&root)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        // Its end of the pipe must stay open exactly as long as this process lives.
        std::mem::forget(janitor);
    }
    Ok(root)
}
