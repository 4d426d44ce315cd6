# make demo: compare every rule on the embedded digits.   make test: tests, lint and types.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint mutants bench clean

demo: $(STAMP)
	$(BIN)/altprop compare --threads 1

test: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal
	$(BIN)/python tests/mutate.py --jobs 2

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check altprop tests benchmarks examples
	$(BIN)/mypy

mutants: $(STAMP)
	$(BIN)/python tests/mutate.py --jobs 2

bench: $(STAMP)
	$(BIN)/altprop bench
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/loop.py
	$(BIN)/python benchmarks/hebbian.py
	$(BIN)/python benchmarks/start.py
	$(BIN)/python benchmarks/threads.py
	$(BIN)/python benchmarks/precision.py
	$(BIN)/python benchmarks/population.py

# Installed once; again only when what is to be installed has changed.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) runs build dist .pytest_cache .mypy_cache .ruff_cache
