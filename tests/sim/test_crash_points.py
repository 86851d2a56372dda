"""The coordinator's store at every step: after a power cut each operation is done or not done.

Every sequence of up to three operations (a third of the longest in ``make test``) is walked as a
tree: what was done before a cut is the
path, and the last operation is cut at each of its steps; then the power is cut again at each step
of the start after it. The cells' volumes and index are walked likewise in
``tests/cell/test_cell_crash_points.py``.
"""

import itertools
from collections import Counter

import pytest
import trio
from thoroughness import quick_or

from common.erasure.geometry import Geometry
from common.errors import NotFound
from common.ids import BucketId, PeerId, TenantId, VersionId, segment_id
from common.wire.messages.buckets import BucketCreate
from common.wire.messages.multipart import ChosenPart, PartCommit, UploadComplete, UploadCreate
from common.wire.messages.objects import (
    Condition,
    DeleteItem,
    ObjectCommit,
    ObjectGet,
    ObjectsDelete,
)
from common.wire.messages.writing import Extent, NewSegment, Page
from coordinator.journaled_store import STORE_NAME
from coordinator.policy.placement import Redundancy, RingPlan
from coordinator.store import (
    buckets,
    leases,
    multipart,
    objects,
    purge,
    rings,
    segments,
    tenants,
    usage,
)
from coordinator.store.schema import migrate
from sim.replay import run_seeded
from sim.world import SimWorld

TENANT_ID = TenantId(b"t" * 16)
GATEWAY = PeerId(b"g" * 32)
BUCKET = "bucket"
K, N, QUORUM = 4, 6, 5
SIZE = 1000
GEOMETRY = Geometry.plan(K, N, SIZE)
NAMES = (b"one", b"two", b"parts")


class Model:
    """What was acknowledged: per name the versions that it may have now."""

    def __init__(self):
        self.may_be = {name: {None} for name in NAMES}
        self.segments = set()
        self.numbers = itertools.count(1)

    def version(self):
        return VersionId(next(self.numbers).to_bytes(16, "big"))

    def segment(self, lease):
        segment = segment_id(lease, next(self.numbers).to_bytes(10, "big"))
        self.segments.add(segment)
        return segment

    def begin(self, name, version):
        """The name may become this version; until :meth:`end` it may be the old one, too."""
        self.may_be[name] = self.may_be[name] | {version}

    def end(self, name, version):
        self.may_be[name] = {version}


class Life:
    """One life of a coordinator's store, and the operations on it."""

    def __init__(self, node, model):
        self.node = node
        self.model = model

    async def open(self):
        """What a start does, up to the first request."""
        self.store = await self.node.world.stores.open(STORE_NAME)
        await self.store.transact(migrate)
        self.living = [each.lease for each in await self.store.read(leases.alive)]

    async def prepare(self):
        def work(sql):
            tenants.create(sql, "tenant", TENANT_ID, bytes(32), 0)
            self.tenant = 1
            plan = RingPlan((tuple(range(1, N + 1)),), (), ())
            rings.apply(sql, plan, Redundancy(K, N, QUORUM), 0)
            request = BucketCreate(TENANT_ID, BucketId(b"b" * 16), BUCKET, b"")
            buckets.create(sql, 1, request, 0, most_buckets=1)
            return leases.open_lease(sql, GATEWAY, 1, 0)

        self.living = [await self.store.transact(work)]

    def new(self):
        """A segment of the lease, as a commit names it, and its page."""
        segment = NewSegment(
            self.model.segment(self.living[0]),
            1,
            0,
            SIZE,
            GEOMETRY.unit_bytes,
            GEOMETRY.shard_bytes,
            bytes(32 * N),
            (1 << QUORUM) - 1,
        )
        return segment, Page((Extent(segment.segment_id, 0, SIZE, bytes(32), 0),))

    async def put(self, name, new_segments, pages, condition=Condition()):  # noqa: B008 - frozen
        version = self.model.version()
        request = ObjectCommit(
            TENANT_ID, BUCKET, name, version, SIZE, b"", b"", pages, new_segments, condition
        )
        content = segments.check_content(pages, new_segments, SIZE)
        self.model.begin(name, version)
        await self.store.transact(lambda sql: objects.commit(sql, 1, GATEWAY, request, content, 0))
        self.model.end(name, version)

    async def find(self, name):
        request = ObjectGet(TENANT_ID, BUCKET, name, None, True, 0, SIZE)
        try:
            return await self.store.read(lambda sql: objects.get(sql, 1, request))
        except NotFound:
            return None

    # --- the operations ----------------------------------------------------------------------

    async def commit(self):
        segment, page = self.new()
        await self.put(b"one", (segment,), (page,))

    async def replace(self):
        found = await self.find(b"one")
        condition = Condition(absent=True) if found is None else Condition(False, found.version_id)
        segment, page = self.new()
        await self.put(b"one", (segment,), (page,), condition)

    async def delete(self):
        self.model.begin(b"one", None)
        request = ObjectsDelete(TENANT_ID, BUCKET, (DeleteItem(b"one"),))
        await self.store.transact(lambda sql: objects.delete(sql, 1, request, 0))
        self.model.end(b"one", None)

    async def copy(self):
        found = await self.find(b"one")
        if found is not None:
            await self.put(b"two", (), tuple(placed.page for placed in found.pages))

    async def complete(self):
        upload, part = self.model.version(), self.model.version()
        name = b"parts"
        begin = UploadCreate(TENANT_ID, BUCKET, name, upload, b"")
        await self.store.transact(lambda sql: multipart.create(sql, 1, begin, 0, most_uploads=1000))
        for number in (1, 2):
            segment, page = self.new()
            request = PartCommit(
                TENANT_ID, BUCKET, name, upload, number, part, SIZE, b"", (page,), (segment,)
            )
            content = segments.check_content((page,), (segment,), SIZE)
            await self.store.transact(
                lambda sql, request=request, content=content: multipart.commit_part(
                    sql, 1, GATEWAY, request, content, 0
                )
            )
        chosen = (ChosenPart(2, part),)
        end = UploadComplete(TENANT_ID, BUCKET, name, upload, chosen, SIZE, b"", b"", Condition())
        self.model.begin(name, upload)
        await self.store.transact(lambda sql: multipart.complete(sql, 1, end, 0))
        self.model.end(name, upload)

    async def purge(self):
        more = True
        while more:
            due = await self.store.read(purge.last_dropped)
            more = (await self.store.transact(lambda sql, due=due: purge.purge(sql, due))).more

    async def abandon(self):
        """Abandon what was never committed, and (as a gateway in doubt does) what was."""
        granted = [self.model.segment(self.living[0])]
        self.model.segments.discard(granted[0])
        found = await self.find(b"one")
        if found is not None:
            granted += [each.segment_id for each in found.stored]
        named = [(each, 1) for each in granted]
        await self.store.transact(lambda sql: segments.abandon(sql, named))

    # --- what must hold ------------------------------------------------------------------------

    async def check(self):
        """Nothing acknowledged is lost, nothing is half there, nothing is leaked."""
        for name in NAMES:
            found = await self.find(name)
            version = None if found is None else found.version_id
            assert version in self.model.may_be[name], f"{name} is neither old nor new"
            self.model.may_be[name] = {version}
            if found is not None:
                assert sum(e.length for p in found.pages for e in p.page.extents) == SIZE
                assert found.stored, "its data has gone"
        await self.store.read(self._check_accounts)

    def _check_accounts(self, sql):
        uses = Counter()
        for owner, packed in sql.execute("SELECT owner, extents FROM pages").fetchall():
            known = sql.execute(
                "SELECT (SELECT count(*) FROM versions WHERE sequence = ?1)"
                " + (SELECT count(*) FROM parts WHERE sequence = ?1)"
                " + (SELECT count(*) FROM dropped WHERE owner = ?1)",
                (owner,),
            ).fetchone()[0]
            assert known, "pages that nobody owns"
            uses.update(extent.segment_id for extent in Page.unpack(packed).extents)
        counted = dict(sql.execute("SELECT segment_id, refs FROM segments").fetchall())
        assert dict(uses) == counted
        queued = Counter(row[0] for row in sql.execute("SELECT segment_id FROM deletes"))
        assert not queued.keys() & counted.keys(), "what is owned is to be deleted"
        assert set(queued.values()) <= {N}
        held = usage.total(sql)
        live = sql.execute(
            "SELECT count(*), coalesce(sum(size), 0) FROM current JOIN versions USING (sequence)"
        ).fetchone()
        assert (held.objects, held.logical_bytes) == live


OPERATIONS = ("commit", "replace", "delete", "copy", "complete", "purge", "abandon")


async def in_life(node, work):
    """Do something in the current life; whether the power stayed on."""
    ended = False
    died = node.died
    async with trio.open_nursery() as nursery:

        async def watch():
            await died.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch)
        await work()
        ended = True
        nursery.cancel_scope.cancel()
    return ended


async def walk(path, last, cut, second_cut):
    """Do what is on the path, cut the last operation at a step, then the start after it.

    Returns:
        Whether the operation and the start ended before their cuts.
    """
    node = SimWorld(cut).node("coordinator")
    model = Model()
    life = Life(node, model)

    async def before():
        await life.open()
        await life.prepare()
        for name in path:
            await getattr(life, name)()
        node.cut_at_step = node.steps + cut
        await getattr(life, last)()
        node.cut_at_step = None

    operation_ended = await in_life(node, before)
    if operation_ended:
        node.crash(power=True)
    node.cut_at_step = node.steps + second_cut
    start_ended = await in_life(node, Life(node, model).open)
    node.cut_at_step = None
    again = Life(node, model)
    await again.open()
    await again.check()
    # What was cut can be done again, and what was dropped is worked off.
    await getattr(again, last)()
    await again.purge()
    await again.check()
    return operation_ended, start_ended


PATHS = [path for length in range(3) for path in itertools.product(OPERATIONS, repeat=length)]
SHARES = quick_or(3, 1)


def is_walked(path, last):
    """Whether this run cuts the last operation after this path. Of the paths of two, each last
    operation has a part, so that all of them come up."""
    turn = sum(OPERATIONS.index(each) for each in (*path, last))
    return len(path) < 2 or turn % SHARES == 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("last", OPERATIONS)
def test_a_power_cut_at_any_step_of_any_sequence_leaves_old_or_new(last):
    async def main():
        for path in (each for each in PATHS if is_walked(each, last)):
            for cut in range(1, 40):
                for second_cut in range(1, 10):
                    ended, start_ended = await walk(path, last, cut, second_cut)
                    if start_ended:
                        break
                if ended:
                    break
            else:
                raise AssertionError("the operation never ended")

    run_seeded(1, main)
