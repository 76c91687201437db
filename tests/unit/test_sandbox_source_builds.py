"""Programs that are built from source: what Go is asked for, and what is left when it ends."""

import re
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.support.bare_machine import bare_machine
from tests.support.wait import wait_until

from gpuenv_sandbox.programs import binaries, cache, go_toolchain, source_builds
from gpuenv_sandbox.programs.catalogue import COMPONENTS, BinaryError
from gpuenv_sandbox.programs.source_builds import SourceBuilds

ETCD, KUBERNETES, CONTAINERD, HELM = COMPONENTS


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing: empty PATH, empty cache, no assets."""
    return bare_machine(tmp_path, monkeypatch)


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
