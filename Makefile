# Commands of the project. `make demo` and `make test` need Python 3.11 and make, nothing else.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
BENCH ?= state/bench
INSTALLED := $(VENV)/.installed

.PHONY: install demo test test-all bench lint format lock audit clean

install: $(INSTALLED)

$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: $(INSTALLED)
	$(BIN)/metaclip demo

test: $(INSTALLED)
	$(BIN)/pytest -m "not slow"

test-all: $(INSTALLED)
	$(BIN)/pytest

# The measurements of tests/benchmarks that need no download; some hours on two free cores, 3 GB of disk.
bench: $(INSTALLED)
	mkdir -p $(BENCH)
	$(BIN)/python -m tests.benchmarks.matching rate
	$(BIN)/python -m tests.benchmarks.matching build --folder $(BENCH)
	$(BIN)/python -m tests.benchmarks.matching memory --folder $(BENCH)
	$(BIN)/python -m tests.benchmarks.matching budget --folder $(BENCH)
	$(BIN)/python -m tests.benchmarks.tar rate
	$(BIN)/python -m tests.benchmarks.tar ranges
	$(BIN)/python -m tests.benchmarks.draw
	$(BIN)/python -m tests.benchmarks.curate rate --rounds 5
	$(BIN)/python -m tests.benchmarks.curate memory
	$(BIN)/python -m tests.benchmarks.feed_modes
	$(BIN)/python -m tests.benchmarks.whatif
	$(BIN)/python -m tests.benchmarks.blocklists
	$(BIN)/python -m tests.benchmarks.hashes recall
	$(BIN)/python -m tests.benchmarks.hashes rate
	$(BIN)/python -m tests.benchmarks.hashes cores
	$(BIN)/python -m tests.benchmarks.hashes search
	$(BIN)/python -m tests.benchmarks.card --folder $(BENCH)/card
	$(BIN)/python -m tests.benchmarks.metadata_build
	$(BIN)/python -m tests.benchmarks.wikipedia
	$(BIN)/python -m tests.benchmarks.gradient_cache
	$(BIN)/python -m tests.benchmarks.decode
	$(BIN)/python -m tests.benchmarks.ledger
	$(BIN)/python -m tests.benchmarks.start
	$(BIN)/python -m tests.benchmarks.feed
	$(BIN)/python -m tests.benchmarks.train_step
	$(BIN)/python -m tests.benchmarks.evaluate rate
	$(BIN)/python -m tests.benchmarks.evaluate names
	$(BIN)/python -m tests.benchmarks.sweep

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The tested set. Packages that torch itself pins, one set for each kind of GPU, are left to it.
lock:
	$(PYTHON) -m venv $(VENV).lock
	$(VENV).lock/bin/pip install --quiet --editable ".[dev]"
	$(VENV).lock/bin/pip freeze --exclude-editable | grep -viE '^(nvidia-|cuda-|triton==)' > requirements.lock
	rm -rf $(VENV).lock

# Known vulnerabilities of the tested set, asked of PyPI, and everybody's licence.
audit: $(INSTALLED)
	$(PYTHON) -m venv $(VENV).audit
	$(VENV).audit/bin/pip install --quiet pip-audit pip-licenses
	$(VENV).audit/bin/pip-licenses --python $(BIN)/python --order license
	$(VENV).audit/bin/pip-audit --requirement requirements.lock --no-deps --disable-pip
	rm -rf $(VENV).audit

clean:
	rm -rf $(VENV) $(VENV).* state build dist *.egg-info
