# Every target depends on `setup`, which makes .venv from the lock file and does nothing when that is unchanged.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed-from-$(shell (cat requirements.lock pyproject.toml Makefile; $(PYTHON) --version) 2>/dev/null | cksum | cut -d' ' -f1)

.PHONY: setup demo up test check prose bench bench-peers dist docs lock

setup: $(STAMP)

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "sagahold needs Python 3.11 or newer: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	@$(BIN)/sagahold demo

up: setup
	@$(BIN)/sagahold up

# The tests of a file share one stack. Three processes run them, because most of the time is spent waiting. SIGALRM ends a
# test that takes too long. A process that dies is not replaced, because xdist would repeat its test.
test: setup
	@$(BIN)/python -m tests.browser.install
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --timeout-method signal --max-worker-restart 0 --cov --cov-report=
	$(BIN)/python lint/coverage_floors.py

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file sdk/python/pyproject.toml sdk/python/src
	PYTHONPATH=sdk/python/src $(BIN)/lint-imports
	$(BIN)/python -m migrations.drift
	$(BIN)/codespell
	$(BIN)/python lint/prose.py

# The house style in some files: make prose PATHS="README.md docs".
PATHS ?=
prose: setup
	$(BIN)/codespell $(PATHS)
	$(BIN)/python lint/prose.py $(PATHS)

bench: setup
	$(BIN)/python -m bench

# Beside Restate, LangGraph and DBOS, which are installed into .bench-peers: needs npm and the network the first time.
bench-peers: setup
	$(BIN)/python -m bench.peers

# The wheels of the Python SDK and of the server. Where npm is, also the TypeScript SDK as a tarball, which
# `npm install ./dist/sagahold-client-*.tgz` installs.
dist: setup
	$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist sdk/python
	$(BIN)/uv build --quiet --wheel --no-build-isolation --python $(BIN)/python --out-dir dist .
	@if command -v npm >/dev/null; then cd sdk/js && npm ci --silent --ignore-scripts && npm pack --silent --pack-destination ../../dist; else echo "There is no npm, so dist/ has no package for TypeScript."; fi

# The docs as a site in app/guide/site, which the server shows at /docs/guide and a wheel carries. Needs no network.
docs: setup
	$(BIN)/python -m docsite.build

# After a change of the dependencies in pyproject.toml: write new pins and hashes, with the newest versions that fit.
lock: setup
	$(BIN)/uv pip compile --quiet --custom-compile-command 'make lock' --universal --python-version 3.11 --generate-hashes --all-extras --upgrade --no-emit-index-url pyproject.toml -o requirements.lock
