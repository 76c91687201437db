#!/bin/sh
# Run the stages of `make test` in order, print the time of each, and stop at the first one that fails.
set -eu
bin=$1

stage() {
    name=$1
    shift
    started=$(date +%s)
    echo "== $name: $*"
    "$@"
    echo "== $name: done in $(($(date +%s) - started)) s"
}

# As root on Linux, install the packages of the end-to-end tests. Otherwise these tests are skipped with a reason.
if [ "$(id -u)" = 0 ] && [ "$(uname -s)" = Linux ] && command -v apt-get >/dev/null; then
    stage packages sh tests/e2e/install-packages.sh
fi
stage lint "$bin/ruff" check .
stage format "$bin/ruff" format --check .
stage security "$bin/bandit" -q -c pyproject.toml -r operator probe_image setup.py
stage types "$bin/mypy"
stage contracts "$bin/lint-imports"
# One run of pytest, so that the control plane and the images are made once and the last line counts all tests.
stage tests "$bin/pytest" -q tests/unit tests/fuzz tests/integration tests/soak tests/e2e tests/chart
