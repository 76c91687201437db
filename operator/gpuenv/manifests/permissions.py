"""All permissions of the operator, each with the reason why it is needed.

Both the RBAC roles and the operator's check of its own permissions at its start are made from this list. The operator
needs no other permission: no access to secrets or to pods outside the probe namespace, and neither of the verbs
``update`` and ``delete`` for nodes. It may ask for its own permissions (SelfSubjectAccessReview) because the
ClusterRole ``system:basic-user`` allows that to every account.
"""

from dataclasses import dataclass
from typing import Any, Final

from gpuenv.api import names
from gpuenv.api.names import OPERATOR, OPERATOR_NAMESPACE, PROBE_NAMESPACE

EVENT_NAMESPACE: Final = "default"
"""Namespace of Events about cluster-scoped objects, the only one in which ``kubectl describe`` looks for them."""


@dataclass(frozen=True, slots=True)
class Permission:
    """One RBAC rule. It applies in ``namespace``, or in the whole cluster if ``namespace`` is "".

    If ``name`` is not "", the rule applies only to the object with this name.
    """

    group: str
    resource: str
    """The plural name of the resource. A subresource follows after a slash: ``nodes/status``."""
    verbs: tuple[str, ...]
    why: str
    """Why the permission is needed: a verb phrase that completes the sentence "needed to ..."."""
    namespace: str = ""
    name: str = ""


def permissions(
    operator_namespace: str = OPERATOR_NAMESPACE, probe_namespace: str = PROBE_NAMESPACE
) -> tuple[Permission, ...]:
    """Return all permissions of the operator, for an installation with these namespaces."""
    group = names.GROUP
    environments, reports = names.ENVIRONMENT_PLURAL, names.REPORT_PLURAL
    watch = ("get", "list", "watch")
    return (
        Permission("", "nodes", watch, "find GPU nodes and notice new drivers and reboots"),
        Permission("", "nodes", ("patch",), f"set the label {names.COMPAT_PREFIX}/<environment>"),
        Permission("", "nodes/status", ("patch",), "set the condition of spec.publish.nodeCondition"),
        Permission(group, environments, watch, "read the environments and notice changes"),
        Permission(group, environments, ("patch",), "add its finalizer to environments and remove it"),
        Permission(group, f"{environments}/status", ("patch",), "write the status of environments"),
        Permission(group, reports, watch, "read earlier verdicts after a restart"),
        Permission(group, reports, ("create",), "create a node report for each environment and node"),
        Permission(
            group,
            reports,
            ("delete", "deletecollection"),
            "delete the node reports of deleted nodes and environments",
        ),
        Permission(group, f"{reports}/status", ("patch",), "write verdicts"),
        Permission("", "pods", watch, "read the results of probe pods", probe_namespace),
        Permission("", "pods", ("create",), "start probe pods", probe_namespace),
        Permission("", "pods", ("delete",), "delete probe pods that have ended or hang", probe_namespace),
        Permission(
            "", "configmaps", ("get", "create"), "provide the probe program to probe pods", probe_namespace
        ),
        Permission(
            "",
            "configmaps",
            ("list", "delete"),
            "delete the probe programs of former versions",
            probe_namespace,
        ),
        Permission("", "events", ("create",), "show verdicts in kubectl describe", EVENT_NAMESPACE),
        Permission(
            "",
            "events",
            ("patch",),
            "raise the count of an Event instead of posting it again",
            EVENT_NAMESPACE,
        ),
        # A separate rule, because RBAC cannot restrict "create" to a name: the object does not exist yet.
        Permission("coordination.k8s.io", "leases", ("create",), "create its Lease", operator_namespace),
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
    """Return a ClusterRole, three Roles (probe pods, Events, Lease), and their bindings.

    The bindings grant the roles to the operator's service account. Each Role has its own name, because two Roles can be
    in the same namespace.
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
    """Return the name of the Role or ClusterRole that grants a permission."""
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
