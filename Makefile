# Everything a newcomer types. Each target does its own set-up; nothing is installed outside .venv and the cache
# (GPUENV_CACHE, else ~/.cache/gpuenv), except Debian packages for the end-to-end tests when run as root.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help venv sandbox test lint types contracts unit integration e2e bench bench-probe test-torch-matrix kind docs schemas requirements clean

help:  ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 26

venv: $(STAMP)  ## the virtual environment with pinned dependencies
$(STAMP): requirements-dev.txt pyproject.toml setup.py hack/venv.sh
	@hack/venv.sh "$(PYTHON)" "$(VENV)"
	@touch $@

sandbox: $(STAMP)  ## a real control plane, a dozen simulated GPU nodes, the operator, a live table
	@exec $(BIN)/gpuenv sandbox

test: $(STAMP)  ## lint, types, contracts, unit, integration (real API server), end to end (real kubelet, root on Linux)
	@hack/test.sh "$(BIN)"

lint: $(STAMP)  ## ruff
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
types: $(STAMP)  ## mypy --strict
	$(BIN)/mypy
contracts: $(STAMP)  ## who may import what
	$(BIN)/lint-imports
unit: $(STAMP)  ## tests without a cluster
	$(BIN)/pytest -q tests/unit
integration: $(STAMP)  ## tests against the real API server
	$(BIN)/pytest -q tests/integration
e2e: $(STAMP)  ## tests on a real kubelet (root, Linux)
	$(BIN)/pytest -q tests/e2e
bench: $(STAMP)  ## planner, assessment and probe overhead, measured here
	@for script in tests/bench/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done
bench-probe: $(STAMP)  ## the probe's own overhead, without torch and without a GPU
	$(BIN)/python tests/bench/bench_probe.py
test-torch-matrix: $(STAMP)  ## the probe under many PyTorch releases, one after the other (large downloads)
	$(BIN)/python -m tests.torch_releases.matrix
kind:  ## gpuenv in a kind cluster (needs docker, kind, kubectl, helm)
	@hack/kind.sh
docs: $(STAMP)  ## regenerate docs/reasons.md and docs/checks.md
	$(BIN)/python -m gpuenv.knowledge.reference_pages docs
schemas:  ## copy crds/ and the admission policy into the chart, which cannot read outside itself
	cp crds/*.yaml helm/gpuenv/schemas/
	cp operator/gpuenv/manifests/admission.yaml helm/gpuenv/admission.yaml
requirements: $(STAMP)  ## pin the dependencies anew, with hashes
	$(BIN)/pip-compile -q --strip-extras --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-header -o requirements.txt requirements.in
	$(BIN)/pip-compile -q --strip-extras --allow-unsafe --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-header -o requirements-dev.txt requirements-dev.in
clean:  ## remove the virtual environment and tool caches (not the shared cache)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build *.egg-info
