#!/bin/sh
# Create a virtual environment with the pinned dependencies of a requirements file, checked by hash: for
# requirements-dev.txt (the default) with an editable install of gpuenv, for any other without.
set -eu
python=$1 venv=$2 requirements=${3:-requirements-dev.txt}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "gpuenv needs Python >= 3.11; set PYTHON=/path/to/python3.11 (found: $("$python" --version 2>&1 || true))" >&2
    exit 2
}
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    # On Debian, ensurepip is in the package python3-venv.
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
    else
        echo "python3 cannot make virtual environments here: install the package python3-venv and try again" >&2
        exit 2
    fi
fi
echo "gpuenv: making $venv (about a minute the first time)" >&2
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r "$requirements"
[ "$requirements" != requirements-dev.txt ] || "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
