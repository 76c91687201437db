"""Things in an image that are open to others: Jupyter without a password, a loose sshd.

Read from configuration files, never by starting those programs: ``sshd -T`` needs host keys, Jupyter seconds.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import sys
from typing import Any, Mapping

_SSHD_CONFIG = "/etc/ssh/sshd_config"
_JUPYTER_FILES = ("jupyter_server_config", "jupyter_notebook_config", "jupyter_lab_config", "jupyter_config")
_JUPYTER_APPS = ("ServerApp", "NotebookApp", "LabApp", "IdentityProvider", "PasswordIdentityProvider")


def find() -> list[str]:
    """One line a finding."""
    return jupyter_notes() + sshd_notes()


def jupyter_notes(
    directories: list[str] | None = None,
    installed: bool | None = None,
    env: Mapping[str, str] = os.environ,
) -> list[str]:
    """Whether Jupyter, where the image has it, is configured to ask for neither token nor password."""
    if installed is None:
        installed = any(map(shutil.which, ("jupyter", "jupyter-lab", "jupyter-notebook")))
    if not installed:
        return []
    settings: dict[str, Any] = {}
    for directory in directories or _jupyter_directories():
        for name in _JUPYTER_FILES:
            settings.update(_jupyter_python(os.path.join(directory, name + ".py")))
            settings.update(_jupyter_json(os.path.join(directory, name + ".json")))
    notes = []
    if env.get("JUPYTER_TOKEN") == "":
        # Jupyter itself then makes a token up, but many images' start scripts pass the variable on.
        notes.append(
            "JUPYTER_TOKEN is set and empty: --ServerApp.token=$JUPYTER_TOKEN would ask for no token"
        )
    if settings.get("token") == "" and not settings.get("password") and not settings.get("hashed_password"):
        notes.append("Jupyter asks for neither token nor password")
    return notes


def sshd_notes(config: str = _SSHD_CONFIG, installed: bool | None = None) -> list[str]:
    """Whether sshd, where the image has it, lets in empty passwords, or root by password."""
    if installed is None:
        installed = bool(
            shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin:" + os.environ.get("PATH", ""))
        )
    if not installed:
        return []
    settings: dict[str, str] = {}
    _sshd_read(config, settings, depth=0)
    notes = []
    if settings.get("permitemptypasswords") == "yes":
        notes.append("sshd accepts empty passwords")
    if settings.get("permitrootlogin") == "yes" and settings.get("passwordauthentication", "yes") == "yes":
        notes.append("sshd lets root in by password")
    return notes


def _jupyter_directories() -> list[str]:
    home = os.path.expanduser("~")
    configured = os.environ.get("JUPYTER_CONFIG_DIR")
    places = ["/etc/jupyter", "/usr/local/etc/jupyter", os.path.join(sys.prefix, "etc", "jupyter")]
    return [*dict.fromkeys(places), configured or os.path.join(home, ".jupyter")]


def _jupyter_python(path: str) -> dict[str, str]:
    setting = re.compile(
        rf"^c\.(?:{'|'.join(_JUPYTER_APPS)})\.(token|password|hashed_password)\s*=\s*[ubr]*(['\"])(.*?)\2"
    )
    found = {}
    for line in _lines(path):
        match = setting.match(line.strip())
        if match:
            found[match.group(1)] = match.group(3)
    return found


def _jupyter_json(path: str) -> dict[str, Any]:
    try:
        document = json.loads("\n".join(_lines(path)) or "{}")
    except ValueError:
        return {}
    found: dict[str, Any] = {}
    for app in _JUPYTER_APPS:
        section = document.get(app) if isinstance(document, dict) else None
        if isinstance(section, dict):
            found.update(
                {name: section[name] for name in ("token", "password", "hashed_password") if name in section}
            )
    return found


def _sshd_read(path: str, settings: dict[str, str], depth: int) -> None:
    """sshd_config(5): the first value of a keyword wins; Match blocks are conditional and do not count."""
    for line in _lines(path):
        words = line.split("#", 1)[0].replace("=", " ").split()
        if not words:
            continue
        keyword = words[0].lower()
        if keyword == "match":
            return
        if keyword == "include" and depth < 5:
            for pattern in words[1:]:
                for name in sorted(glob.glob(os.path.join("/etc/ssh", pattern))):
                    _sshd_read(name, settings, depth + 1)
        elif len(words) > 1:
            settings.setdefault(keyword, words[1].strip('"').lower())


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(256 * 1024).splitlines()
    except OSError:
        return []
