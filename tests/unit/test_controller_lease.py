"""The Lease between operators, over a stand-in client and real, short times."""

import asyncio

import pytest
from tests.support.fake_kube import FakeKube
from tests.support.wait import PATIENCE, wait_until_async

from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.lease import MARGIN, Lease, LeaseLostError, new_identity

LEASES = "/apis/coordination.k8s.io/v1/namespaces/ns/leases"


def lease(kube: FakeKube, identity: str, duration: float = 1.0) -> Lease:
    return Lease(kube, "ns", "one", identity, duration=duration, renew=0.1, retry=0.05)


async def test_the_first_takes_it_and_the_second_waits_until_it_is_released() -> None:
    kube = FakeKube()
    first, second = lease(kube, "a", duration=100 * PATIENCE), lease(kube, "b", duration=100 * PATIENCE)
    await first.acquire()
    keeping = asyncio.create_task(first.keep())
    waiting = asyncio.create_task(second.acquire())
    await wait_until_async(lambda: second.holder == "a")
    assert not waiting.done()
    keeping.cancel()
    await first.release()
    async with asyncio.timeout(PATIENCE):  # long before the lease would have run out
        await waiting
    assert second.held
    assert not first.held


async def test_two_processes_with_one_host_name_and_one_process_id_are_two_holders() -> None:
    """With hostNetwork, every pod of a node has the node's host name, and each process the id 1."""
    kube = FakeKube()
    first, second = lease(kube, new_identity(), 100 * PATIENCE), lease(kube, new_identity(), 100 * PATIENCE)
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await wait_until_async(lambda: second.holder)
    assert (first.held, second.held) == (True, False)
    waiting.cancel()


async def test_a_lease_nobody_renews_is_taken_over_after_its_duration() -> None:
    kube = FakeKube()
    await lease(kube, "a").acquire()
    second = lease(kube, "b")
    started = asyncio.get_running_loop().time()
    await second.acquire()
    assert asyncio.get_running_loop().time() - started >= 1.0
    assert kube.objects[f"{LEASES}/one"]["spec"]["leaseTransitions"] == 1


async def test_it_ends_for_its_holder_before_others_may_take_it() -> None:
    kube = FakeKube()
    first, second = lease(kube, "a"), lease(kube, "b")
    assert (first.seconds_left, first.held) == (0, False)
    await first.acquire()
    assert 0 < first.seconds_left <= (1 - MARGIN) * 1.0
    taking = asyncio.create_task(second.acquire())
    await wait_until_async(lambda: not first.held)
    assert not taking.done()
    await taking
    assert first.seconds_left == 0
    await second.release()
    assert second.seconds_left == 0


async def test_it_is_lost_only_to_somebody_else() -> None:
    kube = FakeKube()
    one = lease(kube, "a", duration=0.3)
    await one.acquire()
    keeping = asyncio.create_task(one.keep())
    kube.down = ApiError(0, "Unreachable", "nobody answers")
    await wait_until_async(lambda: not one.held)
    acting = asyncio.create_task(one.wait_held())
    await asyncio.wait({keeping, acting}, timeout=0.3)
    assert not keeping.done()
    assert not acting.done()
    kube.down = None
    async with asyncio.timeout(PATIENCE):
        await acting
    kube.touch(f"{LEASES}/one", lambda raw: raw["spec"].update(holderIdentity="b"))
    with pytest.raises(LeaseLostError, match="held by b"):
        async with asyncio.timeout(PATIENCE):
            await keeping


async def test_a_conflict_is_not_taken_for_success() -> None:
    kube = FakeKube()
    kube.add(LEASES, {"metadata": {"name": "one"}, "spec": {"holderIdentity": ""}})
    kube.fail("PATCH", "leases", 409, "Conflict")
    one = lease(kube, "a")
    await one.acquire()
    assert one.held
    assert kube.calls.count(("PATCH", f"{LEASES}/one")) == 2


async def test_releasing_leaves_anothers_lease_alone() -> None:
    kube = FakeKube()
    one = lease(kube, "a")
    await one.acquire()
    kube.touch(f"{LEASES}/one", lambda raw: raw["spec"].update(holderIdentity="b"))
    await one.release()
    assert kube.objects[f"{LEASES}/one"]["spec"]["holderIdentity"] == "b"


async def test_an_operator_does_not_leave_because_of_its_own_lease() -> None:
    """The renewal is stored but its answer is lost, so the client repeats it and gets 409. The Lease has expired."""
    kube = FakeKube()
    one = lease(kube, "a", duration=0.3)
    await one.acquire()
    kube.down = ApiError(0, "Unreachable", "nobody answers")
    keeping = asyncio.create_task(one.keep())
    await wait_until_async(lambda: not one.held)

    def lose_the_answer(method: str, path: str, body: object) -> None:
        if method == "PATCH":
            kube.hooks.remove(lose_the_answer)
            kube.touch(path, lambda raw: raw["spec"].update(renewTime="now"))
            raise ApiError(409, "Conflict", "the object has been modified")

    kube.hooks.append(lose_the_answer)
    kube.down = None
    await wait_until_async(lambda: one.held or keeping.done())
    assert not keeping.done()
    keeping.cancel()


@pytest.mark.parametrize("answer", [{"spec": []}, {"spec": {"holderIdentity": "a"}, "metadata": {}}])
async def test_releasing_never_fails(answer: object) -> None:
    kube = FakeKube()
    one = lease(kube, "a")
    await one.acquire()
    kube.answers[f"{LEASES}/one"] = answer
    await one.release()
    assert not one.held
