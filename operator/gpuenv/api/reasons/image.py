"""Reasons about PyTorch, about the rest of the image, and about the environment's expectations of both."""

from gpuenv.api.reasons.row import LAST, OWN_RULE, Behaviour, NextRun, Part, Start, finding
from gpuenv.api.remedies import Action

TorchCpuBuild = finding(
    "TorchCpuBuild",
    behaviour=Behaviour(depth=215, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="PyTorch was built without CUDA.",
    cause=(
        "The CPU wheel was installed (the +cpu index, the default on Windows and on some aarch64 "
        "releases), or a dependency replaced the CUDA one."
    ),
    action=Action.CHANGE_IMAGE,
    cure=(
        "Install a CUDA build from the PyTorch index that fits the driver (for example --index-url "
        "https://download.pytorch.org/whl/cu126)."
    ),
    source="https://pytorch.org/get-started/locally/",
    solved_by=(Part.BUILD,),
    build_cure="Install a CUDA build, for example {build}",
)

TorchMissing = finding(
    "TorchMissing",
    behaviour=Behaviour(depth=210, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="The image's Python has no torch module.",
    cause=(
        "The Python that ran has no torch: another interpreter or virtual environment holds it, or the "
        "image has none."
    ),
    action=Action.REPAIR_IMAGE,
    cure=(
        "Install PyTorch there, or name the interpreter that has it (spec.probe.python, "
        "spec.probe.useEntrypoint)."
    ),
    source="https://pytorch.org/get-started/locally/",
)

TorchBroken = finding(
    "TorchBroken",
    behaviour=Behaviour(depth=415, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="torch is installed but does not import.",
    cause="A shared library that torch needs is missing, or the C library is too old.",
    action=Action.REPAIR_IMAGE,
    cure="Reinstall torch with its dependencies; use a base image with a matching C library.",
    source="https://pytorch.org/get-started/locally/",
)

TorchNotInTables = finding(
    "TorchNotInTables",
    behaviour=Behaviour(depth=613, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="This PyTorch release is not in the tables; the answer follows from rules alone.",
    cause="The release is newer than the tables, or is a build of a vendor or of your own.",
    action=Action.PROVIDE_FACTS,
    cure="Take a newer table with --knowledge; the kernels decide on a real node.",
    source="https://github.com/pytorch/pytorch/blob/main/RELEASE.md",
)

NoSuchBuild = finding(
    "NoSuchBuild",
    behaviour=Behaviour(depth=612, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="The tables know no such PyTorch build.",
    cause=(
        "This release of PyTorch has no build for this CUDA version or this Python. The message says that it was never "
        "released only if the whole list of the release's builds has been read."
    ),
    action=Action.CHANGE_IMAGE,
    cure="Use one of the builds that were released; if torch runs, it is another build than its name says.",
    source="https://github.com/pytorch/pytorch/blob/main/RELEASE.md",
)

PythonMissing = finding(
    "PythonMissing",
    behaviour=Behaviour(depth=LAST, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="The image has no Python the probe could start.",
    cause="The image has no python3 on its PATH, or keeps it elsewhere.",
    action=Action.CHANGE_ENVIRONMENT,
    cure=(
        "Set spec.probe.python to the interpreter's path, or spec.probe.useEntrypoint when the entry point "
        "prepares it."
    ),
    source=OWN_RULE,
)

PythonUnreadable = finding(
    "PythonUnreadable",
    behaviour=Behaviour(depth=LAST, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="The interpreter is there, but the probe's user may not run it.",
    cause=(
        "The interpreter lies under a directory that only root may enter (/root, pyenv, uv), and the probe "
        "runs as another user."
    ),
    action=Action.CHANGE_ENVIRONMENT,
    cure="Set spec.probe.runAs: Image (the namespace must allow it), or move the interpreter.",
    source=OWN_RULE,
)

PythonTooOld = finding(
    "PythonTooOld",
    behaviour=Behaviour(depth=LAST, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="The image's Python is older than 3.8.",
    cause="The probe needs Python 3.8 or newer.",
    action=Action.CHANGE_IMAGE,
    cure="Use an image with a newer Python, or name another interpreter with spec.probe.python.",
    source=OWN_RULE,
)

CudnnLoadFailed = finding(
    "CudnnLoadFailed",
    behaviour=Behaviour(depth=410, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="cuDNN does not load or does not start.",
    cause=(
        "Several cuDNN versions are on the loader path, a part of cuDNN 8/9 is missing, or the GPU has no "
        "memory left."
    ),
    action=Action.REPAIR_IMAGE,
    cure="Make sure that only the cuDNN that came with this torch is found.",
    source="https://github.com/pytorch/pytorch/issues/119989",
)

CudnnDroppedGpu = finding(
    "CudnnDroppedGpu",
    behaviour=Behaviour(depth=425, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="The image's cuDNN no longer supports this GPU.",
    cause="cuDNN 9.11 and later have no kernels for GPUs before Turing, whatever torch's own list says.",
    action=Action.CHANGE_IMAGE,
    cure="Stay with cuDNN 9.10 or older on this GPU: a PyTorch build for CUDA 12.6.",
    source="https://github.com/pytorch/pytorch/issues/165773",
    solved_by=(Part.BUILD_FOR_GPU,),
    build_cure="Use a build with an older cuDNN, such as {build}",
)

LibraryConflict = finding(
    "LibraryConflict",
    behaviour=Behaviour(depth=405, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="Libraries of different versions get in each other's way.",
    cause=(
        "Copies of NVIDIA libraries of different versions are mixed: system CUDA on LD_LIBRARY_PATH, conda "
        "and pip together, or torch and torchvision of different releases."
    ),
    action=Action.REPAIR_IMAGE,
    cure=(
        "Install torch and its companions from one source; take system CUDA directories out of "
        "LD_LIBRARY_PATH."
    ),
    source="https://github.com/pytorch/pytorch/issues/111469",
)

OutOfMemory = finding(
    "OutOfMemory",
    behaviour=Behaviour(depth=515, next_run=NextRun.BACKOFF, warns=True, start=Start.UNRELATED),
    meaning="The GPU's memory does not suffice.",
    cause="The model, the batch or another process takes more memory than the GPU has.",
    action=Action.FREE_GPU,
    cure="Free memory or use a GPU with more; this says nothing about driver and image.",
    source="https://docs.pytorch.org/docs/stable/notes/cuda.html#memory-management",
)

WrongResult = finding(
    "WrongResult",
    behaviour=Behaviour(depth=505, next_run=NextRun.CONFIRM, warns=True, start=Start.UNRELATED),
    meaning="A kernel computed a wrong result, twice.",
    cause=(
        "Numbers differ from the reference beyond the stated tolerance, in two processes: a sick GPU, or a "
        "broken library."
    ),
    action=Action.RUN_DIAGNOSTICS,
    cure="Drain the node and run dcgmi diag -r 3; compare with another node and another image.",
    source="https://docs.nvidia.com/datacenter/dcgm/latest/user-guide/dcgm-diagnostics.html",
)

BelowFloor = finding(
    "BelowFloor",
    behaviour=Behaviour(depth=555, next_run=NextRun.CONFIRM, warns=True, start=Start.UNRELATED),
    meaning="A benchmark stays below the floor that was asked for, or cannot reach it.",
    cause=(
        "The GPU is slowed down, the GPU or the image's PyTorch does not have the data type, or the floor does not "
        "fit this product."
    ),
    action=Action.INSPECT_NODE,
    cure=(
        "Compare with other nodes of the same GPU product, and look at clocks, power and temperature. If the floor "
        "is meant for other products, name those in its products field."
    ),
    source=OWN_RULE,
)

FloorNotMeasured = finding(
    "FloorNotMeasured",
    behaviour=Behaviour(depth=635, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="A floor was asked for, but the benchmark has no figure.",
    cause=(
        "CUDA did not start, the time of the profile or of the stage did not suffice, or the benchmark failed. Shared "
        "GPUs and MIG slices are never measured, which is only a note."
    ),
    action=Action.CHANGE_ENVIRONMENT,
    cure=(
        "Look at the other checks first. If the time of the profile did not suffice, set benchmarks.profile to Standard; "
        "if that of the stage did not, raise probe.timeouts.runSeconds."
    ),
    source=OWN_RULE,
)

ExpectationMismatch = finding(
    "ExpectationMismatch",
    behaviour=Behaviour(depth=550, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="Expected and observed differ.",
    cause=(
        "The image contains something else than its tag or the environment says, or the node is another "
        "one than meant."
    ),
    action=Action.CHANGE_IMAGE,
    cure="Correct the image, the tag, or the expectation.",
    source=OWN_RULE,
)

ExpectationUnknown = finding(
    "ExpectationUnknown",
    behaviour=Behaviour(depth=630, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="An expectation could not be compared: the observed value is not known.",
    cause="The value was not reported: the probe did not get that far, or the image does not tell.",
    action=Action.REVALIDATE,
    cure="Look at the other checks first; a new run (in a cluster: gpuenv revalidate) may bring it.",
    source=OWN_RULE,
)

ImportFailed = finding(
    "ImportFailed",
    behaviour=Behaviour(depth=525, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="A module the environment expects does not import.",
    cause=(
        "A module with kernels of its own was built for another torch, CUDA, Python or C++ ABI, or is not "
        "installed."
    ),
    action=Action.REPAIR_IMAGE,
    cure="Install the build of the module for this torch and CUDA.",
    source="https://docs.pytorch.org/docs/stable/cpp_extension.html",
)

CheckFailed = finding(
    "CheckFailed",
    behaviour=Behaviour(depth=540, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="One of the environment's own checks failed.",
    cause="A command of spec.checks.commands ended with an exit code other than 0.",
    action=Action.INVESTIGATE,
    cure="Read its last lines; run the same command in the image.",
    source=OWN_RULE,
)

CheckTimedOut = finding(
    "CheckTimedOut",
    behaviour=Behaviour(depth=545, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="One of the environment's own checks did not finish in time.",
    cause="A command of spec.checks.commands was still running at its time limit.",
    action=Action.CHANGE_ENVIRONMENT,
    cure="Raise timeoutSeconds, or find out why the command hangs.",
    source=OWN_RULE,
)

CompileUnavailable = finding(
    "CompileUnavailable",
    behaviour=Behaviour(depth=530, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="torch.compile does not work in this image.",
    cause=(
        "torch.compile needs a C compiler, Triton with a ptxas that knows the GPU, and a writable /tmp; "
        "runtime images often lack the compiler."
    ),
    action=Action.REPAIR_IMAGE,
    cure="Install gcc in the image, or use a devel image; keep /tmp writable.",
    source="https://github.com/pytorch/pytorch/issues/116696",
)

EnvironmentVariable = finding(
    "EnvironmentVariable",
    behaviour=Behaviour(depth=LAST, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="An environment variable hides GPUs or changes what CUDA does.",
    cause="A variable of the image or the pod hides GPUs or changes how CUDA works.",
    action=Action.CHANGE_POD,
    cure="Remove the variable, unless it was set on purpose.",
    source="https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#cuda-environment-variables",
)

LooseSecurity = finding(
    "LooseSecurity",
    behaviour=Behaviour(depth=LAST, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="Something in the image is open to others.",
    cause="The image runs as root or leaves a service open.",
    action=Action.CHANGE_POD,
    cure="Run as another user and close what is open.",
    source="https://kubernetes.io/docs/concepts/security/pod-security-standards/",
)

SmallWorkspace = finding(
    "SmallWorkspace",
    behaviour=Behaviour(depth=603, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="Shared memory, temporary space or mounts are smaller than usual work needs.",
    cause=(
        "Shared memory (/dev/shm) has the runtime's default of 64 MiB, or no temporary directory is writable; data loaders "
        "and torch.compile need them."
    ),
    action=Action.CHANGE_POD,
    cure="Mount an emptyDir with medium: Memory on /dev/shm, and a writable /tmp.",
    source="https://docs.pytorch.org/docs/stable/multiprocessing.html",
)

ConflictingFacts = finding(
    "ConflictingFacts",
    behaviour=Behaviour(depth=615, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="Given facts contradict each other.",
    cause="Two of the given texts, or a table and what a kernel showed, say different things.",
    action=Action.PROVIDE_FACTS,
    cure="Check which of the two belongs to the machine in question.",
    source=OWN_RULE,
)

NotEnoughFacts = finding(
    "NotEnoughFacts",
    behaviour=Behaviour(depth=645, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="Too little is known for a verdict.",
    cause="A verdict needs the PyTorch build, the driver version and the GPU.",
    action=Action.PROVIDE_FACTS,
    cure=(
        "Give what is missing: --torch, --driver, --gpu, or the output of python -m torch.utils.collect_env."
    ),
    source=OWN_RULE,
)
