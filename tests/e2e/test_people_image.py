"""The image for people, built from probe_image/Dockerfile on a local base: Jupyter, SSH, Python, the probe."""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import buildah
from tests.support.buildah import Buildah, BuildError, requirements, wheels
from tests.support.images import File, file_layer
from tests.support.probes import ONE_THREAD
from tests.support.rootfs import LayerError
from tests.support.torch_image import SITE_PACKAGES
from tests.support.wait import finished, wait_until

from gpuenv_sandbox.control_plane.ports import free_ports
from gpuenv_sandbox.programs.catalogue import BinaryError

pytestmark = pytest.mark.e2e

IMAGE = "localhost/people:test"
ENTRYPOINT = ("tini", "--", "gpuenv-entrypoint")
TOKEN = "a-token-of-the-test"
TORCH = "/opt/torch"


@pytest.fixture(scope="module")
def images(torch_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    if reason := buildah.why_not():
        pytest.skip(reason)
    try:
        base = buildah.local_base()
    except (LayerError, BinaryError) as error:
        pytest.skip(str(error))
    with buildah.store() as store:
        # What the official base has in it, as far as it can be had without a registry.
        store.mount(torch_wheel, TORCH)
        file = tmp_path_factory.mktemp("layers") / "torch.tar"
        torch = file_layer(file, {f"{SITE_PACKAGES}/torch.pth": File(f"{TORCH}\n".encode())})
        base = replace(base, layers=(*base.layers, torch))
        arguments = {"BASE_IMAGE": store.base("localhost/base:1", base)}
        packages = wheels(requirements("probe_image/requirements.txt"))
        store.build("probe_image/Dockerfile", IMAGE, arguments, packages)
        yield store


def test_the_image_is_what_it_says(images: Buildah) -> None:
    config = images.config(IMAGE)
    assert config["User"] == "1000"
    assert config["Entrypoint"] == [*ENTRYPOINT]
    assert config["Cmd"] == ["jupyter"]
    assert set(config["ExposedPorts"]) == {"8888/tcp", "2222/tcp"} or set(config["ExposedPorts"]) == {
        "8888",
        "2222",
    }
    assert set(config["Volumes"]) == {"/workspace"}


def test_it_runs_as_a_user_who_may_write_the_workspace(images: Buildah) -> None:
    program = "import os; open('/workspace/x', 'w'); print(os.getuid())"
    assert images.run(IMAGE, *ENTRYPOINT, "python3", "-c", program).strip() == "1000"


def test_a_new_volume_for_the_ssh_host_key_belongs_to_the_user(images: Buildah) -> None:
    """A volume takes the owner and the mode of the directory that it is mounted over."""
    shown = images.run(IMAGE, "stat", "-c", "%u %a", "/home/gpuenv/.ssh-host")
    assert shown.strip() == "1000 700"


def test_a_c_compiler_finds_pythons_headers(images: Buildah) -> None:
    """What torch.compile does: https://github.com/pytorch/pytorch/issues/116696."""
    script = (
        "echo '#include <Python.h>' > /tmp/x.c && gcc -c -o /tmp/x.o "
        "-I$(python3 -c 'import sysconfig; print(sysconfig.get_path(\"include\"))') /tmp/x.c && echo compiled"
    )
    assert images.run(IMAGE, "sh", "-c", script).strip() == "compiled"


@pytest.mark.parametrize("python", ["python3", "/opt/jupyter/bin/python"])
def test_its_pythons_have_the_real_pytorch(images: Buildah, python: str) -> None:
    program = "import torch; print(torch.__version__, torch.ones(2, 2).mm(torch.ones(2, 2)).sum().item())"
    assert images.run(IMAGE, *ENTRYPOINT, python, "-c", program).strip() == "2.9.1+cu128 8.0"


def test_the_probe_runs(images: Buildah) -> None:
    script = f"{' '.join(ENTRYPOINT)} probe --out /tmp/report.json > /dev/null; cat /tmp/report.json"
    facts = json.loads(images.run(IMAGE, "sh", "-c", script))["facts"]
    assert facts["torch"].get("version") == "2.9.1+cu128", facts
    assert facts["container"]["uid"] == 1000


def test_torch_compile_works(images: Buildah) -> None:
    """On the CPU, which asks for a C++ compiler; Triton's launchers for a GPU are C."""
    program = (
        "import torch; f = torch.compile(lambda x: (x * 2 + 1).relu().sum()); "
        "print(f(torch.ones(1000)).item(), torch._dynamo.utils.counters['stats']['unique_graphs'])"
    )
    variables = [f"{name}={value}" for name, value in ONE_THREAD.items()]
    assert images.run(IMAGE, "env", *variables, *ENTRYPOINT, "python3", "-c", program).strip() == "3000.0 1"


def test_jupyter_asks_for_its_token(images: Buildah) -> None:
    port = str(*free_ports(1))
    env = {"JUPYTER_PORT": port, "JUPYTER_TOKEN": TOKEN}
    with images.running(IMAGE, *ENTRYPOINT, "jupyter", env=env) as log:
        api = f"http://127.0.0.1:{port}/api/contents"
        wait_until(lambda: status(api) is not None, log.read_text)
        assert status(api) == 403
        assert status(f"{api}?token=wrong") == 403
        assert status(f"{api}?token={TOKEN}") == 200


def status(url: str) -> int | None:
    """The HTTP status; None while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


@pytest.mark.parametrize(
    ("env", "arguments", "words"),
    [
        ({"JUPYTER_TOKEN": ""}, ("jupyter",), "JUPYTER_TOKEN is empty"),
        ({}, ("jupyter", "--IdentityProvider.token="), "would let everybody in"),
        ({}, ("jupyter", "--ServerApp.token=''"), "would let everybody in"),
        ({}, ("jupyter", "--IdentityProvider.token", ""), "could let everybody in"),
        ({"JUPYTER_TOKEN_FILE": "/dev/null"}, ("jupyter",), "holds no token"),
        ({}, ("ssh",), "nobody could log in"),
    ],
)
def test_a_door_without_a_lock_is_refused(
    images: Buildah, env: dict[str, str], arguments: tuple[str, ...], words: str
) -> None:
    with pytest.raises(BuildError, match=words):
        images.run(IMAGE, "env", *(f"{key}={value}" for key, value in env.items()), *ENTRYPOINT, *arguments)


@pytest.fixture(scope="module")
def ssh(images: Buildah, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A running server: its port, and a directory with the key it knows and one it does not know."""
    directory = tmp_path_factory.mktemp("keys")
    for name in ("known", "unknown"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
    port = str(*free_ports(1))
    env = {
        "SSH_PORT": port,
        "SSH_AUTHORIZED_KEYS": (directory / "known.pub").read_text().strip(),
        "CUDA_TEST": "a b",
    }
    with images.running(IMAGE, *ENTRYPOINT, "ssh", env=env) as log:
        wait_until(lambda: "Server listening" in log.read_text(), log.read_text)
        yield port, directory


def login(
    port: str, *flags: str, user: str = "gpuenv", command: str = "id -u"
) -> subprocess.CompletedProcess[str]:
    options = [
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "BatchMode=yes",
        "IdentitiesOnly=yes",
    ]
    given = [flag for option in options for flag in ("-o", option)]
    program = ["ssh", "-F", "/dev/null", *given, *flags, "-p", port, f"{user}@127.0.0.1", command]
    return finished(program, stdin=subprocess.DEVNULL)


def test_ssh_lets_the_key_in(ssh: tuple[str, Path]) -> None:
    port, directory = ssh
    result = login(
        port, "-i", str(directory / "known"), command='id -u; echo "$CUDA_TEST"; command -v python3'
    )
    assert result.stdout.splitlines()[:2] == ["1000", "a b"], result.stderr
    assert result.stdout.splitlines()[2].endswith("python3")


@pytest.mark.parametrize("user", ["gpuenv", "root", "nobody"])
def test_ssh_lets_nobody_else_in(ssh: tuple[str, Path], user: str) -> None:
    port, directory = ssh
    key = directory / ("unknown" if user == "gpuenv" else "known")
    result = login(port, "-i", str(key), user=user)
    assert result.returncode == 255
    assert "Permission denied (publickey)" in result.stderr
    without = login(
        port, "-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password,none", user=user
    )
    assert without.returncode == 255
    assert "Permission denied (publickey)" in without.stderr
