"""Finds insecure settings of Jupyter and sshd in the image, such as a server without a password.

The settings are read from configuration files. The programs are not started, because ``sshd -T`` needs host keys and
Jupyter needs seconds to start.
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
    """Return one sentence per insecure setting, for the field ``container.notes`` of the probe report."""
    return jupyter_notes() + sshd_notes()


def jupyter_notes(
    directories: list[str] | None = None,
    installed: bool | None = None,
    env: Mapping[str, str] = os.environ,
) -> list[str]:
    """Return a sentence for each setting with which Jupyter lets users in without a token or password.

    The list is empty if Jupyter is not installed. ``directories`` are those with Jupyter's configuration files, or None
    for the usual ones. ``installed`` says whether Jupyter is installed; if it is None, PATH is searched.
    """
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
        # Jupyter itself then generates a token, but start scripts of many images pass the variable on as an option.
        notes.append(
            "JUPYTER_TOKEN is set and empty: --ServerApp.token=$JUPYTER_TOKEN would ask for no token"
        )
    if settings.get("token") == "" and not settings.get("password") and not settings.get("hashed_password"):
        notes.append("Jupyter asks for neither token nor password")
    return notes


def sshd_notes(config: str = _SSHD_CONFIG, installed: bool | None = None) -> list[str]:
    """Return a sentence if sshd accepts empty passwords, and one if root can log in with a password.

    The list is empty if sshd is not installed. ``config`` is sshd's configuration file. ``installed`` says whether sshd
    is installed; if it is None, the usual directories and PATH are searched.
    """
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
    """Return the token and password settings of a Jupyter configuration file in Python, by name.

    The code is not run: only lines that assign a quoted text are recognised.
    """
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
    """Return the token and password settings of a Jupyter configuration file in JSON, by name."""
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
    """Add the settings of the configuration file ``path``, and of the files that it includes, to ``settings``.

    As sshd_config(5) says, the first value of a keyword wins. Match blocks are ignored, because they apply only under
    conditions. ``depth`` is the number of Include directives that led to this file.
    """
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
    """Return the lines of a file, or no lines if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(256 * 1024).splitlines()
    except OSError:
        return []
