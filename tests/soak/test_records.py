"""The soak tests on record: what docs/testing.md says of them stands in their logs, and their faults can be made again."""

from collections import Counter
from pathlib import Path

from tests.soak.faults.catalogue import FAULTS, MISSED
from tests.soak.log import read_entries, read_rounds
from tests.soak.rounds import REGISTERED

assert REGISTERED  # the modules whose import registers the faults
RECORDS = sorted((Path(__file__).parent / "records").glob("*.jsonl.gz"))


def test_the_records_say_what_the_documentation_says() -> None:
    entries = [entry for path in RECORDS for entry in read_entries(path)]
    faults = Counter(entry["fault"] for entry in entries if "fault" in entry and entry["hit"] != MISSED)
    checkpoints = [entry["checkpoint"] for entry in entries if "checkpoint" in entry]
    breaches = [entry["breach"] for entry in entries if "breach" in entry]
    assert faults["operator.kill"] >= 1000
    assert sum(count for name, count in faults.items() if name.startswith("outage.")) >= 200
    assert len(checkpoints) > 100
    assert all(checkpoints)
    assert breaches == ["operator.log"]


def test_the_faults_of_the_records_can_be_made_again() -> None:
    planned = [one for path in RECORDS for each in read_rounds(path) for one in each.faults]
    assert {one.fault for one in planned} <= FAULTS.keys()
    assert all(one.parameters.keys() == FAULTS[one.fault].parameters.keys() for one in planned)
