"""A coordinator that lies: the real one behind it, and answers that are not what was asked for.

It stands between the real coordinator and the gateways, around the handlers of their requests, and
it has what the operator of a coordinator has: the swarm's secret, so that it makes orders that
cells obey, and every answer that was ever given. All that it shows is authentic; it is out of
place, or out of date. In some spans of a run it lies, in others it does not.

What it may achieve: refusals and errors, and that an older state of a name is shown as the newest
(docs/threat-model.md): each such lie is written down, so that the checkers excuse it and no more.
What it may never achieve is in :mod:`sim.checkers.naming` and :mod:`sim.checkers.sealing`.

Commits are carried out as they are, but for segments whose places it has bent: these it refuses,
so that what the real coordinator knows stays true.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, TypeAlias

import trio

import coordinator.composition
from common import limits
from common.crypto.orders import Order, OrderAction, cell_order_key, issue
from common.data_classes import dataclass
from common.erasure.geometry import Geometry
from common.errors import AlvearyError, NotFound, Refused
from common.ids import PeerId, SegmentId
from common.ports import Identity
from common.reasons import Absence, Refusal
from common.rpc.caller import Answer
from common.rpc.server import PeerServer
from common.wire.messages.base import Endpoint, Request
from common.wire.messages.buckets import BucketGet
from common.wire.messages.multipart import PartCommit, PartsList, UploadComplete, UploadGet
from common.wire.messages.objects import ObjectCommit, ObjectGet, ObjectRecord, ObjectsList
from common.wire.messages.writing import (
    AccessKeyGet,
    Grants,
    LeaseRenew,
    NewSegment,
    SegmentGrant,
    SegmentPlace,
    WriteStart,
)
from coordinator.session import Caller, CoordinatorSession, Handler
from sim.replacing import replaced
from sim.world import SimNode, SimWorld

KEPT: Final = 12
"""Answers remembered of each question."""
QUIET_S: Final = (2.0, 15.0)
LYING_S: Final = (3.0, 20.0)
SHARES: Final = (0.1, 0.3, 0.6, 1.0)
GRANTS_SHARE: Final = 0.8
"""Grants are asked for seldom."""
LIVES_S: Final = (3, 10, 900)
"""Lifetimes that orders are said to have: short ones make gateways ask for grants repeatedly."""
DAY_MS: Final = 86_400_000
BENT_PLACE: Final = ("segment_bytes", "unit_bytes", "shard_bytes", "k", "n")

Lie: TypeAlias = Callable[[Caller, Any, Any], Any]
"""From the question and the true answer (None: there was none) to another answer; None when there
is nothing to say that is not true."""


@dataclass(frozen=True, slots=True)
class Rollback:
    """An older state was shown as the newest: of one key of a bucket, or (None) of all."""

    time_s: float
    bucket: str
    key: bytes | None


@dataclass(frozen=True, slots=True)
class _Given:
    """A grant that was made, with the cells behind its numbers."""

    grant: SegmentGrant
    endpoints: tuple[Endpoint, ...]


class Liar:
    """Lies to gateways while a span lasts. Put :meth:`around` the coordinator's handlers.

    Args:
        node: the coordinator's, whose swarm secret it uses.
    """

    def __init__(self, swarm: SimWorld, node: SimNode) -> None:
        self.told: dict[str, int] = {}
        """Number of times that each lie was sent."""
        self.findings: list[str] = []
        """Forbidden actions of gateways, as readable text."""
        self.rollbacks: list[Rollback] = []
        self._swarm = swarm
        self._node = node
        self._chance = swarm.random("liar")
        self._share = 0.0
        self._kinds: frozenset[str] = frozenset()
        self._misplaced: set[SegmentId] = set()
        self._written: dict[tuple[PeerId, SegmentId], bytes] = {}
        self._grants: deque[_Given] = deque(maxlen=200)
        self._leases: deque[Any] = deque(maxlen=KEPT)
        self._answers: dict[tuple[Any, ...], deque[Any]] = defaultdict(lambda: deque(maxlen=KEPT))
        self._lies: Mapping[type[Request], Sequence[tuple[str, Lie]]] = {
            WriteStart: [
                ("repeat an id", self._repeat_ids),
                ("repeat an id elsewhere", self._repeat_ids_elsewhere),
                ("swap ids", self._swap_ids),
                ("one id for all", self._one_id),
            ],
            ObjectGet: [
                ("another bucket's object", self._other_bucket),
                ("another bucket's object", self._other_bucket),
                ("another object", self._other_name),
                ("an older version", self._older_version),
                ("an older version", self._older_version),
                ("no such object", self._absent),
                ("sizes and times", self._bend_object),
                ("places", self._bend_places),
            ],
            ObjectsList: [
                ("another bucket's listing", self._other_listing),
                ("an older listing", self._older_listing),
                ("rows left out", self._shorter_listing),
                ("rows twice", self._longer_listing),
                ("sizes and times", self._bend_listing),
            ],
            BucketGet: [("another bucket", self._other_record)],
            AccessKeyGet: [("another access key", self._other_record)],
            UploadGet: [("another upload", self._other_record)],
            PartsList: [
                ("another upload's parts", self._other_record),
                ("older parts", self._older_record),
                ("parts under other numbers", self._renumber_parts),
                ("part ids twice", self._repeat_parts),
                ("sizes and times", self._bend_parts),
            ],
            LeaseRenew: [("an older lease", self._older_lease)],
            ObjectCommit: [("sizes and times", self._bend_time)],
            PartCommit: [("sizes and times", self._bend_time)],
            UploadComplete: [("sizes and times", self._bend_time)],
        }

    async def run(self) -> None:
        """Lie in spans, until cancelled; then answer truthfully."""
        names = sorted({name for lies in self._lies.values() for name, _ in lies})
        try:
            while True:
                await trio.sleep(self._chance.uniform(*QUIET_S))
                count = self._chance.randrange(1, len(names) + 1)
                self._kinds = frozenset(self._chance.sample(names, count))
                self._share = self._chance.choice(SHARES)
                self._node.note("lying", {"share": self._share, "of": len(self._kinds)})
                await trio.sleep(self._chance.uniform(*LYING_S))
                self._share = 0.0
        finally:
            self._share = 0.0

    def around(self, handlers: Mapping[type[Request], Handler]) -> Mapping[type[Request], Handler]:
        """The same handlers, whose answers to gateways pass through here."""
        return {
            kind: self._around(handler) if kind in self._lies else handler
            for kind, handler in handlers.items()
        }

    def excuses(self, bucket: str, key: bytes, start_s: float, end_s: float) -> bool:
        """Return whether an older state of that name was shown as the newest in that time."""
        return any(
            each.bucket == bucket and each.key in (None, key) and start_s <= each.time_s <= end_s
            for each in self.rollbacks
        )

    def _around(self, handler: Handler) -> Handler:
        async def handle(caller: Caller, request: Any, payload: memoryview) -> Answer:
            if isinstance(request, ObjectCommit | PartCommit):
                self._look_at(caller, request.segments)
            truth: Any = None
            refusal: AlvearyError | None = None
            try:
                truth = await handler(caller, request, payload)
            except NotFound as error:
                refusal = error
            lie = self._tell(caller, request, truth)
            if truth is not None:
                self._remember(request, truth)
            if isinstance(lie, AlvearyError):
                raise lie
            if lie is not None:
                answer: Answer = lie
                return answer
            if refusal is not None:
                raise refusal
            answer = truth
            return answer

        return handle

    def _look_at(self, caller: Caller, segments: Sequence[NewSegment]) -> None:
        """Look at what a gateway wants to commit.

        Raises:
            Refused: it lies where no honest coordinator would have placed it.
        """
        for each in segments:
            before = self._written.setdefault((caller.peer_id, each.segment_id), each.roots)
            if before != each.roots:
                self.findings.append(f"two segments were written as {each.segment_id.hex()}")
            if each.segment_id in self._misplaced:
                raise Refused(Refusal.BELOW_QUORUM)

    def _tell(self, caller: Caller, request: Any, truth: Any) -> Any:
        """A lie instead of the truth, or None."""
        share = GRANTS_SHARE if self._share and type(request) is WriteStart else self._share
        if not share or self._chance.random() >= share:
            return None
        lies = [each for each in self._lies[type(request)] if each[0] in self._kinds]
        if not lies:
            return None
        name, lie = self._chance.choice(lies)
        told = lie(caller, request, truth)
        if isinstance(told, Grants):
            told = replace(told, expires_in_s=self._chance.choice(LIVES_S))
        if told is None or told == truth:
            return None
        self.told[name] = self.told.get(name, 0) + 1
        self._node.note("lie", {"what": name, "asked": type(request).__name__})
        return told

    # --- what is remembered -----------------------------------------------------------------

    def _remember(self, request: Any, truth: Any) -> None:
        if isinstance(request, WriteStart):
            self._grants.extend(_Given(each, truth.endpoints) for each in truth.grants)
        elif isinstance(request, LeaseRenew):
            self._leases.append(truth)
        else:
            kept = self._answers[self._question(request)]
            if truth not in kept:
                kept.append(truth)

    @staticmethod
    def _question(request: Any) -> tuple[Any, ...]:
        """Return a key that differs for questions with different true answers."""
        kind = type(request)
        if kind is ObjectGet:
            return kind, request.bucket, request.name, request.want_places
        if kind is ObjectsList:
            return kind, request.bucket, request.prefix, request.after, request.limit
        if kind is BucketGet:
            return kind, request.name
        if kind is AccessKeyGet:
            return kind, request.access_key_id
        return kind, request.bucket, request.name, getattr(request, "upload_id", b"")

    def _others(self, request: Any, differs: Callable[[tuple[Any, ...]], bool]) -> Any:
        """A true answer to another question of the same kind, or None."""
        own = self._question(request)
        known = [
            answer
            for question, answers in self._answers.items()
            if question[0] is own[0] and question != own and differs(question)
            for answer in answers
        ]
        return self._chance.choice(known) if known else None

    # --- orders -----------------------------------------------------------------------------

    def _key_of(self, cell: PeerId) -> bytes:
        secret = bytes(self._node.platter.inodes["swarm.secret"].content)
        return cell_order_key(bytes.fromhex(secret.decode().strip()), cell)

    def _order(
        self,
        action: OrderAction,
        segment: SegmentId,
        slot: int,
        caller: Caller,
        cell: PeerId,
        size: int,
    ) -> bytes:
        expires = int(self._node.world.clock.now()) + limits.ORDER_LIFETIME_S
        order = Order(action, segment, slot, caller.peer_id, size, expires, limits.MAX_UINT)
        return issue(self._key_of(cell), order)

    def _granted(
        self,
        caller: Caller,
        request: WriteStart,
        grant: SegmentGrant,
        endpoints: Sequence[Endpoint],
        segment: SegmentId,
    ) -> SegmentGrant:
        """The grant with another id, and orders that its cells obey."""
        size = Geometry.plan(grant.k, grant.n, request.max_segment_bytes, grant.home_k).shard_bytes
        orders = tuple(
            self._order(OrderAction.PUT, segment, slot, caller, endpoints[place].cell_id, size)
            for slot, place in enumerate(grant.cells)
        )
        return replace(grant, segment_id=segment, orders=orders)

    # --- lies about grants ------------------------------------------------------------------

    def _repeat_ids(self, caller: Caller, request: WriteStart, truth: Grants | None) -> Any:
        """Earlier ids, where they were granted the first time."""
        if truth is None or not self._grants:
            return None
        grants, endpoints = [], list(truth.endpoints)
        for each in truth.grants:
            earlier = self._chance.choice(self._grants)
            if self._chance.random() < 0.5:
                grants.append(each)
                continue
            places = tuple(range(len(endpoints), len(endpoints) + len(earlier.endpoints)))
            endpoints += earlier.endpoints
            again = replace(earlier.grant, cells=tuple(places[at] for at in earlier.grant.cells))
            grants.append(
                self._granted(caller, request, again, endpoints, earlier.grant.segment_id)
            )
        return replace(truth, endpoints=tuple(endpoints), grants=tuple(grants))

    def _repeat_ids_elsewhere(
        self, caller: Caller, request: WriteStart, truth: Grants | None
    ) -> Any:
        """Earlier ids, on slots of other cells, which therefore take them."""
        if truth is None or not self._grants:
            return None
        grants = []
        for each in truth.grants:
            earlier = self._chance.choice(self._grants).grant.segment_id
            turn = self._chance.randrange(1, each.n) if each.n > 1 else 0
            turned = replace(each, cells=each.cells[turn:] + each.cells[:turn])
            self._misplaced.add(earlier)
            grants.append(self._granted(caller, request, turned, truth.endpoints, earlier))
        return replace(truth, grants=tuple(grants))

    def _swap_ids(self, caller: Caller, request: WriteStart, truth: Grants | None) -> Any:
        """The ids of one answer, each on the places of another."""
        if truth is None or len(truth.grants) < 2:
            return None
        ids = [each.segment_id for each in truth.grants]
        self._chance.shuffle(ids)
        grants = tuple(
            self._granted(caller, request, each, truth.endpoints, segment)
            for each, segment in zip(truth.grants, ids, strict=True)
        )
        return replace(truth, grants=grants)

    def _one_id(self, caller: Caller, request: WriteStart, truth: Grants | None) -> Any:
        """One id for all the segments of an answer, each on a slot of another cell."""
        if truth is None or len(truth.grants) < 2:
            return None
        first = truth.grants[0].segment_id
        self._misplaced.add(first)
        grants = []
        for number, each in enumerate(truth.grants):
            turn = number % each.n
            turned = replace(each, cells=each.cells[turn:] + each.cells[:turn])
            grants.append(self._granted(caller, request, turned, truth.endpoints, first))
        return replace(truth, grants=tuple(grants))

    def _older_lease(self, caller: Caller, request: LeaseRenew, truth: Any) -> Any:
        return self._chance.choice(self._leases) if truth is not None and self._leases else None

    # --- lies about objects -----------------------------------------------------------------

    def _readable(self, caller: Caller, record: ObjectRecord | None) -> ObjectRecord | None:
        """A remembered record with orders for the current caller."""
        if record is None:
            return None
        places = tuple(
            replace(
                place,
                orders=tuple(
                    self._order(
                        OrderAction.GET,
                        place.segment_id,
                        slot,
                        caller,
                        record.endpoints[cell].cell_id,
                        0,
                    )
                    for slot, cell in enumerate(place.cells)
                ),
            )
            for place in record.places
        )
        return replace(record, places=places)

    def _other_bucket(self, caller: Caller, request: ObjectGet, truth: Any) -> Any:
        _, bucket, name, places = self._question(request)
        found = self._others(request, lambda each: each[1] != bucket and each[2:] == (name, places))
        return self._readable(caller, found)

    def _other_name(self, caller: Caller, request: ObjectGet, truth: Any) -> Any:
        *_, name, places = self._question(request)
        found = self._others(request, lambda each: each[2] != name and each[3] == places)
        return self._readable(caller, found)

    def _rolled_back(self, request: Any, key: bytes | None) -> None:
        self.rollbacks.append(Rollback(trio.current_time(), request.bucket, key))

    def _older_version(self, caller: Caller, request: ObjectGet, truth: Any) -> Any:
        """Also where one certain version was asked for: then it must be seen through."""
        known = [
            each
            for each in self._answers[self._question(request)]
            if truth is None or each.version_id != truth.version_id
        ]
        if not known:
            return None
        if request.version_id is None:
            self._rolled_back(request, request.name)
        return self._readable(caller, self._chance.choice(known))

    def _absent(self, caller: Caller, request: ObjectGet, truth: Any) -> Any:
        if truth is None or request.version_id is not None:
            return None
        self._rolled_back(request, request.name)
        return NotFound(Absence.NO_SUCH_OBJECT)

    def _bent(self, record: Any) -> Any:
        """Another size or another time."""
        chance = self._chance
        changes: dict[str, int] = {}
        if chance.random() < 0.6:
            shift = chance.randrange(2, 1000) * DAY_MS
            changes["created_ms"] = max(0, record.created_ms + chance.choice((shift, -shift)))
        if hasattr(record, "size") and (not changes or chance.random() < 0.5):
            changes["size"] = chance.choice((0, 1, record.size + 1, record.size // 2, 1 << 40))
        return replace(record, **changes)

    def _bend_object(self, caller: Caller, request: ObjectGet, truth: Any) -> Any:
        return None if truth is None else self._bent(truth)

    def _bend_places(self, caller: Caller, request: ObjectGet, truth: Any) -> Any:
        """Figures of a segment, or where a page begins."""
        if truth is None or not truth.places:
            return None
        chance = self._chance
        if chance.random() < 0.3:
            pages = tuple(replace(each, start=each.start + 1) for each in truth.pages)
            return replace(truth, pages=pages)

        def bent(place: SegmentPlace) -> SegmentPlace:
            field = chance.choice(BENT_PLACE)
            value = getattr(place, field)
            bend: Any = {field: chance.choice((0, value + 1, value * 2, value // 2))}
            return replace(place, **bend)

        return replace(truth, places=tuple(bent(each) for each in truth.places))

    def _bend_time(self, caller: Caller, request: Any, truth: Any) -> Any:
        return None if truth is None else self._bent(truth)

    # --- lies about listings ----------------------------------------------------------------

    def _other_listing(self, caller: Caller, request: ObjectsList, truth: Any) -> Any:
        _, bucket, *rest = self._question(request)
        found = self._others(request, lambda each: each[1] != bucket and list(each[2:]) == rest)
        if found is not None and not found.objects:
            self._rolled_back(request, None)  # no different from the days when this one was empty
        return found

    def _older_listing(self, caller: Caller, request: ObjectsList, truth: Any) -> Any:
        known = [each for each in self._answers[self._question(request)] if each != truth]
        if not known:
            return None
        self._rolled_back(request, None)
        return self._chance.choice(known)

    def _shorter_listing(self, caller: Caller, request: ObjectsList, truth: Any) -> Any:
        if truth is None or not truth.objects:
            return None
        left_out = self._chance.randrange(len(truth.objects))
        self._rolled_back(request, truth.objects[left_out].name)
        rows = truth.objects[:left_out] + truth.objects[left_out + 1 :]
        return replace(truth, objects=rows)

    def _longer_listing(self, caller: Caller, request: ObjectsList, truth: Any) -> Any:
        if truth is None or not truth.objects:
            return None
        return replace(truth, objects=truth.objects[:1] + truth.objects)

    def _bend_listing(self, caller: Caller, request: ObjectsList, truth: Any) -> Any:
        if truth is None or not truth.objects:
            return None
        return replace(truth, objects=tuple(self._bent(each) for each in truth.objects))

    # --- lies about uploads and all that has a name -------------------------------------------

    def _other_record(self, caller: Caller, request: Any, truth: Any) -> Any:
        return self._others(request, lambda _: True)

    def _older_record(self, caller: Caller, request: Any, truth: Any) -> Any:
        known = [each for each in self._answers[self._question(request)] if each != truth]
        return self._chance.choice(known) if known else None

    def _renumber_parts(self, caller: Caller, request: PartsList, truth: Any) -> Any:
        if truth is None or not truth.parts:
            return None
        parts = tuple(replace(each, part_number=each.part_number + 1) for each in truth.parts)
        return replace(truth, parts=parts)

    def _repeat_parts(self, caller: Caller, request: PartsList, truth: Any) -> Any:
        if truth is None or len(truth.parts) < 2:
            return None
        first = truth.parts[0]
        parts = tuple(replace(each, part_id=first.part_id) for each in truth.parts)
        return replace(truth, parts=parts)

    def _bend_parts(self, caller: Caller, request: PartsList, truth: Any) -> Any:
        if truth is None or not truth.parts:
            return None
        return replace(truth, parts=tuple(self._bent(each) for each in truth.parts))


@contextmanager
def lying(liar: Liar) -> Iterator[None]:
    """Every coordinator that starts inside the ``with`` answers through this liar."""

    def server(
        identity: Identity, handlers: Mapping[type[Request], Handler], **rest: Any
    ) -> PeerServer[CoordinatorSession]:
        return PeerServer(identity, liar.around(handlers), **rest)

    with replaced(coordinator.composition, "PeerServer", server):
        yield
