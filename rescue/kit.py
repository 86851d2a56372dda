"""Rescue kits: small files with which a tenant's objects are read from the cells alone.

A kit can read and cannot write: it has no key of a coordinator.

Source: docs/rescue.md, "The kit".
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from common import limits
from common.crypto.identity import PRIVATE_KEY_BYTES, PUBLIC_KEY_BYTES, KeyPair
from common.crypto.journal import READ_KEY_BYTES, JournalKey, JournalReader
from common.crypto.keys import TenantKey
from common.crypto.rescue import PASS_BYTES, issue_pass, pass_holds
from common.data_classes import dataclass
from common.errors import BadConfig, PeerViolation
from common.ids import PEER_ID_BYTES, PeerId, TenantId
from common.ports import Address, Entropy
from common.reasons import ConfigFault
from common.wire.messages.base import Endpoint

_VERSION: Final = 1
_SEALING: Final = "scrypt n=131072 r=8 p=1, AES-256-GCM"
_SCRYPT_N: Final = 1 << 17
"""128 MiB of memory and a third of a second for each guess of a passphrase."""
_SALT_BYTES: Final = 24
_NONCE: Final = bytes(12)
"""The key is used once: its salt is new each time."""
_CONTEXT: Final = b"alveary rescue kit v1"


@dataclass(frozen=True, slots=True)
class Kit:
    """All that a rescue needs beside the cells.

    ``coordinator_id``: of the swarm's key, which signed the pass. ``cells``: where to look for the
    journal, those that keep it first. ``tenants``: keys by the names of their tenants. ``moved``:
    by the first digits of the ids of cells, where they are now, whatever else is known of them.
    """

    identity: KeyPair
    coordinator_id: PeerId
    rescue_pass: bytes = field(repr=False)
    reader: JournalReader = field(repr=False)
    cells: tuple[Endpoint, ...]
    tenants: Mapping[str, TenantKey]
    moved: Mapping[str, Address] = field(default_factory=dict)

    def where_now(self, cell: Endpoint) -> Endpoint:
        """Return a cell with the address that it has now."""
        for digits, address in self.moved.items():
            if cell.cell_id.hex().startswith(digits):
                return Endpoint(cell.cell_id, address.host, address.port)
        return cell


def make_kit(
    swarm_key: KeyPair,
    swarm_secret: bytes,
    cells: Sequence[Endpoint],
    tenants: Mapping[str, TenantKey],
    entropy: Entropy,
) -> Kit:
    """Make a kit with a key of its own.

    Args:
        swarm_key: the swarm's, which cells pin.
        swarm_secret: of the coordinators; what the kit gets of it reads the journal, no more.
        cells: those that keep the journal first.
        tenants: whose objects the kit opens.
    """
    identity = KeyPair.generate(entropy)
    return Kit(
        identity,
        swarm_key.peer_id,
        issue_pass(swarm_key, identity.peer_id),
        JournalKey(swarm_secret).reader,
        tuple(cells[: limits.MOST_KIT_CELLS]),
        dict(tenants),
    )


def pack_kit(kit: Kit) -> bytes:
    """Return the content of a kit's file, in the clear."""
    document = {
        "version": _VERSION,
        "what": "reads these tenants' objects from an Alveary swarm's cells: keep it secret, and"
        " away from the swarm (alveary rescue restore)",
        "coordinator_id": kit.coordinator_id.hex(),
        "rescue_key": kit.identity.private_key.hex(),
        "rescue_pass": kit.rescue_pass.hex(),
        "journal_key": kit.reader.read_key.hex(),
        "journal_author": kit.reader.author.hex(),
        "cells": [
            {"cell_id": each.cell_id.hex(), "host": each.host, "port": each.port}
            for each in kit.cells
        ],
        "tenants": [
            {"name": name, "tenant_id": each.tenant_id.hex(), "key": each.key.hex()}
            for name, each in kit.tenants.items()
        ],
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def seal_kit(content: bytes, passphrase: bytes, entropy: Entropy) -> bytes:
    """Return the content of a kit's file, sealed: without the passphrase it opens nothing."""
    salt = entropy(_SALT_BYTES)
    sealed = AESGCM(_stretched(passphrase, salt)).encrypt(_NONCE, content, _CONTEXT)
    document = {
        "version": _VERSION,
        "what": "a sealed rescue kit of an Alveary swarm (alveary rescue restore)",
        "sealing": _SEALING,
        "salt": salt.hex(),
        "sealed": base64.b64encode(sealed).decode("ascii"),
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def _stretched(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=_SCRYPT_N, r=8, p=1).derive(passphrase)


def is_sealed(data: bytes) -> bool:
    """Return whether a file's content is a sealed kit. Raises BadConfig ``bad_rescue_kit``."""
    return "sealed" in _document(data)


def open_kit(data: bytes, passphrase: bytes) -> bytes:
    """Return the content of a sealed kit in the clear.

    Raises:
        BadConfig: ``bad_rescue_kit``; ``wrong_passphrase``: or the file was changed.
    """
    document = _document(data)
    try:
        if document["sealing"] != _SEALING:
            raise BadConfig(ConfigFault.BAD_RESCUE_KIT, sealing=str(document["sealing"]))
        salt = bytes.fromhex(document["salt"])
        sealed = base64.b64decode(document["sealed"], validate=True)
    except (KeyError, TypeError, ValueError) as error:
        raise BadConfig(ConfigFault.BAD_RESCUE_KIT) from error
    try:
        return AESGCM(_stretched(passphrase, salt)).decrypt(_NONCE, sealed, _CONTEXT)
    except InvalidTag as error:
        raise BadConfig(ConfigFault.WRONG_PASSPHRASE) from error


def unpack_kit(data: bytes) -> Kit:
    """Read the content of a kit's file, in the clear.

    Raises:
        BadConfig: ``bad_rescue_kit``.
    """
    document = _document(data)
    try:
        if document["version"] != _VERSION:
            raise BadConfig(ConfigFault.BAD_RESCUE_KIT, version=str(document["version"]))
        identity = KeyPair.from_private(_hex(document["rescue_key"], PRIVATE_KEY_BYTES))
        coordinator_id = PeerId(_hex(document["coordinator_id"], PEER_ID_BYTES))
        rescue_pass = _hex(document["rescue_pass"], PASS_BYTES)
        if not pass_holds(rescue_pass, coordinator_id=coordinator_id, holder=identity.peer_id):
            raise BadConfig(ConfigFault.BAD_RESCUE_KIT, what="rescue_pass")
        return Kit(
            identity,
            coordinator_id,
            rescue_pass,
            JournalReader(
                _hex(document["journal_key"], READ_KEY_BYTES),
                _hex(document["journal_author"], PUBLIC_KEY_BYTES),
            ),
            tuple(_cell(each) for each in document["cells"][: limits.MOST_KIT_CELLS]),
            {str(each["name"]): _tenant(each) for each in document["tenants"]},
        )
    except (KeyError, TypeError, ValueError, OverflowError, PeerViolation) as error:
        raise BadConfig(ConfigFault.BAD_RESCUE_KIT) from error


def _document(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadConfig(ConfigFault.BAD_RESCUE_KIT) from error
    if not isinstance(document, dict):
        raise BadConfig(ConfigFault.BAD_RESCUE_KIT)
    return document


def _hex(text: str, length: int) -> bytes:
    data = bytes.fromhex(text)
    if len(data) != length:
        raise ValueError(text)
    return data


def _cell(row: Any) -> Endpoint:
    cell_id = PeerId(_hex(row["cell_id"], PEER_ID_BYTES))
    made = Endpoint(cell_id, str(row["host"]), int(row["port"]))
    return Endpoint.unpack(made.pack())  # its limits are checked


def _tenant(row: Any) -> TenantKey:
    return TenantKey(TenantId(bytes.fromhex(row["tenant_id"])), bytes.fromhex(row["key"]))
