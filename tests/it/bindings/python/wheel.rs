//! One wheel for every Python from 3.10 on: it is installed into empty environments of all that are found here and mirrors there;
//! as it is released it is small, needs nothing of the machine but the C library, and can be made of the source distribution.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Environment, NEED_PYTHON, made_in, one_at_a_time, root, written};
use crate::support::cluster::shared;
use crate::support::{Failure, Outcome, nursery, tool};

/// What has to work: the module, and the command that came with it.
const PROGRAM: &str = "
import subprocess, sys, sysconfig, kmirror, kmirror.aio
source, target, topic = sys.argv[1:]
clients = {'source': {'bootstrap.servers': source}, 'target': {'bootstrap.servers': target}}
lags = []
with kmirror.Mirror(**clients, topics=[topic], name=topic, lag_interval_ms=50, on_lag=lags.append) as mirror:
    mirror.wait_until_caught_up(timeout=60)
    mirror.progress(timeout=60)
    while not lags:
        mirror.poll(0.05)
    assert mirror.verify().identical
command = sysconfig.get_path('scripts') + '/kmirror'
assert subprocess.check_output([command, '--version'], text=True) == f'kmirror {kmirror.__version__}\\n'
print('ok', sys.version.split()[0])
";
/// The versions that the wheel is for.
const VERSIONS: [&str; 4] = ["3.10", "3.11", "3.12", "3.13"];
const LARGEST_WHEEL: u64 = 15_000_000;

/// The interpreters of a version: on the PATH, and those of pyenv.
fn interpreter(version: &str) -> Option<PathBuf> {
    let name = format!("python{version}");
    let works = |program: &Path| {
        Command::new(program).args(["-c", "import venv"]).output().is_ok_and(|output| output.status.success())
    };
    let root = Command::new("pyenv").arg("root").output().ok().filter(|output| output.status.success());
    let versions = root.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()).join("versions"));
    let of_pyenv = versions.and_then(|versions| fs::read_dir(versions).ok()).into_iter().flatten().flatten();
    let candidates = of_pyenv.map(|directory| directory.path().join("bin").join(&name));
    candidates.chain([PathBuf::from(&name)]).find(|program| works(program))
}

fn try_everywhere(environment: &Environment, wheel: &Path) -> Outcome {
    let pair = shared()?;
    let topic = written(pair, "wheel")?;
    let mut tried = Vec::new();
    for version in VERSIONS {
        let Some(python) = interpreter(version) else {
            println!("there is no Python {version} on this machine: not tried");
            continue;
        };
        let directory = nursery::directory(&format!("python-{version}"))?;
        tool::run(Command::new(python).args(["-m", "venv", "--without-pip"]).arg(&directory), NEED_PYTHON)?;
        let installed = directory.join("bin/python");
        let mut pip = environment.pip();
        pip.arg("--python").arg(&installed).args(["install", "--no-index"]).arg(wheel);
        tool::run(&mut pip, NEED_PYTHON)?;
        let mut program = nursery::command(&installed);
        program.args(["-W", "error", "-c", PROGRAM]).args([pair.source.bootstrap(), pair.target.bootstrap()]);
        tried.push(tool::run_program({
            program.arg(&topic);
            program
        })?);
    }
    println!("{}", tried.concat());
    if tried.is_empty() { Err(Failure(NEED_PYTHON.to_owned())) } else { Ok(()) }
}

#[test]
fn one_wheel_is_for_every_python() -> Outcome {
    let environment = Environment::prepare()?;
    let wheel = environment.build(&["--profile", "dev", "--compatibility", "linux"])?;
    try_everywhere(&environment, &wheel)
}

#[test]
fn a_wheel_can_be_made_of_the_source_distribution() -> Outcome {
    let environment = Environment::prepare()?;
    let sources = nursery::directory("sdist")?;
    let mut sdist = environment.maturin();
    sdist.args(["sdist", "--out"]).arg(&sources);
    tool::run(sdist.current_dir(root()), NEED_PYTHON)?;
    let made = nursery::directory("from-sdist")?;
    let mut pip = environment.pip();
    pip.args(["wheel", "--no-deps", "--wheel-dir"]).arg(&made).arg(made_in(&sources)?);
    // As pip does it, but with what the tests have built already.
    pip.env("MATURIN_PEP517_ARGS", "--profile dev --compatibility linux");
    pip.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join(".."));
    let only_one = one_at_a_time();
    tool::run(&mut pip, NEED_PYTHON)?;
    drop(only_one);
    try_everywhere(&environment, &made_in(&made)?)
}

#[test]
#[ignore = "builds everything for release, which takes many minutes"]
fn the_wheel_as_it_is_released() -> Outcome {
    let environment = Environment::prepare()?;
    let wheel = environment.build(&["--release"])?;
    let size = fs::metadata(&wheel)?.len();
    println!("{}: {size} bytes", wheel.display());
    if size > LARGEST_WHEEL {
        return Err(Failure(format!("the wheel has {size} bytes, more than {LARGEST_WHEEL}")));
    }
    let path = wheel.to_string_lossy();
    // Refuses a wheel that needs more of a machine than its name says, or more of Python than its stable part.
    println!("{}", environment.run("auditwheel", &["show", &path])?);
    println!("{}", environment.run("abi3audit", &["--strict", "--report", &path])?);
    try_everywhere(&environment, &wheel)
}
