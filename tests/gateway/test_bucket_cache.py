"""Buckets over the coordinator's own handlers: who sees whose, and settings by compare-and-set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from object_rig import ObjectRig

from common import limits
from common.errors import NotFound, Refused
from common.format.manifest import seal_bucket_settings
from common.format.objects import METADATA_VERSION, BucketSettings
from common.ids import BucketId
from common.wire.messages.base import Request
from common.wire.messages.buckets import FIRST_REVISION, BucketCreate, BucketDelete
from common.wire.messages.objects import ObjectsList
from gateway.bucket_cache import CLASS_REMEMBERED_S, REMEMBERED_S, BucketCache
from gateway.principals import Anonymous, Bucket, ForeignBucket, KeyHolder

CREATED = BucketSettings(METADATA_VERSION, 7)


class Gateways(ObjectRig):
    """Two tenants, and a bucket of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.ours, self.theirs = self.tenants.values()

    @property
    def calls(self) -> list[str]:
        return self.coordinators.calls

    def cache(self) -> BucketCache:
        """The cache of a gateway of its own."""
        return BucketCache(self.coordinators.call)

    async def make(self, bucket_id: BucketId) -> None:
        sealed = seal_bucket_settings(
            self.ours, bucket_id, "ours", FIRST_REVISION, CREATED.pack(), self.entropy
        )
        await self.coordinators.ask(BucketCreate(self.ours.tenant_id, bucket_id, "ours", sealed))

    def entropy(self, size: int) -> bytes:
        return self.node.world.entropy(size)


@pytest.fixture
async def rig() -> Gateways:
    made = Gateways()
    await made.make(BucketId(b"b" * 16))
    return made


def settings(created_ms: int) -> BucketSettings:
    return BucketSettings(METADATA_VERSION, created_ms)


async def test_a_tenant_sees_its_bucket_and_of_others_only_that_it_is_theirs(rig: Gateways) -> None:
    cache = rig.cache()
    seen = await cache.seen_by(KeyHolder(rig.ours, "AK"), "ours")
    assert seen == Bucket("ours", rig.ours, BucketId(b"b" * 16), CREATED, FIRST_REVISION)
    assert await cache.seen_by(KeyHolder(rig.theirs, "OTHER"), "ours") == ForeignBucket("ours")
    for name in ("nothing", "No bucket's name"):
        with pytest.raises(NotFound, match="no_such_bucket"):
            await cache.seen_by(KeyHolder(rig.ours, "AK"), name)


async def test_an_anonymous_caller_costs_no_call(rig: Gateways) -> None:
    seen = await rig.cache().seen_by(Anonymous(), "ours")
    assert seen == ForeignBucket("ours")
    assert rig.calls == []


async def test_a_remembered_bucket_costs_no_call_and_a_fresh_one_does(rig: Gateways) -> None:
    cache = rig.cache()
    ours = KeyHolder(rig.ours, "AK")
    for _ in range(3):
        await cache.seen_by(ours, "ours")
    assert rig.calls == ["BucketGet"]
    await cache.seen_by(ours, "ours", fresh=True)
    assert rig.calls == ["BucketGet"] * 2


async def test_of_two_gateways_that_set_settings_at_once_the_second_reads_again(
    rig: Gateways,
) -> None:
    one, two = rig.cache(), rig.cache()
    read = await one.find(rig.ours, "ours")
    assert await two.find(rig.ours, "ours") == read
    changed = await one.set_settings(read, settings(8), rig.entropy)
    assert (changed.settings, changed.revision) == (settings(8), 2)
    assert await one.find(rig.ours, "ours") == changed
    with pytest.raises(Refused, match="settings_changed"):
        await two.set_settings(read, settings(9), rig.entropy)
    again = await two.find(rig.ours, "ours")  # what was refused is not remembered
    assert again == changed
    last = await two.set_settings(again, settings(9), rig.entropy)
    assert (last.settings, last.revision) == (settings(9), 3)
    assert await one.read(rig.ours, "ours") == last


async def test_settings_are_not_set_in_a_bucket_that_was_made_again(rig: Gateways) -> None:
    cache = rig.cache()
    read = await cache.find(rig.ours, "ours")
    await rig.coordinators.ask(BucketDelete(rig.ours.tenant_id, "ours"))
    await rig.make(BucketId(b"c" * 16))
    with pytest.raises(NotFound, match="no_such_bucket"):
        await cache.set_settings(read, settings(8), rig.entropy)
    assert (await cache.find(rig.ours, "ours")).settings == CREATED


async def test_an_answer_that_was_under_way_brings_no_older_settings_back(rig: Gateways) -> None:
    in_between: list[Callable[[], Any]] = []

    async def call(request: Request) -> Any:
        reply = await rig.coordinators.call(request)
        if in_between and isinstance(request, ObjectsList):
            await in_between.pop()()
        return reply

    cache = BucketCache(call)
    read = await cache.find(rig.ours, "ours")
    in_between.append(lambda: cache.set_settings(read, settings(8), rig.entropy))
    await cache.ask(read, ObjectsList(rig.ours.tenant_id, "ours", b"", b"", b"", 0))
    assert (await cache.find(rig.ours, "ours")).revision == 2


def listing(rig: Gateways) -> ObjectsList:
    return ObjectsList(rig.ours.tenant_id, "ours", b"", b"", b"", 0)


async def test_answers_that_name_the_revision_let_settings_be_remembered_for_a_minute(
    rig: Gateways, autojump_clock: object
) -> None:
    cache = rig.cache()
    for _ in range(20):
        bucket = await cache.find(rig.ours, "ours")
        await cache.ask(bucket, listing(rig))
        await trio.sleep(REMEMBERED_S * 0.9)
    assert rig.calls.count("BucketGet") == 180 // CLASS_REMEMBERED_S


async def test_an_answer_with_a_newer_revision_has_the_settings_read_again(rig: Gateways) -> None:
    one, two = rig.cache(), rig.cache()
    read = await two.find(rig.ours, "ours")
    await one.set_settings(await one.find(rig.ours, "ours"), settings(8), rig.entropy)
    assert await two.find(rig.ours, "ours") == read
    await two.ask(read, listing(rig))
    assert (await two.find(rig.ours, "ours")).settings == settings(8)


async def test_without_answers_settings_are_read_again_after_their_time(
    rig: Gateways, autojump_clock: object
) -> None:
    one, two = rig.cache(), rig.cache()
    await two.find(rig.ours, "ours")
    await one.set_settings(await one.find(rig.ours, "ours"), settings(8), rig.entropy)
    await trio.sleep(REMEMBERED_S)
    assert (await two.find(rig.ours, "ours")).settings == settings(8)


async def test_an_answer_counts_from_the_moment_of_its_question(
    rig: Gateways, autojump_clock: object
) -> None:
    async def call(request: Request) -> Any:
        reply = await rig.coordinators.call(request)
        await trio.sleep(REMEMBERED_S)
        return reply

    cache = BucketCache(call)
    bucket = await cache.find(rig.ours, "ours")
    await cache.ask(bucket, listing(rig))
    rig.coordinators.requests.clear()
    await cache.find(rig.ours, "ours")
    assert rig.calls == ["BucketGet"], "the answer was as old as it may be when it came"


async def test_answers_that_do_not_name_a_revision_confirm_nothing(
    rig: Gateways, autojump_clock: object
) -> None:
    cache = rig.cache()
    bucket = await cache.find(rig.ours, "ours")
    await trio.sleep(REMEMBERED_S / 2)
    cache.confirm(bucket, 0, trio.current_time())
    await trio.sleep(REMEMBERED_S / 2)
    rig.coordinators.requests.clear()
    await cache.find(rig.ours, "ours")
    assert rig.calls == ["BucketGet"]


async def test_remembered_buckets_are_bounded_by_the_bytes_of_their_documents(
    rig: Gateways,
) -> None:
    cache = rig.cache()
    document = bytes(limits.MAX_BUCKET_DOCUMENT_BYTES)
    large = CREATED.with_document("a", document).with_document("b", document)
    room = limits.MAX_REMEMBERED_BUCKET_BYTES // (2 * len(document))
    for number in range(2 * room):
        named = Bucket(f"bucket-{number:03}", rig.ours, BucketId(b"b" * 16), large, 1)
        cache.remember(named, trio.current_time())
    kept = [number for number in range(2 * room) if cache.forget(rig.ours, f"bucket-{number:03}")]
    assert 0 < len(kept) <= room
    assert kept[-1] == 2 * room - 1, "the latest are kept"
    assert cache.forget(rig.ours, "bucket-000") is False


async def test_a_storage_class_is_asked_for_again_though_the_settings_are_confirmed(
    rig: Gateways, autojump_clock: object
) -> None:
    cache = rig.cache()
    bucket = await cache.find(rig.ours, "ours")
    rig.coordinators.sql.execute(
        "INSERT INTO storage_classes (name, k, n, quorum) VALUES ('COLD', 2, 4, 3)"
    )
    rig.coordinators.sql.execute("UPDATE buckets SET storage_class = 1 WHERE name = 'ours'")
    begun = trio.current_time()
    while (await cache.find(rig.ours, "ours")).storage_class == "STANDARD":
        await cache.ask(bucket, listing(rig))
        await trio.sleep(REMEMBERED_S / 2)
    assert trio.current_time() - begun <= CLASS_REMEMBERED_S + REMEMBERED_S
