"""A coordinator recovered on an empty machine, from its cells and one small file.

Source: docs/journal.md, "Recovery".
"""

from __future__ import annotations

from typing import Final

from common.crypto.journal import JournalKey
from common.data_classes import dataclass
from common.errors import BadConfig
from common.ports import Sql, World
from common.reasons import ConfigFault
from common.rpc.peers import PeerPool
from common.state_files import write_whole
from common.tasks import background
from coordinator.journal.gate import JournalGate
from coordinator.journal.opening import StoreOpener
from coordinator.journal.recovery_file import RECOVERY_NAME, unpack_recovery
from coordinator.journaled_store import RUN_ID_BYTES, STORE_NAME
from coordinator.secrets import IDENTITY_NAME, SECRET_NAME, Keys, note_store_begun
from coordinator.store import dialect
from coordinator.store.counts import object_count
from coordinator.store.schema import counter_value

PATIENCE_S: Final = 60.0
"""Time for the cells, where nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class RecoveredStore:
    """A store that was recovered: its journal's cells, its last transaction, its objects, and the
    commits that were made again after the snapshot."""

    cells: int
    transactions: int
    objects: int
    commits: int


async def recover(
    world: World, content: bytes, *, patience_s: float, with_most: bool = False
) -> RecoveredStore:
    """Bring back the store, and the keys, of a coordinator whose disk is gone.

    The directory holds no store. Repeat a call that was cut short.

    Args:
        content: of the recovery file.
        patience_s: for the cells.
        with_most: go on when most of the cells answer, not all.

    Raises:
        BadConfig: ``bad_recovery_file``; ``store_exists``.
        Unavailable: ``journal_unsettled``: too few cells answered.
        Corrupt: ``journal_not_authentic``, ``journal_diverged``.
    """
    identity, secret, members = unpack_recovery(content)
    await _check_empty(world)
    # First of all: a coordinator that is started on half of this must not begin an empty swarm.
    await note_store_begun(world.disk)
    await write_whole(world.disk, RECOVERY_NAME, content)  # what a standby needs, should it be one
    await write_whole(world.disk, SECRET_NAME, secret.hex().encode() + b"\n")
    await write_whole(world.disk, IDENTITY_NAME, identity.private_key.hex().encode() + b"\n")
    keys = Keys(identity, secret, "")
    pool = PeerPool(
        world.network, identity, connections_per_peer=1, chance=world.chance, log=world.log
    )
    key = JournalKey(secret)
    gate = JournalGate(key, world.entropy)
    run_id = world.entropy(RUN_ID_BYTES)
    opener = StoreOpener(world, pool, STORE_NAME, gate, key, keys.swarm_id, run_id)
    async with background() as nursery:
        await nursery.start(pool.run)
        opened = await opener.open(
            patience_s=patience_s, recovered=members, needs_all=not with_most
        )
    assert opened.settled is not None
    try:
        transactions, objects = await opened.store.read(_count)
    finally:
        await opened.store.close()
    return RecoveredStore(
        len(opened.settled.members.members), transactions, objects, opened.commits
    )


async def _check_empty(world: World) -> None:
    """Raise BadConfig ``store_exists`` if the directory holds a store that is not empty."""
    if STORE_NAME not in await world.disk.names("."):
        return
    store = await world.stores.open(STORE_NAME)
    try:
        if await store.read(dialect.version):
            raise BadConfig(
                ConfigFault.STORE_EXISTS,
                message="there is a store already: start the coordinator, which brings it up to"
                " date, or move it aside",
            )
    finally:
        await store.close()


def _count(sql: Sql) -> tuple[int, int]:
    return counter_value(sql, "commit"), object_count(sql)
