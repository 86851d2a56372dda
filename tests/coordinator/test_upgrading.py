"""A journaled store of an older version becomes one of this version, whatever starts first."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import httpx
import pytest
import trio
from trio.testing import MockClock

from coordinator.config import JournalUse
from coordinator.journal.lease import EPOCH_NAME
from coordinator.journal.recovery_file import RECOVERY_NAME
from coordinator.journaled_store import STORE_NAME
from coordinator.recovery import recover
from coordinator.store import schema
from coordinator.store.steps import contract, expand
from sim.checkers.tables import differences
from sim.cluster import HTTP_PORT, Cluster, Shape, write_file
from sim.http import SimTransport
from sim.replacing import replaced
from sim.world import SimWorld

NEXT = (
    *schema.STEPS,
    expand(
        "CREATE TABLE news (number INTEGER PRIMARY KEY, text TEXT NOT NULL)",
        "INSERT INTO news (number, text) SELECT bucket, name FROM buckets",
        "ALTER TABLE tenants ADD COLUMN remark TEXT NOT NULL DEFAULT ''",
    ),
    contract("DROP INDEX evidence_by_cell"),
)


@contextmanager
def next_version() -> Iterator[None]:
    """The coordinators that are started now are of the next version."""
    with replaced(schema, "STEPS", NEXT), replaced(schema, "SCHEMA_VERSION", len(NEXT)):
        yield


@asynccontextmanager
async def journaled() -> AsyncIterator[Cluster]:
    shape = Shape(cells=3, redundancy="2/3", overrides={"coordinator": {"journal": "on"}})
    async with Cluster(SimWorld(1), shape) as cluster:
        await wait_kept(cluster)
        answer = await cluster.client().request("PUT", "/first")
        assert answer.status_code == 200
        yield cluster


async def wait_kept(cluster: Cluster) -> None:
    with trio.fail_after(120):
        while True:
            try:
                status = await cluster.operate("GET", "/v1/status")
            except (AssertionError, httpx.HTTPError):  # not served just now
                status = {"journal": {"state": ""}}
            if status["journal"]["state"] == "kept":
                return
            await trio.sleep(0.5)


async def readiness(cluster: Cluster) -> tuple[int, dict[str, object]]:
    network = cluster.swarm.node("operator").world.network
    async with httpx.AsyncClient(transport=SimTransport(network)) as client:
        answer = await client.get(f"http://coordinator:{HTTP_PORT}/readyz")
        return answer.status_code, json.loads(answer.content)


def stop(cluster: Cluster, *, cells: bool) -> None:
    daemons = [cluster.coordinators[0], *(cluster.cells if cells else ())]
    for each in daemons:
        each.stay_down()
        each.crash(power=True)


def rows(cluster: Cluster, query: str) -> list[tuple[object, ...]]:
    return cluster.store_node.databases[STORE_NAME].connection.execute(query).fetchall()


async def check_upgraded(cluster: Cluster) -> None:
    """The store is upgraded, is written, and comes back from the cells as it is."""
    await wait_kept(cluster)
    assert rows(cluster, "SELECT text FROM news") == [("first",)]
    dropped = "SELECT count(*) FROM sqlite_schema WHERE name = 'evidence_by_cell'"
    assert rows(cluster, dropped) == [(0,)]
    with trio.fail_after(120):
        while True:
            answer = await cluster.client().request("PUT", "/first/object", None, b"body")
            if answer.status_code == 200:
                break
            await trio.sleep(1)
    await trio.sleep(2)
    coordinator = cluster.coordinators[0]
    coordinator.stay_down()
    coordinator.crash(power=False)
    assert await check_recovered(cluster) == len(NEXT)


def recovery_file(cluster: Cluster) -> bytes:
    return bytes(cluster.store_node.platter.inodes[RECOVERY_NAME].content)


async def check_recovered(cluster: Cluster) -> int:
    """The store comes back from the cells as it is; return its version."""
    node, spare = cluster.store_node, cluster.swarm.node("spare")
    await recover(spare.world, recovery_file(cluster), patience_s=60)
    mine, other = (each.databases[STORE_NAME].connection for each in (node, spare))
    assert differences(mine, other) == []
    version: int = other.execute("PRAGMA user_version").fetchone()[0]
    return version


async def test_a_coordinator_that_is_upgraded_starts_before_its_cells(
    autojump_clock: MockClock,
) -> None:
    async with journaled() as cluster:
        stop(cluster, cells=True)
        with next_version():
            coordinator = cluster.coordinators[0]
            coordinator.come_back()
            with trio.fail_after(60):
                while not coordinator.is_up:  # noqa: ASYNC110  # virtual time
                    await trio.sleep(0.1)  # a poll in virtual time costs nothing
            await trio.sleep(30)
            code, facts = await readiness(cluster)
            assert (code, facts["reason"]) == (503, "journal_unsettled")
            assert "older version" in str(facts["what_to_do"])
            assert rows(cluster, "PRAGMA user_version") == [(len(schema.STEPS) - 2,)]
            for each in cluster.cells:
                each.come_back()
            await check_upgraded(cluster)


@pytest.mark.parametrize("lacks", [False, True])
async def test_a_coordinator_is_upgraded_while_its_cells_run(
    lacks: bool, autojump_clock: MockClock
) -> None:
    async with journaled() as cluster:
        before = cluster.store_node.databases[STORE_NAME].connection.serialize()
        assert (await cluster.client().request("PUT", "/second")).status_code == 200
        stop(cluster, cells=False)
        if lacks:  # what the older version wrote and the store has not is made in older tables
            cluster.store_node.databases[STORE_NAME].connection.deserialize(before)
        with next_version():
            cluster.coordinators[0].come_back()
            await wait_kept(cluster)
            assert rows(cluster, "SELECT text FROM news") == [("first",), ("second",)]


async def test_an_upgrade_survives_cells_and_coordinators_that_go_meanwhile(
    autojump_clock: MockClock,
) -> None:
    async with journaled() as cluster:
        stop(cluster, cells=True)
        with next_version():
            for pause_s in (0.2, 1.0, 3.0):
                for each in (cluster.coordinators[0], *cluster.cells):
                    each.come_back()
                await trio.sleep(5 + pause_s)
                stop(cluster, cells=True)
            for each in (cluster.coordinators[0], *cluster.cells):
                each.come_back()
            await check_upgraded(cluster)


async def test_a_swarm_that_had_no_journal_begins_one_while_it_is_written_to(
    autojump_clock: MockClock,
) -> None:
    shape = Shape(cells=6, overrides={"coordinator": {"journal": "off"}})
    async with Cluster(SimWorld(1), shape) as cluster:
        client = cluster.client()
        assert (await client.request("PUT", "/first")).status_code == 200
        assert (await cluster.operate("GET", "/v1/status"))["journal"]["state"] == "off"
        stop(cluster, cells=False)
        coordinator = cluster.coordinators[0]
        older = coordinator.node.databases[STORE_NAME].copy()
        coordinator.config = replace(coordinator.config, journal=JournalUse.ON)
        coordinator.come_back()
        answers: list[tuple[int, float]] = []
        states = set()
        with trio.move_on_after(120):
            while len(answers) < 40 or "kept" not in states:
                began = trio.current_time()
                answer = await client.request("PUT", f"/first/{len(answers)}", None, b"body")
                answers.append((answer.status_code, trio.current_time() - began))
                if answer.status_code == 200:
                    states.add((await cluster.operate("GET", "/v1/status"))["journal"]["state"])
                await trio.sleep(0.05)
        assert {"not kept", "kept"} <= states
        served = [code for code, _ in answers].index(200)
        assert {code for code, _ in answers[served:]} == {200}
        assert max(took_s for _, took_s in answers[served + 1 :]) < 1
        await trio.sleep(2)
        coordinator.stay_down()
        coordinator.crash(power=False)
        await check_recovered(cluster)
        # A copy of the store from before: the journal of what came after is left as it is.
        coordinator.node.databases[STORE_NAME].put_in_place(older)
        coordinator.come_back()
        await trio.sleep(60)
        status = await cluster.operate("GET", "/v1/status")
        assert (status["store"]["standing"], status["journal"]["state"]) == ("behind", "not kept")
        coordinator.crash(power=False)
        fresh = cluster.swarm.node("fresh")
        found = await recover(fresh.world, recovery_file(cluster), patience_s=60)
        assert found.objects == sum(code == 200 for code, _ in answers)


async def test_a_store_that_lacks_something_is_served_again_once_its_cells_come(
    autojump_clock: MockClock,
) -> None:
    async with journaled() as cluster:
        coordinator = cluster.coordinators[0]
        older = coordinator.node.databases[STORE_NAME].copy()
        assert (await cluster.client().request("PUT", "/second")).status_code == 200
        stop(cluster, cells=True)
        coordinator.node.databases[STORE_NAME].put_in_place(older)
        coordinator.come_back()
        with trio.fail_after(60):
            while not coordinator.is_up:  # noqa: ASYNC110 - virtual time
                await trio.sleep(0.1)
        assert (await cluster.operate("GET", "/v1/status"))["journal"]["state"] == "unsettled"
        for each in cluster.cells:
            each.come_back()
        await wait_kept(cluster)
        assert rows(cluster, "SELECT name FROM buckets ORDER BY name") == [("first",), ("second",)]
        code, _ = await readiness(cluster)
        assert (code, coordinator.is_up) == (200, True)


async def test_a_coordinator_whose_end_its_cells_did_not_see_is_active_again_soon(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.limits.JOURNAL_HELD_S", 60.0)  # it is started again before that
    async with journaled() as cluster:
        coordinator = cluster.coordinators[0]
        stop(cluster, cells=False)
        # As if it had ended between the promises of its cells and the note of them.
        await write_file(coordinator.node.world.disk, EPOCH_NAME, b"0\n")
        coordinator.come_back()
        await wait_kept(cluster)
