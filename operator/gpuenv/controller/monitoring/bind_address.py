"""The addresses on which the operator's HTTP servers listen, in the form of Kubernetes' flags: ``:8080``."""

import re
from dataclasses import dataclass
from typing import Final

OFF: Final = "0"
"""The text that switches a server off."""
_FORM: Final = re.compile(r"(?:(?P<name>[A-Za-z0-9.-]*)|\[(?P<ipv6>[0-9A-Fa-f:.]+)\]):(?P<port>[0-9]{1,5})")
_LAST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class BindAddress:
    """A host and a port. ``host`` is a name or an IP address, or "" for all addresses of the machine."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse(text: str) -> BindAddress | None:
    """Return the address that a text such as ``:8080`` or ``127.0.0.1:8080`` stands for, or None if it is ``0``.

    Raises ValueError with a message for users if the text has another form.
    """
    if text == OFF:
        return None
    found = _FORM.fullmatch(text)
    if found is None or not 0 < int(found["port"]) <= _LAST_PORT:
        raise ValueError(f"{text!r} is no address; write :8080, 127.0.0.1:8080 or [::1]:8080, or 0 for none")
    return BindAddress(found["name"] or found["ipv6"] or "", int(found["port"]))
