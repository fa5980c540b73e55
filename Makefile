PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# As many processes as cores: threads of their own would only stand in each other's way. Slow files come first by name.
PYTEST := POLARS_MAX_THREADS=1 $(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

.PHONY: run ui bench test test-long test-clients test-spark lint types format docs site clean

run: .venv/ready
	$(BIN)/kpis run

ui: .venv/ready
	mkdir -p data/dagster
	DAGSTER_HOME=$${DAGSTER_HOME:-$(CURDIR)/data/dagster} $(BIN)/dagster dev -w workspace.yaml -h 127.0.0.1 -p 3000

test: .venv/ready
	$(PYTEST) -m "not long and not clients"

test-long: .venv/ready
	$(PYTEST) -rs -m long

# Needs the package registries: other versions of DuckDB, SQLAlchemy, Node, psql, JDBC and Superset read the doors.
test-clients: .venv/ready
	$(PYTEST) -m clients

# Needs Java 17; PySpark takes 490 MB, so only this target installs it.
test-spark: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[spark]"
	$(BIN)/pytest tests/pipelines/test_spark.py

bench: .venv/ready
	$(BIN)/python -m bench

lint: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m pipelines.docs --check

types: .venv/ready
	$(BIN)/mypy

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/ready
	$(BIN)/python -m pipelines.docs

site: .venv/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Open build/site/index.html"

clean:
	rm -rf .venv data build *.egg-info

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch .venv/ready
