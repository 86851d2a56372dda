"""Completing an upload in parts has one result, however often and by whomever it is asked for."""

from __future__ import annotations

from typing import Any

import pytest
from object_service_rig import NAME, ServiceRig

from common.errors import NotFound, OutcomeUnknown, Refused
from common.ids import VersionId
from common.limits import MIN_PART_BYTES
from common.wire import messages as m
from gateway.assembly import NamedPart
from gateway.completion import CompletedUpload, complete_upload
from gateway.conditions import WriteCondition
from gateway.object_service import ObjectService

LARGE, REST = b"l" * MIN_PART_BYTES, b"rest"


@pytest.fixture
async def rig(autojump_clock: object) -> ServiceRig:
    made = ServiceRig()
    await made.make_bucket()
    return made


async def complete(
    rig: ServiceRig,
    service: ObjectService,
    upload_id: VersionId,
    *parts: tuple[int, str],
    condition: WriteCondition | None = None,
) -> CompletedUpload:
    return await complete_upload(
        service,
        rig.bucket,
        NAME,
        upload_id,
        [NamedPart(number, etag, {}) for number, etag in parts],
        condition or WriteCondition(),
        lambda *_: None,
    )


async def two_parts(rig: ServiceRig) -> tuple[VersionId, tuple[int, str], tuple[int, str]]:
    upload_id = await rig.begin()
    first = (1, await rig.put_part(upload_id, 1, LARGE))
    return upload_id, first, (7, await rig.put_part(upload_id, 7, REST))


async def test_the_object_is_its_parts_in_their_order(rig: ServiceRig) -> None:
    upload_id, first, second = await two_parts(rig)
    made = await complete(rig, rig.one, upload_id, first, second)
    found = await rig.found()
    assert found.metadata == made.metadata
    assert found.record.version_id == upload_id
    read = rig.swarm.read(
        rig.tenant, "bucket", NAME, found.record, found.manifest, 0, found.manifest.size - 1
    )
    assert b"".join([bytes(piece) async for piece in read]) == LARGE + REST


async def test_a_completion_whose_reply_was_lost_is_carried_out_once(rig: ServiceRig) -> None:
    upload_id, *parts = await two_parts(rig)
    rig.lose_the_next_reply(m.UploadComplete)
    with pytest.raises(OutcomeUnknown):
        await complete(rig, rig.one, upload_id, *parts)
    made = (await rig.found()).metadata
    for service in (rig.one, rig.other):
        assert (await complete(rig, service, upload_id, *parts)).metadata == made
    assert [key for _, key in rig.coordinators.current] == [NAME]


async def test_of_two_completions_at_once_both_have_the_result_of_one(rig: ServiceRig) -> None:
    upload_id, *parts = await two_parts(rig)
    made: list[CompletedUpload] = []

    async def other_first(request: Any) -> None:
        del rig.coordinators.faults[m.UploadComplete]
        made.append(await complete(rig, rig.other, upload_id, *parts))

    rig.coordinators.faults[m.UploadComplete] = other_first
    made.append(await complete(rig, rig.one, upload_id, *parts))
    assert made[0] == made[1]
    assert made[0].metadata == (await rig.found()).metadata


async def test_a_completion_that_the_first_one_made_impossible_has_its_result(
    rig: ServiceRig,
) -> None:
    upload_id, *parts = await two_parts(rig)
    absent = WriteCondition(absent=True)
    made = await complete(rig, rig.one, upload_id, *parts, condition=absent)
    assert await complete(rig, rig.one, upload_id, *parts, condition=absent) == made


async def test_an_upload_that_became_an_object_of_other_parts_is_gone(rig: ServiceRig) -> None:
    upload_id, first, second = await two_parts(rig)
    await complete(rig, rig.one, upload_id, first)
    with pytest.raises(NotFound, match="no_such_upload"):
        await complete(rig, rig.one, upload_id, first, second)


async def test_a_part_that_was_replaced_meanwhile_is_not_taken(rig: ServiceRig) -> None:
    upload_id, *parts = await two_parts(rig)

    async def replace_it(request: Any) -> None:
        del rig.coordinators.faults[m.UploadComplete]
        await rig.put_part(upload_id, 7, b"another")

    rig.coordinators.faults[m.UploadComplete] = replace_it
    with pytest.raises(NotFound, match="no_such_part"):
        await complete(rig, rig.one, upload_id, *parts)
    assert not rig.coordinators.current
    assert set(rig.coordinators.uploads[upload_id].parts) == {1, 7}


async def test_a_condition_that_fails_leaves_the_upload(rig: ServiceRig) -> None:
    await rig.put(rig.one, b"there")
    upload_id, *parts = await two_parts(rig)
    with pytest.raises(Refused, match="object_exists"):
        await complete(rig, rig.one, upload_id, *parts, condition=WriteCondition(absent=True))
    assert upload_id in rig.coordinators.uploads
