"""Judges addresses that a registry names: which of them a request may follow, and why a connection failed.

A registry may answer with any address. On a machine inside a network, a request that follows it reaches what the registry
itself cannot: the metadata service of a cloud (169.254.169.254), or services that trust their network.
"""

import ipaddress
import socket
import ssl
from typing import Final
from urllib.parse import SplitResult, urlsplit

import urllib3

from gpuenv.api.foreign_text import one_line

_MAX_CAUSES: Final = 8
"""How many exceptions that caused each other are looked at."""


def is_loopback(netloc: str) -> bool:
    """Return whether a host, with or without a port, is this machine."""
    host = urlsplit(f"//{netloc}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def why_not_followed(registry: SplitResult, target: SplitResult, *, resolve: bool) -> str:
    """Return why a request to a registry does not go on to ``target``, as the end of a sentence, or "" if it does.

    HTTPS is needed, except from an HTTP registry on this machine to another port of this machine. Addresses within a
    network are allowed only to registries that have such an address themselves, and link-local ones to none.
    ``resolve`` False means that a proxy resolves names, so that only addresses in numbers are judged.
    """
    on_this_machine = registry.scheme == "http" and is_loopback(registry.netloc)
    secure = target.scheme == "https" or (
        target.scheme == "http" and on_this_machine and is_loopback(target.netloc)
    )
    if not secure or not target.hostname or target.username is not None:
        return "an address without HTTPS; it is not followed"
    if target.netloc == registry.netloc:
        return ""
    found = _addresses(target.hostname, resolve=resolve)
    if any(one.is_link_local or one.is_multicast or one.is_unspecified for one in found):
        return "an address of this machine's own link; it is not followed"
    internal = any(not one.is_global for one in found)
    if internal and all(one.is_global for one in _addresses(registry.hostname or "", resolve=resolve)):
        return "an address inside a private network; it is not followed"
    return ""


def _addresses(host: str, *, resolve: bool) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Return the addresses of a host, or none if they are not known."""
    try:
        found = [ipaddress.ip_address(host)]
    except ValueError:
        try:
            rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM) if resolve else []
        except (OSError, UnicodeError):
            return []
        found = [ipaddress.ip_address(str(row[4][0]).partition("%")[0]) for row in rows]
    return [getattr(one, "ipv4_mapped", None) or one for one in found]


def is_answer_of_tls(error: urllib3.exceptions.HTTPError) -> bool:
    """Return whether an error of a connection with TLS leaves open that the server speaks TLS."""
    causes = _causes(error)
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in causes):
        return True
    return isinstance(error, urllib3.exceptions.NewConnectionError)


def why_failed(error: Exception) -> str:
    """Return why a request got no answer, in plain words."""
    causes = _causes(error)
    kinds = urllib3.exceptions
    lead = "the proxy fails: " if isinstance(error, kinds.ProxyError) else ""
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"{lead}its certificate is not trusted: {one_line(cause.verify_message, 120)}"
    if any(isinstance(cause, kinds.NameResolutionError | socket.gaierror) for cause in causes):
        return f"{lead}no such host is known"
    if any(isinstance(cause, kinds.SSLError | ssl.SSLError) for cause in causes):
        return f"{lead}it does not answer with TLS"
    for cause in causes:
        if isinstance(cause, OSError) and cause.strerror:
            return f"{lead}{one_line(cause.strerror, 120).lower()}"
    if any(isinstance(cause, kinds.TimeoutError | TimeoutError) for cause in causes):
        return f"{lead}no answer in time"
    if any(isinstance(cause, kinds.ProtocolError | EOFError) for cause in causes):
        return f"{lead}it closed the connection"
    if any(isinstance(cause, kinds.LocationValueError | ValueError) for cause in causes):
        return f"{lead}the address is not valid"
    return f"{lead}{type(error).__name__}"


def _causes(error: BaseException) -> list[BaseException]:
    """Return an exception and those that caused it, the last one first."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting and len(found) < _MAX_CAUSES:
        one = waiting.pop(0)
        if not isinstance(one, BaseException) or one in found:
            continue
        found.append(one)
        inner = (getattr(one, "reason", None), getattr(one, "original_error", None), *one.args[:3])
        waiting += [*inner, one.__cause__, one.__context__]
    return found
