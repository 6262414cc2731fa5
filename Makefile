# Each target sets up what it needs in .venv, again only when pyproject.toml has changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCHMARKS := frames structuring client_connections deadline memory lateness look shutdown leaks fairness scale peers

.DEFAULT_GOAL := help
.PHONY: help serve test test-long lint bench load docs clean

help: ## Show what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

serve: $(READY) ## Serve gatherings, with their logs in ./squire_gatherings.sqlite3 (ARGS="..." for options)
	@$(BIN)/python -m squire_gatherings serve $(ARGS)

test: $(READY) ## Run the tests (ARGS="..." for pytest)
	@$(BIN)/python -m pytest $(ARGS)

test-long: $(READY) ## Run the random tests with forty times as many examples, half an hour
	@TEST_EXAMPLES_TIMES=40 $(BIN)/python -m pytest $$(grep -rl "max_examples=examples(" tests) $(ARGS)

lint: $(READY) ## Check style, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: $(READY) ## Run the benchmarks, half an hour (BENCHMARKS="memory peers" for some of them)
	@for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done

load: $(READY) ## Put a load on a server of its own, and check all that its clients see (ARGS="--help")
	@$(BIN)/python -m squire_gatherings load $(ARGS)

docs: $(READY) ## Check the docs: links resolve, examples run
	@$(BIN)/python -m pytest -q tests/test_docs.py

clean: ## Remove what the other targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(READY): pyproject.toml
	@$(PYTHON) -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "make: $(PYTHON) must be Python 3.11 or later with venv (or: make PYTHON=python3.x)" >&2; exit 2; }
	@echo "setting up $(VENV) ..." >&2
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' 2>$(VENV)/pip.log \
		|| { cat $(VENV)/pip.log >&2; exit 2; }
	@touch $@
