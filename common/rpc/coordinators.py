"""The coordinators of one swarm as one: a call finds a live one.

Source: docs/data-path.md, "Talking to coordinators"; docs/protocol.md, "Cells and coordinators".
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

import trio

from common import limits
from common.errors import AlvearyError, OutcomeUnknown, PeerViolation, Unavailable
from common.ids import PeerId
from common.ports import Address, Discovery, Log
from common.reasons import Outage, Violation
from common.rpc.peer_connection import PeerConnection
from common.rpc.peers import PeerPool
from common.wire.messages.base import Idempotency, Reply, Request

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0
FIND_TIMEOUT_S: Final = 3.0
"""Time for which coordinators are looked for on the LAN."""

FINAL_REASONS: Final = frozenset({Outage.STORE_BEHIND, Outage.STORE_DAMAGED, Outage.SHARE_USED})
"""Unavailable answers of a live coordinator that another try soon would not change."""

ELSEWHERE_REASONS: Final = frozenset(
    {
        Violation.WRONG_SERVER_KEY,
        Violation.WRONG_ANSWER,
        Violation.BAD_GRANT,
        Violation.SEGMENT_ID_REPEATED,
    }
)
"""Violations of one coordinator that say nothing of the others."""


class Coordinator(NamedTuple):
    """The address of a coordinator, and the key it proves."""

    address: Address
    key_id: PeerId


Find: TypeAlias = Callable[[], Awaitable[Sequence[Coordinator]]]
Prepare: TypeAlias = Callable[[PeerConnection], Awaitable[None] | None]
"""Returns what is to be awaited before a request is made on the connection; nearly always None."""
Ask: TypeAlias = Callable[[PeerConnection, Request, float], Awaitable[Reply]]
"""Makes the request on a connection, within so many seconds."""


def finder_on_lan(discovery: Discovery, swarm: str, key_id: PeerId, log: Log) -> Find:
    """A search on the LAN for the coordinators of a swarm, which all have one key."""

    async def find() -> Sequence[Coordinator]:
        seen = await discovery.find(swarm, FIND_TIMEOUT_S)
        for each in seen:
            log.info("coordinator_seen", address=str(each.address))
        return [Coordinator(each.address, key_id) for each in seen]

    return find


async def ask_plainly(connection: PeerConnection, request: Request, timeout_s: float) -> Reply:
    """Make the request, and take the reply as it is."""
    reply, _ = await connection.call(request, timeout_s=timeout_s)
    return reply


class Coordinators:
    """Calls to whichever coordinator answers: the one that answered last, first.

    Args:
        pool: running; connections come from it.
        known: the coordinators, best first.
        log: when no coordinator answers.
        timeout_s: for one try, at most, where a call does not say.
        is_patient: whether a call tries again while none answers, for COORDINATOR_PATIENCE_S in
            all, or TAKE_OVER_PATIENCE_S where there are several. Else each is tried once: for
            callers whose own rounds come again.
        find: looks for coordinators when none is known, and again when none of those that were
            found, or named by them, answers: they may have moved.
        ask: makes requests, where a call does not say.
    """

    def __init__(
        self,
        pool: PeerPool,
        known: Sequence[Coordinator],
        log: Log,
        *,
        timeout_s: float,
        is_patient: bool,
        find: Find | None = None,
        ask: Ask = ask_plainly,
    ) -> None:
        assert known or find is not None, "no coordinator, and no way to find one"
        self._pool = pool
        self._log = log
        self._timeout_s = timeout_s
        self._is_patient = is_patient
        self._find = find
        self._ask = ask
        self._all = list(known)
        self._learned: list[Coordinator] = []
        self._is_found = not known
        self._unanswered_until = 0.0

    def learn(self, named: Sequence[Coordinator]) -> None:
        """Take in the coordinators that they have named, beside those that are configured: new ones
        are tried after the others. What was learned before and is not among these is forgotten."""
        given = [each for each in self._all if each not in self._learned]
        new = [each for each in named if each not in given]
        room = max(0, limits.MAX_COORDINATOR_ADDRESSES - len(given))
        self._learned = new[:room]
        kept = [each for each in self._all if each in given or each in self._learned]
        self._all = [*kept, *(each for each in self._learned if each not in kept)]

    async def call(
        self,
        request: Request,
        *,
        timeout_s: float | None = None,
        prepare: Prepare | None = None,
        ask: Ask | None = None,
    ) -> Reply:
        """Make a request of a live coordinator: of the next one while none can be reached. All
        tries have the patience of this object together. A request that changes something and was
        sent in this time may take up to ``timeout_s``, as long as the coordinator shows that it
        lives.

        Args:
            timeout_s: for one try, at most.
            prepare: what it returns is awaited before.
            ask: makes the request.

        Raises:
            Unavailable: no coordinator answered, or it says that it cannot now.
            OutcomeUnknown: the connection died under a request that must not be repeated blindly.
            PeerViolation: of the last coordinator that was tried.
            AlvearyError: what the coordinator answered, and what ``prepare`` and ``ask`` raised.
        """
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        deadline = self._deadline(trio.current_time())
        pause_s = FIRST_PAUSE_S if self._is_patient else 0.0
        tried: list[Coordinator] = []
        asked: set[Coordinator] = set()
        while True:
            which = await self._next(tried)
            asked.add(which)
            try:
                reply = await self._try(
                    which, request, timeout_s, deadline, prepare, ask or self._ask
                )
            except (Unavailable, OutcomeUnknown, PeerViolation) as error:
                if not self._may_try_again(request, error, asked):
                    if isinstance(error, OutcomeUnknown) and trio.current_time() >= deadline:
                        self._note_unanswered(request, error)
                    raise
                last: AlvearyError = error
            else:
                self._unanswered_until = 0.0
                return reply
            if self._is_last_try(tried, trio.current_time() + pause_s, deadline):
                self._give_up(request, last)
            self._put_last(which)
            if self._is_patient:
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _next(self, tried: list[Coordinator]) -> Coordinator:
        """The best coordinator that was not tried in this pass over all of them."""
        if not self._all and self._find is not None:
            self._all = await self._look(self._find)
        if not self._all:
            raise Unavailable(Outage.NO_COORDINATOR)
        left = [each for each in self._all if each not in tried]
        if not left:
            tried.clear()
            left = self._all
        tried.append(left[0])
        return left[0]

    async def _look(self, find: Find) -> list[Coordinator]:
        """Those on the LAN, and after them those that were named: either may have moved."""
        try:
            seen = list(await find())
        except Unavailable:
            if not self._learned:
                raise
            seen = []
        return [*seen, *(each for each in self._learned if each not in seen)]

    async def _try(
        self,
        which: Coordinator,
        request: Request,
        timeout_s: float,
        deadline: float,
        prepare: Prepare | None,
        ask: Ask,
    ) -> Reply:
        if len(self._all) > 1:
            deadline = min(deadline, trio.current_time() + limits.FAILOVER_S)
        left_s = min(timeout_s, max(0.0, deadline - trio.current_time()))
        connection = await self._pool.connection(*which, timeout_s=left_s)
        if len(self._all) > 1:
            connection.be_impatient()
        preparation = None if prepare is None else prepare(connection)
        if preparation is not None:
            with trio.move_on_at(deadline) as scope:
                await preparation
            if scope.cancelled_caught:
                raise Unavailable(Outage.CALL_TIMEOUT, timeout_s=left_s)
        if request.idempotency is Idempotency.ASKS:
            timeout_s = min(timeout_s, max(0.0, deadline - trio.current_time()))
        return await ask(connection, request, timeout_s)

    def _may_try_again(
        self, request: Request, error: AlvearyError, asked: set[Coordinator]
    ) -> bool:
        """Return whether the request may be retried, with another coordinator or a little later."""
        is_repeatable = request.idempotency is not Idempotency.ONCE
        if isinstance(error, Unavailable):
            if error.reason == Outage.NO_RING:  # one that has just started has heard few cells
                return not asked.issuperset(self._all)
            return error.reason not in FINAL_REASONS
        if isinstance(error, OutcomeUnknown):
            return is_repeatable
        if error.reason not in ELSEWHERE_REASONS or len(self._all) == 1:
            return False
        return error.reason == Violation.WRONG_SERVER_KEY or is_repeatable

    def _is_last_try(self, tried: list[Coordinator], next_at: float, deadline: float) -> bool:
        if self._is_patient:
            return next_at >= deadline
        return all(each in tried for each in self._all)

    def _give_up(self, request: Request, last: AlvearyError) -> None:
        """Fail, after no coordinator answered.

        Raises:
            AlvearyError: ``last``, as what it is to the caller.
        """
        if self._is_patient:
            self._note_unanswered(request, last)
        if self._is_found:
            self._all = []
        if isinstance(last, OutcomeUnknown) and request.idempotency is Idempotency.ASKS:
            raise Unavailable.received(last.reason, last.fields) from last
        raise last

    def _put_last(self, which: Coordinator) -> None:
        """Try another one first, unless another call has seen to that."""
        if self._all and self._all[0] == which:
            self._all.append(self._all.pop(0))

    # --- how long ---------------------------------------------------------------------------

    def _deadline(self, now: float) -> float:
        """Return the time until which a call may go on: sooner after another just timed out."""
        if not self._is_patient:
            return math.inf
        if now < self._unanswered_until:
            return now + limits.UNANSWERED_PATIENCE_S
        if len(self._all) > 1:
            return now + limits.TAKE_OVER_PATIENCE_S
        return now + limits.COORDINATOR_PATIENCE_S

    def _note_unanswered(self, request: Request, error: AlvearyError) -> None:
        now = trio.current_time()
        if now >= self._unanswered_until:
            self._log.warning(
                "no_coordinator_answers", request=type(request).__name__, error=str(error)
            )
        self._unanswered_until = now + limits.UNANSWERED_S
