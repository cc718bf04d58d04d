//! The Python module: a wheel is built and installed into an environment of its own, and pytest runs in it.
//!
//! The environment lies in the target's folder and stays there, so that only the first run fetches anything; it is made anew
//! when `tests/python/requirements.txt` says something else. What was copied is compared by the ledger. Other versions of
//! Python, and wheels as they are released, are the matter of [`wheel`].

mod wheel;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::support::cluster::{Pair, shared, unique};
use crate::support::failure::Context;
use crate::support::records::{Generator, Load, Writing, produce};
use crate::support::{Failure, Outcome, ledger, nursery, tool};

const NEED_PYTHON: &str = "the tests of the Python module need Python 3.10 or newer with venv and pip: on Debian, apt-get install python3-venv";
const NOT_FOUND: &str = "it is not on the PATH";
pub(super) const RECORDS: usize = 1_000;

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// An environment with the tools of the tests.
pub(super) struct Environment {
    directory: PathBuf,
}

impl Environment {
    fn prepare() -> Outcome<Self> {
        Self::prepare_as("python", &[])
    }

    /// The environment of `tests/NAME`.
    pub(super) fn prepare_as(name: &str, of_install: &[&str]) -> Outcome<Self> {
        // Tests that want the same one at the same time wait for whoever makes it.
        static MADE: Mutex<BTreeMap<String, Arc<Mutex<()>>>> = Mutex::new(BTreeMap::new());
        let mut all = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        let this = all.entry(name.to_owned()).or_default().clone();
        drop(all);
        let _only_one = this.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let environment = Environment { directory };
        let requirements = root().join("tests").join(name).join("requirements.txt");
        // With the folder: an environment that was moved is none.
        let wanted = format!("{}\n{}", environment.directory.display(), fs::read_to_string(&requirements)?);
        let installed = environment.directory.join("installed");
        if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
            return Ok(environment);
        }
        let mut version = Command::new("python3");
        version.args(["-c", "import sys; sys.exit(sys.version_info < (3, 10))"]);
        tool::run(&mut version, NOT_FOUND).context(NEED_PYTHON)?;
        let mut python = Command::new("python3");
        python.args(["-m", "venv", "--clear"]).arg(&environment.directory);
        tool::run(&mut python, NOT_FOUND).context(NEED_PYTHON)?;
        let mut pip = environment.pip();
        pip.arg("install").args(of_install).arg("--requirement").arg(&requirements);
        tool::run(&mut pip, NEED_PYTHON).context("the tools of the Python tests are fetched from PyPI")?;
        fs::write(installed, wanted)?;
        Ok(environment)
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.directory.join("bin").join(name)
    }

    fn pip(&self) -> Command {
        let mut pip = Command::new(self.program("python"));
        pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]);
        pip
    }

    /// Builds the module as it is now: the wheel.
    fn build(&self, arguments: &[&str]) -> Outcome<PathBuf> {
        let _only_one = one_at_a_time();
        let wheels = nursery::directory("wheels")?;
        let mut maturin = self.maturin();
        maturin.args(["build", "--quiet"]).args(arguments);
        maturin.arg("--interpreter").arg(self.program("python")).arg("--out").arg(&wheels);
        maturin.arg("--target-dir").arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join(".."));
        tool::run(maturin.current_dir(root()), NEED_PYTHON)?;
        made_in(&wheels)
    }

    fn maturin(&self) -> Command {
        let mut maturin = Command::new(self.program("maturin"));
        // It looks for its helpers, such as patchelf, on the PATH.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(self.directory.join("bin")).chain(std::env::split_paths(&path));
        maturin.env("PATH", std::env::join_paths(paths).unwrap_or(path.clone()));
        maturin
    }

    /// Builds the module as it is now and installs it.
    pub(super) fn install(&self) -> Outcome {
        // `linux` is enough for this machine; a wheel for others is checked for what it links to.
        let wheel = self.build(&["--profile", "dev", "--compatibility", "linux"])?;
        let mut pip = self.pip();
        pip.args(["install", "--force-reinstall", "--no-deps", "--no-index"]).arg(wheel);
        tool::run(&mut pip, NEED_PYTHON).map(drop)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Outcome<String> {
        let mut command = Command::new(self.program(program));
        command.args(arguments).current_dir(root()).env("PYTHONDONTWRITEBYTECODE", "1");
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-caches");
        command.env("MYPY_CACHE_DIR", cache.join("mypy")).env("RUFF_CACHE_DIR", cache.join("ruff"));
        tool::run(&mut command, NEED_PYTHON)
    }
}

/// Maturin moves what it has built; two at a time take it from each other.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The only file in a folder.
fn made_in(directory: &Path) -> Outcome<PathBuf> {
    let made = fs::read_dir(directory)?.next().ok_or_else(|| Failure("maturin made nothing".to_owned()))??;
    Ok(made.path())
}

pub(super) fn written(pair: &Pair, name: &str) -> Outcome<String> {
    let topic = unique(name);
    pair.source.create_topic(&topic, 2, &[])?;
    for partition in 0..2 {
        let records = Generator::new(9).take(RECORDS / 2);
        produce(&pair.source.bootstrap(), &topic, partition, records, &Writing::codec("zstd"))?;
    }
    Ok(topic)
}

#[test]
fn the_python_module_mirrors_between_real_clusters() -> Outcome {
    pytest(false)
}

#[test]
#[ignore = "a thousand starts and six hundred interpreters take minutes"]
fn the_python_module_starts_a_thousand_times_and_ends_six_hundred_times() -> Outcome {
    pytest(true)
}

fn pytest(is_long: bool) -> Outcome {
    let environment = Environment::prepare()?;
    environment.install()?;
    // Types and style, of the module as it was installed, too.
    environment.run("ruff", &["check", "python", "tests"])?;
    environment.run("ruff", &["format", "--check", "python", "tests"])?;
    environment.run("mypy", &[])?;
    environment.run("stubtest", &["--mypy-config-file", "pyproject.toml", "kmirror._kmirror"])?;

    let pair = shared()?;
    let (from, to) = (pair.source.bootstrap(), pair.target.bootstrap());
    let busy_topic = unique("busy");
    pair.source.create_topic(&busy_topic, 1, &[])?;
    let load = Load::start(&from, &busy_topic, 1, 500, 1, &Writing::default())?;
    load.wait_for_more(1)?;

    let mut pytest = nursery::command(environment.program("pytest"));
    pytest.current_dir(root()).env("PYTHONDONTWRITEBYTECODE", "1");
    pytest
        .env("KMIRROR_TEST_SOURCE", &from)
        .env("KMIRROR_TEST_TARGET", &to)
        .env("KMIRROR_TEST_BUSY_TOPIC", &busy_topic);
    pytest.env("KMIRROR_TEST_BINARY", env!("CARGO_BIN_EXE_kmirror"));
    let mut copied = Vec::new();
    for name in ["topic", "readme_topic", "notebook_topic", "other_topic", "never_topic"] {
        let topic = written(pair, &format!("python-{name}"))?;
        pytest.env(format!("KMIRROR_TEST_{}", name.to_uppercase()), &topic);
        copied.push(topic);
    }
    copied.pop();
    if is_long {
        pytest.env("KMIRROR_TEST_LONG", "1").args(["-k", "lifecycle or aio"]);
    }
    println!("{}", tool::run_program(pytest)?);

    load.stop()?;
    if !is_long {
        for topic in &copied {
            ledger::expect_identical(&from, &to, topic, RECORDS)?;
        }
    }
    Ok(())
}
