# make demo | test | lint | format | bench | mutants | matrix | corpus | packages | stock     (needs Python 3.11 - 3.13, nothing else)

PYTHON ?= $(shell for v in python3.13 python3.12 python3.11 python3; do \
	$$v -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$v && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
export TF_CPP_MIN_LOG_LEVEL ?= 3

# Five TensorFlow generations, without adampatch, and the real optimizer classes that run in them.
# CORPUS names the kit that builds both; what it builds is ignored by git.
CORPUS ?= ../shared/corpus
CORPUS_ENVS ?= .corpus-envs
GENERATIONS := tf221 tf215 tf210 tf21 tf115
# Beside the generations: versions between them whose stock optimizers are written otherwise.
STOCK_WHEELS := keras==2.2.4 keras==2.3.1 keras==2.6.0 keras==2.9.0 tensorflow-addons==0.13.0 tensorflow-addons==0.16.1

.PHONY: demo test lint format bench mutants matrix corpus packages stock generations clean

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
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not matrix and not mutants"

lint: $(VENV)/.dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

format: $(VENV)/.dev
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

bench: $(VENV)/.dev  ## ratios, never absolute times: see benchmarks/
	$(BIN)/python -m benchmarks

mutants: $(VENV)/.dev  ## does `verify` work? the kill table, beside fixed tolerances, into .mutants/
	$(BIN)/python -m pytest -q -m mutants tests/mutants
	@# MECHANICAL="kernels stepping sampling ..." mutates these modules of the run time by machine as well
	@test -z "$(MECHANICAL)" || $(BIN)/python tests/mutants/mechanical.py --out .mutants/mechanical.jsonl $(MECHANICAL)
	@# SEEDS=20 asks for false alarms: correct patches of all stock optimizers under as many seeds
	@test -z "$(SEEDS)" || $(BIN)/python tests/mutants/calm.py --seeds $(SEEDS) --out .mutants/seeds.json

matrix: $(VENV)/.dev  ## every feature on every TensorFlow generation, in environments of its own; MATRIX="--tier 1"
	$(BIN)/python tests/matrix/run.py $(MATRIX)

generations:  ## the environments, made once and kept; about 5 GB, needs Python 3.7, 3.10 and 3.11
	@test -x $(CORPUS)/envs.sh || { echo "error: no corpus kit at $(CORPUS); set CORPUS= to its directory" >&2; exit 2; }
	$(CORPUS)/envs.sh $(CORPUS_ENVS) $(GENERATIONS) || echo "goes on with the environments that are there" >&2

corpus: $(VENV)/.dev generations  ## patch real optimizers, run them stock and patched, print the scoreboard
	@# with that environment's own pip: the newest refuses packages whose metadata name direct URLs
	$(CORPUS_ENVS)/tf221/bin/python $(CORPUS)/build.py --root .corpus --envs $(CORPUS_ENVS) --deps .corpus-deps \
		|| echo "goes on with the packages that are there" >&2
	$(BIN)/python $(CORPUS)/score.py --rates --root .corpus --envs $(CORPUS_ENVS) --deps .corpus-deps \
		--adampatch "$(BIN)/python -m adampatch" $(SCORE)

packages: $(VENV)/.dev  ## patch whole published packages and take it back; what is not to be had is said
	@# with an environment's own pip, where there is one: the newest refuses some metadata
	@pip=$(CORPUS_ENVS)/tf221/bin/python; test -x $$pip || pip=$(BIN)/python; \
		$(BIN)/python tests/matrix/packages.py .corpus-packages $$pip || echo "goes on with the packages that are there" >&2
	ADAMPATCH_PACKAGES=$(CURDIR)/.corpus-packages $(BIN)/python -m pytest -n 2 --dist loadscope -m matrix tests/matrix/test_packages.py

stock: $(VENV)/.dev generations  ## the table of edits of stock optimizers, anew from the generations
	@for wheel in $(STOCK_WHEELS); do $(PIP) download --no-deps --only-binary :all: --dest .corpus-stock \
		--python-version 3.9 --platform manylinux2010_x86_64 --platform manylinux2014_x86_64 --platform any $$wheel || exit 1; done
	$(BIN)/python -m adampatch.project.stock $(addprefix $(CORPUS_ENVS)/,$(GENERATIONS)) .corpus-stock/*.whl

clean:
	rm -rf $(VENV) .envs .corpus .corpus-envs .corpus-deps .corpus-stock .corpus-packages .demo .mutants .pytest_cache .mypy_cache .ruff_cache .hypothesis
