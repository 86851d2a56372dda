"""What a cell's callers know of its shards, and what therefore must be true of them.

The ledger notes what was asked, what was answered, and what was seen after a start. From that
follows for every shard whether it must be there, must not be there, or may be either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from common.crypto.digest import leaf, shard_root
from common.ids import SegmentId
from common.wire.messages.base import ShardName
from common.wire.messages.membership import COMMITTED, GARBAGE, PENDING

Key: TypeAlias = tuple[SegmentId, int]
NOBODY: Final[Key] = (SegmentId(bytes(16)), 0)
"""No shard has this name."""


class State(Enum):
    """What is known of a shard."""

    UNKNOWN = "asked for, not acknowledged: whole or absent"
    HELD = "acknowledged, or seen whole after a start: must be there"
    DOOMED = "to be deleted, not confirmed: whole or absent"
    GONE = "deletion confirmed, or seen absent after a start: must not be there"


@dataclass(slots=True)
class Shard:
    """One shard: its bytes as last sent, and what is known of it."""

    unit_bytes: int
    data: bytes
    state: State = State.UNKNOWN

    def leaves(self) -> bytes:
        """The digests of its units, joined."""
        view = memoryview(self.data)
        starts = range(0, len(view), self.unit_bytes)
        return b"".join(leaf(view[at : at + self.unit_bytes]) for at in starts)

    def root(self) -> bytes:
        """What it must hash to."""
        return shard_root(self.unit_bytes, len(self.data), self.leaves())


class Ledger:
    """All shards of one cell."""

    def __init__(self) -> None:
        self.shards: dict[Key, Shard] = {}
        self.to_delete: set[Key] = set()
        """Told to the cell with every heartbeat until it confirms."""
        self.violations: list[str] = []
        self._histories: dict[Key, list[str]] = {}
        self.life = 0
        self.puts_acknowledged = 0
        self.deletes_confirmed = 0

    def of(self, *states: State) -> list[Key]:
        """The shards in some states, oldest first."""
        return [key for key, shard in self.shards.items() if shard.state in states]

    def note(self, key: Key, event: str) -> None:
        """Remember what happened to a shard, to be told if it turns out wrong."""
        self._histories.setdefault(key, []).append(f"{self.life}:{event}")

    def _violated(self, key: Key, what: str) -> None:
        history = " ".join(self._histories.get(key, []))
        self.violations.append(f"{what}: {int.from_bytes(key[0], 'big')}/{key[1]} [{history}]")

    # --- what is done --------------------------------------------------------------------------

    def sent(self, key: Key, shard: Shard) -> None:
        """A shard is about to be uploaded: a new one, or one that is gone."""
        known = self.shards.pop(key, None)
        assert known is None or (known.state is State.GONE and key not in self.to_delete)
        self.shards[key] = shard
        self.note(key, "sent")

    def acknowledged(self, key: Key) -> None:
        """The cell said Done: from now on it must keep the shard."""
        self.puts_acknowledged += 1
        self.note(key, "acknowledged")
        self.shards[key].state = State.HELD

    def doom(self, key: Key) -> None:
        """Have the cell delete a shard."""
        self.shards[key].state = State.DOOMED
        self.to_delete.add(key)
        self.note(key, "doomed")

    def turned_away(self, key: Key, why: str) -> None:
        """The cell will not take a shard that is not there."""
        self._violated(key, f"turned away, {why}")

    # --- what the cell says of itself ----------------------------------------------------------

    def confirmed(self, names: Sequence[ShardName]) -> None:
        """The cell says that shards are durably gone."""
        for name in names:
            key = (name.segment_id, name.slot)
            self.note(key, "confirmed")
            if key not in self.to_delete:
                self._violated(key, "deletion confirmed that nobody asked for")
                continue
            self.to_delete.discard(key)
            self.shards[key].state = State.GONE
            self.deletes_confirmed += 1

    def lost(self, names: Sequence[ShardName]) -> None:
        """The cell says that it has lost shards."""
        for name in names:
            key = (name.segment_id, name.slot)
            self.note(key, "lost")
            shard = self.shards.get(key)
            if shard is not None and shard.state is State.HELD:
                self._violated(key, "reported as lost though acknowledged")

    def verdict(self, key: Key, root: bytes) -> int:
        """What a coordinator says of a shard that a cell holds."""
        shard = self.shards.get(key)
        self.note(key, "settling")
        if shard is None:
            self._violated(key, "holds what was never sent")
            return PENDING
        if shard.state is State.HELD:
            if root != shard.root():
                self._violated(key, "holds another root")
            return COMMITTED
        return GARBAGE if shard.state is State.DOOMED else PENDING

    # --- what is seen --------------------------------------------------------------------------

    def seen(self, key: Key, data: bytes | None, *, after_start: bool) -> None:
        """A shard was read; None: the cell says that there is none.

        Args:
            after_start: the first look in this life, before anything else was asked: what is seen
                now has survived the end of the last life, and must survive the next.
        """
        shard = self.shards[key]
        self.note(key, "absent" if data is None else "there")
        if data is None:
            if shard.state is State.HELD:
                self._violated(key, "acknowledged and absent")
            if after_start and shard.state is not State.HELD:
                shard.state = State.GONE
            return
        if data != shard.data:
            self._violated(key, f"wrong bytes, {shard.state.name}")
        if shard.state is State.GONE:
            self._violated(key, "gone and there again")
        if after_start and shard.state is State.UNKNOWN:
            shard.state = State.HELD

    def unreadable(self, key: Key, why: str) -> None:
        """A shard cannot be read, though the medium is sound: a half shard is visible."""
        self._violated(key, f"unreadable, {self.shards[key].state.name}, {why}")
