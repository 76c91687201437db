#!/bin/sh
# What `make test` runs, in order, and stops at the first stage that fails. Each stage says its name and time.
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

# On Linux as root the end-to-end tests bring what they need; elsewhere they are skipped with the reason.
if [ "$(id -u)" = 0 ] && [ "$(uname -s)" = Linux ] && command -v apt-get >/dev/null; then
    stage packages sh tests/e2e/install-packages.sh
fi
stage lint "$bin/ruff" check .
stage format "$bin/ruff" format --check .
stage types "$bin/mypy"
stage contracts "$bin/lint-imports"
# One pytest run, so that control plane and images are made once and one closing line counts everything.
stage tests "$bin/pytest" -q tests/unit tests/integration tests/e2e tests/chart
