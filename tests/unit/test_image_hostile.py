"""Images that want to do harm: each is refused in one line, before it costs memory, time or a file outside of it."""

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.support.explain import explain
from tests.support.gpu_images import SITE_PACKAGES, descriptor, tar_of, version_file, write_blobs

from gpuenv.assess.sources.images.contents import ImageFiles, read_contents
from gpuenv.assess.sources.images.installed import FoundFile
from gpuenv.cli.inspect import layouts, limits
from gpuenv.cli.inspect.layers import Tree
from gpuenv.cli.inspect.limits import Budget, ImageError
from gpuenv.cli.inspect.read import read_image

TORCH = f"{SITE_PACKAGES}/torch/version.py".lstrip("/")
GOOD = tar_of({TORCH: version_file("2.9.1+cu128", "12.8").content})


WINDOWS = json.dumps(
    {"manifests": [descriptor(b"", platform={"os": "windows", "architecture": "amd64"})]}
).encode()


def refused(place: str) -> str:
    """Return the one line with which the command refuses an image."""
    found = explain("--image", place, "--inspect", "--driver", "570.124.06", "--gpu", "NVIDIA L4")
    assert found.exit_code == 2, found.output
    assert found.exception is None or isinstance(found.exception, SystemExit)
    (line,) = found.stderr.splitlines()
    return line


def member(kind: bytes, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type = kind
    for name, value in fields.items():
        setattr(info, name, value)
    return info


def header(**fields: Any) -> bytes:
    """Return one header of a tar archive without any content."""
    return member(tarfile.REGTYPE, **fields).tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (tar_of({"../../etc/passwd": b"x"}), "a path that leaves it"),
        (tar_of({f"a/../../{TORCH}": b"x"}), "a path that leaves it"),
        (tar_of({TORCH: member(tarfile.LNKTYPE, linkname="../../../etc/shadow")}), "a path that leaves it"),
        (tar_of({"etc/x": member(tarfile.LNKTYPE, linkname="../../etc/shadow")}), "a path that leaves it"),
        (
            tar_of({TORCH: member(tarfile.CHRTYPE, devmajor=1, devminor=5)}),
            "a device or pipe in the place of a file",
        ),
        (tar_of({TORCH: member(tarfile.FIFOTYPE)}), "a device or pipe in the place of a file"),
        (tar_of({TORCH: member(tarfile.SYMTYPE, linkname="x" * 5000)}), "a link of more than 4096"),
        (tar_of({"a/" * 300 + "b": b""}), "directories within each other"),
        (tar_of({"d/" + "x" * 5000: b""}), "a path of more than 4096"),
        (tar_of({"x" * 100_000: b""}), "a header that is too large"),
        (header(name="big", size=2**62), "an entry of 4611686018427387904 bytes"),
        (b"\x01" * 5000, "is damaged"),
        (GOOD[:700] + b"\xff" * 100, "is damaged"),
        (gzip.compress(GOOD)[:-200], "ends within its compressed data"),
        (b"\x1f\x8b" + b"\xff" * 100, "damaged compressed data"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 100, "damaged zstd data"),
    ],
)
def test_hostile_layers_are_refused(tmp_path: Path, layer: bytes, words: str) -> None:
    write_blobs(tmp_path, [layer])
    assert words in refused(f"oci:{tmp_path}")


def test_absolute_paths_are_inside_the_image_and_links_out_of_it_end_at_its_root(tmp_path: Path) -> None:
    """As in a container: nothing is looked up on this machine, whatever the link says."""
    stub = "usr/local/cuda-12.8/lib64/stubs/libcuda.so.1"
    tree = Tree(limits.Budget())
    tree.apply(
        io.BytesIO(
            tar_of(
                {
                    "/etc/cron.d/x": b"x",
                    f"/{TORCH}": version_file("2.9.1+cu128", "12.8").content,
                    "usr/local/cuda": member(tarfile.SYMTYPE, linkname="../../../../../usr/local/cuda-12.8"),
                    stub: b"",
                }
            )
        )
    )
    config = {"config": {"Env": ["LD_LIBRARY_PATH=/usr/local/cuda/lib64/stubs"]}}
    found = read_contents(ImageFiles(tree.files(), config)).facts
    assert found.torch.version == "2.9.1+cu128"
    assert stub in found.errors[0].message


def test_headers_of_any_size_are_not_read_into_memory(tmp_path: Path) -> None:
    for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE):
        huge = member(kind, name="x", size=2**34).tobuf(tarfile.GNU_FORMAT)
        write_blobs(tmp_path / kind.hex(), [gzip.compress(huge + bytes(2_000_000))])
        assert "a header that is too large" in refused(f"oci:{tmp_path / kind.hex()}")


@pytest.mark.parametrize("data", [b"1" * 60_000, b"9" * 30_000 + b" hdrcharset=" + b"x" * 20_000])
def test_headers_that_take_quadratic_time_are_refused(tmp_path: Path, data: bytes) -> None:
    extended = member(tarfile.XHDTYPE, name="x", size=len(data)).tobuf(tarfile.USTAR_FORMAT)
    write_blobs(tmp_path, [(extended + data + bytes(-len(data) % 512)) * 50])
    assert "made to take long" in refused(f"oci:{tmp_path}")


def test_headers_within_headers_end(tmp_path: Path) -> None:
    nested = b"".join(
        member(tarfile.XHDTYPE, name="x", size=0).tobuf(tarfile.PAX_FORMAT) for _ in range(100_000)
    )
    write_blobs(tmp_path, [nested])
    assert "archive" in refused(f"oci:{tmp_path}")


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_decompression_bombs_are_refused(tmp_path: Path, compress: Any) -> None:
    bomb = tar_of({"zeros": bytes(200_000_000)})
    write_blobs(tmp_path, [compress(bomb)])
    assert "a decompression bomb is not read" in refused(f"oci:{tmp_path}")


def test_memory_for_zstd_is_bounded(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=30)
    out = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    layer = b"".join([out.compress(tar_of({"big": os.urandom(2_000_000)})), out.flush()])
    write_blobs(tmp_path, [layer])
    assert "needs too much memory" in refused(f"oci:{tmp_path}")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("MAX_COMPRESSED", 100, "its layers have more than"),
        ("MAX_UNCOMPRESSED", 100, "after decompression"),
        ("MAX_ENTRIES", 2, "more than 2 files"),
        ("MAX_KEPT", 2, "more than 2 files of PyTorch and CUDA"),
        ("MAX_SECONDS", -1.0, "reading it takes longer than"),
    ],
)
def test_each_limit_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: Any, words: str
) -> None:
    monkeypatch.setattr(limits, name, value)
    write_blobs(tmp_path, [tar_of({TORCH: b"x" * 500, "a/libcuda.so.1": b"", "b/libcuda.so.1": b""})])
    line = refused(f"oci:{tmp_path}")
    assert words in line
    assert "give --torch and --cuda instead" in line


def test_content_that_is_not_what_its_digest_says_is_refused(tmp_path: Path) -> None:
    for target in ("layer", "manifest", "config"):
        root = write_blobs(tmp_path / target, [GOOD])
        blobs = {path.stat().st_size: path for path in (root / "blobs/sha256").iterdir()}
        index = json.loads((root / "index.json").read_text())
        manifest_path = root / "blobs" / index["manifests"][0]["digest"].replace(":", "/")
        manifest = json.loads(manifest_path.read_text())
        sizes = {
            "layer": len(GOOD),
            "config": manifest["config"]["size"],
            "manifest": index["manifests"][0]["size"],
        }
        path = blobs[sizes[target]]
        data = path.read_bytes()
        path.write_bytes(
            data.replace(b"2.9.1", b"2.9.2", 1)
            if target == "layer"
            else data.replace(b"linux", b"linuX")
            if target == "config"
            else data.replace(b'"size"', b'"Size"', 1)
        )
        assert "has other content than its digest says" in refused(f"oci:{root}")


def test_layers_of_another_size_are_refused(tmp_path: Path) -> None:
    for index, size in enumerate((len(GOOD) - 1, len(GOOD) + 1)):
        changed = [{**descriptor(GOOD), "size": size}]
        write_blobs(tmp_path / str(index), [GOOD], layers=changed)
        assert "layer sha256:" in refused(f"oci:{tmp_path / str(index)}")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers": "x"}, "no list named layers"),
        ({"layers": [{}]}, "has no SHA-256 digest"),
        ({"layers": [{"digest": "sha256:../../../etc/passwd", "size": 1}]}, "has no SHA-256 digest"),
        ({"layers": [{"digest": "sha256:" + "a" * 64, "size": -1}]}, "has no valid size"),
        ({"layers": [{"digest": "sha256:" + "a" * 64, "size": True}]}, "has no valid size"),
        ({"layers": [descriptor(GOOD)] * 1001}, "more than 1000 layers"),
        (
            {"layers": [descriptor(GOOD, mediaType="application/vnd.oci.image.layer.v1.tar+gzip+encrypted")]},
            "are encrypted",
        ),
        ({"config": {"digest": "sha256:" + "a" * 64, "size": 2**40}}, "its configuration is larger"),
        ({"schemaVersion": 1}, "Docker's old format"),
    ],
)
def test_hostile_manifests_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    write_blobs(tmp_path, [GOOD], **changes)
    assert words in refused(f"oci:{tmp_path}")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 100_000, "index.json"),
        (b'{"a":' * 100_000, "index.json"),
        (b"{}" + b" " * 5_000_000, "index.json is larger than 4 MiB"),
        (b"\xff\xfe", "index.json"),
        (b"[]", "index.json is no JSON object"),
        (b'{"manifests": []}', "it exists for none"),
        (WINDOWS, "it exists for windows/amd64"),
    ],
)  # fmt: skip
def test_hostile_indexes_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    write_blobs(tmp_path, [GOOD])
    (tmp_path / "index.json").write_bytes(content)
    assert words in refused(f"oci:{tmp_path}")


def test_links_in_a_layout_and_in_a_directory_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"schemaVersion": 2, "manifests": []}')
    layout = tmp_path / "layout"
    layout.mkdir()
    (layout / "index.json").symlink_to(secret)
    assert "index.json cannot be read" in refused(f"oci:{layout}")
    root = tmp_path / "root"
    (root / TORCH).parent.mkdir(parents=True)
    (root / TORCH).symlink_to(secret)
    os.mkfifo(root / Path(TORCH).parent.parent / "x")
    files = read_image(f"dir:{root}", lambda _: None).files
    assert files[TORCH] == FoundFile(link=str(secret))


def test_a_pipe_in_the_place_of_a_file_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / TORCH).parent.mkdir(parents=True)
    os.mkfifo(tmp_path / TORCH)
    assert read_image(f"dir:{tmp_path}", lambda _: None).files == {}
    os.mkfifo(tmp_path / "index.json")
    assert "index.json is no regular file" in refused(f"oci:{tmp_path}")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"x": b""}, "has no file manifest.json"),
        ({"manifest.json": b"[]"}, "does not name exactly one image"),
        ({"manifest.json": b'[{"Config": "../x", "Layers": []}]'}, "leaves it"),
        ({"manifest.json": b'[{"Config": "c", "Layers": ["a"]}]', "c": b"{}"}, "name different layers"),
        ({"manifest.json": member(tarfile.SYMTYPE, linkname="../../etc/passwd")}, "a link that leaves it"),
        ({"manifest.json": member(tarfile.SYMTYPE, linkname="manifest.json")}, "has no file manifest.json"),
    ],
)
def test_hostile_archives_are_refused(tmp_path: Path, members: Any, words: str) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(tar_of(members))
    assert words in refused(f"docker-archive:{path}")


def test_an_archive_that_ends_too_early_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "image.tgz"
    path.write_bytes(gzip.compress(tar_of({"index.json": os.urandom(100_000)}))[:50_000])
    assert "damaged" in refused(str(path))


def test_an_archive_that_expands_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_UNCOMPRESSED", 1_000_000)
    path = tmp_path / "image.tgz"
    path.write_bytes(gzip.compress(tar_of({"zeros": bytes(2_000_000)})))
    assert "give --torch and --cuda instead" in refused(str(path))


def test_an_archive_with_too_many_files_is_none_of_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layouts, "_MAX_FILES", 3)
    path = tmp_path / "files.tar"
    path.write_bytes(tar_of({str(number): b"" for number in range(5)}))
    assert "too many files for the archive of an image" in refused(str(path))


@pytest.mark.parametrize(
    "place",
    [
        "oci:/nowhere",
        "docker-archive:/nowhere",
        "dir:/nowhere",
        "/nowhere",
        "/dev/zero",
        "docker-archive:/dev/null",
        "oci:",
        "dir:\0",
    ],
)
def test_places_without_an_image_are_named(place: str) -> None:
    assert refused(place).startswith("gpuenv explain: --image:")


def test_many_whiteouts_and_files_take_linear_time() -> None:
    wanted = {f"p{number}/python3.12/site-packages/torch/version.py": b"" for number in range(5000)}
    whiteouts = {f"p{number}/.wh.python3.12": b"" for number in range(5000)}
    tree = Tree(Budget())
    tree.apply(io.BytesIO(tar_of(wanted)))
    tree.apply(io.BytesIO(tar_of(whiteouts)))
    assert tree.files() == {}


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=3000), st.integers(0, 2500))
@example(b"", 0)
def test_changed_layers_are_read_or_refused(noise: bytes, at: int) -> None:
    data = GOOD[:at] + noise + GOOD[at + len(noise) :]
    try:
        Tree(Budget()).apply(io.BytesIO(data))
    except ImageError as error:
        assert "\n" not in str(error)


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=300), st.dictionaries(st.text(max_size=12), st.text(max_size=40), max_size=5))
def test_any_text_in_the_files_is_read(text: str, env: dict[str, str]) -> None:
    files = {TORCH: FoundFile(text), f"{SITE_PACKAGES[1:]}/nvidia_cudnn_cu12-9.dist-info/METADATA": FoundFile(text),
             "opt/conda-meta/pytorch-1.json": FoundFile(text)}  # fmt: skip
    config = {
        "config": {"Env": [f"{name}={value}" for name, value in env.items()], "User": text, "Cmd": [text]}
    }
    for note in read_contents(ImageFiles(files, config)).notes:
        assert len(note.splitlines()) <= 1


def test_megabytes_of_hostile_text_are_read_in_linear_time() -> None:
    text = ("__version__" + " " * 50 + "= '" + "x" * 200 + "\n") * 4000 + "cuda: " + "[" * 500_000
    found = read_contents(ImageFiles({TORCH: FoundFile(text), "libcuda.so." * 50_000: FoundFile("")}, {}))
    assert found.facts.torch.version is None
