#!/bin/sh
# Look for known vulnerabilities of the dependencies that are pinned for the operator and for the image for people.
# Exit 1 if there are any. If the database of vulnerabilities cannot be reached, say so and exit 0: nothing was found out.
set -eu
bin=$1 log=$(mktemp)
trap 'rm -f "$log"' EXIT

for pinned in requirements.txt probe_image/requirements.txt; do
    echo "audit: $pinned"
    if "$bin/pip-audit" --strict --disable-pip --require-hashes --progress-spinner off -r "$pinned" >"$log" 2>&1; then
        cat "$log"
    elif grep -Eqi 'found [0-9]+ known|(GHSA|PYSEC|CVE|OSV)-[0-9a-z]' "$log"; then
        cat "$log"
        exit 1
    elif grep -Eqi 'could not be audited|connect|resolve|timed out|unreachable|HTTPError|ServiceError' "$log"; then
        echo "audit: skipped: the database of known vulnerabilities cannot be reached from here: $(tail -n 1 "$log")"
        exit 0
    else
        cat "$log"
        exit 1
    fi
done
