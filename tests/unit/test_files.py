"""Files are read within limits: texts, JSON and YAML."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gpuenv.files import MAX_BYTES, MAX_DEPTH, FileError, json_data, texts, yaml_data

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
"""Half a kilobyte that stands for 400 million texts."""


def refused(read: Any, *arguments: Any) -> str:
    """Return the message with which a file is refused. It is one line."""
    with pytest.raises(FileError) as caught:
        read(*arguments)
    assert str(caught.value).isprintable()
    return str(caught.value)


# ---- texts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain \xc3\xbc\n", "plain ü\n"),
        (b"\xef\xbb\xbfa: 1", "a: 1"),
        ("a: ü".encode("utf-16"), "a: ü"),
        ("\ufeffa: ü".encode("utf-16-be"), "a: ü"),
        (b"", ""),
    ],
)
def test_encodings(tmp_path: Path, data: bytes, text: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(data)
    assert texts.read_file(path) == text
    assert texts.read_log(io.BytesIO(data)) == text


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a\x00b", "is binary; give a text"),
        (b"\xff\xfea\x00\x00\x00", "is binary; give a text"),
        (b"\xff\xfe\x00\x00a\x00\x00\x00", "is binary; give a text"),
        (b"caf\xe9", "is no text in UTF-8; save it in this encoding"),
        (b"\xff\xfea", "is no text in UTF-8; save it in this encoding"),
        (b"x" * (MAX_BYTES + 1), "is larger than 1 MB; give a smaller file"),
    ],
)
def test_what_is_no_text_or_too_large_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(data)
    assert refused(texts.read_file, path) == words


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert refused(texts.read_file, tmp_path / "no") == (
        "cannot be read (No such file or directory); give the path of a file"
    )
    assert refused(texts.read_file, tmp_path).startswith("cannot be read (Is a directory)")
    assert refused(texts.read_file, tmp_path / "a\0b") == "is no path of a file"


def test_a_pipe_to_which_nobody_writes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening it would otherwise wait for ever."""
    monkeypatch.setattr(texts, "FIRST_BYTE_SECONDS", 0.1)
    path = tmp_path / "fifo"
    os.mkfifo(path)
    words = "is a pipe or device from which nothing came in 0.1 seconds; give a file"
    assert refused(texts.read_file, path) == words
    ends = os.open(path, os.O_RDWR)
    assert refused(texts.read_file, path) == words, "somebody may have opened it and write nothing"
    os.close(ends)


@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_the_output_of_another_program_is_read(size: int) -> None:
    """The path is as a shell makes it for <(command). The longest text does not fit into a pipe at once."""
    program = [sys.executable, "-c", f"print('x' * {size}, end='')"]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert texts.read_file(Path(f"/dev/fd/{running.stdout.fileno()}")) == "x" * size


class Endless(io.RawIOBase):
    """A pipe that never ends. ``given`` counts the bytes that were read."""

    def __init__(self, content: bytes) -> None:
        self.content, self.given = content, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = len(buffer)
        buffer[:] = (self.content * (size // len(self.content) + 1))[:size]
        self.given += size
        return size


@pytest.mark.parametrize("read", [texts.read, texts.read_log])
def test_of_an_endless_file_only_the_limit_is_read(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "LOG_BYTES", 4_000_000)
    monkeypatch.setattr(texts, "MAX_STREAM_BYTES", 30_000_000)
    for content in (b"\0", b"y\n", os.urandom(4096)):
        pipe = Endless(content)
        file: BinaryIO = io.BufferedReader(pipe)
        refused(read, file)
        assert pipe.given < 35_000_000


def test_an_endless_log_says_what_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "LOG_BYTES", 4_000_000)
    monkeypatch.setattr(texts, "MAX_STREAM_BYTES", 30_000_000)
    words = "does not end within 30 MB; give its last part (tail -c 1000000)"
    assert refused(texts.read_log, io.BufferedReader(Endless(b"y\n"))) == words


@pytest.mark.parametrize("seekable", [True, False])
def test_of_a_large_log_both_ends_are_read(seekable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "LOG_BYTES", 2_000_000)
    data = b"first " + b"x" * 15_000_000 + b" last"
    file: BinaryIO = io.BytesIO(data) if seekable else io.BufferedReader(Pipe(data))
    found = texts.read_log(file)
    assert found.startswith("first x")
    assert found.endswith("x last")
    assert found[1_000_000] == "\n"
    assert len(found) <= 2_000_001 + 8_000_000


class Pipe(io.RawIOBase):
    """A pipe with some content."""

    def __init__(self, data: bytes) -> None:
        self.rest = memoryview(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self.rest[: min(len(buffer), 65536)]
        buffer[: len(part)] = part
        self.rest = self.rest[len(part) :]
        return len(part)


def test_a_log_with_odd_bytes_is_read() -> None:
    assert texts.read_log(io.BytesIO(b"caf\xe9 error")) == "caf\ufffd error"


# ---- YAML and JSON -----------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_json_is_read_as_it_was_written(value: Any) -> None:
    text = json.dumps(value)
    assert json_data.parse(text) == value
    if isinstance(value, dict | list):
        assert yaml_data.parse(text) == value


class NoAliases(yaml.SafeDumper):
    """Writes every value out."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


@given(VALUES)
def test_yaml_is_read_as_it_was_written(value: Any) -> None:
    text = yaml.dump(value, Dumper=NoAliases)
    assert yaml_data.parse(text) == value
    assert yaml_data.parse(text, lenient=True) == value


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb: [0x1F, 0o17, 017, 1_000, 1:30, +5, -3]",
        "yes: no\noff: on\n~: null\n2: 3",
        "a: !!str 12\nb: ! 'x'",
        "a: |\n  two\n  lines\nb: >\n  one\n  line\n",
        "- 1.5\n- .5\n- 1e3\n- 1.0e+3\n- 1.\n",
        "'<<': 1\n",
        "a: &x 1\nb: 2",
    ],
)
def test_values_are_those_of_pyyaml(text: str) -> None:
    assert yaml_data.parse(text) == yaml.safe_load(text)


def test_dates_stay_texts() -> None:
    found = yaml_data.parse("a: 2026-11-28\nb: 2026-11-28T12:00:00Z\nc: 2026-99-99")
    assert found == {"a": "2026-11-28", "b": "2026-11-28T12:00:00Z", "c": "2026-99-99"}


REFUSED = {
    "a: &a x\nb: *a": "line 2: has the alias *a; write its value out",
    LAUGHS: "line 2: has the alias *a; write its value out",
    "a: {<<: {b: 1}}": "line 1: has the merge key <<; write the fields out",
    "a: !!python/name:os.system x": "line 1: has the tag !!python/name:os.system; leave it out",
    "a: !mine {}": "line 1: has the tag !mine; leave it out",
    "a: !!binary aGk=": "line 1: has the tag !!binary; leave it out",
    "a: !!int many": "line 1: has the tag !!int; leave it out",
    "a: !!set {b}": "line 1: has the tag !!set; leave it out",
    "a: !!timestamp 2026-01-01": "line 1: has the tag !!timestamp; leave it out",
    "a:\n  b: 1\n  b: 2": "line 3: b: is there twice; remove one",
    '{"a": {"b": 1, "b": 2}}': "b: is there twice; remove one",
    "? [a]\n: 1": "line 1: has a list or a mapping as a key; write a text",
    "? {a: b}\n: 1": "line 1: has a list or a mapping as a key; write a text",
    "a: "
    + "9" * 5000: "has a number of 5000 characters (999999999999...); write it in quotes if it is a text",
    '{"a": ' + "9" * 5000 + "}": "has a number of 5000 characters (999999999999...)",
    "a: 0x" + "F" * 5000: "has a number of 5002 characters (0xFFFFFFFFFF...)",
    "a: 0b_": "'0b_' is no number; write it in quotes if it is a text",
    "a: .inf": "has the number .inf, which is not finite; leave it out",
    "a: .NaN": "has the number .NaN, which is not finite",
    "a: 1.0e+400": "has the number 1.0e+400, which is not finite",
    '{"a": 1e400}': "has the number 1e400, which is not finite",
    "[NaN]": "has the number NaN, which is not finite",
    "[" * 3000 + "]" * 3000: "has more than 100 lists and mappings in each other; make it flatter",
    "[" * 100_000: "has more than 100 lists and mappings in each other; make it flatter",
    '{"a":' * 3000 + "1" + "}" * 3000: "has more than 100 lists and mappings in each other",
    "- " * 200 + "x": "has more than 100 lists and mappings in each other",
    "a: 1\n---\nb: 2": "holds 2 documents; give one, without lines of ---",
    "a: [": "is no YAML (line 2: ",
    "\tx: 1": "is no YAML (line 1: ",
    "a: \x07": "is no YAML (",
    'a: "\\ud800"': "is no YAML (line 1: ",
    "a: \ud800": "is no YAML (",
    "%TAG ! x\n%TAG ! y\n---\n": "is no YAML (",
    "*a": "line 1: has the alias *a",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:20])
def test_what_is_refused_is_one_line(text: str) -> None:
    assert REFUSED[text] in refused(yaml_data.parse, text)


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1])
@pytest.mark.parametrize("parse", [json_data.parse, yaml_data.parse])
def test_the_depth_is_the_same_in_both_forms(parse: Any, depth: int) -> None:
    for text in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
        if depth > MAX_DEPTH:
            assert "more than 100" in refused(parse, text)
        else:
            assert parse(text)


def test_several_documents() -> None:
    assert yaml_data.parse_all("a: 1\n---\n---\n- b\n") == [{"a": 1}, None, ["b"]]
    assert yaml_data.parse_all('{"a": 1}\n---\n{"b": 2}') == [{"a": 1}, {"b": 2}]
    assert (yaml_data.parse(""), yaml_data.parse("# nothing\n")) == (None, None)


@given(st.text(st.sampled_from("ab:- \n[]{},&*<?!|>'\"#%1.e~\t"), max_size=40))
def test_any_text_is_a_value_or_one_line(text: str) -> None:
    for lenient in (False, True):
        try:
            yaml_data.parse_all(text, lenient=lenient)
        except FileError as error:
            assert str(error).isprintable()


@given(st.text(max_size=40))
def test_any_unicode_is_a_value_or_one_line(text: str) -> None:
    try:
        yaml_data.parse_all(text)
    except FileError as error:
        assert str(error).isprintable()


# ---- files of other tools ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "a: &a {x: 1}\nb: *a\nc: [*a, *a]",
        "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {y: 4, <<: [*a, {z: 5}]}",
        "a: &a 1\n*a : b",
        "a: 1\na: 2",
    ],
)
def test_aliases_and_merge_keys_are_expanded_where_other_tools_write_them(text: str) -> None:
    assert yaml_data.parse(text, lenient=True) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, "has aliases for more than 100,000 values; write the values out"),
        ("a: &a [*a]", "line 1: has the alias *a, but no value with this name before it"),
        ("a: *b", "line 1: has the alias *b, but no value with this name before it"),
        ("a: &a 1\n---\nb: *a", "line 3: has the alias *a, but no value"),
        ("a: {<<: 1}", "line 1: merges something that is no mapping"),
        ("a: &a [b]\n? *a\n: 1", "has a list or a mapping as a key"),
    ],
)
def test_even_there_they_are_limited(text: str, words: str) -> None:
    assert words in refused(lambda: yaml_data.parse_all(text, lenient=True))


def test_merge_keys_do_not_multiply() -> None:
    rows = "a: &a {" + ", ".join(f"k{number}: 1" for number in range(1000)) + "}\n"
    rows += "b: [" + ", ".join(["{<<: [*a, *a]}"] * 1000) + "]\n"
    assert "has aliases for more than" in refused(lambda: yaml_data.parse(rows, lenient=True))
