# The chores of Plata. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export UV_FIND_LINKS
ifeq ($(UV_FIND_LINKS),)
# No folder of wheels offers a CPU build of torch, so ask uv for one: the plain build brings CUDA.
export UV_TORCH_BACKEND ?= cpu
endif
# Compiled modules are kept: without them every command takes twice as long to begin.
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
READY := $(VENV)/.ready

.PHONY: help setup demo demo-real test stress check contracts format up down notebook bench bench-lakehouse lock clean

help: ## list the chores
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: $(READY) ## make the environment (.venv) from the lock

$(UV):
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 was not found; install it, or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; v = sys.version_info; sys.exit(0 if v[:2] == (3, 11) else f"error: {sys.executable} is Python {v[0]}.{v[1]}, Plata needs 3.11; name one: make setup PYTHON=/path/to/python3.11")'
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -E '^uv==' requirements.lock)"

$(READY): requirements.lock pyproject.toml | $(UV)
	@echo "Installing the locked environment into $(VENV) …"
	$(UV) pip sync --quiet --python $(BIN)/python requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: setup ## set up, start every service, take the bundled corpus from Raw to Gold
	$(BIN)/plata demo

demo-real: setup ## the same with the real data sets, read from ../shared/data or PLATA_DATA
	$(BIN)/plata demo --real "$${PLATA_DATA:-../shared/data}"

test: setup ## every test, with the real services started and stopped by the tests
	$(BIN)/python -m pytest -q -m "service and not stress"
	$(BIN)/python -m pytest -q -m "not service and not stress" -n logical --maxprocesses 4 --dist loadfile

stress: setup ## the tests that hold at length: many writers, many kills, long walks of the models
	$(BIN)/python -m pytest -q -m stress --timeout 7200

check: setup ## lint, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

contracts: setup ## record the contracts' released forms and write docs/contracts.md
	$(BIN)/python -m contracts.release

format: setup ## put the code in house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

up: setup ## start the services and leave them up
	$(BIN)/plata up

down: setup ## stop the services
	$(BIN)/plata down

notebook: setup ## start the services, run docs/notebooks again and keep what it prints
	$(BIN)/plata up
	$(BIN)/python docs/notebooks/execute.py

bench: setup ## measure rows a second per layer against a naive script, in one run
	$(BIN)/python -m benchmarks.end_to_end

bench-lakehouse: setup ## measure events a second from Raw to Gold against plain Python, in one run
	$(BIN)/python -m benchmarks.lakehouse

lock: | $(UV) ## compile requirements.lock from pyproject.toml
	$(UV) pip compile --quiet --upgrade-package torch pyproject.toml --group dev --python-version 3.11 --no-header --no-emit-find-links --no-emit-index-url -o requirements.lock
	sed -i -E 's/^(torch==[0-9.]+)\+cpu/\1/' requirements.lock

clean: ## remove the environment and the state folder (asks nothing: the demo's data go too)
	-$(BIN)/plata down
	rm -rf $(VENV) .venv-argilla .plata
