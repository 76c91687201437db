"""The zip application: the same bytes everywhere, small enough for a ConfigMap, and all that the probe needs."""

import ast
import hashlib
import io
import os
import sys
import zipfile
from pathlib import Path

import pytest

import gpuenv_probe
from gpuenv.controller import bundle, probe_files

PACKAGE = Path(gpuenv_probe.__file__).parent


def test_the_bytes_do_not_depend_on_time_or_file_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    first = bundle.build_zipapp.__wrapped__()
    monkeypatch.setattr("time.time", lambda: 0.0)
    old = os.umask(0o077)
    try:
        assert bundle.build_zipapp.__wrapped__() == first
    finally:
        os.umask(old)
    name = probe_files.config_map(bundle.build_zipapp(), "probes")["metadata"]["name"]
    assert name == f"gpuenv-probe-{hashlib.sha256(first).hexdigest()[:10]}"


def test_it_fits_a_config_map_with_the_bindings_inside() -> None:
    data = bundle.build_zipapp()
    assert len(data) < 900_000
    names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    assert "vendor/pynvml.py" in names
    assert "__main__.py" in names
    wanted = {f"gpuenv_probe/{path.relative_to(PACKAGE)}" for path in PACKAGE.rglob("*.py")}
    assert wanted <= set(names)
    assert not [name for name in names if name.endswith((".pyc", ".json"))]


def test_a_changed_source_changes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = bundle.build_zipapp.__wrapped__()
    (tmp_path / "__main__.py").write_text("print('another probe')\n", encoding="utf-8")
    monkeypatch.setattr(gpuenv_probe, "__file__", str(tmp_path / "__init__.py"))
    assert bundle.build_zipapp.__wrapped__() != before


def test_missing_bindings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="nvidia-ml-py"):
        bundle.build_zipapp.__wrapped__()


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_every_module_is_python_3_8_and_stands_on_the_standard_library(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }

    allowed = set(sys.stdlib_module_names) | {"gpuenv_probe", "torch", "pynvml"}
    assert imported <= allowed
