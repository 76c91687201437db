"""Read the specification of a GPUEnvironment from the raw object, or say in one line which field makes no sense.

The CRD's schema rejects most mistakes at admission. The parser checks for the same mistakes again, because an object
can be older than the schema, or come from a file. It also checks what a schema cannot: version specifiers and
quantities.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, cast, get_args

from gpuenv.api import names
from gpuenv.api.device import GPUDevice
from gpuenv.api.environment import (
    AllocationMode,
    BenchmarkProfile,
    Checks,
    CommandCheck,
    DriverRule,
    EnvironmentSpec,
    Expectations,
    Feature,
    Preflight,
    ProbeSpec,
    PublishTarget,
    PullPolicy,
    RootFilesystem,
    RunAs,
    Sampling,
    Timeouts,
)
from gpuenv.api.fields import FieldError, Fields
from gpuenv.api.floor import parse_floors
from gpuenv.api.node_selector import node_selector
from gpuenv.api.quantity import whole_bytes


class SpecError(ValueError):
    """A specification is not valid. The message names the field and says what to write instead, in one line."""


_DEFAULT: Final = EnvironmentSpec(image="")
_DEFAULT_CHECK: Final = CommandCheck(name="", command=())
_YEAR: Final = 31536000
_IMAGE = re.compile(
    r"(?P<name>[^@\s]*?[^@:/\s]+)(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(@(?P<digest>[a-z0-9]+:[a-f0-9]{32,128}))?"
)
_PERCENT = re.compile(r"([1-9][0-9]?|100)%")
_CAPABILITY = re.compile(r"([1-9][0-9]?)\.([0-9])")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_MOST_COMMAND_BYTES: Final = 128 * 1024 - len(f"{names.COMMANDS_VARIABLE}=\0")
"""Linux passes a program no longer variable (MAX_ARG_STRLEN), with name and final zero."""


def parse(spec: Mapping[str, Any] | None) -> EnvironmentSpec:
    """Return the typed form of a raw ``spec``, without unknown fields. Raises :class:`SpecError` if it is invalid."""
    try:
        return _environment(Fields("spec", spec))
    except FieldError as error:
        raise SpecError(str(error)) from None


def _environment(spec: Fields) -> EnvironmentSpec:
    nodes, benchmarks = spec.child("nodes"), spec.child("benchmarks")
    strategy, publish = spec.child("strategy"), spec.child("publish")
    if strategy.has("samplesPerClass"):
        strategy.fail(
            "samplesPerClass", "belongs to sampling PerClass, of a later version of gpuenv; remove it"
        )
    return EnvironmentSpec(
        image=_image(spec),
        image_pull_policy=cast(
            "PullPolicy", spec.choice("imagePullPolicy", get_args(PullPolicy), _DEFAULT.image_pull_policy)
        ),
        image_pull_secrets=tuple(
            secret.required_text("name") for secret in spec.children("imagePullSecrets")
        ),
        selector=node_selector(nodes.child("selector")),
        expect=_expectations(spec.child("expect")),
        checks=_checks(spec.child("checks")),
        profile=cast(
            "BenchmarkProfile", benchmarks.choice("profile", get_args(BenchmarkProfile), _DEFAULT.profile)
        ),
        floors=parse_floors(benchmarks),
        probe=_probe(spec.child("probe")),
        revalidation_period_seconds=strategy.integer(
            "revalidationPeriodSeconds", _DEFAULT.revalidation_period_seconds, 60, _YEAR
        ),
        max_concurrent=_max_concurrent(strategy),
        sampling=cast(
            "Sampling", _available(strategy, "sampling", get_args(Sampling), _DEFAULT.sampling, ("PerClass",))
        ),
        preflight=cast(
            "Preflight",
            _available(strategy, "preflight", get_args(Preflight), _DEFAULT.preflight, ("Advise", "Skip")),
        ),
        node_label=_publish_target(publish, "nodeLabel", _DEFAULT.node_label),
        node_condition=_publish_target(publish, "nodeCondition", _DEFAULT.node_condition),
        suspend=spec.flag("suspend", _DEFAULT.suspend),
    )


def _image(spec: Fields) -> str:
    image = spec.required_text("image")
    found = _IMAGE.fullmatch(image)
    if found is None:
        spec.fail(
            "image", f"{image[:200]!r} is no image reference; write registry/name:tag or name@sha256:<digest>"
        )
    if found["tag"] == "latest":
        spec.fail(
            "image", "must not use the tag latest, whose content changes; name a version's tag, or a digest"
        )
    if not (found["tag"] or found["digest"]):
        spec.fail("image", "needs a tag or a digest, such as pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime")
    return image


def _expectations(expect: Fields) -> Expectations:
    capability, gpus = expect.child("computeCapability"), expect.child("gpus")
    low = capability.parsed("min", _compute_capability, 'write major.minor in quotes, such as "8.0"')
    high = capability.parsed("max", _compute_capability, 'write major.minor in quotes, such as "12.0"')
    if low and high and low > high:
        capability.fail("min", "is above max; no GPU could satisfy both")
    return Expectations(
        pytorch=_specifier(expect, "pytorch"),
        cuda=_specifier(expect, "cuda"),
        cudnn=_specifier(expect, "cudnn"),
        nccl=_specifier(expect, "nccl"),
        python=_specifier(expect, "python"),
        driver=_specifier(expect, "driver"),
        driver_rule=cast(
            "DriverRule", expect.choice("driverRule", get_args(DriverRule), _DEFAULT.expect.driver_rule)
        ),
        min_compute_capability=low,
        max_compute_capability=high,
        products=gpus.texts("products"),
        min_memory_bytes=gpus.parsed("minMemory", whole_bytes, "write a quantity of bytes, such as 40Gi"),
    )


_LONGEST_SPECIFIER: Final = 128
"""As in the schema. Python refuses to read numbers of more than 4,300 digits, which a longer text could contain."""


def _specifier(expect: Fields, name: str) -> str | None:
    text = expect.text(name)
    if text is None:
        return None
    if len(text) > _LONGEST_SPECIFIER:
        expect.fail(name, f"has {len(text)} characters; write at most {_LONGEST_SPECIFIER}")
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # noqa: PLC0415  takes 12 ms

    try:
        specifiers = list(SpecifierSet(text))
    except InvalidSpecifier:
        specifiers = []
    if not specifiers or any(specifier.operator == "===" for specifier in specifiers):
        expect.fail(
            name, f'{text[:80]!r} is no PEP 440 version specifier; write "==2.9.*", ">=12.6,<13" or "~=2.9.0"'
        )
    return text


def _compute_capability(text: str) -> tuple[int, int]:
    found = _CAPABILITY.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return int(found[1]), int(found[2])


def _checks(checks: Fields) -> Checks:
    imports = checks.texts("imports")
    for module in imports:
        if not _MODULE.fullmatch(module):
            checks.fail(
                "imports",
                f"{module[:80]!r} is no module name; write what follows `import`, such as flash_attn",
            )
    features = checks.texts("features")
    for feature in features:
        _refuse_later(checks, "features", feature, ("Collectives",), get_args(Feature))
        if feature not in get_args(Feature):
            checks.fail(
                "features", f"{feature[:80]!r} is not known; known are {', '.join(get_args(Feature))}"
            )
    found = Checks(
        imports=imports,
        features=frozenset(cast("tuple[Feature, ...]", features)),
        commands=tuple(_command(item) for item in checks.children("commands")),
    )
    size = len(found.command_json)
    if size > _MOST_COMMAND_BYTES:
        checks.fail(
            "commands",
            f"has {size} bytes as JSON, and a program can get no more than {_MOST_COMMAND_BYTES} in a variable; put "
            "long scripts into the image",
        )
    return found


def _refuse_later(
    fields: Fields, name: str, value: object, later: Collection[str], now: Sequence[str]
) -> None:
    """Raise FieldError if ``value`` is one of the values that only a later version of gpuenv implements.

    Their names are fixed in the API already. A value that was accepted and ignored would promise something that does
    not happen.
    """
    if value in later:
        fields.fail(
            name, f"{value} is reserved for a later version of gpuenv; use {' or '.join(now)}, or remove it"
        )


def _available(fields: Fields, name: str, known: Sequence[str], default: str, later: Collection[str]) -> str:
    """Return the value of a field, which must be one of ``known``, or ``default`` if it is absent.

    ``later`` are the values that only a later version of gpuenv implements.
    """
    _refuse_later(fields, name, fields.raw(name), later, known)
    return fields.choice(name, known, default)


def _publish_target(publish: Fields, name: str, default: PublishTarget) -> PublishTarget:
    return cast("PublishTarget", _available(publish, name, get_args(PublishTarget), default, ("Inferred",)))


def _command(check: Fields) -> CommandCheck:
    command = check.texts("command")
    if not command:
        check.fail("command", "is missing; write program and arguments, such as [python, -c, 'import mylib']")
    if len(command) == 1 and " " in command[0]:
        words = ", ".join(command[0].split())
        check.fail("command", f"is one word with blanks, and no shell splits it; write [{words}]")
    return CommandCheck(
        check.required_text("name"),
        command,
        check.integer("timeoutSeconds", _DEFAULT_CHECK.timeout_seconds, 1, 3600),
    )


def _probe(probe: Fields) -> ProbeSpec:
    default = _DEFAULT.probe
    device, timeouts, resources = probe.child("device"), probe.child("timeouts"), probe.child("resources")
    asked = GPUDevice(device.text("resourceName") or default.device.resource_name)
    for section in ("limits", "requests"):
        if asked.resource_name in resources.child(section).all():
            resources.fail(
                section, f"{asked.resource_name} is asked for by spec.probe.device; remove it here"
            )
    capped = resources.child("limits").all()
    for name, wanted in resources.child("requests").all().items():
        if name not in names.NATIVE_RESOURCES and str(capped.get(name)) != str(wanted):
            resources.fail(
                "requests", f"{name} needs the same amount in spec.probe.resources.limits; write it there"
            )
    return ProbeSpec(
        device=asked,
        device_count=device.integer("count", default.device_count, 1, 64),
        allocation_mode=cast(
            "AllocationMode",
            _available(device, "allocationMode", get_args(AllocationMode), default.allocation_mode, ("All",)),
        ),
        tolerations=tuple(item.all() for item in probe.children("tolerations")),
        runtime_class_name=probe.text("runtimeClassName"),
        scheduler_name=probe.text("schedulerName"),
        priority_class_name=probe.text("priorityClassName"),
        resources={key: values for key in ("limits", "requests") if (values := resources.child(key).all())},
        env=tuple(_variable(item) for item in probe.children("env")),
        python=probe.text("python"),
        use_entrypoint=probe.flag("useEntrypoint", default.use_entrypoint),
        run_as=cast("RunAs", probe.choice("runAs", get_args(RunAs), default.run_as)),
        root_filesystem=cast(
            "RootFilesystem",
            probe.choice("rootFilesystem", get_args(RootFilesystem), default.root_filesystem),
        ),
        pod_labels=_foreign(probe, "podLabels"),
        pod_annotations=_foreign(probe, "podAnnotations"),
        timeouts=Timeouts(
            scheduling=timeouts.integer("schedulingSeconds", default.timeouts.scheduling, 1, 86400),
            setup=timeouts.integer("setupSeconds", default.timeouts.setup, 1, 86400),
            pull=timeouts.integer("pullSeconds", default.timeouts.pull, 1, 86400),
            run=timeouts.integer("runSeconds", default.timeouts.run, 1, 86400),
        ),
    )


def _variable(variable: Fields) -> tuple[str, str]:
    name = variable.required_text("name")
    if name.startswith("GPUENV_"):
        variable.fail("name", "starts with GPUENV_, which is the probe's own; choose another name")
    if variable.raw("valueFrom") is not None:
        variable.fail("valueFrom", "would read secrets of the probe namespace; write a literal value")
    return name, variable.text("value") or ""


def _foreign(probe: Fields, name: str) -> dict[str, str]:
    entries = probe.text_map(name)
    for key in entries:
        if re.match(r"([a-z0-9.-]+\.)?gpuenv\.dev/", key):
            probe.fail(name, f"{key} is the operator's own; remove it")
    return entries


def _max_concurrent(strategy: Fields) -> int | str:
    value = strategy.raw("maxConcurrent")
    if value is None:
        return _DEFAULT.max_concurrent
    if isinstance(value, str) and _PERCENT.fullmatch(value):
        return value
    if isinstance(value, str):
        strategy.fail(
            "maxConcurrent", f'is {value[:20]!r}; write a number, or a percentage from "1%" to "100%"'
        )
    return strategy.integer("maxConcurrent", 1, 1, 10000)
