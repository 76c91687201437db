"""Facts about torch: its versions and build targets, read without a GPU, and whether it can start CUDA."""

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
"""Seconds that ``import torch`` may take.

The import takes 1.4 s with warm caches, 10 s from a cold local disk, and much longer from a network disk.
"""
_MAX_WARNINGS = 8
_TRITON_PACKAGES = ("triton", "pytorch-triton", "triton-nightly")


def steps(job: dict[str, Any]) -> list[Step]:
    """Return the steps of the torch worker process of the facts stage. They do not initialise CUDA."""
    return [
        Step("import torch", IMPORT_LIMIT, import_torch, import_failed, setup=True),
        Step("torch versions", 60.0, versions, versions_failed),
        Step("triton", 20.0, triton, lambda failure, outcome: {}),
    ]


def import_torch(context: Context) -> Partial:
    """Import torch, and report its version and the warnings that it gave.

    If torch is missing or broken, that is reported, and the worker process ends after this step.
    """
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


def import_failed(failure: Failure, outcome: str) -> Partial:
    """Return the partial report for a worker process that crashed or hung while it imported torch."""
    words = f"import torch: {outcome}: {failure.get('message', '')}"
    return {"torch": {"importError": {**failure, "message": failures.shorten(words)}}}


def versions_failed(failure: Failure, outcome: str) -> Partial:
    """Return the partial report for a worker process that crashed or hung while it read torch's versions.

    Reading the versions of cuDNN and NCCL loads these libraries, which may crash.
    """
    return {
        "torch": {"warnings": [f"asking torch for its versions: {outcome}: {failure.get('message', '')}"]}
    }


def versions(context: Context) -> Partial:
    """Report torch's versions and build targets. An exception while one of them is read becomes a warning."""
    torch = context.found["torch"]
    found: dict[str, Any] = {
        "gitVersion": getattr(torch.version, "git_version", None),
        "cuda": torch.version.cuda,
        "cpuBuild": torch.version.cuda is None,
    }
    reads: dict[str, Callable[[], Any]] = {
        "cudnn": torch.backends.cudnn.version,
        "cudnnEnabled": lambda: bool(torch.backends.cudnn.enabled),
        "nccl": lambda: nccl_version(torch),
        "archFlags": lambda: arch_flags(torch),
    }
    with Warnings() as caught:
        for name, read in reads.items():
            try:
                found[name] = read()
            except Exception as error:
                caught.texts.append(f"{name}: {failures.shorten(str(error))}")
    if caught.texts:
        found["warnings"] = caught.texts
    return {"torch": {name: value for name, value in found.items() if value is not None}}


def arch_flags(torch: Any) -> list[str]:
    """Return the GPU architectures for which this build of torch contains code.

    ``torch.cuda.get_arch_list()`` returns nothing without a GPU, but the C function behind it works.
    """
    flags = getattr(torch._C, "_cuda_getArchFlags", None)
    if flags is None:
        return list(torch.cuda.get_arch_list()) if torch.version.cuda else []
    return (flags() or "").split()


def nccl_version(torch: Any) -> str | None:
    """Return NCCL's version with dots, such as 2.27.5, or None if this build of torch has no NCCL.

    Old torch releases give an integer, such as 2708 for 2.7.8 and 21003 for 2.10.3.
    """
    if not hasattr(torch._C, "_nccl_version"):
        return None
    version = torch.cuda.nccl.version()
    if isinstance(version, int):
        base = 10000 if version >= 10000 else 1000
        return f"{version // base}.{version % base // 100}.{version % 100}"
    return ".".join(str(part) for part in version)


def triton(context: Context) -> Partial:
    """Report the versions of Triton and of the ptxas that Triton would use, without importing Triton."""
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
    """Return the path of the ptxas that Triton would use, or None if there is none."""
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
    """Call ``torch.cuda.init()``, and report whether CUDA is available, and the exception and warnings of the call.

    The number of GPUs is kept as a ``control`` value for the parent process. Without a GPU, the worker process ends
    after this step.
    """
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


def start_failed(failure: Failure, outcome: str) -> Partial:
    """Return the partial report for a worker process that crashed or hung in ``torch.cuda.init()``."""
    words = f"torch.cuda.init(): {outcome}: {failure.get('message', '')}"
    return {"torch": {"initError": {**failure, "message": failures.shorten(words)}}}


class Warnings:
    """A context manager that collects the texts of Python warnings, without deprecation warnings and repetitions."""

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
        if not unimportant and text not in self.texts and len(self.texts) < _MAX_WARNINGS:
            self.texts.append(text)
