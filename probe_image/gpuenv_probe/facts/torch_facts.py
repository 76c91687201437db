"""What torch says of itself: versions and targets without touching a GPU, and how its CUDA starts."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import warnings
from typing import Any, Callable

from gpuenv_probe import failures
from gpuenv_probe.failures import Failure
from gpuenv_probe.step import Context, Partial, Step

IMPORT_LIMIT = 180.0
"""Seconds ``import torch`` may take: 1.4 s warm, 10 s cold on a local disk, much more on a network disk."""
_WARNINGS = 8
_TRITON_PACKAGES = ("triton", "pytorch-triton", "triton-nightly")


def steps(job: dict[str, Any]) -> list[Step]:
    """Steps of the facts stage's torch worker. None of them initialises CUDA."""
    return [
        Step("import torch", IMPORT_LIMIT, import_torch, blame_import, setup=True),
        Step("torch versions", 60.0, versions, blame_versions),
        Step("triton", 20.0, triton, lambda failure, outcome: {}),
    ]


def import_torch(context: Context) -> Partial:
    """Imports torch, with the warnings it gives; a missing or broken torch ends the worker."""
    with Warnings() as caught:
        try:
            import torch
        except ModuleNotFoundError as error:
            context.stop = True
            if error.name == "torch":
                return {"torch": {"missing": True, "importError": failures.of_exception(error)}}
            return {"torch": {"missing": False, "importError": failures.of_exception(error)}}
        except BaseException as error:
            context.stop = True
            return {"torch": {"missing": False, "importError": failures.of_exception(error)}}
    if not hasattr(torch, "__version__") or not hasattr(torch, "version"):
        context.stop = True
        words = f"torch imports from {getattr(torch, '__path__', '?')} but has no version: it is not PyTorch"
        return {
            "torch": {"missing": False, "importError": failures.failure("python", None, "NotPyTorch", words)}
        }
    context.found["torch"] = torch
    found: dict[str, Any] = {"missing": False, "version": str(torch.__version__)}
    if caught.texts:
        found["warnings"] = caught.texts
    return {"torch": found}


def blame_import(failure: Failure, outcome: str) -> Partial:
    """The worker died or hung while importing torch."""
    words = f"import torch: {outcome}: {failure.get('message', '')}"
    return {"torch": {"importError": {**failure, "message": failures.shorten(words)}}}


def blame_versions(failure: Failure, outcome: str) -> Partial:
    """The worker died or hung while asking torch for versions: loading cuDNN or NCCL does that."""
    return {
        "torch": {"warnings": [f"asking torch for its versions: {outcome}: {failure.get('message', '')}"]}
    }


def versions(context: Context) -> Partial:
    """Versions and targets of the build; what a question raises is kept among the warnings."""
    torch = context.found["torch"]
    found: dict[str, Any] = {
        "gitVersion": getattr(torch.version, "git_version", None),
        "cuda": torch.version.cuda,
        "cpuBuild": torch.version.cuda is None,
    }
    questions: dict[str, Callable[[], Any]] = {
        "cudnn": torch.backends.cudnn.version,
        "cudnnEnabled": lambda: bool(torch.backends.cudnn.enabled),
        "nccl": lambda: nccl_version(torch),
        "archFlags": lambda: arch_flags(torch),
    }
    with Warnings() as caught:
        for name, ask in questions.items():
            try:
                found[name] = ask()
            except Exception as error:
                caught.texts.append(f"{name}: {failures.shorten(str(error))}")
    if caught.texts:
        found["warnings"] = caught.texts
    return {"torch": {name: value for name, value in found.items() if value is not None}}


def arch_flags(torch: Any) -> list[str]:
    """Targets of the build. ``get_arch_list()`` is empty without a device; the C function below it is not."""
    flags = getattr(torch._C, "_cuda_getArchFlags", None)
    if flags is None:
        return list(torch.cuda.get_arch_list()) if torch.version.cuda else []
    return (flags() or "").split()


def nccl_version(torch: Any) -> str | None:
    """NCCL's version with dots; an integer in old releases (2708 and 21003 both occur)."""
    if not hasattr(torch._C, "_nccl_version"):
        return None
    version = torch.cuda.nccl.version()
    if isinstance(version, int):
        base = 10000 if version >= 10000 else 1000
        return f"{version // base}.{version % base // 100}.{version % 100}"
    return ".".join(str(part) for part in version)


def triton(context: Context) -> Partial:
    """Triton's version and that of the ptxas it would use, without importing it."""
    from importlib import metadata

    found: dict[str, Any] = {}
    for package in _TRITON_PACKAGES:
        try:
            found["triton"] = metadata.version(package)
            break
        except metadata.PackageNotFoundError:
            continue
    ptxas = _ptxas()
    if ptxas:
        found["ptxas"] = _ptxas_version(ptxas)
    return {"container": found} if found else {}


def _ptxas() -> str | None:
    configured = os.environ.get("TRITON_PTXAS_PATH")
    if configured:
        return configured
    spec = importlib.util.find_spec("triton")
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        for inner in (("backends", "nvidia", "bin"), ("common", "..", "third_party", "cuda", "bin")):
            path = os.path.join(place, *inner, "ptxas")
            if os.path.exists(path):
                return path
    return None


def _ptxas_version(path: str) -> str:
    try:
        done = subprocess.run(
            [path, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not run: {error}"
    match = re.search(rb"V(\d+\.\d+\.\d+)", done.stdout)
    return match.group(1).decode("ascii") if match else "does not say its version"


def start_cuda(context: Context) -> Partial:
    """``torch.cuda.init()`` with its exception's text, every warning, and the number of devices."""
    torch = context.found["torch"]
    if context.device_kind == "cpu":
        return {"control": {"gpuCount": 1}}
    found: dict[str, Any] = {}
    count = 0
    with Warnings() as caught:
        found["available"] = bool(torch.cuda.is_available())
        try:
            torch.cuda.init()
            count = int(torch.cuda.device_count())
        except Exception as error:
            found["initError"] = failures.of_exception(error)
    if caught.texts:
        found["warnings"] = caught.texts
    context.stop = "initError" in found or count == 0
    return {"torch": found, "control": {"gpuCount": count}}


def blame_start(failure: Failure, outcome: str) -> Partial:
    """torch's CUDA took its worker down, or did not come back."""
    words = f"torch.cuda.init(): {outcome}: {failure.get('message', '')}"
    return {"torch": {"initError": {**failure, "message": failures.shorten(words)}}}


class Warnings:
    """Collects the texts of Python warnings while it is open, each once."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._catcher = warnings.catch_warnings()

    def __enter__(self) -> Warnings:
        self._catcher.__enter__()
        warnings.simplefilter("default")
        warnings.showwarning = self._note
        return self

    def __exit__(self, *_: object) -> None:
        self._catcher.__exit__(None, None, None)

    def _note(self, message: Any, category: Any, *_: object, **__: object) -> None:
        text = failures.shorten(str(message), 2 * failures.MESSAGE_LENGTH)
        unimportant = issubclass(category, (DeprecationWarning, PendingDeprecationWarning, FutureWarning))
        if not unimportant and text not in self.texts and len(self.texts) < _WARNINGS:
            self.texts.append(text)
