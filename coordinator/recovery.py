"""A coordinator recovered on an empty machine, from its cells and one small file.

Source: docs/journal.md, "Recovery".
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Final

import trio

from common.charter_book import FILE_NAME as CHARTER_NAME
from common.crypto.charter import sign_charter, with_added, with_replaced
from common.crypto.identity import KeyPair
from common.crypto.journal import JournalKey
from common.data_classes import dataclass
from common.errors import AlvearyError, BadConfig
from common.ports import Address, Sql, World
from common.reasons import ConfigFault
from common.state_files import write_whole
from common.tasks import background
from common.wire.messages.base import Endpoint, Ping
from common.wire.messages.journal import JournalMembers
from coordinator.journal.gate import JournalGate
from coordinator.journal.opening import StoreOpener
from coordinator.journal.recovery_file import RECOVERY_NAME, Recovery, unpack_recovery
from coordinator.journaled_store import RUN_ID_BYTES, STORE_NAME
from coordinator.peers import pool_of
from coordinator.secrets import (
    FIRST_NAME,
    IDENTITY_NAME,
    SECRET_NAME,
    SWARM_KEY_NAME,
    Keys,
    load_keys,
    note_store_begun,
    write_secret,
)
from coordinator.store import dialect
from coordinator.store.counts import object_count
from coordinator.store.schema import counter_value

PATIENCE_S: Final = 60.0
"""Time for the cells, where nobody says otherwise."""
CHARTER_S: Final = 10.0
"""Time for a cell to show the charter that it has."""


@dataclass(frozen=True, slots=True)
class RecoveredStore:
    """A store that was recovered: its journal's cells, its last transaction, its objects, and the
    commits that were made again after the snapshot."""

    cells: int
    transactions: int
    objects: int
    commits: int


async def recover(
    world: World,
    content: bytes,
    *,
    patience_s: float,
    with_most: bool = False,
    swarm_key: KeyPair | None = None,
) -> RecoveredStore:
    """Bring back the store, and the keys, of a coordinator whose disk is gone.

    The lost disk may have been stolen: where the swarm's key is at hand, the coordinator gets a new
    key of its own, and the old one is revoked. The directory holds no store. Repeat a
    call that was cut short.

    Args:
        content: of the recovery file.
        swarm_key: where the file does not hold it.
        patience_s: for the cells.
        with_most: go on when most of the cells answer, not all.

    Raises:
        BadConfig: ``bad_recovery_file``; ``store_exists``; ``coordinator_revoked``: the file's key
            was revoked, and the swarm's key is not at hand.
        Unavailable: ``journal_unsettled``: too few cells answered.
        Corrupt: ``journal_not_authentic``, ``journal_diverged``.
    """
    found = unpack_recovery(content)
    await _check_empty(world)
    # First of all: a coordinator that is started on half of this must not begin an empty swarm.
    await note_store_begun(world.disk)
    await write_whole(world.disk, RECOVERY_NAME, content)  # what a standby needs, should it be one
    await write_secret(world.disk, SECRET_NAME, found.swarm_secret)
    keys = await _keys_of(world, found, swarm_key or found.swarm_key)
    pool = pool_of(world, keys)
    key = JournalKey(keys.swarm_secret)
    gate = JournalGate(key, world.entropy)
    run_id = world.entropy(RUN_ID_BYTES)
    opener = StoreOpener(world, pool, STORE_NAME, gate, key, keys.swarm_id, run_id)
    async with background() as nursery:
        await nursery.start(pool.run)
        opened = await opener.open(
            patience_s=patience_s, recovered=found.members, needs_all=not with_most
        )
    assert opened.settled is not None
    try:
        transactions, objects = await opened.store.read(_count)
    finally:
        await opened.store.close()
    return RecoveredStore(
        len(opened.settled.members.members), transactions, objects, opened.commits
    )


async def _keys_of(world: World, found: Recovery, swarm_key: KeyPair | None) -> Keys:
    """Return the keys of the coordinator that is recovered, durably in its directory."""
    disk = world.disk
    if found.charter is None:
        await write_secret(disk, IDENTITY_NAME, found.identity.private_key)
        return await load_keys(disk, world.entropy, world.log)
    await write_whole(disk, CHARTER_NAME, found.charter.data)
    await write_secret(disk, IDENTITY_NAME, found.identity.private_key)
    keys = await load_keys(disk, world.entropy, world.log)
    await _hear_charters(world, keys, found.members)
    if swarm_key is None or found.is_enrolment:
        keys.check_not_revoked()
        return keys
    if swarm_key.peer_id != keys.swarm_key_id:
        raise BadConfig(ConfigFault.NO_SWARM_KEY, message="this is the key of another swarm")
    latest = keys.charters.charter
    assert latest is not None
    name = found.charter.name_of(found.identity.peer_id) or FIRST_NAME
    identity = KeyPair.generate(world.entropy)
    change = with_replaced if any(each.name == name for each in latest.living) else with_added
    coordinators = change(latest, name, identity.public_key)
    charter = sign_charter(swarm_key, latest.revision + 1, coordinators)
    # The key first: a charter that names it without it would lock this directory out.
    if found.swarm_key is not None:
        await write_secret(disk, SWARM_KEY_NAME, swarm_key.private_key)
    await write_secret(disk, IDENTITY_NAME, identity.private_key)
    await keys.charters.take(charter.data)
    return replace(keys, identity=identity)


async def _hear_charters(world: World, keys: Keys, members: JournalMembers) -> None:
    """Learn the latest charter of cells that kept the journal: the file's may be older."""

    async def ask(cell: Endpoint) -> None:
        with suppress(AlvearyError):
            await pool.call(
                Address(cell.host, cell.port), cell.cell_id, Ping(), timeout_s=CHARTER_S
            )

    pool = pool_of(world, keys)
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.run)
        async with trio.open_nursery() as asking:
            for each in members.members:
                asking.start_soon(ask, each)
        nursery.cancel_scope.cancel()


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
