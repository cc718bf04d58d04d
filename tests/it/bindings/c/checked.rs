//! The C examples and the careless host once more, under AddressSanitizer and under Valgrind: no bad access, and no leak.
//!
//! Both see the library's own memory, too, because that comes from the C library's allocator. A program that leaks on purpose shows that
//! each of them would notice. A tool that is missing is a failure that says what to install.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{compile, root, serve, written};
use crate::support::cluster::shared;
use crate::support::failure::Context;
use crate::support::{Outcome, nursery, tool};

const NEED_SANITIZER: &str =
    "the tests of the C library need a compiler with AddressSanitizer: on Debian, apt-get install build-essential";
const NEED_VALGRIND: &str = "the tests of the C library need Valgrind: on Debian, apt-get install valgrind";

/// A way of running a program under a checker.
struct Checker {
    flags: &'static [&'static str],
    /// Whether it is fast enough for everything.
    is_fast: bool,
    wrap: fn(&Path) -> Command,
}

const SANITIZER: Checker =
    Checker { flags: &["-g", "-fsanitize=address", "-fno-omit-frame-pointer"], is_fast: true, wrap: sanitized };
const VALGRIND: Checker = Checker { flags: &["-g"], is_fast: false, wrap: in_valgrind };

fn sanitized(program: &Path) -> Command {
    let mut command = nursery::command(program);
    command.env("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0");
    command
}

fn in_valgrind(program: &Path) -> Command {
    let mut command = nursery::command("valgrind");
    command.args(["--quiet", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect"]);
    command.arg("--show-leak-kinds=definite,indirect").arg(program);
    command
}

impl Checker {
    fn compile(&self, path: &str) -> Outcome<PathBuf> {
        let name = path.rsplit('/').next().unwrap_or(path);
        compile(&root().join(format!("tests/{path}.c")), name, self.flags)
    }

    fn command(&self, path: &str) -> Outcome<Command> {
        Ok((self.wrap)(&self.compile(path)?))
    }

    fn check(&self, name: &str) -> Outcome {
        let leaks = tool::run_program(self.command("c/leak")?).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(leaks.contains("lost") || leaks.contains("LeakSanitizer"), "it did not notice a leak: {leaks}");

        let pair = shared()?;
        let topics = [written(pair, name)?, written(pair, name)?];
        let mut minimal = self.command("examples/c/minimal")?;
        minimal.arg(pair.source.bootstrap()).arg(pair.target.bootstrap()).arg(&topics[0]);
        tool::run_program(minimal)?;
        serve(self.command("examples/c/service")?, pair, &topics[1..])?;
        if self.is_fast {
            let mut careless = self.command("c/careless")?;
            careless.arg(pair.source.bootstrap()).arg(pair.target.bootstrap()).arg(written(pair, name)?);
            // Without what takes long, forks or leaves threads behind on purpose.
            careless.arg("short");
            tool::run_program(careless)?;
        }
        topics.iter().try_for_each(|topic| super::expect_copied(pair, topic))
    }
}

#[test]
fn address_sanitizer_finds_nothing() -> Outcome {
    SANITIZER.check("asan").context(NEED_SANITIZER)
}

#[test]
fn valgrind_finds_nothing() -> Outcome {
    tool::run(Command::new("valgrind").arg("--version"), NEED_VALGRIND)?;
    VALGRIND.check("valgrind")
}
