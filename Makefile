# Two commands are enough: `make demo` and `make test`. Both set up what they need in .venv.
PYTHON ?= python3
BIN := .venv/bin
MINUTES ?= 10
# Two for each processor: many tests wait for a server, a lock or a signal.
WORKERS := $(shell $(PYTHON) -c 'import os; print(2 * (os.cpu_count() or 1))')

# Tests start hundreds of processes: what Python compiles is kept, also in a container that has this switched off.
export PYTHONDONTWRITEBYTECODE :=

# What is never imported is never compiled. One pip installs into all environments.
INSTALL := -m pip install --quiet --no-compile
INTO = $(BIN)/python -m pip --python $(@D)/bin/python install --quiet --no-compile

.PHONY: demo test test-fast test-random test-newest test-lowest test-warehouses test-orchestrators test-image setup environments lock lint types imports docs screenshot bench mutants wheel clean

demo: setup
	@$(BIN)/reconcile demo

test: setup
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

# The first answer: the unit tests that start no server and are not slow.
test-fast: setup
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -q -m "not server and not slow" tests/unit

# Draws anew, again and again, until the minutes are over; stops at the first find.
test-random: setup
	@end=$$(( $$(date +%s) + 60 * $(MINUTES) )); while [ $$(date +%s) -lt $$end ]; do \
	  $(BIN)/pytest -n $(WORKERS) --dist worksteal -q -m hypothesis --hypothesis-profile=random || exit 1; done

# The tests that start no PostgreSQL, on the newest and on the lowest versions that pyproject.toml allows.
test-newest:
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/python $(INSTALL) --upgrade 'pip>=25.1'
	.venv-newest/bin/python $(INSTALL) --editable '.[postgres]' --group dev
	.venv-newest/bin/pytest -n $(WORKERS) --dist worksteal -m "not server"

test-lowest: .venv-lowest/ready
	.venv-lowest/bin/pytest -n $(WORKERS) --dist worksteal -m "not server"

# The real drivers against real databases (tests/warehouses); what can't be had here fails, by its name.
WAREHOUSES := .venv-warehouses .venv-spark
EMULATORS := .venv-snowflake .venv-bigquery

test-warehouses: $(WAREHOUSES:%=%/ready) $(EMULATORS:%=%/ready)
	.ci/packages
	@failed=; for venv in $(WAREHOUSES); do \
	  $$venv/bin/pytest -n $(WORKERS) --dist loadgroup tests/warehouses || failed="$$failed $$venv"; done; test -z "$$failed"

# A real dbt project, and the examples for orchestrators in them (tests/orchestrators), each in an environment of its own.
ORCHESTRATORS := dbt dagster airflow

test-orchestrators: $(ORCHESTRATORS:%=.venv-%/ready)
	@failed=; for name in $(ORCHESTRATORS); do \
	  .venv-$$name/bin/pytest -q tests/orchestrators/test_$$name.py || failed="$$failed $$name"; done; test -z "$$failed"

# The container image, where it can be built; elsewhere it says what was not done.
test-image:
	.ci/image

setup: .venv/ready

.venv/ready: requirements/dev.lock pyproject.toml
.venv-lowest/ready: requirements/lowest.lock pyproject.toml
$(WAREHOUSES:%=%/ready) $(ORCHESTRATORS:%=.venv-%/ready): .venv-%/ready: requirements/%.lock pyproject.toml

# A lock is complete. To pip a name with extras, and without, are two, and it misses the one that is not in there.
$(ORCHESTRATORS:%=.venv-%/ready): COMPLETE := --no-deps

.venv/ready:
	$(PYTHON) -m venv .venv
	$(BIN)/python $(INSTALL) --require-hashes --requirement $<
	$(BIN)/python $(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

.venv-lowest/ready $(WAREHOUSES:%=%/ready) $(ORCHESTRATORS:%=.venv-%/ready): | .venv/ready
	$(PYTHON) -m venv --without-pip $(@D)
	$(INTO) $(COMPLETE) --require-hashes --requirement $<
	$(INTO) --no-deps --no-build-isolation --editable .
	@touch $@

$(EMULATORS:%=%/ready): .venv-%/ready: requirements/%.lock | .venv/ready
	$(PYTHON) -m venv --without-pip $(@D)
	$(INTO) --require-hashes --requirement $<
	@touch $@

# All that the tests of `.ci/run` need, which `make -j` makes side by side.
environments: setup .venv-lowest/ready $(WAREHOUSES:%=%/ready) $(EMULATORS:%=%/ready) $(ORCHESTRATORS:%=.venv-%/ready)

# Writes requirements/*.lock anew: the newest versions of what `make` installs, of what a user needs, and the lowest.
COMPILE = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
  --custom-compile-command 'make lock'
LOCK = $(COMPILE) pyproject.toml

lock: setup
	$(BIN)/python -m pip install --quiet 'uv>=0.9,<1'
	$(LOCK) --extra postgres --output-file requirements/runtime.lock
	$(LOCK) --extra postgres --group dev --output-file requirements/dev.lock
	$(LOCK) --extra postgres --extra mysql --extra redshift --extra clickhouse --extra snowflake --extra bigquery \
	  --extra databricks --extra spark --group dev --group warehouses --output-file requirements/warehouses.lock
	$(LOCK) --extra postgres --group dev --group spark --output-file requirements/spark.lock
	for name in $(ORCHESTRATORS); do $(LOCK) --no-strip-extras --group tests --group $$name --output-file requirements/$$name.lock; done
	$(COMPILE) --group fakesnow --output-file requirements/snowflake.lock
	$(COMPILE) --group bqemulator --output-file requirements/bigquery.lock
	$(LOCK) --extra postgres --resolution lowest-direct --output-file $(BIN)/lowest.txt
	$(LOCK) --extra postgres --group dev --constraint $(BIN)/lowest.txt --output-file requirements/lowest.lock

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

docs: setup
	$(BIN)/python docs/generate.py

screenshot: setup
	$(BIN)/python docs/screenshot.py

bench: setup
	$(BIN)/python -m benchmarks $(ARGS)

mutants: .venv/mutants-ready
	nice -n 19 $(BIN)/mutmut run $(ARGS)
	$(BIN)/mutmut results

.venv/mutants-ready: .venv/ready
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group mutants
	@touch $@

wheel: setup
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean:
	rm -rf .venv .venv-newest .venv-lowest $(WAREHOUSES) $(EMULATORS) $(ORCHESTRATORS:%=.venv-%) dist build
