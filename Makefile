# Everything runs inside .venv, made from pyproject.toml and constraints.txt alone.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-devices lint bench format clean

help:          ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(STAMP)         ## Compress, export, verify and measure THETIS Net2; writes demo-output/
	$(BIN)/tdedge demo --output demo-output --force

test: $(STAMP)         ## Run the test suite, one process per core (4 at most), each with one thread
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

test-devices: $(STAMP) ## Run the slow tests against real device parts; installs Debian packages, as root
	tests/devices/packages.sh
	$(BIN)/python -m pytest -n 2 --dist loadfile -o addopts="-ra --import-mode=importlib --strict-markers" tests/devices

lint: $(STAMP)         ## ruff and mypy over all four packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)       ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)        ## Run the benchmarks (interleaved ratios, minutes)
	$(BIN)/python -m benchmarks

clean:         ## Remove what the other targets made
	rm -rf $(VENV) demo-output .mypy_cache .ruff_cache .pytest_cache .hypothesis
