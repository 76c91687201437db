"""What is read from images: the same from every place, by the rules of layers, and nothing that does not follow."""

import gzip
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import zstandard
from tests.support.explain import as_json, explain
from tests.support.gpu_images import (
    ENV,
    SITE_PACKAGES,
    descriptor,
    gpu_image,
    package,
    tar_of,
    unpack,
    version_file,
    write_blobs,
    write_docker_archive,
)
from tests.support.images import File, Image, file_layer, write_archive, write_layout

from gpuenv.assess.sources.images.contents import ImageFiles, ReadImage, read_contents
from gpuenv.assess.sources.images.installed import FoundFile

NODE = ("--driver", "570.124.06", "--gpu", "NVIDIA L4")
TORCH = f"{SITE_PACKAGES}/torch/version.py".lstrip("/")


def inspected(place: str) -> dict[str, Any]:
    """Return the answer about an image without its reference, which differs by place."""
    answer = as_json("--image", place, "--inspect", *NODE)
    del answer["image"]["reference"]
    return answer


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return gpu_image(tmp_path)


def test_an_image_is_the_same_wherever_it_is(tmp_path: Path, image: Image) -> None:
    write_layout(tmp_path / "layout", "a:1", image)
    with (tmp_path / "oci.tar").open("wb") as out:
        write_archive(out, "a:1", image)
    write_docker_archive(tmp_path / "docker.tar", image)
    write_docker_archive(tmp_path / "docker.tgz", image, compressed=True)
    places = [
        f"oci:{tmp_path}/layout",
        f"{tmp_path}/layout",
        f"oci-archive:{tmp_path}/oci.tar",
        f"docker-archive:{tmp_path}/docker.tar",
        f"{tmp_path}/docker.tgz",
    ]
    first, *others = map(inspected, places)
    assert first["facts"]["pytorch"] == "2.9.1+cu128"
    assert first["facts"]["cudnn"] == 91002
    assert first["verdict"] == "Compatible"
    assert others == [first] * len(others)


def test_a_directory_says_the_same_about_files(tmp_path: Path, image: Image) -> None:
    write_layout(tmp_path / "layout", "a:1", image)
    unpack(image, tmp_path / "root")
    layout, directory = inspected(f"oci:{tmp_path}/layout"), inspected(f"dir:{tmp_path}/root")
    assert directory["facts"] == layout["facts"]
    assert directory["image"]["values"] == layout["image"]["values"]
    assert (
        "A directory has no configuration: environment variables of the image are not known."
        in directory["image"]["notes"]
    )


def test_each_value_says_where_it_was_read(tmp_path: Path, image: Image) -> None:
    write_layout(tmp_path / "layout", "a:1", image)
    found = as_json("--image", f"oci:{tmp_path}/layout", "--inspect", *NODE)["image"]
    assert found["values"][0] == {"value": "pytorch", "origin": "read", "where": f"/{TORCH}"}
    assert {one["origin"] for one in found["values"]} == {"read"}
    assert any("asks for CUDA 12.8" in note for note in found["notes"])
    assert any("cuda-compat libraries of driver 570.124.06" in note for note in found["notes"])
    assert "It runs as 1000 and starts python3." in found["notes"]
    header = explain("--image", f"oci:{tmp_path}/layout", "--inspect", *NODE).stdout
    assert "PyTorch, CUDA, Python and cuDNN read from it" in header


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress, lambda data: data])
def test_layers_are_read_in_each_compression(tmp_path: Path, compress: Any) -> None:
    layer = tar_of({TORCH: version_file("2.9.1+cu128", "12.8").content, "big": bytes(3_000_000)})
    write_blobs(tmp_path, [compress(layer)])
    assert inspected(f"oci:{tmp_path}")["facts"]["pytorch"] == "2.9.1+cu128"


def test_a_layer_of_several_gzip_members_is_read_to_its_end(tmp_path: Path) -> None:
    layer = tar_of({"first": bytes(10_000), TORCH: version_file("2.9.1+cu128", "12.8").content})
    write_blobs(tmp_path, [gzip.compress(layer[:5000]) + gzip.compress(layer[5000:])])
    assert inspected(f"oci:{tmp_path}")["facts"]["pytorch"] == "2.9.1+cu128"


@pytest.mark.parametrize(
    "hiding",
    [
        f"{SITE_PACKAGES}/torch/.wh.version.py",
        f"{SITE_PACKAGES}/.wh.torch",
        "/usr/local/.wh.lib",
        "/.wh.usr",
        f"{SITE_PACKAGES}/torch/.wh..wh..opq",
        "/usr/.wh..wh..opq",
        "/.wh..wh..opq",
    ],
)
def test_whiteouts_hide_what_lower_layers_have(tmp_path: Path, hiding: str) -> None:
    lower = tar_of({TORCH: version_file("2.9.1+cu128", "12.8").content})
    write_blobs(tmp_path, [lower, tar_of({hiding: b""})])
    found = inspected(f"oci:{tmp_path}")
    assert "pytorch" not in found["facts"]
    assert any("No torch/version.py was found" in note for note in found["image"]["notes"])


def test_whiteouts_do_not_hide_what_their_own_layer_has(tmp_path: Path) -> None:
    lower = tar_of({TORCH: version_file("2.7.0+cu126", "12.6").content})
    upper = tar_of(
        {TORCH: version_file("2.9.1+cu128", "12.8").content, f"{SITE_PACKAGES}/torch/.wh..wh..opq": b""}
    )
    write_blobs(tmp_path, [lower, upper])
    assert inspected(f"oci:{tmp_path}")["facts"]["pytorch"] == "2.9.1+cu128"


def test_a_file_or_link_in_the_place_of_a_directory_replaces_it(tmp_path: Path) -> None:
    link = tarfile.TarInfo()
    link.type, link.linkname = tarfile.SYMTYPE, "/elsewhere"
    lower = tar_of({TORCH: version_file("2.9.1+cu128", "12.8").content})
    write_blobs(tmp_path, [lower, tar_of({"usr/local/lib": link})])
    assert "pytorch" not in inspected(f"oci:{tmp_path}")["facts"]


def test_hard_links_have_the_content_of_their_target(tmp_path: Path) -> None:
    cache = "root/.cache/uv/archive-v0/x/lib/python3.12/site-packages/torch/version.py"
    link = tarfile.TarInfo()
    link.type, link.linkname = tarfile.LNKTYPE, cache
    lower = tar_of({cache: version_file("2.9.1+cu128", "12.8").content, TORCH: link})
    write_blobs(tmp_path, [lower, tar_of({"root/.wh..cache": b""})])
    assert inspected(f"oci:{tmp_path}")["facts"]["pytorch"] == "2.9.1+cu128"


def test_an_index_gives_the_image_for_amd64_and_names_the_others(tmp_path: Path) -> None:
    write_blobs(tmp_path, [tar_of({TORCH: version_file("2.9.1+cu128", "12.8").content})])
    index = json.loads((tmp_path / "index.json").read_text())
    (manifest,) = index["manifests"]
    other = descriptor(b"", platform={"os": "linux", "architecture": "arm64"})
    attestation = descriptor(b"x", platform={"os": "unknown", "architecture": "unknown"})
    mine = {**manifest, "platform": {"os": "linux", "architecture": "amd64"}}
    (tmp_path / "index.json").write_text(
        json.dumps({"schemaVersion": 2, "manifests": [attestation, other, mine]})
    )
    found = inspected(f"oci:{tmp_path}")
    assert found["facts"]["pytorch"] == "2.9.1+cu128"
    # An image for both kinds of CPUs is not judged as one for x86_64 on a machine with an Arm CPU.
    arm = as_json("--image", f"oci:{tmp_path}", "--inspect", "--gpu", "NVIDIA GB200", "--driver", "580.95.05")
    assert "sm_75" not in arm["facts"]["archList"]
    assert any(
        note.startswith("Read for linux/amd64; the image exists for") and "linux/arm64" in note
        for note in found["image"]["notes"]
    )


def read(files: dict[str, str | None], env: dict[str, str] | None = None) -> ReadImage:
    config = {
        "architecture": "amd64",
        "config": {"Env": [f"{name}={value}" for name, value in (env or {}).items()]},
    }
    return read_contents(ImageFiles({path: FoundFile(text) for path, text in files.items()}, config))


def torch_text(version: str, cuda: str | None) -> str:
    return version_file(version, cuda).content.decode()


def test_a_build_without_cuda_is_one() -> None:
    found = read({TORCH: torch_text("2.9.1+cpu", None)}).facts.torch
    assert (found.version, found.cuda, found.cpu_build) == ("2.9.1+cpu", None, True)
    rocm = torch_text("2.9.1+rocm6.4", None).replace(
        "hip: Optional[str] = None", "hip: Optional[str] = '6.4'"
    )
    assert read({TORCH: rocm}).facts.torch.cpu_build is True


def test_builds_of_conda_forge_are_not_those_of_the_project() -> None:
    prefix = "opt/conda"
    files: dict[str, str | None] = {
        f"{prefix}/lib/python3.11/site-packages/torch/version.py": torch_text("2.5.1", "12.6"),
        f"{prefix}/conda-meta/pytorch-2.5.1-cuda126_py311h1_300.json": json.dumps(
            {"channel": "https://conda.anaconda.org/conda-forge/linux-64"}
        ),
    }
    assert read(files).facts.torch.channel == "conda-forge"


def test_of_several_copies_the_one_on_path_counts() -> None:
    files: dict[str, str | None] = {
        TORCH: torch_text("2.7.0+cu126", "12.6"),
        "opt/venv/lib/python3.12/site-packages/torch/version.py": torch_text("2.9.1+cu128", "12.8"),
    }
    assert read(files, {"PATH": "/opt/venv/bin:/usr/local/bin:/usr/bin"}).facts.torch.version == "2.9.1+cu128"
    assert read(files, {"PATH": "/usr/local/bin:/opt/venv/bin"}).facts.torch.version == "2.7.0+cu126"


def test_several_copies_without_a_sign_of_the_used_one_are_not_known() -> None:
    files: dict[str, str | None] = {
        "a/lib/python3.12/site-packages/torch/version.py": torch_text("2.7.0+cu126", "12.6"),
        "b/lib/python3.12/site-packages/torch/version.py": torch_text("2.9.1+cu128", "12.8"),
    }
    facts = read(files, {"PATH": "/usr/bin", "PYTORCH_VERSION": "2.9.1"}).facts
    assert facts.torch.version is None
    assert "2.7.0+cu126 in /a" in facts.conflicts[0]


def test_copies_that_differ_are_said_to_differ() -> None:
    files: dict[str, str | None] = {
        f"{place}/lib/python3.12/site-packages/torch/version.py": torch_text(version, "12.8")
        for place, version in (("a", "2.9.0+cu128"), ("b", "2.9.1+cu128"))
    }
    notes = " ".join(read(files, {"PATH": "/usr/bin"}).notes)
    assert "It has copies of PyTorch that differ, so that PyTorch is not known." in notes
    assert "No torch/version.py" not in notes


@pytest.mark.parametrize(
    "version",
    [
        "2.9.1+cu128\x1b[31mEVIL",
        "2.9.1\\nX",
        "2",
        "x2.9.1",
        "2.9.1 Compatible",
        "2.9.1+cu128\u202e",
        "2.9.1+" + "x" * 99,
    ],
)
def test_what_is_no_version_is_not_known_and_shown_with_escapes(version: str) -> None:
    found = read({TORCH: torch_text(version, "12.8")})
    assert found.facts.torch.version is None
    assert not any(one.value == "pytorch" for one in found.facts.provenance)
    (note,) = (note for note in found.notes if "has no version" in note)
    assert note.isascii() and note.isprintable()
    assert ascii(version[:60]) in note


@pytest.mark.parametrize(
    "version",
    [
        "2.9.1",
        "2.9.1+cu128",
        "2.9.0a0+145a3a7bda.nv25.10",
        "1.12.0a0+2c916ef.nv22.3",
        "2.10.0.dev20251101+cu130",
        "2.8.0.post1",
        "2.10.0a0+gitabc",
        "2.6.0+rocm6.2.4.git4e5a3b",
    ],
)
def test_every_version_of_pytorch_is_one(version: str) -> None:
    assert read({TORCH: torch_text(version, "12.8")}).facts.torch.version == version


def test_what_is_no_version_elsewhere_is_not_known_either() -> None:
    packages = TORCH.removesuffix("/torch/version.py")
    files: dict[str, str | None] = {
        TORCH: torch_text("2.9.1+cu128", "12.8\x1b[31m"),
        f"{packages}/nvidia_cudnn_cu12-9.dist-info/METADATA": "Name: nvidia-cudnn-cu12\nVersion: 9.10\x1b[31m\n",
    }
    torch = read(files, {"CUDNN_VERSION": "9.1\x1b[31m"}).facts.torch
    assert (torch.cuda, torch.cudnn) == (None, None)


def test_without_the_files_the_configuration_counts() -> None:
    facts = read(
        {},
        {
            "PYTORCH_VERSION": "2.9.0a0+145a3a7bda",
            "CUDA_VERSION": "13.0.2.006",
            "NV_CUDNN_VERSION": "9.14.0.64-1",
        },
    ).facts
    assert (facts.torch.version, facts.torch.cuda, facts.torch.cudnn) == (
        "2.9.0a0+145a3a7bda",
        "13.0.2.006",
        91400,
    )
    assert {one.where for one in facts.provenance} == {"PYTORCH_VERSION", "CUDA_VERSION", "NV_CUDNN_VERSION"}


def test_a_stub_that_the_loader_finds_first_is_an_error(tmp_path: Path) -> None:
    stubs = "/usr/local/cuda-12.8/lib64/stubs"
    layer = file_layer(
        tmp_path / "layer.tar",
        {
            f"/{TORCH}": version_file("2.9.1+cu128", "12.8"),
            f"{stubs}/libcuda.so.1": File(b"stub"),
        },
    )
    for library_path, reason in ((stubs, "StubLibcuda"), (f"/usr/local/nvidia/lib64:{stubs}", ""), ("", "")):
        target = tmp_path / f"layout-{len(library_path)}"
        write_layout(target, "a:1", Image((layer,), env=ENV | {"LD_LIBRARY_PATH": library_path}))
        answer = inspected(f"oci:{target}")
        assert [one["code"] for one in answer["reasons"][:1]] == ([reason] if reason else [])


def test_a_stub_is_found_through_links() -> None:
    files = {
        "usr/local/cuda": FoundFile(link="cuda-12.8"),
        "usr/local/cuda-12.8/lib64": FoundFile(link="targets/x86_64-linux/lib"),
        "usr/local/cuda-12.8/targets/x86_64-linux/lib/stubs/libcuda.so.1": FoundFile(),
        TORCH: FoundFile(torch_text("2.9.1+cu128", "12.8")),
    }
    config = {"config": {"Env": ["LD_LIBRARY_PATH=/usr/local/cuda/lib64/stubs"]}}
    assert read_contents(ImageFiles(files, config)).facts.errors[0].name == "cudaErrorStubLibrary"


def test_libraries_of_a_driver_in_the_image_are_named() -> None:
    found = read(
        {TORCH: torch_text("2.9.1+cu128", "12.8"), "usr/lib/x86_64-linux-gnu/libcuda.so.535.104.05": None}
    )
    assert any(
        "/usr/lib/x86_64-linux-gnu/libcuda.so.535.104.05, which can hide" in note for note in found.notes
    )


@pytest.mark.parametrize(
    "config",
    [None, {}, {"config": None}, {"config": []}, {"config": {"Env": "x"}}, {"config": {"Env": [1, None, "x"]}, "architecture": 5},
     {"config": {"Entrypoint": "x", "User": 7}}],
)  # fmt: skip
def test_odd_configurations_are_read(config: Any) -> None:
    assert (
        read_contents(
            ImageFiles({TORCH: FoundFile(torch_text("2.9.1+cu128", "12.8"))}, config)
        ).facts.torch.version
        == "2.9.1+cu128"
    )


def test_packages_are_those_of_the_same_python() -> None:
    (path,) = package("nvidia-cudnn-cu12", "9.10.2.21", "/opt/other/lib/python3.9/site-packages")
    files: dict[str, str | None] = {
        TORCH: torch_text("2.9.1+cu128", "12.8"),
        path.lstrip("/"): "Name: x\nVersion: 9.10.2.21\n",
    }
    assert read(files).facts.torch.cudnn is None


def test_inspect_needs_an_image() -> None:
    found = explain("--inspect", "--torch", "2.9.1")
    assert found.exit_code == 2
    assert "--inspect reads an image; name it with --image or -f" in found.stderr


def test_a_place_is_read_only_when_that_is_asked_for(tmp_path: Path) -> None:
    found = explain("--image", f"oci:{tmp_path}")
    assert found.exit_code == 2
    assert "only --inspect reads an image from there" in found.stderr
