//! kmirror as a Python program uses it: the same work as by the command line, by the extension module.
//!
//! The package is laid out from its sources and from the module that was built beside the command line that is measured.
//! What an interpreter costs that only imports it is measured as well: that is no matter of copying.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::options::Options;
use crate::stage::Stage;
use crate::support::cluster::unique;
use crate::support::{Outcome, nursery};

pub(crate) fn command(options: &Options, stage: &Stage, topic: &str) -> Outcome<Command> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/copy_topics.py");
    let mut command = interpreter(options)?;
    command.arg(program).arg(stage.pair.source.bootstrap()).arg(stage.pair.target.bootstrap());
    command.arg(topic).arg(unique("bench-python"));
    Ok(command)
}

/// Begins, imports, and ends.
pub(crate) fn start_only(options: &Options) -> Outcome<Command> {
    let mut command = interpreter(options)?;
    command.args(["-c", "import kmirror"]);
    Ok(command)
}

fn interpreter(options: &Options) -> Outcome<Command> {
    static PACKAGES: OnceLock<Outcome<PathBuf>> = OnceLock::new();
    let packages = PACKAGES.get_or_init(|| lay_out(options)).clone()?;
    let mut command = nursery::command("python3");
    command.env("PYTHONPATH", packages);
    Ok(command)
}

fn lay_out(options: &Options) -> Outcome<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = nursery::directory("python-copier")?;
    let package = packages.join("kmirror");
    fs::create_dir(&package)?;
    for file in fs::read_dir(root.join("python/kmirror"))? {
        let file = file?;
        if file.file_type()?.is_file() {
            fs::copy(file.path(), package.join(file.file_name()))?;
        }
    }
    let module = options.kmirror.parent().unwrap_or(root).join("lib_kmirror.so");
    fs::copy(module, package.join("_kmirror.abi3.so"))?;
    Ok(packages)
}
