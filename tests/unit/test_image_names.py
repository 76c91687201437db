"""Images judged by their names: what a tag says, what it does not say, and that neither is mixed up with the other."""

import json
from pathlib import Path

import pytest
from tests.support.explain import CSV, as_json, explain
from tests.unit.published_cases import plain

from gpuenv.assess.facts import Facts, Origin
from gpuenv.assess.sources.images.named import NamedImage, read_name
from gpuenv.assess.sources.images.reference import parse_reference
from gpuenv.knowledge import load
from gpuenv.knowledge.image_rows import pattern

K = load()


def test_no_cure_names_a_tag_that_is_not_for_the_cpu() -> None:
    image = "pytorch/pytorch:2.7.1-cuda12.6-cudnn9-runtime"
    found = as_json("--image", image, "--gpu", "NVIDIA GH200 480GB", "--driver", "470.82.01")
    assert found["verdict"] == "Incompatible"
    assert not any(
        "image" in cure.get("parameters", {}) for one in found["reasons"] for cure in one["remedies"]
    )


def test_the_cure_names_a_tag_that_exists_and_json_has_the_command() -> None:
    # The tables know a tag of PyTorch 2.7 for CUDA 12.6, and none of PyTorch 2.9.
    found = as_json(
        "--image",
        "pytorch/pytorch:2.7.1-cuda12.8-cudnn9-runtime",
        "--gpu",
        "Tesla V100-SXM2-16GB",
        "--driver",
        "570.124.06",
    )
    (cure,) = (
        one for one in found["reasons"][0]["remedies"] if one.get("parameters", {}).get("pytorch") == "2.7"
    )
    assert cure["parameters"]["image"] == "pytorch/pytorch:2.7.1-cuda12.6-cudnn9-runtime"
    assert cure["install"].startswith(
        "pip install torch==2.7.1 --index-url https://download.pytorch.org/whl/cu126"
    )
    shown = explain(
        "--image",
        "pytorch/pytorch:2.7.1-cuda12.8-cudnn9-runtime",
        "--gpu",
        "Tesla V100-SXM2-16GB",
        "--driver",
        "570.124.06",
    )
    assert "      image pytorch/pytorch:2.7.1-cuda12.6-cudnn9-runtime" in shown.output
    other = as_json(
        "--image",
        "pytorch/pytorch:2.9.1-cuda13.0-cudnn9-runtime",
        "--gpu",
        "NVIDIA L4",
        "--driver",
        "535.104.05",
    )
    (one,) = (one for one in other["reasons"][0]["remedies"] if "pytorch" in one.get("parameters", {}))
    assert "image" not in one["parameters"]
    assert "install" in one


NODE = ("--driver", "570.124.06", "--gpu", "NVIDIA L4")


def named(text: str) -> NamedImage:
    reference = parse_reference(text)
    assert reference is not None, text
    return read_name(reference, K)


def said(facts: Facts) -> tuple[str | None, str | None, str | None]:
    return facts.torch.version, facts.torch.cuda, facts.container.python


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime", ("2.9.1", "12.8", None)),
        ("docker.io/pytorch/pytorch:1.13.1-cuda11.6-cudnn8-devel", ("1.13.1", "11.6", None)),
        ("ghcr.io/pytorch/pytorch:2.3.0-cuda11.8-cudnn8-runtime", ("2.3.0", "11.8", None)),
        ("nvcr.io/nvidia/pytorch:25.10-py3", ("2.9.0a0+145a3a7bda.nv25.10", "13.0", "3.12")),
        ("nvcr.io/nvidia/pytorch:24.05-py3", ("2.4.0a0+07cecf4168.nv24.05", "12.4", "3.10")),
        ("nvcr.io/nvidia/pytorch:26.04-py3", ("2.12.0a0+0291f960b6.nv26.04", "13.2", "3.12")),
        ("nvcr.io/nvidia/pytorch:26.08-py3", ("2.14.0a0+4fdf77b940.nv26.08", "13.4", "3.12")),
        ("vllm/vllm-openai:v0.11.0", ("2.8.0", "12.8", "3.12")),
        ("vllm/vllm-openai:v0.11.1", ("2.9.0", "12.9", "3.12")),
        ("vllm/vllm-openai:v0.12.3", ("2.9.0", "12.9", "3.12")),
        ("vllm/vllm-openai:v0.15.1-cu130", ("2.9.1", "13.0", "3.12")),
        ("vllm/vllm-openai:v0.6.6.post1", ("2.5.1", "12.4", "3.12")),
        # PyTorch of later images is known, their CUDA is not.
        ("vllm/vllm-openai:v0.33.0", ("2.14.0", None, None)),
        ("lmsysorg/sglang:v0.5.17", ("2.11.0", "13.0", "3.12")),
        ("lmsysorg/sglang:v0.5.9-cu130-runtime", ("2.9.1", "13.0", "3.12")),
        ("ghcr.io/huggingface/text-generation-inference:3.1.0", ("2.5.1", "12.4", "3.11")),
        # Releases that differ only in their last number can have another PyTorch.
        ("ghcr.io/huggingface/text-generation-inference:3.0.2", ("2.5.1", "12.4", "3.11")),
        ("ghcr.io/huggingface/text-generation-inference:3.1.1", ("2.6.0", "12.4", "3.11")),
        # The image is based on CUDA 12.4, and uv.lock names the build of PyTorch for 12.8.
        ("ghcr.io/huggingface/text-generation-inference:3.3.7", ("2.7.0", "12.8", "3.11")),
        ("nvcr.io/nvidia/tritonserver:26.07-vllm-python-py3", (None, "13.3", "3.12")),
        (
            "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3",
            ("2.10.0a0+b4e4ee81d3.nv25.12", "13.1", "3.12"),
        ),
        ("ghcr.io/huggingface/text-embeddings-inference:hopper-1.8", (None, "12.2", None)),
        ("nvidia/cuda:12.8.1-cudnn-devel-ubuntu22.04", (None, "12.8.1", None)),
        (
            "763104351884.dkr.ecr.us-west-2.amazonaws.com/pytorch-training:2.9.0-gpu-py312-cu130-ubuntu22.04-ec2",
            ("2.9.0", "13.0", "3.12"),
        ),
        (
            "public.ecr.aws/deep-learning-containers/vllm:0.20.0-gpu-py312-cu130-ubuntu22.04-ec2",
            ("2.11.0", "13.0", "3.12"),
        ),
        # The toolkit of this image is CUDA 13.3, and its PyTorch was built for 13.0.
        ("public.ecr.aws/deep-learning-containers/pytorch:2.13.0-cu133-amzn2023", ("2.13.0", "13.0", None)),
        (
            "us-docker.pkg.dev/deeplearning-platform-release/gcr.io/pytorch-cu124.2-4.py310:latest",
            ("2.4", "12.4", "3.10"),
        ),
        ("gcr.io/deeplearning-platform-release/pytorch-gpu.1-13", ("1.13", None, None)),
        ("us-docker.pkg.dev/vertex-ai/training/pytorch-gpu.2-4.py310:latest", ("2.4", None, "3.10")),
        (
            "mcr.microsoft.com/aifx/acpt/stable-ubuntu2204-cu124-py310-torch250:biweekly.202501",
            ("2.5.0", "12.4", "3.10"),
        ),
        ("runpod/pytorch:2.4.0-py3.11-cuda12.4.1-devel-ubuntu22.04", ("2.4.0", "12.4.1", "3.11")),
        ("runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404", ("2.8.0", "12.8.1", None)),
        ("axolotlai/axolotl:main-20250701-py3.11-cu126-2.7.1", ("2.7.1", "12.6", "3.11")),
        ("rocm/pytorch:rocm6.4_ubuntu24.04_py3.12_pytorch_release_2.6.0", ("2.6.0+rocm6.4", None, "3.12")),
    ],
)
def test_a_tag_says_what_it_says(text: str, expected: tuple[str | None, str | None, str | None]) -> None:
    found = named(text)
    assert found.is_known
    assert said(found.facts) == expected
    values = {"pytorch": expected[0], "cuda": expected[1], "python": expected[2]}
    assert {one.value for one in found.facts.provenance} == {name for name, value in values.items() if value}
    assert {one.origin for one in found.facts.provenance} <= {Origin.INFERRED}
    assert all(one.where.startswith("https://") for one in found.facts.provenance)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("example.com/team/app:1", "example.com/team/app is not in the table of images; use --inspect"),
        (f"pytorch/other@sha256:{'a' * 64}", "a digest does not say what is inside; use --inspect"),
        (f"pytorch/pytorch@sha256:{'a' * 64}", "an image without a tag has is not known; use --inspect"),
        ("pytorch/pytorch:latest", "What the tag 'latest' has is not known; use --inspect"),
        ("pytorch/pytorch", "an image without a tag has is not known; use --inspect"),
        ("nvcr.io/nvidia/pytorch:19.01-py3", "no release 19.01; use --inspect"),
        ("vllm/vllm-openai:v99.1", "no release 99.1; use --inspect"),
        # A mirror may hold anything.
        ("mirror.example.com/pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime", "not in the table of images"),
        ("huggingface/transformers-pytorch-gpu:4.41.2", "do not say which PyTorch it has"),
    ],
)
def test_what_a_name_does_not_say_is_not_known(text: str, words: str) -> None:
    found = named(text)
    assert said(found.facts) == (None, None, None)
    assert any(words in note for note in found.notes), found.notes
    answer = as_json("--image", text, *NODE)
    assert answer["verdict"] == "Unknown"
    assert answer["image"]["values"] == []


def test_a_major_version_of_cudnn_is_no_version() -> None:
    assert named("pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime").facts.torch.cudnn is None
    assert (
        named("mcr.microsoft.com/azureml/openmpi4.1.0-cuda11.8-cudnn8.9.2-ubuntu22.04:1").facts.torch.cudnn
        == 8902
    )


@pytest.mark.parametrize(
    ("text", "name", "tag"),
    [
        ("ubuntu", "docker.io/library/ubuntu", ""),
        ("localhost:5000/a/b:1", "localhost:5000/a/b", "1"),
        ("index.docker.io/pytorch/pytorch:2", "docker.io/pytorch/pytorch", "2"),
        ("[::1]:5000/a:b", "[::1]:5000/a", "b"),
        ("NVCR.io/nvidia/pytorch:25.10-py3", "nvcr.io/nvidia/pytorch", "25.10-py3"),
    ],
)
def test_references_are_read_as_docker_reads_them(text: str, name: str, tag: str) -> None:
    found = parse_reference(text)
    assert found is not None
    assert (found.name, found.tag) == (name, tag)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "@",
        "a b",
        "A/b:1",
        "a:b:c",
        "a/../b",
        "a//b",
        "x" * 600,
        "a@sha256:12",
        "a:\n",
        "é",
        "a/b:-x",
    ],
)
def test_what_is_no_reference_is_refused_in_one_line(text: str) -> None:
    assert parse_reference(text) is None
    found = explain("--image", text)
    assert found.exit_code == 2
    assert "is no image; write registry/name:tag" in found.stderr
    assert len(found.stderr.splitlines()) == 1


def test_an_environment_is_judged_by_its_image(tmp_path: Path) -> None:
    path = tmp_path / "environment.yaml"
    path.write_text(
        "apiVersion: gpuenv.dev/v1alpha1\nkind: GPUEnvironment\nmetadata: {name: a}\n"
        "spec: {image: 'pytorch/pytorch:2.9.1-cuda13.0-cudnn9-runtime'}\n"
    )
    answer = as_json("-f", str(path), *NODE)
    assert (answer["verdict"], answer["facts"]["pytorch"]) == ("Incompatible", "2.9.1")
    # What is said about the build in words of its own counts instead.
    assert as_json("-f", str(path), "--torch", "2.9.1+cu128", *NODE)["verdict"] == "Compatible"


def test_several_images_are_compared_over_a_fleet() -> None:
    images = ("pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime", "nvcr.io/nvidia/pytorch:25.10-py3")
    found = explain(
        *(part for one in images for part in ("--image", one)), "--nodes", "-", "-o", "json", text=CSV
    )
    answers = json.loads(found.stdout)["results"]
    assert {one["name"] for one in answers} == {f"{node} {image}" for node in "ab" for image in images}
    assert {one["image"]["reference"] for one in answers} == set(images)


def test_the_header_says_how_each_value_is_known() -> None:
    found = explain("--image", "vllm/vllm-openai:v0.11.1", *NODE).stdout
    assert "PyTorch, CUDA and Python inferred from its name; cuDNN not known" in found


def test_options_complete_what_the_name_does_not_say() -> None:
    image = ("--image", "gcr.io/deeplearning-platform-release/pytorch-gpu.2-4")
    assert as_json(*image, *NODE)["verdict"] == "Unknown"
    answer = as_json(*image, "--cuda", "12.4", *NODE)
    assert answer["verdict"] == "Compatible"
    assert {"value": "cuda", "origin": "given", "where": "--cuda"} in answer["image"]["values"]
    assert "PyTorch inferred from its name; CUDA given;" in explain(*image, "--cuda", "12.4", *NODE).stdout


def test_an_option_takes_precedence_over_the_name() -> None:
    answer = as_json("--image", "pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime", "--cuda", "12.6", *NODE)
    assert answer["facts"]["cuda"] == "12.6"
    assert [one["origin"] for one in answer["image"]["values"] if one["value"] == "cuda"] == ["given"]


def test_an_image_and_a_version_of_pytorch_exclude_each_other() -> None:
    found = explain("--image", "pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime", "--torch", "2.9.1")
    assert found.exit_code == 2
    assert "--image and --torch exclude each other" in found.stderr


def test_builds_for_other_gpus_have_no_cuda() -> None:
    answer = as_json("--image", "rocm/vllm:rocm6.4.1_vllm_0.9.1_20250715", *NODE)
    assert answer["verdict"] == "Incompatible"


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("pytorch/pytorch:2.9.1-cuda12.1-cudnn9-runtime", "NoSuchBuild"),
        ("pytorch/pytorch:2.9.7-cuda12.8-cudnn9-runtime", "NoSuchBuild"),
        ("pytorch/pytorch:2.99.0-cuda13.0-cudnn9-runtime", "TorchNotInTables"),
        ("lmsysorg/sglang:v0.5.3-cu130", "NoSuchBuild"),
    ],
)
def test_a_tag_that_names_no_released_build_is_doubted(image: str, reason: str) -> None:
    answer = as_json("--image", image, "--driver", "580.65.06", "--gpu", "NVIDIA L4")
    assert (answer["verdict"], answer["reasons"][0]["code"]) == ("Unknown", reason)


def test_a_dump_of_the_image_shows_that_the_build_exists() -> None:
    dump = plain({"torch": "2.9.1", "cuda": "12.1", "driver": "580.65.06", "gpus": ["NVIDIA L4"]})
    image = "pytorch/pytorch:2.9.1-cuda12.1-cudnn9-runtime"
    assert as_json("--image", image, "--collect-env", "-", text=dump)["verdict"] == "Compatible"


@pytest.mark.parametrize(
    "text",
    [
        "a" * 250 + "!",
        "a-" * 200 + "!",
        "a_" * 200 + "!",
        "a." * 200 + "!",
        "a" + "-" * 400 + "!",
        "a__" * 150 + "!",
        "a/" * 250,
    ],
)
def test_hostile_names_are_refused_at_once(text: str) -> None:
    assert parse_reference(f"{text}:1") is None


@pytest.mark.parametrize(
    "tag", ["1-" * 63, "cu" * 64, "-cu128" * 20, "1." * 63, "a-gpu-py3-cu1" * 9, "v1-" * 40]
)
def test_hostile_tags_are_matched_at_once(tag: str) -> None:
    for row in K.images.rows:
        for text in row.tags:
            pattern(text).fullmatch(tag)
        for name in row.names:
            pattern(name).fullmatch(name.replace("*", "x-" * 60).replace("{any}", "-cu" * 40))
