#!/bin/sh
# Fuzz for some minutes: half of the time with random inputs, half with inputs that atheris chooses. Where there is no
# package of atheris (https://github.com/google/atheris), all inputs are random.
set -eu
bin=$1 minutes=$2
seed=${SEED:-$(date +%s)}

"$bin/python" -m pip install -q --disable-pip-version-check --only-binary :all: --require-hashes -r requirements-fuzz.txt ||
    echo "fuzz: no atheris for this Python and machine; all inputs are random" >&2
if "$bin/python" -c 'import atheris' 2>/dev/null; then
    half=$(awk "BEGIN {print $minutes / 2}")
    PYTHONPATH=. "$bin/python" -m tests.fuzz.campaign --minutes "$half" --seed "$seed"
    PYTHONPATH=. "$bin/python" -m tests.fuzz.guided --minutes "$half" --seed "$seed"
else
    PYTHONPATH=. "$bin/python" -m tests.fuzz.campaign --minutes "$minutes" --seed "$seed"
fi
