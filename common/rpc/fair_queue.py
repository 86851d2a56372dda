"""Requests of several users at one process: no user's flood keeps another from its share.

Three things are shared. *Places*: each request has one from its beginning to the end of its answer;
a user may hold as many as are left free afterwards, so a newcomer always finds one. *Turns*: while
others were seen lately, work on a request begins in its turn; users alternate, by what their
requests cost and not by how many they make. *Rates*: requests and bytes in a second, where an
operator set them.

How many may be at work at a time is not known beforehand: a request that waits for cells far away
costs nothing, one that is computed on costs all. So the length of one pass of the event loop
decides: as long as passes are short, all who wait begin, one in a pass; while they are long, a user
that has more than a few at work waits. A user that is alone never waits.

Source: docs/decisions/0049-fair-shares.md; Goyal, Vin and Cheng, "Start-time fair queuing", 1996.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Final, NoReturn

import trio

from common import limits
from common.errors import Unavailable
from common.reasons import Outage
from common.rpc.budget import may_take

ALWAYS_AT_WORK: Final = 4
"""Requests that a user may have at work without waiting: a client, and some beside it."""
CALM_PASS_S: Final = 0.002
"""A pass of the event loop that is longer shows that it has enough to do: some ten requests."""
LONGEST_STOP_S: Final = 0.05
"""Time after which one more begins all the same: what makes passes long may be no request."""
SEEN_LATELY_S: Final = 10.0
"""Time for which a user counts after its last request: others give way as soon as it is back."""
BURST_S: Final = 1.0
"""The time of which a rate may come at once."""
LARGEST_COST: Final = 64.0
"""The most that one request, or one piece of an answer, costs: a long one must not shut its user
out for as long."""
COST_BYTES: Final = 256 * limits.KIB
"""Bytes that cost as much as a request."""


def cost_of(size: int) -> float:
    """Return the cost of a request that carries so many bytes."""
    return min(1.0 + size / COST_BYTES, LARGEST_COST)


class Rate:
    """An amount in a second, of which that of BURST_S may come at once.

    Args:
        per_s: 0: no limit.
    """

    __slots__ = ("_free_at", "_per_s")

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._free_at = -BURST_S

    def take_nowait(self, amount: float, now: float) -> bool:
        """Take an amount if the rate allows it now."""
        if not self._per_s:
            return True
        free_at = max(self._free_at, now - BURST_S) + amount / self._per_s
        if free_at > now:
            return False
        self._free_at = free_at
        return True

    def reserve(self, amount: float, now: float) -> float:
        """Take an amount; return the seconds to wait for it."""
        if not self._per_s:
            return 0.0
        self._free_at = max(self._free_at, now - BURST_S) + amount / self._per_s
        return max(0.0, self._free_at - now)

    def is_used(self, now: float) -> bool:
        """Return whether anything of it has been taken that counts still."""
        return self._free_at > now - BURST_S


class _User:
    __slots__ = ("at_work", "bytes", "finish", "in_flight", "line", "requests", "seen_s")

    def __init__(self, requests_per_s: float, bytes_per_s: float) -> None:
        self.in_flight = 0
        self.at_work = 0
        self.line: deque[_Waiter] = deque()
        self.finish = 0.0
        """The virtual time at which what it began is paid for."""
        self.requests = Rate(requests_per_s)
        self.bytes = Rate(bytes_per_s)
        self.seen_s = 0.0


class _Waiter:
    __slots__ = ("begun", "cost", "visit", "woken")

    def __init__(self, visit: Visit, cost: float) -> None:
        self.visit = visit
        self.cost = cost
        self.begun = False
        self.woken = trio.Event()


class Visit:
    """One request on its way through a queue. From :meth:`FairQueue.visit`; it must :meth:`leave`.

    A request that has not entered holds nothing.
    """

    __slots__ = ("_has_place", "_queue", "_user", "_works")

    def __init__(self, queue: FairQueue) -> None:
        self._queue = queue
        self._user: _User | None = None
        self._has_place = False
        self._works = False

    async def enter(self, user: Hashable, cost: float = 1.0) -> None:
        """Take a place, and wait until work on the request may begin. Only the first call does
        anything. Cancellable.

        Args:
            user: whose share it is of.
            cost: from :func:`cost_of`.

        Raises:
            Unavailable: ``share_used``: the user has all places of its share, or all that
                its rate allows, or waited too long.
        """
        if self._user is None:
            self._user = self._queue.known(user)
            self._queue.take_place(self._user)
            self._has_place = True
            await self._queue.wait_turn(self, self._user, cost)

    def begin_work(self) -> None:
        """Note that its turn has come. The queue's to call."""
        assert self._user is not None
        self._works = True
        self._user.at_work += 1

    def end_work(self) -> None:
        """Say that what is left is to hand out the answer. May be called again."""
        if self._works:
            assert self._user is not None
            self._works = False
            self._queue.end_work(self._user)

    def leave(self) -> None:
        """Give everything back. May be called again."""
        self.end_work()
        if self._has_place:
            assert self._user is not None
            self._has_place = False
            self._queue.give_place(self._user)

    def charge(self, size: int) -> None:
        """Let its user pay for bytes that were not known when it entered."""
        if self._user is not None:
            self._user.finish += min(size / COST_BYTES, LARGEST_COST)

    async def pace(self, size: int) -> None:
        """Wait until the rate of its user lets so many bytes through. Cancellable."""
        if self._user is not None:
            wait_s = self._user.bytes.reserve(size, trio.current_time())
            if wait_s:
                await trio.sleep(wait_s)


class FairQueue:
    """Places, turns and rates of all users of a process.

    Args:
        places: requests in flight. A user that is alone may have half of them.
        at_work: requests at work while several users are there, shared in the same way, beside the
            ALWAYS_AT_WORK of each.
        most_of_one: in flight of one user, where that is less.
        patience_s: the longest wait for a turn.
        requests_per_s: of one user; 0: no limit.
        bytes_per_s: likewise.
    """

    def __init__(
        self,
        *,
        places: int,
        at_work: int,
        patience_s: float,
        most_of_one: int | None = None,
        requests_per_s: float = 0.0,
        bytes_per_s: float = 0.0,
    ) -> None:
        self._free_places = places
        self._free_turns = at_work
        self._patience_s = patience_s
        self._most_of_one = places if most_of_one is None else most_of_one
        self._requests_per_s = requests_per_s
        self._bytes_per_s = bytes_per_s
        self._users: OrderedDict[Hashable, _User] = OrderedDict()
        """Those seen lately, the longest ago first."""
        self._lines: dict[_User, None] = {}
        """Users of which requests wait."""
        self._virtual = 0.0
        """The virtual time: that of the request which began last."""
        self._leader: _Waiter | None = None
        """The waiter whose task lets others begin, until its own turn comes."""
        self._changed = trio.Event()
        self._pass_s = 0.0
        self._began_at = 0.0
        self.waiting = 0
        """The number of requests that wait for their turn."""
        self.turned_away = 0
        """The number of requests that got no place, or no turn in time."""

    @property
    def has_byte_rate(self) -> bool:
        """Return whether bytes are limited."""
        return bool(self._bytes_per_s)

    def visit(self) -> Visit:
        """Return what a new request goes through the queue with."""
        return Visit(self)

    # --- places -----------------------------------------------------------------------------

    def known(self, name: Hashable) -> _User:
        """Return the state of a user, which is seen now."""
        now = trio.current_time()
        self._forget_others(now)
        user = self._users.get(name)
        if user is None:
            user = self._users[name] = _User(self._requests_per_s, self._bytes_per_s)
        else:
            self._users.move_to_end(name)
        user.seen_s = now
        return user

    def take_place(self, user: _User) -> None:
        """Take a place of a user's share. Raises as :meth:`Visit.enter`."""
        if (
            user.in_flight >= self._most_of_one
            or not may_take(1, held=user.in_flight, free=self._free_places)
            or not user.requests.take_nowait(1, user.seen_s)
        ):
            self._turn_away()
        user.in_flight += 1
        self._free_places -= 1

    def give_place(self, user: _User) -> None:
        """Give a place back."""
        user.in_flight -= 1
        self._free_places += 1
        assert user.in_flight >= 0, "gave back more than was taken"

    def _forget_others(self, now: float) -> None:
        """Forget users that were not seen lately and hold nothing."""
        for _ in range(2):  # more than come with one request
            name, user = next(iter(self._users.items()), (None, None))
            if user is None or now < user.seen_s + SEEN_LATELY_S:
                return
            if user.in_flight or user.bytes.is_used(now) or user.requests.is_used(now):
                self._users.move_to_end(name)
                user.seen_s = now
            else:
                del self._users[name]

    def _turn_away(self) -> NoReturn:
        self.turned_away += 1
        raise Unavailable(Outage.SHARE_USED)

    # --- turns ------------------------------------------------------------------------------

    async def wait_turn(self, visit: Visit, user: _User, cost: float) -> None:
        """Wait for the turn of a request. Raises as :meth:`Visit.enter`."""
        if not user.line and (
            user.at_work < ALWAYS_AT_WORK or (len(self._users) == 1 and not self.waiting)
        ):
            self._begin(visit, user, cost)
            return
        waiter = _Waiter(visit, cost)
        user.line.append(waiter)
        self._lines[user] = None
        self.waiting += 1
        self._changed.set()
        try:
            with trio.move_on_after(self._patience_s):
                await self._wait(waiter)
        finally:
            if not waiter.begun:
                self._take_out(user, waiter)
            self._call_leader()
        if not waiter.begun:
            self._turn_away()

    def end_work(self, user: _User) -> None:
        """Note that a request of a user is not worked on any more."""
        user.at_work -= 1
        self._free_turns += 1
        self._changed.set()

    def _begin(self, visit: Visit, user: _User, cost: float) -> None:
        visit.begin_work()
        self._free_turns -= 1
        start = max(user.finish, self._virtual)
        user.finish = start + cost
        if not self.waiting:
            self._virtual = start

    async def _wait(self, waiter: _Waiter) -> None:
        while not waiter.begun:
            if self._leader is None:
                self._leader = waiter
                try:
                    await self._lead(waiter)
                finally:
                    self._leader = None
            else:
                waiter.woken = trio.Event()
                await waiter.woken.wait()

    async def _lead(self, waiter: _Waiter) -> None:
        """Let those who wait begin, one in a pass of the event loop, until it is one's own turn."""
        while not waiter.begun:
            user = self._next()
            if user is None:
                self._changed = trio.Event()
                await self._changed.wait()
                continue
            now = trio.current_time()
            if (
                user.at_work < ALWAYS_AT_WORK
                or self._pass_s <= CALM_PASS_S
                or now >= self._began_at + LONGEST_STOP_S
            ):
                self._begin_first(user, now)
            await trio.lowlevel.checkpoint()
            self._pass_s = trio.current_time() - now

    def _next(self) -> _User | None:
        """Return the user whose turn it is; None: those who wait have too many at work."""
        return min(
            (
                user
                for user in self._lines
                if user.at_work < ALWAYS_AT_WORK
                or may_take(1, held=user.at_work, free=self._free_turns)
            ),
            key=lambda user: max(user.finish, self._virtual),
            default=None,
        )

    def _begin_first(self, user: _User, now: float) -> None:
        waiter = user.line[0]
        self._virtual = max(user.finish, self._virtual)
        self._began_at = now
        self._begin(waiter.visit, user, waiter.cost)
        self._take_out(user, waiter)
        waiter.begun = True
        waiter.woken.set()

    def _take_out(self, user: _User, waiter: _Waiter) -> None:
        user.line.remove(waiter)
        self.waiting -= 1
        if not user.line:
            del self._lines[user]

    def _call_leader(self) -> None:
        """Wake one of those who wait, so that it leads, if nobody does."""
        if self._leader is None:
            for user in self._lines:
                user.line[0].woken.set()
                return
