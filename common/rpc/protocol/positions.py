"""The positions of the coordinators' store that a cell or a gateway remembers. No I/O.

Source: docs/placement.md, "The store's history".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from common import limits
from common.crypto.positions import Position, read
from common.errors import PeerViolation


class Known:
    """The furthest position of each of the latest runs.

    Args:
        positions: what was known before, as bytes.

    Raises:
        PeerViolation: ``bad_position``.
    """

    def __init__(self, positions: Iterable[bytes] = ()) -> None:
        self._by_run: dict[bytes, tuple[Position, bytes]] = {}
        for data in positions:
            self.note(data)

    def note(self, data: bytes) -> bool:
        """Remember a position if it is further than what is known of its run.

        Returns:
            Whether its run was not known before.

        Raises:
            PeerViolation: ``bad_position``.
        """
        position = read(data)
        before = self._by_run.get(position.run_id)
        if before is None or position.commit > before[0].commit:
            self._by_run[position.run_id] = (position, data)
        if len(self._by_run) > limits.MAX_POSITIONS_KNOWN:
            del self._by_run[min(self._by_run.values(), key=_order)[0].run_id]
        return before is None

    def forget(self, run_id: bytes) -> bool:
        """Forget a run that its coordinator has withdrawn; whether it was known."""
        return self._by_run.pop(run_id, None) is not None

    def packed(self) -> tuple[bytes, ...]:
        """The positions as bytes, by run."""
        return tuple(data for _, data in sorted(self._by_run.values(), key=_order))


def _order(entry: tuple[Position, bytes]) -> tuple[int, bytes]:
    return entry[0].run, entry[0].run_id


def covers(positions: Sequence[bytes], ends: Sequence[int]) -> bool:
    """Return whether a store's history goes at least as far as each of the positions.

    Args:
        positions: what was sent to its coordinator.
        ends: for each, the last transaction of its run in the store's history, as the coordinator
            answered; 0 where the history does not have the run.
    """
    if len(ends) != len(positions):
        return False
    try:
        return all(end >= read(data).commit for data, end in zip(positions, ends, strict=True))
    except PeerViolation:
        return False
