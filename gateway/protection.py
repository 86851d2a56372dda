"""Protected objects: their bytes are encrypted once more, under a key that is not the tenant's.

The inner layer is put on before bytes are written and taken off after they were read; whatever
happens to them between, moving to another class, rebuilding, following, needs no key of it.

Source: docs/crypto.md, "Inner layer"; docs/decisions/0054-keys-of-objects.md.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import field
from functools import partial
from typing import Final

from common import limits
from common.crypto.inner_layer import InnerStream, Stretch, pack_stretches, unpack_stretches
from common.crypto.keys import DATA_NONCE_BYTES, KEY_BYTES
from common.data_classes import dataclass
from common.errors import Refused
from common.format.envelope import InnerLayer, KeyEnvelope, Kind, WrappingKey
from common.ports import Buffer, Entropy, Workers
from common.reasons import Refusal
from gateway.ingest import Receive

OPAQUE_ETAG_BYTES: Final = 16
"""The length of an ETag that says nothing of the bytes: as long as an MD5, for clients' sake."""


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """An object key and the envelope that has it."""

    envelope: KeyEnvelope
    key: bytes = field(repr=False)

    def begin(self, size: int, entropy: Entropy) -> InnerWriter:
        """Begin a stretch of so many bytes under this key."""
        return InnerWriter(self, Stretch(entropy(DATA_NONCE_BYTES), size))


def new_object_key(wrapping: WrappingKey, entropy: Entropy) -> ObjectKey:
    """Draw an object key for one write or upload, wrapped."""
    key = entropy(KEY_BYTES)
    return ObjectKey(wrapping.wrap(key, entropy), key)


def wrapped_again(key: bytes, wrapping: WrappingKey, entropy: Entropy) -> ObjectKey:
    """Wrap an object key that is at hand for a copy of its object, whose bytes stay as they are."""
    return ObjectKey(wrapping.wrap(key, entropy), key)


@dataclass(frozen=True, slots=True)
class InnerWriter:
    """Puts the inner layer on a stretch of bytes; once."""

    object_key: ObjectKey
    stretch: Stretch

    def encrypting(self, receive: Receive, workers: Workers) -> Receive:
        """Return what gives the bytes of ``receive`` encrypted."""
        stream = InnerStream(self.object_key.key, (self.stretch,), 0)

        async def encrypted() -> Buffer:
            return await _applied(stream, await receive(), workers)

        return encrypted


def layer_of(writers: Sequence[InnerWriter]) -> InnerLayer | None:
    """Return the inner layer of a version that these stretches make; None without any."""
    if not writers:
        return None
    stretches = pack_stretches([each.stretch for each in writers])
    return InnerLayer(writers[0].object_key.envelope, stretches)


def layer_of_part(writer: InnerWriter | None) -> InnerLayer | None:
    """Return the inner layer of a part; its upload has the envelope."""
    return None if writer is None else InnerLayer(None, pack_stretches([writer.stretch]))


def inner_stream(object_key: bytes, inner: InnerLayer, first: int) -> InnerStream:
    """Return what decrypts an object from a byte on."""
    return InnerStream(object_key, unpack_stretches(inner.stretches), first)


async def decrypting(
    chunks: AsyncIterator[Buffer], stream: InnerStream, workers: Workers
) -> AsyncGenerator[Buffer, None]:
    """Yield pieces of an object decrypted. To be closed; it closes ``chunks``."""
    try:
        async for chunk in chunks:
            yield await _applied(stream, chunk, workers)
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()


async def _applied(stream: InnerStream, data: Buffer, workers: Workers) -> bytes:
    if len(data) <= limits.INLINE_STRIPE_BYTES:
        return stream.apply(data)
    return await workers.run(partial(stream.apply, data))


def opaque_digest(entropy: Entropy) -> bytes:
    """Draw what stands in the place of the MD5 of a protected part."""
    return entropy(OPAQUE_ETAG_BYTES)


def opaque_etag(entropy: Entropy) -> str:
    """Draw the ETag of a protected object: its MD5 would reveal content to all who list it."""
    return opaque_digest(entropy).hex()


def unwrapped(envelope: KeyEnvelope, given: WrappingKey | None) -> bytes:
    """Return the object key of what a customer's key protects.

    Args:
        envelope: of the object; of a customer's key.
        given: that the client gives.

    Raises:
        Refused: ``object_key_missing``: none; ``wrong_object_key``: another one.
    """
    assert envelope.kind is Kind.CUSTOMER
    if given is None:
        raise Refused(Refusal.OBJECT_KEY_MISSING)
    return given.unwrap(envelope)
