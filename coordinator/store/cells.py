"""Cells: invited, joined, watched.

Membership and last addresses are durable; liveness is known from heartbeats alone, in monotonic
time. After a restart a cell is unheard until its first heartbeat or until it has been silent for
the timeout: it is read, and written to only where those that were heard do not make up a write
quorum, so that a restarted coordinator serves at once.

Source: docs/placement.md, "Cells".
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from common import limits
from common.errors import NotFound, Refused
from common.format.token import INVITE_ID_BYTES
from common.ids import PeerId
from common.ports import Sql
from common.reasons import Absence, Refusal
from common.wire.messages.base import CellFacts
from coordinator.policy.health import (
    AdminEvent,
    AdminState,
    CellState,
    Liveness,
    LivenessEvent,
    SilenceTimes,
    after,
    cell_state,
    decided,
    heartbeat_event,
    liveness_now,
)

NO_FACTS: Final = CellFacts(0, 0, 0, 0, 0, False)


@dataclass(slots=True)
class Cell:
    """A cell as this process knows it. Times are monotonic seconds."""

    cell: int
    cell_id: PeerId
    site: str
    owner: str
    address_host: str
    address_port: int
    facts: CellFacts
    heard_at: float
    liveness: Liveness
    """After the last event; :meth:`state` says what it is now."""
    admin: AdminState = AdminState.MEMBER
    """The decisions on it; :meth:`admin_at` knows whether its maintenance is over."""
    maintenance_until: float = -math.inf
    """The end of the window that was announced last."""
    full: bool = False
    """Its free space fell below CELL_LEAST_FREE_BYTES, and has not been CELL_FREE_AGAIN_BYTES
    since."""
    clock_ahead_s: float = 0.0
    """Seconds by which its wall clock was ahead of ours at its last heartbeat; negative: behind."""
    heartbeats: int = 0
    """The store's count of its heartbeats, as last seen; for processes that share the store."""

    @property
    def clock_is_off(self) -> bool:
        """Return whether its clock and ours differ enough to be reported."""
        return abs(self.clock_ahead_s) > limits.CLOCK_OFF_S

    @property
    def is_removed(self) -> bool:
        """Return whether the operator removed it."""
        return AdminState.REMOVED in self.admin

    def admin_at(self, now: float) -> AdminState:
        """Return what was decided of it and holds now."""
        if self.admin and now >= self.maintenance_until:
            return decided(self.admin, AdminEvent.MAINTENANCE_OVER)
        return self.admin

    def state(self, now: float, times: SilenceTimes) -> CellState:
        """Return its state now."""
        silent_s = now - self.heard_at
        is_plain = self.admin is AdminState.MEMBER and self.liveness is Liveness.ALIVE
        if is_plain and silent_s <= times.overdue_s:
            return CellState.ALIVE  # nearly all of them nearly always
        liveness = liveness_now(self.liveness, silent_s, times)
        return cell_state(liveness, self.admin_at(now))

    def unexplained_since(self) -> float:
        """Return since when it has been silent without an announcement."""
        return max(self.heard_at, self.maintenance_until)

    def sees(self, event: LivenessEvent) -> None:
        """Take in an event that is not a heartbeat."""
        self.liveness = after(self.liveness, event)

    def takes(self, event: AdminEvent) -> None:
        """Take in a decision, durable already."""
        self.admin = decided(self.admin, event)

    def announces(self, until: float) -> None:
        """Take in that it may be silent until then."""
        self.takes(AdminEvent.MAINTENANCE_ANNOUNCED)
        self.maintenance_until = until
        self.sees(LivenessEvent.EXPECTED_BACK)

    def ends_maintenance(self, now: float) -> None:
        """Take in that its window is over, whatever was announced."""
        self.takes(AdminEvent.MAINTENANCE_OVER)
        self.maintenance_until = min(self.maintenance_until, now)

    def hears(self, facts: CellFacts, now: float) -> None:
        """Take in a heartbeat."""
        self.facts = facts
        self.heard_at = now
        least_bytes = limits.CELL_FREE_AGAIN_BYTES if self.full else limits.CELL_LEAST_FREE_BYTES
        self.full = facts.free_bytes < least_bytes
        self.sees(heartbeat_event(read_only=facts.read_only, full=self.full))


def invite(
    sql: Sql, secret: bytes, site: str, owner: str, uses: int, expires_ms: int, now_ms: int
) -> None:
    """Remember an invitation by the digest of its secret, and forget those that are over."""
    sql.execute("DELETE FROM invites WHERE expires_ms < ? OR uses_left < 1", (now_ms,))
    sql.execute(
        "INSERT INTO invites VALUES (?, ?, ?, ?, ?)",
        (hashlib.sha256(secret).digest(), site, owner, uses, expires_ms),
    )


@dataclass(frozen=True, slots=True)
class Invite:
    """An open invitation. ``invite_id``: that of :func:`common.format.token.invite_id_of`.
    ``expires_ms``: unix milliseconds."""

    invite_id: str
    site: str
    owner: str
    uses_left: int
    expires_ms: int


def list_invites(sql: Sql, now_ms: int) -> list[Invite]:
    """Return the open invitations, those that expire first at the front."""
    return [
        Invite(row[0][:INVITE_ID_BYTES].hex(), *row[1:])
        for row in sql.execute(
            "SELECT secret_digest, site, owner, uses_left, expires_ms FROM invites"
            " WHERE expires_ms > ? AND uses_left > 0 ORDER BY expires_ms, secret_digest",
            (now_ms,),
        )
    ]


def withdraw_invite(sql: Sql, invite: str) -> None:
    """Withdraw an invitation: nobody can join with its token any more.

    Args:
        invite: its id.

    Raises:
        NotFound: ``no_such_invite``: also one that is used up, expired or withdrawn.
    """
    try:
        first = bytes.fromhex(invite)
    except ValueError:
        first = b""
    if len(first) != INVITE_ID_BYTES:
        raise NotFound(Absence.NO_SUCH_INVITE)
    rest = hashlib.sha256().digest_size - INVITE_ID_BYTES
    done = sql.execute(
        "DELETE FROM invites WHERE secret_digest BETWEEN ? AND ?",
        (first + bytes(rest), first + b"\xff" * rest),
    )
    if not done.rowcount:
        raise NotFound(Absence.NO_SUCH_INVITE)


def join(
    sql: Sql, cell_id: PeerId, secret: bytes, site: str, owner: str, now_ms: int
) -> tuple[int, str, str]:
    """Make a peer a cell, using up one use of the invitation; one that has joined stays so.

    Returns:
        Its number, site and owner; what the invitation says of site and owner goes first.

    Raises:
        Refused: ``bad_token`` (unknown, used up or over), ``cell_removed`` (whatever token it has),
            ``too_many_cells``.
    """
    row = sql.execute(
        "SELECT cell, site, owner, removed_ms FROM cells WHERE cell_id = ?", (cell_id,)
    ).fetchone()
    if row is not None:
        if row[3]:
            raise Refused(Refusal.CELL_REMOVED)
        return row[0], row[1], row[2]
    digest = hashlib.sha256(secret).digest()
    row = sql.execute(
        "UPDATE invites SET uses_left = uses_left - 1"
        " WHERE secret_digest = ? AND uses_left > 0 AND expires_ms > ? RETURNING site, owner",
        (digest, now_ms),
    ).fetchone()
    if row is None:
        raise Refused(Refusal.BAD_TOKEN)
    if sql.execute("SELECT count(*) FROM cells").fetchone()[0] >= limits.MAX_CELLS:
        raise Refused(Refusal.TOO_MANY_CELLS)
    site, owner = row[0] or site, row[1] or owner
    number = sql.execute(
        "INSERT INTO cells (cell_id, site, owner, joined_ms, facts) VALUES (?, ?, ?, ?, ?)"
        " RETURNING cell",
        (cell_id, site, owner, now_ms, b""),
    ).fetchone()[0]
    return number, site, owner


def load(sql: Sql, now: float) -> list[Cell]:
    """All cells of the swarm, each given the whole timeout to be heard."""
    return [
        Cell(
            cell=row[0],
            cell_id=PeerId(row[1]),
            site=row[2],
            owner=row[3],
            address_host=row[4],
            address_port=row[5],
            facts=CellFacts.unpack(row[6]) if row[6] else NO_FACTS,
            heard_at=now,
            liveness=Liveness.UNHEARD if row[6] else Liveness.NEW,
            admin=AdminState.REMOVED if row[7] else AdminState.MEMBER,
            heartbeats=row[8],
        )
        for row in sql.execute(
            "SELECT cell, cell_id, site, owner, address_host, address_port, facts, removed_ms,"
            " heartbeats FROM cells"
        )
    ]


def remove(sql: Sql, cell: int, now_ms: int) -> None:
    """Remove a cell for good. Its number and its slots stay: its shards count as missing."""
    sql.execute("UPDATE cells SET removed_ms = ? WHERE cell = ?", (now_ms, cell))
    # The deletes that it will never confirm.
    sql.execute("DELETE FROM deletes WHERE cell = ?", (cell,))


def save(sql: Sql, cell: int, host: str, port: int, facts: CellFacts) -> None:
    """Keep where a cell is and what it said of itself."""
    sql.execute(
        "UPDATE cells SET address_host = ?, address_port = ?, facts = ? WHERE cell = ?",
        (host, port, facts.pack(), cell),
    )


def count_heartbeats(sql: Sql, heard: Iterable[Cell]) -> dict[int, int]:
    """Count that cells were heard, with where they are and what they said of themselves.

    Returns:
        The heartbeats of each, now.
    """
    counts = {}
    for cell in heard:
        save(sql, cell.cell, cell.address_host, cell.address_port, cell.facts)
        counts[cell.cell] = sql.execute(
            "UPDATE cells SET heartbeats = heartbeats + 1 WHERE cell = ? RETURNING heartbeats",
            (cell.cell,),
        ).fetchone()[0]
    return counts
