# Each target sets up in .venv what it needs and isn't there yet: `serve` the package with what it
# needs at run time, the others an extra of pyproject.toml on top. When pyproject.toml has changed,
# .venv is made anew.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCHMARKS := frames structuring tokens client_connections deadline memory lateness returning look shutdown leaks fairness scale peers overload presence nodes
LOWEST := .venv-lowest
SITE := build/docs
DOCS_TESTS := tests/docs tests/test_docs.py tests/test_promises.py tests/test_protocol_doc.py tests/test_logs_doc.py

# Tests start many processes: each would compile the whole package again without Python's caches.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help serve example test test-long test-lowest fuzz mutants schedules nemesis lint bench load docs audit changelog clean

help: ## Show what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

serve: $(READY) ## Serve gatherings, with their logs in ./squire_gatherings.sqlite3 (ARGS="..." for options)
	@$(BIN)/python -m squire_gatherings serve $(ARGS)

# Each processor gets a share of the tests, in their order; who is done takes some of another's.
SHARED := -n auto --dist worksteal

test: $(READY)-dev ## Run the tests (ARGS="..." for pytest)
	@$(BIN)/python -m pytest $(SHARED) $(ARGS)

test-long: $(READY)-dev ## Run the random tests with forty times as many examples, an hour
	@TEST_EXAMPLES_TIMES=40 $(BIN)/python -m pytest $(SHARED) $$(grep -rlE --include="test_*.py" "([=(.]|else )examples\(" tests) $(ARGS)

test-lowest: $(LOWEST)/.ready ## Run the tests with the lowest versions of all that pyproject.toml allows
	@$(LOWEST)/bin/python -m pytest $(SHARED) $(ARGS)

fuzz: $(READY)-fuzz ## Search for inputs that break what takes them, ten minutes, or a night (ARGS="--night")
	@$(BIN)/python -m tests.fuzz $(ARGS)

mutants: $(READY)-dev ## Put faults into the code that others have made, and see that the tests find each (ARGS="WORD" for some)
	@$(BIN)/python -m tests.mutants $(ARGS)

nemesis: $(READY)-dev ## Do to three nodes and their database what may happen to them, an hour (ARGS="--minutes 10 --seed 7")
	@$(BIN)/python -m tests.nemesis $(ARGS)

schedules: $(READY)-dev ## Tell small stories in every order of events and tasks, and at random (ARGS="--count N")
	@$(BIN)/python -m tests.schedules $(ARGS)

model: $(READY)-dev ## Check all states of the model: several nodes, their gatherings and clients
	@$(BIN)/python -m tests.model $(ARGS)

lint: $(READY)-dev $(READY)-bench $(READY)-docs ## Check style, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

EXAMPLE ?= swiss_night

example: $(READY)-example ## Start Swiss night, a tournament with a page for phones (EXAMPLE=chat for a chat with presence)
	@$(BIN)/python -m examples.$(EXAMPLE) $(ARGS)

bench: $(READY)-dev $(READY)-bench ## Run the benchmarks, half an hour (BENCHMARKS="memory peers" for some of them)
	@for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done

load: $(READY)-load ## Put a load on a server of its own, and check all that its clients see (ARGS="--help")
	@$(BIN)/python -m squire_gatherings load $(ARGS)

docs: $(READY)-dev $(READY)-docs ## Make the site of the docs in build/docs, and run their examples (ARGS="--links" tries other sites, too)
	@$(BIN)/python -m sphinx -qEW --keep-going docs $(SITE)
	@$(BIN)/python -m pytest -q $(DOCS_TESTS)
	@$(if $(findstring --links,$(ARGS)),$(BIN)/python -m sphinx -qE -b linkcheck docs build/links)
	@echo "$(SITE)/index.html"

audit: $(READY)-dev $(READY)-audit ## Ask the database of advisories about all that is installed here
	@$(BIN)/python -m tests.supply_chain.audit

changelog: $(READY)-dev ## Show what the next release's part of CHANGELOG.md will be (docs/changes)
	@$(BIN)/towncrier build --draft

clean: ## Remove what the other targets made
	rm -rf $(VENV) $(LOWEST) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz

# The stamps are the last thing that is made, so an interrupted set-up is made again.

check_python = $(PYTHON) -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	|| { echo "make: $(PYTHON) must be Python 3.11 or later with venv (or: make PYTHON=python3.x)" >&2; exit 2; }

# $(call install,VENV,TOOL,WHAT): what pip says is shown only when it fails.
install = $(1)/bin/python -m $(2) --quiet $(3) 2>$(1)/install.log || { cat $(1)/install.log >&2; exit 2; }

PIP := pip install --disable-pip-version-check

$(READY): pyproject.toml
	@$(check_python)
	@echo "setting up $(VENV) ..." >&2
	@$(PYTHON) -m venv --clear $(VENV)
	@$(call install,$(VENV),$(PIP),--editable .)
	@touch $@

$(READY)-%: $(READY)
	@echo "adding to $(VENV) what $* needs ..." >&2
	@$(call install,$(VENV),$(PIP),--editable '.[$*]')
	@touch $@

$(LOWEST)/.ready: pyproject.toml
	@$(check_python)
	@echo "setting up $(LOWEST) ..." >&2
	@$(PYTHON) -m venv --clear $(LOWEST)
	@$(call install,$(LOWEST),$(PIP),uv)
	@$(call install,$(LOWEST),uv pip install --python $(LOWEST)/bin/python,--resolution lowest-direct --editable '.[dev]')
	@touch $@
