# Targets explain themselves: `make` lists them.
PYTHON ?= python3
BIN = .venv/bin

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## / \t/' | expand -t 14

.venv: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -e '.[test,lint]'
	touch .venv

test: .venv  ## run the tests
	$(BIN)/pytest

lint: .venv  ## check style, types and the direction of imports
	$(BIN)/ruff check . && $(BIN)/ruff format --check src tests && $(BIN)/mypy && $(BIN)/lint-imports

format: .venv  ## format the code
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format src tests

oracle: .venv  ## make the oracle's data again from torch and transformers (minutes)
	$(BIN)/pip install --quiet torch==2.13.0 && $(BIN)/pip install --quiet -e '.[oracle]'
	$(BIN)/python scripts/make_oracle.py all

docs: .venv  ## generate the generated pages (coverage, command line, accuracy)
	$(BIN)/python scripts/make_docs.py

bench: .venv  ## print how long the usual answers take
	$(BIN)/python scripts/benchmark.py

page: .venv node_modules  ## build the static page into dist/page (needs node)
	$(BIN)/python scripts/build_page.py

node_modules: package-lock.json
	npm ci
	touch node_modules

.PHONY: help test lint format oracle docs bench page
