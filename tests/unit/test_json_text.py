"""JSON is decoded as Python's own module decodes it, and equal values are encoded equally."""

import json

import pytest

from gpuenv.api import json_text


@pytest.mark.parametrize(
    "text",
    ['{"a": [1, 2.5, null, "ü"]}', '"\\ud800"', "[NaN]", "1e999", "  {}  ", '{"a": 1, "a": 2}', '"\\u0000"'],
)
def test_decodes_what_pythons_module_decodes(text: str) -> None:
    assert repr(json_text.decode(text.encode())) == repr(json.loads(text))
    assert repr(json_text.decode(text)) == repr(json.loads(text))


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"<html>", b"{'a': 1}", b"[1,]"])
def test_refuses_what_is_no_json(data: bytes) -> None:
    with pytest.raises(ValueError):
        json_text.decode(data)


def test_a_deep_value_cannot_end_the_process() -> None:
    with pytest.raises(RecursionError):
        json_text.decode(b"[" * 100_000 + b"]" * 100_000)


@pytest.mark.parametrize("value", [{"b": 1, "a": [0.1, None]}, {"big": 1 << 80}, {"lone": "\ud800"}])
def test_equal_values_are_encoded_equally(value: dict[str, object]) -> None:
    encoded = json_text.encode(value)
    assert encoded == json_text.encode(dict(reversed(value.items())))
    assert json_text.decode(encoded) == value or "big" in value
