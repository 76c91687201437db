"""Finds free TCP ports for servers that need their port on the command line."""

import socket
from contextlib import ExitStack
from secrets import SystemRandom
from typing import Final

from gpuenv_sandbox.control_plane.command_lines import LOOPBACK

RANGE: Final = range(15_000, 30_000)
"""Port numbers below the ranges from which operating systems take the ports of outgoing connections.

These ranges begin at 32768 or 49152 by default on Linux, macOS and the BSDs. Inside them, any outgoing connection could
take the port before the server does. A client could even be given the port of the server that it calls while that
server is down, and so be connected to itself. https://www.kernel.org/doc/html/latest/networking/ip-sysctl.html
(ip_local_port_range)
"""


def free_ports(count: int, address: str = LOOPBACK) -> list[int]:
    """Return different ports that are free at this moment.

    Another process may still take one of them, so the caller must be ready to try again.
    """
    found: list[int] = []
    with ExitStack() as held:
        for port in SystemRandom().sample(RANGE, len(RANGE)):
            if len(found) == count:
                break
            try:
                held.enter_context(socket.create_server((address, port)))
            except OSError:
                continue
            found.append(port)
    return found
