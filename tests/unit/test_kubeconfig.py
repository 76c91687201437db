"""Which cluster is used: kubectl's order of kubeconfigs, lists of files, and contexts."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from kubernetes.aio.config import incluster_config

from gpuenv.cli import main
from gpuenv.controller import run
from gpuenv.controller.kube.configuration import load_configuration
from gpuenv.controller.kube.kubeconfig import KubeconfigError, read_merged
from gpuenv.controller.options import Options

POD = "https://10.0.0.1:443"


def config(*names: str, current: str | None = None, server: str = "http://{}") -> dict[str, Any]:
    """A kubeconfig with a context, a cluster and a user for each name."""
    return {
        "clusters": [{"name": name, "cluster": {"server": server.format(name)}} for name in names],
        "users": [{"name": name, "user": {"token": f"token-of-{name}"}} for name in names],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}} for name in names],
    } | ({"current-context": current} if current is not None else {})


def written(path: Path, content: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory, outside any pod."""
    found = tmp_path / "home"
    found.mkdir()
    monkeypatch.setenv("HOME", str(found))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    return found


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a pod's service account, and the variables that the kubelet sets in a pod."""
    account = tmp_path / "serviceaccount"
    monkeypatch.setattr(
        incluster_config, "SERVICE_TOKEN_FILENAME", written(account / "token", "token-of-pod")
    )
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", written(account / "ca.crt", "certificate"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    return account


async def host(kubeconfig: str | None = None, context: str | None = None, *, pod_first: bool = False) -> str:
    return str((await load_configuration(kubeconfig, context, pod_first=pod_first)).host)


async def refused(kubeconfig: str | None = None, context: str | None = None) -> str:
    with pytest.raises(KubeconfigError) as caught:
        await load_configuration(kubeconfig, context)
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_the_order_is_that_of_kubectl_and_the_pod_comes_last(
    pod: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await host() == POD
    written(home / ".kube/config", config("home", current="home"))
    assert await host() == "http://home"
    monkeypatch.setenv("KUBECONFIG", written(tmp_path / "variable", config("variable", current="variable")))
    assert await host() == "http://variable"
    option = written(tmp_path / "option", config("option", current="option"))
    assert await host(option) == "http://option"


class Cluster(ThreadingHTTPServer):
    """An API server that refuses every request and keeps the paths."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), Refusing)


class Refusing(BaseHTTPRequestHandler):
    def refuse(self) -> None:
        assert isinstance(self.server, Cluster)
        self.server.asked.append(self.path)
        self.send_error(403)

    do_GET = do_POST = do_PATCH = do_DELETE = refuse  # noqa: N815 - the names that the base class calls

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def clusters() -> Iterator[tuple[Cluster, Cluster]]:
    """The cluster that somebody means, and the one in which the CI pod runs."""
    both = Cluster(), Cluster()
    for one in both:
        threading.Thread(target=one.serve_forever, daemon=True).start()
    yield both
    for one in both:
        one.shutdown()
        one.server_close()


def test_an_uninstall_in_a_ci_pod_acts_on_the_cluster_of_the_kubeconfig(
    pod: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clusters: tuple[Cluster, Cluster]
) -> None:
    meant, own = clusters
    # The library speaks HTTPS with the cluster of the pod; here it is made to speak HTTP, so that every request is seen.
    monkeypatch.setattr(incluster_config, "_join_host_port", lambda *_: "ignored")
    monkeypatch.setattr(
        incluster_config.InClusterConfigLoader,
        "_set_config",
        lambda loader, configuration: setattr(configuration, "host", f"http://127.0.0.1:{own.server_port}"),
    )
    server = f"http://127.0.0.1:{meant.server_port}"
    path = written(tmp_path / "ci", config("ci", current="ci", server=server))
    monkeypatch.setenv("KUBECONFIG", path)
    result = CliRunner().invoke(main, ["uninstall"])
    assert result.exit_code == 1, result.output
    assert "403" in result.stderr
    assert meant.asked
    assert not own.asked
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "misspelt"))
    result = CliRunner().invoke(main, ["uninstall"])
    assert result.stderr == (
        f"gpuenv uninstall: no kubeconfig at {tmp_path / 'misspelt'}; give one with --kubeconfig or $KUBECONFIG\n"
    )
    assert not own.asked
    monkeypatch.delenv("KUBECONFIG")
    assert CliRunner().invoke(main, ["uninstall"]).exit_code == 1
    assert own.asked, "without any kubeconfig, as in the chart's hook, the pod's own cluster is meant"


async def test_the_operator_in_its_deployment_uses_its_service_account(
    pod: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await host(pod_first=True) == POD
    written(home / ".kube/config", config("home", current="home"))
    assert await host(pod_first=True) == POD
    assert await host(pod_first=True, context="home") == "http://home"
    monkeypatch.setenv("KUBECONFIG", written(tmp_path / "variable", config("variable", current="variable")))
    assert await host(pod_first=True) == "http://variable"
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    assert await host(pod_first=True) == "http://home"


async def test_the_operator_asks_for_the_order_of_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    async def connect(*arguments: Any, pod_first: bool = False, **_: Any) -> None:
        asked.append((*arguments, pod_first))
        raise KubeconfigError("nothing there")

    monkeypatch.setattr(run.Kube, "from_environment", connect)
    with pytest.raises(KubeconfigError):
        await run.operate(Options(kubeconfig="k", context="c"))
    assert asked == [("k", "c", True)]


async def test_an_empty_file_at_home_counts_as_none(pod: Path, home: Path) -> None:
    for content in ("", "apiVersion: v1\nclusters: null\ncontexts: []\nusers: null\n"):
        written(home / ".kube/config", content)
        assert await host() == POD


@pytest.mark.parametrize("content", ["", "apiVersion: v1\n", "clusters: []\n"])
async def test_an_empty_file_that_is_named_is_an_error(
    pod: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    path = written(tmp_path / "empty", content)
    assert f"kubeconfig {path} has no contexts" in await refused(path)
    monkeypatch.setenv("KUBECONFIG", path)
    assert f"kubeconfig {path} has no contexts" in await refused()


async def test_a_list_of_files_is_merged_and_the_first_one_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = written(tmp_path / "first", config("shared", "a", server="http://first-{}"))
    second = written(tmp_path / "second", config("shared", "b", current="b", server="http://second-{}"))
    third = written(tmp_path / "third", config("c", current="c"))
    empty = written(tmp_path / "empty", "")
    monkeypatch.setenv("KUBECONFIG", ":".join((first, "", str(tmp_path / "nowhere"), empty, second, third)))
    assert await host() == "http://second-b"
    assert await host(context="shared") == "http://first-shared"
    assert await host(context="a") == "http://first-a"
    assert await host(context="c") == "http://c"
    configuration = await load_configuration(None, "a")
    assert configuration.api_key == {"BearerToken": "Bearer token-of-a"}
    assert f"no kubeconfig at {first}:{second}" in await refused(f"{first}:{second}"), (
        "a path, and not a list"
    )


async def test_relative_paths_start_at_their_own_file(tmp_path: Path) -> None:
    entry = config("a") | {
        "users": [{"name": "a", "user": {"tokenFile": "t", "exec": {"command": "./login"}}}],
        "clusters": [{"name": "a", "cluster": {"server": "https://a", "certificate-authority": "../ca"}}],
    }
    plain = config("b") | {
        "users": [{"name": "b", "user": {"client-key": "/abs/key", "exec": {"command": "aws"}}}]
    }
    found = read_merged([Path(written(tmp_path / "x/k", entry)), Path(written(tmp_path / "y/k", plain))])
    assert found is not None
    assert found["clusters"][0]["cluster"]["certificate-authority"] == str(tmp_path / "x/../ca")
    assert found["users"][0]["user"] == {
        "tokenFile": str(tmp_path / "x/t"),
        "exec": {"command": str(tmp_path / "x/login")},
    }
    assert found["users"][1]["user"] == {"client-key": "/abs/key", "exec": {"command": "aws"}}


async def test_an_unknown_context_is_one_line_with_those_that_there_are(
    home: Path, tmp_path: Path, pod: Path
) -> None:
    path = written(tmp_path / "k", config("dev", "staging", current="gone"))
    assert await refused(path, "prod") == (
        f"--context: kubeconfig {path} has no context prod; it has dev, staging"
    )
    assert (
        await refused(path) == f"current-context: kubeconfig {path} has no context gone; it has dev, staging"
    )
    assert "has no context ''" in await refused(path, "")
    assert await host(path, "staging") == "http://staging"
    many = written(tmp_path / "many", config(*(f"c{number}" for number in range(12))))
    assert (await refused(many, "prod")).endswith("it has c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 and 2 more")
    assert "has no current-context; choose with --context: c0, c1" in await refused(many)
    assert await refused(None, "prod") == (
        "there is no context prod, because no kubeconfig was found; give one with --kubeconfig or $KUBECONFIG"
    )


@pytest.mark.parametrize(
    "command", [["status"], ["report", "e"], ["wait", "e"], ["revalidate", "e"], ["uninstall"]]
)
def test_every_command_that_reaches_a_cluster_takes_a_context(command: list[str], tmp_path: Path) -> None:
    path = written(tmp_path / "k", config("dev", current="dev"))
    result = CliRunner().invoke(main, [*command, "--kubeconfig", path, "--context", "prod"])
    assert result.exit_code in (1, 2)
    assert result.stderr == (
        f"gpuenv {command[0]}: --context: kubeconfig {path} has no context prod; it has dev\n"
    )


async def test_what_is_missing_is_said_in_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await refused() == "no kubeconfig at ~/.kube/config; give one with --kubeconfig or $KUBECONFIG"
    assert "no kubeconfig at ''" in await refused("")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home directory")))
    assert "no kubeconfig at ~/.kube/config" in await refused()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert "the pod's service account cannot be used" in await refused()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("][", "is no YAML"),
        ("- a\n", "is no kubeconfig: it holds no fields"),
        ("clusters: {a: 1}\n", "clusters has to be a list of items with a name"),
        ("users: [1]\n", "users has to be a list of items with a name"),
        ("contexts: [{context: {}}]\n", "contexts has to be a list of items with a name"),
        ("contexts: [{name: a, context: {cluster: gone}}]\ncurrent-context: a\n", "cannot be used"),
    ],
)
async def test_a_file_that_is_no_kubeconfig_is_named(tmp_path: Path, content: str, words: str) -> None:
    path = written(tmp_path / "k", content)
    message = await refused(path)
    assert path in message
    assert words in message


async def test_a_file_that_cannot_be_read_is_never_passed_over(pod: Path, home: Path) -> None:
    (home / ".kube/config").mkdir(parents=True)
    assert "cannot be read (Is a directory)" in await refused()
