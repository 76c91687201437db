"""Properties that hold for all facts: more driver, more code and another order never make things worse."""

import json
from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from gpuenv.api import check_names
from gpuenv.api.reasons import ROWS
from gpuenv.api.remedies import Action
from gpuenv.assess.engine import assess
from gpuenv.assess.facts import DriverFacts, Facts, Failure, Gpu, NodeFacts, Step, TorchFacts
from gpuenv.assess.model import Status, Verdict
from gpuenv.assess.sources.probe.probe_document import MAX_BYTES, join_reports
from gpuenv.assess.sources.probe.probe_facts import facts_from_document
from gpuenv.cli.output.text import in_words
from gpuenv.knowledge import load

KNOWLEDGE = load()
ORDER = (Verdict.COMPATIBLE, Verdict.DEGRADED, Verdict.UNKNOWN, Verdict.INCOMPATIBLE)
FLAGS = [
    f"sm_{number}" for number in (37, 50, 60, 61, 70, 72, 75, 80, 86, 87, 89, 90, 100, 103, 110, 120, 121)
]
FLAGS += ["sm_90a", "sm_100a", "sm_120f", "compute_37", "compute_70", "compute_90", "compute_120"]
PRODUCTS = [
    "Tesla K80", "Tesla M60", "Tesla P100-PCIE-16GB", "Tesla P40", "Tesla V100-SXM2-16GB", "Tesla T4",
    "NVIDIA A100-SXM4-80GB", "NVIDIA A10G", "NVIDIA L4", "NVIDIA GeForce RTX 4090", "NVIDIA H100 80GB HBM3",
    "NVIDIA B200", "NVIDIA B300 SXM6 AC", "NVIDIA GB10", "NVIDIA GeForce RTX 5090", "Orin (nvgpu)", None,
]  # fmt: skip

torch_versions = st.sampled_from(
    [f"{release.torch[0]}.{release.torch[1]}.0" for release in KNOWLEDGE.torch.values()] + ["2.19.0"]
)
cuda_versions = st.sampled_from(
    ["10.2", "11.0", "11.6", "11.8", "12.1", "12.4", "12.6", "12.8", "13.0", "13.2", "13.9", "14.0"]
)
drivers = st.tuples(st.integers(384, 700), st.integers(0, 250), st.integers(0, 20))
capabilities = st.tuples(st.integers(3, 14), st.integers(0, 9)) | st.none()
gpus = st.builds(
    Gpu,
    index=st.integers(0, 7),
    product=st.sampled_from(PRODUCTS),
    compute_capability=capabilities,
    memory_mib=st.integers(0, 300_000) | st.none(),
)
facts = st.builds(
    Facts,
    source=st.sampled_from(["flags", "collect-env", "error-text"]),
    torch=st.builds(
        TorchFacts,
        version=torch_versions,
        cuda=cuda_versions,
        arch_flags=st.lists(st.sampled_from(FLAGS), max_size=6).map(tuple) | st.none(),
        available=st.booleans() | st.none(),
    ),
    driver=drivers.map(lambda parts: DriverFacts(version=".".join(map(str, parts)))),
    gpus=st.lists(gpus, max_size=3, unique_by=lambda gpu: gpu.index).map(tuple),
)


def verdict(case: Facts) -> Verdict:
    return assess(case, None, (), KNOWLEDGE).verdict


def reasons(case: Facts, status: Status = Status.FAIL) -> set[str]:
    return {check.reason for check in assess(case, None, (), KNOWLEDGE).checks if check.status is status}


@settings(max_examples=400)
@given(facts, drivers)
def test_a_newer_driver_is_never_too_old_where_an_older_one_was_not(
    case: Facts, other: tuple[int, int, int]
) -> None:
    version = case.driver.version
    assert version is not None
    old, new = sorted([tuple(map(int, version.split("."))), other])
    older = replace(case, driver=DriverFacts(version=".".join(map(str, old))))
    newer = replace(case, driver=DriverFacts(version=".".join(map(str, new))))
    if verdict(older) is Verdict.COMPATIBLE:
        assert "DriverTooOld" not in reasons(newer)
    if "DriverTooOld" in reasons(newer):
        assert "DriverTooOld" in reasons(older)


@settings(max_examples=400)
@given(facts, st.sampled_from(FLAGS))
def test_more_architectures_never_make_it_worse(case: Facts, flag: str) -> None:
    flags = case.torch.arch_flags or ("sm_80",)
    fewer = replace(case, torch=replace(case.torch, arch_flags=flags))
    more = replace(case, torch=replace(case.torch, arch_flags=(*flags, flag)))
    assert ORDER.index(verdict(more)) <= ORDER.index(verdict(fewer))


@settings(max_examples=200)
@given(facts, st.randoms(use_true_random=False))
def test_the_order_of_facts_does_not_matter(case: Facts, random: Random) -> None:
    shuffled = list(case.gpus)
    random.shuffle(shuffled)
    flags = list(case.torch.arch_flags or ())
    random.shuffle(flags)
    other = replace(
        case,
        gpus=tuple(shuffled),
        torch=replace(case.torch, arch_flags=tuple(flags) if case.torch.arch_flags is not None else None),
    )
    first, second = assess(case, None, (), KNOWLEDGE), assess(other, None, (), KNOWLEDGE)
    assert (first.verdict, first.reason) == (second.verdict, second.reason)


def is_described(name: str) -> bool:
    """Return whether the table of check names has the name, or the family that it belongs to."""
    families = tuple(known.partition("<")[0] for known in check_names.DESCRIPTIONS if "<" in known)
    return name in check_names.DESCRIPTIONS or name.startswith(families)


@settings(max_examples=300)
@given(facts)
def test_checks_come_worst_first_and_carry_what_people_need(case: Facts) -> None:
    found = assess(case, None, (), KNOWLEDGE)
    ranks = [-check.status.severity for check in found.checks]
    assert ranks == sorted(ranks)
    for check in found.checks:
        assert check.message
        assert is_described(check.name), check
        assert not check.reason or check.reason in ROWS, check
        if check.status in (Status.FAIL, Status.UNKNOWN, Status.WARN):
            assert check.reason, check
            assert check.remedies, check
            assert check.source, check
        for one in check.remedies:
            assert one.message, check
            names = [name for name, _ in one.parameters]
            assert set(names) <= set(Action(one.action).parameters), check
            assert names == sorted(names), check
    if found.verdict is Verdict.COMPATIBLE:
        assert case.gpus or case.source == "probe"


@settings(max_examples=300)
@given(facts)
def test_nobody_is_told_to_leave_the_last_driver_of_the_gpu(case: Facts) -> None:
    old = [gpu for gpu in case.gpus if gpu.compute_capability and (3, 5) <= gpu.compute_capability < (7, 5)]
    for check in assess(case, None, (), KNOWLEDGE).checks:
        if old and check.reason == "DriverTooOld":
            assert "R590" not in in_words(check.remedies)
            assert "595" not in in_words(check.remedies)


statuses = st.sampled_from(["Pass", "Fail", "Wrong", "Unconfirmed", "Skipped", "Crashed", "TimedOut"])
steps = st.lists(
    st.builds(
        Step,
        name=st.sampled_from(["alloc", "matmul", "conv", "attention", "train", "jit", "stream"]),
        gpu=st.integers(0, 1),
        dtype=st.sampled_from(["fp32", "bf16"]),
        status=statuses,
        error=st.none()
        | st.builds(
            Failure, layer=st.just("cudart"), code=st.sampled_from([2, 36, 46, 209, 214, 700, 719, 12345])
        ),
    ),
    max_size=8,
).map(tuple)


PROBED = Facts(
    source="probe",
    stages=frozenset({"facts", "kernels"}),
    torch=TorchFacts(version="2.9.1+cu128", cuda="12.8", arch_flags=("sm_80",)),
    driver=DriverFacts(version="570.124.06", cuda_version=12080, cu_init=0, device_count=2),
    gpus=(
        Gpu(0, "NVIDIA A100-SXM4-80GB", compute_capability=(8, 0)),
        Gpu(1, "NVIDIA A100-SXM4-80GB", compute_capability=(8, 0)),
    ),
)


@settings(max_examples=500)
@given(steps, st.sets(st.sampled_from(["facts", "kernels"])))
def test_a_probe_is_compatible_only_when_kernels_ran_on_every_gpu(
    taken: tuple[Step, ...], stages: set[str]
) -> None:
    case = replace(PROBED, stages=frozenset(stages), steps=taken)
    kernels = [step for step in taken if step.name in ("matmul", "conv", "attention", "train")]
    if verdict(case) is Verdict.COMPATIBLE:
        assert stages == {"facts", "kernels"}
        assert {step.gpu for step in kernels if step.status == "Pass"} == {0, 1}
        assert all(step.status in ("Pass", "Skipped") for step in kernels)
    if any(step.status in ("Wrong", "Crashed") for step in kernels):
        assert verdict(case) in (Verdict.INCOMPATIBLE, Verdict.UNKNOWN)


@settings(max_examples=200)
@given(steps, st.randoms(use_true_random=False))
def test_the_order_of_steps_does_not_matter(taken: tuple[Step, ...], random: Random) -> None:
    shuffled = list(taken)
    random.shuffle(shuffled)
    case = replace(PROBED, steps=taken)
    first = assess(case, None, (), KNOWLEDGE)
    second = assess(replace(case, steps=tuple(shuffled)), None, (), KNOWLEDGE)
    assert (first.verdict, first.reason) == (second.verdict, second.reason)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "version",
                    "gpus",
                    "steps",
                    "driver",
                    "torch",
                    "name",
                    "status",
                    "error",
                    "index",
                    "env",
                    "stage",
                    "complete",
                ]
            )
            | st.text(max_size=5),
            inner,
            max_size=6,
        )
    ),
    max_leaves=30,
)


@settings(max_examples=500)
@given(
    st.dictionaries(
        st.sampled_from(
            ["stage", "complete", "container", "driver", "gpus", "torch", "steps", "commands", "benchmarks"]
        ),
        junk,
    )
)
def test_whatever_an_image_writes_as_a_report_is_judged(document: dict[str, object]) -> None:
    joined = join_reports(document, document)
    assert len(json.dumps(joined, ensure_ascii=False, separators=(",", ":")).encode()) <= MAX_BYTES
    for found in (document, joined):
        assert verdict(facts_from_document(found, NodeFacts())) is not Verdict.COMPATIBLE
