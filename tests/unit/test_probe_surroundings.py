"""What the probe says of the container around it: variables, places, device nodes, notes."""

import errno
import os
from pathlib import Path

import pytest

from gpuenv_probe import failures
from gpuenv_probe.facts import container, driver_facts, insecure_settings


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA_API_KEY",
        "NVIDIA_TOKEN",
        "CUDA_SECRET_SAUCE",
        "TORCH_HUB_AUTH",
        "NCCL_PASSWORD",
        "NVIDIA_CREDENTIALS",
    ],
)
def test_values_behind_secret_names_are_not_read(name: str) -> None:
    assert container.visible_environment({name: "s3cret"}) == {name: "(not read)"}


def test_what_steers_cuda_is_shown_and_nothing_else() -> None:
    env = {
        "NVIDIA_VISIBLE_DEVICES": "all",
        "CUDA_VISIBLE_DEVICES": "",
        "LD_LIBRARY_PATH": "/usr/local/nvidia/lib64",
        "AWS_SECRET_ACCESS_KEY": "s3cret",
        "HOME": "/root",
        "TORCH_HOME": "https://bob:hunter2@example.com/x",
        "NVIDIA_REQUIRE_CUDA": "x" * 1000,
    }
    shown = container.visible_environment(env)
    assert set(shown) == set(env) - {"AWS_SECRET_ACCESS_KEY", "HOME"}
    assert shown["CUDA_VISIBLE_DEVICES"] == "", "empty is a value: it hides every GPU"
    assert "hunter2" not in shown["TORCH_HOME"]
    assert len(shown["NVIDIA_REQUIRE_CUDA"]) == 300


def test_so_many_variables_are_cut() -> None:
    assert len(container.visible_environment({f"NCCL_{number}": "1" for number in range(500)})) <= 64


def test_places_that_can_be_written_to(tmp_path: Path) -> None:
    assert str(tmp_path) in container.writable_directories({"HOME": str(tmp_path)})
    assert "/proc/1" not in container.writable_directories({"HOME": "/proc/1"})


def test_compiler_is_the_one_triton_would_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert container.compiler({}) is None
    for name in ("cc", "clang"):
        (tmp_path / name).write_text("#!/bin/sh\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    assert container.compiler({}) == str(tmp_path / "clang")
    assert container.compiler({"CC": "no-such-compiler"}) is None


def test_device_nodes_with_the_errno_of_opening_them(tmp_path: Path) -> None:
    for name in ("nvidiactl", "nvidia0", "nvidia10", "nvidia2", "nvidia-uvm-tools", "null"):
        (tmp_path / name).touch()
    (tmp_path / "nvidia-caps").mkdir()
    rows = {Path(row["path"]).name: row["errno"] for row in driver_facts.device_nodes(str(tmp_path))}
    assert list(rows) == [
        "nvidiactl", "nvidia-uvm", "nvidia0", "nvidia2", "nvidia10", "nvidia-uvm-tools",
    ]  # fmt: skip
    assert rows["nvidia-uvm"] == errno.ENOENT
    assert rows["nvidia0"] == 0


def test_a_refused_device_node(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        (tmp_path / "nvidia0").symlink_to("/proc/1/mem/no")  # root may open anything: a path that is none
        expected = errno.ENOTDIR
    else:
        (tmp_path / "nvidia0").touch(mode=0)
        expected = errno.EACCES
    rows = {Path(row["path"]).name: row["errno"] for row in driver_facts.device_nodes(str(tmp_path))}
    assert rows["nvidia0"] == expected


def test_wsl_has_a_device_node_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "dxg").touch()
    assert [row["path"] for row in driver_facts.device_nodes(str(tmp_path))] == [str(tmp_path / "dxg")]


@pytest.mark.parametrize(
    ("path", "origin"),
    [
        (None, None),
        ("/usr/local/cuda/lib64/stubs/libcuda.so.1", "stub"),
        ("/usr/local/cuda-12.8/compat/libcuda.so.570.86.10", "compat"),
        ("/usr/local/cuda/compat.real/lib/libcuda.so.1", "compat"),
        ("/usr/local/nvidia/lib64/libcuda.so.535.183.01", "gke"),
        ("/usr/lib/wsl/drivers/nv_dispi.inf_amd64/libcuda.so.1.1", "wsl"),
    ],
)
def test_where_a_libcuda_comes_from(path: str | None, origin: str | None) -> None:
    assert driver_facts.origin(path) == origin


def test_a_mounted_libcuda_is_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "in_container", lambda: True)
    path = "/usr/lib/x86_64-linux-gnu/libcuda.so.570.172.08"
    monkeypatch.setattr(container, "is_mount", lambda mounted: mounted == path)
    assert driver_facts.origin(path) == "host"
    assert driver_facts.origin("/usr/lib/x86_64-linux-gnu/libcuda.so.515.65.01") == "other"
    monkeypatch.setattr(container, "in_container", lambda: False)
    assert driver_facts.origin("/usr/lib64/libcuda.so.570.172.08") == "host"


@pytest.mark.parametrize(
    ("name", "text", "open_to_all"),
    [
        ("jupyter_server_config.py", "c.ServerApp.token = ''\nc.ServerApp.password = ''\n", True),
        ("jupyter_server_config.py", "c.IdentityProvider.token = ''\n", True),
        ("jupyter_notebook_config.py", 'c.NotebookApp.token = u""', True),
        ("jupyter_server_config.py", "# c.ServerApp.token = ''\n", False),
        ("jupyter_server_config.py", "c.ServerApp.token = ''\nc.ServerApp.password = 'argon2:x'\n", False),
        ("jupyter_server_config.json", '{"ServerApp": {"token": "", "password": ""}}', True),
        (
            "jupyter_server_config.json",
            '{"IdentityProvider": {"token": "", "hashed_password": "argon2:x"}}',
            False,
        ),
        ("jupyter_server_config.json", "[broken", False),
        ("jupyter_server_config.py", "", False),
    ],
)
def test_jupyter_that_asks_for_nothing(tmp_path: Path, name: str, text: str, open_to_all: bool) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    expected = ["Jupyter asks for neither token nor password"] if open_to_all else []
    assert insecure_settings.jupyter_notes([str(tmp_path)], installed=True) == expected
    assert insecure_settings.jupyter_notes([str(tmp_path)], installed=False) == []


@pytest.mark.parametrize(("token", "noted"), [(None, False), ("", True), ("s3cret", False)])
def test_an_empty_token_in_the_environment_is_noted(tmp_path: Path, token: str | None, noted: bool) -> None:
    env = {} if token is None else {"JUPYTER_TOKEN": token}
    found = insecure_settings.jupyter_notes([str(tmp_path)], installed=True, env=env)
    assert [line.split(" is ")[0] for line in found] == (["JUPYTER_TOKEN"] if noted else [])
    assert insecure_settings.jupyter_notes([str(tmp_path)], installed=False, env=env) == []


V2 = {
    "memory.max": "2147483648\n",
    "memory.current": "2000000000\n",
    "memory.stat": "anon 500000000\ninactive_file 1200000000\nactive_file 300000000\n",
    "cpu.max": "150000 100000\n",
    "pids.max": "1024\n",
}
V1 = {
    "memory/memory.limit_in_bytes": "2147483648\n",
    "memory/memory.usage_in_bytes": "2000000000\n",
    "memory/memory.stat": "inactive_file 0\ntotal_inactive_file 1200000000\n",
    "cpu/cpu.cfs_quota_us": "150000\n",
    "cpu/cpu.cfs_period_us": "100000\n",
    "pids/pids.max": "1024\n",
}
UNLIMITED = {
    "memory.max": "max\n",
    "memory.current": "2000000000\n",
    "cpu.max": "max 100000\n",
    "pids.max": "max\n",
}
UNLIMITED_V1 = {
    "memory/memory.limit_in_bytes": "9223372036854771712\n",
    "cpu/cpu.cfs_quota_us": "-1\n",
    "cpu/cpu.cfs_period_us": "100000\n",
}


def cgroup(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text, encoding="ascii")
    return str(root)


@pytest.mark.parametrize("files", [V2, V1], ids=["v2", "v1"])
def test_limits_of_the_cgroup_and_what_is_free_under_them(tmp_path: Path, files: dict[str, str]) -> None:
    root = cgroup(tmp_path, files)
    assert container.memory_limit(root) == 2**31
    assert container.spare_memory(root) == 2**31 - 800_000_000, "page cache nobody uses can be had"
    assert (container.cpu_limit(root), container.pids_limit(root)) == (1.5, 1024)


@pytest.mark.parametrize("files", [{}, UNLIMITED, UNLIMITED_V1], ids=["none", "v2", "v1"])
def test_a_cgroup_without_limits(tmp_path: Path, files: dict[str, str]) -> None:
    root = cgroup(tmp_path, files)
    found = (container.memory_limit(root), container.spare_memory(root))
    assert found == (None, None)
    assert (container.cpu_limit(root), container.pids_limit(root)) == (None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PermitEmptyPasswords yes\n", ["sshd accepts empty passwords"]),
        ("permitrootlogin yes\n", ["sshd lets root in by password"]),
        ("PermitRootLogin yes\nPasswordAuthentication no\n", []),
        ("PermitRootLogin prohibit-password\nPermitRootLogin yes\n", []),
        ("PermitRootLogin=yes # for now\n", ["sshd lets root in by password"]),
        ("Match User bob\nPermitEmptyPasswords yes\n", []),
        ("#PermitEmptyPasswords yes\n", []),
        ("", []),
    ],
)
def test_loose_sshd(tmp_path: Path, text: str, expected: list[str]) -> None:
    config = tmp_path / "sshd_config"
    config.write_text(text, encoding="utf-8")
    assert insecure_settings.sshd_notes(str(config), installed=True) == expected


def test_sshd_reads_included_files_first_come_first_served(tmp_path: Path) -> None:
    (tmp_path / "10.conf").write_text("PermitRootLogin no\n", encoding="utf-8")
    config = tmp_path / "sshd_config"
    config.write_text(f"Include {tmp_path}/*.conf\nPermitRootLogin yes\n", encoding="utf-8")
    assert insecure_settings.sshd_notes(str(config), installed=True) == []


@pytest.mark.parametrize(
    ("error", "layer", "code"),
    [
        (
            RuntimeError("Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized"),
            "cudart",
            802,
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "cudart", 2),
        (RuntimeError("The NVIDIA driver on your system is too old (found version 11040)."), "cudart", 35),
        (RuntimeError("Unexpected error from cudaGetDeviceCount(). Did you? Error 34: stub"), "cudart", 34),
        (RuntimeError("CUDA error: Error 802: system not yet initialized"), "cudart", 802),
        (RuntimeError("CUDA error 2"), "cudart", 2),
        (RuntimeError("Error 404: Not Found"), "torch", None),
        (RuntimeError("HTTP Error 404: no such file: cuda-12.8/wheel.whl"), "torch", None),
        (RuntimeError("nvcc (CUDA 12.8) failed:\nmake: *** [all] Error 2"), "torch", None),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "torch", None),
        (AssertionError("Torch not compiled with CUDA enabled"), "torch", None),
        (ImportError("libcudnn.so.9: cannot open shared object file"), "python", None),
        (PermissionError(13, "Permission denied"), "os", 13),
        (SystemExit(3), "python", None),
        (ValueError("x"), "python", None),
    ],
)
def test_failures_name_their_layer_and_number(error: BaseException, layer: str, code: int | None) -> None:
    found = failures.of_exception(error)
    assert (found["layer"], found.get("code")) == (layer, code)
    assert found["name"] == type(error).__name__


def test_torchs_advice_is_not_kept() -> None:
    text = (
        "CUDA error: an illegal memory access was encountered\n"
        "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be "
        "incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
    )
    assert failures.of_exception(RuntimeError(text))["message"] == text.splitlines()[0]


def test_a_node_that_is_refused_without_a_number_does_not_count_as_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError("refused")

    monkeypatch.setattr(os, "open", refuse)
    assert {node["errno"] for node in driver_facts.device_nodes(str(tmp_path))} == {errno.EIO}
