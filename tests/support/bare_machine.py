"""A machine on which the sandbox finds no program: for tests of where it takes them from."""

from pathlib import Path

import pytest


def bare_machine(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty PATH, the cache and the assets for one test, and return ``directory``, which holds ``path`` and ``cache``."""
    (directory / "path").mkdir()
    monkeypatch.setenv("GPUENV_CACHE", str(directory / "cache"))
    monkeypatch.setenv("PATH", str(directory / "path"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return directory
