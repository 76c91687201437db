"""Facts: what is known about one image on one node, wherever it came from.

Probe reports, a pasted ``collect_env``, command-line flags and node labels all end in this one type. ``None`` means
*not known*, never *no*. Versions stay the text that was seen; policies compare them as integer tuples.
The shape follows the probe report (``gpuenv_probe/report.schema.json``) so that reading one is nearly copying.
"""

from dataclasses import dataclass, field
from typing import Any

ComputeCapability = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Failure:
    """One error as the failing layer told it.

    ``layer``: ``cuda`` (driver API number), ``cudart``, ``nvml``, ``torch``, ``python``, ``os`` (errno) or ``signal``.
    """

    layer: str
    code: int | None = None
    name: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A ``/dev/nvidia*`` node and the errno of opening it (0: opened; 2: absent; 1 or 13: refused)."""

    path: str
    errno: int


@dataclass(frozen=True, slots=True)
class Libcuda:
    """The ``libcuda.so.1`` the loader picked. ``origin``: ``host``, ``compat``, ``stub``, ``gke``, ``wsl`` or ``other``."""

    path: str | None = None
    origin: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class DriverFacts:
    """The driver as seen from inside the container.

    ``version`` is the kernel-side driver (NVML, node label or pasted text), ``cuda_version`` the driver API version of
    the loaded libcuda as ``1000*major + 10*minor`` (``cuDriverGetVersion``), ``cu_init`` the raw number of ``cuInit``.
    ``nvml_cuda_version`` is what NVML says (it asks the same libcuda). ``nvml`` is NVML's initialisation error, if any.
    ``device_count`` is ``cuDeviceGetCount``; ``cuda`` a call of the driver API that failed after ``cuInit`` had succeeded.
    ``absent`` True means that a text says there is no driver (``No CUDA``).
    """

    version: str | None = None
    cuda_version: int | None = None
    nvml_cuda_version: int | None = None
    cu_init: int | None = None
    device_count: int | None = None
    libcuda: Libcuda | None = None
    nvml: Failure | None = None
    cuda: Failure | None = None
    device_nodes: tuple[DeviceNode, ...] | None = None
    absent: bool | None = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU the container sees (or that is known by name). Memory in MiB as reported, not nominal.

    ``health`` holds raw NVML facts by name (``eccUncorrected``, ``remapFailed``, ``remapPending``, ``throttleReasons``,
    ``powerLimitW``, ``powerDefaultW``, ``pcieGen``, ``pcieGenMax``, ``pcieWidth``, ``pcieWidthMax``, ``fabricState``,
    ``recoveryAction``, ``temperatureC``, ``utilisationPercent`` ...); a value NVML does not offer is absent or None.
    """

    index: int = 0
    product: str | None = None
    uuid: str | None = None
    compute_capability: ComputeCapability | None = None
    memory_mib: int | None = None
    memory_free_mib: int | None = None
    mig: str | None = None
    health: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TorchFacts:
    """PyTorch inside the image.

    ``cuda`` is ``torch.version.cuda``; ``cpu_build`` True when torch itself says it has no CUDA. ``arch_flags`` are the
    build's targets (``sm_80``, ``compute_90``, ``sm_90a``). ``missing`` True: no module ``torch``. ``import_error``: torch
    is there but does not import. ``init_error``: exception text of ``torch.cuda.init()``. ``cudnn`` is the integer of
    ``torch.backends.cudnn.version()``. ``channel`` is who distributes the build, where that is not the project (``conda-forge``).
    """

    version: str | None = None
    git_version: str | None = None
    channel: str | None = None
    cuda: str | None = None
    cpu_build: bool | None = None
    cudnn: int | None = None
    cudnn_enabled: bool | None = None
    nccl: str | None = None
    arch_flags: tuple[str, ...] | None = None
    available: bool | None = None
    missing: bool | None = None
    import_error: Failure | None = None
    init_error: Failure | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One thing the kernels stage did on one GPU.

    ``name``: ``alloc``, ``matmul``, ``conv``, ``attention``, ``train``,
    ``torchscript``, ``jit``, ``compile``, ``stream``, ``import:<module>``.
    ``status``: ``Pass``, ``Fail`` (an error was raised), ``Wrong`` (numbers off, confirmed in a fresh process),
    ``Unconfirmed`` (numbers off once, no second run has said yet),
    ``Skipped`` (``detail`` says why), ``Crashed`` (the worker died) or ``TimedOut``.
    """

    name: str
    gpu: int = 0
    dtype: str = ""
    status: str = "Pass"
    error: Failure | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """Outcome of one of the user's own ``checks``: exit code (None: not finished in time), signal, last lines."""

    name: str
    exit_code: int | None
    signal: int | None = None
    timed_out: bool = False
    tail: str = ""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One measured figure. ``unit`` is ``TFLOPS``, ``GB/s`` or ``1/s``; ``None`` figures mean it did not run (``detail``)."""

    kernel: str
    gpu: int = 0
    dtype: str = ""
    unit: str = "TFLOPS"
    median: float | None = None
    p20: float | None = None
    p80: float | None = None
    samples: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """The surroundings of the probe inside the image.

    ``memory_limit_mib``, ``cpu_limit`` (processors' worth of time) and ``pids_limit`` are the cgroup's; None without one.
    """

    python: str | None = None
    glibc: str | None = None
    machine: str | None = None
    uid: int | None = None
    shm_mib: int | None = None
    memory_limit_mib: int | None = None
    writable: tuple[str, ...] | None = None
    env: dict[str, str] = field(default_factory=dict)
    compiler: str | None = None
    triton: str | None = None
    ptxas: str | None = None
    notes: tuple[str, ...] = ()
    cpu_limit: float | None = None
    pids_limit: int | None = None


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What node labels and node status say. ``platform``: ``gfd``, ``gke``, ``eks``, ``aks``, ``openshift``, ``wsl`` or None.

    ``sharing``: ``time-slicing``, ``mps``, ``mig`` or None (exclusive or unknown).
    """

    name: str | None = None
    product: str | None = None
    driver_version: str | None = None
    compute_capability: ComputeCapability | None = None
    memory_mib: int | None = None
    platform: str | None = None
    sharing: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything known about one image on one node.

    ``source`` says where they come from: ``probe``, ``collect-env``, ``flags``, ``error-text``. ``stages`` are the probe stages
    that were read completely (``facts``, ``kernels``); ``ended`` holds the probe's own words when a stage is partial.
    ``errors`` are failures found outside of any step (an error text that somebody pasted).
    """

    source: str = "probe"
    stages: frozenset[str] = frozenset()
    ended: str | None = None
    container: ContainerFacts = field(default_factory=ContainerFacts)
    driver: DriverFacts = field(default_factory=DriverFacts)
    gpus: tuple[Gpu, ...] = ()
    torch: TorchFacts = field(default_factory=TorchFacts)
    node: NodeFacts = field(default_factory=NodeFacts)
    steps: tuple[Step, ...] = ()
    commands: tuple[CommandResult, ...] = ()
    benchmarks: tuple[Benchmark, ...] = ()
    errors: tuple[Failure, ...] = ()
    omitted: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    """Where sources of these facts contradict each other, in words."""
    unrecognised: tuple[str, ...] = ()
    """Words of errors that were given and that no rule explains: something fails, whatever the versions say."""
