"""The version text of a PyTorch build, taken apart."""

import pytest

from gpuenv.knowledge.build_name import parse_build_name


@pytest.mark.parametrize(
    ("text", "release", "local", "cuda", "kinds"),
    [
        ("2.9.1", (2, 9, 1), "", None, "plain release"),
        ("2.9.1+cu128", (2, 9, 1), "cu128", (12, 8), "release wheel"),
        ("1.8.0+CU111", (1, 8, 0), "cu111", (11, 1), "release wheel"),
        ("2.9.1+cpu", (2, 9, 1), "cpu", None, "cpu"),
        ("2.9.1+rocm6.4", (2, 9, 1), "rocm6.4", None, "cpu"),
        ("2.9.1+xpu", (2, 9, 1), "xpu", None, "cpu"),
        ("2.10.0.dev20251101+cu130", (2, 10, 0), "cu130", (13, 0), "wheel"),
        ("2.9.0a0+145a3a7bda.nv25.10", (2, 9, 0), "145a3a7bda.nv25.10", None, ""),
        ("2.2.0a0+81ea7a4", (2, 2, 0), "81ea7a4", None, "commit"),
        ("2.5.0a0+gitabc1234", (2, 5, 0), "gitabc1234", None, ""),
        ("2.9.0+cu128.with.pypi", (2, 9, 0), "cu128.with.pypi", (12, 8), "wheel"),
        ("2", None, "", None, "plain release"),
        ("nightly", None, "", None, ""),
        ("", None, "", None, ""),
        (None, None, "", None, ""),
    ],
)
def test_each_part_of_a_version_text(
    text: str | None,
    release: tuple[int, ...] | None,
    local: str,
    cuda: tuple[int, int] | None,
    kinds: str,
) -> None:
    name = parse_build_name(text)
    assert (name.text, name.release, name.local, name.cuda) == (text or "", release, local, cuda)
    found = {
        "plain": name.is_plain,
        "release": name.is_release,
        "wheel": name.is_cuda_wheel,
        "cpu": name.is_without_cuda,
        "commit": name.is_commit,
    }
    assert {kind for kind, holds in found.items() if holds} == set(kinds.split())


def test_the_number_behind_a_vendors_mark() -> None:
    assert parse_build_name("2.9.0a0+145a3a7bda.nv25.10").marked("nv") == (25, 10)
    assert parse_build_name("2.9.1+cu128").marked("nv") is None
