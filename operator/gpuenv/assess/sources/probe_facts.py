"""Facts from a probe document. The image that wrote it is not trusted: an ill-typed value is not known. Nothing here raises."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from gpuenv.api.tolerant import flag, integer, mapping, number
from gpuenv.assess.facts import (
    Benchmark,
    CommandResult,
    ContainerFacts,
    DeviceNode,
    DriverFacts,
    Facts,
    Failure,
    Gpu,
    Libcuda,
    NodeFacts,
    Step,
    TorchFacts,
)
from gpuenv.assess.sources.probe_document import (
    BENCHMARKS,
    COMMANDS,
    FACTS,
    GPUS,
    MAX_LIST,
    MAX_ROWS,
    STEPS,
    clean_text,
    gpu_index,
)

_STEP_STATUSES = ("Pass", "Fail", "Wrong", "Unconfirmed", "Skipped", "Crashed", "TimedOut")
_STAGES = ("facts", "kernels")

T = TypeVar("T")
Section = Mapping[str, Any]


def facts_from_document(document: Mapping[str, Any], node: NodeFacts) -> Facts:
    """Return what a probe document says about image and node, beside what ``node`` says already."""
    known = mapping(document, FACTS)
    stages = _texts(known.get("stages"))
    return Facts(
        source="probe",
        stages=frozenset(stage for stage in _STAGES if stage in stages),
        ended=_text(known.get("ended")),
        container=_container(mapping(known, "container")),
        driver=_driver(mapping(known, "driver")),
        gpus=tuple(_gpus(document.get(GPUS))),
        torch=_torch(mapping(known, "torch")),
        node=node,
        steps=tuple(_list(document.get(STEPS), _step, MAX_ROWS)),
        commands=tuple(_list(document.get(COMMANDS), _command)),
        benchmarks=tuple(_list(document.get(BENCHMARKS), _benchmark, MAX_ROWS)),
        omitted=tuple(_texts(known.get("omitted"))),
    )


def _text(value: object) -> str | None:
    """Return a text on one line, or None if nothing is left of it."""
    if not isinstance(value, str):
        return None
    return clean_text(value).replace("\n", " ").strip() or None


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
    )


def _driver(document: Section) -> DriverFacts:
    library = document.get("libcuda")
    nodes = document.get("deviceNodes")
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
    )


def _libcuda(document: Section) -> Libcuda:
    return Libcuda(
        path=_text(document.get("path")),
        origin=_text(document.get("origin")),
        error=_text(document.get("error")),
    )


def _device_node(value: object) -> DeviceNode | None:
    document = mapping(value)
    path, errno = _text(document.get("path")), integer(document.get("errno"))
    return DeviceNode(path=path, errno=errno) if path is not None and errno is not None else None


def _gpus(value: object) -> list[Gpu]:
    rows = value[:MAX_LIST] if isinstance(value, list | tuple) else ()
    return [_gpu(row, place) for place, row in enumerate(rows) if isinstance(row, Mapping)]


def _gpu(row: Section, place: int) -> Gpu:
    health = mapping(row, "health")
    lost = _failure(health.get("error"))
    return Gpu(
        index=gpu_index(row, place),
        product=_text(row.get("product")),
        uuid=_text(row.get("uuid")),
        compute_capability=_capability(row.get("computeCapability")),
        memory_mib=integer(row.get("memoryMiB")),
        memory_free_mib=integer(row.get("memoryFreeMiB")),
        mig=_text(row.get("mig")),
        health={
            _words(key): fact if isinstance(fact, bool | int | float) else _text(fact)
            for key, fact in list(health.items())[:MAX_LIST]
            if isinstance(fact, bool | int | float | str)
        }
        | ({"error": f"{lost.name}: {lost.message}"} if lost else {}),
    )


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


def _step(value: object) -> Step | None:
    document = mapping(value)
    name = _text(document.get("name"))
    status = _text(document.get("status"))
    if name is None or status not in _STEP_STATUSES:
        return None
    return Step(
        name=name,
        gpu=integer(document.get("gpu")) or 0,
        dtype=_words(document.get("dtype")),
        status=status,
        error=_failure(document.get("error")),
        detail=_words(document.get("detail")),
    )


def _command(value: object) -> CommandResult | None:
    document = mapping(value)
    name = _text(document.get("name"))
    if name is None:
        return None
    return CommandResult(
        name=name,
        exit_code=integer(document.get("exitCode")),
        signal=integer(document.get("signal")),
        timed_out=flag(document.get("timedOut")) or False,
        tail=_words(document.get("tail")),
    )


def _benchmark(value: object) -> Benchmark | None:
    document = mapping(value)
    kernel = _text(document.get("kernel"))
    if kernel is None:
        return None
    return Benchmark(
        kernel=kernel,
        gpu=integer(document.get("gpu")) or 0,
        dtype=_words(document.get("dtype")),
        unit=_words(document.get("unit")) or "TFLOPS",
        median=number(document.get("median")),
        p20=number(document.get("p20")),
        p80=number(document.get("p80")),
        samples=integer(document.get("samples")) or 0,
        detail=_words(document.get("detail")),
    )
