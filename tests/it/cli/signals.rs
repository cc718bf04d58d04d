//! Signals: a clean stop while it runs, an end at once while it starts or when the signal comes twice.
//! Whatever the moment, the exit code is that of the signal, and what was copied is exact.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use nix::sys::signal::Signal;

use super::hostile::{self, Hostile};
use super::mock::{Mocks, fill};
use super::unreachable::Stranger;
use super::{LIMIT, finish, run};
use crate::support::ledger::{expect_identical, wait_caught_up};
use crate::support::process::Kmirror;
use crate::support::{Outcome, nursery, wait_for};

/// A command whose standard error is a pipe that is full before it starts, and that nobody reads.
fn start_unheard(arguments: Vec<String>) -> Outcome<Kmirror> {
    let mut command = nursery::command("sh");
    let script = "mkfifo full && exec 3<>full && { timeout 1 cat /dev/zero >&3; exec \"$@\" 2>&3; }";
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_kmirror")]).args(arguments);
    Kmirror::start_as(command, nursery::directory("kmirror")?)
}

const SIGNALS: [(Signal, i32, &str); 2] = [(Signal::SIGINT, 130, "SIGINT"), (Signal::SIGTERM, 143, "SIGTERM")];

#[test]
fn a_running_mirror_stops_cleanly() -> Outcome {
    let mocks = Mocks::start(&[("orders", 2)])?;
    let (source, target) = (mocks.source.bootstrap_servers(), mocks.target.bootstrap_servers());
    for (signal, code, name) in SIGNALS {
        fill(&mocks.source, "orders", 0, 500)?;
        let mut kmirror = Kmirror::start(mocks.arguments("orders", &["--json"]))?;
        wait_caught_up(&source, &target, "orders", LIMIT)?;
        kmirror.signal(signal)?;
        let document = finish(kmirror)?.expect(code, &[])?.json()?;
        assert_eq!(document["outcome"], "stopped");
        assert_eq!(document["signal"], name);
        assert_eq!(document["status"]["state"], "stopped");
        assert_eq!(document["status"]["replicated_records"], 500);
    }
    expect_identical(&source, &target, "orders", 1000)?;
    Ok(())
}

#[test]
fn a_wait_for_catching_up_stops_cleanly() -> Outcome {
    let mocks = Mocks::start(&[("orders", 1)])?;
    // The first batches come at once, and the rest would take days.
    (0..10).try_for_each(|_| fill(&mocks.source, "orders", 0, 500))?;
    let slow = ["--until-caught-up", "--set", "throttle.bytes.per.second=1"];
    let mut kmirror = Kmirror::start(mocks.arguments("orders", &slow))?;
    wait_for("it copies", LIMIT, || Ok(kmirror.stderr().contains("topic is mirrored").then_some(())))?;
    kmirror.signal(Signal::SIGTERM)?;
    let finished = finish(kmirror)?.expect(143, &[])?;
    assert!(finished.stdout.contains("stopped by SIGTERM"), "{finished}");

    run(mocks.arguments("orders", &["--until-caught-up"]))?.expect(0, &[])?;
    expect_identical(&mocks.source.bootstrap_servers(), &mocks.target.bootstrap_servers(), "orders", 5000)?;
    Ok(())
}

#[test]
fn a_start_ends_at_once() -> Outcome {
    for (signal, code, _) in SIGNALS {
        let server = Stranger::silent()?;
        let source = format!("source.bootstrap.servers={}", server.address);
        let args = ["run", "--set", &source, "--set", "target.bootstrap.servers=localhost:1", "--set"];
        let never = ["source.socket.connection.setup.timeout.ms=3600000"];
        let mut kmirror = Kmirror::start(args.iter().chain(&never))?;
        server.connections.recv_timeout(LIMIT)?;
        kmirror.signal(signal)?;
        let finished = finish(kmirror)?.expect(code, &[])?;
        assert!(finished.stdout.is_empty(), "{finished}");
    }
    Ok(())
}

/// A target that answers no more what is written to topic orders, once it is told to.
struct Holding {
    target: Hostile,
    holds: Arc<AtomicBool>,
    /// Gets something for each such request that has come by then.
    held: Receiver<()>,
}

impl Holding {
    fn start() -> Outcome<Self> {
        let holds = Arc::new(AtomicBool::new(false));
        let [asked, answered] = [holds.clone(), holds.clone()];
        let (seen, held) = channel();
        let target = Hostile::start_with(
            Box::new(move |key, _, frame| {
                let is_of_orders = frame.windows(6).any(|window| window == b"orders");
                if key == ApiKey::Produce && is_of_orders && asked.load(Ordering::Relaxed) {
                    seen.send(()).ok();
                }
            }),
            Box::new(move |key, _, _| {
                // On a thread that ends with the test's process.
                while key == ApiKey::Produce && answered.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(100));
                }
            }),
        )?;
        Ok(Self { target, holds, held })
    }

    /// Has a mirror of this target send a request that is never answered; so its stop never ends by itself.
    fn hold_one(&self, source: &Hostile) -> Outcome {
        self.holds.store(true, Ordering::Relaxed);
        fill(&source.cluster, "orders", 0, 500)?;
        Ok(self.held.recv_timeout(LIMIT)?)
    }
}

/// Nobody gives a request up, or waits for more records, for the time of a test.
const PATIENT: [&str; 4] = ["--set", "target.request.timeout.ms=3600000", "--set", "source.fetch.max.wait.ms=10"];

#[test]
fn a_second_signal_does_not_wait() -> Outcome {
    let (source, holding) = (Hostile::honest()?, Holding::start()?);
    let mut kmirror = hostile::start(&source, &holding.target, &PATIENT)?;
    source.wait_caught_up(&holding.target)?;
    holding.hold_one(&source)?;
    kmirror.signal(Signal::SIGTERM)?;
    wait_for("it stops", LIMIT, || Ok(kmirror.stderr().contains("stopping").then_some(())))?;
    kmirror.signal(Signal::SIGINT)?;
    let finished = finish(kmirror)?.expect(130, &[])?;
    assert!(finished.stdout.is_empty(), "a clean stop would have printed its result: {finished}");
    Ok(())
}

#[test]
fn who_does_not_read_standard_error_holds_up_neither_the_mirror_nor_its_end() -> Outcome {
    let mocks = Mocks::start(&[("orders", 1)])?;
    let (source, target) = (mocks.source.bootstrap_servers(), mocks.target.bootstrap_servers());
    for (signal, code, name) in SIGNALS {
        fill(&mocks.source, "orders", 0, 500)?;
        let mut kmirror = start_unheard(mocks.arguments("orders", &["--json"]))?;
        wait_caught_up(&source, &target, "orders", LIMIT)?;
        kmirror.signal(signal)?;
        let document = finish(kmirror)?.expect(code, &[])?.json()?;
        assert_eq!((&document["outcome"], &document["signal"]), (&"stopped".into(), &name.into()));
    }
    // The stop takes longer than anybody waits; the second signal ends it.
    let (source, holding) = (Hostile::honest()?, Holding::start()?);
    let mut kmirror = start_unheard(hostile::arguments(&source, &holding.target, &PATIENT)?)?;
    source.wait_caught_up(&holding.target)?;
    holding.hold_one(&source)?;
    kmirror.signal(Signal::SIGTERM)?;
    std::thread::sleep(Duration::from_millis(300));
    kmirror.signal(Signal::SIGINT)?;
    let finished = finish(kmirror)?.expect(130, &[])?;
    assert!(finished.stdout.is_empty(), "a clean stop would have printed its result: {finished}");
    Ok(())
}
