"""Every cure that is offered works: it is applied to random facts as a program would, by its parameters alone."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuenv.api.remedies import Action, Remedy
from gpuenv.api.spec.environment import Expectations
from gpuenv.assess.engine import assess
from gpuenv.assess.facts import ContainerFacts, DriverFacts, Facts, Gpu, NodeFacts, TorchFacts
from gpuenv.assess.model import Assessment, Status, Verdict
from gpuenv.assess.policies.architecture import cudnn_number
from gpuenv.knowledge import load
from gpuenv.knowledge.build_name import parse_build_name
from gpuenv.knowledge.versions import parse_version, show

EXAMPLES = 1500
K = load()
BUILDS = [(release, build) for release in K.torch.values() for build in release.builds]
RELEASES = sorted({show(release.torch) for release, _ in BUILDS})
INDEXES = sorted({"cu" + show(build.cuda).replace(".", "") for _, build in BUILDS})
PRODUCTS = sorted(model.name for model in K.models.values())
MARKS = sorted(
    {text for row in K.toolkits.values() for text in (row.first_release, row.toolkit_driver_text) if text}
    | {str(branch.branch) for branch in K.branches}
)


def cuda_of(version: str) -> str | None:
    name = parse_build_name(version)
    return show(name.cuda) if name.cuda else None


def torch_of(version: str, flags: tuple[str, ...] | None) -> TorchFacts:
    return TorchFacts(version=version, cuda=cuda_of(version), arch_flags=flags)


released = st.sampled_from(BUILDS).map(
    lambda found: f"{show(found[0].torch)}.0+cu{show(found[1].cuda).replace('.', '')}"
)
other = st.builds(
    "{}.{}{}".format,
    st.sampled_from(RELEASES),
    st.integers(0, 2),
    st.sampled_from(["+cpu", "", "+rocm6.4", "a0+gitabcdef0", *(f"+{index}" for index in INDEXES)]),
)
flags = st.none() | st.lists(
    st.sampled_from(["sm_60", "sm_70", "sm_80", "sm_90", "compute_90", "sm_120"]), min_size=1, max_size=3
).map(tuple)
drivers = (
    st.none()
    | st.sampled_from(MARKS)
    | st.builds("{}.{}.{:02}".format, st.integers(384, 640), st.integers(0, 200), st.integers(0, 20))
)
facts = st.builds(
    Facts,
    source=st.sampled_from(["flags", "collect-env"]),
    torch=st.builds(torch_of, released | other, st.none() | flags),
    driver=st.builds(
        DriverFacts, version=drivers, cuda_version=st.none() | st.sampled_from([11000, 11040, 12020, 12080, 13000, 13040])
    ),
    gpus=st.lists(st.builds(Gpu, product=st.sampled_from(PRODUCTS)), max_size=2).map(
        lambda found: tuple(replace(gpu, index=index) for index, gpu in enumerate(found))
    ),
    node=st.builds(NodeFacts, platform=st.sampled_from([None, *(row.name for row in K.platforms)])),
    container=st.builds(ContainerFacts, python=st.sampled_from([None, "3.8.10", "3.12.3"])),
)  # fmt: skip
expectations = st.sampled_from(
    [None, None, Expectations(driver_rule="Toolkit"), Expectations(pytorch=">=2.6"), Expectations(cuda="<13")]
)


def applied(case: Facts, one: Remedy) -> Facts | None:
    """Return the facts as they are after a remedy, or None if its parameters do not say what to do."""
    known = dict(one.parameters)
    version = known.get("minVersion", known.get("branch"))
    if version is not None:
        stale = case.driver.cuda_version if one.action == Action.UPGRADE_DRIVER and is_stale(case) else None
        case = replace(case, driver=DriverFacts(version=version, cuda_version=stale))
    if one.action in (Action.UPGRADE_DRIVER, Action.CHANGE_DRIVER):
        return case if version is not None else None
    if one.action == Action.CHANGE_IMAGE and "pytorch" in known:
        release = K.release(parse_version(known["pytorch"]))
        assert release is not None, one
        row = release.build(parse_version(known["cuda"]))
        assert row is not None, one
        assert known["index"] == "cu" + known["cuda"].replace(".", "")
        own = parse_build_name(case.torch.version).release or ()
        number = show(own) if own[:2] == release.torch and release.has(own) else f"{known['pytorch']}.0"
        loaded = case.driver.cuda_version if case.driver.version is None else None
        return replace(
            case,
            torch=TorchFacts(
                version=f"{number}+{known['index']}", cuda=known["cuda"], cudnn=cudnn_number(parse_version(row.cudnn))
            ),
            driver=replace(case.driver, cuda_version=loaded),
        )  # fmt: skip
    if one.action == Action.REPAIR_IMAGE and "remove" in known:
        return replace(case, driver=replace(case.driver, cuda_version=None))
    if one.action == Action.REPAIR_IMAGE and known.get("package", "").startswith("cuda-compat-"):
        major, minor = known["package"].removeprefix("cuda-compat-").split("-")
        return replace(case, driver=replace(case.driver, cuda_version=int(major) * 1000 + int(minor) * 10))
    return None


def is_stale(case: Facts) -> bool:
    branch = K.branch(parse_version(case.driver.version))
    loaded = case.driver.cuda_version
    return branch is not None and loaded is not None and loaded < branch.cuda[0] * 1000 + branch.cuda[1] * 10


def unknown(found: Assessment) -> set[tuple[str, str]]:
    return {(check.name, check.reason) for check in found.checks if check.status is Status.UNKNOWN}


def test_every_cure_that_is_offered_works(capsys: pytest.CaptureFixture[str]) -> None:
    counted: Counter[str] = Counter()

    @settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
    @given(facts, expectations)
    def run(case: Facts, expect: Expectations | None) -> None:
        before = assess(case, expect, (), K)
        counted["facts"] += 1
        counted["facts that fail"] += before.verdict is Verdict.INCOMPATIBLE
        for check in before.checks:
            if check.status is not Status.FAIL or check.name.startswith("expect-"):
                continue
            for one in check.remedies:
                after_facts = applied(case, one)
                if after_facts is None:
                    continue
                counted["remedies"] += 1
                counted[one.action] += 1
                works(case, one, before, assess(after_facts, expect, (), K))
                if one.action == Action.UPGRADE_DRIVER and (branch := dict(one.parameters).get("branch")):
                    in_support = replace(after_facts, driver=replace(after_facts.driver, version=branch))
                    works(case, one, before, assess(in_support, expect, (), K))

    run()
    with capsys.disabled():
        print(f"\n{', '.join(f'{count} {name}' for name, count in counted.items())}")  # noqa: T201  a figure for people
    assert counted["remedies"] > counted["facts that fail"] / 2


def works(case: Facts, one: Remedy, before: Assessment, after: Assessment) -> None:
    """Assert that a remedy makes the verdict better, and names nothing that is there already."""
    known = dict(one.parameters)
    expected = {
        check.name
        for check in before.checks
        if check.status is Status.FAIL and check.name.startswith("expect-")
    }
    failed = [check for check in after.checks if check.status is Status.FAIL and check.name not in expected]
    assert not failed, (one, failed)
    new = {found for found in unknown(after) - unknown(before) if found[1] != "NotEnoughFacts"}
    assert not new, (one, new)
    if not expected and not unknown(after):
        assert after.verdict is Verdict.COMPATIBLE, (one, after)
    name = parse_build_name(case.torch.version)
    if one.action == Action.CHANGE_IMAGE and name.is_release and name.release and name.cuda:
        assert (known["pytorch"], known["cuda"]) != (show(name.release[:2]), show(name.cuda)), one
    driver, wanted = parse_version(case.driver.version), parse_version(known.get("minVersion"))
    if driver and wanted and driver[0] >= 100:
        assert wanted > driver, one
    if driver and "branch" in known and one.action != Action.UPGRADE_DRIVER:
        assert driver[0] > int(known["branch"]), one
