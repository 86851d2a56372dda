"""Two coordinators over one store, simulated: it turns transactions away, and loses outcomes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
import trio
from coordinator_rig import NATIVE, Gateway, Rig, running, written
from trio.testing import MockClock

from common.errors import BadConfig, NotFound, OutcomeUnknown, Refused, Unavailable
from common.ports import Address
from common.wire import messages as m
from coordinator.journaled_store import STORE_NAME
from coordinator.service import serve
from sim.stores import Database, SimStores

OTHER = Address("other", 7000)
EXCHANGED_S = 10.0
"""Time after which each coordinator knows what the other one heard."""


class Pair:
    """The coordinator of a rig, and another one."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.node = rig.swarm.node("other")
        self.node.databases = rig.node.databases
        self.config = replace(rig.config, listen=OTHER, http=Address("other", 7001))
        self.scope = trio.CancelScope()

    @property
    def database(self) -> Database:
        return self.rig.node.databases[STORE_NAME]

    async def take_keys(self) -> None:
        await self.rig.enrol(self.node, "other")

    async def start(self) -> None:
        async def run(*, task_status: trio.TaskStatus[Any]) -> None:
            with trio.CancelScope() as self.scope:
                await serve(self.node.world, self.config, task_status=task_status)

        await self.rig.nursery.start(run)

    async def gateway_at(self, name: str, native: Address) -> Gateway:
        """Another gateway of the same tenant, at one of the two."""
        gateway = Gateway(self.rig, name)
        first = Gateway(self.rig, "tenant")
        gateway.tenant_id, gateway.key = first.tenant_id, first.key
        gateway.native = native
        await gateway.connect()
        await gateway.open()
        return gateway


@asynccontextmanager
async def two(monkeypatch: pytest.MonkeyPatch, **config: Any) -> AsyncIterator[Pair]:
    monkeypatch.setattr(SimStores, "is_shared", True)
    async with running(**config) as rig:
        pair = Pair(rig)
        await pair.take_keys()
        await pair.start()
        await trio.sleep(EXCHANGED_S)
        yield pair
        assert not rig.swarm.faults


async def test_both_serve_what_either_has_taken(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(monkeypatch) as pair:
        here = await pair.rig.add_gateway()
        there = await pair.gateway_at("there", OTHER)
        await here.make_bucket()
        await here.put(b"here")
        await there.put(b"there")
        for gateway in (here, there):
            assert [each.name for each in (await gateway.names()).objects] == [b"here", b"there"]
            assert (await gateway.get(b"here")).size == 100
        status = await pair.rig.operate("GET", "/v1/status")
        assert [each["state"] for each in status["active"]] == ["active", "active"]
        assert status["coordinators"] == [str(NATIVE), str(OTHER)]


async def test_what_one_has_acknowledged_the_other_does_not_take_for_another_history(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(monkeypatch) as pair:
        here = await pair.rig.add_gateway()
        there = await pair.gateway_at("there", OTHER)
        await here.make_bucket()
        (cell, *_) = pair.rig.cells
        for number in range(5):
            for gateway, native in ((here, OTHER), (there, NATIVE)):
                _, committed = await gateway.put(b"%d" % number)
                cell.native, cell.seen = native, (committed.position,)
                answer = await cell.beat()
                assert answer.position
                assert answer.ends[0] > 0
        assert pair.rig.sql("SELECT * FROM told_positions") == []
        status = await pair.rig.operate("GET", "/v1/status")
        assert status["store"]["standing"] == "current"


async def test_an_older_copy_of_a_shared_store_is_behind_for_both(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(monkeypatch) as pair:
        rig = pair.rig
        here = await rig.add_gateway()
        there = await pair.gateway_at("there", OTHER)
        await here.make_bucket()
        older = rig.copy()
        _, committed = await there.put(b"lost")
        pair.node.crash(power=True)
        pair.scope.cancel()
        await rig.restart_with(older)
        await here.connect()
        # A later run does not make up for what an earlier one had.
        await here.open()
        for number in range(3):
            await here.put(b"new %d" % number)
        with pytest.raises(Unavailable, match="store_behind"):
            await here.prove(here.key, seen=(committed.position,))
        await pair.start()
        with pytest.raises(Unavailable, match="store_behind"):
            await pair.gateway_at("again", OTHER)


async def test_a_coordinator_with_another_secret_is_refused(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(monkeypatch) as pair:
        stranger = Pair(pair.rig)
        stranger.node = pair.rig.swarm.node("stranger")
        stranger.node.databases = pair.rig.node.databases
        with pytest.raises(BadConfig, match="wrong_swarm"):
            await serve(stranger.node.world, stranger.config)


async def test_what_is_read_by_way_of_one_is_not_purged_by_the_other(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(monkeypatch, delete_grace_s=20, write_lease_ttl_s=30) as pair:
        here = await pair.rig.add_gateway()
        there = await pair.gateway_at("there", OTHER)
        await here.make_bucket()
        request, _ = await here.put(b"name")
        await there.open_lease()
        await here.open_lease()
        led_by = pair.rig.one("SELECT run_id FROM leadership")
        own = (await pair.rig.operate("GET", "/v1/status"))["store"]["run_id"]
        reader = there if led_by == own else here
        renewal = m.LeaseRenew(reader.lease, reading=(request.version_id,))
        await reader.call(renewal)
        await here.delete(b"name")
        for _ in range(30):
            await trio.sleep(5)
            await reader.call(renewal)
        assert (await reader.get(b"name", version_id=request.version_id)).size == 100
        await reader.call(m.LeaseRenew(reader.lease))
        await trio.sleep(150)
        await reader.open()  # on a new connection
        with pytest.raises(NotFound):
            await reader.get(b"name", version_id=request.version_id)
        assert pair.rig.sql("SELECT * FROM readers") == []


@pytest.mark.parametrize("seed", range(3))
async def test_transactions_are_run_again_and_outcomes_are_lost_and_each_commit_counts_once(
    seed: int, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(monkeypatch, seed=seed, delete_grace_s=1) as pair:
        here = await pair.rig.add_gateway()
        await here.make_bucket()
        gateways = [here] + [
            await pair.gateway_at(f"gateway {number}", (NATIVE, OTHER)[number % 2])
            for number in range(3)
        ]
        for each in gateways:
            await each.open_lease()
        pair.database.turn_away = 0.3
        pair.database.lose_outcomes = 0.2
        acknowledged: dict[bytes, m.Committed] = {}
        requests: dict[bytes, m.ObjectCommit] = {}

        async def persist(gateway: Gateway, request: m.Request) -> Any:
            """Ask again until there is an answer, now of one, now of the other."""
            while True:
                try:
                    return await gateway.call(request)
                except (OutcomeUnknown, Unavailable):
                    gateway.native = OTHER if gateway.native == NATIVE else NATIVE
                    with suppress(Refused):  # it is open there
                        await gateway.open()
                    await trio.sleep(0.1)

        async def write(number: int, gateway: Gateway) -> None:
            for count in range(8):
                name = b"%d/%d" % (number, count % 5)
                grants = await persist(
                    gateway, m.WriteStart(gateway.tenant_id, gateway.lease, 1, 100)
                )
                segment = await granted(gateway, grants)
                request = gateway.commit_of(name, [segment])
                acknowledged[name] = await persist(gateway, request)
                requests[name] = request

        async with trio.open_nursery() as nursery:
            for number, gateway in enumerate(gateways):
                nursery.start_soon(write, number, gateway)
        pair.database.turn_away = pair.database.lose_outcomes = 0.0
        await trio.sleep(EXCHANGED_S)
        listed = (await here.names()).objects
        assert {each.name: each.version_id for each in listed} == {
            name: request.version_id for name, request in requests.items()
        }
        counted = pair.rig.sql("SELECT objects, logical_bytes FROM bucket_usage")
        assert counted == [(20, 2000)]
        for name, request in requests.items():
            again = await here.get(name)
            assert again.version_id == request.version_id
        numbers = [each.sequence for each in acknowledged.values()]
        assert len(set(numbers)) == len(numbers)


async def granted(gateway: Gateway, grants: m.Grants) -> m.NewSegment:
    (grant,) = grants.grants
    return written(grant, 100, gateway.chance)


async def test_a_coordinator_notices_that_its_store_was_replaced_under_it(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a replica that is promoted without all that was acknowledged."""
    monkeypatch.setattr(SimStores, "is_shared", True)
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        await gateway.put(b"kept")
        older = rig.copy()
        await gateway.put(b"lost")
        late = gateway.commit_of(b"late", [await gateway.segment()])
        rig.node.databases[STORE_NAME].connection.deserialize(older)
        with pytest.raises(Unavailable, match="store_behind"):
            await gateway.call(late)
        await trio.sleep(EXCHANGED_S)
        # Its rounds have written more since than the store lacks: that makes up for nothing.
        await trio.sleep(200)
        assert (await rig.operate("GET", "/v1/status"))["store"]["standing"] == "behind"
        with pytest.raises(Unavailable, match="store_behind"):
            await gateway.open()
        await rig.operate("POST", "/v1/store/accept")
        await gateway.connect()
        await gateway.open()
        assert [each.name for each in (await gateway.names()).objects] == [b"kept"]
