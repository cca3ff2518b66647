# make demo | test | lint | format | bench | matrix     (needs Python 3.11 - 3.13, nothing else)

PYTHON ?= $(shell for v in python3.13 python3.12 python3.11 python3; do \
	$$v -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$v && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: demo test lint format bench matrix clean

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 - 3.13 found; install one or set PYTHON=" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(PIP) install --editable '.[tensorflow,demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(PIP) install --editable '.[tensorflow,demo,dev]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo  ## the whole story on an example: scan, patch, train, look, revert
	$(BIN)/python examples/demo.py

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not matrix"

lint: $(VENV)/.dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

format: $(VENV)/.dev
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

bench: $(VENV)/.dev  ## ratios, never absolute times: see benchmarks/
	$(BIN)/python -m benchmarks

matrix: | $(BIN)/python  ## the behavioural suite on each TensorFlow generation of tier 1
	$(BIN)/python tests/matrix/run.py $(MATRIX)

clean:
	rm -rf $(VENV) .envs .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
