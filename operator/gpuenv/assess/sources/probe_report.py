"""From decoded probe reports to facts. The image that wrote them is not trusted: whatever is ill-typed is not known.

Text is cut to 500 printable characters, lists to 64 entries, numbers to sane sizes. Nothing here raises.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

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

MAX_TEXT = 500
MAX_LIST = 64
_STEP_STATUSES = ("Pass", "Fail", "Wrong", "Unconfirmed", "Skipped", "Crashed", "TimedOut")
MAX_STEPS = 1024
"""Steps and benchmarks: 16 GPUs with all kernels and dtypes."""

T = TypeVar("T")
Document = Mapping[str, Any]


def facts_from_reports(facts_doc: Document | None, kernels_doc: Document | None, node: NodeFacts) -> Facts:
    """Both stages of one run as facts; the kernels stage adds to, and where it knows better replaces, the facts stage."""
    first, second = _mapping(facts_doc), _mapping(kernels_doc)
    stages = frozenset(
        stage
        for stage, document in (("facts", first), ("kernels", second))
        if document.get("stage") == stage and document.get("complete") is True
    )
    ended = [text for text in (_text(first.get("ended")), _text(second.get("ended"))) if text]
    return Facts(
        source="probe",
        stages=stages,
        ended="; ".join(ended) or None,
        container=_container(_merged(first, second, "container")),
        driver=_driver(_merged(first, second, "driver")),
        gpus=tuple(_list(_gpus(first, second), _gpu)),
        torch=_torch(_merged(first, second, "torch")),
        node=node,
        steps=tuple(_list(second.get("steps"), _step, MAX_STEPS)),
        commands=tuple(_list(second.get("commands"), _command)),
        benchmarks=tuple(_list(second.get("benchmarks"), _benchmark, MAX_STEPS)),
        omitted=tuple(_texts(first.get("omitted")) + _texts(second.get("omitted"))),
    )


def _mapping(value: object) -> Document:
    return value if isinstance(value, Mapping) else {}


def _merged(first: Document, second: Document, key: str) -> Document:
    later = {name: value for name, value in _mapping(second.get(key)).items() if value is not None}
    return {**_mapping(first.get(key)), **later}


def _gpus(first: Document, second: Document) -> list[Document]:
    """GPUs by index; both stages look at them, each with facts of its own."""
    found: dict[int, dict[str, Any]] = {}
    for document in (first, second):
        listed = document.get("gpus")
        for gpu in listed[:MAX_LIST] if isinstance(listed, list) else ():
            if not isinstance(gpu, Mapping):
                continue
            known = found.setdefault(_integer(gpu.get("index")) or 0, {})
            health = {**_mapping(known.get("health")), **_mapping(gpu.get("health"))}
            known |= {key: value for key, value in gpu.items() if value is not None}
            known["health"] = health
    return list(found.values())


def _text(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    kept = "".join(char if char.isprintable() else " " for char in value[:MAX_TEXT]).strip()
    return kept or None


def _words(value: object) -> str:
    return _text(value) or ""


def _texts(value: object) -> list[str]:
    return _list(value, _text)


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53 else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e18 else None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _list(value: object, make: Callable[[Any], T | None], limit: int = MAX_LIST) -> list[T]:
    if not isinstance(value, list | tuple):
        return []
    made: Iterable[T | None] = (make(entry) for entry in value[:limit])
    return [entry for entry in made if entry is not None]


def _failure(value: object) -> Failure | None:
    if not isinstance(value, Mapping):
        return None
    layer, code = _text(value.get("layer")), _integer(value.get("code"))
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


def _container(document: Document) -> ContainerFacts:
    env = _mapping(document.get("env"))
    writable = document.get("writable")
    return ContainerFacts(
        python=_text(document.get("python")),
        glibc=_text(document.get("glibc")),
        machine=_text(document.get("machine")),
        uid=_integer(document.get("uid")),
        shm_mib=_integer(document.get("shmMiB")),
        memory_limit_mib=_integer(document.get("memoryLimitMiB")),
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
        cpu_limit=_number(document.get("cpuLimit")),
        pids_limit=_integer(document.get("pidsLimit")),
    )


def _driver(document: Document) -> DriverFacts:
    library = document.get("libcuda")
    nodes = document.get("deviceNodes")
    return DriverFacts(
        version=_text(document.get("version")),
        cuda_version=_integer(document.get("cudaVersion")),
        nvml_cuda_version=_integer(document.get("nvmlCudaVersion")),
        cu_init=_integer(document.get("cuInit")),
        device_count=_integer(document.get("deviceCount")),
        libcuda=_libcuda(library) if isinstance(library, Mapping) else None,
        nvml=_failure(document.get("nvml")),
        cuda=_failure(document.get("cuda")),
        device_nodes=tuple(_list(nodes, _device_node)) if isinstance(nodes, list) else None,
    )


def _libcuda(document: Document) -> Libcuda:
    return Libcuda(
        path=_text(document.get("path")),
        origin=_text(document.get("origin")),
        error=_text(document.get("error")),
    )


def _device_node(value: object) -> DeviceNode | None:
    document = _mapping(value)
    path, errno = _text(document.get("path")), _integer(document.get("errno"))
    return DeviceNode(path=path, errno=errno) if path is not None and errno is not None else None


def _gpu(value: object) -> Gpu | None:
    if not isinstance(value, Mapping):
        return None
    health = _mapping(value.get("health"))
    lost = _failure(health.get("error"))
    return Gpu(
        index=_integer(value.get("index")) or 0,
        product=_text(value.get("product")),
        uuid=_text(value.get("uuid")),
        compute_capability=_capability(value.get("computeCapability")),
        memory_mib=_integer(value.get("memoryMiB")),
        memory_free_mib=_integer(value.get("memoryFreeMiB")),
        mig=_text(value.get("mig")),
        health={
            _words(key): fact if isinstance(fact, bool | int | float) else _text(fact)
            for key, fact in list(health.items())[:MAX_LIST]
            if isinstance(fact, bool | int | float | str)
        }
        | ({"error": f"{lost.name}: {lost.message}"} if lost else {}),
    )


def _torch(document: Document) -> TorchFacts:
    flags = document.get("archFlags")
    return TorchFacts(
        version=_text(document.get("version")),
        git_version=_text(document.get("gitVersion")),
        cuda=_text(document.get("cuda")),
        cpu_build=_flag(document.get("cpuBuild")),
        cudnn=_integer(document.get("cudnn")),
        cudnn_enabled=_flag(document.get("cudnnEnabled")),
        nccl=_text(document.get("nccl")),
        arch_flags=tuple(_texts(flags)) if isinstance(flags, list) else None,
        available=_flag(document.get("available")),
        missing=_flag(document.get("missing")),
        import_error=_failure(document.get("importError")),
        init_error=_failure(document.get("initError")),
        warnings=tuple(_texts(document.get("warnings"))),
    )


def _step(value: object) -> Step | None:
    document = _mapping(value)
    name = _text(document.get("name"))
    status = _text(document.get("status"))
    if name is None or status not in _STEP_STATUSES:
        return None
    return Step(
        name=name,
        gpu=_integer(document.get("gpu")) or 0,
        dtype=_words(document.get("dtype")),
        status=status,
        error=_failure(document.get("error")),
        detail=_words(document.get("detail")),
    )


def _command(value: object) -> CommandResult | None:
    document = _mapping(value)
    name = _text(document.get("name"))
    if name is None:
        return None
    return CommandResult(
        name=name,
        exit_code=_integer(document.get("exitCode")),
        signal=_integer(document.get("signal")),
        timed_out=_flag(document.get("timedOut")) or False,
        tail=_words(document.get("tail")),
    )


def _benchmark(value: object) -> Benchmark | None:
    document = _mapping(value)
    kernel = _text(document.get("kernel"))
    if kernel is None:
        return None
    return Benchmark(
        kernel=kernel,
        gpu=_integer(document.get("gpu")) or 0,
        dtype=_words(document.get("dtype")),
        unit=_words(document.get("unit")) or "TFLOPS",
        median=_number(document.get("median")),
        p20=_number(document.get("p20")),
        p80=_number(document.get("p80")),
        samples=_integer(document.get("samples")) or 0,
        detail=_words(document.get("detail")),
    )
