"""Cells join by invitation, are watched, and a cell that is gone stops neither reads nor writes."""

import dataclasses

import pytest
import trio
from coordinator_rig import FakeCell, facts, running

from common import limits
from common.errors import BadConfig, Refused, Unavailable
from common.format.token import decode_token, invite_id_of
from common.reasons import Outage
from common.wire import messages as m
from coordinator.config import CoordinatorConfig
from coordinator.service import serve
from sim.stores import SimStore
from sim.world import SimWorld


def count_transactions(monkeypatch):
    """A list that grows with every transaction, also of those that only read, of any store."""
    asked = []

    def count(name):
        plain = getattr(SimStore, name)

        async def counted(store, work):
            asked.append(name)
            return await plain(store, work)

        monkeypatch.setattr(SimStore, name, counted)

    count("read")
    count("transact")
    return asked


async def states(rig):
    status = await rig.operate("GET", "/v1/status")
    return [each["state"] for each in status["cells"]]


async def test_a_token_lets_in_as_many_cells_as_it_says(autojump_clock):
    async with running(cells=0) as rig:
        token = (await rig.operate("POST", "/v1/invites", {"uses": 2, "site": "north"}))["token"]
        assert decode_token(token, "cell").coordinator_id == rig.serving.swarm_key_id
        assert [(a.host, a.port) for a in decode_token(token, "cell").coordinators] == [
            ("coordinator", 7000)
        ]
        joined = []
        for number in range(3):
            cell = FakeCell(rig, number, "south", "me")
            await cell.connect()
            joined.append(cell)
        for cell in (joined[0], joined[0], joined[1], joined[1]):
            await cell.join(token)  # again is fine and uses nothing up
        with pytest.raises(Refused, match="bad_token"):
            await joined[2].join(token)
        status = await rig.operate("GET", "/v1/status")
        assert [(each["site"], each["owner"], each["state"]) for each in status["cells"]] == [
            ("north", "me", "new"),
            ("north", "me", "new"),
        ]


async def test_a_token_ends(autojump_clock):
    async with running(cells=0) as rig:
        token = (await rig.operate("POST", "/v1/invites", {"expires_in_s": 100}))["token"]
        cell = FakeCell(rig, 0, "", "")
        await cell.connect()
        await trio.sleep(101)
        with pytest.raises(Refused, match="bad_token"):
            await cell.join(token)


async def test_a_token_names_no_address_that_leads_nowhere(autojump_clock):
    async with running(cells=0, listen="0.0.0.0:7000", discovery=True) as rig:
        token = decode_token((await rig.operate("POST", "/v1/invites", {}))["token"], "cell")
        assert (token.swarm, token.coordinators) == ("test", ())
        assert [each.swarm for each in rig.swarm.advertised] == ["test"]


async def test_a_coordinator_that_cannot_be_announced_serves_all_the_same(autojump_clock):
    class Deaf:
        async def advertise(self, address, swarm):
            await trio.lowlevel.checkpoint()
            raise Unavailable(Outage.NO_DISCOVERY)

    world = dataclasses.replace(SimWorld(1).node("coordinator").world, discovery=Deaf())
    config = CoordinatorConfig.parse(
        {"data": ".", "listen": "coordinator:7000", "http": "coordinator:7001"}
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, world, config)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()


async def test_strangers_are_no_cells(autojump_clock):
    async with running(cells=1) as rig:
        gateway = await rig.add_gateway()
        for request in (
            m.Heartbeat("elsewhere", 1, facts(), ()),
            m.Settle(()),
            m.ShardsLost(()),
        ):
            with pytest.raises(Refused, match="not_a_cell"):
                await gateway.call(request)


async def test_a_heartbeat_is_answered_with_the_cells_own_order_key(autojump_clock):
    async with running(cells=2, heartbeat_interval_s=7) as rig:
        replies = [await cell.beat() for cell in rig.cells]
        assert replies[0].order_key != replies[1].order_key
        assert {reply.interval_s for reply in replies} == {7}
        await rig.restart()
        again = [await cell.beat() for cell in rig.cells]
        assert [each.order_key for each in again] == [each.order_key for each in replies]


async def test_an_idle_swarm_leaves_the_store_alone(autojump_clock, monkeypatch):
    asked = count_transactions(monkeypatch)
    async with running(cells=6):
        await trio.sleep(200)
        asked.clear()
        await trio.sleep(600)
        # Once a minute deletes of each cell, what was dropped, who was silent, and buckets whose
        # class was changed are looked for.
        # Twice a minute it is counted what is missing. Every ten minutes shards to audit are drawn
        # of each cell, and how evenly cells are used is looked at.
        assert len(asked) <= 10 * 10 + 2 * 10 + 6 + 1


async def test_cells_of_a_large_swarm_are_heard_less_often(autojump_clock, monkeypatch):
    async with running(cells=6, heartbeat_interval_s=1, cell_timeout_s=4) as rig:
        assert (await rig.cells[1].beat()).interval_s == 1
        monkeypatch.setattr(limits, "HEARTBEATS_PER_S", 1)
        assert (await rig.cells[1].beat()).interval_s == 6
        await rig.cells[0].beat()
        rig.cells[0].beating = False
        await trio.sleep(14)
        assert await states(rig) == ["alive"] * 6
        await trio.sleep(9)
        assert await states(rig) == ["suspect"] + ["alive"] * 5
        await trio.sleep(2)
        assert await states(rig) == ["offline"] + ["alive"] * 5
        monkeypatch.setattr(limits, "MAX_HEARTBEAT_INTERVAL_S", 3)
        assert (await rig.cells[1].beat()).interval_s == 3


async def test_too_few_cells_are_no_ring(autojump_clock):
    async with running(cells=5) as rig:
        gateway = await rig.add_gateway()
        with pytest.raises(Unavailable, match="no_ring") as failure:
            await gateway.grant()
        assert "5" in str(failure.value)
        await rig.add_cell()
        await trio.sleep(2)
        await gateway.grant()


async def test_a_silent_cell_is_noticed_and_writes_go_on_without_it(autojump_clock):
    async with running(cells=6) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        request, _ = await gateway.put(b"name")
        rig.cells[0].beating = False
        await trio.sleep(9)
        assert await states(rig) == ["alive"] * 6
        await trio.sleep(9)
        assert await states(rig) == ["offline"] + ["alive"] * 5
        await gateway.grant()
        record = await gateway.get(b"name")
        assert len(record.endpoints) == 6  # it may still be there for a reader
        assert all(record.places[0].orders)
        for cell in rig.cells[1:4]:
            cell.beating = False
        await trio.sleep(20)
        with pytest.raises(Unavailable, match="no_ring"):
            await gateway.grant()
        assert (await gateway.get(b"name")).version_id == request.version_id
        for cell in rig.cells[1:4]:
            cell.beating = True
        await trio.sleep(7)
        await gateway.grant()


async def test_a_broken_connection_is_noticed_at_once(autojump_clock):
    async with running(cells=12) as rig:
        gateway = await rig.add_gateway()
        for cell in rig.cells[:4]:
            cell.beating = False
            cell.scope.cancel()
        await trio.sleep(1.5)
        assert await states(rig) == ["suspect"] * 4 + ["alive"] * 8
        gone = {cell.identity.peer_id for cell in rig.cells[:4]}
        for _ in range(20):
            grants = await gateway.grant()
            assert gone.isdisjoint(endpoint.cell_id for endpoint in grants.endpoints)


async def test_a_cell_that_connects_anew_is_not_taken_for_gone(autojump_clock):
    async with running(cells=6) as rig:
        cell = rig.cells[0]
        old = cell.scope
        await cell.connect()
        await cell.beat()
        old.cancel()
        await trio.sleep(1.5)
        assert await states(rig) == ["alive"] * 6


async def test_a_read_only_or_full_cell_is_read_and_not_written(autojump_clock):
    async with running(cells=7) as rig:
        gateway = await rig.add_gateway()
        rig.cells[0].facts = facts(read_only=True)
        await trio.sleep(7)
        assert await states(rig) == ["read_only"] + ["alive"] * 6
        for _ in range(20):
            table = (await gateway.grant()).endpoints
            assert rig.cells[0].identity.peer_id not in {each.cell_id for each in table}
        rig.cells[0].facts = facts()
        rig.cells[1].facts = facts(free=1000)
        await trio.sleep(7)
        for _ in range(20):
            table = (await gateway.grant()).endpoints
            assert rig.cells[1].identity.peer_id not in {each.cell_id for each in table}


@pytest.mark.parametrize("reason", ["quiet_hours", "transit_used"])
async def test_a_cell_that_rests_by_its_owners_rules_gets_nothing_new_and_no_penalty(
    reason, autojump_clock
):
    async with running(cells=7) as rig:
        cell = rig.cells[0]
        cell.facts = dataclasses.replace(facts(), read_only=True, read_only_reason=reason)
        await trio.sleep(600)
        gateway = await rig.add_gateway()
        for _ in range(20):
            table = (await gateway.grant()).endpoints
            assert cell.identity.peer_id not in {each.cell_id for each in table}
        listed = (await rig.operate("GET", "/v1/status"))["cells"]
        found = next(each for each in listed if each["read_only"])
        assert (found["state"], found["read_only_reason"]) == ("read_only", reason)
        assert found["availability"]["silent_s"] == 0
        assert found["trust"] == "good"
        assert found["hazard"] == listed[1]["hazard"]
        cell.facts = facts()
        await trio.sleep(7)
        assert await states(rig) == ["alive"] * 7


@pytest.mark.fault("F7")
async def test_a_full_cell_is_full_until_it_has_room_for_long(autojump_clock):
    async with running(cells=7) as rig:
        for free, state in (
            (limits.CELL_LEAST_FREE_BYTES, "alive"),
            (limits.CELL_LEAST_FREE_BYTES - 1, "full"),
            (limits.CELL_FREE_AGAIN_BYTES - 1, "full"),
            (limits.CELL_FREE_AGAIN_BYTES, "alive"),
        ):
            rig.cells[0].facts = facts(free=free)
            await trio.sleep(7)
            assert await states(rig) == [state] + ["alive"] * 6


@pytest.mark.fault("F7")
async def test_rings_on_full_cells_do_not_look_whole(autojump_clock):
    """4/6 with a quorum of 5: without two of six cells nothing is written in this class; without
    four of them in none."""
    async with running(cells=6) as rig:
        for full, state, writable in (
            (1, "degraded", True),
            (2, "readable", True),
            (3, "readable", True),
            (4, "readable", False),
        ):
            rig.cells[full].facts = facts(free=1000)
            await trio.sleep(10)
            status = await rig.operate("GET", "/v1/status")
            assert {ring["state"] for ring in status["rings"] if ring["k"] == 4} == {state}
            assert (await rig.http("GET", "/healthz")).json()["writable"] is writable


@pytest.mark.fault("F15")
async def test_a_restarted_coordinator_writes_to_no_cell_that_it_has_not_heard(autojump_clock):
    async with running(cells=7) as rig:
        rig.cells[0].beating = False
        await rig.restart()
        assert "alive" not in await states(rig)
        await trio.sleep(8)
        assert await states(rig) == ["unheard"] + ["alive"] * 6
        gateway = await rig.add_gateway()
        for _ in range(20):
            table = (await gateway.grant()).endpoints
            assert rig.cells[0].identity.peer_id not in {each.cell_id for each in table}
        await trio.sleep(15)
        assert await states(rig) == ["offline"] + ["alive"] * 6


async def test_rings_survive_a_restart_and_are_not_made_anew(autojump_clock):
    async with running(cells=9) as rig:
        rings = rig.sql("SELECT * FROM ring_slots")
        await rig.restart()
        gateway = await rig.add_gateway()
        await gateway.grant()  # at once: cells count as there until they have been silent
        await trio.sleep(30)
        assert rig.sql("SELECT * FROM ring_slots") == rings
        assert await states(rig) == ["alive"] * 9


async def test_new_cells_join_new_rings(autojump_clock):
    async with running(cells=6) as rig:
        assert rig.one("SELECT count(*) FROM rings WHERE is_open") == 12
        for _ in range(3):
            await rig.add_cell()
        await trio.sleep(3)
        counts = dict(
            rig.sql(
                "SELECT s.cell, count(*) FROM ring_slots s JOIN rings r ON r.ring = s.ring"
                " WHERE r.is_open GROUP BY s.cell"
            )
        )
        assert len(counts) == 9
        assert min(counts.values()) >= 10


async def test_rings_of_another_class_are_read_and_not_written(autojump_clock):
    async with running(cells=6) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        await gateway.put(b"old")
        rig.config = CoordinatorConfig.parse(
            {
                "data": ".",
                "listen": "coordinator:7000",
                "http": "coordinator:7001",
                "swarm": "test",
                "discovery": False,
                "journal": "off",
                "redundancy": "2/3",
            }
        )
        await rig.restart()
        await trio.sleep(2)
        await gateway.open()
        grant = (await gateway.grant()).grants[0]
        assert (grant.k, grant.n, grant.quorum) == (2, 3, 3)
        await gateway.put(b"new")
        assert [(await gateway.get(name)).places[0].n for name in (b"old", b"new")] == [6, 3]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("redundancy", "6/4"),
        ("redundancy", "4/65"),
        ("redundancy", "0/3"),
        ("redundancy", 46),
        ("write_quorum", 3),
        ("write_quorum", 7),
        ("listen", "nowhere"),
        ("listen", "[::1:80"),
        ("http", "host:99999"),
        ("swarm", "Bad Name"),
        ("heartbeat_interval_s", 0),
        ("cell_timeout_s", 5),
        ("write_lease_ttl_s", "300"),
        ("discovery", "maybe"),
        ("data", ""),
    ],
)
def test_bad_configuration_names_its_key(key, value):
    with pytest.raises(BadConfig) as failure:
        CoordinatorConfig.parse({"data": "here", key: value})
    assert failure.value.fields["key"] == key


def test_configuration_is_whole_and_has_no_unknown_keys():
    with pytest.raises(BadConfig, match="missing_key"):
        CoordinatorConfig.parse({})
    with pytest.raises(BadConfig, match="unknown_key"):
        CoordinatorConfig.parse({"data": "here", "dada": 1})
    config = CoordinatorConfig.parse({"data": "here", "redundancy": "8/12", "listen": "[::1]:80"})
    assert (config.redundancy_class().quorum, str(config.listen)) == (10, "[::1]:80")
    assert (
        CoordinatorConfig.parse({"data": "here", "write_quorum": 6}).redundancy_class().quorum == 6
    )


# --- removal, invitations -------------------------------------------------------------------------


def removal_of(cell):
    return f"/v1/cells/{cell.identity.peer_id.hex()}/remove"


@pytest.mark.fault("M5")
async def test_a_removed_cells_key_is_refused_for_good(autojump_clock):
    async with running(cells=4, redundancy="2/3") as rig:
        cell = rig.cells[0]
        cell.beating = False
        token = (await rig.operate("POST", "/v1/invites", {}))["token"]
        await rig.operate("POST", f"/v1/cells/{cell.identity.peer_id.hex()[:12]}/remove", {})

        async def is_refused():
            for attempt in (cell.beat, cell.settle, lambda: cell.join(token)):
                with pytest.raises(Refused, match="cell_removed"):
                    await attempt()
            assert (await states(rig)).count("removed") == 1

        await is_refused()
        await rig.operate("POST", removal_of(cell), {})  # again is fine
        await rig.restart()
        await is_refused()


@pytest.mark.fault("M5")
async def test_no_orders_are_given_for_a_removed_cell(autojump_clock):
    async with running(cells=6) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        await gateway.put(b"a")
        rig.cells[2].beating = False
        await rig.operate("POST", removal_of(rig.cells[2]), {})
        (place,) = (await gateway.get(b"a")).places
        assert [bool(order) for order in place.orders].count(False) == 1
        (grant,) = (await gateway.grant()).grants
        assert [bool(order) for order in grant.orders].count(False) == 1


@pytest.mark.fault("M5")
async def test_a_cell_without_which_data_cannot_be_read_is_removed_only_on_demand(autojump_clock):
    async with running(cells=3, redundancy="2/3") as rig:
        for cell in rig.cells[:2]:
            cell.beating = False
        await rig.operate("POST", removal_of(rig.cells[0]), {})
        answer = await rig.http("POST", removal_of(rig.cells[1]), {})
        assert (answer.status_code, answer.json()["error"]) == (409, "cell_is_needed")
        await rig.operate("POST", removal_of(rig.cells[1]), {"even_if_needed": True})
        assert (await states(rig)).count("removed") == 2


async def test_a_full_cell_is_needed_as_any_other_that_can_be_read(autojump_clock):
    async with running(cells=3, redundancy="2/3") as rig:
        rig.cells[1].facts = facts(free=1000)
        rig.cells[0].beating = False
        await rig.operate("POST", removal_of(rig.cells[0]), {})
        await trio.sleep(7)
        assert sorted(await states(rig)) == ["alive", "full", "removed"]
        answer = await rig.http("POST", removal_of(rig.cells[1]), {})
        assert (answer.status_code, answer.json()["error"]) == (409, "cell_is_needed")


async def test_a_cell_that_is_not_there_is_not_removed(autojump_clock):
    async with running(cells=3, redundancy="2/3") as rig:
        for name in ("ff" * 32, "%20", "nothing"):
            answer = await rig.http("POST", f"/v1/cells/{name}/remove", {})
            assert answer.status_code == 404
        assert "removed" not in await states(rig)


@pytest.mark.fault("M5")
async def test_a_withdrawn_invitation_lets_nobody_in(autojump_clock):
    async with running(cells=0) as rig:
        made = await rig.operate("POST", "/v1/invites", {"site": "north", "uses": 3})
        other = await rig.operate("POST", "/v1/invites", {})
        assert made["invite_id"] == invite_id_of(decode_token(made["token"], "cell").secret)
        listed = (await rig.operate("GET", "/v1/invites"))["invites"]
        assert {each["invite_id"]: each["uses_left"] for each in listed} == {
            made["invite_id"]: 3,
            other["invite_id"]: 1,
        }
        cell = FakeCell(rig, 0, "", "")
        await cell.connect()
        await rig.operate("DELETE", f"/v1/invites/{made['invite_id']}")
        with pytest.raises(Refused, match="bad_token"):
            await cell.join(made["token"])
        await cell.join(other["token"])
        assert (await rig.operate("GET", "/v1/invites"))["invites"] == []
        for gone in (made["invite_id"], "00" * 8, "00", "zz"):
            assert (await rig.http("DELETE", f"/v1/invites/{gone}")).status_code == 404


@pytest.mark.fault("U2")
async def test_a_gateways_token_carries_coordinator_key_and_swarm_and_no_secret(autojump_clock):
    async with running(cells=0) as rig:
        token = decode_token((await rig.operate("GET", "/v1/gateway-token"))["token"], "gateway")
        assert (token.swarm, token.coordinator_id) == ("test", rig.serving.swarm_key_id)
        assert [(each.host, each.port) for each in token.coordinators] == [("coordinator", 7000)]
        assert token.secret == b""
    async with running(cells=0, listen="0.0.0.0:7000", discovery=True) as rig:
        answer = await rig.http("GET", "/v1/gateway-token")
        assert (answer.status_code, answer.json()["error"]) == (409, "not_advertised")
