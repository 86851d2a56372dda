"""A standby follows what no later coordinator can lose, and takes over when nobody is heard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from journal_records import joined
from journal_rig import KEY, STORE, JournalRig, dump, journal_rig, put, wait_kept
from trio.testing import MockClock

from common import limits
from common.charter_book import CharterBook
from common.errors import BadConfig, Corrupt, OutcomeUnknown, PeerViolation, Refused, Unavailable
from common.format.journal import BEGINNING
from common.format.token import ROLE_CELL, decode_token
from common.ids import PeerId
from common.known_coordinators import FILE_NAME, KnownCoordinators
from common.ports import Address
from common.reasons import Refusal
from common.state_files import read_whole, write_whole
from common.wire.messages.membership import CoordinatorAddress, StandbyHeard, StandbyPresence
from coordinator.api.invites import InviteOperations
from coordinator.audits import Auditor
from coordinator.config import CoordinatorConfig
from coordinator.journal.commits import pack_commit, seal_commit
from coordinator.journal.following import JournalFollower
from coordinator.journal.recovery_file import RECOVERY_NAME
from coordinator.journal.replay import Replay
from coordinator.secrets import load_keys
from coordinator.service import serve
from coordinator.standby import (
    become_active,
    become_standby,
    discard_copy,
    is_standby,
    prepare_standby,
)
from coordinator.standbys import FORGOTTEN_AFTER_S, SILENT_AFTER_S, Standbys
from coordinator.store import journal
from coordinator.store.schema import migrate
from sim.stores import SimStore, SimStores
from sim.world import SimNode, SimWorld

COORDINATORS = PeerId(b"c" * 32)
CONFIG = CoordinatorConfig.parse(
    {"data": ".", "listen": "standby:1", "http": "standby:2", "standby": True, "discovery": False}
)


@asynccontextmanager
async def following(rig: JournalRig, node: SimNode) -> AsyncIterator[JournalFollower]:
    follower = JournalFollower(
        node.world, await rig.pool_of(node), STORE, KEY, rig.keys.swarm_id, rig.members
    )
    await follower.open()
    try:
        yield follower
    finally:
        await follower.close()


async def follow(follower: JournalFollower) -> int:
    return await follower.follow(await follower.look())


# --- following --------------------------------------------------------------------------------


async def test_a_standby_has_what_was_acknowledged_and_no_more(autojump_clock: MockClock) -> None:
    async with journal_rig() as rig:
        node = rig.swarm.node("standby")
        async with rig.keeping() as (opened, keeper), following(rig, node) as follower:
            assert not follower.has_store
            await opened.store.transact(put(1))
            await wait_kept(keeper)
            for number in range(2, 20):
                await opened.store.transact(put(number))
            await follow(follower)
            assert dump(node) == dump(rig.node)
            assert not follower.is_leased
            await keeper.enforce_lease()
            assert await follow(follower) == 1
            assert follower.is_leased
            rig.cells[0].stop()
            rig.cells[1].stop()
            rig.nursery.start_soon(try_to_write, opened, 99)
            await trio.sleep(3)
            assert rig.cells[2].end.sequence > follower.at.sequence
            assert await follow(follower) == 0
            await rig.cells[1].start()
            await trio.sleep(10)
            assert await follow(follower) == 1
            assert dump(node) == dump(rig.node)


async def try_to_write(opened: Any, number: int) -> None:
    with suppress(Unavailable, OutcomeUnknown):
        await opened.store.transact(put(number))


async def test_a_standby_follows_on_after_a_restart_and_from_a_snapshot(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.limits.LEAST_JOURNAL_RECORDS_BYTES", 20_000)
    async with journal_rig() as rig:
        node = rig.swarm.node("standby")
        async with rig.keeping() as (opened, keeper):
            await wait_kept(keeper)
            await opened.store.transact(put(1))
            async with following(rig, node) as follower:
                await follow(follower)
            await opened.store.transact(put(2))
            async with following(rig, node) as follower:
                assert await follow(follower) == 1
        async with rig.keeping() as (opened, keeper):
            await wait_kept(keeper)
            for number in range(3, 150):
                await opened.store.transact(put(number))
            await trio.sleep(5)
            async with following(rig, node) as follower:
                assert all(
                    each.journal.state().base.sequence > follower.at.sequence for each in rig.cells
                )
                await follow(follower)
                assert dump(node) == dump(rig.node)


@pytest.mark.fault("M4")
async def test_a_standby_goes_on_after_a_snapshot_that_could_not_be_put_in_place(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise Unavailable.received("no_space")

    async with journal_rig() as rig, rig.keeping() as (opened, keeper):
        node = rig.swarm.node("standby")
        await wait_kept(keeper)
        await opened.store.transact(put(1))
        async with following(rig, node) as follower:
            with monkeypatch.context() as full:
                full.setattr(follower._world.stores, "put", fail)
                with pytest.raises(Unavailable, match="no_space"):
                    await follow(follower)
            await follow(follower)
            assert dump(node) == dump(rig.node)


async def test_a_store_that_cannot_be_read_at_first_is_not_left_open(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[SimStore] = []

    async def close(store: SimStore) -> None:
        closed.append(store)
        await trio.lowlevel.checkpoint()

    async def fail(*_: Any) -> None:
        raise Unavailable.received("store_failed")

    async with journal_rig() as rig:
        node = rig.swarm.node("standby")
        await (await node.world.stores.open(STORE)).transact(migrate)
        monkeypatch.setattr(SimStore, "close", close)
        monkeypatch.setattr(Replay, "load", fail)
        with pytest.raises(Unavailable, match="store_failed"):
            async with following(rig, node):
                pass
        assert len(closed) == 1


@pytest.mark.fault("M4")
async def test_a_standby_whose_store_cannot_be_opened_tries_again(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def fail_once(stores: SimStores, *args: Any, **rest: Any) -> SimStore:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise Unavailable.received("store_failed")
        return await open_store(stores, *args, **rest)

    async with journal_rig() as rig, rig.keeping() as (opened, keeper):
        node = rig.swarm.node("standby")
        world = node.world
        await wait_kept(keeper)
        await opened.store.transact(put(1))
        await write_whole(world.disk, RECOVERY_NAME, rig.enrolment())
        open_store = SimStores.open
        monkeypatch.setattr(SimStores, "open", fail_once)
        await rig.nursery.start(serve, world, CONFIG)
        await trio.sleep(5)
        assert tries > 1
        assert dump(node) == dump(rig.node)


@pytest.mark.fault("M4")
async def test_a_standby_that_cannot_serve_at_first_takes_over_a_little_later(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def fail_once(auditor: Auditor) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise Unavailable.received("store_failed")
        await load(auditor)

    load = Auditor.load
    monkeypatch.setattr(Auditor, "load", fail_once)
    async with journal_rig() as rig:
        world = rig.swarm.node("standby").world
        async with rig.keeping() as (_, keeper):
            await wait_kept(keeper)
            await keeper.enforce_lease()
            await write_whole(world.disk, RECOVERY_NAME, rig.enrolment())
            serving = await rig.nursery.start(serve, world, CONFIG)
            await trio.sleep(5)
        await trio.sleep(60)
        assert tries == 2
        assert serving.role.is_active


@pytest.mark.fault("M4")
async def test_a_store_that_does_not_fit_the_journal_is_said_to_be_so(
    autojump_clock: MockClock,
) -> None:
    async with journal_rig() as rig, rig.keeping() as (opened, keeper):
        node = rig.swarm.node("standby")
        await wait_kept(keeper)
        async with following(rig, node) as follower:
            await follow(follower)
            assert follower._store is not None
            await follower._store.transact(
                lambda sql: journal.move(
                    cast("Any", sql).plain, follower.at._replace(digest=b"x" * 32)
                )
            )
            await follower._load(follower._store)
            await opened.store.transact(put(1))
            with pytest.raises(Corrupt, match="journal_forked"):
                await follow(follower)


async def test_a_commit_of_many_records_is_made_as_a_whole_or_not_at_all() -> None:
    node = SimWorld(1).node("standby")
    store = await node.world.stores.open(STORE)
    await store.transact(migrate)
    chance = node.chance.randbytes
    statement = SimpleNamespace(
        sql="INSERT INTO deletes (cell, segment_id, slot) VALUES (?, ?, ?)",
        is_many=True,
        parameters=[(1, number.to_bytes(16, "big"), 0) for number in range(40_000)],
    )
    packed = pack_commit(40_000, [], [cast("Any", statement)], {})
    records = seal_commit(KEY, 1, BEGINNING, packed, chance)
    assert len(records) > 1
    await store.transact(lambda sql: journal.move(sql, BEGINNING))
    replay = await Replay.load(store, KEY)
    assert await replay.take(joined(records[:1]), len(records)) == 0
    assert (await store.read(journal.load)).end == BEGINNING
    again = await Replay.load(store, KEY)
    assert again.at == BEGINNING
    assert await again.take(joined(records), len(records)) == 1
    assert (await store.read(journal.load)).end == records[-1].end
    with pytest.raises(PeerViolation):
        await again.take(joined(records[:1]), 9)


# --- cells that promised more -----------------------------------------------------------------


@pytest.mark.fault("M4")
async def test_one_cell_that_promised_a_later_epoch_ends_nothing_and_follows_again(
    autojump_clock: MockClock,
) -> None:
    async with journal_rig() as rig, rig.keeping() as (opened, keeper):
        await wait_kept(keeper)
        later = keeper._gate.epoch + 5
        await rig.client(rig.cells[0]).begin(later, b"x" * 16, succeeds=later)
        await trio.sleep(3)
        await opened.store.transact(put(1))
        assert keeper.fenced is None
        with trio.fail_after(30):
            await keeper.stale.wait()
        assert keeper._later_promises.pause_s == 2 * limits.JOURNAL_HELD_S, "it may lie"
        settled = await rig.settle(keeper._recent.end)
        assert settled.epoch > later
        assert {each.journal.state().epoch for each in rig.cells} == {settled.epoch}


@pytest.mark.fault("M4")
async def test_one_cell_that_names_a_later_epoch_does_not_end_one_that_begins_a_journal(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with journal_rig() as rig:
        liar = rig.cells[0].journal
        begin, promised = liar.begin, 0

        async def promise_and_lie(epoch: int, run_id: bytes, **rest: Any) -> Any:
            nonlocal promised
            promised += 1
            if promised == 1:
                return await begin(epoch, run_id, **rest)
            raise Refused(Refusal.JOURNAL_EPOCH, current=epoch + 5)

        monkeypatch.setattr(liar, "begin", promise_and_lie)
        async with rig.keeping() as (opened, keeper):
            with trio.fail_after(30):
                await wait_kept(keeper)
            assert promised > 1
            await opened.store.transact(put(1))
            assert keeper.fenced is None


@pytest.mark.fault("M4")
async def test_two_that_begin_at_once_do_not_take_turns_for_ever(
    autojump_clock: MockClock,
) -> None:
    async with journal_rig() as rig:
        async with rig.keeping() as (opened, keeper):
            await wait_kept(keeper)
            await opened.store.transact(put(1))
        names = ("first", "second")
        won: list[str] = []

        async def begin(name: str) -> None:
            node = rig.swarm.node(name)
            pool = await rig.pool_of(node)
            with suppress(Unavailable):
                async with rig.keeping(node, recovered=rig.members, pool=pool) as (_, mine):
                    await wait_kept(mine)
                    won.append(name)
                    await trio.sleep(60)
                    assert mine.fenced is None

        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(begin, name)
        assert len(won) == 1


# --- who is what --------------------------------------------------------------------------------


async def test_a_standby_takes_the_secrets_from_the_recovery_file(
    autojump_clock: MockClock,
) -> None:
    async with journal_rig() as rig:
        node = rig.swarm.node("standby")
        disk = node.world.disk
        with pytest.raises(BadConfig, match="no_recovery_file"):
            await prepare_standby(disk)
        await write_whole(disk, RECOVERY_NAME, b"{}")
        with pytest.raises(BadConfig, match="bad_recovery_file"):
            await prepare_standby(disk)
        await write_whole(disk, RECOVERY_NAME, rig.recovery())
        with pytest.raises(BadConfig, match="not_enrolled"):
            await prepare_standby(disk)
        with pytest.raises(BadConfig, match="not_enrolled"):
            await serve(node.world, replace(CONFIG, standby=False))
        await write_whole(disk, RECOVERY_NAME, rig.enrolment())
        await prepare_standby(disk)
        assert await is_standby(disk)
        keys = await load_keys(disk, node.world.entropy, node.world.log)
        assert keys.identity.peer_id != rig.keys.identity.peer_id
        assert keys.charters.names(keys.identity.peer_id)
        assert keys.charters.names(rig.keys.identity.peer_id)
        assert keys.swarm_secret == rig.keys.swarm_secret
        await become_active(disk)
        assert not await is_standby(disk)
        await prepare_standby(disk)  # with the same command line after it has taken over
        assert not await is_standby(disk)


async def test_only_a_copy_that_was_never_served_is_thrown_away(autojump_clock: MockClock) -> None:
    async with journal_rig() as rig:
        node = rig.swarm.node("standby")
        disk = node.world.disk
        unfit = Corrupt.received("journal_forked")
        await write_whole(disk, RECOVERY_NAME, rig.enrolment())
        await prepare_standby(disk)
        await (await node.world.stores.open(STORE)).transact(migrate)
        await discard_copy(node.world, STORE, unfit)
        assert STORE not in node.databases
        await become_standby(disk)
        await (await node.world.stores.open(STORE)).transact(migrate)
        with pytest.raises(Corrupt, match="journal_forked"):
            await discard_copy(node.world, STORE, unfit)
        assert STORE in node.databases


# --- who is where -------------------------------------------------------------------------------


def standbys(told: list[int] | None = None) -> Standbys:
    async def enforce() -> None:
        if told is not None:
            told.append(1)

    world = SimWorld(1).node("active").world
    charters = CharterBook(world.disk, world.log, COORDINATORS)
    return Standbys(charters, Address("active", 1), lambda: 100, enforce)


@pytest.mark.fault("M4")
async def test_a_token_names_the_standbys_too(autojump_clock: MockClock) -> None:
    world = SimWorld(1).node("active").world
    store = await world.stores.open(STORE)
    await store.transact(migrate)
    book = standbys()
    invites = InviteOperations(
        store,
        world.clock,
        world.entropy,
        world.log,
        key_id=COORDINATORS,
        swarm_name="sim",
        advertised=book.addresses,
    )
    await hear(book, "one", 1)
    made = await invites._invite({}, {})
    assert made is not None
    token = decode_token(made["token"], ROLE_CELL)
    assert [each.host for each in token.coordinators] == ["active", "one"]


async def hear(book: Standbys, host: str, sequence: int, peer: PeerId = COORDINATORS) -> Any:
    caller = cast("Any", SimpleNamespace(peer_id=peer))
    return await book.hear(caller, StandbyPresence(host, 7, sequence), memoryview(b""))


async def test_the_active_one_knows_and_names_its_standbys(autojump_clock: MockClock) -> None:
    told: list[int] = []
    book = standbys(told)
    with pytest.raises(Refused, match="not_a_coordinator"):
        await hear(book, "thief", 5, PeerId(b"t" * 32))
    assert not told
    heard = await hear(book, "one", 90)
    assert isinstance(heard, StandbyHeard)
    assert told == [1]
    assert [each.host for each in heard.coordinators] == ["active", "one"]
    await trio.sleep(SILENT_AFTER_S + 1)
    await hear(book, "two", 100)
    found = {each["address"]: each for each in book.tell(trio.current_time())}
    assert (found["one:7"]["follows"], found["one:7"]["behind"]) == (False, 10)
    assert (found["two:7"]["follows"], found["two:7"]["behind"]) == (True, 0)
    await trio.sleep(FORGOTTEN_AFTER_S - 1)
    await hear(book, "", 100)
    assert [each.host for each in book.addresses()] == ["active", "two"]
    book._own = None
    assert book.addresses() == ()
    book._own = Address("active", 1)
    for number in range(2 * limits.MAX_COORDINATOR_ADDRESSES):
        heard = await hear(book, f"host-{number}", 1)
    assert len(heard.coordinators) <= limits.MAX_COORDINATOR_ADDRESSES


async def test_named_coordinators_are_known_in_the_next_life() -> None:
    world = SimWorld(1).node("cell").world
    learned: list[list[str]] = []

    def learn(named: Any) -> None:
        learned.append([each.host for each in named])

    def named(*hosts: str) -> list[CoordinatorAddress]:
        return [CoordinatorAddress(host, 7) for host in hosts]

    known = KnownCoordinators(world.disk, world.log, learn)
    await known.load()
    await known.note(named("a", "b"))
    await known.note(named("b", "a"))
    await known.note([])
    assert learned[1:] == [["a", "b"]]
    await known.note(named("c"))  # one that has just become active, and knows of no other yet
    assert learned[-1] == ["c", "a", "b"]
    await KnownCoordinators(world.disk, world.log, learn).load()
    assert learned[-1] == ["c", "a", "b"]
    await known.note(named(*(f"host-{number}" for number in range(40))))
    assert len(learned[-1]) == limits.MAX_COORDINATOR_ADDRESSES
    assert await read_whole(world.disk, FILE_NAME)
    for damaged in (b"{", b"[1]", b'{"host": 1}', b'[{"host": "a"}]'):
        await write_whole(world.disk, FILE_NAME, damaged)
        before = len(learned)
        await KnownCoordinators(world.disk, world.log, learn).load()
        assert len(learned) == before
