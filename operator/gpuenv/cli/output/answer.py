"""The answers of ``gpuenv explain`` and ``gpuenv check``, and the parts of an answer that every format shows."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gpuenv.api.remedies import remedies_data
from gpuenv.assess.case import Case, make_case
from gpuenv.assess.facts import Facts, Gpu, Source
from gpuenv.assess.model import Assessment, Check, Status
from gpuenv.assess.targets import ArchSource
from gpuenv.cli.output import text
from gpuenv.cli.output.install_lines import remedy_command
from gpuenv.knowledge import Knowledge, load
from gpuenv.knowledge.build_name import cuda_label
from gpuenv.knowledge.versions import show

if TYPE_CHECKING:
    from gpuenv.assess.questions.answer import OpenAnswer

NOTHING_FOUND: Final = (
    "looked for a PyTorch version, a CUDA version, a driver version, GPU names and known error texts"
)


NOTHING_THERE: Final = "neither PyTorch nor a driver nor a GPU was found"
"""What is said in the place of the facts if a probe found none of them."""


def nothing(facts: Facts) -> str:
    """Return what is said in the place of facts if there are none: a probe looks at a machine, the others read texts."""
    return NOTHING_THERE if facts.source == Source.PROBE else f"nothing usable was found; {NOTHING_FOUND}"


@dataclass(frozen=True, slots=True)
class AboutImage:
    """The image that an answer is about: its reference as the user gave it, and sentences about it."""

    reference: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The facts about one image on one node, and their assessment.

    ``name`` distinguishes several answers: it contains the name of the node, the version of PyTorch, or both. It is ""
    for a single answer about a node without a name.
    """

    name: str
    facts: Facts
    assessment: Assessment
    knowledge: Knowledge = field(default_factory=load)
    """The tables that the assessment used."""
    open: "OpenAnswer | None" = None
    """What the tables say about facts that are not given, or None if nothing can be said."""
    image: AboutImage | None = None
    """The image, if the user named one."""
    node: str = ""
    """The name of the node, or "" if it has none."""
    node_number: int = 0
    """Distinguishes nodes, which may have no names, or equal ones."""
    build: str = ""
    """The image or the version of PyTorch that the person named, or "" if there is none."""
    before: "Answer | None" = None
    """The answer without the change that ``change`` describes, or None if the question is about no change."""
    change: str = ""

    @property
    def judged_build(self) -> str:
        """The build that the answer is about: the one that the person named, or the one that a change puts in its place."""
        changed = self.before is not None and self.before.facts.torch.version != self.facts.torch.version
        return (self.facts.torch.version or "") if changed else self.build

    @property
    def findings(self) -> list[Check]:
        """All checks except those with the status Pass or Skipped. Checks with equal reason and message appear once."""
        found: dict[tuple[str, str], Check] = {}
        for check in self.assessment.checks:
            if check.status not in (Status.PASS, Status.SKIPPED):
                found.setdefault((check.reason, check.message), check)
        return list(found.values())

    @property
    def subject(self) -> str:
        """A line that names PyTorch, driver, GPUs and errors, as far as they are known."""
        facts = self.facts
        gpus = [gpu_title(gpu) for gpu in facts.gpus]
        driver = facts.driver.version or facts.node.driver_version
        parts = text.subject(facts.torch.version, assumed(self) or facts.torch.cuda, driver, gpus)
        if facts.torch.available is False:
            parts.append("torch.cuda.is_available() is False")
        if facts.errors:
            parts.append(f"{len(facts.errors)} error{'s' if len(facts.errors) > 1 else ''}")
        if facts.unrecognised:
            parts.append("an error that is not known")
        return ", ".join(parts)


def gpu_title(gpu: Gpu) -> str:
    """Return the name of a GPU, and what a person typed for it if that was shorter: ``RTX 4090 (given as 4090)``."""
    name = gpu.product or (show(gpu.compute_capability) if gpu.compute_capability else "GPU")
    return f"{name} (given as {gpu.typed})" if gpu.typed else name


def assumed(answer: Answer) -> str:
    """Return what was assumed about the build, in words, or "" if nothing was.

    A version without a label is PyPI's default build: ``12.8 assumed: PyPI's default; say +cu126, +cu130 or --cuda``.
    """
    case = make_case(answer.facts, None, (), answer.knowledge, None)
    if not case.runtime_assumed or case.release is None:
        return ""
    others = [f"+{cuda_label(build.cuda)}" for build in case.release.builds if build.cuda != case.runtime]
    say = f"; say {', '.join(others)} or --cuda" if others else ""
    return f"{show(case.runtime)} assumed: PyPI's default{say}"


def as_data(answer: Answer) -> dict[str, Any]:
    """Return an answer as JSON data, with the same fields for ``explain`` and ``check``."""
    case = make_case(answer.facts, None, (), answer.knowledge, None)
    torch = answer.facts.torch.version
    data: dict[str, Any] = {
        "verdict": str(answer.assessment.verdict),
        "reasons": [_check_data(check, torch) for check in answer.findings],
        "facts": _facts_data(case),
        "unknowns": _unknowns(case),
    }
    if answer.open is not None:
        from gpuenv.cli.output import open_answers  # noqa: PLC0415 - only open questions need it

        data["answer"] = open_answers.data(answer.open, answer.facts.torch.version)
    if answer.image is not None:
        data["image"] = _image_data(answer.image, answer.facts)
    if answer.before is not None:
        before = answer.before.assessment
        data["before"] = {"verdict": str(before.verdict), "reason": before.reason}
    names = {"name": answer.name, "node": answer.node, "build": answer.build if answer.name else ""}
    return data | {key: value for key, value in names.items() if value}


def _image_data(image: AboutImage, facts: Facts) -> dict[str, Any]:
    """Return what is known about an image as JSON data, with where each value comes from."""
    return {
        "reference": image.reference,
        "values": [
            {"value": one.value, "origin": str(one.origin), "where": one.where} for one in facts.provenance
        ],
        "platforms": list(facts.container.image_platforms),
        "notes": list(image.notes),
    }


def _check_data(check: Check, torch: str | None) -> dict[str, Any]:
    return {
        "code": check.reason,
        "status": str(check.status),
        "check": check.name,
        "message": check.message,
        "remedies": [
            data | ({"install": command} if (command := remedy_command(one, torch)) else {})
            for one, data in zip(check.remedies, remedies_data(check.remedies), strict=True)
        ],
        "source": check.source,
    }


def _facts_data(case: Case) -> dict[str, Any]:
    """Return the facts from which the verdict follows as JSON data, without the facts that are not known."""
    facts = case.facts
    typed = {gpu.index: gpu.typed for gpu in facts.gpus}
    data = {
        "source": facts.source,
        "pytorch": facts.torch.version,
        "cuda": show(case.runtime) if case.runtime else None,
        "cudaAssumed": case.runtime_assumed or None,
        "cudaAvailable": facts.torch.available,
        "cudnn": facts.torch.cudnn,
        "archList": list(case.arch_flags)
        if case.arch_flags and case.arch_source != ArchSource.ENDS
        else None,
        "python": facts.container.python,
        "driver": case.driver_text or None,
        "driverCuda": show(case.api_cuda) if case.api_cuda and not case.beyond_tables else None,
        "platform": next(iter(case.platforms), None),
        "gpus": [
            _known(
                index=device.index,
                product=device.product,
                typed=typed.get(device.index),
                computeCapability=show(device.compute_capability) if device.compute_capability else None,
            )
            for device in case.devices
        ],
        "errors": [failure.message for failure in facts.errors],
    }
    return {key: value for key, value in data.items() if value not in (None, [])}


def _known(**fields: Any) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


def _unknowns(case: Case) -> list[str]:
    """Return the names of facts that are not known and could change the verdict."""
    if case.cpu_build:
        return []
    missing = {
        "pytorch": not case.facts.torch.version,
        "cuda": case.runtime is None,
        "driver": not case.knows_driver,
        "gpu": not case.devices,
        "computeCapability": any(device.compute_capability is None for device in case.devices),
        "archList": not case.arch_flags,
    }
    return [name for name, absent in missing.items() if absent]
