"""Policies on the driver: it is visible in the container, new enough for the image, and supports the GPU."""

from collections.abc import Iterator

from gpuenv.api import check_names, reasons
from gpuenv.api.remedies import Action, Remedy
from gpuenv.assess.case import Case, Device, check, passed
from gpuenv.assess.cures.drivers import newest_branch, stale_libcuda
from gpuenv.assess.facts import LibcudaOrigin
from gpuenv.assess.model import Check, Status
from gpuenv.knowledge.model import Toolkit
from gpuenv.knowledge.versions import Version, api_number, at_least, show

FIRST_MINOR_VERSIONS = 11
"""The first major version of CUDA with minor-version compatibility."""
FARTHEST_BRANCH = 200
"""How far the number of a branch may be beyond the newest in the tables. From R525 to R620, it took three years."""
_NOT_FOUND = 2
_NVML_NOT_LOADED = 9


def visible(case: Case) -> Iterator[Check]:
    """Check that the program can see an NVIDIA driver, in its container or on its machine."""
    driver = case.facts.driver
    if case.cuda_works:
        yield passed(
            check_names.DRIVER_VISIBLE, f"driver {case.driver_text or show(case.api_cuda)} is visible"
        )
        return
    evidence = _invisible(case)
    if evidence:
        yield check(case, check_names.DRIVER_VISIBLE, Status.FAIL, reasons.DriverNotVisible, evidence)
    elif driver.version or driver.cuda_version:
        yield passed(
            check_names.DRIVER_VISIBLE, f"driver {case.driver_text or show(case.api_cuda)} is visible"
        )


def _invisible(case: Case) -> str:
    driver = case.facts.driver
    library = driver.libcuda
    if driver.absent:
        return "no NVIDIA driver was found: no driver version, no GPU"
    if driver.cu_init is None and library is not None and library.path is None and library.error:
        return f"libcuda.so.1 does not load: {library.error}"
    if driver.cu_init not in (None, 0) and driver.device_nodes:
        absent = [node.path for node in driver.device_nodes if node.errno == _NOT_FOUND]
        if (
            len(absent) == len(driver.device_nodes)
            and driver.nvml is not None
            and driver.nvml.code == _NVML_NOT_LOADED
        ):
            return _no_nodes(case, absent)
    return ""


def _no_nodes(case: Case, absent: list[str]) -> str:
    # A driver that does not support the GPU creates no device nodes either. Another check names that deeper cause.
    known = case.driver and any(
        gpu_generation(case, device, case.driver) for device in case.devices or node_devices(case)
    )
    return "" if known else f"{', '.join(absent)} do not exist and NVML says that no driver is loaded"


def in_tables(case: Case) -> Iterator[Check]:
    """Yield a Note if the driver is newer than the tables, and an Unknown check if there can be no such driver.

    NVIDIA's drivers run everything that older ones run, so that a newer driver does not put a verdict in doubt.
    """
    if not case.beyond_tables or case.driver is None or case.cuda_works or case.probed:
        return
    newest = case.knowledge.branches[0]
    if case.driver[0] <= newest.branch + FARTHEST_BRANCH:
        message = (
            f"driver {case.driver_text} is newer than the tables, which end at R{newest.branch}; its CUDA is at least "
            f"{show(newest.cuda)}"
        )
        give = Remedy(Action.PROVIDE_FACTS, "Take a newer table with --knowledge.")
        yield check(case, check_names.DRIVER_VERSION, Status.NOTE, reasons.NotEnoughFacts, message, [give])
        return
    message = f"no driver is known whose number is near {case.driver_text}: the newest branch in the tables is R{newest.branch}"
    give = Remedy(
        Action.PROVIDE_FACTS, "Give the version of the driver as nvidia-smi prints it, such as 580.65.06."
    )
    yield check(case, check_names.DRIVER_VERSION, Status.UNKNOWN, reasons.NotEnoughFacts, message, [give])


def new_enough(case: Case) -> Iterator[Check]:
    """Check that the driver is new enough for the image's CUDA, by the rule that ``expect.driverRule`` selects.

    ``MinorVersion`` accepts every driver for the same major version of CUDA. ``Toolkit`` asks for a driver that is at
    least as new as the one that came with the image's CUDA toolkit.
    """
    runtime = case.runtime
    if runtime is None or not case.knows_driver:
        return
    toolkit = case.knowledge.toolkit(runtime)
    if toolkit is None:
        yield from _by_rule(case, runtime)
        return
    seen = case.driver_title
    api = f" (CUDA {case.api_text})" if case.api is not None else ""
    if not _reaches_floor(case, toolkit, runtime):
        if case.proven:
            message = f"{seen}{api} is below the floor of CUDA {show(runtime)}, yet kernels ran"
            yield check(case, check_names.DRIVER_VERSION, Status.NOTE, reasons.ConflictingFacts, message)
            return
        if _vendor_compat(case):
            yield _carried(case, toolkit, runtime, seen + api)
            return
        stale = stale_libcuda(case)
        message = (
            stale or f"{seen}{api} is too old for CUDA {show(runtime)}: at least {_floor(toolkit)} is needed"
        )
        reason, source = reasons.DriverTooOld, toolkit.source
        yield check(case, check_names.DRIVER_VERSION, Status.FAIL, reason, message, source=source)
    elif case.api is not None and case.api // 1000 < runtime[0] and not case.all_embedded:
        message = (
            f"{seen}{api} is below the floor of CUDA {show(runtime)} ({_floor(toolkit)}), yet CUDA was seen to start: "
            "a cuda-compat library carries it"
        )
        yield check(case, check_names.DRIVER_VERSION, Status.NOTE, reasons.ForwardCompatInUse, message)
    elif _reaches_toolkit(case, toolkit, runtime) is False and not case.all_embedded:
        yield _below_toolkit(case, toolkit, runtime, seen + api)
    else:
        yield passed(
            check_names.DRIVER_VERSION, f"{seen}{api} is new enough for CUDA {show(runtime)}", toolkit.source
        )


def _by_rule(case: Case, runtime: Version) -> Iterator[Check]:
    """Yield the check on the driver's version for an image whose CUDA major version is not in the tables.

    If the CUDA major version of the driver is lower than that of the image, the driver is too old; otherwise it is new
    enough. If the driver is not in the tables either, the check is Unknown.
    """
    if case.api is None or (case.newer_than_branches and not case.api_observed):
        message = f"neither CUDA {show(runtime)} nor driver {case.driver_text} is in the tables"
        yield check(case, check_names.DRIVER_VERSION, Status.UNKNOWN, reasons.NotEnoughFacts, message)
    elif case.api // 1000 < runtime[0]:
        seen = case.driver_title
        message = f"{seen} (CUDA {case.api_text}) is too old for CUDA {show(runtime)}: one of CUDA {runtime[0]} is needed"
        yield check(case, check_names.DRIVER_VERSION, Status.FAIL, reasons.DriverTooOld, message)
    else:
        yield passed(check_names.DRIVER_VERSION, f"the driver has CUDA {case.api_text}")


def _floor(toolkit: Toolkit) -> str:
    return toolkit.min_driver_text if len(toolkit.min_driver) > 1 else toolkit.first_release


def _reaches_floor(case: Case, toolkit: Toolkit, runtime: Version) -> bool:
    """Return whether the driver suffices for the image's CUDA by minor-version compatibility.

    The driver's own version decides, if the loaded libcuda is its own. Otherwise the version of the API does.
    """
    if case.api is None:
        return case.driver is not None and at_least(case.driver, toolkit.min_driver)
    if case.driver is not None and _has_own_libcuda(case):
        reached = at_least(case.driver, toolkit.min_driver)
    else:
        same_major = runtime[0] >= FIRST_MINOR_VERSIONS and case.api // 1000 == runtime[0]
        reached = same_major or case.api >= api_number(runtime)
    by_compat = (
        case.facts.torch.available is True and not case.api_observed and case.api < api_number(runtime)
    )
    return reached or (by_compat and _may_use_compat(case))


def _has_own_libcuda(case: Case) -> bool:
    branch = case.knowledge.branch(case.driver)
    return not case.api_observed or (branch is not None and case.api == api_number(branch.cuda))


def _vendor_compat(case: Case) -> bool:
    """Return whether the image is an NVIDIA container whose cuda-compat supports the case's driver and GPUs."""
    row = case.knowledge.vendor_build(case.build_name, case.runtime)
    if row is None or case.driver is None or case.api_observed or not case.devices or case.facts.errors:
        return False
    listed = any(case.driver[0] == oldest[0] and at_least(case.driver, oldest) for oldest in row.compat)
    return listed and all(device.model and device.model.datacenter for device in case.devices)


def _carried(case: Case, toolkit: Toolkit, runtime: Version, seen: str) -> Check:
    message = (
        f"{seen} is below the floor of CUDA {show(runtime)} ({_floor(toolkit)}); NVIDIA's container brings cuda-compat, "
        "which its release notes list for this driver branch on data-centre GPUs; an image made from it must keep "
        "/usr/local/cuda/compat"
    )
    row = case.knowledge.vendor_build(case.build_name, case.runtime)
    source = row.source if row else ""
    return check(
        case, check_names.DRIVER_VERSION, Status.NOTE, reasons.ForwardCompatInUse, message, source=source
    )


def _may_use_compat(case: Case) -> bool:
    """Return whether cuda-compat can explain that CUDA works although the driver is too old for the image.

    It cannot if one of the GPUs is a consumer GPU, because cuda-compat does not run on these.
    """
    return not any(device.model and device.model.datacenter is False for device in case.devices)


def _reaches_toolkit(case: Case, toolkit: Toolkit, runtime: Version) -> bool | None:
    if case.api_observed and case.api is not None:
        return case.api >= api_number(runtime)
    if case.driver is not None and toolkit.cuda == runtime and toolkit.toolkit_driver is not None:
        return at_least(case.driver, toolkit.toolkit_driver)
    branch = case.knowledge.branch(case.driver)
    if branch is None:
        return None
    if branch.cuda >= runtime:
        return True
    return None if case.newer_than_branches else False


def _below_toolkit(case: Case, toolkit: Toolkit, runtime: Version, seen: str) -> Check:
    own = toolkit.toolkit_driver_text if toolkit.cuda == runtime else ""
    wanted = own or f"a driver with CUDA {show(runtime)}"
    if case.expect.driver_rule == "Toolkit":
        message = f"{seen} is older than the toolkit's own for CUDA {show(runtime)} ({wanted}), which expect.driverRule asks for"
        reason, source = reasons.DriverTooOld, toolkit.source
        return check(case, check_names.DRIVER_VERSION, Status.FAIL, reason, message, source=source)
    message = (
        f"{seen} is older than CUDA {show(runtime)}'s own ({wanted}); minor-version compatibility carries it"
    )
    return check(
        case,
        check_names.DRIVER_VERSION,
        Status.NOTE,
        reasons.DriverOlderThanToolkit,
        message,
        source=toolkit.source,
    )


def toolkit_rule_known(case: Case) -> Iterator[Check]:
    """If ``expect.driverRule`` is ``Toolkit``, check that the driver and the toolkit's own driver are known.

    The rule requires a driver that is at least as new as the one that came with the image's CUDA toolkit.
    """
    if case.expect.driver_rule != "Toolkit" or case.runtime is None or case.cpu_build:
        return
    toolkit = case.knowledge.toolkit(case.runtime)
    if toolkit is None or _reaches_toolkit(case, toolkit, case.runtime) is None:
        message = f"the toolkit's own driver for CUDA {show(case.runtime)}, or the driver here, is not known"
        yield check(case, check_names.DRIVER_VERSION, Status.UNKNOWN, reasons.ExpectationUnknown, message)


def supports_gpu(case: Case) -> Iterator[Check]:
    """Check that the driver's branch supports each GPU.

    A branch may be older than the GPU, or may have dropped support for it.
    """
    if case.driver is None:
        return
    for device in case.devices or node_devices(case):
        if device.proven:
            continue
        found = gpu_generation(case, device, case.driver)
        if found is not None:
            yield found


def gpu_generation(case: Case, device: Device, driver: Version) -> Check | None:
    """Return a check that says that ``driver`` does not support ``device``, or may not support it.

    Return None if the driver supports the GPU, or if the tables do not say which drivers do.
    """
    architecture = device.architecture
    if architecture is None:
        return None
    dropped = architecture.dropped_from_driver
    if dropped is not None and driver[0] >= dropped:
        limit = case.knowledge.last_branch(dropped)
        message = f"driver {case.driver_text} no longer supports {device.title}: {architecture.name} ended with R{limit}"
        return check(
            case,
            check_names.DRIVER_GPU,
            Status.FAIL,
            reasons.DriverDroppedGpu,
            message,
            source=architecture.source,
        )
    first = architecture.first_driver
    seen_working = case.facts.torch.available is True or case.facts.driver.cu_init == 0
    if first is not None and driver[0] < first and not seen_working:
        message = f"driver {case.driver_text} does not know {device.title} yet: {architecture.name} needs R{first} or newer"
        return check(
            case,
            check_names.DRIVER_GPU,
            Status.FAIL,
            reasons.DriverTooOld,
            message,
            source=architecture.source,
        )
    return _unknown_generation(case, device)


def _unknown_generation(case: Case, device: Device) -> Check | None:
    """Return an Unknown check if the driver's CUDA is older than the first CUDA that supports the GPU, else None.

    Such a driver may be too old for the GPU. If the tables name the first driver branch for the GPU, or if CUDA
    started, the check is not needed: return None.
    """
    architecture, api = device.architecture, case.knowledge.branch(case.driver)
    if architecture is None or architecture.first_driver is not None or architecture.first_cuda is None:
        return None
    if api is None or architecture.first_cuda <= api.cuda or case.cuda_works:
        return None
    message = (
        f"{device.title} came with CUDA {show(architecture.first_cuda)}; driver {case.driver_text} (CUDA {show(api.cuda)}) "
        "is older, and which branch knows the GPU first is not in the tables"
    )
    return check(
        case,
        check_names.DRIVER_GPU,
        Status.UNKNOWN,
        reasons.GpuNotInTables,
        message,
        source=architecture.source,
    )


def node_devices(case: Case) -> tuple[Device, ...]:
    """Return the GPU that the labels of the node name, as a tuple, or () if they name none that is known."""
    node = case.facts.node
    model = case.knowledge.model(node.product)
    capability = node.compute_capability or (model.cc if model else None)
    if capability is None:
        return ()
    architecture = case.knowledge.architectures.get(capability)
    return (Device(0, node.product, capability, model, architecture, False),)


def forward_compat(case: Case) -> Iterator[Check]:
    """Yield a Note if cuda-compat is in use: the node's driver is then older than the CUDA that programs see."""
    driver = case.facts.driver
    branch = case.knowledge.branch(case.driver)
    compat = driver.libcuda is not None and driver.libcuda.origin == LibcudaOrigin.COMPAT
    if compat and not case.api_observed and not case.probed:
        return  # gpuenv.assess.policies.image_start judges one that was found in an image
    newer = (
        branch is not None
        and case.api_observed
        and case.api is not None
        and case.api > api_number(branch.cuda)
        and branch is not case.knowledge.branches[0]
    )
    if not compat and not newer:
        return
    own = f"CUDA {show(branch.cuda)}" if branch else "an older CUDA"
    node = f"driver {case.driver_text or '(unknown)'} is of {own}"
    message = f"cuda-compat is in use: {node}, the loaded libcuda of CUDA {show(case.api_cuda)}"
    yield check(case, check_names.FORWARD_COMPAT, Status.NOTE, reasons.ForwardCompatInUse, message)


def last_generation(case: Case) -> Iterator[Check]:
    """Yield a Note if newer driver branches no longer support one of the GPUs.

    It names the last driver branch and the last CUDA toolkit for this generation of GPUs.
    """
    limit = newest_branch(case)
    if limit is None:
        return
    names = sorted(
        {d.architecture.name for d in case.devices if d.architecture and d.architecture.dropped_from_driver}
    )
    row = next(d.architecture for d in case.devices if d.architecture and d.architecture.dropped_from_driver)
    last = f" and CUDA {show(row.last_cuda)} the last toolkit" if row.last_cuda else ""
    message = f"R{limit} is the last driver branch for {' and '.join(names)}{last}"
    yield check(
        case, check_names.GENERATION, Status.NOTE, reasons.LastSupportedGeneration, message, source=row.source
    )
