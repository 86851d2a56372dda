"""Envelopes: the key of an object's inner layer, wrapped under a key that is not the tenant's.

An envelope is the one thing between the tenant key, which opens the manifest that the envelope
lies in, and the object's bytes. It names the key that opens it by a commitment, so that another key
and damage are two errors, and reveals nothing of it that trying all keys would not.

Source: docs/crypto.md, "Inner layer".
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import Annotated, Final

from common import limits
from common.crypto.inner_layer import STRETCH_BYTES
from common.crypto.keys import (
    KEY_BYTES,
    RECORD_OVERHEAD_BYTES,
    is_sealed_under,
    open_under,
    seal_under,
    wrapping_purpose_key,
)
from common.data_classes import dataclass
from common.errors import Refused
from common.ports import Entropy
from common.reasons import Refusal
from common.wire.records import Max, Record, Size

WRAPPED_BYTES: Final = RECORD_OVERHEAD_BYTES + KEY_BYTES
_PURPOSE: Final = "object-key"


class Kind(Enum):
    """Kinds of wrapping keys, with the words by which their purpose keys differ."""

    CUSTOMER = "customer"
    NAMED = "named"


@dataclass(frozen=True, slots=True)
class KeyEnvelope(Record):
    """An object key, wrapped. ``name``: of the named key that wraps it, or empty: it is a
    customer's. ``version``: of the named key, from 1; 0 of a customer's. ``context``: what a client
    said that the key is used for, authenticated. ``bucket_key``: what a client asked for beside a
    named key, to be answered."""

    name: Annotated[str, Max(limits.MAX_KEY_NAME_CHARACTERS)]
    version: int
    context: Annotated[bytes, Max(limits.MAX_ENCRYPTION_CONTEXT_BYTES)]
    bucket_key: bool
    wrapped: Annotated[bytes, Size(WRAPPED_BYTES)] = field(repr=False)

    @property
    def kind(self) -> Kind:
        """The kind of key that opens it."""
        return Kind.NAMED if self.name else Kind.CUSTOMER


@dataclass(frozen=True, slots=True)
class InnerLayer(Record):
    """The inner layer of a version or part. ``envelope``: None of a part, whose upload has it.
    ``stretches``: packed; their lengths add up to the size."""

    envelope: KeyEnvelope | None
    stretches: Annotated[bytes, Max(STRETCH_BYTES * limits.MAX_STRETCHES)]


def _context(name: str, version: int, context: bytes) -> tuple[bytes, ...]:
    return (name.encode(), version.to_bytes(8, "big"), context)


@dataclass(frozen=True, slots=True)
class WrappingKey:
    """A key that wraps object keys: a customer's (no name), or a version of a named key. The other
    fields are those of the envelopes it makes."""

    key: bytes = field(repr=False)
    name: str = ""
    version: int = 0
    context: bytes = b""
    bucket_key: bool = False

    @property
    def kind(self) -> Kind:
        """Its kind."""
        return Kind.NAMED if self.name else Kind.CUSTOMER

    def _purpose_key(self) -> bytes:
        return wrapping_purpose_key(self.key, self.kind.value)

    def wrap(self, object_key: bytes, entropy: Entropy) -> KeyEnvelope:
        """Wrap an object key.

        Args:
            object_key: 32 random bytes.
        """
        assert len(object_key) == KEY_BYTES
        context = _context(self.name, self.version, self.context)
        wrapped = seal_under(self._purpose_key(), _PURPOSE, context, object_key, entropy)
        return KeyEnvelope(self.name, self.version, self.context, self.bucket_key, wrapped)

    def fits(self, envelope: KeyEnvelope) -> bool:
        """Return whether an envelope names this very key as its own."""
        return ((self.name, self.version) == (envelope.name, envelope.version)) and is_sealed_under(
            self._purpose_key(), envelope.wrapped
        )

    def unwrap(self, envelope: KeyEnvelope) -> bytes:
        """Return the object key of an envelope.

        Raises:
            Refused: ``wrong_object_key``: another key wrapped it.
            Corrupt: ``record_not_authentic``: this key did, and it was changed since.
        """
        if not self.fits(envelope):
            raise Refused(Refusal.WRONG_OBJECT_KEY)
        context = _context(envelope.name, envelope.version, envelope.context)
        return open_under(self._purpose_key(), _PURPOSE, context, envelope.wrapped)
