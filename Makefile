# The door: whatever is done with the suite on a machine is one of these targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3.11
TESTS ?= tests udfs schemas jobs
JOB ?= personalize

run_python := .venv/bin/python
pip := $(run_python) -m pip install --quiet --disable-pip-version-check
fetch := mvn -q -B dependency:copy-dependencies
ready := .venv/.ready .local/jars/flink/.ready .local/jars/broker/.ready

.PHONY: help setup run test check bench prove package cluster submit stop docs pictures lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-9s %s\n", $$1, $$2 }' Makefile

setup: $(ready)  ## install Python packages and jars, as pinned; instant when nothing changed

run: setup  ## start broker, Redis, website and job on this machine, until Ctrl-C or for SECONDS=120
	@$(run_python) -m jobs --env local+website run $(if $(SECONDS),--seconds $(SECONDS))

test: setup  ## run the tests, or some of them: TESTS=tests/udfs
	@$(run_python) -m pytest $(TESTS)

check: setup  ## look for mistakes without running anything: lint, format, types
	@$(run_python) -m ruff check .
	@$(run_python) -m ruff format --check .
	@$(run_python) -m mypy

bench: setup  ## measure speed, cost and latency on this machine
	@$(run_python) -m tests.bench

prove: setup  ## show that a claim of the README holds, or all of them: CLAIM=replay
	@$(run_python) -m tests.claims $(CLAIM)

package: setup  ## build the archive that a cluster takes
	@$(run_python) -m jobs package

cluster: setup  ## start a Flink cluster on this machine
	@$(run_python) -m jobs cluster

submit: package  ## hand a job to the cluster: JOB=personalize, SAVEPOINT=path to go on from
	@$(run_python) -m jobs submit $(JOB) $(if $(SAVEPOINT),--savepoint $(SAVEPOINT))

stop: setup  ## stop the cluster and all it started (to stop a job with a savepoint: python -m jobs stop --savepoint)
	@$(run_python) -m jobs stop

docs: setup  ## derive the contract's documents from schemas/
	@$(run_python) -m schemas.contract

pictures: setup  ## draw the signals on the shared real data sets, and put them into the docs
	@$(run_python) -m tests.pictures
	@$(run_python) -m schemas.contract

lock:  ## resolve the dependencies anew into requirements.lock; UPGRADE=1 takes newer versions
	@tools=$$(mktemp -d); trap 'rm -rf "$$tools"' EXIT; \
	$(PYTHON) -m venv "$$tools"; \
	"$$tools/bin/pip" install --quiet --disable-pip-version-check pip-tools==7.6.2; \
	CUSTOM_COMPILE_COMMAND="make lock" "$$tools/bin/pip-compile" --quiet --generate-hashes --allow-unsafe \
	  --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
	  --extra dev --extra local --all-build-deps $(if $(UPGRADE),--upgrade) --output-file requirements.lock pyproject.toml

clean:  ## remove what runs and tools wrote, kept records and releases too; the setup stays
	@while read -r lock; do \
	  flock --nonblock "$$lock" true || { echo "clean: process $$(cat "$$lock") uses $$(dirname "$$lock"); end it first" >&2; exit 1; }; \
	done < <(find .local build -path '*/.local/lock' -o -path .local/lock 2>/dev/null)
	@find .local -mindepth 1 -maxdepth 1 ! -name jars -exec rm -rf {} + 2>/dev/null || true
	@rm -rf build .mypy_cache .ruff_cache
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# setuptools comes first and alone: some of Beam's old pieces are built on the spot, and without isolation they are
# built by the pinned one instead of by whatever is newest that day.
.venv/.ready: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info[:2] == (3, 11) else "make setup needs Python 3.11: PYTHON=...")'
	@echo "setup: Python packages (about a minute)"
	@$(PYTHON) -m venv --clear .venv
	@awk '/^[^ #]/ { wanted = /^setuptools==/ } wanted' requirements.lock > .venv/first.lock
	@$(pip) --require-hashes --requirement .venv/first.lock
	@$(pip) --require-hashes --no-build-isolation --requirement requirements.lock
	@$(pip) --no-deps --no-build-isolation --no-index --editable .
	@touch $@

# Flink brings its own dependencies along; those of its connector are inside it.
.local/jars/flink/.ready: pom.xml
	@echo "setup: jars for Flink"
	@rm -rf $(@D)
	@$(fetch) -P flink -DexcludeTransitive=true -DoutputDirectory=$(@D)
	@touch $@

.local/jars/broker/.ready: pom.xml
	@echo "setup: jars for the embedded broker"
	@rm -rf $(@D)
	@$(fetch) -P broker -DoutputDirectory=$(@D)
	@touch $@
