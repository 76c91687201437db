"""The environment variables of a probe pod's containers: the options of the probe, and where the image may write."""

import json
from typing import Final

from gpuenv.api import names
from gpuenv.api.spec.environment import EnvironmentSpec
from gpuenv.plan.snapshot import NodeRecord

SCRATCH: Final = "/tmp"  # noqa: S108 - the mount point of a volume in the pod, no file is created here
TERMINATION_LOG: Final = "/dev/termination-log"


def _places(spec: EnvironmentSpec) -> dict[str, str]:
    """Return the variables that make programs write to /tmp, and those that name the user.

    Programs that follow these variables, or go on without a file that they cannot write, need none of their own:
    torch.compile and Matplotlib use TMPDIR; Numba, Hugging Face and vLLM use XDG_CACHE_HOME; and Python does without
    its compiled modules.
    """
    places: dict[str, str] = {}
    own_user = spec.probe.run_as == "Image"
    if not own_user:
        # The uid has no entry in the image's passwd: without these, HOME is / and getpass.getuser() raises,
        # which torch.compile calls for the name of its cache directory.
        places |= {"HOME": SCRATCH, "USER": "gpuenv"}
    if spec.probe.root_filesystem == "ReadOnly":
        # An image can name another directory, which is now read-only.
        places["TMPDIR"] = SCRATCH
    if spec.probe.root_filesystem == "ReadOnly" and own_user:
        # HOME stays, because packages can be installed in ~/.local. The caches below it go elsewhere.
        places |= {
            "XDG_CACHE_HOME": f"{SCRATCH}/.cache",
            # Triton uses no XDG variable, and fails if it cannot write.
            "TRITON_CACHE_DIR": f"{SCRATCH}/.triton/cache",
            # CUDA would compile PTX anew in every process.
            "CUDA_CACHE_PATH": f"{SCRATCH}/.nv/ComputeCache",
        }
    return places


def variables(spec: EnvironmentSpec, node: NodeRecord, run_id: str) -> list[dict[str, str]]:
    """Return the environment variables of a container that runs one stage of the probe.

    Those of ``spec.probe.env`` replace those that make the image write to /tmp.
    """
    values = _places(spec)
    values |= dict(spec.probe.env)
    values |= {
        "GPUENV_RUN": run_id,
        "GPUENV_TERMINATION_LOG": TERMINATION_LOG,
        "GPUENV_DEADLINE_SECONDS": str(spec.probe.timeouts.run),
        "GPUENV_PROFILE": spec.profile,
        "GPUENV_SHARING": node.facts.sharing or "",
        "GPUENV_COMPILE": "1" if spec.checks.compile else "0",
        "GPUENV_IMPORTS": json.dumps(spec.checks.imports),
        names.COMMANDS_VARIABLE: spec.checks.command_json,
    }
    return [{"name": name, "value": literal(value)} for name, value in values.items()]


def literal(value: str) -> str:
    """Return a value escaped so that the kubelet does not replace ``$(NAME)`` in it with the value of a variable.

    A few variables of a few kilobytes that name each other many times would make terabytes in the kubelet's memory.
    https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
    """
    return value.replace("$", "$$")
