"""Wheels: one built from the tree is whole, and the operator's image leaves the sandbox out."""

import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[2]
DEPENDENCIES = Path(click.__file__).parents[1]
TABLES = "operator/gpuenv/knowledge/tables.json"
IGNORED = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*", "build", "dist", "tables.json")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that pip builds from a source archive of the tree."""
    scratch = tmp_path_factory.mktemp("whole")
    tree = copied(["."], scratch / "tree")
    hook = "from setuptools import build_meta; print(build_meta.build_sdist('..'))"
    archive = run([sys.executable, "-c", hook], tree).stdout.splitlines()[-1]
    return built(scratch / archive, scratch)


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """An environment that holds that wheel and what it depends on, and nothing of this tree."""
    return installation(wheel)


@pytest.fixture(scope="module")
def in_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment as the operator's image has it: built from what its Dockerfile copies."""
    scratch = tmp_path_factory.mktemp("image")
    build = (ROOT / "operator/Dockerfile").read_text().split("\nFROM ")[1]
    paths = [path for line in re.findall(r"^COPY (.+) \S+$", build, re.M) for path in line.split()]
    assert {"crds", "operator/gpuenv", "pyproject.toml"} < set(paths)
    return installation(built(copied(paths, scratch / "tree"), scratch))


def copied(paths: list[str], tree: Path) -> Path:
    """A copy of parts of the tree, because setuptools leaves its build directory behind."""
    for path in paths:
        if (ROOT / path).is_dir():
            shutil.copytree(ROOT / path, tree / path, ignore=IGNORED, symlinks=True)
        else:
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, tree / path)
    return tree


def built(source: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index"]
    run([*command, "-w", folder, source], folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def installation(wheel: Path) -> Path:
    """The `bin` directory of a new virtual environment with the wheel."""
    python = environment(wheel.parent / "venv")
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index"]
    run([*command, "--no-compile", wheel], wheel.parent)
    return python.parent


def environment(directory: Path) -> Path:
    """The Python of a new virtual environment with what gpuenv depends on, and without gpuenv."""
    venv.create(directory, with_pip=False, symlinks=True)
    (packages,) = directory.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{DEPENDENCIES}\n")
    return directory / "bin/python"


def run(command: list[str | Path], directory: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command and require its exit code."""
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"}
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_an_editable_installation_prints_nothing(tmp_path: Path) -> None:
    """As `make venv` does it; what a build backend prints would be relayed by pip."""
    tree = copied(["operator", "probe_image", "pyproject.toml", "setup.py", "README.md", "LICENSE"], tmp_path)
    python = environment(tmp_path / "venv")
    command = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index"]
    done = run([*command, "--no-build-isolation", "--disable-pip-version-check", "-e", tree], tmp_path)
    assert done.stdout + done.stderr == ""
    found = run([python, "-c", "import gpuenv_probe; print(gpuenv_probe.__file__)"], tmp_path).stdout
    assert Path(found).is_relative_to(tree)
    assert (tree / TABLES).is_file()


@pytest.mark.parametrize("package", ["gpuenv", "gpuenv_sandbox", "gpuenv_probe"])
def test_the_packages_are_those_of_the_wheel(installed: Path, tmp_path: Path, package: str) -> None:
    found = run([installed / "python", "-c", f"import {package}; print({package}.__file__)"], tmp_path).stdout
    assert Path(found).is_relative_to(installed.parent / "lib")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("gpuenv explain --torch 2.9.1+cu128 --gpu H100 --driver 580.95.05", "Compatible"),
        ("gpuenv knowledge", "580"),
        ("gpuenv sandbox --help", "--scenario"),
        ("python -m gpuenv_probe --help", "usage"),
    ],
)
def test_commands_run_from_the_wheel_alone(
    installed: Path, tmp_path: Path, command: str, expected: str
) -> None:
    program, *arguments = command.split()
    assert expected in run([installed / program, *arguments], tmp_path).stdout


def test_files_from_elsewhere_in_the_repository_are_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = (
        "from gpuenv import manifests; from gpuenv_sandbox.scenario.read import read_scenario\n"
        "from gpuenv_sandbox.scenario.environments import EXAMPLE, read_environments\n"
        "names = [one['metadata']['name'] for one in manifests.crds()]\n"
        "names += [one['metadata']['name'] for one in read_environments([EXAMPLE], {})]\n"
        "names += [one['kind'] for one in manifests.load()]\n"
        "print(*names, len(read_scenario().nodes))"
    )
    words = run([installed / "python", "-c", code], tmp_path).stdout.split()
    assert words[:3] == ["gpuenvironments.gpuenv.dev", "gpunodereports.gpuenv.dev", "pytorch-2-9"]
    assert "ValidatingAdmissionPolicy" in words
    assert int(words[-1]) > 0


def test_the_wheel_has_the_tables_in_the_form_that_loads_quickly(installed: Path, tmp_path: Path) -> None:
    code = "import sys; from gpuenv.knowledge import load; load(); print('yaml' in sys.modules)"
    assert run([installed / "python", "-c", code], tmp_path).stdout == "False\n"


def test_copies_in_the_wheel_are_the_originals(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for copy, original in (
            ("gpuenv/manifests/crds/gpuenv.dev_gpunodereports.yaml", "crds/gpuenv.dev_gpunodereports.yaml"),
            ("gpuenv_sandbox/scenario/pytorch-2.9.yaml", "examples/pytorch-2.9.yaml"),
        ):
            assert archive.read(copy) == (ROOT / original).read_bytes()


def test_the_sandbox_without_its_extra_says_what_to_install(installed: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['cryptography'] = None; from gpuenv.cli import main; main(['sandbox'])"
    assert run([installed / "python", "-c", code], tmp_path, code=1).stderr == (
        "gpuenv: sandbox needs the module cryptography, which is not installed: "
        "`pip install cryptography`, or install gpuenv with its extra, gpuenv[sandbox]\n"
    )


def test_the_operators_image_has_no_sandbox_and_says_so(in_image: Path, tmp_path: Path) -> None:
    assert "sandbox" in run([in_image / "gpuenv", "--help"], tmp_path).stdout
    assert run([in_image / "gpuenv", "sandbox"], tmp_path, code=1).stderr == (
        "gpuenv: sandbox needs the module gpuenv_sandbox, which is not installed: "
        "the operator's image has none; on a Linux machine run `make sandbox` in a checkout of gpuenv\n"
    )


def test_the_operators_image_needs_nothing_of_the_sandbox(in_image: Path, tmp_path: Path) -> None:
    assert "--max-probes" in run([in_image / "gpuenv", "operator", "--help"], tmp_path).stdout
    assert not re.search(r"^(cryptography|cffi)==", (ROOT / "requirements.txt").read_text(), re.M)
