"""Write leases: a gateway that is gone loses what it had not committed.

A lease is a row while it lives. Whether it is time to end one is decided by the monotonic time
since its last renewal (:class:`LeaseBook`), never by the wall clock; after a restart every lease
has its whole life before it again. Only the durable end of a lease makes its shards garbage.

Source: docs/placement.md, "Write leases".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from common import limits
from common.errors import Refused
from common.ids import LEASE_ID_BYTES, SEGMENT_ID_BYTES, PeerId, SegmentId, lease_of
from common.ports import Sql
from coordinator.store.schema import counter_value, next_number

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class LivingLease:
    """A lease that has not ended."""

    lease: int
    owner: PeerId
    tenant: int
    """On whose account it counts."""


def open_lease(sql: Sql, owner: PeerId, tenant: int, now_ms: int) -> int:
    """Open a lease for a caller on a tenant's account, durably, and return its number."""
    lease = next_number(sql, "lease")
    sql.execute("INSERT INTO leases VALUES (?, ?, ?, ?)", (lease, owner, tenant, now_ms))
    return lease


def is_alive(sql: Sql, lease: int) -> bool:
    """Whether segments of this lease may (still) be committed."""
    return sql.execute("SELECT 1 FROM leases WHERE lease = ?", (lease,)).fetchone() is not None


def check(sql: Sql, lease: int, writer: PeerId) -> None:
    """Check that a peer may commit segments of a lease.

    Raises:
        Refused: ``lease_ended``, ``not_lease_owner``.
    """
    row = sql.execute("SELECT owner FROM leases WHERE lease = ?", (lease,)).fetchone()
    if row is None:
        raise Refused("lease_ended", lease=lease)
    if row[0] != writer:
        raise Refused("not_lease_owner", lease=lease)


def was_opened(sql: Sql, lease: int) -> bool:
    """Whether this number was ever given out."""
    return lease <= counter_value(sql, "lease")


def end(sql: Sql, ended: Sequence[int]) -> None:
    """End leases for good, and forget what was remembered only while they lived."""
    rest = SEGMENT_ID_BYTES - LEASE_ID_BYTES
    for lease in ended:
        sql.execute("DELETE FROM leases WHERE lease = ?", (lease,))
        prefix = lease.to_bytes(LEASE_ID_BYTES, "big")
        sql.execute(
            "DELETE FROM abandoned WHERE segment_id BETWEEN ? AND ?",
            (prefix + bytes(rest), prefix + b"\xff" * rest),
        )


def alive(sql: Sql) -> list[LivingLease]:
    """All leases that live."""
    rows = sql.execute("SELECT lease, owner, tenant FROM leases ORDER BY lease")
    return [LivingLease(lease, PeerId(owner), tenant) for lease, owner, tenant in rows]


class LeaseBook:
    """When each living lease was last renewed, in monotonic seconds.

    Args:
        ttl_s: silence after which a lease ends.
    """

    def __init__(self, ttl_s: float) -> None:
        self._ttl_s = ttl_s
        self._renewed: dict[int, float] = {}
        self._living: dict[int, LivingLease] = {}
        self._of_owner: Counter[PeerId] = Counter()
        self._of_tenant: Counter[int] = Counter()
        self._count = 0
        """With those that are being opened."""
        self._ending: set[int] = set()

    def __len__(self) -> int:
        return len(self._renewed)

    def __contains__(self, lease: int) -> bool:
        return lease in self._renewed

    def load(self, leases: Iterable[LivingLease], now: float) -> None:
        """Begin with the leases that the store holds."""
        for lease in leases:
            self._count_up(lease.owner, lease.tenant)
            self.opened(lease, now)

    def begin(self, owner: PeerId, tenants: Iterable[int]) -> int:
        """Count a lease that is about to be opened.

        Args:
            owner: who asks for it.
            tenants: for whom the owner acts, at least one.

        Returns:
            The tenant on whose account it counts: that with the fewest, so that a gateway of many
            is not stopped by one. The caller opens the lease in the store; then it says so with
            :meth:`opened`, or :meth:`not_opened`.

        Raises:
            Refused: ``too_many_leases`` of this owner, of all its tenants, or of the swarm.
        """
        tenant = min(tenants, key=self._of_tenant.__getitem__)
        if (
            self._of_owner[owner] >= limits.MAX_LEASES_PER_CALLER
            or self._of_tenant[tenant] >= limits.MAX_LEASES_PER_TENANT
            or self._count >= limits.MAX_LEASES
        ):
            raise Refused("too_many_leases")
        self._count_up(owner, tenant)
        return tenant

    def _count_up(self, owner: PeerId, tenant: int) -> None:
        self._count += 1
        self._of_owner[owner] += 1
        self._of_tenant[tenant] += 1

    def not_opened(self, owner: PeerId, tenant: int) -> None:
        """A lease that was begun was not opened."""
        self._count -= 1
        _count_down(self._of_owner, owner)
        _count_down(self._of_tenant, tenant)

    def opened(self, lease: LivingLease, now: float) -> None:
        """A lease that was begun was opened durably."""
        self._renewed[lease.lease] = now
        self._living[lease.lease] = lease

    def check(self, lease: int, caller: PeerId) -> None:
        """Check that a caller may write under a lease: it is the caller's own, and lives.

        Raises:
            Refused: ``lease_ended``, ``not_lease_owner``.
        """
        if lease not in self._renewed:
            raise Refused("lease_ended", lease=lease)
        if self._living[lease].owner != caller:
            raise Refused("not_lease_owner", lease=lease)

    def check_segments(self, segments: Iterable[SegmentId], caller: PeerId) -> None:
        """Check the leases of segments; raises as :meth:`check`."""
        for lease in {lease_of(segment) for segment in segments}:
            self.check(lease, caller)

    def renew(self, lease: int, caller: PeerId, now: float) -> None:
        """Give a lease its whole life again. Raises as :meth:`check`."""
        self.check(lease, caller)
        self._renewed[lease] = now

    def next_end(self, now: float) -> float:
        """When a lease can end at the earliest, whatever is opened from now on."""
        if self._ending:
            return now
        return min(self._renewed.values(), default=now) + self._ttl_s

    def take_expired(self, now: float) -> list[int]:
        """Take out the leases that are over: they can be renewed no more.

        The caller ends them in the store and then says so (:meth:`ended`); until then they are
        given again.
        """
        self._take(each for each, at in tuple(self._renewed.items()) if now - at > self._ttl_s)
        return sorted(self._ending)

    def _take(self, leases: Iterable[int]) -> None:
        for lease in leases:
            del self._renewed[lease]
            gone = self._living.pop(lease)
            self.not_opened(gone.owner, gone.tenant)
            self._ending.add(lease)

    def take_all(self) -> list[int]:
        """Take out every lease, as :meth:`take_expired` does those that are over."""
        self._take(tuple(self._renewed))
        return sorted(self._ending)

    def ended(self, leases: Sequence[int]) -> None:
        """These leases have durably ended."""
        self._ending.difference_update(leases)


def _count_down(counter: Counter[K], key: K) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
