//! The Go package: its own tests, tests between real clusters with franz-go as the reader, the README's example and the service.
//!
//! The C library is installed into the target's folder as users install it, and Go finds it by pkg-config. What Go fetches and builds
//! stays in that folder, too, so that only the first run takes long.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use kmirror::config::properties;
use kmirror::{ErrorKind, EventKind};

use super::c::running::occupied;
use super::c::{expect_copied, serve, written};
use crate::support::cluster::{Cluster, Options, shared, unique};
use crate::support::failure::Context;
use crate::support::records::{Load, Writing};
use crate::support::{Failure, Outcome, fail, nursery, readme, tool};

const NEED_GO: &str = "the tests of the Go package need Go 1.24 or newer: https://go.dev/dl";
const NEED_TOOLS: &str = "on Debian, apt-get install build-essential pkg-config";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where what Go needs and makes is kept.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("go")
}

/// The C library, built as it is now and installed once; returns where.
fn installed() -> Outcome<PathBuf> {
    static INSTALLED: OnceLock<Outcome<PathBuf>> = OnceLock::new();
    let install = || {
        let prefix = folder().join("installed");
        let mut make = Command::new("make");
        make.current_dir(root()).args(["install-c", "PROFILE=dev"]).arg(format!("PREFIX={}", prefix.display()));
        make.arg(format!("CARGO={}", env!("CARGO")));
        make.arg(format!("TARGET={}", Path::new(env!("CARGO_TARGET_TMPDIR")).join("..").display()));
        tool::run(&mut make, NEED_TOOLS)?;
        Ok(prefix)
    };
    INSTALLED.get_or_init(install).clone()
}

/// A command that runs Go, with the library, in a directory.
fn with_library(mut command: Command, directory: &Path) -> Outcome<Command> {
    let prefix = installed()?;
    command.current_dir(directory);
    command.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
    command.env("CGO_ENABLED", "1").env("CGO_LDFLAGS", format!("-Wl,-rpath,{}", prefix.join("lib").display()));
    // Go does not see when a header outside its own folders changes, but it does see other flags.
    let mut header = DefaultHasher::new();
    fs::read(prefix.join("include/kmirror.h"))?.hash(&mut header);
    command.env("CGO_CFLAGS", format!("-O1 -g -Wall -Werror -DKMIRROR_HEADER={}", header.finish()));
    command.env("GOCACHE", folder().join("build")).env("GOMODCACHE", folder().join("modules"));
    command.env("GOFLAGS", "-mod=readonly -modcacherw -buildvcs=false").env("GOWORK", "off");
    Ok(command)
}

/// Runs a tool of Go to its end.
fn go(directory: &Path, arguments: &[&str]) -> Outcome<String> {
    tool::run(with_library(Command::new("go"), directory)?.args(arguments), NEED_GO)
}

/// The folders with Go in them.
fn modules() -> [PathBuf; 3] {
    ["bindings/go", "tests/go", "tests/examples/go"].map(|path| root().join(path))
}

#[test]
fn the_go_package_mirrors_between_real_clusters() -> Outcome {
    for module in modules() {
        let unformatted = tool::run(Command::new("gofmt").arg("-l").arg(&module), NEED_GO)?;
        assert_eq!(unformatted, "", "run gofmt -w in {}", module.display());
        go(&module, &["vet", "./..."])?;
    }
    let secrets = "sasl.jaas.config sasl.password sasl.username sasl.oauthbearer.client.id sasl.oauthbearer.config ssl.ca.pem \
        sasl.oauthbearer.client.secret ssl.key.password ssl.key.pem ssl.keystore.certificate.chain ssl.keystore.key \
        ssl.truststore.certificates ssl.truststore.password";
    assert!(secrets.split_whitespace().all(properties::is_secret), "the list is of what the engine hides");
    let mut own = with_library(nursery::command("go"), &modules()[0])?;
    own.args(["test", "-race", "-count=1", "./..."]).env("KMIRROR_TEST_SECRETS", secrets);
    println!("{}", tool::run_program(own)?);

    let pair = shared()?;
    let lone = Cluster::start(Options::default())?;
    let pid = lone.pid(1).ok_or_else(|| Failure("the target's broker has no process".to_owned()))?;
    let (topic, busy_topic) = (written(pair, "go")?, unique("go-busy"));
    pair.source.create_topic(&busy_topic, 2, &[])?;
    let writing = Writing { live: true, ..Writing::default() };
    let load = Load::start(&pair.source.bootstrap(), &busy_topic, 2, 500, 12, &writing)?;
    load.wait_for_more(1)?;
    let mut tests = with_library(nursery::command("go"), &modules()[1])?;
    tests.args(["test", "-race", "-count=1", "-timeout=300s", "./..."]);
    tests.env("KMIRROR_TEST_SOURCE", pair.source.bootstrap()).env("KMIRROR_TEST_TARGET", pair.target.bootstrap());
    tests.env("KMIRROR_TEST_LONE_TARGET", lone.bootstrap()).env("KMIRROR_TEST_LONE_TARGET_PID", pid.to_string());
    tests.env("KMIRROR_TEST_TOPIC", &topic).env("KMIRROR_TEST_BUSY_TOPIC", &busy_topic);
    tests.env("KMIRROR_TEST_OCCUPIED_TOPIC", occupied(pair, "go-occupied")?);
    let outcome = tool::run_program(tests);
    // A test that fails in between has left it standing still.
    lone.resume(1).ok();
    println!("{}", outcome?);
    load.stop()?;
    expect_copied(pair, &topic)
}

#[test]
fn the_go_example_of_the_readme_runs() -> Outcome {
    let pair = shared()?;
    let topic = written(pair, "go-readme")?;
    let example = readme::example("go", pair, &topic)?;
    let directory = nursery::directory("go-readme")?;
    fs::write(directory.join("main.go"), example)?;
    go(&directory, &["mod", "init", "readme"])?;
    // As the README says, where the package has no address.
    let replace = format!("kmirror={}", modules()[0].display());
    go(&directory, &["mod", "edit", "-replace", &replace, "-require", "kmirror@v0.0.0"])?;
    let unformatted = tool::run(Command::new("gofmt").arg("-l").arg(&directory), NEED_GO)?;
    assert_eq!(unformatted, "", "the example of the README is not as gofmt writes it");
    go(&directory, &["build", "-o", "readme", "."])?;
    tool::run_program(nursery::command(directory.join("readme")))?;
    expect_copied(pair, &topic)
}

#[test]
fn the_go_service_runs_as_it_is() -> Outcome {
    let pair = shared()?;
    let topics = [written(pair, "go-service")?, written(pair, "go-service")?];
    let program = nursery::directory("go-service")?.join("service");
    go(&modules()[2], &["build", "-race", "-o", &program.display().to_string(), "."])?;
    serve(nursery::command(program), pair, &topics)?;
    topics.iter().try_for_each(|topic| expect_copied(pair, topic))
}

#[test]
fn the_go_package_knows_every_error_and_event() -> Outcome {
    let read = |file: &str| fs::read_to_string(modules()[0].join(file)).context(file);
    let (errors_file, events_file) = (read("errors.go")?, read("event.go")?);
    let errors = ErrorKind::ALL.iter().map(|kind| kind.name()).filter(|name| {
        let defined = format!("C.KMIRROR_ERROR_{}\n", name.to_uppercase());
        !errors_file.contains(&defined) || !errors_file.contains(&format!("\"{name}\","))
    });
    let events = EventKind::ALL.iter().map(|kind| kind.name());
    let events = events.filter(|name| !events_file.contains(&format!("EventKind = \"{name}\"\n")));
    let missing: Vec<_> = errors.chain(events).collect();
    if missing.is_empty() { Ok(()) } else { fail(format!("bindings/go does not know {missing:?}")) }
}
