"""Facts: typed values for everything that is known about one image on one node.

All sources yield the same type: probe reports, a pasted ``collect_env``, command-line flags and node labels. ``None``
means *not known*, never *no*. Versions are kept as the original text; policies compare them as integer tuples. The
classes have the structure of a probe report (``gpuenv_probe/report.schema.json``).
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from gpuenv.assess.gpu_health import NO_HEALTH, Health
from gpuenv.knowledge.model import ComputeCapability
from gpuenv.knowledge.place_holders import Details


class Source(StrEnum):
    """The kind of source from which facts were read."""

    PROBE = "probe"
    COLLECT_ENV = "collect-env"
    FLAGS = "flags"
    IMAGE = "image"
    """The name of a container image, or its files and configuration, which were read without running it."""
    ERROR_TEXT = "error-text"


class Stage(StrEnum):
    """One half of a run. Each stage has its own container and its own probe report."""

    FACTS = "facts"
    KERNELS = "kernels"


class StepStatus(StrEnum):
    """The outcome of one step of the kernels stage."""

    PASS = "Pass"  # noqa: S105  an outcome, no password
    FAIL = "Fail"
    """The step raised an error."""
    WRONG = "Wrong"
    """The step computed a wrong result, and a new process computed a wrong result again."""
    UNCONFIRMED = "Unconfirmed"
    """The step computed a wrong result once, and no second process has confirmed or refuted it."""
    SKIPPED = "Skipped"
    """The step was not tried; its ``detail`` says why."""
    CRASHED = "Crashed"
    """The worker process that ran the step died."""
    TIMED_OUT = "TimedOut"
    """The step did not end in time."""


class NotMeasured(StrEnum):
    """The kind of cause for which a benchmark has no figure."""

    UNSUPPORTED = "Unsupported"
    """The GPU or the image's PyTorch lacks what the benchmark needs, such as the data type."""
    SHARED = "Shared"
    """The GPU is shared between pods, or the device is a MIG slice. Such devices are never measured."""
    MEMORY_IN_USE = "MemoryInUse"
    """Too little of the GPU's memory is free, because other programs use it."""
    PROFILE_TIME = "ProfileTime"
    """The time of the benchmark profile does not suffice."""
    STAGE_TIME = "StageTime"
    """The time of the stage does not suffice."""
    FAILED = "Failed"
    """The benchmark was tried and failed."""


class LibcudaOrigin(StrEnum):
    """The origin of the loaded libcuda, the library of the CUDA driver API."""

    HOST = "host"
    """The node's driver, mounted by the container toolkit."""
    COMPAT = "compat"
    """The cuda-compat package in the image."""
    STUB = "stub"
    """The toolkit's stub library, which is for linking only and cannot run anything."""
    GKE = "gke"
    """The node's driver, mounted by GKE."""
    WSL = "wsl"
    """The driver of Windows, mounted by WSL."""
    OTHER = "other"


class Sharing(StrEnum):
    """The technique by which several containers share one GPU of a node."""

    TIME_SLICING = "time-slicing"
    MPS = "mps"
    MIG = "mig"


@dataclass(frozen=True, slots=True)
class Failure:
    """One error of a software layer: its number (``code``), its name and its message.

    ``layer`` is ``cuda`` (``code`` is a driver API error), ``cudart``, ``nvml``, ``torch``, ``python``, ``os``
    (``code`` is an errno), ``signal`` (``code`` is its number), ``xid``, or the layer of a rule in errors.yaml.
    ``details`` are values for the place-holders in the sentences of the rule that ``name`` names.
    """

    layer: str
    code: int | None = None
    name: str = ""
    message: str = ""
    details: Details = ()


UVM: Final = "/dev/nvidia-uvm"
"""The device file of the kernel module for unified memory, without which CUDA does not start."""


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A device file ``/dev/nvidia*`` and the errno of opening it: 0 opened, 2 does not exist, 1 or 13 not permitted."""

    path: str
    errno: int


@dataclass(frozen=True, slots=True)
class Libcuda:
    """The ``libcuda.so.1`` that the dynamic loader found. ``error`` says why none could be loaded, else it is None."""

    path: str | None = None
    origin: LibcudaOrigin | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class KernelModule:
    """The NVIDIA kernel module that is loaded. ``is_open`` says whether it is the open one, and not the proprietary one.

    ``gpu_firmware`` is its parameter EnableGpuFirmware; 0 means that the firmware of the GPU is switched off.
    """

    version: str | None = None
    is_open: bool | None = None
    gpu_firmware: int | None = None


@dataclass(frozen=True, slots=True)
class DriverFacts:
    """The driver as seen from inside the container.

    ``version`` is the version of the kernel driver, from NVML, a node label or a pasted text. ``cuda_version`` is the
    driver API version of the loaded libcuda as ``1000*major + 10*minor`` (``cuDriverGetVersion``), and
    ``nvml_cuda_version`` is the version that NVML reports (it asks the same libcuda). ``cu_init`` is the result of
    ``cuInit``: 0 or an error number. ``device_count`` is the result of ``cuDeviceGetCount``. ``nvml`` is the error with
    which NVML failed to initialise, if it did. ``cuda`` is the error of a driver API call that failed after ``cuInit``
    had succeeded. ``absent`` True means that a pasted text says that there is no driver (``No CUDA``).
    ``kernel_module`` None means that the files in /proc/driver/nvidia are not visible.
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
    kernel_module: KernelModule | None = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU that the container sees, or that is known only by its product name.

    ``memory_mib`` is the reported size, which is less than the nominal size. ``mig`` is the MIG profile of a GPU slice,
    or None for a whole GPU. If ``product`` is the full name of a GPU for which a person typed a shorter one, ``typed`` is
    what was typed. ``similar`` are models in the tables that a person may have meant, if ``product`` is none of them.
    """

    index: int = 0
    product: str | None = None
    uuid: str | None = None
    compute_capability: ComputeCapability | None = None
    memory_mib: int | None = None
    memory_free_mib: int | None = None
    mig: str | None = None
    health: Health = NO_HEALTH
    typed: str | None = None
    similar: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TorchFacts:
    """Facts about PyTorch in the image.

    ``cuda`` is ``torch.version.cuda``; ``cpu_build`` True means that torch itself says that it has no CUDA.
    ``arch_flags`` are the build's targets (``sm_80``, ``compute_90``, ``sm_90a``), and ``arch_ends`` the oldest and the
    newest of them if a text names only these. ``available`` is
    ``torch.cuda.is_available()``. ``missing`` True means that Python has no module ``torch``. ``import_error`` is the
    error of ``import torch``, and ``init_error`` that of ``torch.cuda.init()``. ``cudnn`` is the integer of
    ``torch.backends.cudnn.version()``. ``channel`` is the distributor of the build (``conda-forge``), or None if it is
    the PyTorch project. ``typed`` True means that a person typed the version, or a tag that names it, and that nothing else
    shows that there is such a build.
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
    arch_ends: tuple[str, str] | None = None
    available: bool | None = None
    missing: bool | None = None
    import_error: Failure | None = None
    init_error: Failure | None = None
    warnings: tuple[str, ...] = ()
    typed: bool | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One operation that the kernels stage tried on one GPU.

    ``name`` is ``alloc``, ``matmul``, ``conv``, ``attention``, ``train``, ``torchscript``, ``jit``, ``compile``,
    ``stream`` or ``import:<module>``. ``gpu`` None means that the probe report does not name the GPU.
    """

    name: str
    gpu: int | None = None
    dtype: str = ""
    status: StepStatus = field(kw_only=True)
    error: Failure | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The outcome of one command check.

    ``exit_code`` is None if the command did not exit by itself. ``signal`` is the number of the signal that ended the
    command, or None. ``tail`` is the end of the command's output.
    """

    name: str
    exit_code: int | None
    signal: int | None = None
    timed_out: bool | None = None
    tail: str = ""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The result of one benchmark on one GPU, in ``TFLOPS``, ``GB/s`` or ``1/s``.

    ``benchmark`` and ``dtype`` are words of a floor (:class:`gpuenv.api.spec.environment.Floor`). ``median`` and the
    percentiles ``p20`` and ``p80`` are taken over ``samples`` measurements. ``median`` None means that there is no
    figure; ``not_measured`` and ``detail`` say why. ``gpu`` None or ``unit`` None means that the probe report does not
    name the GPU or the unit.
    """

    benchmark: str
    gpu: int | None = None
    dtype: str = ""
    unit: str | None = None
    median: float | None = None
    p20: float | None = None
    p80: float | None = None
    samples: int | None = None
    detail: str = ""
    not_measured: NotMeasured | None = None


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """Facts about the container in which the probe runs.

    ``memory_limit_mib``, ``cpu_limit`` (in CPUs) and ``pids_limit`` are limits of the cgroup; None means no limit.
    ``shm_mib`` is the size of /dev/shm. ``writable`` lists the directories that the probe could write to.
    ``root_read_only`` says whether the root file system is mounted read-only; None means not known. ``python_typed``
    True means that a person typed the version of Python, and that nothing else shows it. ``image_platforms`` are the
    platforms for which the image exists (``linux/amd64``), and ``requirements`` what it requires of driver and GPU
    (:mod:`gpuenv.assess.image_requirements`). Both are () unless the image was read or named.
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
    root_read_only: bool | None = None
    python_typed: bool | None = None
    image_platforms: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """Facts about a node, most of them from its labels and its status. ``sharing`` None means not shared, or not known.

    ``platform`` is the name of a row of platforms.yaml, such as ``gke``: the platform that a person gave, or that the
    labels of the node name. ``signs`` are the platforms of which a pasted text shows signs. The module
    :mod:`gpuenv.assess.platform` says which platforms hold. ``missing_label`` is the label that would name the driver, if
    the node has labels, but not this one.
    """

    name: str | None = None
    product: str | None = None
    driver_version: str | None = None
    compute_capability: ComputeCapability | None = None
    memory_mib: int | None = None
    platform: str | None = None
    sharing: Sharing | None = None
    signs: tuple[str, ...] = ()
    missing_label: str | None = None


class Origin(StrEnum):
    """How much is known about a value of an image: the way in which it was found."""

    READ = "read"
    """Read from the image's files or configuration."""
    INFERRED = "inferred"
    """Inferred from the image's name and tag, by the table of images."""
    GIVEN = "given"
    """Given by the user, as an option."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where one value of an image comes from: ``value`` is its name, such as ``pytorch``, and ``where`` a file or source."""

    value: str
    origin: Origin
    where: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything known about one image on one node.

    ``stages`` are the stages whose probe reports are complete. If a probe report is only partial, ``ended`` is the
    probe's message about how it ended. ``errors`` are failures that belong to no step, such as a pasted error.
    ``omitted`` names the parts that the probe left out of its reports to make them fit.
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
    """Sentences about values in which the sources of these facts contradict each other."""
    unrecognised: tuple[str, ...] = ()
    """Lines of pasted errors that match no rule in errors.yaml. They prevent the verdict Compatible."""
    provenance: tuple[Provenance, ...] = ()
    """Where the values of an image come from, if the facts come from its name, its files or its configuration."""


NO_FACTS: Final = Facts(source=Source.ERROR_TEXT)
"""What a reader of error texts returns for a text that is not of its kind."""
