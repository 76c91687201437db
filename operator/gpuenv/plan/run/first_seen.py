"""Note when the operator first saw each state of a probe pod, from which the time limits of its run are measured.

The timestamps in a pod cannot be used for this. Some come from the API server's clock, others from the clock of the
node, and with five minutes between two of these clocks every run would be over at its beginning, or never.

After a restart, the operator sees all pods for the first time. If everything began anew, a pod that hangs would live
longer with each restart. Two timestamps come from the API server, whose clock can be read:
the creation, and the binding to the node. For a pod that existed before the operator, they are therefore measured on the
API server's own clock. The states that a kubelet reports, and a deletion, count from the moment at which this operator
saw them; the limit of the whole run, which counts from the creation, ends a pod also under an operator that restarts
every few minutes (:func:`gpuenv.plan.run.clocks.longest`).
"""

from gpuenv.plan.run.clocks import is_over
from gpuenv.plan.snapshot import FirstSeen, PodRecord


def first_seen(
    pod: PodRecord, before: PodRecord | None, now: float, server_time: float | None = None
) -> FirstSeen:
    """Return when each state of a pod was first seen, as of ``now`` (steady seconds).

    ``before`` is the pod's last record, None if the pod is new to the operator. ``server_time`` is the time of the API
    server's clock in epoch seconds; None if the pod cannot be older than the operator, or if the time is not known.
    """
    is_new = before is None or before.uid != pod.uid
    known = FirstSeen() if before is None or is_new else before.seen

    def stamped(stamp: float | None) -> float:
        """Return the steady time of one of the API server's timestamps, or the present if that is not possible."""
        return now if server_time is None or not stamp else now - max(0.0, server_time - stamp)

    def since(earlier: float | None, state: object) -> float | None:
        """Return when a state was first seen; None if the pod is not in it and never was."""
        return earlier if earlier is not None or state is None else now

    scheduled = known.scheduled
    if scheduled is None and pod.scheduled_at is not None:
        scheduled = stamped(pod.scheduled_at)
    return FirstSeen(
        created=stamped(pod.created_at) if is_new else known.created,
        scheduled=scheduled,
        sandbox_ready=since(known.sandbox_ready, pod.sandbox_ready_at),
        facts_started=since(known.facts_started, pod.facts.started_at),
        facts_finished=since(known.facts_finished, pod.facts.finished_at),
        kernels_started=since(known.kernels_started, pod.kernels.started_at),
        deleting=since(known.deleting, pod.deleting_since),
        over=since(known.over, is_over(pod) or None),
        ended_first=known.ended_first or (is_over(pod) and not pod.vanished and pod.deleting_since is None),
    )
