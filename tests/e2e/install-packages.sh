#!/bin/sh
# Debian packages that the end-to-end tests need; does nothing, quickly, when all are there. Needs root and apt-get.
set -eu
packages="runc containernetworking-plugins debootstrap debian-archive-keyring iproute2 buildah lua5.4"

installed() {
    dpkg-query -W -f '${Status}\n' $packages 2>/dev/null | grep -c '^install ok installed$'
}

if [ "$(installed)" -eq "$(echo $packages | wc -w)" ]; then
    exit 0
fi
echo "installing $packages" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { apt-get update -q && apt-get install -q -y --no-install-recommends $packages; } >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    echo "cannot install $packages; the end-to-end tests will be skipped" >&2
fi
