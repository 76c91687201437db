"""Two probe reports become one document, which a node report stores and from which facts are read."""

import json
from typing import Any

import pytest

from gpuenv.assess.facts import NodeFacts
from gpuenv.assess.sources.probe.cleaned_values import MAX_TEXT
from gpuenv.assess.sources.probe.probe_document import MAX_LIST, MAX_STEPS, STEPS_LEFT_OUT, join_reports
from gpuenv.assess.sources.probe.probe_facts import facts_from_document
from gpuenv.plan.objects import records, stored_document

STORED: dict[str, Any] = {
    "facts": {
        "container": {
            "python": "3.11.7",
            "machine": "x86_64",
            "uid": 0,
            "env": {"CUDA_VISIBLE_DEVICES": "0"},
        },
        "driver": {
            "version": "580.95.05",
            "cudaVersion": 13000,
            "cuInit": 0,
            "libcuda": {"path": "/usr/lib/libcuda.so.1", "origin": "host"},
            "deviceNodes": [{"path": "/dev/nvidia0", "errno": 0}],
        },
        "torch": {"version": "2.9.1+cu128", "cuda": "12.8", "cudnn": 91002, "archFlags": ["sm_80", "sm_90"]},
        "stages": ["facts", "kernels"],
        "omitted": ["torch.gitVersion"],
    },
    "gpus": [
        {"index": 0, "product": "NVIDIA L4", "computeCapability": "8.9", "health": {"recoveryAction": 0}}
    ],
    "steps": [{"name": "matmul", "gpu": 0, "dtype": "fp32", "status": "Pass"}],
    "commands": [{"name": "nccl", "exitCode": 1, "tail": "one\ntwo"}],
    "benchmarks": [{"benchmark": "MatMul", "gpu": 0, "dtype": "BF16", "unit": "TFLOPS", "median": 60}],
}
"""The document of a node report as versions until now have stored it."""


def reports() -> tuple[dict[str, Any], dict[str, Any]]:
    """The two reports that :data:`STORED` was joined from."""
    known = STORED["facts"]
    facts = {"stage": "facts", "complete": True, "omitted": known["omitted"], "gpus": STORED["gpus"]}
    facts |= {name: known[name] for name in ("container", "driver", "torch")}
    kernels = {"stage": "kernels", "complete": True}
    return facts, kernels | {name: STORED[name] for name in ("steps", "commands", "benchmarks")}


def test_two_reports_are_joined_into_what_is_stored() -> None:
    assert join_reports(*reports()) == STORED


def test_what_was_stored_reads_back_as_the_same_document_and_facts() -> None:
    read = stored_document.unpack(stored_document.pack(stored_document.pick({"verdict": "x", **STORED})))
    assert read == STORED
    found = facts_from_document(read, NodeFacts(name="n"))
    assert found == facts_from_document(join_reports(*reports()), NodeFacts(name="n"))
    assert (found.source, found.stages, found.ended) == ("probe", {"facts", "kernels"}, None)
    assert (found.driver.version, found.driver.cuda_version, found.torch.cudnn) == ("580.95.05", 13000, 91002)
    assert [(gpu.index, gpu.product, gpu.compute_capability) for gpu in found.gpus] == [
        (0, "NVIDIA L4", (8, 9))
    ]
    assert [(step.name, step.gpu, step.status) for step in found.steps] == [("matmul", 0, "Pass")]
    assert found.commands[0].tail == "one two"
    assert found.container.env == {"CUDA_VISIBLE_DEVICES": "0"}
    assert found.omitted == ("torch.gitVersion",)


def test_the_later_stage_wins_where_it_knows_a_value() -> None:
    document = join_reports(
        {"stage": "facts", "driver": {"version": "570.1", "cuInit": 0}, "ended": "sigterm"},
        {"stage": "kernels", "driver": {"version": "580.2", "cuInit": None}, "ended": "timeout"},
    )
    assert document["facts"] == {"driver": {"version": "580.2", "cuInit": 0}, "ended": "sigterm; timeout"}


def test_a_gpu_has_one_row_with_the_health_of_both_stages() -> None:
    document = join_reports(
        {"gpus": [{"index": 1, "product": "NVIDIA L4", "health": {"pcieGen": 1}}, {"index": 0}]},
        {"gpus": [{"index": 1, "health": {"busyPcieGen": 4}}]},
    )
    assert document["gpus"] == [
        {"index": 1, "product": "NVIDIA L4", "health": {"pcieGen": 1, "busyPcieGen": 4}},
        {"index": 0},
    ]


def test_a_gpu_without_a_number_of_its_own_is_not_taken_for_the_first_one() -> None:
    document = join_reports({"gpus": [{"product": "NVIDIA L4"}, {"product": "NVIDIA T4"}]}, None)
    found = facts_from_document(document, NodeFacts()).gpus
    assert [(gpu.index, gpu.product) for gpu in found] == [(0, "NVIDIA L4"), (1, "NVIDIA T4")]


def test_documents_stay_small_whatever_an_image_writes() -> None:
    endless = {"name": "x" * 9999, "status": "Pass", "deep": [[[[[[[["x"]]]]]]]]}
    many = [{"name": f"{n}", "status": "Pass"} for n in range(MAX_STEPS)]
    document = join_reports(
        {"gpus": [{"index": n} for n in range(999)], "omitted": ["\x00word"] * 999},
        {
            "steps": [endless, *many, *many],
            "torch": {"version": "\ud800", "cudnn": float("nan"), "cuda": None},
        },
    )
    assert len(document["gpus"]) == MAX_LIST
    assert document["facts"]["omitted"] == ["word", STEPS_LEFT_OUT]
    assert document["facts"]["torch"] == {"version": "\ufffd"}
    assert len(document["steps"]) == MAX_STEPS
    assert document["steps"][0] == {"name": "x" * (MAX_TEXT - 1) + "…", "status": "Pass"}
    json.dumps(document, allow_nan=False)


def test_a_step_with_the_same_outcome_on_several_gpus_is_one_row() -> None:
    error = {"layer": "cuda", "code": 2, "message": "out of memory"}
    steps = [
        *({"name": "matmul", "gpu": gpu, "dtype": "fp32", "status": "Pass"} for gpu in (0, 1, 2)),
        *({"name": "conv", "gpu": gpu, "status": "Fail", "error": error} for gpu in (1, 1)),
        {"name": "conv", "status": "Fail", "error": error},
        {"name": "conv", "gpu": 0, "status": "Fail", "error": {"code": 3}},
    ]
    document = join_reports(None, {"steps": steps})
    assert document["steps"] == [
        {"name": "matmul", "gpus": [0, 1, 2], "dtype": "fp32", "status": "Pass"},
        {"name": "conv", "gpu": 1, "status": "Fail", "error": error},
        {"name": "conv", "status": "Fail", "error": error},
        {"name": "conv", "gpu": 0, "status": "Fail", "error": {"code": 3}},
    ]
    read = facts_from_document(document, NodeFacts()).steps
    assert [(step.name, step.gpu) for step in read] == [
        ("matmul", 0), ("matmul", 1), ("matmul", 2), ("conv", 1), ("conv", None), ("conv", 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "stages", [None, "facts", ["facts", 3, "other"], {"facts": True}], ids=["none", "text", "odd", "object"]
)
def test_only_stages_that_are_listed_were_complete(stages: object) -> None:
    found = facts_from_document({"facts": {"stages": stages}}, NodeFacts()).stages
    assert found == ({"facts"} if isinstance(stages, list) else set())


def test_a_figure_of_an_unnamed_gpu_belongs_to_no_product() -> None:
    gpus = [{"index": 0, "product": "NVIDIA L4"}]
    row = {"benchmark": "MatMul", "dtype": "BF16", "median": 60}
    document = {"gpus": gpus, "benchmarks": [row, row | {"gpu": 0, "median": 61}]}
    assert stored_document.figures(document) == (("MatMul", "BF16", "NVIDIA L4", 61.0),)


def test_figures_with_made_up_names_do_not_fill_the_memory() -> None:
    rows = [{"benchmark": f"b{number}", "gpu": 0, "median": 60} for number in range(512)]
    assert len(stored_document.figures({"benchmarks": rows})) == stored_document.MAX_FIGURES
    first = [{"benchmark": "b0", "gpu": 1, "median": 50}]
    assert stored_document.figures({"benchmarks": rows + first})[0] == ("b0", "", "", 50.0)


def test_a_container_that_ended_without_an_exit_code_did_not_end_well() -> None:
    raw = {
        "status": {
            "initContainerStatuses": [{"name": "facts", "state": {"terminated": {"reason": "Completed"}}}]
        }
    }
    assert records.pod_record(raw).facts.exit_code is None
