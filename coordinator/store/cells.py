"""Cells: invited, joined, watched.

Membership, last addresses and what was decided of a cell are durable; liveness is known from
heartbeats alone, in monotonic time. After a restart a cell is unheard until its first heartbeat or
until it has been silent for the timeout: it is read, and written to only where those that were
heard do not make up a write quorum, so that a restarted coordinator serves at once.

Source: docs/placement.md, "Cells".
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable
from typing import Final

from common import limits
from common.data_classes import dataclass
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
from coordinator.store import deletes
from coordinator.store.schema import counter_value

NO_FACTS: Final = CellFacts(0, 0, 0, 0, 0, False)


@dataclass(frozen=True, slots=True)
class Decisions:
    """The decisions on a cell, as they stand in the store.

    ``draining_ms``, ``removed_ms``: unix milliseconds of the decision, or 0. ``suspended``: the
    reason, or empty. ``maintenance_s``: the length of the window that was announced at
    ``maintenance_ms``, or 0. Times of the wall clock are for people, and to distinguish
    announcements.
    """

    draining_ms: int = 0
    suspended: str = ""
    maintenance_s: int = 0
    maintenance_ms: int = 0
    removed_ms: int = 0

    def admin_state(self) -> AdminState:
        """Return what holds of the cell while its window lasts."""
        state = AdminState.MEMBER
        for event, holds in (
            (AdminEvent.DRAIN, self.draining_ms),
            (AdminEvent.SUSPEND, self.suspended),
            (AdminEvent.MAINTENANCE_ANNOUNCED, self.maintenance_s),
            (AdminEvent.REMOVE, self.removed_ms),
        ):
            if holds:
                state = decided(state, event)
        return state


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
    decisions: Decisions = Decisions()
    admin: AdminState = AdminState.MEMBER
    """The decisions that hold; :meth:`admin_at` knows whether its maintenance is over."""
    maintenance_until: float = -math.inf
    """The end of the window that was announced last."""
    joined_at_s: int = 0
    """Of watched time."""
    silent_before_s: float = 0.0
    """Silence before it was last heard or announced; see :meth:`silence_s`."""
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

    def silence_s(self, now: float, overdue_s: float) -> float:
        """Return for how long it has been silent unannounced since this process began, in all;
        silence that is not overdue (yet) does not count."""
        silent_s = now - self.unexplained_since()
        return self.silent_before_s + (silent_s if silent_s > overdue_s else 0.0)

    def unexplained_since(self) -> float:
        """Return since when it has been silent without an announcement."""
        return max(self.heard_at, self.maintenance_until)

    def sees(self, event: LivenessEvent) -> None:
        """Take in an event that is not a heartbeat."""
        self.liveness = after(self.liveness, event)

    def decide(self, decisions: Decisions, now: float, overdue_s: float) -> None:
        """Take in what stands in the store. A window that is new here begins now: after a restart
        it lasts as long as it was announced for."""
        if self.is_removed:
            return
        known, self.decisions = self.decisions, decisions
        self.admin = decisions.admin_state()
        if not decisions.maintenance_s:
            self.maintenance_until = min(self.maintenance_until, now)
        elif (decisions.maintenance_s, decisions.maintenance_ms) != (
            known.maintenance_s,
            known.maintenance_ms,
        ):
            self.silent_before_s = self.silence_s(now, overdue_s)
            self.maintenance_until = now + decisions.maintenance_s
            self.sees(LivenessEvent.EXPECTED_BACK)

    def remove(self) -> None:
        """Take in that it was removed: nothing changes that."""
        self.admin = decided(self.admin, AdminEvent.REMOVE)

    def window_is_over(self, now: float) -> bool:
        """Return whether its window has ended and still stands in the store."""
        return bool(self.decisions.maintenance_s) and now >= self.maintenance_until

    def hears(self, facts: CellFacts, now: float, overdue_s: float) -> None:
        """Take in a heartbeat."""
        self.silent_before_s = self.silence_s(now, overdue_s)
        if facts != self.facts:  # else the same object stays: what was made of it is good
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
        "INSERT INTO invites (secret_digest, site, owner, uses_left, expires_ms)"
        " VALUES (?, ?, ?, ?, ?)",
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
        "INSERT INTO cells (cell_id, site, owner, joined_ms, joined_at_s, facts)"
        " VALUES (?, ?, ?, ?, ?, ?) RETURNING cell",
        (cell_id, site, owner, now_ms, counter_value(sql, "watched_s"), b""),
    ).fetchone()[0]
    return number, site, owner


_DECISIONS: Final = "draining_ms, suspended, maintenance_s, maintenance_ms, removed_ms"


def load(sql: Sql, now: float) -> list[Cell]:
    """All cells of the swarm, each given the whole timeout to be heard."""
    found = []
    for row in sql.execute(
        "SELECT cell, cell_id, site, owner, address_host, address_port, facts, heartbeats,"
        f" joined_at_s,"
        f" {_DECISIONS} FROM cells"
    ):
        cell = Cell(
            cell=row[0],
            cell_id=PeerId(row[1]),
            site=row[2],
            owner=row[3],
            address_host=row[4],
            address_port=row[5],
            facts=CellFacts.unpack(row[6]) if row[6] else NO_FACTS,
            heard_at=now,
            liveness=Liveness.UNHEARD if row[6] else Liveness.NEW,
            heartbeats=row[7],
            joined_at_s=row[8],
        )
        decisions = Decisions(*row[9:])
        if decisions != cell.decisions:
            cell.decide(decisions, now, math.inf)
        found.append(cell)
    return found


def _decide(sql: Sql, cell: int, change: str, *values: int | str) -> Decisions:
    """Change what was decided of a cell.

    Raises:
        Refused: ``cell_removed``: nothing is decided of it any more.
    """
    row = sql.execute(
        f"UPDATE cells SET {change} WHERE cell = ? AND removed_ms = 0 RETURNING {_DECISIONS}",
        (*values, cell),
    ).fetchone()
    if row is None:
        raise Refused(Refusal.CELL_REMOVED)
    return Decisions(*row)


def drain(sql: Sql, cell: int, now_ms: int) -> Decisions:
    """Let a cell leave; one that leaves already goes on. Raises as :func:`resume`."""
    change = "draining_ms = CASE draining_ms WHEN 0 THEN ? ELSE draining_ms END"
    return _decide(sql, cell, change, now_ms)


def cancel_drain(sql: Sql, cell: int) -> Decisions:
    """Let a cell stay. Raises as :func:`resume`."""
    return _decide(sql, cell, "draining_ms = 0")


def announce_maintenance(sql: Sql, cell: int, window_s: int, now_ms: int) -> Decisions:
    """Let a cell be silent for so long from now on, whatever was announced before. Raises as
    :func:`resume`."""
    return _decide(sql, cell, "maintenance_s = ?, maintenance_ms = ?", window_s, now_ms)


def end_maintenance(sql: Sql, cell: int) -> Decisions:
    """Announce nothing any more. Raises as :func:`resume`."""
    return _decide(sql, cell, "maintenance_s = 0, maintenance_ms = 0")


def forget_windows(sql: Sql, windows: Iterable[tuple[int, int]]) -> None:
    """Forget windows that are over, by cell and ``maintenance_ms``; not others that were announced
    since."""
    sql.executemany(
        "UPDATE cells SET maintenance_s = 0, maintenance_ms = 0"
        " WHERE cell = ? AND maintenance_ms = ?",
        list(windows),
    )


def suspend(sql: Sql, cell: int, reason: str) -> Decisions:
    """Give a cell no new shards. Raises as :func:`resume`.

    Args:
        reason: for the cell's owner; not empty.
    """
    assert reason
    return _decide(sql, cell, "suspended = ?", reason)


def suspension_of(sql: Sql, cell: int) -> str:
    """The reason why a cell is suspended; empty: it is not."""
    row = sql.execute("SELECT suspended FROM cells WHERE cell = ?", (cell,)).fetchone()
    return "" if row is None else str(row[0])


def resume(sql: Sql, cell: int) -> Decisions:
    """Trust a cell with new shards again.

    Returns:
        What holds of it then.

    Raises:
        Refused: ``cell_removed``.
    """
    return _decide(sql, cell, "suspended = ''")


def remove(sql: Sql, cell: int, now_ms: int) -> None:
    """Remove a cell for good. Its number and its slots stay: its shards count as missing."""
    sql.execute("UPDATE cells SET removed_ms = ? WHERE cell = ?", (now_ms, cell))
    deletes.forget_cell(sql, cell)
    sql.execute("DELETE FROM absences WHERE cell = ?", (cell,))


def save(sql: Sql, cell: int, host: str, port: int, facts: CellFacts) -> None:
    """Keep where a cell is and what it said of itself."""
    sql.execute(
        "UPDATE cells SET address_host = ?, address_port = ?, facts = ? WHERE cell = ?",
        (host, port, facts.pack(), cell),
    )


def count_heartbeats(sql: Sql, heard: Collection[Cell]) -> dict[int, int]:
    """Count that cells were heard, with where they are and what they said of themselves.

    Returns:
        The heartbeats of each, now.
    """
    sql.executemany(
        "UPDATE cells SET address_host = ?, address_port = ?, facts = ?,"
        " heartbeats = heartbeats + 1 WHERE cell = ?",
        [(each.address_host, each.address_port, each.facts.pack(), each.cell) for each in heard],
    )
    numbers = [each.cell for each in heard]
    places = ", ".join("?" * len(numbers))
    return dict(
        sql.execute(
            f"SELECT cell, heartbeats FROM cells WHERE cell IN ({places})", numbers
        ).fetchall()
    )
