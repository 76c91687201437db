"""Registries that misbehave: nothing of any size, no credentials for others, no way from HTTPS to HTTP."""

import base64
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.support.explain import as_json, explain
from tests.support.gpu_images import SITE_PACKAGES, descriptor, tar_of, version_file

from gpuenv.assess.sources.images.reference import ImageReference
from gpuenv.cli.inspect import credentials, registry
from gpuenv.cli.inspect.limits import Budget, ImageError

LAYER = tar_of({f"{SITE_PACKAGES[1:]}/torch/version.py": version_file("2.9.1+cu128", "12.8").content})
CONFIG = json.dumps({"architecture": "amd64", "config": {"Env": []}}).encode()
MANIFEST = json.dumps(
    {"schemaVersion": 2, "config": descriptor(CONFIG), "layers": [descriptor(LAYER)]}
).encode()
PARTS = {
    "/v2/a/b/manifests/1": MANIFEST,
    f"/v2/a/b/blobs/{descriptor(CONFIG)['digest']}": CONFIG,
    f"/v2/a/b/blobs/{descriptor(LAYER)['digest']}": LAYER,
}
NODE = ("--driver", "570.124.06", "--gpu", "NVIDIA L4")

Answer = tuple[int, dict[str, str], bytes]
Handle = Callable[[str, dict[str, str]], Answer]


@contextmanager
def serving(handle: Handle) -> Iterator[str]:
    """Answer GET requests on a loopback port during the block, and yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = handle(
                self.path, {name.lower(): value for name, value in self.headers.items()}
            )
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def good(path: str, _: dict[str, str]) -> Answer:
    return (200, {}, PARTS[path]) if path in PARTS else (404, {}, b"")


@pytest.fixture(autouse=True)
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's configuration in a directory of the test."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def log_in(docker: Path, address: str) -> None:
    token = base64.b64encode(b"somebody:secret").decode()
    (docker / "config.json").write_text(json.dumps({"auths": {address: {"auth": token}}}))


def refused(address: str) -> str:
    found = explain("--image", f"{address}/a/b:1", "--inspect", *NODE)
    assert found.exit_code == 2, found.output
    (line,) = found.stderr.splitlines()
    return line


def test_a_registry_without_login_is_read() -> None:
    with serving(good) as address:
        assert as_json("--image", f"{address}/a/b:1", "--inspect", *NODE)["facts"]["pytorch"] == "2.9.1+cu128"


def test_without_inspect_nothing_is_asked() -> None:
    asked: list[str] = []

    def handle(path: str, _: dict[str, str]) -> Answer:
        asked.append(path)
        return 500, {}, b""

    with serving(handle) as address:
        explain("--image", f"{address}/a/b:1", *NODE)
    assert asked == []


def test_a_token_is_fetched_with_dockers_credentials_and_used(docker: Path) -> None:
    seen: list[tuple[str, str | None]] = []

    def handle(path: str, headers: dict[str, str]) -> Answer:
        seen.append((path.partition("?")[0], headers.get("authorization")))
        if path.startswith("/token"):
            assert "scope=repository%3Aa%2Fb%3Apull" in path
            assert "service=here" in path
            return 200, {}, b'{"token": "t"}'
        if headers.get("authorization") != "Bearer t":
            return (
                401,
                {"WWW-Authenticate": f'Bearer realm="http://{headers["host"]}/token",service="here"'},
                b"",
            )
        return good(path, headers)

    with serving(handle) as address:
        log_in(docker, address)
        assert as_json("--image", f"{address}/a/b:1", "--inspect", *NODE)["verdict"] == "Compatible"
    basic = "Basic " + base64.b64encode(b"somebody:secret").decode()
    assert [one for one in seen if one[0] == "/token"] == [("/token", basic)]


def test_a_token_that_expires_on_the_way_is_renewed() -> None:
    """Tokens hold for minutes, and the layers of a large image take longer."""
    issued: list[str] = []

    def handle(path: str, headers: dict[str, str]) -> Answer:
        if path.startswith("/token"):
            issued.append(f"t{len(issued)}")
            return 200, {}, json.dumps({"access_token": issued[-1]}).encode()
        # Each token is good for one request.
        if not issued or headers.get("authorization") != f"Bearer {issued[-1]}":
            return 401, {"WWW-Authenticate": f'Bearer realm="http://{headers["host"]}/token"'}, b""
        issued.append("used")
        return good(path, headers)

    with serving(handle) as address:
        assert as_json("--image", f"{address}/a/b:1", "--inspect", *NODE)["verdict"] == "Compatible"
    assert issued == ["t0", "used", "t2", "used", "t4", "used"]


def test_a_proxy_gets_its_own_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str | None, str | None]] = []

    def handle(path: str, headers: dict[str, str]) -> Answer:
        seen.append((path, headers.get("proxy-authorization"), headers.get("authorization")))
        return 404, {}, b""

    with serving(handle) as proxy:
        monkeypatch.setenv("http_proxy", f"http://who:word@{proxy}")
        monkeypatch.setenv("no_proxy", "")
        registry._request("http://registry.example.com/v2/", {}).close()
    basic = "Basic " + base64.b64encode(b"who:word").decode()
    assert seen == [("http://registry.example.com/v2/", basic, None)]


def test_redirects_to_other_hosts_get_no_credentials(docker: Path) -> None:
    seen: list[str | None] = []

    def storage(path: str, headers: dict[str, str]) -> Answer:
        seen.append(headers.get("authorization"))
        return good(path, headers)

    with serving(storage) as other:

        def handle(path: str, headers: dict[str, str]) -> Answer:
            if "authorization" not in headers:
                return 401, {"WWW-Authenticate": 'Basic realm="x"'}, b""
            if "/blobs/" in path:
                return 307, {"Location": f"http://{other}{path}"}, b""
            return good(path, headers)

        with serving(handle) as address:
            log_in(docker, address)
            assert as_json("--image", f"{address}/a/b:1", "--inspect", *NODE)["verdict"] == "Compatible"
    assert seen == [None, None]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, {}, b"x" * 5_000_000), "its manifest is larger than 4096 KiB"),
        ((200, {}, b"<html>"), "is no JSON"),
        ((302, {"Location": "/v2/a/b/manifests/1"}, b""), "more than 5 times"),
        ((302, {"Location": "file:///etc/passwd"}, b""), "an address without HTTPS; it is not followed"),
        ((302, {"Location": "ftp://127.0.0.1/x"}, b""), "an address without HTTPS; it is not followed"),
        (
            (302, {"Location": "http://user:word@127.0.0.1/x"}, b""),
            "an address without HTTPS; it is not followed",
        ),
        ((401, {}, b""), "asks for a login in a way that is not known"),
        (
            (401, {"WWW-Authenticate": 'Bearer realm="http://example.com/token"'}, b""),
            "a token server without HTTPS",
        ),
        (
            (401, {"WWW-Authenticate": 'Bearer realm="file:///etc/passwd"'}, b""),
            "a token server without HTTPS",
        ),
        ((401, {"WWW-Authenticate": "Bearer " + "x" * 60_000}, b""), "a token server without HTTPS"),
        ((403, {}, b""), "(403); run docker login"),
        ((429, {}, b""), "too many requests"),
        ((500, {}, b""), "answers 500"),
        ((200, {"Content-Length": "1000"}, b"{"), "the download broke off"),
        ((200, {"Content-Encoding": "gzip"}, b"\x1f\x8b"), "is no text"),
    ],
)
def test_answers_that_are_none_are_refused_in_one_line(answer: Answer, words: str) -> None:
    with serving(lambda *_: answer) as address:
        assert words in refused(address)


@pytest.mark.parametrize(
    "token",
    [b"[]", b"{}", b'{"token": 5}', b'{"token": "a\\nb"}', b"x", b'{"token": "%s"}' % (b"x" * 100_000)],
)
def test_tokens_that_are_none_are_refused(token: bytes) -> None:
    def handle(path: str, headers: dict[str, str]) -> Answer:
        if path.startswith("/token"):
            return 200, {}, token
        return 401, {"WWW-Authenticate": f'Bearer realm="http://{headers["host"]}/token"'}, b""

    with serving(handle) as address:
        assert "token" in refused(address)


def test_a_layer_that_is_another_one_is_refused() -> None:
    def handle(path: str, headers: dict[str, str]) -> Answer:
        status, fields, body = good(path, headers)
        return status, fields, body.replace(b"2.9.1", b"2.9.2") if body == LAYER else body

    with serving(handle) as address:
        assert "has other content than its digest says" in refused(address)


def test_https_never_becomes_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry on another machine that redirects to HTTP, or names a token server without TLS, is not followed."""

    class Redirect:
        status = 302

        def __init__(self) -> None:
            self.headers = {"Location": "http://elsewhere/x"}

        def close(self) -> None:
            """Close nothing."""

    monkeypatch.setattr(registry, "_request", lambda *_: Redirect())
    with pytest.raises(ImageError, match="an address without HTTPS"):
        registry.RegistrySource(ImageReference("registry.example.com", "a/b", "1", ""), Budget())


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest",
        "http://10.0.0.8/x",
        "http://example.com/x",
        "http://[::ffff:169.254.169.254]/",
    ],
)
def test_a_redirect_without_tls_leaves_this_machine_never(
    monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    send, asked = registry._request, []

    def watched(url: str, headers: dict[str, str]) -> Any:
        asked.append(url)
        return send(url, headers)

    monkeypatch.setattr(registry, "_request", watched)
    with serving(lambda *_: (302, {"Location": target}, b"")) as address:
        assert "an address without HTTPS; it is not followed" in refused(address)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("own", "target", "words"),
    [
        ("93.184.215.14", "https://10.0.0.8/x", "inside a private network"),
        ("93.184.215.14", "https://127.0.0.1/x", "inside a private network"),
        ("93.184.215.14", "https://[::1]/x", "inside a private network"),
        ("93.184.215.14", "https://inside.example.com/x", "inside a private network"),
        ("93.184.215.14", "https://169.254.169.254/x", "of this machine's own link"),
        ("10.0.0.7", "https://169.254.169.254/x", "of this machine's own link"),
        ("10.0.0.7", "https://0.0.0.0/x", "of this machine's own link"),
        ("10.0.0.7", "https://10.0.0.8:99999/x", "without HTTPS"),
        ("10.0.0.7", "https://[::1/x", "without HTTPS"),
        ("10.0.0.7", "https://inside.example.com/x", ""),
        ("10.0.0.7", "https://93.184.215.15/x", ""),
        ("93.184.215.14", "https://93.184.215.15/x", ""),
    ],
)
@pytest.mark.parametrize("as_token_server", [False, True])
def test_a_registry_names_no_address_inside_a_network_that_is_not_its_own(
    monkeypatch: pytest.MonkeyPatch, own: str, target: str, words: str, as_token_server: bool
) -> None:
    hosts = {"registry.example.com": own, "inside.example.com": "192.168.1.1"}
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_, **__: [(0, 0, 0, "", (hosts[host], 0))])
    asked: list[str] = []

    class Reply:
        def __init__(self, url: str) -> None:
            asked.append(url)
            self.status = (401 if as_token_server else 302) if len(asked) == 1 else 404
            self.headers = {"Location": target, "WWW-Authenticate": f'Bearer realm="{target}"'}

        def close(self) -> None:
            """Close nothing."""

    monkeypatch.setattr(registry, "_request", lambda url, _: Reply(url))
    with pytest.raises(ImageError, match=words or "404"):
        registry.RegistrySource(ImageReference("registry.example.com", "a/b", "1", ""), Budget())
    assert len(asked) == (1 if words else 2)


def test_after_a_way_through_another_host_the_registry_gets_no_credentials(docker: Path) -> None:
    seen: list[str | None] = []
    with serving(lambda path, _: (302, {"Location": path.removeprefix("/")}, b"")) as other:

        def handle(path: str, headers: dict[str, str]) -> Answer:
            if path == "/chosen":
                seen.append(headers.get("authorization"))
                return 404, {}, b""
            if "authorization" not in headers:
                return 401, {"WWW-Authenticate": 'Basic realm="x"'}, b""
            return 302, {"Location": f"http://{other}/http://{headers['host']}/chosen"}, b""

        with serving(handle) as address:
            log_in(docker, address)
            refused(address)
    assert seen == [None]


@contextmanager
def closing() -> Iterator[str]:
    """Accept connections on a loopback port during the block, close each without an answer, and yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def close_all() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.recv(10_000)
                connection.close()

        thread = threading.Thread(target=close_all)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_registry_without_tls_that_closes_on_it_is_asked_over_http() -> None:
    """Some servers close the connection when TLS begins, instead of answering that they do not understand it."""
    with serving(good) as address:
        host, _, port = address.rpartition(":")

        def handle(one: socket.socket) -> None:
            first = one.recv(10_000)
            if not first.startswith(b"\x16"):  # a TLS handshake
                with socket.create_connection((host, int(port))) as there:
                    there.sendall(first.replace(b"keep-alive", b"close"))
                    there.shutdown(socket.SHUT_WR)
                    while data := there.recv(100_000):
                        one.sendall(data)
            one.close()

        with socket.create_server(("127.0.0.1", 0)) as server:

            def serve() -> None:
                while True:
                    try:
                        handle(server.accept()[0])
                    except OSError:
                        return

            thread = threading.Thread(target=serve)
            thread.start()
            front = f"127.0.0.1:{server.getsockname()[1]}"
            found = explain("--image", f"{front}/a/b:1", "--inspect", *NODE)
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
    assert found.exit_code == 0, found.output


def test_failed_connections_are_told_in_plain_words() -> None:
    with closing() as address:
        assert f"{address} cannot be reached (it closed the connection" in refused(address)
    assert f"{address} cannot be reached (connection refused)" in refused(address)


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (OSError(-2, "Name or service not known"), "name or service not known"),
        (
            ssl.SSLError(1, "[SSL: UNEXPECTED_EOF_WHILE_READING] EOF (_ssl.c:1000)"),
            "it does not answer with TLS",
        ),
        (TimeoutError("timed out"), "no answer in time"),
        (ConnectionResetError(104, "Connection reset by peer"), "connection reset by peer"),
        (socket.gaierror(-2, "Name or service not known"), "no such host is known"),
    ],
)
@pytest.mark.parametrize("proxy", ["", "http://127.0.0.1:9"])
def test_no_message_shows_what_a_library_calls_its_objects(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, words: str, proxy: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr("urllib3.util.connection.create_connection", fail)
    if proxy:
        monkeypatch.setenv("https_proxy", proxy)
        monkeypatch.setenv("no_proxy", "")
    line = refused("registry.example.com")
    assert words in line
    assert "Connection(" not in line
    assert "[" not in line
    assert ("the proxy fails" in line) == bool(proxy)


def test_credentials_of_docker_hub_are_found_under_its_old_name(docker: Path) -> None:
    log_in(docker, "https://index.docker.io/v1/")
    assert credentials.find("docker.io") == ("somebody", "secret")
    assert credentials.find("nvcr.io") is None


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"auths": {"r.io": {"identitytoken": "x"}}}, "an identity token for r.io, which is not supported"),
        ({"credHelpers": {"r.io": "absent"}}, "Docker's credentials cannot be read"),
    ],
)
def test_credentials_that_cannot_be_used_are_named(docker: Path, config: Any, words: str) -> None:
    (docker / "config.json").write_text(json.dumps(config))
    with pytest.raises(ImageError, match=words):
        credentials.find("r.io")


def test_the_extra_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "docker", None)
    with pytest.raises(ImageError, match=r"pip install 'gpuenv\[inspect\]'"):
        credentials.find("r.io")
