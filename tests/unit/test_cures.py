"""Cures that the engine tries out: another build, another driver, or both, in the order in which they are offered."""

from dataclasses import replace

import pytest
from tests.support.assessed import judge, told

from gpuenv.api.spec.environment import Expectations
from gpuenv.assess.facts import (
    ContainerFacts,
    DriverFacts,
    Facts,
    Failure,
    Gpu,
    Libcuda,
    LibcudaOrigin,
    NodeFacts,
    TorchFacts,
)
from gpuenv.assess.model import Check
from gpuenv.assess.sources.error_text import read_error_text
from gpuenv.knowledge import load

V100, P100, K80 = "Tesla V100-SXM2-16GB", "Tesla P100-PCIE-16GB", "Tesla K80"
A100, L4, B200 = "NVIDIA A100-SXM4-80GB", "NVIDIA L4", "NVIDIA B200"
RTX_4090, RTX_5090, THOR = "NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 5090", "Jetson AGX Thor"


def given(
    torch: str | None = None,
    driver: str | None = None,
    gpu: str | None = None,
    *,
    error: str = "",
    platform: str | None = None,
) -> Facts:
    cuda = torch.partition("+cu")[2] if torch else ""
    return Facts(
        source="flags",
        torch=TorchFacts(version=torch, cuda=f"{cuda[:2]}.{cuda[2:]}" if cuda else None),
        driver=DriverFacts(version=driver),
        gpus=(Gpu(product=gpu),) if gpu else (),
        node=NodeFacts(platform=platform),
        errors=(Failure("torch", message=error),) if error else (),
    )


def leading(facts: Facts, expect: Expectations | None = None) -> Check:
    return judge(facts, expect).checks[0]


def offers(check: Check) -> list[tuple[str, dict[str, str]]]:
    return [(one.action, dict(one.parameters)) for one in check.remedies]


def build(pytorch: str, cuda: str, **more: str) -> tuple[str, dict[str, str]]:
    return "ChangeImage", {"pytorch": pytorch, "cuda": cuda, "index": "cu" + cuda.replace(".", ""), **more}


@pytest.mark.parametrize(
    ("facts", "reason", "expected"),
    [
        # No driver gives CUDA 13 code for Volta, so that an upgrade would be in vain.
        (given("2.11.0+cu130", "535.104.05", V100), "ArchNotInBuild", [build("2.11", "12.6")]),
        # A build that runs without another driver comes before a nearer one that needs it.
        (given("2.9.1+cu128", "470.82.01", P100), "ArchNotInBuild", [build("2.7", "11.8")]),
        (given("2.12.0+cu130", "470.82.01", K80), "ArchNotInBuild", [build("2.7", "11.8")]),
        # Driver and build have to change: one remedy says both.
        (given("2.6.0+cu124", "550.54.15", B200), "ArchNotInBuild", [build("2.7", "12.8", minVersion="570.26")]),
        (given("2.11.0+cu130", "595.45.04", V100), "ArchNotInBuild", [build("2.11", "12.6", branch="580")]),
        (given("2.9.1+cu126", "595.45.04", V100), "DriverDroppedGpu", [("ChangeDriver", {"branch": "580"})]),
        # With a driver that is not known, builds name the oldest driver that runs them, the oldest first.
        (
            given("2.14.0+cpu", None, RTX_5090),
            "TorchCpuBuild",
            [build("2.13", "12.9", minVersion="570.26"), build("2.14", "13.0", minVersion="580.65.06")],
        ),
        (given("2.9.1+cpu", None, A100), "TorchCpuBuild", [build("2.9", "12.6", minVersion="525.60.13")]),
        # An older driver counts only if it is one for a CUDA version in use: CUDA 11 is none, where there is another way.
        (given("2.8.0+cpu"), "TorchCpuBuild", [build("2.8", "12.6", minVersion="525.60.13")]),
        (given("2.7.1+cpu", None, A100), "TorchCpuBuild", [build("2.7", "12.6", minVersion="525.60.13")]),
        (given("2.9.1+cu130", None, K80), "ArchNotInBuild", [build("2.7", "11.8", minVersion="450.80.02", maxBranch="470")]),
        (given("2.9.1+cpu", "575.57.08", A100), "TorchCpuBuild", [build("2.9", "12.8")]),
        # A Jetson runs wheels for Arm, and its driver comes with JetPack.
        (given("2.11.0+cu128", "580.00", THOR), "ArchNotInBuild", [build("2.11", "13.0")]),
    ],
)  # fmt: skip
def test_the_leading_cause_and_its_cures(facts: Facts, reason: str, expected: list[object]) -> None:
    found = judge(facts)
    assert found.reason == reason, told(found)
    assert offers(found.checks[0]) == expected


def test_nobody_upgrades_a_driver_in_vain() -> None:
    found = judge(given("2.11.0+cu130", "535.104.05", V100))
    assert [check.reason for check in found.checks[:2]] == ["ArchNotInBuild", "DriverTooOld"]
    assert "no driver changes that: CUDA 13.0 has no Volta" in found.message
    assert not any(one.action == "UpgradeDriver" for check in found.checks for one in check.remedies)


@pytest.mark.parametrize("driver", [None, "535.104.05"])
def test_without_a_gpu_no_build_is_invented_for_it(driver: str | None) -> None:
    facts = given(
        None, driver, None, error="CUDA error: no kernel image is available for execution on the device"
    )
    check = leading(facts)
    assert (check.reason, offers(check)) == ("ArchNotInBuild", [("ChangeImage", {})])


def test_one_driver_has_one_cure_wherever_it_was_read() -> None:
    """The same driver, as the CUDA version in PyTorch's warning and as a version: the same build helps."""
    known = leading(given("2.9.1+cu128", "470.82.01", A100))
    told_by_error = leading(
        Facts(source="error-text", driver=DriverFacts(cuda_version=11040), errors=(
            Failure("torch", message="The NVIDIA driver on your system is too old (found version 11040)"),
        ))
    )  # fmt: skip
    for check in (known, told_by_error):
        assert check.reason == "DriverTooOld"
        assert build("2.7", "11.8") in offers(check)


def test_a_build_that_is_not_expected_is_not_offered() -> None:
    facts = given("2.11.0+cu130", "535.104.05", A100)
    assert build("2.11", "12.8") in offers(leading(facts))
    for expect in (Expectations(cuda=">=13"), Expectations(pytorch=">=2.12", cuda=">12.6,<12.9")):
        assert not any(action == "ChangeImage" for action, _ in offers(leading(facts, expect)))
    strict = leading(facts, Expectations(driver_rule="Toolkit"))
    assert build("2.11", "12.6") not in offers(strict)


def test_a_driver_that_only_breaks_a_rule_can_stay_if_the_rule_goes() -> None:
    strict = leading(given("2.11.0+cu128", "535.104.05", L4), Expectations(driver_rule="Toolkit"))
    assert ("UpgradeDriver", {"minVersion": "570.26", "branch": "580"}) in offers(strict)
    assert offers(strict)[-1] == ("ChangeEnvironment", {})


def test_a_build_that_has_wheels_for_the_python_of_the_image_comes_first() -> None:
    facts = given("2.11.0+cu130", "535.104.05", A100)
    old = Facts(
        source="flags",
        torch=facts.torch,
        driver=facts.driver,
        gpus=facts.gpus,
        container=ContainerFacts(python="3.9.1"),
    )
    assert build("2.8", "12.9") in offers(leading(old))


def test_a_stale_libcuda_is_the_cure_only_if_the_driver_itself_suffices() -> None:
    def probed(driver: str, loaded: int) -> Facts:
        return Facts(
            source="probe",
            torch=TorchFacts(version="2.9.1+cu128", cuda="12.8", arch_flags=("sm_80", "sm_90")),
            driver=DriverFacts(
                version=driver, cuda_version=loaded, libcuda=Libcuda(origin=LibcudaOrigin.OTHER)
            ),
            gpus=(Gpu(product=A100, compute_capability=(8, 0)),),
        )

    assert offers(leading(probed("570.124.06", 11040))) == [("RepairImage", {"remove": "libcuda"})]
    assert ("RepairImage", {"remove": "libcuda"}) not in offers(leading(probed("470.82.01", 11020)))


def test_cuda_compat_on_a_consumer_gpu_goes_if_the_driver_itself_suffices() -> None:
    error = "Error 804: forward compatibility was attempted on non supported HW"
    enough = leading(given("2.9.1+cu128", "535.104.05", RTX_4090, error=error))
    assert enough.reason == "ForwardCompatUnsupported"
    assert offers(enough)[0] == ("RepairImage", {"remove": "cuda-compat"})
    too_old = judge(given("2.11.0+cu130", "535.104.05", RTX_4090, error=error))
    (check,) = [one for one in too_old.checks if one.reason == "ForwardCompatUnsupported"]
    assert offers(check)[0] == ("UpgradeDriver", {"minVersion": "580.65.06"})


def test_the_sentence_is_in_the_words_of_the_platform() -> None:
    both = leading(given("2.6.0+cu124", "550.54.15", B200, platform="gke"))
    assert both.remedies[0].message == (
        "Use PyTorch 2.7 for CUDA 12.8 (index cu128), and move the node pool to driver 570.26 or newer "
        "(gpu-driver-version=latest, or a newer GKE version): both are needed."
    )
    assert offers(both) == offers(leading(given("2.6.0+cu124", "550.54.15", B200)))


def test_if_nothing_helps_another_gpu_does() -> None:
    check = leading(given("2.9.1+cu128", "470.82.01", "Tesla K10"))
    assert [action for action, _ in offers(check)] == ["ReplaceGPU"]


def test_an_old_driver_that_suffices_is_named_with_a_branch_in_support() -> None:
    facts = given("2.9.1+cu128", "470.82.01", V100)
    (upgrade,) = [one for one in leading(facts).remedies if one.action == "UpgradeDriver"]
    assert dict(upgrade.parameters) == {"minVersion": "525.60.13", "maxBranch": "580", "branch": "580"}
    assert upgrade.message == (
        "Upgrade the node driver to 525.60.13 or newer, but not past R580: newer branches no longer support Volta; "
        "R580 is supported until June 2028."
    )
    in_support = leading(given("2.11.0+cu130", "535.104.05", L4)).remedies[0]
    assert dict(in_support.parameters) == {"minVersion": "580.65.06"}
    windows = given("2.9.1+cu128", "470.82.01", V100, platform="windows")
    assert "branch" not in dict(leading(windows).remedies[0].parameters)


@pytest.mark.parametrize("platform", ["jetson", None])
@pytest.mark.parametrize("torch", ["2.8.0+cpu", "2.11.0+cu130"])
def test_a_jetson_gets_no_build_and_no_driver_for_servers(platform: str | None, torch: str) -> None:
    """The GPU is not named: the platform alone, or the driver's branch, shows that it is a Jetson."""
    facts = given(torch, "540.4.0" if platform is None else None, platform=platform)
    offered = [one for check in judge(facts).checks for one in check.remedies]
    assert not any({"index", "minVersion"} & dict(one.parameters).keys() for one in offered)
    if torch.endswith("cpu"):
        assert "for the JetPack of the board" in leading(facts).remedies[0].message


def test_a_graphics_card_beside_a_jetson_module_gets_builds_for_it() -> None:
    assert build("2.9", "12.6", minVersion="525.60.13") in offers(
        leading(given("2.9.1+cpu", None, "NVIDIA RTX A6000", platform="jetson"))
    )


@pytest.mark.parametrize("platform", ["windows", "wsl", "colab", "kaggle", "jetson"])
def test_nobody_adds_cuda_compat_where_it_cannot_be(platform: str) -> None:
    def packages(where: str) -> list[str]:
        found = offers(leading(given("2.9.1+cu130", "535.104.05", L4, platform=where)))
        return [parameters["package"] for _, parameters in found if "package" in parameters]

    assert packages(platform) == []
    assert packages("kubernetes") == ["cuda-compat-13-0"]


RANGE = "Minimum and Maximum cuda capability supported by this version of PyTorch is (7.5) - (12.0)"


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA GeForce GTX 970 which is of cuda capability 5.2",
        "NVIDIA TITAN Xp which is of cuda capability 6.1",
    ],
)
def test_an_unknown_build_is_replaced_by_a_recent_one(name: str) -> None:
    check = leading(read_error_text(f"Found GPU0 {name}.\n{RANGE}", load()))
    assert check.reason == "ArchNotInBuild"
    assert check.message.endswith("it has targets from sm_75 to sm_120")
    assert offers(check) == [build("2.14", "12.6", minVersion="525.60.13", maxBranch="580")]


def test_nothing_is_known_of_a_gpu_between_the_ends_of_a_range() -> None:
    text = f"Found GPU0 NVIDIA GeForce GTX 970 which is of cuda capability 5.2.\n{RANGE}\n"
    facts = replace(read_error_text(text, load()), gpus=(Gpu(product=RTX_4090),))
    found = judge(facts)
    assert (found.verdict, found.reason) == ("Unknown", "ArchUnknown")
    assert "from sm_75 to sm_120" in found.message
    newer = judge(replace(facts, gpus=(Gpu(product="NVIDIA GB10"),)))
    assert newer.verdict == "Unknown"
    assert newer.reason != "ArchUnknown", "code of sm_120 runs there"
    released = replace(
        facts, torch=replace(facts.torch, version="2.9.1+cu128"), driver=DriverFacts("580.65.06")
    )
    assert "ArchUnknown" in {check.reason for check in judge(released).checks}, (
        "2.9.1+cu128 begins with sm_70"
    )


def test_a_range_that_fits_a_released_build_means_this_build() -> None:
    facts = read_error_text(f"Found GPU0 {RTX_4090} which is of cuda capability 8.9.\n{RANGE}", load())
    torch = replace(facts.torch, version="2.9.1+cu130")
    assert judge(replace(facts, torch=torch, driver=DriverFacts("580.65.06"))).verdict == "Compatible"
