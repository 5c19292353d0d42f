# Two commands: `make run` sets up and runs the main study; `make test` sets up and tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test lint

run: $(VENV)/.installed
	$(BIN)/cabench run studies/layer_placement.yaml --scale quick

test: $(VENV)/.installed
	$(BIN)/ruff check cabench tests scripts benchmarks
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Made again whenever the dependencies change.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("cabench needs Python 3.11 or newer; try make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
