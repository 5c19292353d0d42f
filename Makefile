# `make run` sets up and runs the main study; `make test` sets up, runs ruff and the standard tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
# Without stored bytecode each process compiles all modules again, for 20 s
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-fast test-full test-lowest lint docs

run: $(VENV)/.installed
	$(BIN)/cabench run layer_placement --scale quick --until-resolved --budget 15m

test: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(PYTEST)

test-fast: $(VENV)/.installed
	$(PYTEST) -m "not slow and not full"

test-full: lint docs test-lowest
	$(PYTEST) -m "slow or not slow" --cov

# The quick tests with the oldest allowed version of each dependency, in a separate environment.
test-lowest:
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python scripts/lowest_versions.py > $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/python -m pip install --quiet --disable-pip-version-check \
	    --no-compile --constraint $(VENV)-lowest/constraints.txt --editable '.[dev]'
	$(VENV)-lowest/bin/python -m pytest -n 2 --dist loadfile -m "not slow and not full"

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# Writes the generated pages and builds the site into site/; a warning is an error.
docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	for script in commands diagram keys methods; do $(BIN)/python scripts/docs_$$script.py || exit 1; done
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# Installs again whenever the dependencies change. --no-compile: modules compile when imported.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("cabench needs Python 3.11 or newer; try make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[dev]'
	touch $@
