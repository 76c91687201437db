"""What a release consists of: the wheel, the chart, the list of its parts (SBOM), and the checksums of all of them."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

from gpuenv import __version__

ROOT = Path(__file__).parents[2]


def test_a_release_lists_every_pinned_dependency_with_its_checksums(tmp_path: Path) -> None:
    venv, out = tmp_path / "venv", tmp_path / "dist"
    run("hack/venv.sh", sys.executable, venv, "requirements-release.txt")
    run("hack/dist.sh", Path(sys.executable).parent, venv / "bin", out)

    wheel, chart, parts = (
        f"gpuenv-{__version__}-py3-none-any.whl",
        f"gpuenv-{__version__}.tgz",
        f"gpuenv-{__version__}.cdx.json",
    )
    assert {path.name for path in out.iterdir()} == {wheel, chart, parts, "SHA256SUMS"}
    sums = dict(reversed(line.split()) for line in (out / "SHA256SUMS").read_text().splitlines())  # type: ignore[arg-type]  # two words a line
    assert sums == {
        name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in (wheel, chart, parts)
    }

    listed = json.loads((out / parts).read_text(encoding="utf-8"))
    assert (listed["bomFormat"], listed["specVersion"]) == ("CycloneDX", "1.6")
    assert listed["metadata"]["component"]["version"] == __version__
    found = {one["name"]: one for one in listed["components"]}
    pinned = pins((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    assert {name: one["version"] for name, one in found.items()} == {
        name: version for name, version, _ in pinned
    }
    for name, _, hashes in pinned:
        recorded = {
            hash_["content"]
            for reference in found[name]["externalReferences"]
            for hash_ in reference["hashes"]
        }
        assert recorded == hashes


def run(script: str, *arguments: object) -> None:
    done = subprocess.run(
        [ROOT / script, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def pins(requirements: str) -> list[tuple[str, str, set[str]]]:
    """Return name, version and checksums of each pinned dependency."""
    blocks = re.findall(
        r"^([\w.-]+)(?:\[[\w,]+\])?==(\S+) \\\n((?:    --hash=sha256:\w+(?: \\)?\n?)+)",
        requirements,
        re.MULTILINE,
    )
    return [(name, version, set(re.findall(r"sha256:(\w+)", hashes))) for name, version, hashes in blocks]
