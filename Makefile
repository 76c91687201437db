# Everything a newcomer types. Each target does its own set-up; nothing is installed outside .venv and the cache
# (GPUENV_CACHE, else ~/.cache/gpuenv), except Debian packages for the end-to-end tests when run as root.
#
# Committed files that nobody edits by hand, and the target that makes each. Tests compare them with what they are made from.
#   docs/reasons.md                 make docs
#   docs/checks.md                  make docs
#   helm/gpuenv/schemas/            make schemas
#   helm/gpuenv/admission.yaml      make schemas
#   helm/gpuenv/probe_pods.yaml     make schemas
#   operator/gpuenv/api/schema/statuses.py    make schemas
#   tests/chart/golden/             make golden
#   requirements.txt                make requirements
#   requirements-dev.txt            make requirements
#   requirements-fuzz.txt           make requirements
#   requirements-release.txt        make requirements
#   probe_image/requirements.txt    make requirements
# Recorded on a machine with a GPU, one file for each session:
#   tests/fixtures/gpu/             make gpu-session
# Recorded once for each version, when its heading is written into CHANGELOG.md:
#   tests/fixtures/api/             make record-api
# Made by every build and by `make venv`, and not committed:
#   operator/gpuenv/knowledge/tables.json    make tables
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# What only a release needs has a virtual environment of its own.
RELEASE := .venv-release
STAMP  := $(VENV)/.installed
TABLES := operator/gpuenv/knowledge/tables.json
MINUTES ?= 5
SEED   ?= 1
# What everything needs that runs gpuenv.
READY  := $(STAMP) $(TABLES)

.DEFAULT_GOAL := help
.PHONY: help venv tables sandbox test lint types contracts unit corpus integration e2e bench bench-probe gpu-session \
	test-torch-matrix test-oldest-kubernetes kind docs schemas golden record-api requirements dist audit fuzz soak clean

help:  ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 26

venv: $(READY)  ## the virtual environment with pinned dependencies
$(STAMP): requirements-dev.txt pyproject.toml setup.py hack/venv.sh
	@hack/venv.sh "$(PYTHON)" "$(VENV)"
	@touch $@

tables: $(TABLES)  ## the knowledge tables in the form that loads quickly; made anew when a table has changed
$(TABLES): $(wildcard operator/gpuenv/knowledge/*.yaml) operator/gpuenv/knowledge/compile.py $(STAMP)
	@$(BIN)/python -m gpuenv.knowledge.compile

sandbox: $(READY)  ## a real control plane, a dozen simulated GPU nodes, the operator, a live table
	@exec $(BIN)/gpuenv sandbox

test: $(READY)  ## lint, types, contracts, unit, integration (real API server), end to end (real kubelet, root on Linux)
	@hack/test.sh "$(BIN)"

lint: $(STAMP)  ## ruff and bandit
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/bandit -q -c pyproject.toml -r operator probe_image setup.py
types: $(STAMP)  ## mypy --strict
	$(BIN)/mypy
contracts: $(STAMP)  ## who may import what
	$(BIN)/lint-imports
unit: $(READY)  ## tests without a cluster
	$(BIN)/pytest -q tests/unit
integration: $(READY)  ## tests against the real API server
	$(BIN)/pytest -q tests/integration
test-oldest-kubernetes: $(READY)  ## the schemas and policies on the oldest Kubernetes too; builds it once (minutes)
	GPUENV_BUILD_OLDEST_KUBERNETES=1 $(BIN)/pytest -q tests/integration/test_admission_policy.py \
		tests/integration/test_operator_token.py tests/integration/test_crd_environment.py \
		tests/integration/test_probe_pod_policy.py tests/integration/test_policy_follows_limits.py
corpus: $(READY)  ## how many published reports get the right answer: a table of kinds, and scores (ARGS=-v lists what fails)
	$(BIN)/python -m tests.corpus $(ARGS)
e2e: $(READY)  ## tests on a real kubelet (root, Linux)
	$(BIN)/pytest -q tests/e2e
bench: $(READY)  ## what everything costs, measured here: a table and JSON lines (hours; BENCH="validate --nodes 200" for a part)
	$(BIN)/python -m tests.bench $(BENCH)
bench-probe: $(READY)  ## the probe's own overhead, without torch and without a GPU
	$(BIN)/python -m tests.bench probe
gpu-session:  ## record the probe's reports on this machine's GPU into tests/fixtures/gpu/ (PYTHON needs torch)
	$(PYTHON) tests/bench/gpu_session.py
fuzz: $(READY)  ## hostile inputs over the whole path for MINUTES=5, from probe reports and files to what people see
	@hack/fuzz.sh "$(BIN)" "$(MINUTES)"
soak: $(READY)  ## faults of all kinds on a simulated fleet for MINUTES=5 from SEED=1, or again those of the log REPLAY=
	PYTHONPATH=. $(BIN)/python -m tests.soak.command --minutes "$(MINUTES)" --seed "$(SEED)" $(if $(REPLAY),--replay "$(REPLAY)")
test-torch-matrix: $(READY)  ## the probe under many PyTorch releases, one after the other (large downloads)
	$(BIN)/python -m tests.torch_releases.matrix
kind:  ## gpuenv in a kind cluster (needs docker, kind, kubectl, helm)
	@hack/kind.sh
docs: $(READY)  ## regenerate docs/reasons.md and docs/checks.md
	$(BIN)/python -m gpuenv.knowledge.reference_pages docs
schemas: $(READY)  ## copy crds/ and the policies into the chart, and the schemas of statuses into the planner
	cp crds/*.yaml helm/gpuenv/schemas/
	cp operator/gpuenv/manifests/admission.yaml operator/gpuenv/manifests/probe_pods.yaml helm/gpuenv/
	$(BIN)/python -m gpuenv.manifests.status_schemas
	$(BIN)/ruff format -q operator/gpuenv/api/schema/statuses.py
golden: $(READY)  ## render the chart anew into the files that its tests compare with
	GPUENV_UPDATE_GOLDEN=1 $(BIN)/pytest -q tests/chart/test_render.py -k golden
record-api: $(STAMP)  ## record crds/ as the API of the newest version in CHANGELOG.md; tests compare later schemas with it
	$(BIN)/python -m tests.support.recorded_api
PIN := pip-compile -q --strip-extras --generate-hashes --no-header --no-emit-index-url --no-emit-trusted-host --no-emit-find-links
requirements: $(STAMP)  ## pin the dependencies anew, with hashes
	$(BIN)/$(PIN) -o requirements.txt requirements.in
	$(BIN)/$(PIN) --allow-unsafe -o requirements-dev.txt requirements-dev.in
	$(BIN)/$(PIN) --allow-unsafe -o requirements-fuzz.txt requirements-fuzz.in
	$(BIN)/$(PIN) --allow-unsafe -o requirements-release.txt requirements-release.in
	cd probe_image && ../$(BIN)/$(PIN) -o requirements.txt requirements.in
$(RELEASE)/.installed: requirements-release.txt hack/venv.sh
	@hack/venv.sh "$(PYTHON)" $(RELEASE) requirements-release.txt
	@touch $@
dist: $(READY) $(RELEASE)/.installed  ## the files of a release: wheel, chart, CycloneDX SBOM, checksums, in dist/
	@hack/dist.sh "$(BIN)" $(RELEASE)/bin dist
audit: $(RELEASE)/.installed  ## known vulnerabilities of the pinned dependencies (asks PyPI's database; says so if it cannot)
	@hack/audit.sh $(RELEASE)/bin
clean:  ## remove the virtual environment and tool caches (not the shared cache)
	rm -rf $(VENV) $(RELEASE) dist $(TABLES) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build *.egg-info
