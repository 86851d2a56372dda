"""New versions: stored, committed under a condition, abandoned where that does not end well."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from object_service_rig import ServiceRig, etag_of

from common.errors import NotFound, OutcomeUnknown, Refused, Unavailable
from common.ids import VersionId
from common.limits import MAX_COMMIT_TRIES
from common.reasons import Outage, Refusal
from common.wire import messages as m
from gateway.buckets import create_bucket, delete_bucket
from gateway.conditions import WriteCondition


@pytest.fixture
async def rig(autojump_clock: object) -> ServiceRig:
    made = ServiceRig()
    await made.make_bucket()
    return made


def before_commits(rig: ServiceRig, times: int, act: Callable[[], Awaitable[Any]]) -> None:
    """Let another gateway act between the decision and the commit, so many times."""
    left = [act] * times

    async def interfere(request: Any) -> None:
        if left:
            interfering = left.pop()
            del rig.coordinators.faults[m.ObjectCommit]
            await interfering()
            rig.coordinators.faults[m.ObjectCommit] = interfere

    rig.coordinators.faults[m.ObjectCommit] = interfere


async def test_a_new_version_is_what_other_gateways_find(rig: ServiceRig) -> None:
    await rig.put(rig.one, b"first")
    version_id = await rig.put(rig.one, b"second")
    found = await rig.found()
    assert (found.record.version_id, found.metadata.etag) == (version_id, etag_of(b"second"))


async def test_writes_at_once_all_go_to_a_bucket_that_was_made_again(rig: ServiceRig) -> None:
    await delete_bucket(rig.other, rig.bucket)
    await create_bucket(rig.other, rig.tenant, "bucket")
    made: list[VersionId] = []

    async def write(data: bytes) -> None:
        made.append(await rig.put(rig.one, data))

    async with trio.open_nursery() as nursery:
        for data in (b"one", b"two", b"three"):
            nursery.start_soon(write, data)
    assert len(made) == 3
    assert (await rig.found()).record.version_id in made


async def test_where_no_object_may_be_none_is_replaced(rig: ServiceRig) -> None:
    absent = WriteCondition(absent=True)
    await rig.put(rig.one, b"first", absent)
    with pytest.raises(Refused, match="object_exists"):
        await rig.put(rig.other, b"second", absent)
    assert (await rig.found()).metadata.etag == etag_of(b"first")
    assert len(rig.swarm.abandoned) == 1


async def test_an_etag_is_compared_again_when_another_write_came_between(rig: ServiceRig) -> None:
    await rig.put(rig.one, b"same")
    same = WriteCondition(etag=etag_of(b"same"))
    before_commits(rig, MAX_COMMIT_TRIES - 1, lambda: rig.put(rig.other, b"same"))
    await rig.put(rig.one, b"new", same)
    assert (await rig.found()).metadata.etag == etag_of(b"new")
    await rig.put(rig.one, b"same")
    before_commits(rig, 1, lambda: rig.put(rig.other, b"another"))
    with pytest.raises(Refused, match="etag_differs"):
        await rig.put(rig.one, b"new", same)


async def test_too_many_writes_in_between_are_a_conflict(rig: ServiceRig) -> None:
    await rig.put(rig.one, b"same")
    before_commits(rig, MAX_COMMIT_TRIES, lambda: rig.put(rig.other, b"same"))
    with pytest.raises(Refused, match="write_conflict"):
        await rig.put(rig.one, b"new", WriteCondition(etag=etag_of(b"same")))


async def test_what_is_not_committed_is_abandoned(rig: ServiceRig) -> None:
    rig.fail_the_next(m.ObjectCommit, Unavailable(Outage.STORE_FAILED))
    with pytest.raises(Unavailable, match="store_failed"):
        await rig.put(rig.one, b"lost")
    assert set(rig.swarm.abandoned) == rig.coordinators.abandoned
    assert len(rig.swarm.abandoned) == 1
    with pytest.raises(NotFound, match="no_such_object"):
        await rig.found()


async def test_what_is_abandoned_for_a_lost_reply_stays_if_it_was_committed(
    rig: ServiceRig,
) -> None:
    rig.lose_the_next_reply(m.ObjectCommit)
    with pytest.raises(OutcomeUnknown):
        await rig.put(rig.one, b"there")
    assert (await rig.found()).metadata.etag == etag_of(b"there")
    assert not rig.coordinators.abandoned


async def test_a_lease_that_ended_is_not_written_under_again(rig: ServiceRig) -> None:
    await rig.put(rig.one, b"first")
    ended = rig.coordinators.lease.held

    async def end(request: Any) -> None:
        del rig.coordinators.faults[m.ObjectCommit]
        rig.coordinators.end_leases()

    rig.coordinators.faults[m.ObjectCommit] = end
    with pytest.raises(Refused, match="lease_ended"):
        await rig.put(rig.one, b"second")
    await rig.put(rig.one, b"third")
    assert rig.coordinators.lease.held > ended
    assert (await rig.found()).metadata.etag == etag_of(b"third")


async def test_places_from_before_a_move_are_not_written_to_again(rig: ServiceRig) -> None:
    rig.fail_the_next(m.ObjectCommit, Unavailable(Outage.STORE_FAILED))
    with pytest.raises(Unavailable):
        await rig.put(rig.one, b"first")
    assert rig.swarm.forgotten == []
    rig.fail_the_next(m.ObjectCommit, Refused(Refusal.BELOW_QUORUM))
    with pytest.raises(Refused, match="below_quorum"):
        await rig.put(rig.one, b"second")
    assert rig.swarm.forgotten == [rig.tenant.tenant_id]
    assert len(rig.swarm.abandoned) == 2
