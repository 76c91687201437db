"""Makes errors about extensions more precise: for which CUDA one was built, for which torch is, and what the driver has."""

from typing import Final

from gpuenv.api import reasons
from gpuenv.api.reasons import Reason
from gpuenv.api.remedies import Action, Remedies, remedy
from gpuenv.assess.case import Case
from gpuenv.assess.cuda_libraries import cuda_major
from gpuenv.assess.cures.driver_remedies import upgrade_driver
from gpuenv.assess.cures.drivers import first_of_branch
from gpuenv.assess.policies.missing_builds import builds_that_exist
from gpuenv.knowledge.model import ErrorRule
from gpuenv.knowledge.place_holders import WORDS
from gpuenv.knowledge.versions import Version, api_number, show

_FIRST_CUDA: Final[dict[str, Version]] = {
    "cuGreenCtxStreamCreate": (12, 5),
    "cuGreenCtx": (12, 4),
    "cuMulticast": (12, 1),
    "cuTensorMap": (12, 0),
    "cuLibrary": (12, 0),
    "cuKernel": (12, 0),
    "cuGetProcAddress_v2": (12, 0),
}
"""Maps the beginning of a symbol of libcuda to the CUDA version whose driver has it first; longer beginnings come first.

https://docs.nvidia.com/cuda/cuda-driver-api/
"""


def sharpened(case: Case, rule: ErrorRule) -> tuple[Reason, str, Remedies] | None:
    """Return reason, meaning and remedies of an error about an extension, with the versions of the case.

    Return None if the versions are not known, or if they make no difference.
    """
    builds = builds_that_exist(case, rule)
    if builds is not None:
        return rule.reason, *builds
    if rule.name == "library-missing":
        return _library_missing(case, rule)
    if rule.name == "symbol-of-driver":
        return _symbol_of_driver(case, rule)
    return None


def _library_missing(case: Case, rule: ErrorRule) -> tuple[Reason, str, Remedies] | None:
    details = dict(rule.details)
    library, module = details.get("library", ""), details.get("module", WORDS["module"])
    wanted, have = cuda_major(library), case.runtime
    if wanted is None or have is None or case.runtime_assumed:
        return None
    torch = f"PyTorch {case.facts.torch.version}" if case.facts.torch.version else "this PyTorch"
    if wanted == have[0]:
        meaning = f"{module} needs {library}, which the loader does not find, although {torch} is for CUDA {show(have)}"
        words = (
            f"Import torch before {module}, which loads {library}; if that fails too, install {torch} again with its nvidia "
            f"packages, or add their directories (site-packages/nvidia/*/lib) to LD_LIBRARY_PATH."
        )
        return rule.reason, meaning, (remedy(Action.REPAIR_IMAGE, words),)
    meaning = (
        f"{module} was built for CUDA {wanted}, and this torch is for CUDA {show(have)}: {library} is missing"
    )
    words = f"Install the build of {module} for CUDA {have[0]} and {torch}"
    driver_can = case.api is not None and case.api >= wanted * 1000
    words += f", or a PyTorch for CUDA {wanted}, which this driver can run." if driver_can else "."
    package = details.get("module", "")
    return rule.reason, meaning, (remedy(Action.REPAIR_IMAGE, words, package=package),)


def _symbol_of_driver(case: Case, rule: ErrorRule) -> tuple[Reason, str, Remedies] | None:
    details = dict(rule.details)
    symbol, module = details.get("symbol", ""), details.get("module", WORDS["module"])
    first = next((cuda for start, cuda in _FIRST_CUDA.items() if symbol.startswith(start)), None)
    if first is None or case.api is None:
        return None
    if case.api >= api_number(first):
        meaning = f"{module} needs {symbol} of libcuda, which this driver has, but it was built without a link to libcuda"
        words = (
            f"Install another build of {module}, or load libcuda before it (LD_PRELOAD=libcuda.so.1); in a container, check "
            f"that the libcuda found first is the driver's own."
        )
        return reasons.ImportFailed, meaning, (remedy(Action.REPAIR_IMAGE, words),)
    has = show(case.api_cuda or first)
    branch = case.knowledge.first_branch(first)
    driver = upgrade_driver(case, first_of_branch(case.knowledge, branch) if branch is not None else "")
    older = remedy(Action.REPAIR_IMAGE, f"Install a build of {module} for CUDA {has} or older.")
    meaning = f"{module} needs {symbol} of libcuda, which drivers have from CUDA {show(first)} on; this one has CUDA {has}"
    return rule.reason, meaning, (driver, older)
