"""Free TCP ports for servers that must be told their port before they start."""

import socket
from contextlib import ExitStack
from secrets import SystemRandom
from typing import Final

from gpuenv_sandbox.control_plane.command_lines import LOOPBACK

RANGE: Final = range(15_000, 30_000)
"""Below the ports that Linux, macOS and the BSDs give to outgoing connections by default (from 32768, or 49152).

In that range any outgoing connection could take the port before the server does, and a client that calls a server
which is down for a moment can even be given the server's own port, and be connected to itself.
https://www.kernel.org/doc/html/latest/networking/ip-sysctl.html (ip_local_port_range)
"""


def free_ports(count: int, address: str = LOOPBACK) -> list[int]:
    """Return different ports that are free at this moment. Another server may still take one: be ready to try again."""
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
