"""The tables: in step with their fast form, validated on the way in, replaceable, and with a source for every row."""

import json
import re
import shutil
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from gpuenv.api.reasons import ROWS
from gpuenv.assess.model import Status
from gpuenv.knowledge import KnowledgeError, compile, files, load
from gpuenv.knowledge.files import HERE, TABLES
from gpuenv.knowledge.reference_pages import pages
from gpuenv.knowledge.versions import api_number, api_version, at_least, parse_version, show

ROOT = Path(__file__).parents[2]
K = load()


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package's tables in a directory of their own, with a new fast form."""
    for name in TABLES:
        shutil.copy(HERE / f"{name}.yaml", tmp_path)
    monkeypatch.setattr(files, "HERE", tmp_path)
    monkeypatch.setattr(files, "FAST_FORM", tmp_path / "tables.json")
    compile.write(tmp_path / "tables.json")
    return tmp_path


def test_the_fast_form_holds_the_tables_and_spares_reading_them(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {name: yaml.safe_load((tree / f"{name}.yaml").read_text(encoding="utf-8")) for name in TABLES}
    monkeypatch.delattr(files, "read_yaml")
    assert files.packaged_tables() == expected


def test_a_fast_form_out_of_date_is_not_used(tree: Path) -> None:
    path = tree / "torch.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("2024-", "1999-"), encoding="utf-8")
    assert files.packaged_tables()["torch"] == yaml.safe_load(path.read_text(encoding="utf-8"))
    compile.write(tree / "tables.json")
    (tree / "torch.yaml").touch()
    assert "1999-" in str(files.packaged_tables()["torch"])


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"checksum": 1, "tables": {}}'])
def test_all_works_from_the_tables_themselves_without_a_fast_form(tree: Path, content: str | None) -> None:
    (tree / "tables.json").unlink()
    if content is not None:
        (tree / "tables.json").write_text(content)
    assert files.packaged_tables() == files.yaml_tables()


@pytest.mark.parametrize(("name", "content"), pages().items())
def test_the_generated_pages_are_up_to_date(name: str, content: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == content, "run make docs"


def test_every_reason_has_cause_cure_and_source() -> None:
    assert set(K.reasons) == set(ROWS)
    for text in K.reasons.values():
        assert text.cause
        assert text.cure
        assert text.source


def test_every_row_has_a_source_that_can_be_looked_up() -> None:
    rows = [
        *K.toolkits.values(),
        *K.branches,
        *K.architectures.values(),
        *K.torch.values(),
        *K.models.values(),
        *K.peaks.values(),
        *K.errors,
        *K.vendors,
        *K.channels.values(),
        *K.harmless,
        *(build for release in K.torch.values() for build in release.builds),
    ]
    kinds = ("https://", "PyPI package ")  # a package and its version, whichever index it is taken from
    assert all(row.source.startswith(kinds) for row in rows)


def test_errors_lead_to_known_reasons_and_never_pass() -> None:
    for rule in K.errors:
        assert rule.reason in ROWS
        assert Status(rule.status) is not Status.PASS
        assert rule.remedies or K.reasons[rule.reason].remedies, rule.name
        for parts in rule.text:
            assert all(part and part == part.lower() for part in parts), rule.name


def test_each_rule_has_a_name_of_its_own() -> None:
    """A reader reports an error by the name of its rule, so a second rule of that name would take its place."""
    names = [rule.name for rule in K.errors]
    assert [name for name in names if names.count(name) > 1] == []


def test_no_words_stand_in_two_rules() -> None:
    """The first rule would answer for both, and the second would never be seen."""
    words = [parts for rule in K.errors for parts in rule.text]
    assert [parts for parts in words if words.count(parts) > 1] == []


@pytest.mark.parametrize(
    "words",
    [
        r"nvidia-smi --gpu-reset",
        r"nvidia-smi -mig 0",
        r"Secure Boot off",
        r"conf-compute -srs 1",
        r"(?i)\b(?:recreate|replace|reimage) (?:it|the node|the instance)\b",
        r"Disconnect and delete runtime",
        r"stop and start the instance",
        r"systemctl restart docker",
        r"WITH_REBOOT",
        r"usermod -aG docker",
        r"label=disable",
    ],
)
def test_cures_say_what_they_take_away(words: str) -> None:
    """A step that ends programs, loses data or gives up protection says so, or says what must be done before it."""
    warnings = re.compile(
        r"(?i)drain|while nothing uses|lost|save the files|stops running|gives up|attest|by itself|has to be reset"
        r"|reset of the GPU|node pool|ends|rights of root"
    )
    cures = [rule.cure for rule in K.errors] + [
        cure.cure for by_platform in K.cures.values() for cure in by_platform.values()
    ]
    found = [cure for cure in cures if re.search(words, cure)]
    assert found
    assert [cure for cure in found if not warnings.search(cure)] == []


@pytest.mark.parametrize(
    ("torch", "cuda", "pypi", "archs"),
    [
        ((1, 13), (11, 7), True, "sm_37 sm_50 sm_60 sm_70 sm_75 sm_80 sm_86"),
        ((2, 4), (12, 1), True, "sm_50 sm_60 sm_70 sm_75 sm_80 sm_86 sm_90"),
        ((2, 7), (12, 8), False, "sm_75 sm_80 sm_86 sm_90 sm_100 sm_120 compute_120"),
        ((2, 9), (12, 8), True, "sm_70 sm_75 sm_80 sm_86 sm_90 sm_100 sm_120"),
        ((2, 9), (12, 9), False, "sm_70 sm_75 sm_80 sm_86 sm_90 sm_100 sm_120 compute_120"),
        ((2, 13), (12, 9), False, "sm_75 sm_80 sm_86 sm_90 sm_100 sm_120 compute_120"),
        ((2, 11), (13, 0), True, "sm_75 sm_80 sm_86 sm_90 sm_100 sm_120"),
        ((2, 15), (13, 2), True, "sm_75 sm_80 sm_86 sm_90 sm_100 sm_120"),
    ],
)
def test_builds_are_what_the_wheels_say(
    torch: tuple[int, int], cuda: tuple[int, int], pypi: bool, archs: str
) -> None:
    build = K.torch[torch].build(cuda)
    assert build is not None
    assert " ".join(build.archs) == archs
    assert (K.torch[torch].default_cuda == cuda) is pypi


def test_wheels_for_cuda_12_9_after_2_8_are_for_linux_only() -> None:
    windows = {
        show(release.torch): build.windows
        for release in K.torch.values()
        for build in release.builds
        if build.cuda == (12, 9)
    }
    assert windows == {"2.8": True} | dict.fromkeys(["2.9", "2.10", "2.11", "2.12", "2.13"], False)


def test_branches_that_are_still_supported() -> None:
    supported = {row.branch: row.supported_until for row in K.branches if row.supported_until}
    assert supported == {620: "September 2029", 595: "March 2027", 580: "June 2028"}


@pytest.mark.parametrize(
    ("product", "capability"),
    [
        ("NVIDIA GeForce RTX 4090", (8, 9)),
        ("NVIDIA L40S", (8, 9)),
        ("NVIDIA RTX PRO 6000D Blackwell Server Edition", (12, 0)),
        ("NVIDIA L4", (8, 9)),
        ("NVIDIA-L4-SHARED", (8, 9)),
        ("Quadro RTX 6000", (7, 5)),
        ("NVIDIA RTX 6000 Ada Generation", (8, 9)),
        ("NVIDIA RTX A6000", (8, 6)),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", (12, 0)),
        ("GeForce GTX 1080Ti", (6, 1)),
        ("RTX4090", (8, 9)),
        ("NVIDIA GeForce RTX 3060 Laptop GPU", (8, 6)),
        ("NVIDIA GeForce GTX 1660 Ti with Max-Q Design", (7, 5)),
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", (8, 0)),
        ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", (8, 0)),
        ("GRID A100D-20C", (8, 0)),
        ("nvidia-tesla-t4", (7, 5)),
        ("nvidia-h100-mega-80gb", (9, 0)),
        ("nvidia-h200-141gb", (9, 0)),
        ("nvidia-gb200", (10, 0)),
        ("NVIDIA B300 SXM6 AC", (10, 3)),
        ("NVIDIA GB10", (12, 1)),
        ("Orin (nvgpu)", (8, 7)),
        ("NVIDIA Thor", (11, 0)),
        ("Tesla P40", (6, 1)),
        ("NVIDIA TITAN X (Pascal)", (6, 1)),
        ("GeForce GTX TITAN X", (5, 2)),
        ("Tesla K80", (3, 7)),
    ],
)
def test_products_are_known_by_their_names(product: str, capability: tuple[int, int]) -> None:
    model = K.model(product)
    assert model is not None
    assert model.cc == capability


@pytest.mark.parametrize(
    "product", ["NVIDIA X9999", "NVIDIA L20Y", "AMD Instinct MI300X", "", "RTX", "Graphics Device"]
)
def test_unknown_products_stay_unknown(product: str) -> None:
    assert K.model(product) is None


def test_the_longest_peak_names_are_those_of_products() -> None:
    for name in K.peaks:
        assert K.model(name) is not None, name


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("2.9.0a0+145a3a7bda.nv25.10", (2, 9, 0)),
        ("2.9.1+cu128", (2, 9, 1)),
        ("535.104.05", (535, 104, 5)),
        ("R580", (580,)),
        ("v1.2", (1, 2)),
        ("", None),
        (None, None),
        ("abc", None),
        ("12", (12,)),
    ],
)
def test_versions_are_integers(text: str | None, version: tuple[int, ...] | None) -> None:
    assert parse_version(text) == version


def test_versions_compare_as_integers_and_as_far_as_both_tell() -> None:
    assert at_least((580, 159), (580, 65))
    assert at_least((580,), (580, 65, 6))
    assert not at_least((579, 999), (580,))
    assert api_version(api_number((12, 8))) == (12, 8)


def test_tables_of_a_directory_replace_those_of_the_package(tmp_path: Path) -> None:
    table = yaml.safe_load((HERE / "torch.yaml").read_text(encoding="utf-8"))
    table["releases"].append({**table["releases"][-1], "torch": "2.16"})
    (tmp_path / "torch.yaml").write_text(json.dumps(table), encoding="utf-8")
    found = load(tmp_path)
    assert (2, 16) in found.torch
    assert found.toolkits == K.toolkits


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        (
            "torch",
            "cuda: '12.8'",
            "cuda: 12.8",
            r"torch.yaml: releases\[\d+\].builds\[\d+\].cuda is 12.8; write a text, in quotes",
        ),
        ("gpus", "cc: '8.9'", "cc: '8'", "no compute capability|not a compute capability"),
        ("errors", "reason: GpuLost", "reason: GpuLots", "GpuLots"),
        ("errors", "status: Fail", "status: Pass", "status 'Pass'"),
        ("cuda", "  source:", "  sauce:", "has no source"),
        ("architectures", "architectures:", "architecture:", "needs a list named architectures"),
        ("cuda", "toolkits:", "toolkits: [", "cuda.yaml:"),
    ],
)
def test_a_broken_table_is_named_in_one_line(
    tmp_path: Path, name: str, old: str, new: str, words: str
) -> None:
    text = (HERE / f"{name}.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / f"{name}.yaml").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(KnowledgeError, match=words) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_directories_without_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match="holds none of"):
        load(tmp_path)
    with pytest.raises(KnowledgeError, match="not a directory"):
        load(tmp_path / "nowhere")


def test_all_tables_can_be_given_at_once(tmp_path: Path) -> None:
    for name in TABLES:
        shutil.copy(HERE / f"{name}.yaml", tmp_path)
    found = load(tmp_path)
    assert all(getattr(found, field.name) == getattr(K, field.name) for field in fields(K))


def test_tables_of_somebodys_own_may_lack_the_lists_that_came_later(tmp_path: Path) -> None:
    for name, key in (("errors", "harmless"), ("torch", "channels")):
        table = yaml.safe_load((HERE / f"{name}.yaml").read_text(encoding="utf-8"))
        del table[key]
        (tmp_path / f"{name}.yaml").write_text(json.dumps(table), encoding="utf-8")
    assert load(tmp_path).harmless == ()
    assert load(tmp_path).channels == {}


def test_rules_that_only_tell_that_something_failed_are_never_a_failure() -> None:
    assert {rule.status for rule in K.errors if rule.fallback} == {"Unknown"}
