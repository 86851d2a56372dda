"""A coordinator whose key was revoked is obeyed by nobody, whatever it shows and whoever restarts;
those that the charter names go on, each with a key of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from coordinator_rig import Rig, running
from journal_rig import ALL_ENDED, PORT, JournalRig, RigCell, journal_rig, put, wait_kept
from trio.testing import MockClock

from common import limits
from common.charter_book import FILE_NAME, CharterBook
from common.crypto.charter import (
    Charter,
    CharteredCoordinator,
    read_charter,
    sign_charter,
    with_added,
    with_replaced,
    with_revoked,
)
from common.crypto.identity import KeyPair
from common.errors import AlvearyError, BadConfig, PeerViolation, Refused
from common.format.journal import BEGINNING
from common.ports import Address
from common.rpc.peers import PeerPool
from common.rpc.server import PeerServer
from common.state_files import read_whole, write_whole
from common.wire.messages.base import CharterExchange, CharterShown, Ping
from coordinator.journal.cells import JournalCell
from coordinator.journal.recovery_file import RECOVERY_NAME, unpack_recovery
from coordinator.recovery import recover
from coordinator.secrets import load_keys
from coordinator.service import serve
from sim.cluster import Cluster, Shape
from sim.world import SimNode, SimWorld

SHAPE = Shape(
    cells=4,
    redundancy="2/4",
    overrides={"coordinator": {"journal": "on", "heartbeat_interval_s": 2, "cell_timeout_s": 20}},
)


class Frozen(CharterBook):
    """The book of a thief: it takes in nothing."""

    async def take(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()


async def pool_with(
    rig_nursery: trio.Nursery, node: SimNode, identity: KeyPair, book: CharterBook
) -> PeerPool:
    world = node.world
    pool = PeerPool(
        world.network,
        identity,
        connections_per_peer=1,
        chance=world.chance,
        log=world.log,
        charters=book,
    )
    await rig_nursery.start(pool.run)
    return pool


async def refusals(pool: PeerPool, cells: list[RigCell]) -> set[str]:
    """What cells answer to whatever a coordinator may ask of a journal."""
    found = set()
    for each in cells:
        cell = JournalCell(pool, each.endpoint)
        asks: list[Callable[[], Any]] = [
            cell.look,
            lambda cell=cell: cell.begin(ALL_ENDED, bytes(16)),
            lambda cell=cell: cell.append(ALL_ENDED, BEGINNING, b""),
            lambda cell=cell: cell.read(0),
            lambda cell=cell: cell.configure(ALL_ENDED, 9, b""),
            lambda cell=cell: cell.write_snapshot(ALL_ENDED, bytes(16), 0, b"x"),
            lambda cell=cell: cell.keep(ALL_ENDED, bytes(16), 1, bytes(32), BEGINNING),
            lambda cell=cell: cell.read_snapshot(bytes(16), 0),
        ]
        for ask in asks:
            try:
                await ask()
                found.add("answered")
            except Refused as error:
                found.add(error.reason)
            except AlvearyError:
                found.add("answered")
    return found


# --- the journal ----------------------------------------------------------------------------------


async def with_standby(rig: JournalRig) -> tuple[KeyPair, SimNode]:
    """The key of one more coordinator, which the charter names."""
    made = unpack_recovery(rig.enrolment())
    return made.identity, rig.swarm.node("standby")


async def test_a_revoked_coordinator_is_refused_by_cells_also_after_their_restarts(
    autojump_clock: MockClock,
) -> None:
    async with journal_rig() as rig:
        identity, node = await with_standby(rig)
        thief = Frozen(rig.node.world.disk, rig.node.world.log, rig.swarm_key.peer_id, rig.charter)
        stolen = await pool_with(rig.nursery, rig.swarm.node("thief"), rig.keys.identity, thief)
        async with rig.keeping() as (opened, keeper):
            await wait_kept(keeper)
            await opened.store.transact(put(1))
        assert "answered" in await refusals(stolen, rig.cells)
        rig.sign(with_revoked(rig.charter, "coordinator"))
        pool = await pool_with(rig.nursery, node, identity, rig.book_of(node))
        for each in rig.cells:
            await JournalCell(pool, each.endpoint).look()
            assert each.charters.revision == rig.charter.revision
        assert await refusals(stolen, rig.cells) == {"not_a_coordinator"}
        for each in rig.cells:
            each.stop()
            await each.start()
        await trio.sleep(5)
        assert await refusals(stolen, rig.cells) == {"not_a_coordinator"}
        assert "answered" in await refusals(pool, rig.cells)
        # One that is honest hears of it from any cell.
        await rig.pool.call(
            Address(rig.cells[0].endpoint.host, PORT), rig.cells[0].identity.peer_id, Ping()
        )
        with pytest.raises(BadConfig, match="coordinator_revoked"):
            rig.keys.check_not_revoked()


async def test_cells_take_no_charter_that_is_forged_or_older(autojump_clock: MockClock) -> None:
    async with journal_rig() as rig:
        cell = rig.cells[0]
        old = rig.charter
        identity, node = await with_standby(rig)
        pool = await pool_with(rig.nursery, node, identity, rig.book_of(node))
        await JournalCell(pool, cell.endpoint).look()
        other = KeyPair.generate(rig.node.world.entropy)
        forged = sign_charter(other, 99, rig.charter.coordinators)
        address = Address(cell.endpoint.host, PORT)
        with pytest.raises(PeerViolation, match="bad_charter"):
            await pool.call(address, cell.identity.peer_id, CharterExchange(forged.data))
        await trio.sleep(limits.RECONNECT_MAX_S)
        shown, _ = await pool.call(address, cell.identity.peer_id, CharterExchange(old.data))
        assert isinstance(shown, CharterShown)
        assert shown.charter == rig.charter.data == cell.charters.shown
        thief = Frozen(node.world.disk, node.world.log, other.peer_id, forged)
        liar = await pool_with(rig.nursery, rig.swarm.node("liar"), other, thief)
        with pytest.raises(PeerViolation, match="bad_charter"):
            await liar.call(address, cell.identity.peer_id, Ping())


async def test_a_recovered_coordinator_has_a_new_key_and_the_lost_one_is_revoked(
    autojump_clock: MockClock,
) -> None:
    async with journal_rig() as rig:
        async with rig.keeping() as (opened, keeper):
            await wait_kept(keeper)
            await opened.store.transact(put(1))
        file = rig.recovery(swarm_key=rig.swarm_key)
        fresh = rig.swarm.node("fresh").world
        await recover(fresh, file, patience_s=30)
        keys = await load_keys(fresh.disk, fresh.entropy, fresh.log)
        assert keys.identity.peer_id != rig.keys.identity.peer_id
        assert keys.charters.names(keys.identity.peer_id)
        assert keys.charters.charter is not None
        assert [each.name for each in keys.charters.charter.living] == ["coordinator"]
        # The file is older than what the cells know by now: it is gone beyond, not back.
        again = rig.swarm.node("again").world
        await recover(again, file, patience_s=60)
        newest = await load_keys(again.disk, again.entropy, again.log)
        assert newest.charters.revision == keys.charters.revision + 1
        assert {each.charters.revision for each in rig.cells} == {newest.charters.revision}
        thief = Frozen(fresh.disk, fresh.log, rig.swarm_key.peer_id, rig.charter)
        for identity, name in ((rig.keys.identity, "thief"), (keys.identity, "second")):
            stolen = await pool_with(rig.nursery, rig.swarm.node(name), identity, thief)
            assert await refusals(stolen, rig.cells) == {"not_a_coordinator"}
        with pytest.raises(BadConfig, match="coordinator_revoked"):
            await recover(rig.swarm.node("late").world, rig.recovery(), patience_s=30)
        with pytest.raises(BadConfig, match="no_swarm_key"):
            await recover(
                rig.swarm.node("wrong").world,
                rig.recovery(),
                patience_s=30,
                swarm_key=KeyPair.generate(fresh.entropy),
            )


# --- who answers ----------------------------------------------------------------------------------


class Answerer:
    """A peer that answers Ping and exchanges charters."""

    def __init__(self, swarm: SimWorld, name: str, charter: Charter | None, pin: Any) -> None:
        self.node = swarm.node(name)
        world = self.node.world
        self.identity = KeyPair.generate(world.entropy)
        self.book: CharterBook = CharterBook(world.disk, world.log, pin, charter)

    async def start(self, nursery: trio.Nursery) -> None:
        world = self.node.world
        server: PeerServer[object] = PeerServer(
            self.identity,
            {},
            entropy=world.entropy,
            log=world.log,
            buffer_budget_bytes=limits.CELL_BUFFER_BUDGET_BYTES,
            new_session=object,
            charters=self.book,
        )
        listener = await world.network.listen(self.at, identity=self.identity)
        nursery.start_soon(server.serve, listener)

    @property
    def at(self) -> Address:
        return Address(self.node.name, PORT)


@asynccontextmanager
async def meeting() -> AsyncIterator[tuple[KeyPair, Answerer, Answerer, PeerPool, trio.Nursery]]:
    """The swarm's key, a coordinator, a cell, and the pool of a gateway that knows the id of the
    swarm's key alone."""
    swarm = SimWorld(1)
    entropy = swarm.node("operator").world.entropy
    swarm_key = KeyPair.generate(entropy)
    stolen = Answerer(swarm, "stolen", None, swarm_key.peer_id)
    cell = Answerer(swarm, "cell", None, swarm_key.peer_id)
    world = stolen.node.world
    other = KeyPair.generate(entropy)
    charter = sign_charter(
        swarm_key,
        2,
        [
            CharteredCoordinator(1, "stolen", stolen.identity.public_key),
            CharteredCoordinator(2, "other", other.public_key),
        ],
    )
    stolen.book = Frozen(world.disk, world.log, swarm_key.peer_id, charter)
    async with trio.open_nursery() as nursery:
        await stolen.start(nursery)
        await cell.start(nursery)
        node = swarm.node("gateway")
        book = CharterBook(node.world.disk, node.world.log, swarm_key.peer_id)
        pool = await pool_with(nursery, node, KeyPair.generate(entropy), book)
        yield swarm_key, stolen, cell, pool, nursery
        nursery.cancel_scope.cancel()


async def test_who_knows_the_swarms_key_alone_finds_the_chain_to_a_coordinator(
    autojump_clock: MockClock,
) -> None:
    async with meeting() as (swarm_key, stolen, cell, pool, _):
        await pool.call(stolen.at, swarm_key.peer_id, Ping())
        with pytest.raises(PeerViolation, match="wrong_server_key"):
            await pool.call(cell.at, swarm_key.peer_id, Ping())
        await pool.call(cell.at, cell.identity.peer_id, Ping())
        assert cell.book.shown == stolen.book.shown


async def test_a_gateway_hears_from_a_cell_that_its_coordinator_was_revoked(
    autojump_clock: MockClock,
) -> None:
    async with meeting() as (swarm_key, stolen, cell, pool, _):
        connection = await pool.connection(stolen.at, swarm_key.peer_id)
        await pool.call(cell.at, cell.identity.peer_id, Ping())
        present = read_charter(stolen.book.shown, swarm_key.peer_id)
        revoked = sign_charter(swarm_key, 3, with_revoked(present, "stolen"))
        await cell.book.take(revoked.data)
        assert connection.is_open()
        assert pool.charters is not None
        reply, _ = await pool.call(
            cell.at, cell.identity.peer_id, CharterExchange(pool.charters.shown)
        )
        assert isinstance(reply, CharterShown)
        await pool.charters.take(reply.charter)
        assert not connection.is_open()
        await trio.sleep(limits.RECONNECT_MAX_S)
        with pytest.raises(PeerViolation, match="wrong_server_key"):
            await pool.call(stolen.at, swarm_key.peer_id, Ping())


async def test_a_charter_of_another_swarm_names_nobody_here(autojump_clock: MockClock) -> None:
    async with meeting() as (swarm_key, stolen, _, pool, _):
        entropy = stolen.node.world.entropy
        other = KeyPair.generate(entropy)
        charter = sign_charter(
            other, 9, [CharteredCoordinator(1, "stolen", stolen.identity.public_key)]
        )
        world = stolen.node.world
        stolen.book = Frozen(world.disk, world.log, swarm_key.peer_id, charter)
        stolen.book.charter = charter
        with pytest.raises(PeerViolation, match=r"wrong_server_key|bad_charter"):
            await pool.call(stolen.at, other.peer_id, Ping())


# --- the coordinator ------------------------------------------------------------------------------


async def test_of_two_operators_that_change_the_charter_at_once_one_is_told(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=0) as rig:
        keys = await load_keys(rig.node.world.disk, rig.node.world.entropy, rig.node.world.log)
        present = keys.charters.charter
        assert present is not None
        swarm_key = await _swarm_key(rig)
        entropy = rig.node.world.entropy
        added = [
            with_added(present, name, KeyPair.generate(entropy).public_key)
            for name in ("one", "two")
        ]
        made = [sign_charter(swarm_key, 2, each) for each in added]
        answers = [
            await rig.http("POST", "/v1/coordinators", {"charter": each.data.hex()})
            for each in (*made, made[0])
        ]
        assert [each.status_code for each in answers] == [200, 409, 200]
        for bad in ("", "zz", present.data.hex()[:-2], made[0].data.hex() + "00"):
            answer = await rig.http("POST", "/v1/coordinators", {"charter": bad})
            assert answer.status_code in (400, 422, 409)
        shown = (await rig.http("GET", "/v1/coordinators")).json()
        assert [each["name"] for each in shown["coordinators"]] == ["coordinator", "one"]
        assert [each["is_this"] for each in shown["coordinators"]] == [True, False]


async def _swarm_key(rig: Rig) -> KeyPair:
    text = await read_whole(rig.node.world.disk, "swarm.key")
    assert text is not None
    return KeyPair.from_private(bytes.fromhex(text.decode().strip()))


async def test_a_directory_that_is_put_back_brings_no_revoked_key_back(
    autojump_clock: MockClock,
) -> None:
    async with Cluster(SimWorld(3), SHAPE) as cluster:
        await wait_cluster_kept(cluster)
        await cluster.add_standby(0)
        await wait_follows(cluster)
        await trio.sleep(2 * limits.GATEWAY_PRESENCE_INTERVAL_S)  # the gateway hears of it
        first, standby = cluster.coordinators
        disk = first.node.world.disk
        kept = {
            name: await read_whole(disk, name) or b""
            for name in ("identity.key", FILE_NAME, RECOVERY_NAME)
        }
        client = cluster.client()
        assert (await client.request("PUT", "/bucket")).status_code == 200
        assert (await client.request("PUT", "/bucket/key", body=b"before")).status_code == 200
        await cluster.change_charter(lambda present: with_revoked(present, "coordinator"))
        began = trio.current_time()
        while cluster.active is not standby:  # noqa: ASYNC110 - virtual time
            await trio.sleep(1)
        assert trio.current_time() - began < 20
        await trio.sleep(2 * limits.GATEWAY_PRESENCE_INTERVAL_S)
        for each in (*cluster.cells, *cluster.gateways):
            inode = each.node.platter.inodes[FILE_NAME]
            assert read_charter(bytes(inode.content), cluster.swarm_key.peer_id).revision == 3
        for each in cluster.cells:
            each.crash(power=True)
        while not all(each.is_up for each in cluster.cells):  # noqa: ASYNC110 - virtual time
            await trio.sleep(1)
        first.stay_down()
        first.crash(power=True)
        disk = first.node.world.disk
        for name, content in kept.items():
            await write_whole(disk, name, content)
        first.come_back()
        await trio.sleep(60)
        assert not first.is_up
        assert cluster.active is standby
        answer = await client.request("GET", "/bucket/key")
        assert answer.content == b"before", answer.text
        assert (await client.request("PUT", "/bucket/key", body=b"after")).status_code == 200
        shown = await cluster.operate("GET", "/v1/coordinators")
        assert [(each["name"], each["state"]) for each in shown["coordinators"]] == [
            ("coordinator", "revoked"),
            ("standby-0", "trusted"),
        ]


async def test_a_standby_that_was_revoked_hears_of_it_and_stops(
    autojump_clock: MockClock,
) -> None:
    async with Cluster(SimWorld(4), SHAPE) as cluster:
        await wait_cluster_kept(cluster)
        await cluster.add_standby(0)
        await wait_follows(cluster)
        first, standby = cluster.coordinators
        await cluster.change_charter(lambda present: with_revoked(present, "standby-0"))
        await trio.sleep(20)
        assert not standby.is_up
        assert cluster.active is first
        assert (await cluster.operate("GET", "/v1/status"))["standbys"] == []


async def wait_cluster_kept(cluster: Cluster) -> None:
    # Over HTTP there is no event to wait for.
    while (await cluster.operate("GET", "/v1/status"))["journal"]["state"] != "kept":  # noqa: ASYNC110
        await trio.sleep(1)


async def wait_follows(cluster: Cluster) -> None:
    while not any(  # noqa: ASYNC110 - over HTTP there is no event to wait for
        each["follows"] for each in (await cluster.operate("GET", "/v1/status"))["standbys"]
    ):
        await trio.sleep(1)


async def test_a_coordinator_whose_key_is_replaced_stops_for_good(
    autojump_clock: MockClock,
) -> None:
    async def replace_key() -> None:
        async with running(cells=0) as rig:
            rigs.append(rig)
            public_key = KeyPair.generate(rig.node.world.entropy).public_key
            await rig.change_charter(
                lambda present: with_replaced(present, "coordinator", public_key)
            )
            await trio.sleep(5)

    rigs: list[Rig] = []
    with pytest.raises(BaseExceptionGroup) as ended:
        await replace_key()
    assert ended.group_contains(BadConfig, match="coordinator_revoked")
    with pytest.raises(BadConfig, match="coordinator_revoked"):
        await serve(rigs[0].node.world, rigs[0].config)
