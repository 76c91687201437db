"""Pasted output of nvidia-smi: the table, the list, the query and CSV, and what they say about the GPUs' health."""

import pytest

from gpuenv.assess.engine import assess
from gpuenv.assess.facts import Facts, Gpu, Source, TorchFacts
from gpuenv.assess.gpu_health import NO_HEALTH, Health
from gpuenv.assess.model import Assessment
from gpuenv.assess.sources.collect_env import read_collect_env
from gpuenv.assess.sources.error_text import read_error_text
from gpuenv.assess.sources.merged_facts import merge
from gpuenv.assess.sources.nvidia_smi import read_nvidia_smi
from gpuenv.knowledge import load

K = load()
TABLE = """Sat Jun 28 09:13:38 2025
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 570.169                Driver Version: 570.169        CUDA Version: 12.8     |
|-----------------------------------------+------------------------+----------------------+
| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |
| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |
|                                         |                        |               MIG M. |
|=========================================+========================+======================|
|   0  NVIDIA GeForce RTX 4090        Off |   00000000:01:00.0  On |                  Off |
| 34%   33C    P3             44W /  550W |    3616MiB /  24564MiB |      0%      Default |
|                                         |                        |                  N/A |
+-----------------------------------------+------------------------+----------------------+
|   1  NVIDIA A100-SXM4-80GB          On  |   00000000:0F:00.0 Off |                    2 |
| N/A   30C    P0             61W /  400W |       0MiB /  81920MiB |      0%      Default |
|                                         |                        |             Disabled |
+-----------------------------------------+------------------------+----------------------+
"""
QUERY = """==============NVSMI LOG==============

Timestamp                                 : Tue Jun 17 16:49:09 2025
Driver Version                            : 595.58.03
CUDA Version                              : 13.0

Attached GPUs                             : 1
GPU 00000000:02:01.0
    Product Name                          : {product}
    Product Brand                         : NVIDIA Virtual Compute Server
    MIG Mode
        Current                           : Disabled
        Pending                           : Disabled
    GPU Virtualization Mode
        Virtualization Mode               : {mode}
        Host VGPU Mode                    : N/A
    vGPU Software Licensed Product
        Product Name                      : NVIDIA Virtual Compute Server
        License Status                    : {licence}
    GPU Recovery Action                   : {recovery}
    FB Memory Usage
        Total                             : 81920 MiB
        Reserved                          : 617 MiB
    ECC Errors
        Volatile
            SRAM Correctable              : 0
            SRAM Uncorrectable Parity     : 0
            DRAM Uncorrectable            : {errors}
        Aggregate
            DRAM Uncorrectable            : 40
    Remapped Rows
        Correctable Error                 : 0
        Uncorrectable Error               : 1
        Pending                           : {pending}
        Remapping Failure Occurred        : {failed}
    Fabric
        State                             : {fabric}
        Status                            : Success
"""
HEALTHY = {
    "product": "NVIDIA H100 80GB HBM3", "mode": "None", "licence": "N/A", "recovery": "None", "errors": "0", "pending": "No",
    "failed": "No", "fabric": "Completed",
}  # fmt: skip


def test_the_table_names_driver_gpus_memory_and_errors() -> None:
    found = read_nvidia_smi(TABLE)
    assert (found.driver, found.cuda) == ("570.169", "12.8")
    assert found.gpus == (
        Gpu(index=0, product="NVIDIA GeForce RTX 4090", memory_mib=24564),
        Gpu(index=1, product="NVIDIA A100-SXM4-80GB", memory_mib=81920, health=Health(ecc_uncorrected=2)),
    )


def test_the_list_names_gpus_and_no_mig_instances() -> None:
    text = (
        "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-ce2334f1-d892-fb37-e4d9-57d788bccb46)\n"
        "  MIG 1g.5gb      Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)\n"
        "GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-924c81a8-7df7-f55c-c7cc-cdaaa9730f2e)\n"
    )
    assert [(gpu.index, gpu.product) for gpu in read_nvidia_smi(text).gpus] == [
        (0, "NVIDIA A100-SXM4-40GB"),
        (1, "NVIDIA A100-SXM4-40GB"),
    ]


def judge(text: str) -> Assessment:
    flags = Facts(source=Source.FLAGS, torch=TorchFacts(version="2.9.1+cu128"))
    return assess(merge([flags, read_error_text(text, K, given=False), read_collect_env(text)]), None, (), K)


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        ({}, "Compatible", ""),
        ({"errors": "3"}, "Degraded", "GpuUnhealthy"),
        ({"pending": "Yes"}, "Degraded", "GpuUnhealthy"),
        ({"failed": "Yes"}, "Incompatible", "GpuUnhealthy"),
        ({"recovery": "Reset"}, "Incompatible", "GpuResetRequired"),
        ({"fabric": "In Progress"}, "Degraded", "FabricNotReady"),
        ({"mode": "VGPU", "licence": "Licensed (Expiry: 2026-1-1 0:0:0 GMT)"}, "Compatible", ""),
        ({"mode": "VGPU", "licence": "Unlicensed (Restricted)"}, "Degraded", "VgpuUnlicensed"),
        (
            {"product": "NVIDIA H100-80C", "mode": "VGPU", "licence": "Unlicensed"},
            "Degraded",
            "VgpuUnlicensed",
        ),
        ({"mode": "Pass-Through", "licence": "Unlicensed (Unrestricted)"}, "Compatible", ""),
    ],
)
@pytest.mark.parametrize("indented", [True, False])
def test_the_query_tells_health_and_licence(
    changes: dict[str, str], verdict: str, reason: str, indented: bool
) -> None:
    text = QUERY.format(**{**HEALTHY, **changes})
    text = text if indented else "\n".join(line.strip() for line in text.splitlines())
    found = read_nvidia_smi(text)
    assert (found.driver, found.cuda) == ("595.58.03", "13.0")
    assert [(gpu.product, gpu.memory_mib) for gpu in found.gpus] == [
        ({**HEALTHY, **changes}["product"], 81920)
    ]
    assessed = judge(text)
    assert (assessed.verdict, assessed.reason) == (verdict, reason), assessed.checks


@pytest.mark.parametrize(
    ("text", "unlicensed"),
    [
        ("    vGPU Software Licensed Product\n        Product Name  : NVIDIA Virtual Compute Server\n        License Status  : "
         "Unlicensed", True),
        ("    vGPU Software Licensed Product\n        Product Name  : NVIDIA RTX Virtual Workstation\n        License Status  : "
         "Licensed (Expiry: N/A)", False),
        ("nvidia-gridd[1976]: Valid GRID license not found. GPU features and performance will be fully degraded.", True),
        ("nvidia-gridd: Failed to acquire license from 10.0.0.5 (Info: NVIDIA Virtual Applications)", True),
        ("nvidia-gridd[1976]: License acquired successfully. (Info: 10.0.0.5, NVIDIA RTX Virtual Workstation)", False),
        ("License Status: Unlicensed software of somebody else", False),
    ],
)  # fmt: skip
def test_a_part_of_the_query_or_the_daemons_log_tells_the_licence(text: str, unlicensed: bool) -> None:
    found = assess(merge([read_error_text(text, K), read_collect_env(text)]), None, (), K)
    assert (found.reason == "VgpuUnlicensed") == unlicensed, found.checks
    assert ("licen" in str(found.checks[0].remedies).lower()) == unlicensed
    assert read_nvidia_smi(text).gpus == ()


@pytest.mark.parametrize(
    ("pending", "failed", "verdict"),
    [("Yes", "No", "Degraded"), ("No", "Yes", "Incompatible"), ("No", "No", "")],
)
def test_a_part_of_the_query_tells_remapped_rows(pending: str, failed: str, verdict: str) -> None:
    text = (
        "    Remapped Rows\n        Correctable Error                 : 0\n        Uncorrectable Error               : 1\n"
        f"        Pending                           : {pending}\n        Remapping Failure Occurred        : {failed}\n"
    )
    found = judge(text)
    assert (
        (found.verdict, found.reason) == (verdict, "GpuUnhealthy")
        if verdict
        else found.reason != "GpuUnhealthy"
    )


def test_csv_is_read_by_the_names_of_its_columns() -> None:
    text = (
        "index, name, driver_version, memory.total [MiB], compute_cap\n"
        "0, NVIDIA H100 80GB HBM3, 550.90.07, 81559 MiB, 9.0\n1, NVIDIA H100 80GB HBM3, 550.90.07, 81559 MiB, 9.0\n$ exit\n"
    )
    found = read_nvidia_smi(text)
    assert found.driver == "550.90.07"
    assert found.gpus[1] == Gpu(
        index=1, product="NVIDIA H100 80GB HBM3", compute_capability=(9, 0), memory_mib=81559
    )
    assert read_nvidia_smi("a, b, c\n1, 2, 3").gpus == ()
    assert read_collect_env(text).driver.version == "550.90.07"


def test_health_of_the_same_gpu_joins_what_was_given_otherwise() -> None:
    text = QUERY.format(**{**HEALTHY, "failed": "Yes"})
    given = Facts(source=Source.FLAGS, gpus=(Gpu(product="NVIDIA H100 80GB HBM3"),))
    assert merge([given, read_collect_env(text)]).gpus[0].health.remap_failed is True
    other = Facts(source=Source.FLAGS, gpus=(Gpu(product="NVIDIA L4"),))
    assert merge([other, read_collect_env(text)]).gpus[0].health == NO_HEALTH


@pytest.mark.parametrize(
    "text",
    [
        "| " * 500_000,
        "Product Name   : x\n" * 50_000,
        ("|   0  " + "N" * 40 + "  On  |" + " " * 60 + "\n") * 10_000,
        "License Status" * 70_000,
        ("a" * 18 + ", ") * 50_000,
        "GPU 00000000:01:00.0\nProduct Name : NVIDIA L4\n" * 20_000,
        "GPU 1: " * 140_000,
    ],
    ids=["bars", "labels", "rows", "words", "columns", "gpus", "list"],
)
def test_long_hostile_text_gives_few_facts(text: str) -> None:
    found = read_nvidia_smi(text)
    assert len(found.gpus) <= 64
