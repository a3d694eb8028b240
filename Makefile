# Trivet. `make` alone lists what there is.
#
# Needs python3 (3.11 or newer) with venv, make and a C compiler; everything else is installed into
# .venv from the pinned versions in requirements/.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PEERS := mlserver litserve rayserve

# The libraries' usage reporting is off unless you set these yourself.
export MLFLOW_DISABLE_TELEMETRY ?= true
export DO_NOT_TRACK ?= true
export BENTOML_DO_NOT_TRACK ?= True
export ORT_DISABLE_TELEMETRY ?= 1
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Each of the many processes would compile Trivet anew: a quarter of a second.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install run demo stream-demo test coverage test-unit prove check lint types layers docs format lock clean \
  bench bench-peers bench-growth bench-micro bench-gateway bench-batch bench-stream bench-page

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make the environment in .venv (the other targets do it by themselves)

$(INSTALLED): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Trivet needs Python 3.11 or newer; set PYTHON=python3.11")'
	@echo "Installing the pinned packages into $(VENV) (about 1 GB; a minute or two)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: $(INSTALLED) ## Prepare, train, release and serve the flight-delay model; stays up until Ctrl-C
	@python bentos/flight_delay/run.py

demo: $(INSTALLED) ## The same journey without staying: releases change while requests run
	@python bentos/flight_delay/demo.py

# With options: STREAM_DEMO="--time 12:00 --hours 6 --speed 300 --seconds 60"
stream-demo: $(INSTALLED) ## Replay a day of flights through Redis Streams, predictions against what happened
	@python bentos/flight_delay/stream_demo.py $(STREAM_DEMO)

# Four at a time on two cores: many of them wait for a process to start or a second to pass. Those that
# measure seconds are marked `quiet`, and run while no other does, or one more of these.
test: $(INSTALLED) ## Run all tests, four at a time
	@pytest -n 4 --no-loadscope-reorder --durations=25 --durations-min=10

# Apart from `test`: before Python 3.12 every line that runs is traced, which slows the tests down.
coverage: $(INSTALLED) ## Run all tests, and say which lines and branches none of them reached
	@rm -f .coverage .coverage.*
	@pytest -n 4 --no-loadscope-reorder --cov --cov-report=term:skip-covered

test-unit: $(INSTALLED) ## Run the unit tests alone, in seconds
	@pytest tests/unit -n 2 --no-loadscope-reorder

prove: $(INSTALLED) ## Run the long proofs: millions of rows, minutes, gigabytes
	@pytest -m prove tests/prove

bench: $(INSTALLED) ## Measure this beside BentoML, MLflow and Feast, and the machine's limit (20 min; BENCH_QUICK=1: 2)
	@python -m benchmarks.serving usual

bench-peers: $(INSTALLED) $(PEERS:%=.bench/%/.installed) ## The same beside MLServer, LitServe and Ray Serve (10 min, 1 GB)
	@python -m benchmarks.serving peers

bench-growth: $(INSTALLED) ## How cost grows with features, rows, versions and stored entities (30 min)
	@python -m benchmarks.serving growth

bench-micro: $(INSTALLED) ## Time the reader, the runtime, batching and the prediction log by themselves (1 min)
	@pytest benchmarks/micro --benchmark-only --benchmark-columns=min,median,iqr,ops,rounds --benchmark-sort=name

bench-gateway: $(INSTALLED) ## What the gateway costs, and what replicas and workers behind it give (6 min; BENCH_QUICK=1: 1)
	@python -m benchmarks.gateway

bench-batch: $(INSTALLED) ## Predict all flights of the year beside Feast's retrieval and model.predict (2 min; after make run)
	@python benchmarks/batch.py

bench-stream: $(INSTALLED) ## Measure feature events and predictions a second over a real Redis (2 min)
	@python -m benchmarks.stream

bench-page: $(INSTALLED) ## Put the figures and pictures of the last runs into the documentation
	@python -m benchmarks.serving page
	@test ! -e reports/bench/gateway.json || python -m benchmarks.gateway page

.bench/%/.installed: benchmarks/requirements/%.txt
	@echo "Installing $* into an environment of its own, .bench/$*"
	@$(PYTHON) -m venv .bench/$*
	@.bench/$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	@touch $@

check: lint types layers docs test ## Everything that must hold before a commit lands

lint: $(INSTALLED) ## Check style and formatting
	@ruff check .
	@ruff format --check .

types: $(INSTALLED) ## Check types
	@mypy

layers: $(INSTALLED) ## Check that imports run downward only
	@lint-imports --no-logo

docs: $(INSTALLED) ## Build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

format: $(INSTALLED) ## Format, and mend what can be mended
	@ruff check --fix .
	@ruff format .

lock: $(INSTALLED) ## Resolve pyproject.toml anew into the pinned versions (needs uv)
	@uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 \
	  --no-emit-index-url --no-header --no-annotate --quiet --output-file requirements/dev.txt
	@for peer in $(PEERS); do \
	  uv pip compile benchmarks/requirements/$$peer.in --universal --python-version 3.11 \
	    --no-emit-index-url --no-header --no-annotate --quiet \
	    --output-file benchmarks/requirements/$$peer.txt; done

clean: ## Remove what was generated: data, registry, models; the environment stays
	rm -rf data .trivet mlflow.db mlflow.db-* mlruns reports site .coverage .coverage.* \
	  .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
