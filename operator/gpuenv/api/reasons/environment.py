"""Reasons of the conditions in the status of an environment."""

from gpuenv.api.reasons.row import OWN_RULE, NextRun, condition

NoMatchingNodes = condition(
    "NoMatchingNodes",
    next_run=NextRun.ON_CHANGE,
    warns=True,
    meaning="No node matches the environment's selection.",
    cause="nodes.selector matches no GPU node.",
    cure="Wait for nodes, if they are started on demand; or correct the selector: kubectl get nodes --show-labels.",
    source=OWN_RULE,
)

Suspended = condition(
    "Suspended",
    next_run=NextRun.ON_CHANGE,
    warns=False,
    meaning="The environment is suspended.",
    cause="spec.suspend is true.",
    cure="Set spec.suspend to false.",
    source=OWN_RULE,
)

ClockSkew = condition(
    "ClockSkew",
    next_run=NextRun.NONE,
    warns=True,
    meaning="The clocks of the operator and the API server differ by more than 30 seconds.",
    cause="One of their machines does not synchronise its clock.",
    cure="Synchronise the clocks of both machines (NTP), and watch the metric gpuenv_clock_skew_seconds.",
    source=OWN_RULE,
)

BudgetSpent = condition(
    "BudgetSpent",
    next_run=NextRun.NONE,
    warns=False,
    meaning="The environment has used the GPU time that it may use in a day.",
    cause="The administrator sets gpuSecondsPerDay, and probe pods of the environment or its group have held GPUs for so long.",
    cure="Wait until the day ends (midnight UTC), or ask the administrator to raise gpuSecondsPerDay in the limits.",
    source=OWN_RULE,
)

SpecInvalid = condition(
    "SpecInvalid",
    next_run=NextRun.ON_CHANGE,
    warns=True,
    meaning="The specification cannot be understood.",
    cause="A field makes no sense.",
    cure="Correct the field that the message names.",
    source=OWN_RULE,
)

NotAllowed = condition(
    "NotAllowed",
    next_run=NextRun.ON_CHANGE,
    warns=True,
    meaning="The administrator's limits do not allow the environment.",
    cause="A field asks for more than the operator's limits allow, or there are too many environments.",
    cure="Change the field that the message names, or ask the administrator to change limits in the chart's values.",
    source=OWN_RULE,
)

SpecAccepted = condition(
    "SpecAccepted",
    next_run=NextRun.NONE,
    warns=False,
    meaning="The specification makes sense.",
    cause="The specification was understood.",
    cure="Nothing to do.",
    source=OWN_RULE,
)

Pending = condition(
    "Pending",
    next_run=NextRun.AT_ONCE,
    warns=False,
    meaning="The operator has not looked at the environment yet.",
    cause="The environment is new, or no operator runs.",
    cure="Wait a second; if it stays, look whether the operator runs: kubectl get pods -n gpuenv-system.",
    source=OWN_RULE,
)

UpToDate = condition(
    "UpToDate",
    next_run=NextRun.NONE,
    warns=False,
    meaning="The nodes show their verdicts.",
    cause="Every label and node condition that spec.publish asks for is written.",
    cure="Nothing to do.",
    source=OWN_RULE,
)

LabelRefused = condition(
    "LabelRefused",
    next_run=NextRun.NONE,
    warns=True,
    meaning="A label or condition of a node cannot be written.",
    cause="The API server refuses the write; the message quotes it.",
    cure="Change the policy or permission that the message names. The operator keeps trying.",
    source=OWN_RULE,
)

StatusRefused = condition(
    "StatusRefused",
    next_run=NextRun.NONE,
    warns=True,
    meaning="The status of the environment lacks its problems, digests and placement. Conditions and counts are there.",
    cause="The API server refused the whole status; the message quotes it.",
    cure=(
        "Install the CustomResourceDefinitions of this version, or change the policy that the message names. The operator "
        "tries the whole status again every hour."
    ),
    source=OWN_RULE,
)

MassChange = condition(
    "MassChange",
    next_run=NextRun.NONE,
    warns=True,
    meaning="So many nodes would leave Compatible at once that their labels are held back.",
    cause=(
        "Nobody changed the environment. A new driver, the tables of another version of gpuenv or a broken image made "
        "more of its nodes worse than operator.massChange of the chart's values allows."
    ),
    cure=(
        "Look at status.massChange and at the node reports, which are true. Repair the cause, or let the labels follow with "
        "the command in the message. docs/mass-change.md has the rule."
    ),
    source=OWN_RULE,
)

Disabled = condition(
    "Disabled",
    next_run=NextRun.NONE,
    warns=False,
    meaning="Verdicts are not shown on nodes.",
    cause="spec.publish has None for both the label and the condition of nodes.",
    cure="Set spec.publish.nodeLabel to Measured if pods are to be placed by the label.",
    source=OWN_RULE,
)

Measured = condition(
    "Measured",
    next_run=NextRun.NONE,
    warns=False,
    meaning="A probe ran the image on the node, and nothing has changed since.",
    cause="The verdict is that of the last run.",
    cure="Nothing to do.",
    source=OWN_RULE,
)

AllAnswered = condition(
    "AllAnswered",
    next_run=NextRun.NONE,
    warns=False,
    meaning="Every selected node has its answer.",
    cause="Every selected node has a verdict for this generation.",
    cure="Nothing to do.",
    source=OWN_RULE,
)

ValidationRunning = condition(
    "ValidationRunning",
    next_run=NextRun.AT_ONCE,
    warns=False,
    meaning="Some selected nodes have no answer for this generation yet, or it is not written to them yet.",
    cause="Probes are running or waiting, or reports and labels are still being written.",
    cure=(
        "Nothing to do, unless the message quotes a refusal of the API server: then a policy of the "
        "cluster keeps gpuenv from writing."
    ),
    source=OWN_RULE,
)

AllCompatible = condition(
    "AllCompatible",
    next_run=NextRun.NONE,
    warns=False,
    meaning="Every selected node is compatible.",
    cause="Every selected node can run the image.",
    cure="Nothing to do.",
    source=OWN_RULE,
)

SomeIncompatible = condition(
    "SomeIncompatible",
    next_run=NextRun.NONE,
    warns=False,
    meaning="Some selected nodes are incompatible.",
    cause="The problems in the status name nodes and reasons.",
    cure="Follow the remedies of each problem.",
    source=OWN_RULE,
)

SomeDegraded = condition(
    "SomeDegraded",
    next_run=NextRun.NONE,
    warns=False,
    meaning="Some selected nodes are degraded, none is incompatible.",
    cause="The problems in the status name nodes and reasons.",
    cure="Follow the remedies of each problem.",
    source=OWN_RULE,
)

SomeUnknown = condition(
    "SomeUnknown",
    next_run=NextRun.NONE,
    warns=False,
    meaning="Some selected nodes are unknown, none is incompatible or degraded.",
    cause="The problems in the status name nodes and reasons.",
    cure="Follow the remedies of each problem.",
    source=OWN_RULE,
)

OneContent = condition(
    "OneContent",
    next_run=NextRun.NONE,
    warns=False,
    meaning="One content and one set of versions everywhere.",
    cause="All nodes ran the same image digest and versions.",
    cure="Nothing to do.",
    source=OWN_RULE,
)

DifferentContent = condition(
    "DifferentContent",
    next_run=NextRun.NONE,
    warns=False,
    meaning="Nodes run different contents or versions under the same image name.",
    cause="A tag was moved, or nodes cache an older content of it.",
    cure="Pin the image by digest.",
    source="https://kubernetes.io/docs/concepts/containers/images/",
)

ContentUnknown = condition(
    "ContentUnknown",
    next_run=NextRun.NONE,
    warns=False,
    meaning="Too little has been reported to compare contents.",
    cause="No node reported the content of the image.",
    cure="Nothing to do.",
    source=OWN_RULE,
)
