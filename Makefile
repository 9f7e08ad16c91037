# The front door. `make demo` shows it running, `make test` proves it; both set up what they need.
.PHONY: demo run test browser proof check format soak fuzz bench screenshots lock licenses setup clean help
.DEFAULT_GOAL := help

# Compiled once, not in each of the hundreds of processes that the tests start.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

help: ## this list
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.core ## a lively little company on http://127.0.0.1:8000, with made-up people
	$(BIN)/viewer demo

run: $(VENV)/.core ## the viewer itself, with the settings of the environment and .env
	$(BIN)/viewer up

test: $(VENV)/.dev ## everything that is quick and needs no root and no browser
	$(BIN)/python -m pytest -n 4 -m "not proof and not browser"

browser: $(VENV)/.dev ## every page in a real Chromium, on a phone and on a desk
	$(BIN)/python -m pytest -n 4 -m browser tests/browser

proof: $(VENV)/.dev ## crashes, power cuts, faults, attacks, long walks, PostgreSQL; as root, with strace and e2fsprogs
	$(BIN)/python -m pytest -n 6 -m proof

check: $(VENV)/.dev ## style, types, who imports whom, known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo
	PATH="$(BIN):$$PATH" $(BIN)/python -m scripts.audit

format: $(VENV)/.dev ## put the code in its usual shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

soak: $(VENV)/.dev ## everything goes wrong for 10 minutes, on both databases (SECONDS=60 for less)
	$(BIN)/python -m tests.soak --seconds $(or $(SECONDS),600) --events $(or $(EVENTS),500)

fuzz: $(VENV)/.dev ## mutated files, payloads and signatures for an hour (SECONDS=60 for less)
	$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),3600)

bench: $(VENV)/.dev ## measure for 15 minutes, and write docs/performance.md (QUICK=1: only see that it works)
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

screenshots: $(VENV)/.dev ## the pictures of every page in scripts.screenshots/
	$(BIN)/python -m scripts.screenshots

lock: ## resolve the requirements anew, and write sbom.cdx.json; ARGS=--upgrade moves what may move
	PYTHON=$(PYTHON) scripts/lock.sh
	$(MAKE) licenses
	$(BIN)/python -m scripts.sbom

licenses: $(VENV)/.dev ## docs/licenses.md, from the metadata of what is locked
	$(BIN)/python -m scripts.licenses

setup: $(VENV)/.dev ## only install

clean: ## forget the environment and the demo's data
	rm -rf $(VENV) var/demo*

# The environment, from complete and hashed lists, so nothing is resolved: pip below 23.3 resolves
# extras anew and then refuses what is not in the list. `pip check` says what a list would lack.
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCKED := $(PIP) install -q --no-compile --no-deps --require-hashes
define install
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15) and "Python 3.11 to 3.14 is needed; say: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(LOCKED) -r $(1)
	$(LOCKED) -r requirements-build.txt
	$(PIP) install -q --no-deps --no-build-isolation -e .
	$(PIP) check
	touch $@
endef

$(VENV)/.core: requirements.txt requirements-build.txt pyproject.toml
	$(call install,requirements.txt)

$(VENV)/.dev: requirements-dev.txt requirements-build.txt pyproject.toml
	$(call install,requirements-dev.txt)
	touch $(VENV)/.core
