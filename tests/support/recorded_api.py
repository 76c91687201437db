"""The schemas of the last version, as they were when its heading was written into CHANGELOG.md.

``make record-api`` runs this module, once for each version.
"""

import re
import shutil
from pathlib import Path

from packaging.version import Version

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests/fixtures/api"
CRDS = ROOT / "crds"
FIRST = Version("0.2.0")
"""The first version whose schemas are recorded."""


def changelog() -> str:
    """Return the text of CHANGELOG.md."""
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def last_version(text: str) -> str | None:
    """Return the newest version with a heading in the text of a changelog, or None if it is older than FIRST."""
    newest = max(map(Version, re.findall(r"^## \[(\d+\.\d+\.\d+)\]", text, re.M)))
    return str(newest) if newest >= FIRST else None


def listed(text: str, heading: str) -> set[str]:
    """Return the paths in code spans under a heading, such as "Breaking", of the version that is being prepared."""
    prepared = re.search(r"^## \[Unreleased\].*?\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    section = re.search(rf"^### {heading}\n(.*?)(?=^### |\Z)", prepared[1] if prepared else "", re.M | re.S)
    return set(re.findall(r"`(GPU\w+[^`\s]*)`", section[1])) if section else set()


def record() -> str:
    """Copy the schemas into the folder of the last version, and remove those of earlier versions. Return what was done.

    Raises SystemExit if there is no such version, or if it has been recorded before.
    """
    version = last_version(changelog())
    if version is None:
        raise SystemExit("CHANGELOG.md has no heading of a version to record; write one, such as ## [0.2.0]")
    target = FOLDER / version
    if target.exists():
        raise SystemExit(
            f"{version} is recorded; if nobody has it yet, remove {target.relative_to(ROOT)} and try again"
        )
    shutil.rmtree(FOLDER, ignore_errors=True)
    target.mkdir(parents=True)
    for path in sorted(CRDS.glob("*.yaml")):
        shutil.copyfile(path, target / path.name)
    return f"{target.relative_to(ROOT)} holds the schemas of {version}"


if __name__ == "__main__":
    print(record())
