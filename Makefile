# Everything here needs only Python 3.11 or newer and make; the virtual environment is made on first use.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
OUT ?= demo
SECONDS ?= 3600

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all test-fast coverage check lint types imports format bench bench-registration docs docs-pictures \
        audit fuzz release clean

help:                              ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-19s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

install: $(VENV)/.installed        ## a virtual environment with everything for development

demo: install                      ## a digital patient through the whole chain, compared with its truth
	$(BIN)/nufitdose demo --out $(OUT)

test: install                      ## the tests, side by side
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not long' --numprocesses auto --maxprocesses 4 --dist worksteal

test-all: install                  ## these and the few of a minute each that repeat what others show on more
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

test-fast: install                 ## the tests that take seconds
	$(BIN)/python -m pytest -m 'not slow'

coverage: install                  ## lines that the fast tests reach (compiled loops are not seen); a report, no bound
	$(BIN)/python -m pytest -m 'not slow' --cov --cov-report=term:skip-covered

check: lint types imports          ## lint, types, import directions

lint: install                      ## ruff: rules and format; hadolint: the Containerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	test ! -x $(BIN)/hadolint || $(BIN)/hadolint Containerfile

types: install                     ## mypy
	$(BIN)/mypy

imports: install                   ## import-linter: no import climbs
	$(BIN)/lint-imports

format: install                    ## imports sorted and code formatted, in place
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

audit: install                     ## known vulnerabilities of what is installed, where their data base is reached
	$(BIN)/python .ci/audit

fuzz: install                      ## damaged inputs through every reader, SECONDS long
	cd tests && PYTHONPATH=. ../$(BIN)/python -m support.fuzz --seconds $(SECONDS)

bench: install                     ## speed against peers, ratios in one run
	$(BIN)/python -m benchmarks

bench-registration: install        ## engines and peers against truth, in one run; rewrites docs/reference/benchmark.md
	$(BIN)/python -m benchmarks.registration build/bench-registration --page

docs: install                      ## the documentation site, in site/; a broken link stops it
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@find site -name '*.html' | wc -l | xargs printf 'site/index.html: %s pages\n'

docs-pictures: install             ## regenerate the pictures of docs/explanation/phantom.md from digital patients
	$(BIN)/python -m benchmarks.phantom docs/images

release: install                   ## sdist and wheel in dist/, metadata checked, the wheel tried in a clean environment
	rm -rf dist build/release
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	$(PYTHON) -m venv build/release
	build/release/bin/python -m pip install --quiet dist/*.whl
	cd build && release/bin/nufitdose --version && release/bin/nufitdose --help

clean:                             ## what was made here, the virtual environment apart
	rm -rf demo dist build site .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
