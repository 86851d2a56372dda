"""Sealed records, inside others or by themselves, each with the version of its format in its first
field.

Source: docs/object-format.md.
"""

from __future__ import annotations

from typing import Protocol, Self, TypeVar

from common.errors import Corrupt, PeerViolation
from common.ports import Buffer
from common.reasons import Damage


class Versioned(Protocol):
    """A record with a version of its format."""

    @property
    def version(self) -> int:
        """The version of the format that it was written in."""

    @classmethod
    def unpack(cls, data: Buffer) -> Self:
        """Read such a record. Raises PeerViolation."""


V = TypeVar("V", bound=Versioned)


def unpack_versioned(record: type[V], understood: int, what: str, data: bytes) -> V:
    """Read a record of the version that is understood.

    Args:
        what: names the record in the error.

    Raises:
        Corrupt: ``bad_metadata``: authentic bytes that this version cannot read.
    """
    try:
        unpacked = record.unpack(data)
    except PeerViolation as error:
        raise Corrupt(Damage.BAD_METADATA, what=what) from error
    if unpacked.version != understood:
        raise Corrupt(Damage.BAD_METADATA, what=what, version=unpacked.version)
    return unpacked


def unpack_opened(record: type[V], understood: int, plaintext: bytes) -> V:
    """Read a record that was sealed by itself, of the version that is understood.

    Raises:
        Corrupt: ``record_not_understood``.
    """
    try:
        unpacked = record.unpack(plaintext)
    except PeerViolation as error:
        raise Corrupt(Damage.RECORD_NOT_UNDERSTOOD, record=record.__name__) from error
    if unpacked.version != understood:
        raise Corrupt(
            Damage.RECORD_NOT_UNDERSTOOD, record=record.__name__, version=unpacked.version
        )
    return unpacked
