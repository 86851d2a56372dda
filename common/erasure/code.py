"""The erasure code: k data units to n units, any k of which give all back.

zfec is the format: its bytes are what lies on cells. ISA-L computes the same bytes several times
faster when it is given zfec's own generator matrix, because both use the field GF(2**8) with
polynomial 0x11d. Slots 0..k-1 hold the data units themselves, k..n-1 the parity units.

Source: docs/decisions/0002-erasure-code.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, Protocol

import zfec

from common import limits
from common.erasure.isal import Isal, load_isal
from common.ports import Buffer

_PROBE_BYTES: Final = 211
"""Uneven on purpose: the vector loops and their tails both have their part in it."""


class Code(Protocol):
    """A code with its parameters. Calls are pure, let go of the interpreter's lock, and may run
    in several threads at once. Too few or too short units are our bug: the caller counts."""

    @property
    def k(self) -> int:
        """Data units per stripe."""

    @property
    def n(self) -> int:
        """All units per stripe."""

    def encode(self, sealed: memoryview, unit_bytes: int) -> list[memoryview]:
        """The n-k parity units of ``k * unit_bytes`` sealed bytes."""

    def decode(self, units: Mapping[int, Buffer], unit_bytes: int, out: memoryview) -> None:
        """Put the k data units into ``out``, of ``k * unit_bytes``.

        Args:
            units: by slot, at least k of them. Only k are used, data units first.
            unit_bytes: at least 1.
            out: overlaps no unit.
        """

    def rebuild(
        self, units: Mapping[int, Buffer], unit_bytes: int, wanted: Sequence[int]
    ) -> list[bytearray]:
        """The units of the wanted slots, data or parity, from any k units of others."""


def _chosen(units: Mapping[int, Buffer], k: int, unit_bytes: int) -> tuple[int, ...]:
    """The k slots to use, ascending: data units cost least."""
    chosen = tuple(sorted(units)[:k])
    assert len(chosen) == k, f"{len(chosen)} units where {k} are needed"
    assert all(len(units[slot]) == unit_bytes for slot in chosen), "units of another length"
    return chosen


def _data_units(sealed: memoryview, k: int, unit_bytes: int) -> tuple[memoryview, ...]:
    assert len(sealed) == k * unit_bytes
    return tuple(sealed[at : at + unit_bytes] for at in range(0, len(sealed), unit_bytes))


class ZfecCode:
    """zfec itself: the reference, and the way where ISA-L is not."""

    def __init__(self, k: int, n: int) -> None:
        assert 1 <= k <= n <= limits.MAX_SLOTS
        self.k: Final = k
        self.n: Final = n
        self._encoder = zfec.Encoder(k, n)  # type: ignore[attr-defined]  # it has no types
        self._decoder = zfec.Decoder(k, n)  # type: ignore[attr-defined]  # as above

    def encode(self, sealed: memoryview, unit_bytes: int) -> list[memoryview]:
        parity = tuple(range(self.k, self.n))
        if not parity:
            return []
        data = _data_units(sealed, self.k, unit_bytes)
        return [memoryview(unit) for unit in self._encoder.encode(data, parity)]

    def _data(self, units: Mapping[int, Buffer], unit_bytes: int) -> Sequence[Buffer]:
        chosen = _chosen(units, self.k, unit_bytes)
        data: Sequence[Buffer] = self._decoder.decode(tuple(units[slot] for slot in chosen), chosen)
        return data

    def decode(self, units: Mapping[int, Buffer], unit_bytes: int, out: memoryview) -> None:
        assert len(out) == self.k * unit_bytes
        for slot, unit in enumerate(self._data(units, unit_bytes)):
            out[slot * unit_bytes : (slot + 1) * unit_bytes] = unit

    def rebuild(
        self, units: Mapping[int, Buffer], unit_bytes: int, wanted: Sequence[int]
    ) -> list[bytearray]:
        data = tuple(self._data(units, unit_bytes))
        return [bytearray(unit) for unit in self._encoder.encode(data, tuple(wanted))]

    def generator(self) -> list[bytes]:
        """The n rows of k coefficients that this code is."""
        # Data unit i is the i-th unit vector, so byte i of parity unit p is coefficient (p, i).
        identity = bytearray(self.k * self.k)
        for slot in range(self.k):
            identity[slot * self.k + slot] = 1
        whole = memoryview(bytes(identity))
        return [
            bytes(row) for row in (*_data_units(whole, self.k, self.k), *self.encode(whole, self.k))
        ]


class IsalCode:
    """ISA-L with zfec's matrix: the same bytes, faster."""

    def __init__(self, isal: Isal, k: int, n: int, generator: Sequence[bytes]) -> None:
        assert len(generator) == n
        self.k: Final = k
        self.n: Final = n
        self._isal = isal
        self._generator = tuple(generator)
        self._parity_tables = isal.tables(generator[k:]) if n > k else bytearray()
        self._plan = lru_cache(maxsize=limits.MAX_DECODE_PLANS)(self._make_plan)

    def _make_plan(self, chosen: tuple[int, ...], wanted: tuple[int, ...]) -> bytearray:
        """Tables that give the wanted units from the chosen ones: the wanted rows of the generator
        times the inverse of the chosen rows."""
        inverse = self._isal.invert([self._generator[slot] for slot in chosen])
        rows = [bytearray(self.k) for _ in wanted]
        tables = self._isal.tables([self._generator[slot] for slot in wanted])
        self._isal.multiply(tables, inverse, rows, self.k)
        return self._isal.tables([bytes(row) for row in rows])

    def encode(self, sealed: memoryview, unit_bytes: int) -> list[memoryview]:
        if self.n == self.k:
            return []
        data = _data_units(sealed, self.k, unit_bytes)
        whole = memoryview(bytearray((self.n - self.k) * unit_bytes))
        parity = [whole[at : at + unit_bytes] for at in range(0, len(whole), unit_bytes)]
        self._isal.multiply(self._parity_tables, data, parity, unit_bytes)
        return parity

    def _compute(
        self,
        units: Mapping[int, Buffer],
        unit_bytes: int,
        wanted: tuple[int, ...],
        targets: Sequence[Buffer],
    ) -> None:
        if wanted:
            chosen = _chosen(units, self.k, unit_bytes)
            sources = [units[slot] for slot in chosen]
            self._isal.multiply(self._plan(chosen, wanted), sources, targets, unit_bytes)

    def decode(self, units: Mapping[int, Buffer], unit_bytes: int, out: memoryview) -> None:
        assert len(out) == self.k * unit_bytes
        data = [out[slot * unit_bytes : (slot + 1) * unit_bytes] for slot in range(self.k)]
        missing = tuple(slot for slot in range(self.k) if slot not in units)
        for slot, target in enumerate(data):
            if slot in units:
                target[:] = units[slot]
        self._compute(units, unit_bytes, missing, [data[slot] for slot in missing])

    def rebuild(
        self, units: Mapping[int, Buffer], unit_bytes: int, wanted: Sequence[int]
    ) -> list[bytearray]:
        rebuilt = [bytearray(unit_bytes) for _ in wanted]
        self._compute(units, unit_bytes, tuple(wanted), rebuilt)
        return rebuilt


def isal_code(isal: Isal, k: int, n: int) -> Code | None:
    """The code on ISA-L, or None if this copy of it does not give zfec's bytes here."""
    reference = ZfecCode(k, n)
    fast = IsalCode(isal, k, n, reference.generator())
    probe = memoryview(bytes((7 * at + at // 256) % 256 for at in range(k * _PROBE_BYTES)))
    if fast.encode(probe, _PROBE_BYTES) != reference.encode(probe, _PROBE_BYTES):
        return None
    return fast


@lru_cache(maxsize=64)
def make_code(k: int, n: int) -> Code:
    """The code of a redundancy class, the fastest that gives the format's bytes.

    Args:
        k: data units, 1 <= k <= n.
        n: all units, at most MAX_SLOTS.
    """
    isal = load_isal()
    fast = None if isal is None else isal_code(isal, k, n)
    return ZfecCode(k, n) if fast is None else fast
