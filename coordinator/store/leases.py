"""Write leases: a gateway that is gone loses what it had not committed.

A lease is a row while it lives. Whether it is time to end one is decided by the monotonic time
since its last renewal (:class:`LeaseBook`), never by the wall clock; after a restart every lease
has its whole life before it again. Only the durable end of a lease makes its shards garbage.

The row counts renewals, so that several processes can share the store: what one of them renews, it
writes there, many leases in one transaction, each at most every third of its life. A lease is ended
in a transaction that finds the counter as the process saw it a whole life ago.

Source: docs/placement.md, "Write leases".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeVar

import trio

from common import limits
from common.data_classes import dataclass
from common.errors import Refused
from common.ids import LEASE_ID_BYTES, SEGMENT_ID_BYTES, PeerId, SegmentId, VersionId, lease_of
from common.ports import Sql
from common.reasons import Refusal
from coordinator.store.schema import counter_value, next_number

K = TypeVar("K")
SAVED_EVERY: Final = 1 / 3
"""The part of a lease's life that a renewal may wait to be written after the one written before."""


@dataclass(frozen=True, slots=True)
class LivingLease:
    """A lease that has not ended."""

    lease: int
    owner: PeerId
    tenant: int
    """The tenant on whose account it counts."""
    renewals: int = 0
    """The number of renewals that were written to the store."""


def open_lease(sql: Sql, owner: PeerId, tenant: int, now_ms: int) -> int:
    """Open a lease for a caller on a tenant's account, durably, and return its number."""
    lease = next_number(sql, "lease")
    sql.execute(
        "INSERT INTO leases (lease, owner, tenant, opened_ms) VALUES (?, ?, ?, ?)",
        (lease, owner, tenant, now_ms),
    )
    return lease


def find(sql: Sql, lease: int) -> LivingLease | None:
    """A lease as the store has it; None if it has ended, or was never opened."""
    row = sql.execute(
        "SELECT owner, tenant, renewals FROM leases WHERE lease = ?", (lease,)
    ).fetchone()
    return None if row is None else LivingLease(lease, PeerId(row[0]), row[1], row[2])


def renew(sql: Sql, renewed: Iterable[int]) -> dict[int, int]:
    """Count a renewal of each lease.

    Returns:
        The renewals of each, now; without those that have ended.
    """
    counts = {}
    for lease in renewed:
        row = sql.execute(
            "UPDATE leases SET renewals = renewals + 1 WHERE lease = ? RETURNING renewals",
            (lease,),
        ).fetchone()
        if row is not None:
            counts[lease] = row[0]
    return counts


def is_alive(sql: Sql, lease: int) -> bool:
    """Return whether segments of this lease may (still) be committed."""
    return sql.execute("SELECT 1 FROM leases WHERE lease = ?", (lease,)).fetchone() is not None


def check(sql: Sql, lease: int, writer: PeerId) -> None:
    """Check that a peer may commit segments of a lease.

    Raises:
        Refused: ``lease_ended``, ``not_lease_owner``.
    """
    row = sql.execute("SELECT owner FROM leases WHERE lease = ?", (lease,)).fetchone()
    if row is None:
        raise Refused(Refusal.LEASE_ENDED, lease=lease)
    if row[0] != writer:
        raise Refused(Refusal.NOT_LEASE_OWNER, lease=lease)


def was_opened(sql: Sql, lease: int) -> bool:
    """Return whether this number was ever given out."""
    return lease <= counter_value(sql, "lease")


def end_all(sql: Sql) -> None:
    """End every lease for good."""
    for lease in alive(sql):
        sql.execute("DELETE FROM leases WHERE lease = ?", (lease.lease,))
        _forget(sql, lease.lease)


def end_silent(sql: Sql, silent: Iterable[LivingLease]) -> list[LivingLease]:
    """End leases for good, but for those that somebody has renewed.

    Args:
        silent: the leases with their renewals as they were a whole life ago.

    Returns:
        Those that were renewed since, as they are now.
    """
    renewed = []
    for each in silent:
        ended = sql.execute(
            "DELETE FROM leases WHERE lease = ? AND renewals = ?", (each.lease, each.renewals)
        )
        if ended.rowcount:
            _forget(sql, each.lease)
        else:
            found = find(sql, each.lease)
            if found is not None:
                renewed.append(found)
    return renewed


def _forget(sql: Sql, lease: int) -> None:
    """Forget what was remembered only while a lease lived."""
    rest = SEGMENT_ID_BYTES - LEASE_ID_BYTES
    prefix = lease.to_bytes(LEASE_ID_BYTES, "big")
    sql.execute(
        "DELETE FROM abandoned WHERE segment_id BETWEEN ? AND ?",
        (prefix + bytes(rest), prefix + b"\xff" * rest),
    )
    sql.execute("DELETE FROM readers WHERE lease = ?", (lease,))


def set_reading(sql: Sql, lease: int, versions: Iterable[VersionId]) -> None:
    """Note the versions that the gateway of a lease reads, and no others; none of a lease that has
    ended."""
    sql.execute("DELETE FROM readers WHERE lease = ?", (lease,))
    if is_alive(sql, lease):
        sql.executemany(
            "INSERT INTO readers (lease, version_id) VALUES (?, ?)",
            [(lease, each) for each in versions],
        )


def reading(sql: Sql) -> frozenset[bytes]:
    """All versions that gateways read, as set by :func:`set_reading`."""
    return frozenset(row[0] for row in sql.execute("SELECT version_id FROM readers"))


def alive(sql: Sql) -> list[LivingLease]:
    """All leases that live."""
    rows = sql.execute("SELECT lease, owner, tenant, renewals FROM leases ORDER BY lease")
    return [LivingLease(row[0], PeerId(row[1]), row[2], row[3]) for row in rows]


@dataclass(slots=True)
class _Life:
    """A lease as this process knows it. Times are monotonic seconds."""

    lease: LivingLease
    """With its renewals as last seen in the store."""
    renewed_at: float
    """The time at which it was renewed here, or seen to be renewed elsewhere."""
    saved_at: float
    """The time at which a renewal of this process was last written."""


class LeaseBook:
    """The last renewal of each living lease, in monotonic seconds, as far as this process knows.

    Args:
        ttl_s: silence after which a lease ends.
    """

    def __init__(self, ttl_s: float) -> None:
        self.ttl_s = ttl_s
        self._living: dict[int, _Life] = {}
        self._of_owner: Counter[PeerId] = Counter()
        self._of_tenant: Counter[int] = Counter()
        self._count = 0
        """With those that are being opened."""
        self._ending: dict[int, LivingLease] = {}
        self._unsaved: set[int] = set()
        self._next_save = math.inf
        self._sooner = trio.Event()
        """Set when the next save is earlier than it was."""

    def __len__(self) -> int:
        return len(self._living)

    def __contains__(self, lease: int) -> bool:
        return lease in self._living

    def numbers(self) -> frozenset[int]:
        """The leases that live, as far as this process knows."""
        return frozenset(self._living)

    def load(self, leases: Iterable[LivingLease], now: float) -> None:
        """Take in leases that the store holds, each with its whole life before it."""
        for lease in leases:
            if self.is_unknown(lease.lease):
                self._count_up(lease.owner, lease.tenant)
                self._living[lease.lease] = _Life(lease, now, -math.inf)

    def is_unknown(self, lease: int) -> bool:
        """Return whether a lease has ended, or was opened by another process and not loaded yet."""
        return lease not in self._living and lease not in self._ending

    def observe(
        self, leases: Iterable[LivingLease], known_before: frozenset[int], now: float
    ) -> None:
        """Compare with what the store holds: other processes open, renew and end leases, too.

        Args:
            leases: all that live, as just read.
            known_before: :meth:`numbers` before they were read.
        """
        living = {each.lease: each for each in leases}
        for number in known_before:
            if number not in living and number in self._living:
                self._forget(number)
        for lease in living.values():
            life = self._living.get(lease.lease)
            if life is not None and life.lease.renewals < lease.renewals:
                life.lease = lease
                life.renewed_at = now
        self.load(living.values(), now)

    def begin(self, owner: PeerId, tenants: Iterable[int]) -> int:
        """Count a lease that is about to be opened.

        Args:
            owner: the caller that opens it.
            tenants: those that the owner acts for, at least one.

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
            raise Refused(Refusal.TOO_MANY_LEASES)
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
        self._living[lease.lease] = _Life(lease, now, now)

    def check(self, lease: int, caller: PeerId) -> None:
        """Check that a caller may write under a lease: it is the caller's own, and lives.

        Raises:
            Refused: ``lease_ended``, ``not_lease_owner``.
        """
        if lease not in self._living:
            raise Refused(Refusal.LEASE_ENDED, lease=lease)
        if self._living[lease].lease.owner != caller:
            raise Refused(Refusal.NOT_LEASE_OWNER, lease=lease)

    def check_segments(self, segments: Iterable[SegmentId], caller: PeerId) -> None:
        """Check the leases of segments; raises as :meth:`check`."""
        for lease in {lease_of(segment) for segment in segments}:
            self.check(lease, caller)

    def renew(self, lease: int, caller: PeerId, now: float) -> None:
        """Give a lease its whole life again. Raises as :meth:`check`."""
        self.check(lease, caller)
        life = self._living[lease]
        life.renewed_at = now
        self._unsaved.add(lease)
        self._save_at(life.saved_at + self.ttl_s * SAVED_EVERY)

    def _save_at(self, at: float) -> None:
        if at < self._next_save:
            self._next_save = at
            self._sooner.set()

    # --- renewals, for other processes ----------------------------------------------------

    async def wait_unsaved(self) -> None:
        """Wait until a renewal is to be written to the store."""
        while trio.current_time() < self._next_save:
            with trio.move_on_at(self._next_save):
                await self._sooner.wait()
            self._sooner = trio.Event()

    def take_unsaved(self, now: float) -> list[int]:
        """Take the leases whose renewal is to be written now, as many as one transaction writes.
        The caller then says :meth:`saved` or :meth:`not_saved`."""
        due = sorted(
            each
            for each in self._unsaved
            if self._living[each].saved_at + self.ttl_s * SAVED_EVERY <= now
        )
        taken = due[: limits.MAX_RENEWALS_PER_TRANSACTION]
        self._unsaved.difference_update(taken)
        self._plan_save()
        return taken

    def _plan_save(self) -> None:
        saved_at = min((self._living[each].saved_at for each in self._unsaved), default=math.inf)
        self._next_save = saved_at + self.ttl_s * SAVED_EVERY

    def saved(self, taken: Iterable[int], renewals: Mapping[int, int], now: float) -> None:
        """Take in what :func:`renew` said of the leases that were taken at ``now``: another process
        has ended those that it did not find."""
        for number in taken:
            life = self._living.get(number)
            if life is None:
                continue
            if number not in renewals:
                self._forget(number)
                continue
            lease = life.lease
            life.lease = LivingLease(number, lease.owner, lease.tenant, renewals[number])
            life.saved_at = now
        self._plan_save()

    def not_saved(self, taken: Iterable[int]) -> None:
        """The renewals could not be written."""
        self._unsaved.update(each for each in taken if each in self._living)
        self._plan_save()

    # --- ends -----------------------------------------------------------------------------

    def next_end(self, now: float) -> float:
        """Return when a lease can end at the earliest, whatever is opened from now on."""
        if self._ending:
            return now
        renewed = (life.renewed_at for life in self._living.values())
        return min(renewed, default=now) + self.ttl_s

    def take_expired(self, now: float) -> list[int]:
        """Take out the leases that are over: they can be renewed no more.

        The caller ends them in the store (:meth:`silent`, :func:`end_silent`) and then says so
        (:meth:`ended`, :meth:`renewed_elsewhere`); until then they are given again.
        """
        self._take(
            number
            for number, life in tuple(self._living.items())
            if now - life.renewed_at > self.ttl_s
        )
        return sorted(self._ending)

    def silent(self, expired: Iterable[int]) -> list[LivingLease]:
        """Leases that were taken out, with their renewals as last seen."""
        return [self._ending[each] for each in expired if each in self._ending]

    def _take(self, leases: Iterable[int]) -> None:
        for number in leases:
            self._ending[number] = self._forget(number)

    def _forget(self, number: int) -> LivingLease:
        lease = self._living.pop(number).lease
        self._unsaved.discard(number)
        self.not_opened(lease.owner, lease.tenant)
        return lease

    def take_all(self) -> list[int]:
        """Take out every lease, as :meth:`take_expired` does those that are over."""
        self._take(tuple(self._living))
        return sorted(self._ending)

    def ended(self, leases: Iterable[int]) -> None:
        """Note that these leases have durably ended."""
        for number in leases:
            self._ending.pop(number, None)

    def renewed_elsewhere(self, leases: Sequence[LivingLease], now: float) -> None:
        """Another process renews these leases, which were taken out here."""
        self.ended(lease.lease for lease in leases)
        self.load(leases, now)


def _count_down(counter: Counter[K], key: K) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
