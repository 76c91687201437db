"""Builds the probe reports of simulated nodes: facts and error numbers, never a verdict or a reason.

A probe report depends on the node, the image and the probe's options. Its form is that of ``report.schema.json``.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gpuenv_probe import statuses
from gpuenv_sandbox.fleet import benchmark_figures, physics
from gpuenv_sandbox.fleet.physics import CudaStart
from gpuenv_sandbox.scenario.model import Fault, SimulatedImage, SimulatedNode

Report = dict[str, Any]

_STEPS: Final = (
    ("alloc", ("",)),
    ("matmul", ("fp32", "tf32", "fp16", "bf16", "fp8")),
    ("conv", ("fp32", "tf32", "fp16", "bf16")),
    ("attention", ("fp32", "fp16", "bf16")),
    ("train", ("fp32",)),
    ("stream", ("",)),
    ("torchscript", ("fp32",)),
    ("jit", ("fp32",)),
)
"""The steps that the probe's kernels stage runs on each GPU: their names, each with its number formats.

Each number format is a step of its own. "" stands for a step without a number format.
"""
_FABRIC_SINCE: Final = (9, 0)
_LOST: Final = {"layer": "nvml", "code": 15, "name": "NVML_ERROR_GPU_IS_LOST", "message": "GPU is lost"}


@dataclass(frozen=True, slots=True)
class Request:
    """The options of a simulated probe, which it gets from its container.

    ``run`` is the run id, ``devices`` the number of GPUs of the container, ``profile`` the benchmark profile, and
    ``sharing`` how pods share the GPUs ("" if they do not). ``imports`` are the Python modules to import, and
    ``checks`` the names of the command checks. ``compile`` says whether ``torch.compile`` is tested.
    """

    run: str
    devices: int = 1
    profile: str = "Quick"
    sharing: str = ""
    imports: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    compile: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], devices: int) -> "Request":
        """Return the probe's options, read from its container's environment variables as the probe reads them.

        A variable for a list that is absent or not valid JSON counts as an empty list.
        """
        return cls(
            run=environment.get("GPUENV_RUN", ""),
            devices=devices,
            profile=environment.get("GPUENV_PROFILE", "Quick"),
            sharing=environment.get("GPUENV_SHARING", ""),
            imports=tuple(str(name) for name in _json_list(environment.get("GPUENV_IMPORTS"))),
            checks=tuple(
                str(check.get("name"))
                for check in _json_list(environment.get("GPUENV_CHECKS"))
                if isinstance(check, dict)
            ),
            compile=environment.get("GPUENV_COMPILE") == "1",
        )


def facts(node: SimulatedNode, image: SimulatedImage, request: Request) -> Report:
    """Return the probe report of the facts stage, which contains versions, the driver and the GPUs.

    This stage starts CUDA only through the driver API, not through PyTorch.
    """
    start = physics.start(node, image, request.devices)
    return {
        "schema": 1,
        "stage": "facts",
        "run": request.run,
        "complete": True,
        "container": _container(node, image),
        "driver": _driver(node, image, start),
        "gpus": _gpus(node, start, request.devices),
        "torch": _torch(image),
    }


def kernels(node: SimulatedNode, image: SimulatedImage, request: Request) -> Report:
    """Return the probe report of the kernels stage, in which PyTorch starts CUDA and runs kernels."""
    report: Report = {"schema": 1, "stage": "kernels", "run": request.run, "complete": True}
    report["torch"] = _torch_start(node, image, request)
    starts = report["torch"].get("available") is True
    runs = starts and physics.launch(node, image) is None
    return (
        report
        | {
            "steps": _steps(node, image, request)
            if starts
            else [_import_step(name, image) for name in request.imports],
            "commands": [_command(name, works=runs) for name in request.checks],
        }
        | (_benchmarks(node, request) if runs and request.profile != "None" else {})
    )


def unfinished(report: Report, ended: str = "during matmul fp32 on GPU 0") -> Report:
    """Return a probe report of the kernels stage as a probe leaves it that ends during its second step.

    ``report`` is the complete probe report. The probe writes its report before each step, so the returned report
    contains the result of the first step alone. ``ended`` is the value of its field ``ended``, which says when the
    probe ended.
    """
    steps = report.get("steps", [])[:1]
    partial = {key: value for key, value in report.items() if key not in ("benchmarks", "commands", "gpus")}
    return partial | {"complete": False, "ended": ended, "steps": steps}


def _container(node: SimulatedNode, image: SimulatedImage) -> Report:
    machine = {"amd64": "x86_64", "arm64": "aarch64"}[node.architecture]
    return {
        "python": image.python,
        "executable": "/usr/bin/python3",
        "glibc": "glibc 2.35",
        "machine": machine,
        "uid": 65532,
        "memoryLimitMiB": 4096,
        "shmMiB": 64,
        "writable": ["/tmp", "/dev/shm"],  # noqa: S108 - the content of a report, no path that is used
        "env": {"NVIDIA_VISIBLE_DEVICES": _uuid(node, 0), "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"},
        "compiler": image.compiler,
        "triton": image.triton,
    }


def _driver(node: SimulatedNode, image: SimulatedImage, start: CudaStart) -> Report:
    api = physics.api_in_container(node, image)
    return {
        "version": None if start.nvml else node.driver,
        "cudaVersion": api,
        "nvmlCudaVersion": None if start.nvml else api,
        "cuInit": start.cu_init,
        "deviceCount": start.devices,
        "libcuda": start.libcuda,
        "nvml": start.nvml,
        "deviceNodes": [
            {"path": path, "errno": 2 if path in start.missing_nodes else 0} for path in physics.DEVICE_NODES
        ],
    }


def _gpus(node: SimulatedNode, start: CudaStart, devices: int) -> list[Report]:
    if start.nvml is not None:
        return []
    if node.fault is Fault.GPU_LOST:
        return [{"index": index, "health": {"error": _LOST}} for index in range(devices)]
    major, minor = node.hardware.compute_capability
    return [
        {
            "index": index,
            "product": node.product,
            "uuid": _uuid(node, index),
            "computeCapability": f"{major}.{minor}",
            "memoryMiB": node.hardware.memory_mib,
            "memoryFreeMiB": node.hardware.memory_mib - 500,
            "health": _health(node),
        }
        for index in range(devices)
    ]


def _health(node: SimulatedNode) -> Report:
    """Return the object ``health`` that the probe report contains for each GPU of the node.

    GeForce cards have no ECC, and only NVSwitch systems of Hopper and later have an NVLink fabric.
    """
    slow = node.fault is Fault.SLOW
    health: Report = {
        "temperatureC": 91 if slow else 36,
        "throttleReasons": benchmark_figures.HW_SLOWDOWN if slow else 1,
        "computeMode": 0,
        "utilisationPercent": 0,
    }
    if "GeForce" not in node.product:
        health |= {"eccUncorrected": 0, "remapFailed": False, "remapPending": False, "recoveryAction": 0}
    if node.hardware.compute_capability >= _FABRIC_SINCE and "HBM3" in node.product:
        health["fabricState"] = 2 if node.fault is Fault.FABRIC_NOT_READY else 3
    return health


def _torch(image: SimulatedImage) -> Report:
    if image.torch is None:
        return _no_torch()
    return {
        "missing": False,
        "version": image.torch,
        "cuda": image.cuda,
        "cpuBuild": image.cuda is None,
        "cudnn": image.cudnn,
        "cudnnEnabled": True,
        "nccl": image.nccl if image.cuda else None,
        "archFlags": list(image.archs),
    }


def _no_torch() -> Report:
    error = {"layer": "python", "name": "ModuleNotFoundError", "message": "No module named 'torch'"}
    return {"missing": True, "importError": error}


def _torch_start(node: SimulatedNode, image: SimulatedImage, request: Request) -> Report:
    """Return the object ``torch`` of the kernels stage's probe report: whether PyTorch starts CUDA."""
    if image.torch is None:
        return _no_torch()
    torch: Report = {"missing": False, "version": image.torch}
    error = physics.start(node, image, request.devices).torch
    if image.cuda is None:
        message = "Torch not compiled with CUDA enabled"
        error = {"layer": "torch", "name": "AssertionError", "message": message}
        return torch | {"available": False, "initError": error}
    if error is None:
        return torch | {"available": True, "warnings": _init_warnings(node, image)}
    # is_available() swallows every error but leaves a warning, except when there is no driver at all.
    silent = node.fault is Fault.NO_GPU_IN_CONTAINER
    warnings = [] if silent else [f"CUDA initialization: {error['message']}"]
    return torch | {"available": False, "initError": error, "warnings": warnings}


def _init_warnings(node: SimulatedNode, image: SimulatedImage) -> list[str]:
    """Return the warnings that PyTorch issues when it starts CUDA.

    If PyTorch's build has no code for a GPU, PyTorch warns about that, but starts CUDA nevertheless.
    """
    capability = node.hardware.compute_capability
    if physics.code_for(image.archs, capability) is not physics.BuildCode.NONE:
        return []
    return [
        f"Found GPU0 {node.product} which is of compute capability (CC) {capability[0]}.{capability[1]}.\n"
        "The following list shows the CCs this version of PyTorch was built for and the hardware CCs it "
        f"supports: {' '.join(image.archs)}"
    ]


def _steps(node: SimulatedNode, image: SimulatedImage, request: Request) -> list[Report]:
    failure = physics.launch(node, image)
    rows = [
        (gpu, name, dtype) for gpu in range(request.devices) for name, dtypes in _STEPS for dtype in dtypes
    ]
    steps = [_step(node, failure, *row) for row in rows]
    if request.compile:
        steps.append(_compile_step(image, failure))
    return steps + [_import_step(name, image) for name in request.imports]


def _step(node: SimulatedNode, failure: physics.Failure | None, gpu: int, name: str, dtype: str) -> Report:
    step: Report = {"name": name, "gpu": gpu, "dtype": dtype, "status": statuses.PASS}
    capability = node.hardware.compute_capability
    if capability < benchmark_figures.FORMAT_SINCE.get(dtype, (0, 0)):
        words = f"compute capability {capability[0]}.{capability[1]} has no {dtype} in hardware"
        return step | {"status": statuses.SKIPPED, "detail": words}
    if failure is not None and name != "alloc":  # copies need no kernel
        return step | {"status": statuses.FAIL, "error": failure}
    if node.fault is Fault.WRONG_RESULT and (name, dtype) == ("matmul", "fp32"):
        words = "row 17: 7.25 instead of 31.4159 (tolerance 0.0031); again in a fresh process"
        return step | {"status": statuses.WRONG, "detail": words}
    return step


def _import_step(module: str, image: SimulatedImage) -> Report:
    step: Report = {"name": f"import:{module}", "gpu": 0, "dtype": "", "status": statuses.PASS}
    if module in image.modules:
        return step
    error = {"layer": "python", "name": "ModuleNotFoundError", "message": f"No module named '{module}'"}
    return step | {"status": statuses.FAIL, "error": error}


def _compile_step(image: SimulatedImage, failure: dict[str, Any] | None) -> Report:
    step: Report = {"name": "compile", "gpu": 0, "dtype": "", "status": statuses.PASS}
    if failure is not None:
        return step | {"status": statuses.FAIL, "error": failure}
    if image.compiler is None:
        message = "RuntimeError: Failed to find C compiler. Please specify via CC environment variable."
        return step | {
            "status": statuses.FAIL,
            "error": {"layer": "torch", "name": "InductorError", "message": message},
        }
    return step


def _benchmarks(node: SimulatedNode, request: Request) -> Report:
    rows = benchmark_figures.measure(node, request.devices, request.sharing)
    return {"benchmarks": rows, "gpus": benchmark_figures.conditions(node, request.devices)}


def _command(name: str, *, works: bool) -> Report:
    tail = "" if works else "RuntimeError: CUDA is not usable"
    return {"name": name, "exitCode": 0 if works else 1, "timedOut": False, "tail": tail}


def _uuid(node: SimulatedNode, index: int) -> str:
    text = _digest(f"{node.name}/{index}").hex()
    return f"GPU-{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:32]}"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _json_list(text: str | None) -> list[Any]:
    try:
        value = json.loads(text or "[]")
    except ValueError:
        return []
    return value if isinstance(value, list) else []
