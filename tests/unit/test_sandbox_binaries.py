"""Where the sandbox takes its programs from, in which order, and what it does when that fails."""

import hashlib
import http.server
import os
import re
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tests.support.bare_machine import bare_machine

from gpuenv_sandbox.programs import binaries, cache, catalogue
from gpuenv_sandbox.programs.catalogue import COMPONENTS, BinaryError, Component
from gpuenv_sandbox.programs.downloads import Downloader

ETCD, KUBERNETES, CONTAINERD, HELM = COMPONENTS


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing: empty PATH, empty cache, no assets."""
    return bare_machine(tmp_path, monkeypatch)


def program(path: Path, output: str) -> Path:
    """A stand-in that answers any question for its version with ``output``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{output}'\n")
    path.chmod(0o755)
    return path


class Source:
    """A stand-in for a download or a build, which records what it was asked for."""

    def __init__(self, refusal: str | None = None) -> None:
        self.refusal = refusal
        self.asked: list[tuple[str, list[str]]] = []

    def __call__(self, component: Component, programs: Sequence[str], target: Path) -> str | None:
        self.asked.append((component.name, list(programs)))
        for name in programs:
            (target / name).write_text("made" if self.refusal is None else "half")
        return self.refusal


def test_the_order_is_assets_then_path_then_cache_then_sources(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source()
    made = binaries.ensure_with(["etcd"], [source])["etcd"]
    assert made == places / f"cache/bin/etcd-v3.6.16-linux-{catalogue.architecture()}/etcd"
    assert made.read_text() == "made"
    assert os.access(made, os.X_OK)
    assert binaries.ensure_with(["etcd"], [source])["etcd"] == made
    assert source.asked == [("etcd", ["etcd"])]

    on_path = program(places / "path/etcd", "etcd Version: 3.6.1")
    assert binaries.find("etcd") == on_path

    asset = program(places / "assets/etcd", "etcd Version: 3.6.2")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(asset.parent))
    assert binaries.find("etcd") == asset


@pytest.mark.parametrize(
    ("name", "output", "usable"),
    [
        ("kube-apiserver", "Kubernetes v1.36.0", True),
        ("kube-apiserver", "Kubernetes v1.36.7-gke.100", True),
        ("kube-apiserver", "Kubernetes v1.35.4", False),
        ("kube-apiserver", "Kubernetes v1.37.0", False),
        ("kubectl", "Client Version: v1.32.4-dispatcher", False),
        ("kubectl", "Client Version: v1.36.1\nKustomize Version: v5.8.1", True),
        ("kubelet", "no version here", False),
        ("etcd", "etcd Version: 3.5.21\nGit SHA: 1.36.3", True),
        ("etcd", "etcd Version: 3.4.30", False),
        ("containerd", "containerd github.com/containerd/containerd/v2 v2.1.5 abc", True),
        ("containerd", "containerd containerd.io 1.7.24 88bf19b", False),
        ("helm", "v3.18.0+gcc58e3f", True),
    ],
)
def test_a_program_on_path_must_be_of_a_version_that_does(
    places: Path, name: str, output: str, usable: bool
) -> None:
    path = program(places / "path" / name, output)
    assert binaries.find(name) == (path if usable else None)


def test_a_program_that_fails_or_is_not_executable_is_not_usable(places: Path) -> None:
    program(places / "path/etcd", "etcd Version: 3.6.1").write_text("#!/nowhere/interpreter\n")
    assert binaries.find("etcd") is None


def test_an_asset_that_is_not_used_is_mentioned(
    places: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asset = program(places / "assets/kube-apiserver", "Kubernetes v1.34.0")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(asset.parent))
    assert binaries.find("kube-apiserver") is None
    assert capsys.readouterr().err == f"{asset} is not used: not kubernetes v1.36\n"


def test_only_what_is_missing_is_made_and_by_the_first_source_that_can(places: Path) -> None:
    found = program(places / "path/kubectl", "Client Version: v1.36.3")
    download, build = Source("no network"), Source()
    paths = binaries.ensure_with(["kubectl", "etcd", "kube-apiserver", "kubelet"], [download, build])

    assert paths["kubectl"] == found
    assert (
        download.asked == build.asked == [("etcd", ["etcd"]), ("kubernetes", ["kube-apiserver", "kubelet"])]
    )
    assert paths["kubelet"].read_text() == "made"


def test_when_all_sources_fail_the_error_has_all_reasons_and_the_cache_nothing(places: Path) -> None:
    with pytest.raises(BinaryError) as caught:
        binaries.ensure_with(["helm"], [Source("no network"), Source("no Go")])
    assert str(caught.value) == (
        "cannot get helm (helm v3.21.4): no network; no Go. "
        "Put them on PATH or into the directory that KUBEBUILDER_ASSETS names."
    )
    assert not [path for path in (places / "cache/bin").rglob("*") if path.is_file()]


def test_a_cache_that_cannot_be_written_is_one_line(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (places / "file").write_text("")
    monkeypatch.setenv("GPUENV_CACHE", str(places / "file/cache"))
    with pytest.raises(BinaryError, match=r"cannot write to the cache .*/file/cache: .*; set GPUENV_CACHE"):
        binaries.ensure_with(["helm"], [Source()])


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"GPUENV_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"GPUENV_CACHE": "", "XDG_CACHE_HOME": "/b"}, "/b/gpuenv"),
        ({"GPUENV_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/c"}, "/c/.cache/gpuenv"),
    ],
)
def test_the_cache_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache.cache_root() == Path(expected)


def test_two_runs_do_not_build_at_once_and_the_second_uses_what_the_first_made() -> None:
    entered, release = threading.Event(), threading.Event()
    slow, second = Source(), Source()

    def build_slowly(component: Component, programs: Sequence[str], target: Path) -> str | None:
        entered.set()
        assert release.wait(10)
        return slow(component, programs, target)

    threads = [threading.Thread(target=binaries.ensure_with, args=(["etcd"], [build_slowly]))]
    threads[0].start()
    assert entered.wait(10)
    threads.append(threading.Thread(target=binaries.ensure_with, args=(["etcd"], [second])))
    threads[1].start()
    release.set()
    for thread in threads:
        thread.join(10)
    assert slow.asked == [("etcd", ["etcd"])]
    assert second.asked == []


# Releases


@pytest.fixture
def server(places: Path) -> Iterator[str]:
    """A stand-in release server on loopback; serves the directory ``www``."""
    (places / "www").mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(places / "www"))  # type: ignore[arg-type]  # passed on

        def log_message(self, format: str, *args: object) -> None:
            """Not interesting."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def at(server: str, component: Component, files: Mapping[str, bytes] | None = None) -> Component:
    """Return the component with its releases on the stand-in server, and the checksums of ``files`` in the catalogue."""
    sums = {
        f"{catalogue.architecture()}/{name}": hashlib.sha256(content).hexdigest()
        for name, content in (files or {}).items()
    }
    return replace(
        component,
        release=f"{server}/{component.release.rpartition('/')[2]}",
        checksums=component.checksums | sums,
    )


def test_a_release_of_single_files_is_downloaded_and_checked(places: Path, server: str) -> None:
    files = {"kubectl": b"one", "kubelet": b"two"}
    for name, content in files.items():
        (places / "www" / name).write_bytes(content)
    assert Downloader().obtain(at(server, KUBERNETES, files), ["kubectl", "kubelet"], places) is None
    assert ((places / "kubectl").read_bytes(), (places / "kubelet").read_bytes()) == (b"one", b"two")


@pytest.mark.parametrize("component", [ETCD, CONTAINERD, HELM], ids=lambda component: component.name)
def test_a_release_archive_is_downloaded_checked_and_unpacked(
    places: Path, server: str, component: Component
) -> None:
    name = component.release.rpartition("/")[2].format(
        version=component.version, number=component.version[1:], arch=catalogue.architecture()
    )
    archive, programs = places / "www" / name, list(component.packages)
    with tarfile.open(archive, "w:gz") as tar:
        for one in programs:
            tar.add(program(places / "src" / one, one), f"some-folder/{one}")

    local = at(server, component, {name: archive.read_bytes()})
    assert Downloader().obtain(local, programs, places) is None
    assert all((places / one).read_text().endswith(f"'{one}'\n") for one in programs)


def test_a_file_with_another_checksum_than_the_catalogue_is_refused(places: Path, server: str) -> None:
    """A server that was broken into also publishes a checksum that fits, so that one does not count."""
    (places / "www/kubectl").write_bytes(b"tampered with")
    (places / "www/kubectl.sha256").write_text(hashlib.sha256(b"tampered with").hexdigest())
    reason = Downloader().obtain(at(server, KUBERNETES), ["kubectl"], places)
    assert reason is not None
    assert reason.endswith("/kubectl does not have the checksum of the catalogue)")


def test_a_file_without_a_checksum_in_the_catalogue_is_not_downloaded(places: Path, server: str) -> None:
    (places / "www/kube-apiserver").write_bytes(b"something")
    reason = Downloader().obtain(at(server, replace(KUBERNETES, checksums={})), ["kube-apiserver"], places)
    assert reason == "no download of the official release (the catalogue has no checksum of kube-apiserver)"
    assert not (places / "kube-apiserver").exists()


@pytest.mark.parametrize("component", catalogue.COMPONENTS, ids=lambda component: component.name)
def test_every_checksum_belongs_to_a_file_of_the_release(component: Component) -> None:
    """A checksum of an earlier version would otherwise stay behind, and nothing would be downloaded any more."""
    names = {
        f"{arch}/"
        + component.release.rpartition("/")[2].format(
            version=component.version, number=component.version[1:], arch=arch, program=one
        )
        for arch in ("amd64", "arm64")
        for one in component.packages
    }
    assert set(component.checksums) <= names
    assert all(re.fullmatch("[0-9a-f]{64}", checksum) for checksum in component.checksums.values())


def test_after_one_server_was_out_of_reach_no_other_is_tried(places: Path, server: str) -> None:
    downloader = Downloader()
    unreachable = at("http://127.0.0.1:1", KUBERNETES)
    assert "refused" in (downloader.obtain(unreachable, ["kubectl"], places) or "")
    assert "could not be reached before" in (downloader.obtain(at(server, HELM), ["helm"], places) or "")


def test_the_oldest_kubernetes_is_that_of_the_chart() -> None:
    chart = yaml.safe_load((Path(__file__).parents[2] / "helm/gpuenv/Chart.yaml").read_text(encoding="utf-8"))
    oldest = catalogue.OLDEST_KUBERNETES[-1]
    assert chart["kubeVersion"] == f">={oldest.version.removeprefix('v')}-0"
    assert set(oldest.packages) == {"kube-apiserver", *catalogue.CONTROLLERS}


def test_a_later_component_replaces_the_programs_of_an_earlier_one() -> None:
    """The oldest control plane is never taken for the usual one, nor the other way round."""
    for component in (KUBERNETES, catalogue.OLDEST_KUBERNETES[-1]):
        program = binaries.cache_directory(component) / "kube-apiserver"
        program.parent.mkdir(parents=True)
        program.touch()
    assert binaries.find("kube-apiserver") == binaries.cache_directory(KUBERNETES) / "kube-apiserver"
    found = binaries.find("kube-apiserver", catalogue.OLDEST_KUBERNETES)
    assert found == binaries.cache_directory(catalogue.OLDEST_KUBERNETES[-1]) / "kube-apiserver"
