# Two commands for a newcomer: `make demo` and `make test`. Both set up .venv first, once.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test campaigns lint docs wheel clean

setup: .venv/ready

# The lock names exact versions of everything; pip takes from it what this platform needs.
.venv/ready: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/epicsub demo

test: setup
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup

# Faults, seeded and kept: goes on where it stopped. MINUTES=60 shares an hour; without it all run to their full size.
campaigns: setup
	$(BIN)/python -m benchmarks.campaigns $(if $(MINUTES),--minutes $(MINUTES)) --json

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

# The site, into site/: a broken link or a docstring that names no argument of its function fails.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

wheel: setup
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	rm -rf build

clean:
	rm -rf .venv dist outputs kitchens site
