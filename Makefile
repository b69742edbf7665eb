# The commands: `make search`, `make serve` and `make test`. All make .venv where there is none.
PYTHON ?= python3
BIN := .venv/bin
# Test processes: one more than two cores, since many tests wait for processes of their own; each computes with one thread.
# Files run in the order of tests/conftest.py: in that of their sizes, those of few and slow tests, which wait most, come
# last. Bytecode is kept, whatever the environment says: hundreds of processes would compile every module anew.
JOBS ?= 3

.PHONY: search serve test lint install clean

search: .venv/installed
	$(BIN)/paredown search

serve: .venv/served
	$(BIN)/paredown serve

test: .venv/tested
	$(MAKE) lint
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

lint: .venv/tested
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: .venv/installed

.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/served: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[service]'
	touch $@

.venv/tested: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch .venv/installed $@

clean:
	rm -rf .venv build dist *.egg-info
