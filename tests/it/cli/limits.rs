//! What a process may not have more of, threads and file descriptors, is said with the limit and its number, and nothing panics.
//! The limits are set by a shell that becomes the command; root cannot be limited, and is another user here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::Uid;

use super::{Finished, finish};
use crate::support::process::Kmirror;
use crate::support::{Outcome, nursery};

/// A user who may be limited, as root may not.
const NOBODY: &str = "65534";

/// Runs a command that nothing answers, with a limit of the shell's `ulimit`.
fn limited(limit: &str, as_nobody: bool) -> Outcome<Finished> {
    // What the tests' own process has inherited would count, and the loader of shared libraries needs one.
    let close = "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-";
    let script = format!("{close}; ulimit {limit} && exec \"$@\"");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    let directory = nursery::directory("limits")?;
    let mut program = env!("CARGO_BIN_EXE_kmirror").to_owned();
    let copied = tempfile::tempdir()?;
    if as_nobody && Uid::current().is_root() {
        // Where root builds, others may not look.
        let copy = copied.path().join("kmirror");
        fs::copy(&program, &copy)?;
        for path in [copied.path(), &copy] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        }
        program = copy.display().to_string();
        command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
    }
    command.args(["--", "bash", "-c", &script, "bash", &program, "run"]);
    for server in ["source.bootstrap.servers=127.0.0.1:1", "target.bootstrap.servers=127.0.0.1:2"] {
        command.args(["--set", server]);
    }
    let inside = if as_nobody { Path::new("/").to_owned() } else { directory.clone() };
    finish(Kmirror::start_in(command, directory, &inside)?)
}

fn expect_sentence(finished: &Finished, words: &str) {
    let said = &finished.stderr;
    assert_eq!(finished.code, Some(2), "{said}");
    assert!(said.contains(words) && !said.contains("panicked") && !said.contains("a bug in kmirror"), "{said}");
}

#[test]
fn a_limit_of_threads_is_named() -> Outcome {
    for limit in [1, 2] {
        let finished = limited(&format!("-u {limit}"), true)?;
        expect_sentence(&finished, &format!("RLIMIT_NPROC, for all processes of the user, is {limit})"));
    }
    Ok(())
}

#[test]
fn a_limit_of_file_descriptors_is_named() -> Outcome {
    for limit in [4, 5, 6, 7] {
        expect_sentence(&limited(&format!("-n {limit}"), false)?, &format!("(RLIMIT_NOFILE is {limit})"));
    }
    Ok(())
}
