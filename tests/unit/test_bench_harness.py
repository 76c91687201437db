"""How the benches count: rows and their goals, requests in an audit log, samples by part."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.bench.harness import audit, parts
from tests.bench.harness.audit import AuditLog
from tests.bench.harness.rows import Row, table


@pytest.mark.parametrize(
    ("value", "baseline", "goal", "missed"),
    [
        (2.0, None, None, False),
        (2.0, None, 2.0, False),
        (2.1, None, 2.0, True),
        # With a baseline, the goal is about the ratio.
        (54.0, 25.6, 1.3, True),
        (30.0, 25.6, 1.3, False),
    ],
)
def test_a_goal_is_about_the_ratio_if_there_is_one(
    value: float, baseline: float | None, goal: float | None, missed: bool
) -> None:
    row = Row("validate", value, "s", "1,000 nodes", baseline, goal)
    assert row.missed is missed
    assert ("MISSED" in table([row])) is missed


def test_a_row_is_one_json_line_with_these_fields() -> None:
    line = json.loads(Row("validate", 54.0, "s", "1,000 nodes", 25.6, 1.3).line())
    assert list(line) == ["bench", "value", "unit", "baseline", "ratio", "where"]
    assert (line["value"], line["baseline"], line["ratio"]) == (54.0, 25.6, 2.109)
    assert json.loads(Row("plan", 0.0, "ms", "none").line())["ratio"] is None


def event(verb: str, resource: str, second: int, subresource: str = "", code: int = 200) -> dict[str, Any]:
    """Return an event of an audit log: a request that took half a second."""
    return {
        "verb": verb,
        "objectRef": {"resource": resource} | ({"subresource": subresource} if subresource else {}),
        "responseStatus": {"code": code},
        "requestReceivedTimestamp": f"2026-01-01T00:00:{second:02}.000000Z",
        "stageTimestamp": f"2026-01-01T00:00:{second:02}.500000Z",
    }


def test_writes_about_validations_are_counted_apart_from_all_others(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    file = tmp_path / "audit.jsonl"
    file.write_text(json.dumps(event("create", "pods", 0)) + "\n")
    position = log.size()
    events = [
        event("create", "pods", 1, code=201),
        event("create", "gpunodereports", 4, code=201),
        event("patch", "gpunodereports", 5, "status"),
        event("patch", "nodes", 6),
        event("delete", "pods", 9),
        event("patch", "gpuenvironments", 9, "status"),
        event("watch", "nodes", 9),
        event("get", "pods", 9),
    ]
    # The API server is still writing the last line.
    file.write_text(file.read_text() + "".join(json.dumps(one) + "\n" for one in events) + '{"verb": "cre')
    found, position = log.read(position)
    assert len(found) == len(events)
    assert log.since(position) == []
    assert audit.writes(found) == {
        "create pods": 1,
        "create gpunodereports": 1,
        "patch gpunodereports/status": 1,
        "patch nodes": 1,
        "delete pods": 1,
    }
    assert audit.others(found) == {"patch gpuenvironments/status": 1, "watch nodes": 1, "get pods": 1}
    assert audit.seconds(found) == pytest.approx(5.5)


def test_a_sample_belongs_to_the_innermost_part() -> None:
    planner, loop = ("gpuenv.plan.planner", "plan"), ("asyncio.events", "Handle._run")
    samples = {
        (("json.decoder", "JSONDecoder.decode"), ("kopf._cogs.clients.api", "iter_jsonlines"), loop): 4,
        # A deep copy belongs to whoever asked for it.
        (("copy", "deepcopy"), ("kopf._core.reactor.processing", "process_resource_event"), loop): 3,
        (("gpuenv.assess.engine", "assess"), planner, loop): 1,
        (planner, loop): 1,
        (("threading", "wait"),): 1,
    }
    assert parts.shares(samples) == {
        "json": 0.4,
        "kopf": 0.3,
        "assess": 0.1,
        "plan": 0.1,
        "rest": 0.1,
    }
    assert parts.hottest(samples, 1) == [("asyncio.events.Handle._run", 0.9)]
