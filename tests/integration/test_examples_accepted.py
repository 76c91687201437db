"""The real API server accepts every example of a kind it knows, strictly."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from gpuenv_sandbox.control_plane.cluster import ControlPlane

EXAMPLES = Path(__file__).parents[2] / "examples"
COLLECTIONS = {
    "GPUEnvironment": "/apis/gpuenv.dev/v1alpha1/gpuenvironments",
    "Deployment": "/apis/apps/v1/namespaces/default/deployments",
    "ConfigMap": "/api/v1/namespaces/default/configmaps",
}
KNOWN = [
    pytest.param(document, id=f"{path.relative_to(EXAMPLES)}:{document['kind']}")
    for path in sorted(EXAMPLES.glob("**/*.yaml"))
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    if document["kind"] in COLLECTIONS
]


@pytest.mark.parametrize("document", KNOWN)
def test_accepted(installed: ControlPlane, document: dict[str, Any]) -> None:
    metadata = {key: value for key, value in document["metadata"].items() if key != "namespace"}
    path = f"{COLLECTIONS[document['kind']]}?dryRun=All&fieldValidation=Strict"
    installed.admin.create(path, document | {"metadata": metadata})
