"""Finds free TCP ports for servers that need their port on the command line."""

import socket
from contextlib import ExitStack
from secrets import SystemRandom
from typing import Final

from gpuenv_sandbox.control_plane.command_lines import LOOPBACK

RANGE: Final = range(15_000, 30_000)
"""The port numbers from which free ports are chosen, all below the ephemeral ports of operating systems.

Ephemeral ports, which operating systems give to outgoing connections, begin at 32768 or 49152 by default on Linux,
macOS and the BSDs. An outgoing connection could take such a port before the server does. A client that calls a server
which is down could even be given the server's port, and so be connected to itself. Source:
https://www.kernel.org/doc/html/latest/networking/ip-sysctl.html (ip_local_port_range)
"""


def free_ports(count: int, address: str = LOOPBACK) -> list[int]:
    """Return ``count`` different TCP ports that are free at this moment on ``address``.

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
