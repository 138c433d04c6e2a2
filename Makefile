# Two commands: `make demo` and `make test`. Both are safe to repeat; what is installed is not installed again.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
# The first of these that runs and has a supported version; its own path, since a name may be a wrapper.
FIND := import sys; ok = (3, 11) <= sys.version_info < (3, 13); print(sys.executable if ok else "")
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3,$(shell $p -c '$(FIND)' 2>/dev/null)))
STAMP := $(VENV)/.installed
DEMO_OUT := results/demo

.PHONY: help demo test lint setup lock

help:
	@echo "make demo   set up, run every task and model on 24 samples each, show the table"
	@echo "make test   set up, then ruff, mypy and pytest"
	@echo "make lint   ruff and mypy only"
	@echo "make setup  only make .venv and install the packages of requirements.lock"
	@echo "make lock   resolve requirements.lock anew (needs uv)"

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed and was not found; install it or say make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "== setting up $(VENV) with $(PYTHON): the packages of requirements.lock, then this project"
	@if uv --version >/dev/null 2>&1; then \
	  { test -x $(BIN)/python || uv venv --python $(PYTHON) $(VENV); } && \
	  uv pip install --python $(BIN)/python -r requirements.lock && \
	  uv pip install --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else \
	  { test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || \
	    { echo "on Debian the package python3-venv is needed: apt-get install python3-venv"; exit 1; }; } && \
	  $(BIN)/pip install -r requirements.lock && \
	  $(BIN)/pip install --no-deps --no-build-isolation -e .; \
	fi
	@touch $@

demo: setup
	@echo "== running every task and every model of the suite 'scenes' on 24 samples each; results go to $(DEMO_OUT)"
	$(BIN)/editar-bench run --task all --limit 24 --out $(DEMO_OUT)
	@echo "== to open the leaderboard: $(BIN)/editar-bench leaderboard --out $(DEMO_OUT)"

lint: setup
	@echo "== ruff and mypy"
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	@echo "== pytest"
	$(BIN)/python -m pytest

lock:
	{ echo "# Exact versions for Linux, Python 3.11 and 3.12 (both resolve to this list). Made by: make lock"; \
	  uv pip compile pyproject.toml --extra dev --python-version 3.11 \
	  --no-annotate --no-header --quiet; } > requirements.lock.new
	uv pip compile pyproject.toml --extra dev --python-version 3.12 \
	  --no-annotate --no-header --quiet | diff - <(tail -n +2 requirements.lock.new)
	mv requirements.lock.new requirements.lock
