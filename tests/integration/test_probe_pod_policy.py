"""What may be created in the namespace of the probe pods, tried against the real API server.

Every row is tried as the operator, whose token is the one to fear, after Pod Security is out of the way. The limits are
the defaults; tests/integration/test_policy_follows_limits.py tries others.
"""

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest
from tests.support.cluster import Kubectl
from tests.support.probe_pods import built, changed
from tests.support.unique import unique
from tests.support.wait import wait_until, wait_until_async

from gpuenv.api import names
from gpuenv.api.names import OPERATOR, OPERATOR_NAMESPACE, PROBE_NAMESPACE
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv_sandbox.control_plane.admin_client import ApiError as AdminError
from gpuenv_sandbox.control_plane.cluster import ControlPlane

Raw = dict[str, Any]

ENFORCE = "pod-security.kubernetes.io/enforce"
DRY = "?dryRun=All&fieldValidation=Strict"
PODS = f"/api/v1/namespaces/{PROBE_NAMESPACE}/pods{DRY}"
OTHER = "other-than-gpuenv"
POLICY = "ValidatingAdmissionPolicy 'gpuenv-probe-pods'"
NOT_RESTARTED = "which are not restarted"
"""Words about fields that the oldest Kubernetes refuses itself."""


HONEST: dict[str, Raw] = {
    "plain": {},
    "everything": {
        "checks": {
            "features": ["Compile"],
            "commands": [{"name": "a", "command": ["sh", "-c", "echo $HOME"], "timeoutSeconds": 9}],
        },
        "probe": {
            "device": {"resourceName": "nvidia.com/mig-1g.10gb", "count": 8},
            "resources": {
                "limits": {"memory": "64Gi", "cpu": 16, "ephemeral-storage": "32Gi"},
                "requests": {"memory": "1Gi"},
            },
            "env": [
                {"name": "HF_HOME", "value": "/tmp/hf"},
                {"name": "LD_PRELOAD", "value": "$(HOME)/$x.so"},
            ],
            "useEntrypoint": True,
            "podLabels": {"kueue.x-k8s.io/queue-name": "probes"},
            "tolerations": [{"operator": "Exists"}, {"key": "team", "operator": "Exists"}],
            "timeouts": dict.fromkeys(
                ("schedulingSeconds", "setupSeconds", "pullSeconds", "runSeconds"), 3600
            ),
        },
    },
    "the images own user and a writable root": {"probe": {"runAs": "Image", "rootFilesystem": "Writable"}},
    "the images own user": {"probe": {"runAs": "Image"}},
}


@pytest.fixture(scope="module")
def cluster(policed: ControlPlane) -> Iterator[ControlPlane]:
    """The control plane, in which Pod Security does not refuse the same things first."""
    kubectl = Kubectl(policed)
    wait_until(lambda: kubectl.run("get", "serviceaccount", "default", "-n", PROBE_NAMESPACE).returncode == 0)
    kubectl("label", "--overwrite", f"namespace/{PROBE_NAMESPACE}", f"{ENFORCE}=privileged")
    # Classes and an account that the cluster has and probes may not use.
    kubectl("create", "priorityclass", OTHER, "--value=0")
    kubectl("create", "serviceaccount", OTHER, "-n", PROBE_NAMESPACE)
    runtime = {"metadata": {"name": OTHER}, "handler": OTHER}
    policed.admin.create("/apis/node.k8s.io/v1/runtimeclasses", runtime)
    yield policed
    kubectl("delete", f"priorityclass/{OTHER}", f"runtimeclass/{OTHER}")
    kubectl("delete", "serviceaccount", OTHER, "-n", PROBE_NAMESPACE)
    kubectl("label", "--overwrite", f"namespace/{PROBE_NAMESPACE}", f"{ENFORCE}=restricted")


@pytest.fixture
async def operator(cluster: ControlPlane) -> AsyncIterator[Kube]:
    """The operator's own client, with the operator's rights."""
    kubeconfig = cluster.kubeconfig_for_service_account(OPERATOR_NAMESPACE, OPERATOR)
    async with await Kube.from_environment(str(kubeconfig)) as kube:
        yield kube


@pytest.mark.parametrize("spec", HONEST.values(), ids=HONEST.keys())
@pytest.mark.parametrize(
    "settings", [{}, {"user_namespaces": "WhereSupported"}, {"openshift": True}], ids=str
)
async def test_what_gpuenv_makes_is_admitted(operator: Kube, spec: Raw, settings: Raw) -> None:
    pod = await operator.create(PODS, built(settings=settings, **spec))
    assert {one["name"] for one in pod["spec"]["volumes"]} == {"probe", "tmp"}, "no token"


async def test_what_the_cluster_adds_is_admitted(operator: Kube) -> None:
    pod = built()
    pod["metadata"]["labels"]["kueue.x-k8s.io/managed"] = "true"
    pod["metadata"]["finalizers"] = ["kueue.x-k8s.io/managed"]
    pod["metadata"]["annotations"] |= {"openshift.io/scc": "restricted-v2", "kubernetes.io/limit-ranger": "x"}
    pod["spec"]["schedulingGates"] = [{"name": "kueue.x-k8s.io/admission"}]
    pod["spec"]["imagePullSecrets"] = [{"name": "default-dockercfg-x7k2p"}]
    pod["spec"]["securityContext"] |= {"seLinuxOptions": {"level": "s0:c26,c5"}, "fsGroup": 1_000_680_000}
    pod["spec"]["dnsConfig"] = {"options": [{"name": "ndots", "value": "2"}]}
    pod["spec"]["tolerations"].append({"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"})
    await operator.create(PODS, pod)


CONTAINER = ("spec", "containers", 0)
VARIABLE = (*CONTAINER, "env", 0)
SECRET = {"secretKeyRef": {"name": "team-registry", "key": ".dockerconfigjson"}}
TOKEN = {"sources": [{"serviceAccountToken": {"path": "token"}}]}
TERM = {"topologyKey": "kubernetes.io/hostname", "namespaceSelector": {}, "labelSelector": {}}
ALONE = {"requiredDuringSchedulingIgnoredDuringExecution": [TERM]}
CALL = {"httpGet": {"host": "169.254.169.254", "port": 80}}
CLAIM = {"claimName": "a"}
CSI = {"driver": "secrets-store.csi.k8s.io"}
RESOURCES = (*CONTAINER, "resources", "limits")
SECURITY = ("spec", "securityContext")
NODE_TERMS = (
    "spec",
    "affinity",
    "nodeAffinity",
    "requiredDuringSchedulingIgnoredDuringExecution",
    "nodeSelectorTerms",
)
OF_CONTAINER = (*CONTAINER, "securityContext")
PROBE = {names.LABEL_COMPONENT: names.COMPONENT_PROBE}
UNCONFINED = {"type": "Unconfined"}
EVERYTHING = {"key": "a", "operator": "Exists"}
RULES = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]
RULED = built()["spec"]["containers"][0] | {"restartPolicy": "Never", "restartPolicyRules": RULES}


def bulky(depth: int) -> Raw:
    """Return an entry of managedFields with 3,000 fields that the pod does not have, this many levels deep."""
    fields: Raw = {f"f:{number:080}": {} for number in range(3000)}
    for _ in range(depth):
        fields = {"f:spec": fields}
    kind = {"manager": OPERATOR, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1"}
    return kind | {"time": "2020-01-01T00:00:00Z", "fieldsV1": fields}


OWNER = [{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "1"}]
ABUSES: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    # what: path in the pod, value, words of the refusal; the first of them is the field
    "a class that preempts": (("spec", "priorityClassName"), "system-node-critical", "spec.priorityClassName: limits."),
    "another class": (("spec", "priorityClassName"), OTHER, "spec.priorityClassName: limits."),
    "a device nobody named": ((*RESOURCES, "devices.kubevirt.io/kvm"), "1", "resources: no pattern in limits."),
    "RDMA": ((*RESOURCES, "rdma/hca"), "1", "resources: no pattern in limits."),
    "huge pages": ((*RESOURCES, "hugepages-2Mi"), "2Mi", "resources: no pattern in limits."),
    "more devices": ((*RESOURCES, "nvidia.com/gpu"), "9", "more devices than limits.maxDevices"),
    "more memory": ((*RESOURCES, "memory"), "65Gi", "limits.maxResources"),
    "more CPU": ((*RESOURCES, "cpu"), "16001m", "limits.maxResources"),
    "more disk": ((*RESOURCES, "ephemeral-storage"), "33Gi", "limits.maxResources"),
    "memory without limit": ((*RESOURCES, "memory"), None, "limits.maxResources"),
    "disk with the limit 0": ((*RESOURCES, "ephemeral-storage"), "0", "limits.maxResources"),
    "all GPUs by a variable": (VARIABLE, {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}, "spec.containers[].env: NVIDIA_*"),
    "IMEX by a variable": (VARIABLE, {"name": "NVIDIA_IMEX_CHANNELS", "value": "0"}, "spec.containers[].env: NVIDIA_*"),
    "a secret as a variable": (VARIABLE, {"name": "A", "valueFrom": SECRET}, "no valueFrom and no envFrom"),
    "all secrets as variables": ((*CONTAINER, "envFrom"), [{"secretRef": {"name": "a"}}], "no valueFrom and no envFrom"),
    "commands of a megabyte": ((*CONTAINER, "env", -1, "value"), "x" * 65537, "limits.maxCommandBytes"),
    "a second network": (("metadata", "annotations", "k8s.v1.cni.cncf.io/networks"), "storage", "metadata.annotations: limits."),
    "a webhook's annotation": (("metadata", "annotations", "vault.hashicorp.com/agent-inject"), "true", "podAnnotationKeys"),
    "a webhook's label": (("metadata", "labels", "azure.workload.identity/use"), "true", "metadata.labels: limits.podLabelKeys"),
    "a large annotation": (("metadata", "annotations", "gpuenv.dev/a"), "x" * 16384, "32 others of 16384 characters together"),
    "many annotations": (("metadata", "annotations"), {f"gpuenv.dev/{key}": "" for key in range(33)}, "32 others"),
    "many labels": (("metadata", "labels"), {f"gpuenv.dev/{key}": "" for key in range(64)} | PROBE, "at most 64 labels"),
    "a finalizer": (("metadata", "finalizers"), ["example.com/keep"], "metadata: a probe pod has no finalizers"),
    "another runtime": (("spec", "runtimeClassName"), OTHER, "spec.runtimeClassName: limits.runtimeClassNames"),
    "another scheduler": (("spec", "schedulerName"), "mine", "spec.schedulerName: limits.schedulerNames"),
    "a pod for days": (("spec", "activeDeadlineSeconds"), 432_300, "spec.activeDeadlineSeconds"),
    "a pod for ever": (("spec", "activeDeadlineSeconds"), None, "spec.activeDeadlineSeconds"),
    "a pod that goes slowly": (("spec", "terminationGracePeriodSeconds"), 86_400, "spec.activeDeadlineSeconds"),
    "a pod that is restarted": (("spec", "restartPolicy"), "Always", "is not restarted"),
    "a pull secret": (("spec", "imagePullSecrets"), [{"name": "team-registry"}], "imagePullSecrets: limits.pullSecrets"),
    "the token of the account": (("spec", "automountServiceAccountToken"), True, "automountServiceAccountToken is false"),
    "another account": (("spec", "serviceAccountName"), OTHER, "spec.serviceAccountName"),
    "a token as a volume": (("spec", "volumes", 1), {"name": "tmp", "projected": TOKEN}, "spec.volumes"),
    "a secret as a volume": (("spec", "volumes", 1), {"name": "tmp", "secret": {"secretName": "a"}}, "spec.volumes"),
    "a directory of the node": (("spec", "volumes", 1), {"name": "tmp", "hostPath": {"path": "/"}}, "spec.volumes"),
    "another ConfigMap": (("spec", "volumes", 1), {"name": "tmp", "configMap": {"name": "a"}}, "spec.volumes"),
    "a CSI volume": (("spec", "volumes", 1), {"name": "tmp", "csi": CSI}, "spec.volumes"),
    "a claim": (("spec", "volumes", 1), {"name": "tmp", "persistentVolumeClaim": CLAIM}, "spec.volumes"),
    "a volume without limit": (("spec", "volumes", 1), {"name": "tmp", "emptyDir": {}}, "spec.volumes"),
    "past the scheduler": (("spec", "nodeName"), "n1", "no nodeName"),
    "the node's network": (("spec", "hostNetwork"), True, "uses no namespaces of its host"),
    "the node's processes": (("spec", "hostPID"), True, "uses no namespaces of its host"),
    "the node's IPC": (("spec", "hostIPC"), True, "uses no namespaces of its host"),
    "a node for itself": (("spec", "affinity", "podAntiAffinity"), ALONE, "keeps no other pods away"),
    "a call by the kubelet": ((*CONTAINER, "livenessProbe"), CALL, "no probes of its own"),
    "a hook": ((*CONTAINER, "lifecycle"), {"preStop": {"exec": {"command": ["sh"]}}}, "lifecycle hooks"),
    "a port": ((*CONTAINER, "ports"), [{"containerPort": 80, "hostPort": 80}], "no ports"),
    "privileged": ((*CONTAINER, "securityContext"), {"privileged": True}, "securityContext"),
    "a capability": ((*CONTAINER, "securityContext", "capabilities"), {"drop": ["ALL"], "add": ["SYS_ADMIN"]}, "securityContext"),
    "a sidecar": (("spec", "initContainers", 0, "restartPolicy"), "Always", "of the same image"),
    "another image first": (("spec", "initContainers", 0, "image"), "other:1", "of the same image"),
    "an owner": (("metadata", "ownerReferences"), OWNER, "no ownerReferences"),
    "a network's device": ((*RESOURCES, "nvidia.com/hostdev"), "1", "limits.resourceNames"),
    "many kinds of devices": ((*RESOURCES, "nvidia.com/mig-1g.5gb"), "8", "limits.maxDevices"),
    "more containers": (("spec", "containers"), 2, "spec.containers: a probe pod has one container"),
    "a variable of gigabytes": ((*VARIABLE, "value"), "$(B)$(B)", "write $$(NAME)"),
    "an odd number of dollar signs": ((*VARIABLE, "value"), "a$$$(B)", "write $$(NAME)"),
    "a command of gigabytes": ((*CONTAINER, "command", 0), "$(B)", "write $$(NAME)"),
    "arguments of gigabytes": ((*CONTAINER, "args"), ["$(B)"], "write $$(NAME)"),
    "a variable of a megabyte": ((*VARIABLE, "value"), "x" * 600_000, "524288 bytes together"),
    "many variables": ((*CONTAINER, "env"), [{"name": f"A{one}"} for one in range(129)], "at most 128 variables"),
    "arguments of a megabyte": ((*CONTAINER, "args"), ["x" * 600_000] * 2, "8192 bytes together"),
    "many arguments": ((*CONTAINER, "args"), [""] * 9, "at most 8 words"),
    "a path with a variable": ((*CONTAINER, "volumeMounts", 0, "subPathExpr"), "$(B)", "without subPath"),
    "a directory of the image": ((*CONTAINER, "workingDir"), "/" + "x" * 5000, "no workingDir"),
    "names of hosts": (("spec", "hostAliases"), [{"ip": "10.0.0.1", "hostnames": ["a"]}], "no hostAliases"),
    "many tolerations": (("spec", "tolerations"), [EVERYTHING] * 65, "64 tolerations"),
    "many labels of nodes": (("spec", "nodeSelector"), {f"a{one}": "" for one in range(33)}, "32 labels in its nodeSelector"),
    "many nodes": (NODE_TERMS, [{"matchExpressions": [EVERYTHING]}] * 5, "at most four terms"),
    "names of fields": (("metadata", "managedFields"), [bulky(0)], "names of fields of at most 131072 bytes"),
    "deep names of fields": (("metadata", "managedFields"), [bulky(8)], "names of fields of at most 131072 bytes"),
    "a container that is restarted": ((*CONTAINER, "restartPolicy"), "Always", NOT_RESTARTED),
    "rules of restarts": (CONTAINER, RULED, NOT_RESTARTED),
    "root": ((*SECURITY, "runAsUser"), 0, "runs as no root"),
    "root in a container": ((*OF_CONTAINER, "runAsUser"), 0, "runs as no root"),
    "no seccomp": ((*SECURITY, "seccompProfile"), UNCONFINED, "profiles RuntimeDefault"),
    "no seccomp named": ((*SECURITY, "seccompProfile"), None, "profiles RuntimeDefault"),
    "no seccomp in a container": ((*OF_CONTAINER, "seccompProfile"), UNCONFINED, "profiles RuntimeDefault"),
    "no AppArmor": ((*SECURITY, "appArmorProfile"), UNCONFINED, "profiles RuntimeDefault"),
    "no AppArmor in a container": ((*OF_CONTAINER, "appArmorProfile"), UNCONFINED, "profiles RuntimeDefault"),
    "no SELinux": ((*SECURITY, "seLinuxOptions"), {"type": "spc_t"}, "of SELinux only the level"),
    "no SELinux in a container": ((*OF_CONTAINER, "seLinuxOptions"), {"type": "spc_t"}, "of SELinux only the level"),
    "a setting of the kernel": ((*SECURITY, "sysctls"), [{"name": "kernel.shm_rmid_forced", "value": "1"}], "sets no sysctls"),
    "claims of devices": (("spec", "resourceClaims"), [{"name": "a", "resourceClaimName": "theirs"}], "no resourceClaims"),
}  # fmt: skip


@pytest.mark.parametrize(("path", "value", "words"), ABUSES.values(), ids=ABUSES.keys())
async def test_nothing_else(
    operator: Kube, cluster: ControlPlane, path: tuple[Any, ...], value: Any, words: str
) -> None:
    """An older API server does not know a field, and then refuses or drops it."""
    try:
        made = await operator.create(PODS, changed(built(), path, value))
    except ApiError as refused:
        if refused.status in (400, 422):
            assert words == NOT_RESTARTED
            assert "restartPolicy" in refused.message
            return
        assert refused.status == 403
        assert POLICY in refused.message
        assert words in refused.message
    else:
        assert path == ("spec", "resourceClaims")
        assert "resourceClaims" not in made["spec"]


async def test_the_users_of_images_need_a_namespace_that_allows_them(
    operator: Kube, cluster: ControlPlane
) -> None:
    """A namespace without the label of Pod Security is as strict as one with the level restricted."""
    pod = built(probe={"runAs": "Image"})
    path = f"/api/v1/namespaces/{PROBE_NAMESPACE}"
    try:
        cluster.admin.merge(path, {"metadata": {"labels": {ENFORCE: None}}})
        await wait_until_async(partial(root_is, operator, pod, allowed=False))
    finally:
        cluster.admin.merge(path, {"metadata": {"labels": {ENFORCE: "privileged"}}})
    await wait_until_async(partial(root_is, operator, pod, allowed=True))


async def root_is(operator: Kube, pod: Raw, *, allowed: bool) -> bool:
    """Return whether the policy admits or refuses a pod that may run as root. The API server's cache of namespaces lags."""
    try:
        await operator.create(PODS, pod)
    except ApiError as refused:
        assert POLICY in refused.message
        assert "enforce: baseline" in refused.message
        return not allowed
    return allowed


async def test_literal_dollar_signs_are_admitted(operator: Kube) -> None:
    for value in ("$$(B)", "$", "$B", "a$$$$(B)", "$a$$(B)", "(B)$"):
        await operator.create(PODS, changed(built(), (*VARIABLE, "value"), value))


async def test_no_open_proc(operator: Kube, cluster: ControlPlane) -> None:
    """An API server without this feature drops the field, and then admits the pod without it."""
    pod = built(settings={"user_namespaces": "WhereSupported"})
    assert pod["spec"]["hostUsers"] is False, "otherwise the API server itself refuses it"
    path = (*CONTAINER, "securityContext", "procMount")
    assert await operator.create(PODS, changed(pod, path, "Default"))
    try:
        made = await operator.create(PODS, changed(pod, path, "Unmasked"))
    except ApiError as refused:
        assert POLICY in refused.message
        assert "its /proc is masked (procMount)" in refused.message
    else:
        assert made["spec"]["containers"][0]["securityContext"].get("procMount") != "Unmasked"


def test_nobody_else_may_either(cluster: ControlPlane) -> None:
    """The namespace has nothing but probe pods, and whoever may create pods there is bound like the operator."""
    with pytest.raises(AdminError, match="spec\\.priorityClassName"):
        cluster.admin.create(PODS, changed(built(), ("spec", "priorityClassName"), "system-node-critical"))


async def test_the_operator_changes_no_pod_and_creates_none_elsewhere(
    operator: Kube, cluster: ControlPlane
) -> None:
    """Its roles already refuse this. The policy does so too if somebody gives the account more."""
    role = unique("more")
    kubectl = Kubectl(cluster)
    resources = "--resource=pods,pods/ephemeralcontainers,pods/exec"
    kubectl("create", "clusterrole", role, "--verb=create,patch,update,delete", resources)
    kubectl(
        "create",
        "clusterrolebinding",
        role,
        f"--clusterrole={role}",
        f"--serviceaccount={OPERATOR_NAMESPACE}:{OPERATOR}",
    )
    name = cluster.admin.create(PODS.partition("?")[0], built(unique("e")))["metadata"]["name"]
    path = f"/api/v1/namespaces/{PROBE_NAMESPACE}/pods/{name}"
    debug = {"spec": {"ephemeralContainers": [{"name": "d", "image": "busybox:1"}]}}
    attempts = [
        (operator.merge_patch, path, {"metadata": {"labels": {"a": "b"}}}),
        (operator.strategic_patch, f"{path}/ephemeralcontainers", debug),
        (operator.create, f"/api/v1/namespaces/default/pods{DRY}", built(namespace="default")),
        (operator.create, PODS, changed(built(), ("metadata", "labels", names.LABEL_COMPONENT), "other")),
    ]
    try:
        for attempt, where, body in attempts:
            wait_until_allowed(kubectl)
            with pytest.raises(ApiError, match="'gpuenv-operator-pods'"):
                await attempt(where, body)
        await operator.delete(path, grace=0)
    finally:
        kubectl("delete", "clusterrolebinding,clusterrole", role)


def wait_until_allowed(kubectl: Kubectl) -> None:
    """Wait until the roles that the test adds are in force."""
    account = f"--as=system:serviceaccount:{OPERATOR_NAMESPACE}:{OPERATOR}"
    wait_until(lambda: kubectl.run("auth", "can-i", "patch", "pods", account).returncode == 0)


async def test_a_class_that_is_not_allowed_has_no_quota_either(installed: ControlPlane) -> None:
    """The ResourceQuota alone, in a namespace that the policy does not concern."""
    namespace = unique("quota")
    kubectl = Kubectl(installed)
    kubectl("create", "namespace", namespace)
    quota = installed.admin.get(
        f"/api/v1/namespaces/{PROBE_NAMESPACE}/resourcequotas/gpuenv-other-priorities"
    )
    path = f"/api/v1/namespaces/{namespace}"
    own = {"metadata": {"name": "quota"}, "spec": quota["spec"]}
    installed.admin.create(f"{path}/resourcequotas", own)
    wait_until(lambda: installed.admin.get(f"{path}/resourcequotas/quota").get("status", {}).get("hard"))
    wait_until(lambda: kubectl.run("get", "serviceaccount", "default", "-n", namespace).returncode == 0)
    installed.admin.create(f"{path}/pods{DRY}", built(namespace=namespace))
    for other in ("system-node-critical", None):
        with pytest.raises(AdminError, match="exceeded quota: quota, requested: pods=1"):
            pod = changed(built(namespace=namespace), ("spec", "priorityClassName"), other)
            installed.admin.create(f"{path}/pods{DRY}", pod)
    installed.admin.delete(path)
