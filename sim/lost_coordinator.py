"""The coordinator's disk is lost, and its store is recovered from the journal that cells keep.

An operator keeps a copy of the recovery file, from when the journal was first kept, and perhaps a
newer one. Now and then the disk goes, with everything on it; the operator recovers the coordinator
on an empty one, trying until the cells answer. One of the cells that keep the journal may lie: it
answers with an older journal than it has, or with one that nobody wrote.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import trio
from blake3 import blake3

from cell.journal_handlers import JournalHandlers
from common.errors import AlvearyError, Corrupt
from common.format.journal import ChainEnd, end_in, head_of
from common.wire.messages.journal import JournalPoint, JournalState
from coordinator.journal.recovery_file import RECOVERY_NAME
from coordinator.journaled_store import STORE_NAME
from coordinator.recovery import recover
from sim.checkers.tables import differences
from sim.cluster import Cluster, SimDaemon
from sim.replacing import replaced
from sim.world import SimNode, SimWorld

BEFORE_LOSS_S: Final = (8.0, 40.0)
PATIENCE_S: Final = 20.0
"""Of one try to recover."""
RECOVERED_WITHIN_S: Final = 1200.0
"""Longer than any fault lasts."""
LYING_SHARE: Final = 0.5


class LostCoordinator:
    """Loses the coordinator's disk and recovers it, until the scenario is over."""

    def __init__(self, swarm: SimWorld) -> None:
        self.losses = 0
        self.lies = 0
        self.is_away = False
        """True while there is no store."""
        self._is_recovered = False
        self._swarm = swarm
        self._chance = swarm.random("lost coordinator")
        self._cluster: Cluster
        self._copy = b""
        self._liar: SimDaemon | None = None
        self._lies = self._chance.random() < LYING_SHARE

    def come(self, cluster: Cluster) -> None:
        """Come to a swarm, and choose the cell that lies."""
        self._cluster = cluster
        if self._lies:
            self._liar = self._chance.choice(cluster.cells)

    @property
    def _coordinator(self) -> SimDaemon:
        return self._cluster.coordinators[0]

    async def run(self) -> None:
        """Lose the disk now and then, until cancelled."""
        while True:
            await trio.sleep(self._chance.uniform(*BEFORE_LOSS_S))
            await self._copy_file()
            if self._copy:
                await self.lose_and_recover()

    async def _copy_file(self) -> None:
        inode = self._coordinator.node.platter.inodes.get(RECOVERY_NAME)
        if inode is not None and (not self._copy or self._chance.random() < 0.5):
            self._copy = bytes(inode.content)

    async def lose_and_recover(self) -> None:
        """Lose the disk, and have the store back on return."""
        self.losses += 1
        self.is_away, self._is_recovered = True, False
        self._coordinator.lose_disk()
        await self.finish()

    async def finish(self) -> None:
        """Have the store back on return, if it is away."""
        if not self.is_away:
            return
        self._coordinator.stay_down()
        node = self._coordinator.node
        if not self._is_recovered:
            node.databases.pop(STORE_NAME, None)
            await self._recover(node)
            self._is_recovered = True
        self._coordinator.come_back()
        while not self._coordinator.is_up:  # noqa: ASYNC110 - a poll in virtual time costs nothing
            await trio.sleep(0.5)
        await self._cluster.learn_operator_token()
        self.is_away = self._is_recovered = False

    async def _recover(self, node: SimNode) -> None:
        """Try until it is done; the power may go meanwhile."""
        began = trio.current_time()
        while True:
            await trio.sleep(self._chance.uniform(0.5, 5.0))
            done = False
            async with trio.open_nursery() as nursery:

                async def watch(died: trio.Event) -> None:
                    await died.wait()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(watch, node.died)
                try:
                    found = await recover(node.world, self._copy, patience_s=PATIENCE_S)
                    node.note("recovered", {"commits": found.commits, "objects": found.objects})
                    done = True
                except AlvearyError as error:
                    is_over = trio.current_time() - began > RECOVERED_WITHIN_S
                    if isinstance(error, Corrupt) or is_over:
                        raise AssertionError(f"a lost store is not recovered: {error}") from error
                    node.note("not recovered", {"error": str(error)})
                    node.databases.pop(STORE_NAME, None)
                nursery.cancel_scope.cancel()
            if done:
                return

    async def compare(self) -> list[str]:
        """Recover a second store beside the one that is there, and compare them.

        Returns:
            Rows that one has and the other has not.
        """
        await self._copy_file()
        if not self._copy:
            return []
        node = self._coordinator.node
        self._coordinator.stay_down()
        node.crash(power=False)
        spare = self._swarm.node("spare coordinator")
        await self._recover(spare)
        mine, other = (each.databases[STORE_NAME].connection for each in (node, spare))
        self._coordinator.come_back()
        behind = [
            each.execute("SELECT sequence FROM journal").fetchone()[0] for each in (mine, other)
        ]
        if behind[1] - behind[0] > 1:
            return []  # its last commit was on its way; it is taken in at the next start
        return differences(mine, other)

    # --- lies -----------------------------------------------------------------------------------

    @contextmanager
    def lying(self) -> Iterator[None]:
        """Have the cell that lies do so, inside the ``with``, whenever an epoch is begun."""
        begin, read = JournalHandlers.begin, JournalHandlers.read
        forged: dict[int, bytes] = {}

        async def begin_lying(handlers: Any, caller: Any, request: Any, payload: Any) -> Any:
            state: Any = await begin(handlers, caller, request, payload)
            if not self._is_liar(caller, handlers) or self._chance.random() < 0.3:
                return state
            self.lies += 1
            if self._chance.random() < 0.5:
                return await _older(state, handlers._journal, self._chance)
            lie, record = _forged(state, request.epoch, self._chance)
            forged[end_in(state.end).sequence] = record
            return lie

        async def read_lying(handlers: Any, caller: Any, request: Any, payload: Any) -> Any:
            answer: Any = await read(handlers, caller, request, payload)
            reply, parts = answer
            if self._is_liar(caller, handlers) and not parts[0] and request.after in forged:
                return reply, [forged[request.after]]
            return reply, parts

        with replaced(JournalHandlers, "begin", begin_lying):
            with replaced(JournalHandlers, "read", read_lying):
                yield

    def _is_liar(self, caller: Any, handlers: Any) -> bool:
        disk = handlers._journal._disk
        return self._liar is not None and disk.platter is self._liar.node.platter


async def _older(state: JournalState, journal: Any, chance: Any) -> JournalState:
    """The state of the cell some records ago."""
    records = state.end.sequence - state.base.sequence
    if records < 1:
        return state
    point: ChainEnd = await journal._point(chance.randrange(records))
    return _with_end(state, point)


def _forged(state: JournalState, epoch: int, chance: Any) -> tuple[JournalState, bytes]:
    """The state of the cell with one more record, which no coordinator wrote."""
    end = end_in(state.end)
    body = chance.randbytes(chance.randrange(60, 400))
    head = head_of(max(end.epoch, epoch - 1), end, len(body))
    record = head.pack() + body
    point = ChainEnd(head.sequence, head.epoch, blake3(record).digest())
    return _with_end(state, point), record


def _with_end(state: JournalState, end: ChainEnd) -> JournalState:
    fields = {name: getattr(state, name) for name in JournalState.__slots__}
    return JournalState(**{**fields, "end": JournalPoint(*end)})
