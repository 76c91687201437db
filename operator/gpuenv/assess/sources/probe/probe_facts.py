"""Reads facts from a probe document. The image is not trusted: a value of the wrong type counts as not known."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import islice
from typing import Any, TypeVar

from gpuenv.api.tolerant import flag, integer, mapping, mappings, number
from gpuenv.assess.facts import (
    Benchmark,
    CommandResult,
    ContainerFacts,
    DeviceNode,
    DriverFacts,
    Facts,
    Failure,
    Gpu,
    KernelModule,
    Libcuda,
    LibcudaOrigin,
    NodeFacts,
    NotMeasured,
    Source,
    Stage,
    Step,
    StepStatus,
    TorchFacts,
)
from gpuenv.assess.gpu_health import NO_HEALTH, Health
from gpuenv.assess.sources.probe.cleaned_values import clean_text
from gpuenv.assess.sources.probe.probe_document import (
    BENCHMARKS,
    COMMANDS,
    FACTS,
    GPUS,
    MAX_BENCHMARKS,
    MAX_LIST,
    MAX_ROWS,
    STEPS,
    gpu_index,
)
from gpuenv.assess.sources.probe.step_rows import step_gpus

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
Section = Mapping[str, Any]


def facts_from_document(document: Mapping[str, Any], node: NodeFacts) -> Facts:
    """Return the facts in a probe document. The result includes ``node``, the facts from the labels of the node."""
    known = mapping(document, FACTS)
    stages = _texts(known.get("stages"))
    return Facts(
        source=Source.PROBE,
        stages=frozenset(stage for stage in Stage if stage in stages),
        ended=_text(known.get("ended")),
        container=_container(mapping(known, "container")),
        driver=_driver(mapping(known, "driver")),
        gpus=tuple(_gpus(document.get(GPUS))),
        torch=_torch(mapping(known, "torch")),
        node=node,
        steps=tuple(islice(_steps(document.get(STEPS)), MAX_ROWS)),
        commands=tuple(_list(document.get(COMMANDS), _command)),
        benchmarks=tuple(_list(document.get(BENCHMARKS), _benchmark, MAX_BENCHMARKS)),
        omitted=tuple(_texts(known.get("omitted"))),
    )


def _text(value: object) -> str | None:
    """Return a text on one line without unprintable characters, or None if it is empty or no text."""
    if not isinstance(value, str):
        return None
    return clean_text(value) or None


def _member(kind: type[E], value: object) -> E | None:
    """Return the member of the enumeration ``kind`` that has this value, or None if no member has it."""
    try:
        return kind(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _words(value: object) -> str:
    return _text(value) or ""


def _texts(value: object) -> list[str]:
    return _list(value, _text)


def _list(value: object, make: Callable[[Any], T | None], limit: int = MAX_LIST) -> list[T]:
    if not isinstance(value, list | tuple):
        return []
    made: Iterable[T | None] = (make(entry) for entry in value[:limit])
    return [entry for entry in made if entry is not None]


def _failure(value: object) -> Failure | None:
    if not isinstance(value, Mapping):
        return None
    layer, code = _text(value.get("layer")), integer(value.get("code"))
    name, message = _words(value.get("name")), _words(value.get("message"))
    if layer is None and code is None and not message:
        return None
    return Failure(layer=layer or "", code=code, name=name, message=message)


def _capability(value: object) -> tuple[int, int] | None:
    text = _text(value)
    major, _, minor = (text or "").partition(".")
    if (
        major.isascii()
        and major.isdigit()
        and minor.isascii()
        and minor.isdigit()
        and len(major) + len(minor) < 6
    ):
        return int(major), int(minor)
    return None


def _container(document: Section) -> ContainerFacts:
    env = mapping(document.get("env"))
    writable = document.get("writable")
    return ContainerFacts(
        python=_text(document.get("python")),
        glibc=_text(document.get("glibc")),
        machine=_text(document.get("machine")),
        uid=integer(document.get("uid")),
        shm_mib=integer(document.get("shmMiB")),
        memory_limit_mib=integer(document.get("memoryLimitMiB")),
        writable=tuple(_texts(writable)) if isinstance(writable, list) else None,
        env={
            _words(key): _words(value)
            for key, value in list(env.items())[:MAX_LIST]
            if isinstance(value, str)
        },
        compiler=_text(document.get("compiler")),
        triton=_text(document.get("triton")),
        ptxas=_text(document.get("ptxas")),
        notes=tuple(_texts(document.get("notes"))),
        cpu_limit=number(document.get("cpuLimit")),
        pids_limit=integer(document.get("pidsLimit")),
        root_read_only=flag(document.get("rootReadOnly")),
    )


def _driver(document: Section) -> DriverFacts:
    library = document.get("libcuda")
    nodes = document.get("deviceNodes")
    module = document.get("kernelModule")
    return DriverFacts(
        version=_text(document.get("version")),
        cuda_version=integer(document.get("cudaVersion")),
        nvml_cuda_version=integer(document.get("nvmlCudaVersion")),
        cu_init=integer(document.get("cuInit")),
        device_count=integer(document.get("deviceCount")),
        libcuda=_libcuda(library) if isinstance(library, Mapping) else None,
        nvml=_failure(document.get("nvml")),
        cuda=_failure(document.get("cuda")),
        device_nodes=tuple(_list(nodes, _device_node)) if isinstance(nodes, list) else None,
        kernel_module=_kernel_module(module) if isinstance(module, Mapping) else None,
    )


def _libcuda(document: Section) -> Libcuda:
    return Libcuda(
        path=_text(document.get("path")),
        origin=_member(LibcudaOrigin, document.get("origin")),
        error=_text(document.get("error")),
    )


def _kernel_module(document: Section) -> KernelModule:
    return KernelModule(
        version=_text(document.get("version")),
        is_open=flag(document.get("open")),
        gpu_firmware=integer(document.get("gpuFirmware")),
    )


def _device_node(value: object) -> DeviceNode | None:
    document = mapping(value)
    path, errno = _text(document.get("path")), integer(document.get("errno"))
    return DeviceNode(path=path, errno=errno) if path is not None and errno is not None else None


def _gpus(value: object) -> list[Gpu]:
    rows = value[:MAX_LIST] if isinstance(value, list | tuple) else ()
    return [_gpu(row, place) for place, row in enumerate(rows) if isinstance(row, Mapping)]


def _gpu(row: Section, place: int) -> Gpu:
    return Gpu(
        index=gpu_index(row, place),
        product=_text(row.get("product")),
        uuid=_text(row.get("uuid")),
        compute_capability=_capability(row.get("computeCapability")),
        memory_mib=integer(row.get("memoryMiB")),
        memory_free_mib=integer(row.get("memoryFreeMiB")),
        mig=_text(row.get("mig")),
        health=read_health(mapping(row, "health")),
    )


def read_health(health: Mapping[str, Any]) -> Health:
    """Return the health of a GPU from NVML's readings in a probe document."""
    if not health:
        return NO_HEALTH
    lost = _failure(health.get("error"))
    return Health(
        error=f"{lost.name}: {lost.message}" if lost else _text(health.get("error")),
        pci_id=_text(health.get("pciId")),
        recovery_action=integer(health.get("recoveryAction")),
        ecc_mode=_truth(health.get("eccMode")),
        ecc_corrected=integer(health.get("eccCorrected")),
        ecc_uncorrected=integer(health.get("eccUncorrected")),
        ecc_uncorrected_total=integer(health.get("eccUncorrectedTotal")),
        remap_correctable=integer(health.get("remapCorrectable")),
        remap_uncorrectable=integer(health.get("remapUncorrectable")),
        remap_pending=_truth(health.get("remapPending")),
        remap_failed=_truth(health.get("remapFailed")),
        retired_pages_pending=_truth(health.get("retiredPagesPending")),
        fabric_state=integer(health.get("fabricState")),
        fabric_status=integer(health.get("fabricStatus")),
        fabric_health_mask=integer(health.get("fabricHealthMask")),
        throttle_reasons=integer(health.get("throttleReasons")),
        sm_clock_mhz=integer(health.get("smClockMHz")),
        sm_clock_max_mhz=integer(health.get("smClockMaxMHz")),
        memory_clock_mhz=integer(health.get("memoryClockMHz")),
        memory_clock_max_mhz=integer(health.get("memoryClockMaxMHz")),
        temperature_c=integer(health.get("temperatureC")),
        power_w=number(health.get("powerW")),
        power_limit_w=number(health.get("powerLimitW")),
        power_default_w=number(health.get("powerDefaultW")),
        pcie_gen=integer(health.get("pcieGen")),
        pcie_gen_max=integer(health.get("pcieGenMax")),
        pcie_width=integer(health.get("pcieWidth")),
        pcie_width_max=integer(health.get("pcieWidthMax")),
        pcie_replays=integer(health.get("pcieReplays")),
        utilisation_percent=integer(health.get("utilisationPercent")),
        compute_mode=integer(health.get("computeMode")),
        persistence=_truth(health.get("persistence")),
        processes=integer(health.get("processes")),
        virtualization_mode=integer(health.get("virtualizationMode")),
        vgpu_licensed=_truth(health.get("vgpuLicensed")),
        busy_throttle_reasons=integer(health.get("busyThrottleReasons")),
        busy_sm_clock_mhz=integer(health.get("busySmClockMHz")),
        busy_power_w=number(health.get("busyPowerW")),
        busy_temperature_c=integer(health.get("busyTemperatureC")),
        busy_pcie_gen=integer(health.get("busyPcieGen")),
        busy_pcie_width=integer(health.get("busyPcieWidth")),
    )


def _truth(value: object) -> bool | None:
    """Return 0, 1, False or True as a boolean, and None for anything else. NVML's booleans are the numbers 0 and 1."""
    return bool(value) if isinstance(value, int) and value in (0, 1) else None


def _torch(document: Section) -> TorchFacts:
    flags = document.get("archFlags")
    return TorchFacts(
        version=_text(document.get("version")),
        git_version=_text(document.get("gitVersion")),
        cuda=_text(document.get("cuda")),
        cpu_build=flag(document.get("cpuBuild")),
        cudnn=integer(document.get("cudnn")),
        cudnn_enabled=flag(document.get("cudnnEnabled")),
        nccl=_text(document.get("nccl")),
        arch_flags=tuple(_texts(flags)) if isinstance(flags, list) else None,
        available=flag(document.get("available")),
        missing=flag(document.get("missing")),
        import_error=_failure(document.get("importError")),
        init_error=_failure(document.get("initError")),
        warnings=tuple(_texts(document.get("warnings"))),
    )


def _steps(value: object) -> Iterator[Step]:
    """Yield a step for each GPU of each row."""
    for row in mappings(value)[:MAX_ROWS]:
        name, status = _text(row.get("name")), _member(StepStatus, row.get("status"))
        if name is None or status is None:
            continue
        dtype, error, detail = _words(row.get("dtype")), _failure(row.get("error")), _words(row.get("detail"))
        for gpu in step_gpus(row):
            yield Step(name=name, gpu=gpu, dtype=dtype, status=status, error=error, detail=detail)


def _command(value: object) -> CommandResult | None:
    document = mapping(value)
    name = _text(document.get("name"))
    if name is None:
        return None
    return CommandResult(
        name=name,
        exit_code=integer(document.get("exitCode")),
        signal=integer(document.get("signal")),
        timed_out=flag(document.get("timedOut")),
        tail=_words(document.get("tail")),
    )


def _benchmark(value: object) -> Benchmark | None:
    document = mapping(value)
    benchmark = _text(document.get("benchmark"))
    if benchmark is None:
        return None
    return Benchmark(
        benchmark=benchmark,
        gpu=integer(document.get("gpu")),
        dtype=_words(document.get("dtype")),
        unit=_text(document.get("unit")),
        median=number(document.get("median")),
        p20=number(document.get("p20")),
        p80=number(document.get("p80")),
        samples=integer(document.get("samples")),
        detail=_words(document.get("detail")),
        not_measured=_member(NotMeasured, document.get("notMeasured")),
    )
