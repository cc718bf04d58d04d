# The README's commands. Each installs or builds what it needs and says plainly what is missing.

CARGO ?= cargo
# Locked: what is built is what was tested.
CARGO_FLAGS ?= --locked

.PHONY: help demo build build-c build-python wheel test lint nightly mutants bench install install-c clean need-rust need-java need-python need-c need-go

# Where things are built, and how; `release` is Cargo's name of a profile, as `dev` is.
TARGET ?= target
PROFILE ?= release
BUILT = $(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))

# Where `make install` puts things; DESTDIR is put before all of them and into none.
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include

help: ## lists the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: build ## copies topics between two embedded clusters, kills and resumes the mirror, compares every record
	@target/release/kmirror demo

build: need-rust ## builds target/release/kmirror
	$(CARGO) build $(CARGO_FLAGS) --release --bin kmirror

build-c: need-rust ## builds the C library, shared and static
	$(CARGO) build $(CARGO_FLAGS) --profile $(PROFILE) --target-dir $(TARGET) --package kmirror-c

build-python: need-rust ## builds the extension module of the Python module
	$(CARGO) build $(CARGO_FLAGS) --profile $(PROFILE) --target-dir $(TARGET) --package kmirror-python

# Where the wheel goes.
WHEELS ?= target/wheels

wheel: need-rust need-python ## builds the wheel for Python 3.10 and newer, with the command kmirror in it
	python3 -m pip wheel --no-deps --wheel-dir $(WHEELS) .

test: need-rust need-java need-python need-c need-go lint ## everything that must hold: lints, simulation, mock clusters, real Kafka, bindings, a short bench
	$(CARGO) test $(CARGO_FLAGS) --workspace

lint: need-rust ## formatting, clippy and documentation without warnings
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(CARGO_FLAGS) --workspace --no-deps --document-private-items --quiet

nightly: need-rust need-java need-python need-c ## the long tests: hundreds of kill rounds, twenty minutes of faults, a million simulated histories
	KMIRROR_HISTORIES=1000000 KMIRROR_ENGINE_HISTORIES=100000 $(CARGO) test $(CARGO_FLAGS) --release --lib -- machine simulation
	$(CARGO) test $(CARGO_FLAGS) --release --test it -- --ignored --test-threads=1 --nocapture

# Which part of the changes, for example MUTANTS="--shard 0/8 --sharding round-robin"; all of them take hours.
MUTANTS ?=

mutants: need-rust ## changes the code that decides in every way cargo-mutants knows, and tells what no test notices
	tests/mutants.sh $(MUTANTS)

# What to measure, for example BENCH="--parts sweep --codecs none,zstd"; a wrong option prints them all.
BENCH ?=

bench: need-rust need-java need-python build build-c build-python ## kmirror, also from C and Python, an rdkafka loop, MirrorMaker 2 and a blind relay at the same work, in one run
	$(CARGO) bench $(CARGO_FLAGS) --bench mirror -- $(BENCH)

install: build install-c ## installs the command line and the C library below PREFIX (default /usr/local), staged in DESTDIR
	install -D -m 755 target/release/kmirror $(DESTDIR)$(PREFIX)/bin/kmirror

VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# The library's own name, which changes when the ABI does; the library knows it.
SONAME = $(shell readelf -d $(BUILT)/libkmirror.so | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
FILL = sed -e 's|@VERSION@|$(VERSION)|g' -e 's|@PREFIX@|$(PREFIX)|g' -e 's|@LIBDIR@|$(LIBDIR)|g' \
	-e 's|@INCLUDEDIR@|$(INCLUDEDIR)|g' -e 's|@SONAME@|$(SONAME)|g'

install-c: build-c ## installs the C library only: header, shared and static library, files for pkg-config and CMake
	install -D -m 644 include/kmirror.h $(DESTDIR)$(INCLUDEDIR)/kmirror.h
	install -D -m 755 $(BUILT)/libkmirror.so $(DESTDIR)$(LIBDIR)/libkmirror.so.$(VERSION)
	ln -sf libkmirror.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libkmirror.so
	@# One object whose only names are those of the header: a program may bring a zstd of its own.
	ld -r --whole-archive $(BUILT)/libkmirror.a -o $(DESTDIR)$(LIBDIR)/kmirror.o
	objcopy --wildcard --keep-global-symbol='kmirror_*' -R .llvmbc -R .llvmcmd $(DESTDIR)$(LIBDIR)/kmirror.o
	rm -f $(DESTDIR)$(LIBDIR)/libkmirror.a
	ar rcs $(DESTDIR)$(LIBDIR)/libkmirror.a $(DESTDIR)$(LIBDIR)/kmirror.o
	rm $(DESTDIR)$(LIBDIR)/kmirror.o
	mkdir -p $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(LIBDIR)/cmake/kmirror
	$(FILL) bindings/c/kmirror.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/kmirror.pc
	$(FILL) bindings/c/kmirrorConfig.cmake.in > $(DESTDIR)$(LIBDIR)/cmake/kmirror/kmirrorConfig.cmake
	$(FILL) bindings/c/kmirrorConfigVersion.cmake.in > $(DESTDIR)$(LIBDIR)/cmake/kmirror/kmirrorConfigVersion.cmake

clean: ## removes everything that was built or fetched
	$(CARGO) clean

need-rust:
	@command -v $(CARGO) >/dev/null || { echo "kmirror needs Rust (https://rustup.rs): cargo is not on the PATH" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "kmirror needs a C compiler for librdkafka: on Debian, apt-get install build-essential" >&2; exit 1; }

need-java:
	@command -v java >/dev/null || { echo "the tests start real Kafka brokers and need a JDK 17: on Debian, apt-get install openjdk-17-jdk-headless" >&2; exit 1; }
	@command -v mvn >/dev/null || { echo "the tests fetch Kafka from Maven Central: on Debian, apt-get install maven" >&2; exit 1; }

need-python:
	@python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "the tests of the Python module and of Airflow need Python 3.11 or newer with venv: on Debian, apt-get install python3-venv" >&2; exit 1; }

need-c:
	@for tool in cc c++ cmake pkg-config valgrind; do command -v $$tool >/dev/null || { echo "the tests of the C library need $$tool: on Debian, apt-get install build-essential cmake pkg-config valgrind" >&2; exit 1; }; done

need-go:
	@command -v go >/dev/null || { echo "the tests of the Go package need Go 1.24 or newer: https://go.dev/dl" >&2; exit 1; }
