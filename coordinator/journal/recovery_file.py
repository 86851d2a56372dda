"""The one small file with which a coordinator is recovered from its cells, and another one is made.

It holds the key of one coordinator, the secret of all, and where the journal is. A thief of it can
act as that coordinator until its key is revoked; an operator without it, and without the
coordinator's disk, has lost every object.

Source: docs/journal.md, "Recovery"; docs/charter-format.md, "Recovery files".
"""

from __future__ import annotations

import json
from dataclasses import field
from typing import Any, Final

from common import limits
from common.charter_book import FILE_NAME as CHARTER_NAME
from common.crypto.charter import Charter, read_charter, swarm_key_id_of
from common.crypto.identity import KeyPair
from common.data_classes import dataclass
from common.errors import BadConfig, Corrupt, PeerViolation, Unavailable
from common.ids import PeerId
from common.ports import Disk, Log
from common.reasons import ConfigFault
from common.state_files import read_whole, write_whole
from common.wire.messages.base import Endpoint
from common.wire.messages.journal import JournalMembers
from coordinator.secrets import (
    IDENTITY_NAME,
    SECRET_BYTES,
    SECRET_NAME,
    SWARM_KEY_NAME,
    Keys,
    write_secret,
)

RECOVERY_NAME: Final = "recovery.json"
WHAT_TO_DO: Final = (
    "keep a copy of it on another machine, secret: with it and the cells a lost coordinator is"
    " recovered (`alveary coordinator recover`); without it nothing opens what they have"
)
MISSING_RECOVERY: Final = (
    "a standby takes its key and the swarm's secret from a file that `alveary coordinator add` has"
    f" made: put it into this directory as {RECOVERY_NAME}, for its user alone (chmod 600), and"
    " start again"
)
NO_JOURNAL: Final = JournalMembers(0, 0, ())
_VERSION: Final = 2


@dataclass(frozen=True, slots=True)
class Recovery:
    """The content of a recovery file.

    ``identity``: the coordinator's own key. ``charter``: None where the coordinator's key is the
    swarm's. ``members``: who kept the journal. ``swarm_key``: None where that is kept elsewhere.
    ``is_enrolment``: it makes another coordinator, and does not bring its writer back.
    """

    identity: KeyPair = field(repr=False)
    swarm_secret: bytes = field(repr=False)
    charter: Charter | None
    members: JournalMembers
    swarm_key: KeyPair | None = field(default=None, repr=False)
    is_enrolment: bool = False


def pack_recovery(found: Recovery) -> bytes:
    """The file's content."""
    charter = found.charter
    swarm_key_id = found.identity.peer_id if charter is None else swarm_key_id_of(charter.data)
    document = {
        "version": _VERSION,
        "what": "makes an Alveary coordinator: keep it secret"
        if found.is_enrolment
        else "recovers an Alveary coordinator from its cells: keep it secret, and a copy of it",
        "coordinator_id": swarm_key_id.hex(),
        "enrols": found.is_enrolment,
        "identity_key": found.identity.private_key.hex(),
        "swarm_key": "" if found.swarm_key is None else found.swarm_key.private_key.hex(),
        "swarm_secret": found.swarm_secret.hex(),
        "charter": "" if charter is None else charter.data.hex(),
        "journal": {
            "epoch": found.members.epoch,
            "version": found.members.version,
            "cells": [
                {"cell_id": each.cell_id.hex(), "host": each.host, "port": each.port}
                for each in found.members.members
            ],
        },
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def unpack_recovery(data: bytes) -> Recovery:
    """The content of a recovery file.

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
        is_enrolment = bool(document["enrols"])
        if len(secret) != SECRET_BYTES or not (members or is_enrolment):
            raise ValueError
        # Packed and unpacked: its limits are checked.
        made = JournalMembers(int(kept["epoch"]), int(kept["version"]), members)
        swarm_key_id = PeerId(bytes.fromhex(document["coordinator_id"]))
        shown = bytes.fromhex(document["charter"])
        swarm_key = bytes.fromhex(document["swarm_key"])
        return Recovery(
            KeyPair.from_private(bytes.fromhex(document["identity_key"])),
            secret,
            read_charter(shown, swarm_key_id) if shown else None,
            JournalMembers.unpack(made.pack()),
            KeyPair.from_private(swarm_key) if swarm_key else None,
            is_enrolment,
        )
    except (ValueError, KeyError, TypeError, AssertionError, PeerViolation) as error:
        raise BadConfig(ConfigFault.BAD_RECOVERY_FILE) from error


async def enrol(disk: Disk) -> None:
    """Take the keys of a new coordinator from the recovery file in its directory, once; do nothing
    where there is no such file.

    Raises:
        BadConfig: ``bad_recovery_file``; ``not_enrolled``: the file is that of another coordinator,
            and two must not have one key.
        Unavailable: the directory cannot be written.
    """
    if await read_whole(disk, IDENTITY_NAME) is not None:
        return
    content = await read_whole(disk, RECOVERY_NAME, max_bytes=limits.MAX_STATE_FILE_BYTES)
    if content is None:
        return
    found = unpack_recovery(content)
    if not found.is_enrolment or found.charter is None:
        raise BadConfig(
            ConfigFault.NOT_ENROLLED,
            message=f"this {RECOVERY_NAME} is another coordinator's own, and each has a key of its"
            " own: `alveary coordinator add` makes the file for a new one",
        )
    await write_secret(disk, SECRET_NAME, found.swarm_secret)
    await write_whole(disk, CHARTER_NAME, found.charter.data)
    # Last of all: with it the directory is a coordinator's.
    await write_secret(disk, IDENTITY_NAME, found.identity.private_key)


async def check_founds(disk: Disk) -> None:
    """Refuse to begin a swarm in a directory that was made for something else.

    Raises:
        BadConfig: ``not_enrolled``: a recovery file lies there, and nothing was made of it.
    """
    names = await disk.names(".")
    if RECOVERY_NAME in names and IDENTITY_NAME not in names:
        raise BadConfig(
            ConfigFault.NOT_ENROLLED,
            message=f"there is a {RECOVERY_NAME}, and no coordinator yet: start a standby with"
            " --standby, or `alveary coordinator recover` a lost one",
        )


async def read_swarm_key(disk: Disk) -> KeyPair | None:
    """Return the swarm's private key, if it lies in the coordinator's directory.

    Raises:
        BadConfig: ``bad_secret_file``.
    """
    text = await read_whole(disk, SWARM_KEY_NAME)
    try:
        return None if text is None else KeyPair.from_private(bytes.fromhex(text.decode().strip()))
    except (ValueError, BadConfig) as error:
        raise BadConfig(ConfigFault.BAD_SECRET_FILE, file=SWARM_KEY_NAME) from error


async def write_recovery(disk: Disk, log: Log, keys: Keys, members: JournalMembers) -> None:
    """Bring the file in the coordinator's directory up to date, and log that it is to be copied.
    Where that fails, an older copy does for a while; it is tried again with the next start."""
    try:
        swarm_key = await read_swarm_key(disk)
        charter = keys.charters.charter
        found = Recovery(keys.identity, keys.swarm_secret, charter, members, swarm_key)
        content = pack_recovery(found)
        if await _read(disk) == content:
            return
        await write_whole(disk, RECOVERY_NAME, content)
    except (Unavailable, BadConfig) as error:
        log.error("recovery_file_not_written", file=RECOVERY_NAME, error=str(error))
    else:
        log.warning("recovery_file_changed", file=RECOVERY_NAME, what_to_do=WHAT_TO_DO)


async def _read(disk: Disk) -> bytes | None:
    try:
        return await read_whole(disk, RECOVERY_NAME)
    except Corrupt:  # it is written again
        return None
