# The README's commands. Each installs or builds what it needs and says plainly what is missing.

CARGO ?= cargo
# Locked: what is built is what was tested.
CARGO_FLAGS ?= --locked

.PHONY: help demo build test lint nightly mutants bench install clean need-rust need-java need-python

help: ## lists the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: build ## copies topics between two embedded clusters, kills and resumes the mirror, compares every record
	@target/release/kmirror demo

build: need-rust ## builds target/release/kmirror
	$(CARGO) build $(CARGO_FLAGS) --release --bin kmirror

test: need-rust need-java need-python lint ## everything that must hold: lints, simulation, mock clusters, real Kafka, bindings, a short bench
	$(CARGO) test $(CARGO_FLAGS) --workspace

lint: need-rust ## formatting, clippy and documentation without warnings
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(CARGO_FLAGS) --workspace --no-deps --document-private-items --quiet

nightly: need-rust need-java ## the long tests: hundreds of kill rounds, twenty minutes of faults, a million simulated histories
	KMIRROR_HISTORIES=1000000 $(CARGO) test $(CARGO_FLAGS) --release --lib machine
	$(CARGO) test $(CARGO_FLAGS) --release --test it -- --ignored --test-threads=1 --nocapture

# Which part of the changes, for example MUTANTS="--shard 0/8 --sharding round-robin"; all of them take hours.
MUTANTS ?=

mutants: need-rust ## changes the code that decides in every way cargo-mutants knows, and tells what no test notices
	tests/mutants.sh $(MUTANTS)

# What to measure, for example BENCH="--parts sweep --codecs none,zstd"; a wrong option prints them all.
BENCH ?=

bench: need-rust need-java build ## kmirror, an rdkafka loop, MirrorMaker 2 and a blind relay at the same work, in one run
	$(CARGO) bench $(CARGO_FLAGS) --bench mirror -- $(BENCH)

install: build ## installs the command line into PREFIX/bin (default /usr/local)
	install -D -m 755 target/release/kmirror $(DESTDIR)$(or $(PREFIX),/usr/local)/bin/kmirror

clean: ## removes everything that was built or fetched
	$(CARGO) clean

need-rust:
	@command -v $(CARGO) >/dev/null || { echo "kmirror needs Rust (https://rustup.rs): cargo is not on the PATH" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "kmirror needs a C compiler for librdkafka: on Debian, apt-get install build-essential" >&2; exit 1; }

need-java:
	@command -v java >/dev/null || { echo "the tests start real Kafka brokers and need a JDK 17: on Debian, apt-get install openjdk-17-jdk-headless" >&2; exit 1; }
	@command -v mvn >/dev/null || { echo "the tests fetch Kafka from Maven Central: on Debian, apt-get install maven" >&2; exit 1; }

need-python:
	@python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { echo "the tests of the Python module need Python 3.10 or newer with venv: on Debian, apt-get install python3-venv" >&2; exit 1; }
