//! The C library: C99 programs mirror topics, the header is good C and C++, and nothing else is exported.
//!
//! The compiler's warnings are errors, as in the builds of those who include the header. What the programs do is told in them.

mod checked;
mod installed;
pub(super) mod running;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::cluster::{Pair, shared, unique};
use crate::support::records::{Generator, Writing, produce};
use crate::support::{Outcome, fail, ledger, nursery, readme, tool, wait_for};

const NEED_CC: &str =
    "the tests of the C library need a C and a C++ compiler: on Debian, apt-get install build-essential";
const RECORDS: usize = 2_000;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn compiler(program: &str, standard: &str) -> Command {
    let mut command = Command::new(program);
    command.args([&format!("-std={standard}"), "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"]);
    command.arg(root().join("include"));
    command
}

/// The directory of the library, built as it is now, once.
fn library() -> Outcome<PathBuf> {
    static LIBRARY: OnceLock<Outcome<PathBuf>> = OnceLock::new();
    LIBRARY.get_or_init(|| tool::build("kmirror-c")).clone()
}

/// Compiles a program and links it to the library as it is now.
fn compile(source: &Path, name: &str, more: &[&str]) -> Outcome<PathBuf> {
    let library = library()?;
    let program = nursery::directory("c")?.join(name);
    let mut cc = compiler("cc", "c99");
    cc.arg("-Wstrict-prototypes").args(more).arg(source).arg("-o").arg(&program);
    cc.arg("-L").arg(&library).args(["-lkmirror", "-lpthread"]).arg(format!("-Wl,-rpath,{}", library.display()));
    tool::run(&mut cc, NEED_CC)?;
    Ok(program)
}

/// A topic with records at the source.
pub(super) fn written(pair: &Pair, name: &str) -> Outcome<String> {
    let topic = unique(name);
    pair.source.create_topic(&topic, 2, &[])?;
    for partition in 0..2 {
        let records = Generator::new(8).take(RECORDS / 2);
        produce(&pair.source.bootstrap(), &topic, partition, records, &Writing::codec("lz4"))?;
    }
    Ok(topic)
}

pub(super) fn expect_copied(pair: &Pair, topic: &str) -> Outcome {
    ledger::expect_identical(&pair.source.bootstrap(), &pair.target.bootstrap(), topic, RECORDS).map(drop)
}

/// Has the service mirror these topics until it says that all are in sync, then stops it by a signal.
pub(super) fn serve(mut command: Command, pair: &Pair, topics: &[String]) -> Outcome {
    const LIMIT: Duration = Duration::from_secs(240);
    let log = nursery::directory("service")?.join("output");
    let output = File::create(&log)?;
    command.arg(pair.source.bootstrap()).arg(pair.target.bootstrap()).args(topics);
    command.stdout(output.try_clone()?).stderr(output);
    let mut child = nursery::spawn(command)?;
    let said = || fs::read_to_string(&log).unwrap_or_default();
    let outcome = wait_for("all are in sync", LIMIT, || {
        if let Some(status) = child.try_wait()? {
            return fail(format!("it has ended: {status}"));
        }
        let in_sync = |topic: &String| said().contains(&format!("[{topic}] state_changed: the mirror is in sync"));
        Ok(topics.iter().all(in_sync).then_some(()))
    });
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM).ok();
    let status = wait_for("it ends", LIMIT, || Ok(child.try_wait()?));
    if outcome.is_err() || status.is_err() {
        child.kill().ok();
    }
    match (outcome, status) {
        (Ok(()), Ok(status)) if status.success() && said().contains("stopped") => Ok(()),
        (outcome, status) => fail(format!("{outcome:?}, {status:?}:\n{}", said())),
    }
}

#[test]
fn a_c_program_mirrors_until_caught_up() -> Outcome {
    let pair = shared()?;
    let topic = written(pair, "c")?;
    let program = compile(&root().join("tests/c/until_caught_up.c"), "until_caught_up", &[])?;
    let consumer = nursery::directory("c")?.join("consumer.properties");
    fs::write(&consumer, format!("bootstrap.servers={}\nkey.deserializer=x\n", pair.source.bootstrap()))?;
    let mut command = nursery::command(program);
    command.arg(&consumer).arg(pair.target.bootstrap()).arg(&topic).arg(env!("CARGO_PKG_VERSION"));
    tool::run_program(command)?;
    expect_copied(pair, &topic)
}

#[test]
fn the_c_example_of_the_readme_runs() -> Outcome {
    let pair = shared()?;
    let topic = written(pair, "c-readme")?;
    let example = readme::example("c", pair, &topic)?;
    let source = nursery::directory("c")?.join("readme.c");
    fs::write(&source, example)?;
    tool::run_program(nursery::command(compile(&source, "readme", &[])?))?;
    expect_copied(pair, &topic)
}

#[test]
fn the_header_is_good_c_and_cplusplus_twice_in_a_file() -> Outcome {
    let directory = nursery::directory("c")?;
    let compilers = [
        ("cc", "c99", "header.c"),
        ("cc", "c11", "header.c"),
        ("c++", "c++11", "header.cc"),
        ("c++", "c++17", "header.cc"),
    ];
    for (program, standard, file) in compilers {
        let file = directory.join(file);
        fs::write(
            &file,
            "#include <kmirror.h>\n#include <kmirror.h>\nint main() { return kmirror_version() == 0; }\n",
        )?;
        tool::run(compiler(program, standard).arg("-fsyntax-only").arg(&file), NEED_CC)?;
    }
    Ok(())
}
