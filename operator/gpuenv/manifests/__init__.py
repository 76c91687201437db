"""What the cluster needs besides the operator itself, as dicts: for the sandbox and the tests.

The Helm chart installs the same; a test compares them. ``crds/`` here is a copy of the repository's ``crds/``,
the source of truth: ``make schemas`` makes it anew, and a test compares them. (A link would not survive every
checkout, archive and file system.)
"""

from pathlib import Path
from typing import Any, Final

import yaml

from gpuenv.manifests.permissions import OPERATOR, OPERATOR_NAMESPACE, roles

_HERE: Final = Path(__file__).parent


def crds() -> list[dict[str, Any]]:
    """The CustomResourceDefinitions of both kinds."""
    return _documents(_HERE / "crds")


def load() -> list[dict[str, Any]]:
    """Namespaces, PriorityClass, service account and roles, in the order in which they can be created."""
    account = {"name": OPERATOR, "namespace": OPERATOR_NAMESPACE}
    return [
        *_documents(_HERE),
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
        *roles(),
    ]


def _documents(directory: Path) -> list[dict[str, Any]]:
    return [
        document
        for path in sorted(directory.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]
