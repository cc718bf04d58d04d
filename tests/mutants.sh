#!/usr/bin/env bash
# Changes the code that decides (src/machine) and the code that reads and writes batches (src/batch) in every way cargo-mutants
# knows, and tells which changes no test of the library notices. Only what these two folders need is compiled, which makes
# thousands of builds bearable. Arguments go to cargo-mutants, for example: --shard 0/8 --sharding round-robin
set -eu
cd "$(dirname "$0")/.."
crate=target/mutants/crate
mkdir -p "$crate" target/mutants/bin
command -v target/mutants/bin/bin/cargo-mutants >/dev/null ||
    cargo install --quiet --locked --root target/mutants/bin cargo-mutants@27.1.0

rm -rf "$crate/src"
mkdir -p "$crate/src"
for part in batch config error.rs event.rs machine manual status.rs wire; do cp -r "src/$part" "$crate/src/"; done
# Tests of other folders would only take time.
for tests in config/tests.rs wire/decoding/tests.rs; do : > "$crate/src/$tests"; done
mkdir -p "$crate/tests"
cp -r tests/data "$crate/tests/"
# Everything is public here: what only the streams use is no dead code.
cat > "$crate/src/lib.rs" <<'LIB'
#![allow(warnings)]
pub mod batch;
pub mod config;
pub mod error;
pub mod event;
pub mod machine;
pub mod status;
pub mod wire;
pub use config::Config;
pub use error::{Error, ErrorKind, Result};
LIB
# The project's own dependencies, without those of its command line, tests and benches.
{
    printf '[package]\nname = "mutants"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n'
    sed -n '/^\[dependencies\]/,/^$/p' Cargo.toml
    printf "[target.'cfg(unix)'.dependencies]\n"
    grep -m1 '^nix = ' Cargo.toml
    printf '[dev-dependencies]\n'
    grep '^fastrand = \|^tempfile = ' Cargo.toml
    printf '[profile.dev]\ndebug = "none"\nopt-level = 1\n[profile.dev.package."*"]\nopt-level = 1\n'
} > "$crate/Cargo.toml"
cp Cargo.lock "$crate/"

mkdir -p "$crate/.cargo"
cat > "$crate/.cargo/mutants.toml" <<'CONFIG'
examine_globs = ["src/machine/**/*.rs", "src/batch/**/*.rs"]
# Tests, and the simulation, which is one.
exclude_globs = ["**/tests.rs", "**/tests/**", "src/machine/simulation/**", "src/batch/samples.rs", "src/batch/samples/**", "src/batch/fuzz.rs"]
# How a thing is shown to people who debug. Fuzzing takes long and finds crashes; other tests have to find the rest.
exclude_re = ["impl (std::fmt::)?Debug"]
additional_cargo_test_args = ["--lib", "--", "machine::", "batch::", "--skip", "batch::fuzz"]
CONFIG
# A tenth of the histories: planted bugs are found within a few hundred.
export KMIRROR_HISTORIES="${KMIRROR_HISTORIES:-1000}"
exec target/mutants/bin/bin/cargo-mutants mutants --dir "$crate" --output target/mutants --in-place "$@"
