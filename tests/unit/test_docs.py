"""The documents name only what exists: files, folders, headings, make targets, commands and their options."""

import re
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from gpuenv.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
BASES = [
    ROOT,
    ROOT / "operator",
    ROOT / "operator/gpuenv",
    ROOT / "operator/gpuenv_sandbox",
    ROOT / "probe_image/gpuenv_probe",
]
"""Folders from which a path may be written. A page may also write one from a folder that it has named itself."""
TOP = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
USERS_OWN = {"reasons.yaml", "train.py"}
"""Names of files that a user of gpuenv writes."""
FILE = re.compile(r"(?:[\w*-]+/)*[\w*.-]+\.(?:py|yaml|md|json|toml|sh|in|txt)")
FOLDER = re.compile(r"(?:[\w-]+/)+")
FENCE = re.compile(r"^```.*?\n(.*?)^```", re.M | re.S)
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z0-9-]*):", MAKEFILE, re.M))


def code(page: str) -> Iterator[tuple[str, bool]]:
    """Yield each line of the fenced blocks and each code span, and whether it comes from a fenced block."""
    for block in FENCE.findall(page):
        yield from ((line, True) for line in block.splitlines())
    yield from ((" ".join(span.split()), False) for span in re.findall(r"`([^`]+)`", FENCE.sub("", page)))


def paths(page: str) -> set[str]:
    """Return the paths in the code of a page. A part in angle brackets stands for any text."""
    found = set()
    for text, fenced in code(page):
        words = re.sub(r"<[^>]*>", "*", text).split()
        for word in (one.strip("\"',;()").partition("#")[0] for one in words):
            alone = len(words) == 1 or (fenced and word.endswith((".py", "/")))
            from_the_root = word.partition("/")[0] in TOP and "/" in word and ":" not in word
            if from_the_root or (alone and (FILE.fullmatch(word) or FOLDER.fullmatch(word))):
                found.add(word)
    return found - USERS_OWN


def missing_paths(page: str) -> set[str]:
    """Return the paths of a page that exist neither from one of BASES nor from a folder that the page names."""
    wanted, bases = paths(page), list(BASES)
    while True:
        found = {
            path: hits for path in wanted if (hits := [hit for base in bases for hit in base.glob(path)])
        }
        if not found:
            return wanted
        wanted -= set(found)
        hits = [hit for several in found.values() for hit in several]
        bases = [hit if hit.is_dir() else hit.parent for hit in hits]


def missing_targets(page: str) -> set[str]:
    """Return the words after ``make`` that are no target of the Makefile."""
    calls = [re.match(r"(?:\$ )?make ([a-z0-9 -]+)", text) for text, _ in code(page)]
    return {word for call in calls if call for word in call[1].split()} - TARGETS


def missing_commands(page: str) -> set[str]:
    """Return the commands of gpuenv, and the options after them, that do not exist."""
    missing = set()
    for text, _ in code(page):
        for name, rest in re.findall(r"(?:^|\$ |\| )gpuenv ([a-z]+)([^|#]*)", text):
            if name not in COMMANDS:
                missing.add(name)
                continue
            command = import_module(COMMANDS[name][0]).command
            known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
            missing |= {
                f"{name} {one}" for one in re.findall(r" (--[a-z-]+)", rest) if one not in {*known, "--help"}
            }
    return missing


def anchors(page: str) -> set[str]:
    """Return the anchors that GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ +(.+)$", FENCE.sub("", page), re.M)
    return {re.sub(r"[^\w -]", "", one.lower()).strip().replace(" ", "-") for one in headings}


def missing_links(page: str, folder: Path) -> set[str]:
    """Return the relative links whose file, or whose heading in it, does not exist."""
    missing = set()
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page)):
        name, _, anchor = link.partition("#")
        if name.startswith(("https:", "http:", "mailto:")):
            continue
        text = page if not name else None
        if name and (folder / name).is_file():
            text = (folder / name).read_text(encoding="utf-8")
        elif name and (folder / name).is_dir():
            text = ""
        if text is None or (anchor and anchor not in anchors(text)):
            missing.add(link)
    return missing


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_names_only_what_exists(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    assert missing_paths(page) == set()
    assert missing_targets(page) == set()
    assert missing_commands(page) == set()
    assert missing_links(page, path.parent) == set()


def test_what_does_not_exist_is_found() -> None:
    page = (
        "# A title\nRead `operator/gpuenv/knowledge/model.py`, `plan/nothing.py`, `nowhere/`, `model.py`, `facts.py`,\n"
        "[one](docs/nothing.md), [two](README.md#nothing), [three](#a-title) and [four](#no-title). Run\n"
        "`make unit nothing`, `gpuenv explain --torch 2 --nothing` and `gpuenv nothing`.\n"
        "```console\n$ make absent  # and more\n$ sh hack/absent.sh\n```\n"
    )
    assert missing_paths(page) == {"plan/nothing.py", "nowhere/", "facts.py", "hack/absent.sh"}
    assert missing_targets(page) == {"nothing", "absent"}
    assert missing_commands(page) == {"explain --nothing", "nothing"}
    assert missing_links(page, ROOT) == {"docs/nothing.md", "README.md#nothing", "#no-title"}


def test_make_help_lists_every_target() -> None:
    (phony,) = re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)$", MAKEFILE, re.M)
    listed = set(re.findall(r"^([a-z0-9-]+):.*## ", MAKEFILE, re.M))
    assert set(phony.replace("\\", "").split()) == listed == TARGETS


@pytest.mark.parametrize("folder", ["operator", "probe_image", "tests", "hack", "helm", "crds", "examples"])
def test_pages_that_code_refers_to_exist(folder: str) -> None:
    kinds = {".py", ".yaml", ".sh", ".tpl", ".txt", ".json"}
    for path in (ROOT / folder).rglob("*"):
        texts_of_others = path.parent.name == "cases"
        if path.suffix in kinds and path != Path(__file__) and not texts_of_others:
            for name in re.findall(r"\bdocs/[\w-]+\.md\b", path.read_text(encoding="utf-8")):
                assert (ROOT / name).is_file(), f"{path} refers to {name}"


def test_the_map_of_the_code_has_the_layers_and_the_rooms_of_the_code() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = [one["layers"] for one in contracts if one["type"] == "layers"]
    table = page.partition("| layer |")[2].partition("\n\n")[0]
    rows = [re.findall(r"`([\w/]+)/`", line.split("|")[1]) for line in table.splitlines()[2:]]
    assert [" | ".join(row).replace("/", ".") for row in rows] == layers

    rooms = {path.parent.name for path in (ROOT / "operator/gpuenv/plan").glob("*/__init__.py")}
    assert set(re.findall(r"^\| `plan/(\w+)/`", page, re.M)) == rooms

    text = " ".join(page.split())
    for library, folder in (("kopf", "watch"), ("kubernetes", "kube")):
        (ignored,) = [one["ignore_imports"] for one in contracts if one.get("forbidden_modules") == [library]]
        assert ignored == [f"gpuenv.controller.{folder}.* -> {library}"]
        assert f"nly `controller/{folder}/` imports" in text
