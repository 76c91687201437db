"""What the operator may do, and why: the one table from which roles and the check at start are made.

Nothing else is needed: no secrets, no pods outside the probe namespace, no update or delete of a node.
Asking for one's own rights (SelfSubjectAccessReview) is everybody's right, by ``system:basic-user``.
"""

from dataclasses import dataclass
from typing import Any, Final

from gpuenv.api import names
from gpuenv.api.names import OPERATOR, OPERATOR_NAMESPACE, PROBE_NAMESPACE

EVENT_NAMESPACE: Final = "default"
"""Where Events about cluster-scoped objects belong: ``kubectl describe`` looks for them nowhere else."""


@dataclass(frozen=True, slots=True)
class Permission:
    """One rule. ``namespace`` empty: in the whole cluster. ``name`` narrows it down to one object."""

    group: str
    resource: str
    """With its subresource, where it is one: ``nodes/status``."""
    verbs: tuple[str, ...]
    why: str
    """What does not work without it; completes "needed to"."""
    namespace: str = ""
    name: str = ""


def permissions(
    operator_namespace: str = OPERATOR_NAMESPACE, probe_namespace: str = PROBE_NAMESPACE
) -> tuple[Permission, ...]:
    """Every permission of the operator, for an installation with these namespaces."""
    group = names.GROUP
    environments, reports = names.ENVIRONMENT_PLURAL, names.REPORT_PLURAL
    watch = ("get", "list", "watch")
    return (
        Permission("", "nodes", watch, "find GPU nodes and notice new drivers and reboots"),
        Permission("", "nodes", ("patch",), f"set the label {names.COMPAT_PREFIX}/<environment>"),
        Permission("", "nodes/status", ("patch",), "set the condition of spec.publish.nodeCondition"),
        Permission(group, environments, watch, "see which environments there are"),
        Permission(group, environments, ("patch",), "put its finalizer on environments and take it off"),
        Permission(group, f"{environments}/status", ("patch",), "write the status of environments"),
        Permission(group, reports, watch, "remember verdicts across restarts"),
        Permission(group, reports, ("create",), "make a report for each environment and node"),
        Permission(
            group,
            reports,
            ("delete", "deletecollection"),
            "remove reports of nodes and environments that are gone",
        ),
        Permission(group, f"{reports}/status", ("patch",), "write verdicts"),
        Permission("", "pods", watch, "read what probes report", probe_namespace),
        Permission("", "pods", ("create",), "start probes", probe_namespace),
        Permission("", "pods", ("delete",), "remove probes that have ended or hang", probe_namespace),
        Permission("", "configmaps", ("get", "create"), "hand probes their program", probe_namespace),
        Permission(
            "", "configmaps", ("list", "delete"), "remove programs of former versions", probe_namespace
        ),
        Permission("", "events", ("create",), "tell of verdicts in kubectl describe", EVENT_NAMESPACE),
        Permission("", "events", ("patch",), "count an Event up instead of repeating it", EVENT_NAMESPACE),
        # The name of an object that does not exist yet cannot be checked: creating is a rule of its own.
        Permission("coordination.k8s.io", "leases", ("create",), "make its Lease", operator_namespace),
        Permission(
            "coordination.k8s.io",
            "leases",
            ("get", "patch"),
            "hold its Lease, so that only one operator acts",
            operator_namespace,
            OPERATOR,
        ),
    )


def roles(
    operator_namespace: str = OPERATOR_NAMESPACE, probe_namespace: str = PROBE_NAMESPACE
) -> list[dict[str, Any]]:
    """A ClusterRole, a Role for each purpose, and their bindings to the operator's service account.

    Each has a name of its own, because two purposes may share a namespace.
    """
    by_purpose: dict[tuple[str, str], list[Permission]] = {}
    for permission in permissions(operator_namespace, probe_namespace):
        by_purpose.setdefault((permission.namespace, role_name(permission)), []).append(permission)
    documents: list[dict[str, Any]] = []
    for (namespace, name), members in by_purpose.items():
        kind = "Role" if namespace else "ClusterRole"
        metadata: dict[str, Any] = {"name": name} | ({"namespace": namespace} if namespace else {})
        api: dict[str, Any] = {"apiVersion": "rbac.authorization.k8s.io/v1"}
        subject = {"kind": "ServiceAccount", "name": OPERATOR, "namespace": operator_namespace}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
        documents += [
            api | {"kind": kind, "metadata": metadata, "rules": [_rule(one) for one in members]},
            api | {"kind": f"{kind}Binding", "metadata": metadata, "roleRef": role, "subjects": [subject]},
        ]
    return documents


def role_name(permission: Permission) -> str:
    """Name of the Role or ClusterRole that grants it."""
    if not permission.namespace:
        return OPERATOR
    purposes = {"events": "events", "leases": "lease"}
    return f"{OPERATOR}-{purposes.get(permission.resource, 'probes')}"


def _rule(permission: Permission) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "apiGroups": [permission.group],
        "resources": [permission.resource],
        "verbs": list(permission.verbs),
    }
    return rule | ({"resourceNames": [permission.name]} if permission.name else {})
