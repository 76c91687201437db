"""Reads images from registries over HTTPS.

The protocol is https://github.com/opencontainers/distribution-spec/blob/main/spec.md, with the tokens of
https://distribution.github.io/distribution/spec/auth/token/. The client libraries on PyPI were tried and do not do: they read
manifests and tokens of any size, have no time limits or follow redirects from HTTPS to HTTP, and do not know Docker Hub
by its names. This is one GET in terms of ``urllib3``, with each of these bounded.
"""

import base64
import json
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import SplitResult, urlencode, urljoin, urlsplit

import urllib3

from gpuenv.api.foreign_text import one_line
from gpuenv.assess.sources.images.reference import DOCKER_HUB, ImageReference
from gpuenv.cli.inspect import credentials
from gpuenv.cli.inspect.addresses import is_answer_of_tls, is_loopback, why_failed, why_not_followed
from gpuenv.cli.inspect.documents import (
    Descriptor,
    Manifest,
    find_manifest,
    parse_document,
    require_digest,
)
from gpuenv.cli.inspect.limits import CHUNK, MAX_DOCUMENT, Budget, ImageError
from gpuenv.cli.inspect.streams import Readable

ACCEPTED: Final = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
TIMEOUT: Final = urllib3.Timeout(connect=20.0, read=60.0)
MAX_REDIRECTS: Final = 5
MAX_TOKEN: Final = 64 * 1024

_HUB_HOST: Final = "registry-1.docker.io"
_CHALLENGE: Final = re.compile(r'(realm|service|scope)="([^"]{0,2000})"', re.ASCII)
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class RegistrySource:
    """An image in a registry. Credentials go to the registry and to the token server that it names, and nowhere else."""

    def __init__(self, reference: ImageReference, budget: Budget) -> None:
        self._budget = budget
        host = _HUB_HOST if reference.registry == DOCKER_HUB else reference.registry
        scheme = "http" if is_loopback(host) and not _speaks_tls(host) else "https"
        self._base = f"{scheme}://{host}/v2/{reference.repository}/"
        self._repository = reference.repository
        self._registry = reference.registry
        self._authorization: str | None = None
        data = self._document(f"manifests/{reference.digest or reference.tag or 'latest'}", "its manifest")
        if reference.digest:
            require_digest(data, reference.digest, "its manifest")
        self.manifest: Manifest = find_manifest(parse_document(data, "its manifest"), self._manifest)

    def config(self) -> dict[str, Any]:
        """Return the configuration of the image."""
        wanted = self.manifest.config
        data = self._document(f"blobs/{wanted.digest}", "its configuration")
        require_digest(data, wanted.digest, "its configuration")
        return parse_document(data, "its configuration")

    def layers(self) -> Iterator[tuple[Descriptor, int | None]]:
        """Yield the layers, the lowest first, with their sizes."""
        for layer in self.manifest.layers:
            yield layer, layer.size

    @contextmanager
    def open(self, layer: Descriptor) -> Iterator[Readable]:
        """Download a layer. It is read as it comes, and nothing is stored."""
        response = self._get(f"blobs/{layer.digest}", "a layer")
        try:
            yield _Body(response, self._budget)
        finally:
            response.close()

    def _manifest(self, wanted: Descriptor) -> bytes:
        return self._document(f"manifests/{wanted.digest}", "its manifest")

    def _document(self, path: str, what: str) -> bytes:
        response = self._get(path, what)
        try:
            return _bounded(_Body(response, self._budget), MAX_DOCUMENT, what)
        finally:
            response.close()

    def _get(self, path: str, what: str) -> urllib3.BaseHTTPResponse:
        """Request a part of the image. If the registry wants to know who asks, say so, once for each part."""
        url = urljoin(self._base, path)
        response = self._follow(url, what)
        if response.status == 401:  # also when a token has expired, which takes minutes
            challenge = response.headers.get("WWW-Authenticate", "")[:8000]
            response.close()
            self._authorization = self._authorize(challenge)
            response = self._follow(url, what)
        if response.status != 200:
            response.close()
            raise ImageError(_refusal(response.status, what, self._registry))
        return response

    def _follow(self, url: str, what: str) -> urllib3.BaseHTTPResponse:
        """Request ``url`` and follow redirects, by the rules of :mod:`gpuenv.cli.inspect.addresses`.

        Other hosts never get the credentials, nor does the registry after a redirect through another host.
        """
        first = urlsplit(url)
        is_at_registry = True
        for _ in range(MAX_REDIRECTS + 1):
            headers = {"Accept": ACCEPTED, "Accept-Encoding": "identity"}
            if self._authorization and is_at_registry:
                headers["Authorization"] = self._authorization
            response = _request(url, headers)
            if response.status not in _REDIRECTS:
                return response
            there = _split(response.headers.get("Location", ""), url)
            response.close()
            self._require_safe(there, f"redirects {what} to")
            is_at_registry &= (there.scheme, there.netloc) == (first.scheme, first.netloc)
            url = there.geturl()
        raise ImageError(f"{self._registry} redirects {what} more than {MAX_REDIRECTS} times")

    def _require_safe(self, there: SplitResult, does: str) -> None:
        """Raise ImageError unless a request may go to an address that the registry names."""
        refused = why_not_followed(
            urlsplit(self._base), there, resolve=not _proxy_for(there.scheme, there.hostname or "")
        )
        if refused:
            raise ImageError(f"{self._registry} {does} {refused}")

    def _authorize(self, challenge: str) -> str:
        """Return the value of the header Authorization that the registry's challenge asks for."""
        known = credentials.find(self._registry)
        basic = "Basic " + base64.b64encode(f"{known[0]}:{known[1]}".encode()).decode() if known else None
        scheme = challenge.partition(" ")[0].lower()
        if scheme == "basic":
            if basic is None:
                raise ImageError(f"{self._registry} asks for a login; run docker login {self._registry}")
            self._require_private()
            return basic
        if scheme != "bearer":
            raise ImageError(
                f"{self._registry} asks for a login in a way that is not known ({one_line(scheme, 40)})"
            )
        return "Bearer " + self._token(dict(_CHALLENGE.findall(challenge)), basic)

    def _token(self, asked: dict[str, str], basic: str | None) -> str:
        realm = asked.get("realm", "")
        scope = asked.get("scope") or f"repository:{self._repository}:pull"
        query = {"service": asked.get("service", ""), "scope": scope}
        parts = _split(realm, "")
        secure = parts.scheme == "https" or (self._base.startswith("http:") and is_loopback(parts.netloc))
        if not secure or not parts.netloc or parts.username is not None:
            raise ImageError(f"{self._registry} names a token server without HTTPS; it gets no credentials")
        self._require_safe(parts, "names a token server at")
        if basic is not None:
            self._require_private()
        headers = {"Authorization": basic} if basic else {}
        response = _request(f"{realm}{'&' if parts.query else '?'}{urlencode(query)}", headers)
        try:
            if response.status != 200:
                raise ImageError(_refusal(response.status, "a token", self._registry))
            data = json.loads(_bounded(_Body(response, self._budget), MAX_TOKEN, "its token"))
        except ValueError as error:
            raise (
                error if isinstance(error, ImageError) else ImageError("its token server answers no JSON")
            ) from None
        finally:
            response.close()
        token = (data.get("token") or data.get("access_token")) if isinstance(data, dict) else None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise ImageError("its token server sends no token")
        return token

    def _require_private(self) -> None:
        """Raise ImageError if credentials would travel without encryption to another machine."""
        if not self._base.startswith("https:") and not is_loopback(urlsplit(self._base).netloc):
            raise ImageError(f"{self._registry} has no HTTPS; it gets no credentials")


class _Body:
    """The body of a response as the server sends it."""

    def __init__(self, response: urllib3.BaseHTTPResponse, budget: Budget) -> None:
        self._response = response
        self._budget = budget

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most ``size``. Raises ImageError if the connection breaks."""
        self._budget.in_time()  # a server may send a byte now and then, for ever
        try:
            return self._response.read1(size, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ImageError(f"the download broke off ({why_failed(error)}); try again") from None


def _request(url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
    """Send one GET request. Raises ImageError if no answer comes."""
    try:
        return _pool(url).request(
            "GET",
            url,
            headers={"User-Agent": "gpuenv", **headers},
            preload_content=False,
            redirect=False,
            retries=False,
            timeout=TIMEOUT,
        )
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        host = one_line(urlsplit(url).netloc, 200)
        raise ImageError(
            f"{host} cannot be reached ({why_failed(error)}); see its name, the network and HTTPS_PROXY"
        ) from None


def _pool(url: str) -> urllib3.PoolManager:
    """Return a pool of connections, through the proxy that environment variables name for this address."""
    parts = urlsplit(url)
    proxy = _proxy_for(parts.scheme, parts.hostname or "")
    if proxy:
        address = urllib3.util.parse_url(proxy if "://" in proxy else f"http://{proxy}")
        return urllib3.ProxyManager(
            address.url, proxy_headers=urllib3.make_headers(proxy_basic_auth=address.auth)
        )
    return urllib3.PoolManager()


def _proxy_for(scheme: str, host: str) -> str:
    """Return the proxy that environment variables name for a host, or ""."""
    proxy = urllib.request.getproxies().get(scheme, "")
    return proxy if proxy and not urllib.request.proxy_bypass(host) else ""


def _split(address: str, base: str) -> SplitResult:
    """Return the parts of an address that a registry names, relative to ``base``. Those of an invalid one are empty."""
    try:
        parts = urlsplit(urljoin(base, address))
        _ = parts.port, parts.hostname
    except ValueError:
        return urlsplit("")
    return parts


def _bounded(body: _Body, limit: int, what: str) -> bytes:
    """Return a whole body. Raises ImageError if it is larger than ``limit`` bytes."""
    parts: list[bytes] = []
    size = 0
    while data := body.read(CHUNK):
        size += len(data)
        if size > limit:
            raise ImageError(f"{what} is larger than {limit >> 10} KiB")
        parts.append(data)
    return b"".join(parts)


def _speaks_tls(host: str) -> bool:
    """Return whether a registry on this machine answers over TLS, whatever it answers."""
    try:
        urllib3.PoolManager().request(
            "GET", f"https://{host}/v2/", retries=False, timeout=5.0, redirect=False
        )
    except urllib3.exceptions.HTTPError as error:
        return is_answer_of_tls(error)
    return True


def _refusal(status: int, what: str, registry: str) -> str:
    registry = one_line(registry, 200)
    if status in (401, 403):
        return f"{registry} does not give {what} ({status}); run docker login {registry}, or see whether the name is right"
    if status == 404:
        return f"{registry} does not have {what} ({status}); see whether name and tag are right"
    if status == 429:
        return f"{registry} refuses {what} for now ({status}, too many requests); log in, or wait"
    return f"{registry} answers {status} instead of {what}; try again later"
