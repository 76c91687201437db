"""Facts: everything that is known about one image on one node.

They are the same type for every source: probe reports, a pasted ``collect_env``, command-line flags and node labels.
``None`` means *not known*, never *no*. Versions stay the text that was seen; policies compare them as integer tuples.
The shape follows the probe report (``gpuenv_probe/report.schema.json``) so that reading one is nearly copying.
"""

from dataclasses import dataclass, field
from enum import StrEnum

ComputeCapability = tuple[int, int]


class Source(StrEnum):
    """Where facts come from."""

    PROBE = "probe"
    COLLECT_ENV = "collect-env"
    FLAGS = "flags"
    ERROR_TEXT = "error-text"


class Stage(StrEnum):
    """A part of a probe run, with a container and a report of its own."""

    FACTS = "facts"
    KERNELS = "kernels"


class StepStatus(StrEnum):
    """How one step of the kernels stage ended."""

    PASS = "Pass"  # noqa: S105  an outcome, no password
    FAIL = "Fail"
    """An error was raised."""
    WRONG = "Wrong"
    """The numbers were off, and a fresh process confirmed it."""
    UNCONFIRMED = "Unconfirmed"
    """The numbers were off once, and no second run has said anything yet."""
    SKIPPED = "Skipped"
    """It was not tried; the step's detail says why."""
    CRASHED = "Crashed"
    """The worker process died."""
    TIMED_OUT = "TimedOut"


class LibcudaOrigin(StrEnum):
    """Who brought the libcuda that was loaded."""

    HOST = "host"
    COMPAT = "compat"
    """The image's cuda-compat package."""
    STUB = "stub"
    """The toolkit's stand-in for linking, which cannot run anything."""
    GKE = "gke"
    WSL = "wsl"
    OTHER = "other"


class Sharing(StrEnum):
    """How several containers share one GPU of a node."""

    TIME_SLICING = "time-slicing"
    MPS = "mps"
    MIG = "mig"


@dataclass(frozen=True, slots=True)
class Failure:
    """One error in the words and numbers of the layer that failed.

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
    """The ``libcuda.so.1`` that the loader picked, or why it found none."""

    path: str | None = None
    origin: LibcudaOrigin | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class DriverFacts:
    """The driver as seen from inside the container.

    ``version`` is the kernel-side driver (NVML, node label or pasted text), ``cuda_version`` the driver API version
    of the loaded libcuda as ``1000*major + 10*minor`` (``cuDriverGetVersion``), ``cu_init`` the raw number of
    ``cuInit``. ``nvml_cuda_version`` is what NVML says (it asks the same libcuda). ``nvml`` is NVML's initialisation
    error, if any. ``device_count`` is ``cuDeviceGetCount``; ``cuda`` a call of the driver API that failed after
    ``cuInit`` had succeeded. ``absent`` True means that a text says there is no driver (``No CUDA``).
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
class Health:
    """What NVML says about one GPU. None: NVML does not offer the reading there, or nobody asked.

    ``error`` is why NVML cannot open the GPU. Memory errors without ``total`` are counted since the driver was
    loaded. Readings that begin with ``busy`` were taken while benchmarks ran. Throttle reasons are NVML's bits
    (``nvmlClocksEventReasons``). https://docs.nvidia.com/deploy/nvml-api/
    """

    error: str | None = None
    pci_id: str | None = None
    recovery_action: int | None = None
    ecc_mode: bool | None = None
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    ecc_uncorrected_total: int | None = None
    remap_correctable: int | None = None
    remap_uncorrectable: int | None = None
    remap_pending: bool | None = None
    remap_failed: bool | None = None
    retired_pages_pending: bool | None = None
    fabric_state: int | None = None
    fabric_status: int | None = None
    fabric_health_mask: int | None = None
    throttle_reasons: int | None = None
    sm_clock_mhz: int | None = None
    sm_clock_max_mhz: int | None = None
    memory_clock_mhz: int | None = None
    memory_clock_max_mhz: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    power_default_w: float | None = None
    pcie_gen: int | None = None
    pcie_gen_max: int | None = None
    pcie_width: int | None = None
    pcie_width_max: int | None = None
    pcie_replays: int | None = None
    utilisation_percent: int | None = None
    compute_mode: int | None = None
    persistence: bool | None = None
    processes: int | None = None
    busy_throttle_reasons: int | None = None
    busy_sm_clock_mhz: int | None = None
    busy_power_w: float | None = None
    busy_temperature_c: int | None = None
    busy_pcie_gen: int | None = None
    busy_pcie_width: int | None = None


NO_HEALTH = Health()
"""Nothing is known of a GPU's health."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU that the container sees, or that is known by name alone. Memory is in MiB as reported, not nominal."""

    index: int = 0
    product: str | None = None
    uuid: str | None = None
    compute_capability: ComputeCapability | None = None
    memory_mib: int | None = None
    memory_free_mib: int | None = None
    mig: str | None = None
    health: Health = NO_HEALTH


@dataclass(frozen=True, slots=True)
class TorchFacts:
    """PyTorch inside the image.

    ``cuda`` is ``torch.version.cuda``; ``cpu_build`` True when torch itself says it has no CUDA. ``arch_flags`` are
    the build's targets (``sm_80``, ``compute_90``, ``sm_90a``). ``missing`` True: no module ``torch``.
    ``import_error``: torch is there but does not import. ``init_error``: exception text of ``torch.cuda.init()``.
    ``cudnn`` is the integer of ``torch.backends.cudnn.version()``. ``channel`` is who distributes the build, where
    that is not the project (``conda-forge``).
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
    """One thing that the kernels stage did on one GPU; ``gpu`` None means that the report does not say on which.

    ``name``: ``alloc``, ``matmul``, ``conv``, ``attention``, ``train``,
    ``torchscript``, ``jit``, ``compile``, ``stream``, ``import:<module>``.
    """

    name: str
    gpu: int | None = None
    dtype: str = ""
    status: StepStatus = field(kw_only=True)
    error: Failure | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """Outcome of one of the user's own ``checks``: exit code (None: it did not exit by itself), signal, last lines."""

    name: str
    exit_code: int | None
    signal: int | None = None
    timed_out: bool | None = None
    tail: str = ""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One measured figure in ``TFLOPS``, ``GB/s`` or ``1/s``. Without a median it did not run; ``detail`` says why.

    ``gpu`` None means that the report does not say which GPU was measured, ``unit`` None that it does not say in what.
    """

    kernel: str
    gpu: int | None = None
    dtype: str = ""
    unit: str | None = None
    median: float | None = None
    p20: float | None = None
    p80: float | None = None
    samples: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """The surroundings of the probe inside the image.

    ``memory_limit_mib``, ``cpu_limit`` (processors' worth of time) and ``pids_limit`` are the cgroup's; None without
    one.
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
    """What node labels and node status say. ``sharing`` None means exclusive, or not known.

    ``platform`` names the cures that fit (``gfd``, ``gke``, ``eks``, ``aks``, ``openshift``, ``wsl``); tables may
    have more.
    """

    name: str | None = None
    product: str | None = None
    driver_version: str | None = None
    compute_capability: ComputeCapability | None = None
    memory_mib: int | None = None
    platform: str | None = None
    sharing: Sharing | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything known about one image on one node.

    ``stages`` are the probe stages whose reports are complete; ``ended`` holds the probe's own words when one is
    partial. ``errors`` are failures found outside of any step (an error text that somebody pasted).
    """

    source: Source
    stages: frozenset[Stage] = frozenset()
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
    """How the sources of these facts contradict each other, in words."""
    unrecognised: tuple[str, ...] = ()
    """Errors that were given and that no rule explains. Something fails then, even if all versions fit."""
