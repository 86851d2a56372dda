"""Callers with a rescue pass: they may read, whether there are coordinators or not.

Source: docs/rescue.md, "On a cell".
"""

from __future__ import annotations

from cell.session import Caller
from cell.storage.shards import ShardKey
from common.crypto.rescue import pass_holds, read_rescue_order
from common.errors import Refused
from common.ids import PeerId
from common.reasons import Refusal


class Rescuers:
    """Knows who may read.

    Args:
        coordinator_id: the id of the swarm's key, which signs passes.
    """

    def __init__(self, coordinator_id: PeerId) -> None:
        self._coordinator_id = coordinator_id

    def admits(self, caller: Caller, rescue_pass: bytes) -> bool:
        """Return whether a caller's pass holds; introduce the caller if it does."""
        if not rescue_pass:
            return False
        session = caller.session
        if session.rescue_pass != rescue_pass:
            if not pass_holds(
                rescue_pass, coordinator_id=self._coordinator_id, holder=caller.peer_id
            ):
                return False
            session.rescue_pass = rescue_pass
        caller.introduce(caller.peer_id)
        return True

    def shard(self, caller: Caller, order: bytes) -> ShardKey:
        """Return the shard that a rescuer wants to read.

        Raises:
            Refused: ``order_invalid``, ``order_wrong_action``; ``order_not_yours``: the pass does
                not hold.
        """
        segment_id, slot, rescue_pass = read_rescue_order(order)
        if not self.admits(caller, rescue_pass):
            raise Refused(Refusal.ORDER_NOT_YOURS)
        return segment_id, slot
