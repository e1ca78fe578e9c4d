# Works from a bare clone with python3.11+, pip and make. `make` alone lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
UV := .tools/bin/uv
BIN := .venv/bin
LOCK_FLAGS := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet
CODE := $(wildcard shared services muster tests migrations benchmarks examples)

# The stamps say what is installed: `dev` holds everything, so where it stands `run` asks for nothing more
# (and never takes the dev dependencies away again).
DEV := .venv/.dev-installed
RUN := $(if $(wildcard $(DEV)),$(DEV),.venv/.run-installed)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: $(RUN) ## Set up what is missing and run everything: PostgreSQL, NATS, both services, the worked example
	@exec $(BIN)/muster up $(ARGS)

.PHONY: setup
setup: $(DEV) ## Prepare .venv for development

.PHONY: test
test: $(DEV) ## Run the tests (ARGS='-k name' to choose); `make failure` and `make slow` run the others
	@$(BIN)/python -m pytest -m "not failure and not slow" $(ARGS)

.PHONY: slow
slow: $(DEV) ## The tests in a browser (Debian's chromium)
	@$(BIN)/python -m pytest -m slow $(ARGS)

.PHONY: failure
failure: $(DEV) ## Kill, cut, fill and freeze what can be, and see that nothing is lost (some minutes)
	@$(BIN)/python -m pytest -m failure $(ARGS)

.PHONY: bench
bench: $(DEV) ## Measure our speeds beside others' in one run (needs wrk); BENCH_ROUNDS and BENCH_SECONDS shorten it
	@$(BIN)/python benchmarks/bench.py

.PHONY: growth
growth: $(DEV) ## Measure one ledger as it grows, and draw it (needs wrk; SIZES=10000,100000,1000000)
	@$(BIN)/python benchmarks/growth.py $(if $(SIZES),--sizes $(SIZES)) $(ARGS)

.PHONY: steady
steady: $(DEV) ## Hold a steady load, and watch the memory of every process (MINUTES=30)
	@$(BIN)/python benchmarks/steady.py $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

.PHONY: mutants
mutants: $(DEV) ## Take out one safeguard at a time, and see its test go red (ARGS='lock' to choose)
	@$(BIN)/python tests/mutants.py $(ARGS)

.PHONY: check
check: $(DEV) ## Lint, formatting, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: fmt
fmt: $(DEV) ## Format, and repair what can be repaired
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: lock
lock: $(UV) ## Compile requirements/*.lock from pyproject.toml (ARGS=--upgrade for the newest)
	@mkdir -p requirements
	$(UV) pip compile pyproject.toml --extra projections --extra runner $(LOCK_FLAGS) $(ARGS) -o requirements/run.lock
	$(UV) pip compile pyproject.toml -c requirements/run.lock $(LOCK_FLAGS) -o requirements/commitments.lock
	$(UV) pip compile pyproject.toml --extra projections -c requirements/run.lock $(LOCK_FLAGS) -o requirements/projections.lock
	$(UV) pip compile pyproject.toml --all-extras -c requirements/run.lock --no-annotate $(LOCK_FLAGS) $(ARGS) -o requirements/dev.lock

.PHONY: soak
soak: $(DEV) ## The failure tests, longer and again and again (ARGS='--rounds 10')
	@$(BIN)/python benchmarks/soak.py $(ARGS)

.PHONY: clean
clean: ## Remove what make installed; the data in .muster/ stays
	rm -rf .venv .tools

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "muster needs Python 3.11 or newer")'
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .tools --upgrade uv
	@touch $@

.venv/bin/python: | $(UV)
	@$(UV) venv --quiet --relocatable --allow-existing --python $(PYTHON) .venv

# The three packages of the project are on the path through a relative .pth file, and `muster` is a two-line
# script that looks beside itself: nothing in .venv knows where the folder stands, so it may be moved.
define INSTALL
@$(UV) pip sync --quiet --require-hashes --python .venv/bin/python $(1)
@$(BIN)/python -c 'import os, sysconfig; p = sysconfig.get_path("purelib"); \
	open(p + "/muster-here.pth", "w").write(os.path.relpath(".", p) + "\n")'
@printf '%s\n' '#!/bin/sh' 'exec "$$(dirname -- "$$(readlink -f -- "$$0")")/python" -m muster "$$@"' > $(BIN)/muster
@chmod +x $(BIN)/muster
@touch $@
endef

$(DEV): requirements/dev.lock Makefile | .venv/bin/python
	$(call INSTALL,requirements/dev.lock)

.venv/.run-installed: requirements/run.lock Makefile | .venv/bin/python
	$(call INSTALL,requirements/run.lock)
