"""Reasons about the node, and about probe pods that did not start or ended early on it."""

from gpuenv.api.reasons.row import LAST, OWN_RULE, Behaviour, NextRun, Start, finding
from gpuenv.api.remedies import Action

Stale = finding(
    "Stale",
    behaviour=Behaviour(depth=LAST, next_run=NextRun.AT_ONCE, warns=False, start=Start.UNRELATED),
    meaning="Driver, boot, node or image changed since the last verdict; a new run is due.",
    cause="Driver, kubelet boot, node or image changed since the last run.",
    action=Action.WAIT,
    cure="Nothing to do; a new run is scheduled.",
    source=OWN_RULE,
)

NotYetValidated = finding(
    "NotYetValidated",
    behaviour=Behaviour(depth=LAST, next_run=NextRun.AT_ONCE, warns=False, start=Start.UNRELATED),
    meaning="No probe has run for this generation yet.",
    cause="The environment is new, or its probe inputs changed.",
    action=Action.WAIT,
    cure="Wait for the run; gpuenv status shows the queue.",
    source=OWN_RULE,
)

GpuNotAdvertised = finding(
    "GpuNotAdvertised",
    behaviour=Behaviour(depth=332, next_run=NextRun.BLOCKED, warns=False, start=Start.UNRELATED),
    meaning="The node is selected but advertises no such device at the moment.",
    cause="The device plug-in restarts, is missing, or found no healthy GPU.",
    action=Action.INSPECT_NODE,
    cure="Look at the device plug-in's pod on the node.",
    source="https://kubernetes.io/docs/tasks/manage-gpus/scheduling-gpus/",
)

HeldOff = finding(
    "HeldOff",
    behaviour=Behaviour(depth=LAST, next_run=NextRun.BLOCKED, warns=False, start=Start.UNRELATED),
    meaning="The node is cordoned, under maintenance, or marked to be skipped.",
    cause="The node is cordoned, in a driver upgrade or MIG change, quarantined, or has the label gpuenv.dev/skip.",
    action=Action.END_MAINTENANCE,
    cure="Finish the maintenance; the run follows by itself.",
    source=OWN_RULE,
)

GpusBusy = finding(
    "GpusBusy",
    behaviour=Behaviour(
        depth=LAST, next_run=NextRun.BACKOFF, warns=False, start=Start.UNRELATED, excused=True
    ),
    meaning="All GPUs of the node are in use; the probe waits for its turn.",
    cause="Running pods hold all GPUs; probes never push anybody out.",
    action=Action.WAIT,
    cure="Nothing to do: the probe runs as soon as a GPU is free.",
    source=OWN_RULE,
)

Unschedulable = finding(
    "Unschedulable",
    behaviour=Behaviour(depth=338, next_run=NextRun.BACKOFF, warns=True, start=Start.UNRELATED, excused=True),
    meaning="The scheduler cannot place the probe pod on the node.",
    cause="Taints, resources, quota or admission keep the probe pod off the node.",
    action=Action.CHANGE_ENVIRONMENT,
    cure="Read the scheduler's message; add the toleration to probe.tolerations.",
    source="https://kubernetes.io/docs/tasks/debug/debug-application/debug-pods/",
)

ProbeRejected = finding(
    "ProbeRejected",
    behaviour=Behaviour(
        depth=LAST, next_run=NextRun.BACKOFF, warns=True, start=Start.UNRELATED, excused=True
    ),
    meaning="The API server refused the probe pod.",
    cause="Pod Security, a quota, a webhook or a missing class refused the pod.",
    action=Action.ALLOW_PROBE,
    cure="Read the message; allow what the environment asks, or ask for less.",
    source="https://kubernetes.io/docs/concepts/security/pod-security-admission/",
)

SandboxFailed = finding(
    "SandboxFailed",
    behaviour=Behaviour(depth=328, next_run=NextRun.BACKOFF, warns=True, start=Start.UNRELATED),
    meaning="The node could not set up the probe pod (runtime, network, volumes).",
    cause=(
        "The container runtime or the network of the node could not start the pod (a missing RuntimeClass "
        "handler, a full disk)."
    ),
    action=Action.INSPECT_NODE,
    cure="Look at the pod's events and at the node.",
    source="https://kubernetes.io/docs/tasks/debug/debug-application/debug-pods/",
)

ImagePullFailed = finding(
    "ImagePullFailed",
    behaviour=Behaviour(depth=LAST, next_run=NextRun.BACKOFF, warns=True, start=Start.UNRELATED),
    meaning="The node could not pull the image.",
    cause="The registry refused, the tag does not exist, or the network is down.",
    action=Action.FIX_IMAGE_PULL,
    cure="Check the name, imagePullSecrets and the registry from that node.",
    source="https://kubernetes.io/docs/concepts/containers/images/",
)

ImageArchMismatch = finding(
    "ImageArchMismatch",
    behaviour=Behaviour(depth=205, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="The image is not for this node's CPU architecture.",
    cause="The image has no variant for the node's CPU architecture.",
    action=Action.CHANGE_IMAGE,
    cure="Use a multi-platform image, or select nodes of one architecture.",
    source="https://kubernetes.io/docs/concepts/containers/images/",
)

ProbeTimeout = finding(
    "ProbeTimeout",
    behaviour=Behaviour(depth=610, next_run=NextRun.BACKOFF, warns=True, start=Start.UNRELATED),
    meaning="The probe did not finish in time.",
    cause="A kernel hangs, the node is very slow, or the limit is too tight.",
    action=Action.INSPECT_NODE,
    cure="Look at the node's kernel log; raise probe.timeouts.runSeconds when the node is merely slow.",
    source=OWN_RULE,
)

ProbeStuck = finding(
    "ProbeStuck",
    behaviour=Behaviour(depth=LAST, next_run=NextRun.BLOCKED, warns=True, start=Start.UNRELATED),
    meaning="The deleted probe pod does not end; the node is probed no more until it is gone.",
    cause="A process hangs in the driver and cannot be killed; the kubelet cannot end the pod.",
    action=Action.REBOOT_NODE,
    cure="Reboot the node; never force-delete the pod.",
    source="https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/",
)

ProbeCrashed = finding(
    "ProbeCrashed",
    behaviour=Behaviour(depth=LAST, next_run=NextRun.BACKOFF, warns=True, start=Start.UNRELATED),
    meaning="The probe ended without a report.",
    cause="The container ended before it wrote a report.",
    action=Action.INVESTIGATE,
    cure="Read the log of the failed pod (kubectl logs) and the node's kernel log.",
    source="https://kubernetes.io/docs/tasks/debug/debug-application/debug-pods/",
)

OomKilled = finding(
    "OomKilled",
    behaviour=Behaviour(depth=605, next_run=NextRun.BACKOFF, warns=True, start=Start.UNRELATED),
    meaning="The probe exceeded its memory limit and was killed.",
    cause="Importing torch and running the kernels took more host memory than the limit.",
    action=Action.CHANGE_ENVIRONMENT,
    cure="Raise spec.probe.resources.limits.memory.",
    source="https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/",
)

ReadOnlyFilesystem = finding(
    "ReadOnlyFilesystem",
    behaviour=Behaviour(depth=602, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="The image tried to write outside /tmp, and the probe pod's root file system is read-only.",
    cause=(
        "Probe pods have a read-only root file system, and a program of the image writes to it. This says nothing about "
        "image and node."
    ),
    action=Action.CHANGE_ENVIRONMENT,
    cure=(
        "Set spec.probe.rootFilesystem: Writable, or have the program write to /tmp, for example with a variable in "
        "spec.probe.env."
    ),
    source=OWN_RULE,
)

StorageExceeded = finding(
    "StorageExceeded",
    behaviour=Behaviour(depth=LAST, next_run=NextRun.BACKOFF, warns=True, start=Start.UNRELATED),
    meaning="The probe wrote more than its limit of local storage, and its pod was evicted.",
    cause="The image filled /tmp, its root file system or its log. This says nothing about image and node.",
    action=Action.CHANGE_ENVIRONMENT,
    cure="Raise spec.probe.resources.limits.ephemeral-storage, which is also the size of /tmp, or write less.",
    source="https://kubernetes.io/docs/concepts/storage/ephemeral-storage/",
)

UserNamespaceFailed = finding(
    "UserNamespaceFailed",
    behaviour=Behaviour(depth=LAST, next_run=NextRun.BACKOFF, warns=True, start=Start.UNRELATED),
    meaning="The probe pod did not start in a user namespace of its own.",
    cause=(
        "The operator runs with --user-namespaces=WhereSupported, and the container runtime, the NVIDIA Container Toolkit "
        "or the image's user cannot start in a user namespace."
    ),
    action=Action.ALLOW_PROBE,
    cure=(
        "Set the chart's value probes.userNamespaces (the operator's flag --user-namespaces) to Never. If the pod does not "
        "start then either, the message names another cause."
    ),
    source="https://github.com/NVIDIA/cloud-native-docs/pull/403",
)

Evicted = finding(
    "Evicted",
    behaviour=Behaviour(depth=LAST, next_run=NextRun.BACKOFF, warns=True, start=Start.UNRELATED),
    meaning="The probe pod was evicted.",
    cause="The node ran out of memory, disk or processes.",
    action=Action.INSPECT_NODE,
    cure="Relieve the node; the run is repeated.",
    source="https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/",
)

Preempted = finding(
    "Preempted",
    behaviour=Behaviour(
        depth=LAST, next_run=NextRun.BACKOFF, warns=False, start=Start.UNRELATED, excused=True
    ),
    meaning="The probe pod had to make room for another pod.",
    cause="A pod of higher priority needed the place.",
    action=Action.WAIT,
    cure="Nothing to do; the run is repeated.",
    source="https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/",
)

ProbePodDeleted = finding(
    "ProbePodDeleted",
    behaviour=Behaviour(
        depth=LAST, next_run=NextRun.BACKOFF, warns=True, start=Start.UNRELATED, excused=True
    ),
    meaning="Somebody deleted the probe pod before it reported.",
    cause="A person or a controller deleted the pod.",
    action=Action.WAIT,
    cure="Nothing to do; the run is repeated.",
    source="https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/",
)

ReportInvalid = finding(
    "ReportInvalid",
    behaviour=Behaviour(depth=LAST, next_run=NextRun.BACKOFF, warns=True, start=Start.UNRELATED),
    meaning="What the probe left behind is not a readable report.",
    cause="The termination message is empty, cut, or not the probe's.",
    action=Action.INVESTIGATE,
    cure=(
        "Check that the image's entry point does not write to /dev/termination-log; read the pod's log (kubectl logs)."
    ),
    source=OWN_RULE,
)

ReportRefused = finding(
    "ReportRefused",
    behaviour=Behaviour(depth=LAST, next_run=NextRun.BACKOFF, warns=True, start=Start.UNRELATED),
    meaning="The API server refused to store the result of the last run, so there is none.",
    cause="Its kinds are of another version of gpuenv, a policy or webhook refuses the report, or the report is too large.",
    action=Action.INVESTIGATE,
    cure="Read the message; install the CustomResourceDefinitions of this version, or change the policy that the message names.",
    source=OWN_RULE,
)

KernelsNotRun = finding(
    "KernelsNotRun",
    behaviour=Behaviour(depth=620, next_run=NextRun.BACKOFF, warns=True, start=Start.UNRELATED),
    meaning="No kernel result arrived; versions alone are no verdict.",
    cause="The second stage did not report; CUDA may have failed before it, or the pod ended early.",
    action=Action.REVALIDATE,
    cure="Look at the other checks first, then run again (in a cluster: gpuenv revalidate).",
    source=OWN_RULE,
)
