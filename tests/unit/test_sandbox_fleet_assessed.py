"""Simulated machines and the assessment derive their answers separately; here they must agree."""

from pathlib import Path

import pytest

from gpuenv import knowledge
from gpuenv.assess.engine import assess
from gpuenv.assess.sources.node_labels import node_facts
from gpuenv.assess.sources.probe.probe_document import join_reports
from gpuenv.assess.sources.probe.probe_facts import facts_from_document
from gpuenv_probe import codec
from gpuenv_sandbox.fleet import node_objects, probe_reports
from gpuenv_sandbox.fleet.probe_reports import Request
from gpuenv_sandbox.scenario.model import Fault, Scenario, SimulatedNode
from gpuenv_sandbox.scenario.read import read_scenario

ALL_FAULTS = Path(__file__).parents[1] / "integration" / "all_faults.yaml"
OF_THE_POD = {
    Fault.PULL_FAILS, Fault.SETUP_FAILS, Fault.PROBE_HANGS, Fault.PROBE_STUCK, Fault.PROBE_CRASHES,
    Fault.PROBE_OOM, Fault.GARBAGE_REPORT, Fault.EVICTED,
}  # fmt: skip
"""Faults that the reports do not tell of: the integration tests hold the whole operator to these."""

NODES = [
    pytest.param(loaded, node, id=node.name)
    for loaded in (read_scenario(), read_scenario(ALL_FAULTS))
    for node in loaded.nodes
    if node.fault not in OF_THE_POD
    and not (node.in_use or node.cordoned or node.advertised == 0 or node.architecture == "arm64")
]


@pytest.mark.parametrize(("loaded", "node"), NODES)
def test_what_the_machine_shows_is_judged_as_the_scenario_expects(
    loaded: Scenario, node: SimulatedNode
) -> None:
    facts, kernels = (
        codec.decode(codec.encode(make(node, loaded.image, Request("r1"))))
        for make in (probe_reports.facts, probe_reports.kernels)
    )
    body = node_objects.node(node, "2026-01-01T00:00:00Z")
    seen = node_facts(node.name, body["metadata"]["labels"], body["status"]["capacity"])
    found = assess(facts_from_document(join_reports(facts, kernels), seen), None, (), knowledge.load())
    assert node.expect is not None
    assert (found.verdict, found.reason) == (node.expect.verdict, node.expect.reason), found.message


def test_every_fault_is_in_a_scenario_with_its_verdict() -> None:
    nodes_of_both = [*read_scenario().nodes, *read_scenario(ALL_FAULTS).nodes]
    assert {node.fault for node in nodes_of_both} >= set(Fault)
    assert all(node.expect for node in nodes_of_both)
