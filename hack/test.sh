#!/bin/sh
# Run the stages of `make test` in order, print the time of each, and stop at the first one that fails. Tests are the last one.
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
# The tests without a control plane run beside the others, which leave one of two processors idle half of the time. Those
# are one run of pytest, so that the control plane and the images are made once. What the former print comes last.
alone=$(mktemp)
"$bin/pytest" -q tests/unit tests/fuzz >"$alone" 2>&1 &
unit=$!
trap 'kill "$unit" 2>/dev/null || true; rm -f "$alone"' EXIT
failed=
"$bin/pytest" -q tests/integration tests/soak tests/e2e tests/chart || failed=yes
wait "$unit" || failed=yes
echo "== tests/unit and tests/fuzz, which ran beside these:"
cat "$alone"
[ -z "$failed" ]
