"""Key rings: the named keys of a tenant, sealed under the tenant key, at the coordinator.

A named key wraps object keys. Each has versions: the last one wraps, all of them unwrap, so that a
rotation moves nothing. A key that was destroyed has no version any more and keeps its name, which
no other key gets.

Source: docs/crypto.md, "Named keys"; docs/object-format.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import field, replace
from typing import Annotated, Final

from common import limits
from common.crypto.keys import KEY_BYTES, RECORD_OVERHEAD_BYTES, TenantKey
from common.data_classes import dataclass
from common.errors import NotFound, Refused
from common.format.envelope import KeyEnvelope, WrappingKey
from common.format.versioned import unpack_versioned
from common.ports import Entropy
from common.reasons import Absence, Refusal
from common.wire.records import Max, Record, Size

KEY_RING_VERSION: Final = 1
ENABLED: Final = 1
DISABLED: Final = 2
DESTROYED: Final = 3
STATES: Final = {ENABLED: "enabled", DISABLED: "disabled", DESTROYED: "destroyed"}
_PURPOSE: Final = "key-ring"
_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{limits.MAX_KEY_NAME_CHARACTERS - 1}}}")


@dataclass(frozen=True, slots=True)
class KeyVersion(Record):
    """A version of a named key. ``number``: from 1, never used again."""

    number: int
    key: Annotated[bytes, Size(KEY_BYTES)] = field(repr=False)


@dataclass(frozen=True, slots=True)
class NamedKey(Record):
    """A named key. ``state``: one of STATES; with ``versions`` unless it was destroyed, the last of
    which wraps. Times are unix milliseconds; ``changed_ms``: of its last change."""

    name: Annotated[str, Max(limits.MAX_KEY_NAME_CHARACTERS)]
    state: int
    created_ms: int
    changed_ms: int
    versions: Annotated[tuple[KeyVersion, ...], Max(limits.MAX_KEY_VERSIONS)]


@dataclass(frozen=True, slots=True)
class KeyRing(Record):
    """All named keys of a tenant, by name. ``default``: the name of the key of those who name
    none, or empty."""

    version: int
    default: Annotated[str, Max(limits.MAX_KEY_NAME_CHARACTERS)]
    keys: Annotated[tuple[NamedKey, ...], Max(limits.MAX_NAMED_KEYS)]

    def find(self, name: str) -> NamedKey:
        """Return the key of a name, in whatever state.

        Raises:
            NotFound: ``no_such_named_key``: also of an empty name, which no key has.
        """
        for each in self.keys:
            if each.name == name:
                return each
        raise NotFound(Absence.NO_SUCH_NAMED_KEY, key=name or "default")

    def usable(self, name: str) -> NamedKey:
        """Return the key of a name, which may be used; empty: the default one.

        Raises:
            NotFound: ``no_such_named_key``: also where it was destroyed.
            Refused: ``named_key_disabled``.
        """
        key = self.find(name or self.default)
        if key.state == DISABLED:
            raise Refused(Refusal.NAMED_KEY_DISABLED, key=key.name)
        if key.state != ENABLED or not key.versions:
            raise NotFound(Absence.NO_SUCH_NAMED_KEY, key=key.name)
        return key

    def wrapping(self, name: str, context: bytes, *, bucket_key: bool) -> WrappingKey:
        """Return what wraps new object keys; raises as :meth:`usable`."""
        key = self.usable(name)
        last = key.versions[-1]
        return WrappingKey(last.key, key.name, last.number, context, bucket_key)

    def unwrapping(self, envelope: KeyEnvelope) -> WrappingKey:
        """Return what unwraps an envelope of a named key; raises as :meth:`usable`."""
        return unwrapping(self.usable(envelope.name), envelope)


def unwrapping(key: NamedKey, envelope: KeyEnvelope) -> WrappingKey:
    """Return the version of a named key that wrapped an envelope.

    Raises:
        NotFound: ``no_such_named_key``: it has no such version any more.
    """
    for each in key.versions:
        if each.number == envelope.version:
            return WrappingKey(each.key, key.name, each.number, envelope.context)
    raise NotFound(Absence.NO_SUCH_NAMED_KEY, key=key.name)


EMPTY: Final = KeyRing(KEY_RING_VERSION, "", ())


def _context(revision: int) -> tuple[bytes, ...]:
    return (revision.to_bytes(8, "big"),)


def seal_key_ring(tenant: TenantKey, revision: int, ring: KeyRing, entropy: Entropy) -> bytes:
    """Seal a key ring.

    Args:
        revision: that it gets, 1 for the first.

    Raises:
        Refused: ``key_ring_full``: it is too long.
    """
    packed = ring.pack()
    if len(packed) + RECORD_OVERHEAD_BYTES > limits.MAX_KEY_RING_BYTES:
        raise Refused(Refusal.KEY_RING_FULL)
    return tenant.seal(_PURPOSE, _context(revision), packed, entropy)


def open_key_ring(tenant: TenantKey, revision: int, sealed: bytes) -> KeyRing:
    """Open a key ring; revision 0 is that of a tenant without named keys.

    Raises:
        Corrupt: ``record_not_authentic``: also as a ring of another revision; ``bad_metadata``.
    """
    if not revision and not sealed:
        return EMPTY
    opened = tenant.open(_PURPOSE, _context(revision), sealed)
    return unpack_versioned(KeyRing, KEY_RING_VERSION, "key ring", opened)


# --- changes of a ring ------------------------------------------------------------------------


def create(ring: KeyRing, name: str, now_ms: int, entropy: Entropy) -> KeyRing:
    """Add a key, which becomes the default one if there is none.

    Raises:
        Refused: ``bad_name``; ``named_key_exists``: also if it was destroyed; ``key_ring_full``.
    """
    if _NAME.fullmatch(name) is None:
        raise Refused(Refusal.BAD_NAME, name=name[:128])
    if any(each.name == name for each in ring.keys):
        raise Refused(Refusal.NAMED_KEY_EXISTS, key=name)
    if len(ring.keys) >= limits.MAX_NAMED_KEYS:
        raise Refused(Refusal.KEY_RING_FULL)
    first = KeyVersion(1, entropy(KEY_BYTES))
    keys = (*ring.keys, NamedKey(name, ENABLED, now_ms, now_ms, (first,)))
    ordered = tuple(sorted(keys, key=lambda each: each.name))
    return replace(ring, keys=ordered, default=ring.default or name)


def _changed(ring: KeyRing, name: str, change: Callable[[NamedKey], NamedKey]) -> KeyRing:
    """The ring with a key changed. Raises NotFound: there is none, or it was destroyed."""
    key = ring.find(name)
    if key.state == DESTROYED:
        raise NotFound(Absence.NO_SUCH_NAMED_KEY, key=name)
    return replace(ring, keys=tuple(change(each) if each is key else each for each in ring.keys))


def rotate(ring: KeyRing, name: str, now_ms: int, entropy: Entropy) -> KeyRing:
    """Add a version, which wraps from now on.

    Raises:
        NotFound: ``no_such_named_key``.
        Refused: ``named_key_disabled``; ``key_ring_full``: it has as many as it may have.
    """

    def change(key: NamedKey) -> NamedKey:
        if key.state == DISABLED:
            raise Refused(Refusal.NAMED_KEY_DISABLED, key=name)
        if len(key.versions) >= limits.MAX_KEY_VERSIONS:
            raise Refused(Refusal.KEY_RING_FULL)
        new = KeyVersion(key.versions[-1].number + 1, entropy(KEY_BYTES))
        return replace(key, changed_ms=now_ms, versions=(*key.versions, new))

    return _changed(ring, name, change)


def set_enabled(ring: KeyRing, name: str, now_ms: int, *, enabled: bool) -> KeyRing:
    """Let a key be used, or not until it is enabled again. Raises NotFound."""
    state = ENABLED if enabled else DISABLED
    return _changed(ring, name, lambda key: replace(key, state=state, changed_ms=now_ms))


def destroy(ring: KeyRing, name: str, now_ms: int) -> KeyRing:
    """Delete all versions of a key permanently; it stops being the default. Raises NotFound."""
    changed = _changed(
        ring, name, lambda key: replace(key, state=DESTROYED, changed_ms=now_ms, versions=())
    )
    return replace(changed, default="") if ring.default == name else changed


def set_default(ring: KeyRing, name: str) -> KeyRing:
    """Make a key the one of those who name none; raises as :meth:`KeyRing.usable`."""
    return replace(ring, default=ring.usable(ring.find(name).name).name)
