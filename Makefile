# Two commands are enough: `make demo` and `make test`. Both set up what they need in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test setup lint types imports docs bench mutants wheel clean

demo: setup
	@$(BIN)/reconcile demo

test: setup
	$(BIN)/pytest -n auto

setup: .venv/ready

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[postgres]' --group dev
	@touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

docs: setup
	$(BIN)/python docs/generate.py

bench: setup
	$(BIN)/python -m benchmarks $(ARGS)

mutants: .venv/mutants-ready
	nice -n 19 $(BIN)/python -m benchmarks.mutants $(ARGS)

.venv/mutants-ready: .venv/ready
	$(BIN)/python -m pip install --quiet --group mutants
	@touch $@

wheel: setup
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf .venv dist build
