//! The Python module: a wheel is built and installed into an environment of its own, and pytest runs in it.
//!
//! The environment lies in the target's folder and stays there, so that only the first run fetches anything; it is made anew
//! when `tests/python/requirements.txt` says something else. What was copied is compared by the ledger.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::cluster::{Pair, shared, unique};
use crate::support::failure::Context;
use crate::support::records::{Generator, Load, Writing, produce};
use crate::support::{Failure, Outcome, ledger, nursery, tool};

const NEED_PYTHON: &str = "the tests of the Python module need Python 3.10 or newer with venv and pip: on Debian, apt-get install python3-venv";
const NOT_FOUND: &str = "it is not on the PATH";
const RECORDS: usize = 1_000;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// An environment with the tools of the tests.
struct Environment {
    directory: PathBuf,
}

impl Environment {
    fn prepare() -> Outcome<Self> {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
        let environment = Environment { directory };
        let requirements = root().join("tests/python/requirements.txt");
        let wanted = fs::read_to_string(&requirements)?;
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
        pip.args(["install", "--requirement"]).arg(&requirements);
        tool::run(&mut pip, NEED_PYTHON).context("the tools of the Python tests are fetched from PyPI")?;
        fs::write(installed, wanted)?;
        Ok(environment)
    }

    fn program(&self, name: &str) -> PathBuf {
        self.directory.join("bin").join(name)
    }

    fn pip(&self) -> Command {
        let mut pip = Command::new(self.program("python"));
        pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]);
        pip
    }

    /// Builds the module as it is now and installs it.
    fn install(&self) -> Outcome {
        let wheels = nursery::directory("wheels")?;
        let mut maturin = Command::new(self.program("maturin"));
        // `linux` is enough for this machine; a wheel for others is checked for what it links to.
        maturin.args(["build", "--quiet", "--profile", "dev", "--compatibility", "linux"]);
        maturin.arg("--interpreter").arg(self.program("python")).arg("--out").arg(&wheels);
        maturin.arg("--target-dir").arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join(".."));
        tool::run(maturin.current_dir(root()), NEED_PYTHON)?;
        let wheel = fs::read_dir(&wheels)?.next().ok_or_else(|| Failure("maturin made no wheel".to_owned()))??;
        let mut pip = self.pip();
        pip.args(["install", "--force-reinstall", "--no-deps", "--no-index"]).arg(wheel.path());
        tool::run(&mut pip, NEED_PYTHON).map(drop)
    }
}

fn written(pair: &Pair, name: &str) -> Outcome<String> {
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
    let environment = Environment::prepare()?;
    environment.install()?;

    let pair = shared()?;
    let (from, to) = (pair.source.bootstrap(), pair.target.bootstrap());
    let (topic, readme_topic, busy_topic) = (written(pair, "python")?, written(pair, "python-readme")?, unique("busy"));
    pair.source.create_topic(&busy_topic, 1, &[])?;
    let load = Load::start(&from, &busy_topic, 1, 500, 1, &Writing::default())?;
    load.wait_for_more(1)?;

    let mut pytest = nursery::command(environment.program("pytest"));
    pytest.current_dir(root()).env("PYTHONDONTWRITEBYTECODE", "1");
    pytest.env("KMIRROR_TEST_SOURCE", &from).env("KMIRROR_TEST_TARGET", &to).env("KMIRROR_TEST_TOPIC", &topic);
    pytest.env("KMIRROR_TEST_README_TOPIC", &readme_topic).env("KMIRROR_TEST_BUSY_TOPIC", &busy_topic);
    println!("{}", tool::run_program(pytest)?);

    load.stop()?;
    for topic in [&topic, &readme_topic] {
        ledger::expect_identical(&from, &to, topic, RECORDS)?;
    }
    Ok(())
}
