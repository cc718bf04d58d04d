//! Gives the shared library its SONAME: before 1.0 another minor version may be another ABI, as with Cargo's versions.
//!
//! A program that was linked against the library where Cargo puts it looks for that name there, so it is a link beside it.

use std::path::Path;

fn main() {
    let part = |name: &str| std::env::var(format!("CARGO_PKG_VERSION_{name}")).unwrap_or_default();
    let abi = match part("MAJOR").as_str() {
        "0" => format!("0.{}", part("MINOR")),
        major => major.to_owned(),
    };
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        let name = format!("libkmirror.so.{abi}");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,{name}");
        link(&name);
    }
}

#[cfg(unix)]
fn link(name: &str) {
    let out = std::env::var("OUT_DIR").unwrap_or_default();
    // Of `<profile>/build/<package>/out`.
    if let Some(profile) = Path::new(&out).ancestors().nth(3) {
        // It may be there already, or belong to a layout that is not known: then `make install` is the way.
        let _ = std::os::unix::fs::symlink("libkmirror.so", profile.join(name));
    }
}

#[cfg(not(unix))]
fn link(_: &str) {}
