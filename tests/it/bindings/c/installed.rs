//! What `make install` puts where: a program finds the library by pkg-config and by CMake, shared and static, from a staged root.
//!
//! And what the libraries show to others: names that begin with kmirror_, all of them in the header, and all of the header's.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use regex::Regex;

use super::{NEED_CC, compiler, library, root, written};
use crate::support::cluster::shared;
use crate::support::{Outcome, nursery, tool};

const NEED_TOOLS: &str = "on Debian, apt-get install build-essential pkg-config cmake";

/// The names that a library defines for others.
fn exported(nm: &mut Command) -> Outcome<BTreeSet<String>> {
    let listed = tool::run(nm, NEED_CC)?;
    Ok(listed.lines().filter_map(|line| line.split_whitespace().nth(2)).map(str::to_owned).collect())
}

fn of_the_header() -> Outcome<BTreeSet<String>> {
    let header = fs::read_to_string(root().join("include/kmirror.h"))?;
    let function = Regex::new(r"(?m)^[a-z][\w ]*[ *](kmirror_\w+)\(")?;
    let names: BTreeSet<_> = function.captures_iter(&header).map(|found| found[1].to_owned()).collect();
    assert!(names.len() > 60, "{names:?}");
    Ok(names)
}

#[test]
fn the_shared_library_exports_the_functions_of_the_header_and_nothing_else() -> Outcome {
    let mut nm = Command::new("nm");
    let names = exported(nm.args(["-D", "--defined-only"]).arg(library()?.join("libkmirror.so")))?;
    assert_eq!(names, of_the_header()?);
    Ok(())
}

#[test]
fn an_installed_library_is_found_by_pkg_config_and_cmake_and_runs() -> Outcome {
    library()?;
    let stage = nursery::directory("stage")?;
    let mut make = Command::new("make");
    make.current_dir(root()).args(["install-c", "PREFIX=/usr", "LIBDIR=/usr/lib", "PROFILE=dev"]);
    make.arg(format!("DESTDIR={}", stage.display())).arg(format!("CARGO={}", env!("CARGO")));
    make.arg(format!("TARGET={}", Path::new(env!("CARGO_TARGET_TMPDIR")).join("..").display()));
    tool::run(&mut make, NEED_TOOLS)?;
    let lib = stage.join("usr/lib");

    let mut nm = Command::new("nm");
    let names = exported(nm.args(["--defined-only", "--extern-only"]).arg(lib.join("libkmirror.a")))?;
    assert_eq!(names, of_the_header()?, "what a program is linked to statically may hold a zstd of its own");

    let example = root().join("tests/examples/c/minimal.c");
    let pkg_config = |more: &[&str]| {
        let mut command = Command::new("pkg-config");
        command.env("PKG_CONFIG_PATH", lib.join("pkgconfig")).env("PKG_CONFIG_SYSROOT_DIR", &stage);
        tool::run(command.args(more).arg("kmirror"), NEED_TOOLS)
    };
    assert_eq!(pkg_config(&["--modversion"])?.trim(), env!("CARGO_PKG_VERSION"));
    let (shared_program, static_program) = (stage.join("shared"), stage.join("static"));
    let flags = pkg_config(&["--cflags", "--libs"])?;
    let mut cc = compiler("cc", "c99");
    tool::run(cc.arg(&example).args(flags.split_whitespace()).arg("-o").arg(&shared_program), NEED_CC)?;
    let flags = pkg_config(&["--static", "--cflags", "--libs"])?.replace("-lkmirror", "-l:libkmirror.a");
    let mut cc = compiler("cc", "c99");
    tool::run(cc.arg(&example).args(flags.split_whitespace()).arg("-o").arg(&static_program), NEED_CC)?;

    let project = nursery::directory("cmake")?;
    let lists = format!(
        "cmake_minimum_required(VERSION 3.13)\nproject(minimal C)\nfind_package(kmirror 0.1 REQUIRED)\n\
         add_executable(with-shared {0})\ntarget_link_libraries(with-shared kmirror::kmirror)\n\
         add_executable(with-static {0})\ntarget_link_libraries(with-static kmirror::static)\n",
        example.display()
    );
    fs::write(project.join("CMakeLists.txt"), lists)?;
    let mut cmake = Command::new("cmake");
    cmake.arg("-S").arg(&project).arg("-B").arg(project.join("build"));
    cmake.arg(format!("-DCMAKE_PREFIX_PATH={}", stage.join("usr").display()));
    tool::run(&mut cmake, NEED_TOOLS)?;
    tool::run(Command::new("cmake").arg("--build").arg(project.join("build")), NEED_TOOLS)?;

    let programs =
        [shared_program, static_program, project.join("build/with-shared"), project.join("build/with-static")];
    let pair = shared()?;
    for program in programs {
        let topic = written(pair, "c-installed")?;
        let mut command = nursery::command(program);
        command.env("LD_LIBRARY_PATH", &lib);
        command.arg(pair.source.bootstrap()).arg(pair.target.bootstrap()).arg(&topic);
        tool::run_program(command)?;
        super::expect_copied(pair, &topic)?;
    }
    Ok(())
}
