"""Where the sandbox takes its programs from, in which order, and what it does when that fails."""

import hashlib
import http.server
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.support.wait import wait_until

from gpuenv_sandbox.programs import binaries, cache, catalogue, go_toolchain, source_builds
from gpuenv_sandbox.programs.catalogue import COMPONENTS, BinaryError, Component
from gpuenv_sandbox.programs.downloads import Downloader, find_checksum
from gpuenv_sandbox.programs.source_builds import SourceBuilds

ETCD, KUBERNETES, CONTAINERD, HELM = COMPONENTS


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing: empty PATH, empty cache, no assets."""
    (tmp_path / "path").mkdir()
    monkeypatch.setenv("GPUENV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return tmp_path


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


def at(server: str, component: Component) -> Component:
    def local(url: str) -> str:
        return f"{server}/{url.rpartition('/')[2]}"

    return replace(component, release=local(component.release), checksum=local(component.checksum))


def test_a_release_of_single_files_is_downloaded_and_checked(places: Path, server: str) -> None:
    for name, content in (("kubectl", b"one"), ("kubelet", b"two")):
        (places / "www" / name).write_bytes(content)
        (places / "www" / f"{name}.sha256").write_text(hashlib.sha256(content).hexdigest())
    assert Downloader().obtain(at(server, KUBERNETES), ["kubectl", "kubelet"], places) is None
    assert ((places / "kubectl").read_bytes(), (places / "kubelet").read_bytes()) == (b"one", b"two")


@pytest.mark.parametrize("component", [ETCD, CONTAINERD, HELM], ids=lambda component: component.name)
def test_a_release_archive_is_downloaded_checked_and_unpacked(
    places: Path, server: str, component: Component
) -> None:
    local = at(server, component)
    name = local.release.rpartition("/")[2].format(
        version=local.version, number=local.version[1:], arch=catalogue.architecture()
    )
    programs = list(local.packages)
    with tarfile.open(places / "www" / name, "w:gz") as tar:
        for one in programs:
            tar.add(program(places / "src" / one, one), f"some-folder/{one}")
    digest = hashlib.sha256((places / "www" / name).read_bytes()).hexdigest()
    sums = local.checksum.rpartition("/")[2].format(
        version=local.version, number=local.version[1:], arch=catalogue.architecture()
    )
    (places / "www" / sums).write_text(f"{'0' * 64}  other.tar.gz\n{digest}  {name}\n")

    assert Downloader().obtain(local, programs, places) is None
    assert all((places / one).read_text().endswith(f"'{one}'\n") for one in programs)


def test_a_wrong_checksum_is_refused(places: Path, server: str) -> None:
    (places / "www/kubectl").write_bytes(b"tampered with")
    (places / "www/kubectl.sha256").write_text("0" * 64)
    reason = Downloader().obtain(at(server, KUBERNETES), ["kubectl"], places)
    assert reason is not None
    assert reason.endswith("/kubectl does not have its published checksum)")


def test_after_one_server_was_out_of_reach_no_other_is_tried(places: Path, server: str) -> None:
    downloader = Downloader()
    unreachable = at("http://127.0.0.1:1", KUBERNETES)
    assert "refused" in (downloader.obtain(unreachable, ["kubectl"], places) or "")
    assert "could not be reached before" in (downloader.obtain(at(server, HELM), ["helm"], places) or "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A" * 64, "a" * 64),
        (f"{'b' * 64} *file.tar.gz\n", "b" * 64),
        (f"{'c' * 64}  other\n", None),
        ("<html>not found</html>", None),
    ],
)
def test_checksum_files_have_several_forms(text: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match=r"no checksum for file\.tar\.gz"):
            find_checksum(text, "file.tar.gz")
    else:
        assert find_checksum(text, "file.tar.gz") == expected


# Builds


def test_the_building_module_replaces_the_staging_modules_at_their_published_version(tmp_path: Path) -> None:
    go_mod = textwrap.dedent("""
        module k8s.io/kubernetes
        go 1.26.0
        godebug default=go1.26
        replace (
        \tk8s.io/api => ./staging/src/k8s.io/api
        \tk8s.io/client-go => ./staging/src/k8s.io/client-go
        )
    """)
    packages = source_builds.write_module(KUBERNETES, ["kubectl"], go_mod, tmp_path)
    assert packages == ["k8s.io/kubernetes/cmd/kubectl"]
    assert (tmp_path / "go.mod").read_text() == textwrap.dedent("""\
        module gpuenv.dev/sandbox/kubernetes
        go 1.26.0
        godebug default=go1.26
        require k8s.io/kubernetes v1.36.3
        replace k8s.io/api => k8s.io/api v0.36.3
        replace k8s.io/client-go => k8s.io/client-go v0.36.3
    """)
    assert source_builds.write_module(ETCD, ["etcd"], "", tmp_path) == ["go.etcd.io/etcd/server/v3"]


def build(*programs: str) -> Path:
    """Builds programs from source, whether or not they can be downloaded; the path of the last one."""
    wanted = [component for component in COMPONENTS if set(programs) & set(component.packages)]
    with SourceBuilds(wanted) as builds:
        return binaries.ensure_with(programs, [builds.obtain])[programs[-1]]


FAKE_GO = """\
#!{python}
import json, os, signal, sys
from pathlib import Path
arguments = sys.argv[1:]
if arguments[:2] == ["env", "GOVERSION"]:
    print("{version}")
elif arguments[:2] == ["mod", "download"]:
    Path("upstream.mod").write_text("module m")
    print(json.dumps({{"GoMod": os.path.abspath("upstream.mod")}}))
elif arguments[0] == "list":
    print("a\\nb")
elif arguments[0] == "build":
    print("a\\nb", file=sys.stderr, flush=True)
    output = Path(arguments[arguments.index("-o") + 1])
    output.write_text("half")
    for variable in ("GOPATH", "GOMODCACHE", "GOCACHE", "GOTMPDIR"):
        place = Path(os.environ[variable])
        place.mkdir(parents=True, exist_ok=True)
        (place / output.name).write_text(variable)
    {build}
    output.write_text("built with " + os.environ["GOFLAGS"])
"""


def fake_go(places: Path, version: str = "go1.26.8", build: str = "") -> Path:
    """A stand-in for the Go command."""
    go = places / "path/go"
    go.write_text(FAKE_GO.format(python=sys.executable, version=version, build=build))
    go.chmod(0o755)
    return go


def test_a_build_ends_in_the_cache_whatever_go_flags_the_user_has(
    places: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_go(places)
    monkeypatch.setenv("GOFLAGS", "-mod=vendor")
    made = build("kubelet")
    assert made.read_text() == "built with -buildvcs=false -modcacherw"
    said = capsys.readouterr().err.splitlines()
    assert said[1] == "building kubernetes v1.36.3 (kubelet) (0:00, usually 5 min on 2 cores)"
    assert re.fullmatch(r"building kubernetes v1\.36\.3 \(kubelet\): done \(0:\d\d\)", said[-3])
    assert re.fullmatch(r"removing the intermediate files of the build: done \(0:\d\d\)", said[-1])


def test_a_failed_build_says_what_go_said(places: Path) -> None:
    fake_go(places, build="sys.exit('no space left on device')")
    with pytest.raises(
        BinaryError, match=r"no build from source \(go build ended with code 1: .*no space left"
    ):
        build("etcd")


@pytest.mark.parametrize(
    ("version", "usable"), [("go1.26.0", True), ("go1.27rc1", True), ("go1.25.9", False), ("devel", False)]
)
def test_go_on_path_must_be_recent_enough(places: Path, version: str, usable: bool) -> None:
    go = fake_go(places, version)
    assert go_toolchain.find_go() == (go if usable else None)


def test_a_killed_build_leaves_nothing_in_the_cache_and_the_next_one_starts_anew(places: Path) -> None:
    fake_go(places, build="Path('pid').write_text(str(os.getpid())); signal.pause()")
    code = (
        "from gpuenv_sandbox.programs import binaries, catalogue, source_builds\n"
        "builds = source_builds.SourceBuilds(catalogue.COMPONENTS)\n"
        "binaries.ensure_with(['etcd'], [builds.obtain])"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    cache = places / "cache/bin"
    try:
        pid = wait_until(
            lambda: [f.read_text() for f in cache.rglob("pid") if f.read_text()], "the build to begin"
        )[0]
        assert list(cache.rglob(".new-*/etcd"))
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    assert not list(cache.glob("*/etcd"))
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the Go command to die with its parent")

    fake_go(places)
    assert build("etcd").read_text().startswith("built")
    assert not list(cache.rglob(".new-*"))
    assert not (places / "cache/go-build").exists()


CACHES_OF_GO = ("GOPATH", "GOMODCACHE", "GOCACHE", "GOTMPDIR")


def test_builds_share_gos_caches_which_are_within_the_cache_and_gone_at_the_end(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever caches the user has: they are not touched."""
    for variable in CACHES_OF_GO:
        monkeypatch.setenv(variable, str(places / "home" / variable))
    seen = places / "seen"
    code = f"open({str(seen)!r}, 'a').write(' '.join(sorted(p.name for p in Path(os.environ['GOCACHE']).iterdir())) + ';')"
    fake_go(places, build=code)
    build("etcd", "ctr", "helm")
    assert seen.read_text() == "etcd;ctr etcd;ctr etcd helm;"
    assert sorted(path.name for path in (places / "cache").iterdir() if path.is_dir()) == ["bin"]
    assert not (places / "home").exists()


@pytest.mark.parametrize(
    "failure", ["sys.exit('no space left on device')", "os.kill(os.getppid(), signal.SIGINT); signal.pause()"]
)
def test_a_build_that_fails_or_is_interrupted_leaves_nothing(places: Path, failure: str) -> None:
    fake_go(places, build=failure)
    with pytest.raises((BinaryError, KeyboardInterrupt)):
        build("etcd")
    assert not [path for path in (places / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert not (places / "cache/go-build").exists()


def test_the_last_of_two_builds_removes_what_both_use(places: Path) -> None:
    shared = places / "cache/go-build"
    with cache.shared_while_used("go-build") as first:
        (first / "module").write_text("of the first")
        with cache.shared_while_used("go-build") as second:
            assert second == first == shared
        assert (shared / "module").exists()
    assert not shared.exists()


def test_what_a_build_will_take_is_said_beforehand_and_once(
    places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_go(places)
    build("etcd", "helm")
    said = [line for line in capsys.readouterr().err.splitlines() if "from source" in line]
    gigabytes = ETCD.gigabytes + HELM.gigabytes
    assert said == [
        f"building etcd, helm from source: usually {ETCD.minutes + HELM.minutes:g} min on 2 cores; "
        f"needs up to {gigabytes:.1f} GB of disk in {places}/cache/go-build while it lasts"
    ]


def test_too_little_disk_is_one_line_and_nothing_is_begun(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = fake_go(places)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000_000))
    with pytest.raises(BinaryError) as caught:
        build("kubectl")
    assert str(caught.value) == (
        f"cannot get kubectl (kubernetes v1.36.3): no build from source (needs up to {KUBERNETES.gigabytes:.1f} GB of disk in "
        f"{places}/cache while it lasts, and 0.1 GB are free: free some, or set GPUENV_CACHE to a directory on another "
        "disk). Put them on PATH or into the directory that KUBEBUILDER_ASSETS names."
    )
    assert go.exists()
    assert not (places / "cache/go-build").exists()
