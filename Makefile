# `make demo` and `make test` work on a fresh clone: each creates .venv when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
HOME_DIR ?= .demo
DEMO_MODEL ?= smollm2-135m
# Small enough for two CPU cores and a few minutes: `secateur prune` alone reads more text and tries more candidates.
DEMO_FLAGS ?= --candidates 8 --windows 6
DEMO_SETTINGS := SECATEUR_SEARCH_WINDOWS=3 SECATEUR_TEST_WINDOWS=6 SECATEUR_FINALISTS=1

.PHONY: demo test lint clean

demo: $(VENV)/.installed
	$(DEMO_SETTINGS) $(BIN)/secateur prune $(DEMO_MODEL) --sparsity 0.5 --home $(HOME_DIR) $(DEMO_FLAGS)

test: lint
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# The stamps hang on pyproject.toml: what it asks for is installed again when it changes.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[test]'
	touch $(VENV)/.installed $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info
