"""Generated names are valid wherever tests put them: as image references, Kubernetes names and label values."""

import re

import pytest
from tests.support.unique import unique, unique_directory

TIMES = 5000
DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
"""https://datatracker.ietf.org/doc/html/rfc1123#section-2; names of namespaces and of most other objects."""
LABEL_VALUE = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
"""https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set"""
PATH_COMPONENT = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
"""https://github.com/distribution/reference/blob/main/reference.go"""
TAG = r"\w[\w.-]{0,127}"


@pytest.mark.parametrize("prefix", ["e", "test", "gpuenv-buildah", "a-prefix-of-54-characters-" + "x" * 28])
def test_they_fit_every_grammar_and_are_never_the_same(prefix: str) -> None:
    names = [unique(prefix) for _ in range(TIMES)]
    for name in names:
        assert len(name) <= 63, name
        for grammar in (DNS_LABEL, LABEL_VALUE, PATH_COMPONENT, TAG):
            assert re.fullmatch(grammar, name, re.ASCII), (name, grammar)
    assert len(set(names)) == TIMES


def test_the_grammar_refuses_what_tempfile_makes_now_and_then() -> None:
    assert not re.fullmatch(PATH_COMPONENT, "gpuenv-buildah-_x1y2z3a")
    assert not re.fullmatch(DNS_LABEL, "gpuenv-buildah-_x1y2z3a")


def test_a_directory_has_such_a_name_and_is_deleted_at_the_end() -> None:
    with unique_directory("gpuenv-test") as directory:
        assert re.fullmatch(PATH_COMPONENT, directory.name)
        (directory / "sub").mkdir()
        (directory / "sub" / "file").touch()
    assert not directory.exists()
