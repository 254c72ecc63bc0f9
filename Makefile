# Two commands for a newcomer: `make demo` and `make test`. Both set up .venv first, once.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test cluster campaigns lint audit licences docs wheel clean

setup: .venv/ready

# The lock names exact versions of everything; pip takes from it what this platform needs, and what it fetched is checked.
.venv/ready: pyproject.toml requirements.lock requirements.hashes
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --report .venv/fetched.json -c requirements.lock \
		-e '.[dev]'
	$(BIN)/python benchmarks/supply.py check .venv/fetched.json
	touch $@

demo: setup
	$(BIN)/epicsub demo

test: setup
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup --ignore=tests/slurm

# On a Slurm of two nodes on this machine, of one core each, so nothing runs beside it. Debian: .ci/system_packages.
cluster: setup
	$(BIN)/python -m pytest -q -n 0 tests/slurm

# Faults, seeded and kept: goes on where it stopped. MINUTES=60 shares an hour; without it all run to their full size.
campaigns: setup
	$(BIN)/python -m benchmarks.campaigns $(if $(MINUTES),--minutes $(MINUTES)) --json

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

# Known vulnerabilities of the locked versions, by pip-audit in an environment of its own; says so where it cannot.
audit: setup
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	.venv/audit/bin/python benchmarks/supply.py audit

licences: setup
	$(BIN)/python benchmarks/supply.py licences

# The site, into site/: a broken link or a docstring that names no argument of its function fails.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

wheel: setup
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	rm -rf build

clean:
	rm -rf .venv dist outputs kitchens site
