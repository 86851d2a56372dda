"""Key rings: named keys are made, rotated, disabled and destroyed, and never come back."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from common import limits
from common.crypto.keys import TenantKey
from common.errors import Corrupt, NotFound, Refused
from common.format import key_ring
from common.format.envelope import KeyEnvelope
from common.format.key_ring import DESTROYED, DISABLED, EMPTY, KeyRing, open_key_ring, seal_key_ring
from common.ids import TenantId

TENANT = TenantKey(TenantId(b"T" * 16), b"k" * 32)
OTHER = TenantKey(TenantId(b"T" * 16), b"o" * 32)
NAMES = ("a", "b", "c")


def entropy(length: int) -> bytes:
    return bytes(range(length))


def one(name: str = "key") -> KeyRing:
    return key_ring.create(EMPTY, name, 5, entropy)


def test_a_ring_opens_for_its_tenant_and_revision_only() -> None:
    ring = one()
    sealed = seal_key_ring(TENANT, 3, ring, entropy)
    assert open_key_ring(TENANT, 3, sealed) == ring
    for tenant, revision, record in (
        (OTHER, 3, sealed),
        (TENANT, 2, sealed),
        (TENANT, 4, sealed),
        (TENANT, 0, sealed),
        (TENANT, 3, b""),
        (TENANT, 3, sealed[:-1]),
        (TENANT, 3, sealed + b"x"),
    ):
        with pytest.raises(Corrupt):
            open_key_ring(tenant, revision, record)
    assert open_key_ring(TENANT, 0, b"") == EMPTY


@pytest.mark.parametrize(
    "name", ["", "-a", ".a", "a/b", "a b", "ä", "a\n", "x" * 65, "arn:aws:kms", "alias/a"]
)
def test_a_name_that_no_arn_could_have_is_refused(name: str) -> None:
    with pytest.raises(Refused, match="bad_name"):
        key_ring.create(EMPTY, name, 0, entropy)
    assert key_ring.create(EMPTY, "x" * 64, 0, entropy)


@pytest.mark.parametrize(
    "change",
    [
        lambda ring: key_ring.destroy(ring, "", 0),
        lambda ring: key_ring.rotate(ring, "", 0, entropy),
        lambda ring: key_ring.set_enabled(ring, "", 0, enabled=False),
        lambda ring: key_ring.set_default(ring, ""),
    ],
)
def test_an_empty_name_changes_no_key(change: Callable[[KeyRing], KeyRing]) -> None:
    """Only who uses a key may leave it to the ring which one that is."""
    assert one().wrapping("", b"", bucket_key=False).name == "key"
    with pytest.raises(NotFound, match="no_such_named_key"):
        change(one())


def test_a_ring_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_NAMED_KEYS", 2)
    monkeypatch.setattr(limits, "MAX_KEY_VERSIONS", 2)
    ring = key_ring.rotate(key_ring.create(one(), "other", 0, entropy), "key", 0, entropy)
    for change in (
        lambda: key_ring.create(ring, "third", 0, entropy),
        lambda: key_ring.rotate(ring, "key", 0, entropy),
    ):
        with pytest.raises(Refused, match="key_ring_full"):
            change()
    monkeypatch.setattr(limits, "MAX_KEY_RING_BYTES", 200)
    with pytest.raises(Refused, match="key_ring_full"):
        seal_key_ring(TENANT, 1, ring, entropy)


def test_the_largest_ring_fits_what_operators_send() -> None:
    ring = one()
    while True:
        try:
            seal_key_ring(TENANT, 1, ring, entropy)
        except Refused:
            break
        name = f"{len(ring.keys):064}"
        if len(ring.keys) < limits.MAX_NAMED_KEYS:
            ring = key_ring.create(ring, name, 1 << 41, entropy)
        else:
            least = min(ring.keys, key=lambda each: len(each.versions))
            ring = key_ring.rotate(ring, least.name, 1 << 41, entropy)
    assert sum(len(each.versions) for each in ring.keys) > 250


def test_no_text_shows_a_key() -> None:
    assert entropy(32).hex() not in repr(one())
    assert repr(entropy(32))[2:10] not in repr(one())


class Rings(RuleBasedStateMachine):
    """Any changes, against a model: what each key wrapped, and whether that is to open."""

    def __init__(self) -> None:
        super().__init__()
        self.chance = random.Random(1)
        self.ring = EMPTY
        self.states: dict[str, int] = {}
        self.wrapped: list[tuple[str, bytes, KeyEnvelope]] = []

    @rule(name=st.sampled_from(NAMES))
    def create(self, name: str) -> None:
        if name in self.states:
            with pytest.raises(Refused, match="named_key_exists"):
                key_ring.create(self.ring, name, 0, self.chance.randbytes)
        else:
            self.ring = key_ring.create(self.ring, name, 0, self.chance.randbytes)
            self.states[name] = key_ring.ENABLED

    @rule(name=st.sampled_from(NAMES))
    def rotate(self, name: str) -> None:
        if self.states.get(name) == key_ring.ENABLED:
            self.ring = key_ring.rotate(self.ring, name, 0, self.chance.randbytes)
        else:
            with pytest.raises((NotFound, Refused)):
                key_ring.rotate(self.ring, name, 0, self.chance.randbytes)

    @rule(name=st.sampled_from(NAMES), enabled=st.booleans())
    def set_enabled(self, name: str, enabled: bool) -> None:
        if self.states.get(name, DESTROYED) == DESTROYED:
            with pytest.raises(NotFound):
                key_ring.set_enabled(self.ring, name, 0, enabled=enabled)
        else:
            self.ring = key_ring.set_enabled(self.ring, name, 0, enabled=enabled)
            self.states[name] = key_ring.ENABLED if enabled else DISABLED

    @rule(name=st.sampled_from(NAMES))
    def destroy(self, name: str) -> None:
        if self.states.get(name, DESTROYED) == DESTROYED:
            with pytest.raises(NotFound):
                key_ring.destroy(self.ring, name, 0)
        else:
            self.ring = key_ring.destroy(self.ring, name, 0)
            self.states[name] = DESTROYED

    @rule(name=st.sampled_from(NAMES))
    def wrap(self, name: str) -> None:
        if self.states.get(name) == key_ring.ENABLED:
            key = self.chance.randbytes(32)
            wrapping = self.ring.wrapping(name, b"{}", bucket_key=False)
            self.wrapped.append((name, key, wrapping.wrap(key, self.chance.randbytes)))
        else:
            with pytest.raises((NotFound, Refused)):
                self.ring.wrapping(name, b"", bucket_key=False)

    @invariant()
    def what_was_wrapped_opens_while_its_key_may_be_used(self) -> None:
        for name, key, envelope in self.wrapped:
            if self.states[name] == key_ring.ENABLED:
                assert self.ring.unwrapping(envelope).unwrap(envelope) == key
            elif self.states[name] == DISABLED:
                with pytest.raises(Refused, match="named_key_disabled"):
                    self.ring.unwrapping(envelope)
            else:
                with pytest.raises(NotFound, match="no_such_named_key"):
                    self.ring.unwrapping(envelope)

    @invariant()
    def a_destroyed_key_has_nothing_left_and_is_no_default(self) -> None:
        for each in self.ring.keys:
            assert bool(each.versions) is (each.state != DESTROYED)
        assert self.states.get(self.ring.default) != DESTROYED

    @invariant()
    def a_ring_is_read_as_it_was_written(self) -> None:
        assert KeyRing.unpack(self.ring.pack()) == self.ring


TestRings = Rings.TestCase
TestRings.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
