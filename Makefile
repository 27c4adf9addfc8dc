# Every target works on a fresh checkout: what it needs beyond Python, pip and (for the native backend) cargo goes
# into .venv, and stamps in there keep repeated runs quick. `make help` lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules
export PIP_DISABLE_PIP_VERSION_CHECK := 1

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)/python

# native where there is a cargo, else pure: then the suite runs on the pure backend alone, and says so.
KIND := $(if $(shell command -v cargo 2>/dev/null),native,pure)
TOOLS := $(VENV)/.tools
BUILT := $(VENV)/.built-$(KIND)
SOURCES := Cargo.toml Cargo.lock pyproject.toml tools/build_backend.py $(shell find rust -name '*.rs' -o -name Cargo.toml)
# Cargo and maturin look at the same interpreter, so that neither makes the other compile anew.
export PYO3_PYTHON := $(abspath $(PY))

# The flags of the bundled SQLite, the same as in a build by pip.
ifeq ($(shell uname -s),Linux)
export LIBSQLITE3_FLAGS := $(shell sed -n 's/^SQLITE_FLAGS = "\(.*\)"$$/\1/p' tools/build_backend.py)
endif

PROOFS := prove-kills prove-power prove-failures prove-zombies prove-processes prove-interrupts prove-full \
    prove-tampering prove-hostile prove-stores

.PHONY: help run test test-rust test-here test-others check check-spec check-ruff check-types check-stub check-rust \
        check-house $(PROOFS) bench bench-quick bench-stores bench-runtime bench-peers bench-report bench-run spec format \
        native build wheels pythons clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

run: build ## the main job: take stock of the standard library, one step per file; goes on where it was killed
	$(PY) -m stepwell run examples/stdlib_census.py

test: test-rust test-here test-others ## everything: the domain crate, then the suite on every CPython found here

test-rust: build
ifeq ($(KIND),native)
	cargo test --locked -p stepwell-core -p stepwell-store
endif

test-here: build
	@$(call say_kind)
	STEPWELL_TEST_BACKENDS=$(BACKENDS) $(PY) -m pytest

test-others: build
	STEPWELL_TEST_BACKENDS=$(BACKENDS) $(PY) tools/pythons.py test $(KIND)

check: check-spec check-ruff check-types check-stub check-rust check-house ## formatters, linters, types, stub, house rules

check-spec: $(TOOLS)
	$(PY) spec/generate.py --check
	$(PY) tools/native_stub.py --check

check-ruff: $(TOOLS)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

check-types: build
	$(PY) -m mypy
	$(PY) -m pyright --warnings

check-stub: build
ifeq ($(KIND),native)
	test -f python/stepwell/_native.pyi
	$(PY) -m mypy.stubtest stepwell._native --mypy-config-file pyproject.toml
endif

check-rust: $(TOOLS)
ifeq ($(KIND),native)
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
endif

check-house: build
	@$(call say_kind)
	STEPWELL_TEST_BACKENDS=$(BACKENDS) $(PY) -m pytest -q tests/house --ignore tests/house/test_wheels.py

# The full editions; `make test` has a small one of each. ARGS="--count 500 --backend pure" makes another.
$(PROOFS): build
	@$(call say_kind)
	PYTHONPATH=tests STEPWELL_TEST_BACKENDS=$(BACKENDS) $(PY) -m proofs.$(subst stores,sequences,$(@:prove-%=%)) $(ARGS)

prove-kills: ## 10,000 processes killed at random moments; nothing acknowledged is lost, nothing recorded runs again
prove-zombies: ## 500 writers stopped, taken over from, and continued; nothing of theirs is accepted any more
prove-processes: ## 8 processes on one file for a minute, one stopped now and then; nobody sees an error
prove-interrupts: ## 10,000 waits interrupted, 10,000 cancelled; each is resolved by asking again, and done once
prove-power: ## power lost after every system call of a writer, 200,000 images of what the disk may hold; needs strace
prove-failures: ## the n-th system call of a store fails, for every n; right outcome, no hang; needs strace
prove-full: ## a disk that is full and then is not, 100 times; needs util-linux, and root or user namespaces
prove-tampering: ## every byte of a small store is changed: `verify` finds it, or it changes no answer
prove-hostile: ## made-up and broken stores, exports and journals through every reader, for hours
prove-stores: ## 50,000 random sequences of requests to each store; they answer the same

bench: bench-run ## native, pure and hand-written in one run, as ratios with their targets; fails where one is missed
	$(PY) benches/ratios.py --check $(VENV)/bench.json
	$(PY) benches/stores.py --check
	$(PY) benches/runtime.py --check

bench-quick: build ## the short edition, a few seconds, as `make test` has it
	$(PY) benches/quick.py

bench-stores: build ## the SQLite store beside raw sqlite3 on this disk, some minutes
	$(PY) benches/stores.py --check

bench-runtime: build ## the runtime beside raw sqlite3 and bare asyncio on this disk, some minutes
	$(PY) benches/runtime.py --check

bench-peers: build ## the same work by other libraries, each in an environment made for it; writes their table to docs/
	$(PY) benches/peers/run.py --json docs/figures/peers.json
	$(PY) benches/report.py

bench-report: bench-run ## the long one again, written to docs/: numbers, tables and plot
	$(PY) benches/ratios.py --json docs/figures/bench.json $(VENV)/bench.json
	$(PY) benches/stores.py --json docs/figures/stores.json
	$(PY) benches/runtime.py --json docs/figures/runtime.json
	$(PY) benches/report.py

bench-run: build
	$(PY) -m pytest -q benches --benchmark-only --benchmark-json=$(VENV)/bench.json
ifeq ($(KIND),native)
	cargo bench --locked -p stepwell-benches
endif

spec: $(TOOLS) ## write the generated tables of both backends from spec/*.toml
	$(PY) spec/generate.py
	$(PY) tools/native_stub.py

format: $(TOOLS) ## let the formatters write
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .
	cargo fmt --all

native: ## build the release extension in place, for `import stepwell` in .venv
	@test $(KIND) = native || { echo "make native: no cargo on the PATH; https://rustup.rs installs one" >&2; exit 1; }
	$(MAKE) --no-print-directory build

build: $(BUILT)

wheels: $(TOOLS) ## dist/: the sdist, and from it the native and the pure wheel
	rm -rf dist
	$(PY) -m build --sdist --outdir dist .
	$(PY) -m pip wheel -q --no-deps -w dist dist/stepwell-*.tar.gz
	STEPWELL_PURE=1 $(PY) -m pip wheel -q --no-deps -w dist dist/stepwell-*.tar.gz
	ls dist

pythons: $(TOOLS) ## which CPythons the suite runs on
	$(PY) tools/pythons.py

clean: ## remove what was built and installed here
	rm -rf $(VENV) .venvs target dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	rm -f python/stepwell/_native*.so python/stepwell/_native*.pyd
	find python spec tests tools -name __pycache__ -prune -exec rm -rf {} +

$(TOOLS): tools/requirements-dev.txt tools/requirements-test.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "stepwell needs Python 3.11 or newer; PYTHON=… names another than $(PYTHON)" >&2; exit 1; }
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q -r tools/requirements-dev.txt
	touch $@

$(VENV)/.built-native: $(TOOLS) $(SOURCES)
	rm -f $(VENV)/.built-pure
	STEPWELL_PURE=0 $(PY) -m pip install -q --no-build-isolation --no-deps -e .
	touch $@

$(VENV)/.built-pure: $(TOOLS) pyproject.toml tools/build_backend.py
	rm -f $(VENV)/.built-native python/stepwell/_native*.so python/stepwell/_native*.pyd
	STEPWELL_PURE=1 $(PY) -m pip install -q --no-build-isolation --no-deps -e .
	touch $@

ifeq ($(KIND),native)
BACKENDS := native,pure
say_kind = echo "backends under test: native and pure"
else
BACKENDS := pure
say_kind = printf '%s\n' "" \
    "!!! no cargo on the PATH: only the PURE backend is built and tested, the Rust one is not looked at" ""
endif
