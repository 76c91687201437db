#!/bin/sh
# Make the files of a release in a directory: the wheel, the chart, the list of everything that the operator's image
# contains beside its base (SBOM, CycloneDX 1.6), and the checksums of all.
set -eu
bin=$1 release=$2 out=$3
version=$("$bin/python" -c 'import gpuenv; print(gpuenv.__version__)')
# A release that is made again from the same commit has the same bytes.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

rm -rf "$out"
mkdir -p "$out"
"$release/python" -m build --no-isolation --wheel --outdir "$out" . >/dev/null
# It warns that the list is flat, which it is: pins do not say who needs whom.
PYTHONWARNINGS=ignore "$release/cyclonedx-py" requirements requirements.txt --pyproject pyproject.toml --mc-type application \
    --sv 1.6 --of JSON --output-reproducible -o "$out/gpuenv-$version.cdx.json"
helm=$("$bin/python" -c 'from gpuenv_sandbox.programs.binaries import ensure; print(ensure(["helm"])["helm"])')
"$helm" package helm/gpuenv --destination "$out" >/dev/null
(cd "$out" && sha256sum -- * >SHA256SUMS)
echo "dist: $(ls "$out" | tr '\n' ' ')"
