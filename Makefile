# Everything a developer or a newcomer types. Needs Python >= 3.11 and make; the rest is installed into .venv.
PYTHON ?= python3
FUZZ_RUNS ?= 110000
VENV := .venv
BIN := $(VENV)/bin
LOCKED := -q --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
LOCK := pyproject.toml requirements/build.in $(LOCKED)
# The environment that builds the site, and what the site shows: the repository's own files, in their places.
DOCS := build/docs-env
SHOWN := README.md CHANGELOG.md CONTRIBUTING.md $(wildcard SECURITY.md) LICENSE docs examples mosquitto

.DEFAULT_GOAL := help
.PHONY: help run install dev check format test e2e bench bench-full torture fuzz pages docs asyncapi lock wheel addon clean

help: ## show this
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: install ## start the bot on the simulator, in STANDBY, with its own MQTT broker
	@$(BIN)/allora-mqtt run

install: $(VENV)/.run ## environment with what the bot needs

dev: $(VENV)/.dev ## environment with the tools for working on it

check: dev ## format, lint, import contracts, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: dev ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: dev ## every test; those of the mosquitto broker where it is installed
	@command -v mosquitto >/dev/null || PATH=$$PATH:/usr/sbin command -v mosquitto >/dev/null || \
		echo "Left out: the tests on mosquitto, which is not installed. Get it with: apt-get install mosquitto"
	PATH=$$PATH:/usr/sbin $(BIN)/pytest -n auto --dist loadgroup

e2e: dev ## the real Home Assistant, Node-RED and Chromium, a clustered broker, and the images, all in ~/.cache (as root, on Debian; 2.5 GB)
	tests/e2e/install_home_assistant
	tests/e2e/install_node_red
	tests/e2e/install_aedes
	tests/e2e/install_debian
	PATH=$$PATH:/usr/sbin $(BIN)/pytest -m real_peers tests/e2e

bench: dev ## how fast the bot is, beside the floor and its peers: ten minutes, on a machine with nothing else to do
	PATH=$$PATH:/usr/sbin $(BIN)/python -m benchmarks

bench-full: dev ## the long form, for the numbers in docs/performance.md, which it writes
	PATH=$$PATH:/usr/sbin $(BIN)/python -m benchmarks --full --publish

torture: dev ## the long form of every promise in docs/guarantees.md: half an hour (SEED=… repeats a run)
	PATH=$$PATH:/usr/sbin $(BIN)/python -m tests.guarantees.torture $(if $(SEED),--seed $(SEED))

fuzz: dev ## throw more than 200,000 inputs at the bot, guided by coverage (takes a while)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || \
		{ echo "Installing atheris into $(VENV) (once) ..."; $(BIN)/pip install -q --disable-pip-version-check -e '.[fuzz]'; }
	@for target in answers commands; do \
		PYTHONPATH=cli $(BIN)/python -m tests.fuzz $$target -runs=$(FUZZ_RUNS) -print_final_stats=1 -verbosity=0 || exit 1; \
	done

pages: dev ## write those pages of docs/ that say what the code says
	$(BIN)/python -m tools.docs

docs: dev $(DOCS)/.installed ## the documentation as a site, in build/site; a broken link is an error
	$(BIN)/python -m tools.docs --check
	mkdir -p build/pages
	for shown in $(SHOWN); do ln -sfn ../../$$shown build/pages/$$shown; done
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict
	$(BIN)/python -m tools.docs --site build/site
	@echo "Open build/site/index.html"

asyncapi: ## have AsyncAPI's own parser read docs/asyncapi.json (needs Node.js)
	tests/support/asyncapi/check docs/asyncapi.json

lock: dev ## resolve the locked dependencies anew
	$(BIN)/uv pip compile $(LOCK) -o requirements/run.lock
	$(BIN)/uv pip compile $(LOCK) --extra dev -o requirements/dev.lock
	$(BIN)/uv pip compile requirements/docs.in $(LOCKED) -o requirements/docs.lock
	$(BIN)/uv pip compile $(LOCK) --extra postgres --constraint requirements/run.lock -o requirements/image.lock

wheel: dev ## build the wheel into dist/
	$(BIN)/python -m hatchling build -t wheel

addon: dev ## the Home Assistant add-on with the wheel in it, into dist/home-assistant: a repository of add-ons
	rm -rf dist/home-assistant && mkdir -p dist
	cp -R examples/home-assistant/addon dist/home-assistant
	cp requirements/run.lock CHANGELOG.md dist/home-assistant/allora-mqtt/
	$(BIN)/python -m hatchling build -t wheel -d dist/home-assistant/allora-mqtt

clean: ## remove the environment and what tools left behind
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V 2>&1). Say which: make PYTHON=python3.12 ..."; exit 2; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python requirements/run.lock pyproject.toml
	@echo "Installing into $(VENV) (once) ..."
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements/run.lock
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python requirements/dev.lock pyproject.toml
	@echo "Installing into $(VENV) (once) ..."
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@touch $@ $(VENV)/.run

$(DOCS)/.installed: requirements/docs.lock
	@echo "Installing into $(DOCS) (once) ..."
	@$(PYTHON) -m venv $(DOCS)
	@$(DOCS)/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements/docs.lock
	@touch $@
