"""Everything that the operator does with the probe reports of one run, without a cluster around it."""

import json

from tests.support.world import KNOWLEDGE

from gpuenv.api.schema import statuses
from gpuenv.api.schema.fit import fit
from gpuenv.assess import targets
from gpuenv.assess.cures import search, trial
from gpuenv.assess.cures.builds import builds_with_code
from gpuenv.assess.engine import assess
from gpuenv.assess.facts import NodeFacts
from gpuenv.assess.model import Assessment
from gpuenv.assess.observed_versions import observed_versions
from gpuenv.assess.sources.probe import cleaned_values
from gpuenv.assess.sources.probe.probe_document import Document, join_reports
from gpuenv.assess.sources.probe.probe_facts import facts_from_document
from gpuenv.assess.sources.rules.failure_rules import classify
from gpuenv.plan.objects import node_report, stored_document
from gpuenv_probe import codec

NODE = NodeFacts(name="n", driver_version="580.159.04")


def size(value: object) -> int:
    """Return the size of a value as JSON in bytes."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def forget_texts() -> None:
    """Forget what was found out about texts and setups, so that a message costs what it costs when it is new."""
    for function in (classify, cleaned_values._clean_foreign):
        function.cache.clear()  # type: ignore[attr-defined]  # every function with this decorator has it
    builds_with_code.cache_clear()
    targets._nearest_build.cache_clear()
    forget_cures()


def forget_cures() -> None:
    """Forget which cures help, so that facts cost what they cost if none of their kind were assessed before."""
    for function in (search._remedies, trial.outcome):
        function.cache.clear()  # type: ignore[attr-defined]  # every function with this decorator has it


def judged(texts: tuple[str, str]) -> tuple[Document, Assessment]:
    """Return the stored document and the assessment of two messages: everything that is done for one result."""
    document = join_reports(codec.decode(texts[0]), codec.decode(texts[1]))
    facts = facts_from_document(document, NODE)
    found = assess(facts, None, (), KNOWLEDGE)
    checks = node_report.kept(found.checks)
    fit(statuses.REPORT, document | {"checks": [node_report.check_data(check) for check in checks]})
    observed_versions(facts)
    stored_document.figures(document)
    stored_document.platform(document)
    packed = stored_document.pack(document)
    assert stored_document.unpack(packed) == document
    return document, found
