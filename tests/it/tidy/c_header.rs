//! `include/kmirror.h` is what the files of `bindings/c` and the tables of the engine make of it.
//!
//! cbindgen reads the files; the version and the numbers of errors and events come from the engine itself, so that the
//! header cannot tell others. `KMIRROR_BLESS=1 cargo test --test it c_header` writes it.

use std::fmt::Write as _;
use std::fs;

use kmirror::{ErrorKind, EventKind};

use super::{read, root};
use crate::support::{Failure, Outcome};

const HEADER: &str = "include/kmirror.h";
/// In the order in which the header explains things.
const PARTS: [&str; 8] = ["config", "cancellation", "mirror", "callbacks", "event", "status", "report", "error"];

fn generated() -> Outcome<String> {
    let folder = root().join("bindings/c");
    let mut config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).map_err(Failure)?;
    config.after_includes = Some(tables()?);
    let parts = PARTS.iter().map(|part| folder.join(format!("src/{part}.rs")));
    let builder = parts.fold(cbindgen::Builder::new().with_config(config), cbindgen::Builder::with_src);
    let mut text = Vec::new();
    builder.generate()?.write(&mut text);
    Ok(String::from_utf8(text)?)
}

fn tables() -> Outcome<String> {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = "\n/** The version of this header. */\n".to_owned();
    writeln!(text, "#define KMIRROR_VERSION \"{version}\"")?;
    for (name, number) in ["MAJOR", "MINOR", "PATCH"].iter().zip(version.split('.')) {
        writeln!(text, "#define KMIRROR_VERSION_{name} {number}")?;
    }
    text.push_str(
        "\n/* What kmirror_error_code returns. A number keeps its meaning for ever; later versions may have more. */\n",
    );
    for kind in ErrorKind::ALL {
        writeln!(text, "/** {}. */", sentence(kind.help()))?;
        writeln!(text, "#define KMIRROR_ERROR_{} {}", kind.name().to_uppercase(), kind.code())?;
    }
    text.push_str(
        "\n/* What kmirror_event_kind returns. A number keeps its meaning for ever; later versions may have more. */\n",
    );
    for kind in EventKind::ALL {
        writeln!(text, "#define KMIRROR_EVENT_{} {}", kind.name().to_uppercase(), kind.code())?;
    }
    Ok(text)
}

fn sentence(help: &str) -> String {
    let mut chars = help.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[test]
fn the_header_is_what_the_source_makes_of_it() -> Outcome {
    let generated = generated()?;
    if std::env::var_os("KMIRROR_BLESS").is_some() {
        fs::create_dir_all(root().join("include"))?;
        fs::write(root().join(HEADER), &generated)?;
    }
    let same = read(HEADER)? == generated;
    assert!(same, "{HEADER} is out of date: run KMIRROR_BLESS=1 cargo test --test it c_header, and commit it");
    Ok(())
}
