"""The one small file with which a coordinator is recovered from its cells.

It holds the secrets of the swarm's coordinators, and where the journal is. A thief of it can act as
the coordinator; an operator without it, and without the coordinator's disk, has lost every object.

Source: docs/journal.md, "Recovery".
"""

from __future__ import annotations

import json
from typing import Any, Final

from common.crypto.identity import KeyPair
from common.errors import BadConfig, Corrupt, PeerViolation, Unavailable
from common.ids import PeerId
from common.ports import Disk, Log
from common.reasons import ConfigFault
from common.state_files import read_whole, write_whole
from common.wire.messages.base import Endpoint
from common.wire.messages.journal import JournalMembers
from coordinator.secrets import SECRET_BYTES, Keys

RECOVERY_NAME: Final = "recovery.json"
WHAT_TO_DO: Final = (
    "keep a copy of it on another machine, secret: with it and the cells a lost coordinator is"
    " recovered (`alveary coordinator recover`); without it nothing opens what they have"
)
_VERSION: Final = 1


def pack_recovery(keys: Keys, members: JournalMembers) -> bytes:
    """The file's content."""
    document = {
        "version": _VERSION,
        "what": "recovers an Alveary coordinator from its cells: keep it secret, and a copy of it",
        "coordinator_id": keys.identity.peer_id.hex(),
        "identity_key": keys.identity.private_key.hex(),
        "swarm_secret": keys.swarm_secret.hex(),
        "journal": {
            "epoch": members.epoch,
            "version": members.version,
            "cells": [
                {"cell_id": each.cell_id.hex(), "host": each.host, "port": each.port}
                for each in members.members
            ],
        },
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def unpack_recovery(data: bytes) -> tuple[KeyPair, bytes, JournalMembers]:
    """The coordinators' key, the swarm's secret, and who kept the journal.

    Raises:
        BadConfig: ``bad_recovery_file``.
    """
    try:
        document: Any = json.loads(data)
        if document["version"] != _VERSION:
            raise BadConfig(ConfigFault.BAD_RECOVERY_FILE, version=document["version"])
        kept = document["journal"]
        members = tuple(
            Endpoint(PeerId(bytes.fromhex(each["cell_id"])), str(each["host"]), int(each["port"]))
            for each in kept["cells"]
        )
        secret = bytes.fromhex(document["swarm_secret"])
        identity = KeyPair.from_private(bytes.fromhex(document["identity_key"]))
        if len(secret) != SECRET_BYTES or not members:
            raise ValueError
        # Packed and unpacked: its limits are checked.
        made = JournalMembers(int(kept["epoch"]), int(kept["version"]), members)
        return identity, secret, JournalMembers.unpack(made.pack())
    except (ValueError, KeyError, TypeError, AssertionError, PeerViolation) as error:
        raise BadConfig(ConfigFault.BAD_RECOVERY_FILE) from error


async def write_recovery(disk: Disk, log: Log, keys: Keys, members: JournalMembers) -> None:
    """Bring the file in the coordinator's directory up to date, and log that it is to be copied.
    Where that fails, an older copy does for a while; it is tried again with the next start."""
    content = pack_recovery(keys, members)
    try:
        if await _read(disk) == content:
            return
        await write_whole(disk, RECOVERY_NAME, content)
    except Unavailable as error:
        log.error("recovery_file_not_written", file=RECOVERY_NAME, error=str(error))
    else:
        log.warning("recovery_file_changed", file=RECOVERY_NAME, what_to_do=WHAT_TO_DO)


async def _read(disk: Disk) -> bytes | None:
    try:
        return await read_whole(disk, RECOVERY_NAME)
    except Corrupt:  # it is written again
        return None
