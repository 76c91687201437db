"""The Kubernetes objects that an installation of the operator needs, as dicts, for the sandbox and the tests.

The Helm chart installs the same objects; a test compares both. The CustomResourceDefinitions are files in ``crds/`` at
the root of the repository. A wheel contains a copy of them in this package (``setup.py``).
"""

from pathlib import Path
from typing import Any, Final

import yaml

from gpuenv.api.names import OPERATOR, OPERATOR_NAMESPACE
from gpuenv.manifests.permissions import roles

_HERE: Final = Path(__file__).parent
_IN_WHEEL: Final = _HERE / "crds"
_IN_CHECKOUT: Final = _HERE.parents[2] / "crds"


def crds() -> list[dict[str, Any]]:
    """Return the CustomResourceDefinitions of GPUEnvironment and GPUNodeReport."""
    return _documents(_IN_WHEEL if _IN_WHEEL.is_dir() else _IN_CHECKOUT)


def load() -> list[dict[str, Any]]:
    """Return all objects except the CustomResourceDefinitions, in an order in which they can be created.

    They are the admission policies, the namespaces, the PriorityClass, the roles for people, the service account and its
    roles.
    """
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
