"""A swarm whose coordinator is gone for ever gives its objects back to the holder of a kit."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio
from rescue_rig import (
    SHAPE,
    SimTree,
    cell_id,
    kit_of,
    lose,
    rescue,
    rescue_until_power_cut,
    wait_kept,
    wait_up,
)
from thoroughness import quick_or
from trio.testing import MockClock

from cell.journal_handlers import JournalHandlers
from common.crypto.keys import TenantKey
from common.crypto.rescue import issue_pass, rescue_order
from common.errors import Refused, Unavailable
from common.ids import SegmentId, TenantId
from common.ports import Address
from common.reasons import Outage
from common.rpc.peers import PeerPool
from common.wire.messages.base import Endpoint
from common.wire.messages.cell import ShardPut, ShardRead
from common.wire.messages.journal import (
    JournalAppend,
    JournalBegin,
    JournalConfigure,
    JournalKeep,
    JournalLook,
    JournalPoint,
    JournalState,
    SnapshotWrite,
)
from coordinator.journal.cells import JournalCell
from rescue import restore as rescue_restore
from rescue.checking import check
from rescue.file_names import name_of
from rescue.kit import Kit
from rescue.objects import write_file
from rescue.restore import Wanted
from sim.cluster import NATIVE_PORT, Cluster
from sim.replacing import replaced
from sim.world import SimWorld

BODIES = {
    "a": b"short",
    "a/b": b"",
    "a/b/": b"s" * 70_000,
    "%2E%2E": b"up",
    "large": bytes(range(256)) * 10_000,
}


async def put(cluster: Cluster, bodies: Mapping[str, bytes], bucket: str = "bucket") -> None:
    client = cluster.client()
    for key, body in bodies.items():
        answer = await client.request(
            "PUT",
            f"/{bucket}/{key}",
            None,
            body,
            {"x-amz-meta-key": "told", "content-type": "text/x"},
        )
        assert answer.status_code == 200, answer.text


async def make_bucket(cluster: Cluster, name: str = "bucket") -> None:
    answer = await cluster.client().request("PUT", f"/{name}")
    assert answer.status_code == 200, answer.text


async def kit_after(cluster: Cluster, bodies: Mapping[str, bytes]) -> Kit:
    """A kit of a swarm that keeps its journal, and has these objects in a bucket."""
    await make_bucket(cluster)
    await wait_kept(cluster)
    await put(cluster, bodies)
    return await kit_of(cluster)


@contextmanager
def one_answers(changed: Callable[[JournalState], JournalState]) -> Iterator[None]:
    """One cell that keeps the journal answers with another state than it has."""
    look = JournalHandlers.look
    liars: list[JournalHandlers] = []

    async def lie(handlers: JournalHandlers, *asked: Any) -> JournalState:
        state = await look(handlers, *asked)
        assert isinstance(state, JournalState)
        if not state.snapshot_id or (liars and handlers not in liars):
            return state
        liars.append(handlers)
        return changed(state)

    with replaced(JournalHandlers, "look", lie):
        yield
    assert liars


def restored(tree: SimTree) -> dict[str, bytes]:
    """The restored objects by key, as the lines say where they are."""
    files = tree.files("")
    lines = [each for each in tree.lines("objects.jsonl") if each["kind"] == "object"]
    found = {each["key"]: files[each["path"]] for each in lines}
    assert len(found) == len(lines)
    return found


async def test_objects_come_back_from_k_cells_that_nobody_sends_keys_to(
    autojump_clock: MockClock,
) -> None:
    async with Cluster(SimWorld(1), SHAPE) as cluster:
        await make_bucket(cluster)
        await wait_kept(cluster)
        kit = await kit_of(cluster)  # before the objects are there
        await put(cluster, BODIES)
        await put(cluster, {"large": b"replaced"})
        await lose(cluster, *cluster.cells[:2])
        tree = SimTree(cluster.swarm.node("rescuer"))
        done = await rescue(cluster, kit, tree)
        assert restored(tree) == {**BODIES, "large": b"replaced"}
        report = done.report()
        assert (report["restored"], report["kept"], report["missing"]) == (5, 0, 0)
        assert len(report["silent_cells"]) == 2
        for each in tree.lines("objects.jsonl"):
            if each["kind"] == "object":
                assert each["metadata"] == {"key": "told"}
                assert await tree.stat(each["path"]) == (each["size"], each["modified_ms"])

        # Once more, with one file gone, one cut short and one changed: only these are fetched.
        await tree.unlink("objects/bucket/large")
        file = await tree.open("objects/bucket/a%_")
        await file.truncate(2)
        await tree.set_time("objects/bucket/%252E%252E", 1)
        again = (await rescue(cluster, kit, tree)).report()
        assert (again["restored"], again["kept"]) == (3, 2)
        assert restored(tree) == {**BODIES, "large": b"replaced"}


async def test_a_restore_whose_power_goes_again_and_again_goes_on_where_it_was(
    autojump_clock: MockClock,
) -> None:
    async with Cluster(SimWorld(8), SHAPE) as cluster:
        kit = await kit_after(cluster, BODIES)
        await lose(cluster)
        node = cluster.swarm.node("rescuer")
        tree = SimTree(node)
        after_steps, cuts = 1, 0
        while not await rescue_until_power_cut(cluster, kit, tree, after_steps):
            cuts += 1
            after_steps += 2
            for path, content in tree.files("objects/").items():
                key = name_of(path.removeprefix("bucket/"))[0].decode()
                assert content == BODIES[key]
            tree = SimTree(node, tree)
        assert cuts > 3
        assert restored(tree) == BODIES


@pytest.mark.parametrize("seed", range(100, quick_or(102, 130)))
async def test_what_was_acknowledged_comes_back_from_cells_that_are_left_and_lie(
    seed: int, autojump_clock: MockClock
) -> None:
    chance = random.Random(seed)
    async with Cluster(SimWorld(seed), SHAPE) as cluster:
        await make_bucket(cluster)
        await wait_kept(cluster)
        kit = await kit_of(cluster)
        wanted: dict[str, bytes] = {}
        for _ in range(25):
            key = f"k{chance.randrange(12)}" + chance.choice(["", "", "/x"])
            if chance.random() < 0.2:
                await cluster.client().request("DELETE", f"/bucket/{key}")
                wanted.pop(key, None)
            else:
                wanted[key] = chance.randbytes(chance.choice([0, 10, 5000, 300_000, 2_000_000]))
                await put(cluster, {key: wanted[key]})
        gone = chance.sample(cluster.cells, chance.choice([0, 1, 2]))
        left = [each for each in cluster.cells if each not in gone]
        await lose(cluster, *gone)
        if len(gone) < 2:
            chance.choice(left).node.lies = 1.0
        tree = SimTree(cluster.swarm.node("rescuer"))
        await rescue(cluster, kit, tree)
        assert restored(tree) == wanted


async def test_versions_and_delete_markers_come_back_where_they_are_wanted(
    autojump_clock: MockClock,
) -> None:
    async with Cluster(SimWorld(2), SHAPE) as cluster:
        await make_bucket(cluster)
        await wait_kept(cluster)
        client = cluster.client()
        enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        answer = await client.request("PUT", "/bucket", {"versioning": ""}, enabled)
        assert answer.status_code == 200, answer.text
        for text in (b"one", b"two"):
            await put(cluster, {"kept": text, "gone": text})
        await client.request("DELETE", "/bucket/gone")
        kit = await kit_of(cluster)
        await lose(cluster)
        tree = SimTree(cluster.swarm.node("rescuer"))
        await rescue(cluster, kit, tree)
        assert restored(tree) == {"kept": b"two"}
        await rescue(cluster, kit, tree, Wanted(all_versions=True))
        lines = tree.lines("objects.jsonl")
        files = tree.files("")
        told = sorted(
            (each["key"], files[each["path"]], each["is_latest"])
            for each in lines
            if each["kind"] == "object"
        )
        assert told == [
            ("gone", b"one", False),
            ("gone", b"two", False),
            ("kept", b"one", False),
            ("kept", b"two", True),
        ]
        (marker,) = [each for each in lines if each["kind"] == "delete-marker"]
        assert (marker["key"], marker["is_latest"]) == ("gone", True)


async def test_what_cannot_be_read_is_named_and_comes_back_with_its_cells(
    autojump_clock: MockClock,
) -> None:
    async with Cluster(SimWorld(3), SHAPE) as cluster:
        kit = await kit_after(cluster, BODIES)
        await lose(cluster, *cluster.cells[:3])
        tree = SimTree(cluster.swarm.node("rescuer"))
        report = (await rescue(cluster, kit, tree)).report()
        assert (report["restored"], report["missing"]) == (1, 4)  # one has no bytes
        missing = tree.lines("missing.jsonl")
        assert {each["key"] for each in missing} == BODIES.keys() - {"a/b"}
        for each in missing:
            assert each["why"].startswith("too_few_shards")
            assert len(each["cells"]) == 6
        found = await check(cluster.swarm.node("checker").world, kit)
        assert found["unreadable_segments"] == 4
        cluster.cells[0].come_back()
        await wait_up(cluster.cells[:1])
        again = (await rescue(cluster, kit, tree)).report()
        assert (again["restored"], again["kept"], again["missing"]) == (4, 1, 0)
        assert restored(tree) == BODIES
        assert tree.lines("missing.jsonl") == []


async def test_the_bytes_of_others_count_when_one_object_cannot_be_read(
    autojump_clock: MockClock,
) -> None:
    async def fail_late(tree: SimTree, draft: str, path: str, *others: Any) -> int:
        if path.endswith("/large"):
            await trio.sleep(60)  # until all others are there
            raise Unavailable(Outage.TOO_FEW_SHARDS)
        return await write_file(tree, draft, path, *others)

    async with Cluster(SimWorld(11), SHAPE) as cluster:
        kit = await kit_after(cluster, BODIES)
        await lose(cluster)
        tree = SimTree(cluster.swarm.node("rescuer"))
        with replaced(rescue_restore, "write_file", fail_late):
            progress = (await rescue(cluster, kit, tree)).progress
        others = sum(len(body) for key, body in BODIES.items() if key != "large")
        assert (progress.done, progress.missing, progress.done_bytes) == (len(BODIES), 1, others)


async def test_tenants_and_buckets_that_are_not_there_are_noted(autojump_clock: MockClock) -> None:
    async with Cluster(SimWorld(12), SHAPE) as cluster:
        kit = await kit_after(cluster, {"a": b"a"})
        gone = TenantKey(TenantId(bytes(16)), bytes(32))
        both = replace(kit, tenants={**kit.tenants, "gone": gone})
        tree = SimTree(cluster.swarm.node("rescuer"))
        done = await rescue(cluster, both, tree, Wanted(buckets=["bucket", "buckte"]))
        assert restored(tree) == {"a": b"a"}
        assert done.report()["notes"] == [
            "tenant gone: the swarm knows no such tenant (any more)",
            "bucket buckte: no tenant of the kit has it (any more)",
        ]
        again = await rescue(cluster, both, tree, Wanted(tenants=["sim"], buckets=["bucket"]))
        assert again.report()["notes"] == []


async def test_a_cell_that_lies_of_shards_is_passed_over_and_named(
    autojump_clock: MockClock,
) -> None:
    async with Cluster(SimWorld(4), SHAPE) as cluster:
        kit = await kit_after(cluster, BODIES)
        await lose(cluster, cluster.cells[0])
        liar = cluster.cells[1]
        liar.node.lies = 1.0
        tree = SimTree(cluster.swarm.node("rescuer"))
        report = (await rescue(cluster, kit, tree)).report()
        assert restored(tree) == BODIES
        named = {each["cell"].split()[0] for each in report["bad_shards"]}
        assert named <= {cell_id(liar).hex()[:16]}
        unusable = set(report["journal"]["unusable"])
        assert named or unusable == {cell_id(liar).hex()}


async def test_a_cell_that_lies_of_its_journal_is_passed_over_and_named(
    autojump_clock: MockClock,
) -> None:
    async with Cluster(SimWorld(5), SHAPE) as cluster:
        kit = await kit_after(cluster, BODIES)

        def ahead(state: JournalState) -> JournalState:
            end = JournalPoint(state.end.sequence + 5, state.end.epoch + 5, bytes(32))
            return replace(state, end=end)

        tree = SimTree(cluster.swarm.node("rescuer"))
        with one_answers(ahead):
            await lose(cluster)
            report = (await rescue(cluster, kit, tree)).report()
        assert restored(tree) == BODIES
        (why,) = report["journal"]["unusable"].values()
        assert "shorter than it said" in why
        assert not report["journal"]["may_lack_newest"]


def has_lost_records(state: JournalState) -> JournalState:
    return replace(state, is_whole=False)


def claims_a_later_epoch(state: JournalState) -> JournalState:
    return replace(state, end=replace(state.end, epoch=state.end.epoch + 5))


@pytest.mark.parametrize("changed", [has_lost_records, claims_a_later_epoch])
async def test_a_cell_that_lost_records_or_lies_is_none_of_those_that_answered(
    changed: Callable[[JournalState], JournalState], autojump_clock: MockClock
) -> None:
    async with Cluster(SimWorld(10), SHAPE) as cluster:
        kit = await kit_after(cluster, {"a": b"a"})
        members = [each for each in cluster.cells if "journal.state" in each.node.platter.inodes]
        tree = SimTree(cluster.swarm.node("rescuer"))
        with one_answers(changed):
            await lose(cluster, *members[:2])
            report = (await rescue(cluster, kit, tree)).report()["journal"]
        assert restored(tree) == {"a": b"a"}
        # Two are silent, and one does not count: the other two are not most of five.
        assert (report["members"], report["answered"], len(report["unusable"])) == (5, 2, 1)
        assert report["may_lack_newest"]


async def test_without_a_journal_nothing_is_restored_and_an_earlier_run_is_taken_up(
    autojump_clock: MockClock,
) -> None:
    async with Cluster(SimWorld(6), SHAPE) as cluster:
        kit = await kit_after(cluster, {"a": b"a"})
        await lose(cluster)
        tree = SimTree(cluster.swarm.node("rescuer"))
        await rescue(cluster, kit, tree)
        for each in cluster.cells:
            if "journal.state" in each.node.platter.inodes:
                await each.node.world.disk.unlink("journal.state")
            each.crash(power=False)
        await wait_up(cluster.cells)
        await tree.unlink("objects/bucket/a")
        report = (await rescue(cluster, kit, tree)).report()
        assert (report["restored"], report["journal"]["read_from"]) == (1, None)
        assert report["journal"]["may_lack_newest"]
        with pytest.raises(Unavailable, match="no_journal"):
            await check(cluster.swarm.node("checker").world, kit)


async def test_cells_are_found_where_the_holder_of_the_kit_says_they_are(
    autojump_clock: MockClock,
) -> None:
    async with Cluster(SimWorld(9), SHAPE) as cluster:
        kit = await kit_after(cluster, BODIES)
        await lose(cluster)
        lost = replace(
            kit, cells=tuple(replace(each, host=f"not-{each.host}") for each in kit.cells)
        )
        tree = SimTree(cluster.swarm.node("rescuer"))
        with pytest.raises(Unavailable, match=r"no_journal.*asked=6.*connect_failed"):
            await rescue(cluster, lost, tree)
        # One is enough: it names the others, whose addresses are tried though the kit's failed.
        members = [each for each in cluster.cells if "journal.state" in each.node.platter.inodes]
        moved = {
            cell_id(members[0]).hex()[:8]: Address(members[0].node.name, NATIVE_PORT),
            cell_id(cluster.cells[5]).hex(): Address("nowhere", 1),
        }
        report = (await rescue(cluster, replace(lost, moved=moved), tree)).report()
        assert restored(tree) == BODIES
        (silent,) = report["silent_cells"]
        assert silent.endswith("nowhere:1")


async def test_a_kit_reads_and_can_do_nothing_else(autojump_clock: MockClock) -> None:
    async with Cluster(SimWorld(7), SHAPE) as cluster:
        kit = await kit_after(cluster, {"a": b"a"})
        before = (await cluster.operate("GET", "/v1/status"))["journal"]
        world = cluster.swarm.node("rescuer").world
        await check(world, kit)
        cell = cluster.cells[0]
        address = Address(cell.node.name, NATIVE_PORT)
        segment = SegmentId(bytes(16))
        point = JournalPoint(0, 0, bytes(32))
        order = rescue_order(kit.rescue_pass, segment, 0)
        forbidden = [
            (JournalBegin(1 << 40, bytes(16)), "not_a_coordinator"),
            (JournalAppend(1 << 40, point), "not_a_coordinator"),
            (JournalKeep(1 << 40, bytes(16), 0, bytes(32), point), "not_a_coordinator"),
            (SnapshotWrite(1 << 40, bytes(16), 0), "not_a_coordinator"),
            (JournalConfigure(1 << 40, 1, b"x"), "not_a_coordinator"),
            (ShardPut(order, 1, bytes(32)), "order_invalid"),
            (JournalLook(b""), "not_a_coordinator"),
            (JournalLook(issue_pass(kit.identity, kit.identity.peer_id)), "not_a_coordinator"),
            (ShardRead(rescue_order(bytes(96), segment, 0), 0, 1, False), "order_not_yours"),
        ]
        async with trio.open_nursery() as nursery:
            pool = PeerPool(
                world.network,
                kit.identity,
                connections_per_peer=1,
                chance=world.chance,
                log=world.log,
            )
            await nursery.start(pool.run)
            endpoint = Endpoint(cell_id(cell), cell.node.name, NATIVE_PORT)
            for request, why in forbidden:
                # Introduced anew: a stranger's connection ends with its first refusal.
                await JournalCell(pool, endpoint, kit.rescue_pass).look()
                with pytest.raises(Refused, match=why):
                    await pool.call(address, cell_id(cell), request, [b"x"])
            nursery.cancel_scope.cancel()
        await put(cluster, {"a": b"b"})
        after = (await cluster.operate("GET", "/v1/status"))["journal"]
        assert (after["state"], after["epoch"]) == ("kept", before["epoch"])
