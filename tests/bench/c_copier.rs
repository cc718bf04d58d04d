//! kmirror as a C program uses it: the same work as by the command line, by the shared library.
//!
//! The program is compiled once; what it links to was built beside the command line that is measured.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::options::Options;
use crate::stage::Stage;
use crate::support::cluster::unique;
use crate::support::{Outcome, nursery, tool};

const NEED_CC: &str = "it is measured from C, too, and needs a C compiler: on Debian, apt-get install build-essential";

pub(crate) fn command(options: &Options, stage: &Stage, topic: &str) -> Outcome<Command> {
    static PROGRAM: OnceLock<Outcome<PathBuf>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| compile(options)).clone()?;
    let mut command = nursery::command(program);
    command.arg(stage.pair.source.bootstrap()).arg(stage.pair.target.bootstrap()).arg(topic).arg(unique("bench-c"));
    Ok(command)
}

fn compile(options: &Options) -> Outcome<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = options.kmirror.parent().unwrap_or(root).canonicalize()?;
    let program = nursery::directory("c-copier")?.join("copy");
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-O2", "-I"]).arg(root.join("include")).arg(root.join("tests/c/copy.c"));
    cc.arg("-o").arg(&program).arg("-L").arg(&library).arg("-lkmirror");
    tool::run(cc.arg(format!("-Wl,-rpath,{}", library.display())), NEED_CC)?;
    Ok(program)
}
