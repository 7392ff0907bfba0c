# Everything here needs only Python 3.11 or newer and make; the virtual environment is made on first use.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
OUT ?= demo

.PHONY: install demo test test-fast check bench docs clean

$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

install: $(VENV)/.installed        ## a virtual environment with everything for development

demo: install                      ## a digital patient through the whole chain, compared with its truth
	$(BIN)/nufitdose demo --out $(OUT)

test: install                      ## all tests
	$(BIN)/python -m pytest

test-fast: install                 ## the tests that take seconds
	$(BIN)/python -m pytest -m 'not slow'

check: install                     ## lint, types, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install                     ## speed against peers, ratios in one run
	$(BIN)/python -m benchmarks

docs: install                      ## regenerate the pictures of docs/phantom.md from digital patients
	$(BIN)/python -m benchmarks.phantom docs/images

clean:
	rm -rf demo dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
