"""A client whose objects are under named keys, which its tenant's operator rotates, disables,
enables and destroys.

Nobody else changes these keys. What is under a key that works is read; what is under one that is
disabled or destroyed is not, from a second after that was acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import httpx
import trio

from common.data_classes import dataclass
from common.format import key_ring
from common.format.key_ring import DESTROYED, DISABLED, ENABLED, KeyRing
from sim.checkers.settings import Setting
from sim.history import Value
from sim.operator import TenantOperator
from sim.workloads import DEFAULT_MIX, REFUSED, VALUE_HEADER, Mix
from sim.workloads_parts import PartsWorkload

KEYS_MIX: Final = Mix(
    {**DEFAULT_MIX.weights, "key_put": 14, "key_read": 20, "key_copy": 4, "key_change": 8}
)
"""With operations under named keys beside those on the bucket that all clients share."""
SIZES: Final = (100, 4096, 70_000, 300_000)
RING_AGE_S: Final = 1.0
"""A gateway goes by the named keys for so long (docs/crypto.md)."""
MOST_OBJECTS: Final = 20
MOST_KEYS: Final = 8
WAYS: Final = ("rotate", "rotate", "disable", "enable", "enable", "destroy", "create")
"""In which a key is changed."""
ANSWERS: Final = {
    ENABLED: "",
    DISABLED: "KMS.DisabledException",
    DESTROYED: "KMS.NotFoundException",
}
"""The code of the error for each state of a key."""
_HEADER: Final = "x-amz-server-side-encryption"


@dataclass(slots=True)
class ProtectedObject:
    """An object that was acknowledged, under a name that is written once."""

    value: Value
    key: str


class KeysWorkload(PartsWorkload):
    """All operations of :class:`sim.workloads_parts.PartsWorkload`, and those under named keys."""

    def prepare(self, own_bucket: str, operator: TenantOperator) -> None:
        """Name the client's own bucket."""
        self._own_bucket = own_bucket
        self._operator = operator
        self._numbers = 0
        self._protected: dict[str, ProtectedObject] = {}
        self._states: dict[str, Setting[int]] = {}

    async def make_own_bucket(self) -> None:
        """Create the client's own bucket, and two keys (setup: no faults yet)."""
        answer = await self._client.request("PUT", f"/{self._own_bucket}")
        assert answer.status_code == 200, answer.text
        for name in ("key-0", "key-1"):
            assert await self._change(name, None, self._created(name))

    def _created(self, name: str) -> Callable[[KeyRing], KeyRing]:
        return lambda ring: key_ring.create(ring, name, 0, self._operator.entropy)

    async def _change(
        self, name: str, state: int | None, change: Callable[[KeyRing], KeyRing]
    ) -> bool:
        """Change a key; whether that was acknowledged. ``state``: that it gets; None: as it is."""
        if state is not None:
            self._states[name].asked(state)
        ring = await self._operator.change_ring(change)
        for each in ring.keys if ring is not None else ():
            # Revisions are in one order: nothing that is under way can follow this one.
            if each.name in self._states:
                self._states[each.name].settled(each.state)
            else:
                self._states[each.name] = Setting(each.state, RING_AGE_S)
        return ring is not None

    async def _key_change(self, _: str) -> None:
        """Change a key in one way or another."""
        await self._carry_out(self._chance.choice(WAYS), self._chance.choice(list(self._states)))

    async def _carry_out(self, way: str, name: str) -> None:
        if way == "create" and len(self._states) < MOST_KEYS:
            name = f"key-{len(self._states)}"
            await self._change(name, None, partial(_made_once, name, self._created(name)))
        elif self._states[name].possible(trio.current_time()) == {DESTROYED}:
            return
        elif way == "destroy":
            await self._change(name, DESTROYED, partial(_destroyed, name))
        elif way == "rotate":
            await self._change(name, None, partial(_rotated, name, self._operator))
        elif way in {"disable", "enable"}:
            is_enabled = way == "enable"
            state = ENABLED if is_enabled else DISABLED
            await self._change(name, state, partial(_switched, name, is_enabled))

    def _accuse(self, key: str, what: str) -> None:
        self._history.wrong_bytes.append(f"named key of {self._own_bucket}/{key!r}: {what}")

    def _may_answer(self, name: str, began_s: float, answer: httpx.Response) -> bool:
        """Return whether a key has, or had a moment ago, a state in which this is answered."""
        states = self._states[name].possible(began_s)
        self._history.count(f"named key answered {answer.status_code}")
        wanted = {ANSWERS[state] for state in states}
        if answer.status_code == 200:
            return ENABLED in states
        return any(code and f"<Code>{code}</Code>" in answer.text for code in wanted)

    async def _key_put(self, _: str) -> None:
        if len(self._protected) >= MOST_OBJECTS:
            await self._key_read("")
            return
        self._numbers += 1
        key, name = f"protected {self._numbers}", self._chance.choice(list(self._states))
        value = self._history.new_value(self._chance.choice(SIZES), f"{self._own_bucket}/{key}")
        headers = {
            VALUE_HEADER: value.name,
            _HEADER: "aws:kms",
            f"{_HEADER}-aws-kms-key-id": name,
        }
        await self._write(key, name, value, value.content(), headers)

    async def _write(
        self, key: str, name: str, value: Value, body: bytes, headers: dict[str, str]
    ) -> None:
        began_s = trio.current_time()
        answer = await self._ask_of(self._own_bucket, "PUT", key, None, body, headers)
        if answer is None or answer.status_code == REFUSED:
            return
        if not self._may_answer(name, began_s, answer):
            self._accuse(key, f"a write under {name} answers {answer.status_code}")
        elif answer.status_code == 200:
            self._protected[key] = ProtectedObject(value, name)

    async def _key_copy(self, _: str) -> None:
        """Copy an object to another name, under another key, while both keys certainly work."""
        now_s = trio.current_time()
        working = [n for n, state in self._states.items() if state.possible(now_s) == {ENABLED}]
        sources = [key for key, each in self._protected.items() if each.key in working]
        if not sources or len(self._protected) >= MOST_OBJECTS:
            return
        source, name = self._chance.choice(sources), self._chance.choice(working)
        self._numbers += 1
        key, value = f"protected {self._numbers}", self._protected[source].value
        self._history.names.allow(f"{self._own_bucket}/{key}", value.name)
        headers = {
            "x-amz-copy-source": f"{self._own_bucket}/{source}".replace(" ", "%20"),
            _HEADER: "aws:kms",
            f"{_HEADER}-aws-kms-key-id": name,
        }
        await self._write(key, name, value, b"", headers)

    async def _key_read(self, _: str) -> None:
        if self._protected:
            await self._read_protected(self._chance.choice(list(self._protected)))

    async def _read_protected(self, key: str) -> bool:
        """Read an object; whether there was an answer."""
        known, began_s = self._protected[key], trio.current_time()
        answer = await self._ask_of(self._own_bucket, "GET", key)
        if answer is None:
            return False
        if answer.status_code == REFUSED:
            return True
        if not self._may_answer(known.key, began_s, answer):
            states = self._states[known.key].possible(began_s)
            self._accuse(key, f"answers {answer.status_code} while {known.key} is {states}")
        elif answer.status_code == 200 and answer.content != known.value.content():
            self._accuse(key, "is not read as it was written")
        return True

    async def read_own(self) -> list[str]:
        """Read every object, when all is healed: first enable the keys that can be."""
        for name in list(self._states):
            await self._carry_out("enable", name)
        silent = [key for key in self._protected if not await self._read_protected(key)]
        return [f"{self._own_bucket}/{key!r}" for key in silent]


def _state_in(ring: KeyRing, name: str) -> int | None:
    return next((each.state for each in ring.keys if each.name == name), None)


def _made_once(name: str, create: Callable[[KeyRing], KeyRing], ring: KeyRing) -> KeyRing:
    return ring if _state_in(ring, name) is not None else create(ring)


def _destroyed(name: str, ring: KeyRing) -> KeyRing:
    return ring if _state_in(ring, name) == DESTROYED else key_ring.destroy(ring, name, 0)


def _rotated(name: str, operator: TenantOperator, ring: KeyRing) -> KeyRing:
    if _state_in(ring, name) != ENABLED or len(ring.find(name).versions) > 5:
        return ring
    return key_ring.rotate(ring, name, 0, operator.entropy)


def _switched(name: str, is_enabled: bool, ring: KeyRing) -> KeyRing:
    if _state_in(ring, name) == DESTROYED:
        return ring
    return key_ring.set_enabled(ring, name, 0, enabled=is_enabled)
