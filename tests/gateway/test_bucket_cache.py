"""Buckets over the coordinator's own tables: who sees whose, and settings by compare-and-set."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from common.crypto.keys import TenantKey
from common.errors import NotFound, Refused
from common.format.manifest import seal_bucket_settings
from common.format.objects import METADATA_VERSION, BucketSettings
from common.ids import BucketId, TenantId
from common.wire.messages.base import Request
from common.wire.messages.buckets import (
    FIRST_REVISION,
    BucketCreate,
    BucketDelete,
    BucketGet,
    BucketSettingsSet,
)
from common.wire.messages.objects import Listing, ObjectsList
from coordinator.store import buckets, tenants
from coordinator.store.schema import migrate
from gateway.bucket_cache import BucketCache
from gateway.principals import Anonymous, Bucket, ForeignBucket, KeyHolder

OURS = TenantKey(TenantId(b"o" * 16), b"k" * 32)
THEIRS = TenantKey(TenantId(b"t" * 16), b"l" * 32)
NUMBERS: Mapping[TenantId, int] = {OURS.tenant_id: 1, THEIRS.tenant_id: 2}
CREATED = BucketSettings(METADATA_VERSION, 7)


class Store:
    """A coordinator's tables, asked without a connection; and how often."""

    def __init__(self) -> None:
        self.sql: Any = sqlite3.connect(":memory:", isolation_level=None)
        self.calls: list[str] = []
        self.entropy = random.Random(1).randbytes
        migrate(self.sql)
        for tenant_id, number in NUMBERS.items():
            tenants.create(self.sql, f"tenant-{number}", tenant_id, bytes(32), 0)

    async def call(self, request: Request) -> Any:
        self.calls.append(type(request).__name__)
        number = NUMBERS[request.tenant_id]  # type: ignore[attr-defined]
        match request:
            case BucketGet(name=name):
                return buckets.get(self.sql, number, name)
            case BucketSettingsSet():
                return buckets.set_settings(self.sql, number, request)
            case BucketDelete(name=name):
                return buckets.delete(self.sql, number, name)
            case ObjectsList(bucket=name):
                bucket_id = buckets.get(self.sql, number, name).bucket_id
                return Listing(bucket_id, (), (), False, b"")
        raise AssertionError(request)

    def make(self, owner: TenantKey, name: str, bucket_id: BucketId) -> None:
        sealed = seal_bucket_settings(
            owner, bucket_id, name, FIRST_REVISION, CREATED.pack(), self.entropy
        )
        request = BucketCreate(owner.tenant_id, bucket_id, name, sealed)
        buckets.create(self.sql, NUMBERS[owner.tenant_id], request, 0, most_buckets=9)


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store()
    made.make(OURS, "ours", BucketId(b"b" * 16))
    yield made
    made.sql.close()


def settings(created_ms: int) -> BucketSettings:
    return BucketSettings(METADATA_VERSION, created_ms)


async def test_a_tenant_sees_its_bucket_and_of_others_only_that_it_is_theirs(
    store: Store, autojump_clock: object
) -> None:
    cache = BucketCache(store.call)
    seen = await cache.seen_by(KeyHolder(OURS, "AK"), "ours")
    assert seen == Bucket("ours", OURS, BucketId(b"b" * 16), CREATED, FIRST_REVISION)
    assert await cache.seen_by(KeyHolder(THEIRS, "OTHER"), "ours") == ForeignBucket("ours")
    for name in ("nothing", "No bucket's name"):
        with pytest.raises(NotFound, match="no_such_bucket"):
            await cache.seen_by(KeyHolder(OURS, "AK"), name)


async def test_an_anonymous_caller_costs_no_call(store: Store, autojump_clock: object) -> None:
    seen = await BucketCache(store.call).seen_by(Anonymous(), "ours")
    assert seen == ForeignBucket("ours")
    assert store.calls == []


async def test_a_remembered_bucket_costs_no_call_and_a_fresh_one_does(
    store: Store, autojump_clock: object
) -> None:
    cache = BucketCache(store.call)
    ours = KeyHolder(OURS, "AK")
    for _ in range(3):
        await cache.seen_by(ours, "ours")
    assert store.calls == ["BucketGet"]
    await cache.seen_by(ours, "ours", fresh=True)
    assert store.calls == ["BucketGet"] * 2


async def test_of_two_gateways_that_set_settings_at_once_the_second_reads_again(
    store: Store, autojump_clock: object
) -> None:
    one, two = BucketCache(store.call), BucketCache(store.call)
    read = await one.find(OURS, "ours")
    assert await two.find(OURS, "ours") == read
    changed = await one.set_settings(read, settings(8), store.entropy)
    assert (changed.settings, changed.revision) == (settings(8), 2)
    assert await one.find(OURS, "ours") == changed
    with pytest.raises(Refused, match="settings_changed"):
        await two.set_settings(read, settings(9), store.entropy)
    again = await two.find(OURS, "ours")  # what was refused is not remembered
    assert again == changed
    last = await two.set_settings(again, settings(9), store.entropy)
    assert (last.settings, last.revision) == (settings(9), 3)
    assert await one.read(OURS, "ours") == last


async def test_settings_are_not_set_in_a_bucket_that_was_made_again(
    store: Store, autojump_clock: object
) -> None:
    cache = BucketCache(store.call)
    read = await cache.find(OURS, "ours")
    buckets.delete(store.sql, 1, "ours")
    store.make(OURS, "ours", BucketId(b"c" * 16))
    with pytest.raises(NotFound, match="no_such_bucket"):
        await cache.set_settings(read, settings(8), store.entropy)
    assert (await cache.find(OURS, "ours")).settings == CREATED


async def test_an_answer_that_was_under_way_brings_no_older_settings_back(
    store: Store, autojump_clock: object
) -> None:
    in_between: list[Callable[[], Any]] = []

    async def call(request: Request) -> Any:
        reply = await store.call(request)
        if in_between and isinstance(request, ObjectsList):
            await in_between.pop()()
        return reply

    cache = BucketCache(call)
    read = await cache.find(OURS, "ours")
    in_between.append(lambda: cache.set_settings(read, settings(8), store.entropy))
    await cache.ask(read, ObjectsList(OURS.tenant_id, "ours", b"", b"", b"", 0))
    assert (await cache.find(OURS, "ours")).revision == 2
