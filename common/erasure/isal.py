"""ISA-L through ctypes: fast GF(2**8) matrix arithmetic, where the library is found.

It lives here and not in ``common/system`` because it is arithmetic: the library is loaded once, as
an import would load it, is given buffers and gives bytes, keeps no state, and touches nothing of
the world. It is looked for by the loader's own search (``libisal.so.2``, Debian's package) and
beside the installed ``pyeclib`` wheel, which brings a copy.

ctypes lets go of the interpreter's lock during each call.

Source: docs/decisions/0002-erasure-code.md; https://github.com/intel/isa-l, ``erasure_code.h``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from common.ports import Buffer

SYSTEM_NAMES: Final = ("libisal.so.2", "libisal.2.dylib")
TABLE_BYTES_PER_COEFFICIENT: Final = 32


class _PyBuffer(ctypes.Structure):
    """``Py_buffer`` of the stable ABI (Python 3.11)."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


_get_buffer: Final = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = (ctypes.py_object, ctypes.c_void_p, ctypes.c_int)
_get_buffer.restype = ctypes.c_int
_release_buffer: Final = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = (ctypes.c_void_p,)
_release_buffer.restype = None
_SIMPLE: Final = 0


class _Pinned:
    """Addresses of buffers, which stay put and locked until :meth:`release`.

    ctypes' own ``from_buffer`` is quick and takes writable memory only; the buffer protocol itself
    gives the address of read-only memory too. Neither copies.
    """

    __slots__ = ("_anchors", "_views")

    def __init__(self) -> None:
        self._anchors: list[ctypes.c_char] = []
        self._views: list[_PyBuffer] = []

    def writable(self, buffers: Sequence[Buffer], length: int) -> Any:
        """Like :meth:`pointers`, of memory that may be written."""
        assert not any(memoryview(each).readonly for each in buffers)
        return self.pointers(buffers, length)

    def pointers(self, buffers: Sequence[Buffer], length: int) -> Any:
        """A C array of the addresses of contiguous buffers of at least ``length`` >= 1 bytes."""
        return (ctypes.c_void_p * len(buffers))(*[self.pointer(each, length) for each in buffers])

    def pointer(self, buffer: Buffer, length: int) -> int:
        """The address of one."""
        assert len(buffer) >= length, "a buffer is shorter than a unit"
        if isinstance(buffer, bytes) or (isinstance(buffer, memoryview) and buffer.readonly):
            view = _PyBuffer()
            _get_buffer(buffer, ctypes.addressof(view), _SIMPLE)
            self._views.append(view)
            address = view.buf
        else:
            anchor = ctypes.c_char.from_buffer(buffer)
            self._anchors.append(anchor)
            address = ctypes.addressof(anchor)
        assert isinstance(address, int)
        return address

    def release(self) -> None:
        """Unlock the buffers."""
        self._anchors.clear()
        for view in self._views:  # held on to until it is released: its memory is C's meanwhile
            _release_buffer(ctypes.addressof(view))
        self._views.clear()


class Isal:
    """The few functions of ISA-L that a code needs. Safe to call from several threads."""

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer, number = ctypes.c_void_p, ctypes.c_int
        self._init_tables = library.ec_init_tables
        self._init_tables.argtypes = (number, number, pointer, pointer)
        self._init_tables.restype = None
        self._encode_data = library.ec_encode_data
        self._encode_data.argtypes = (number, number, number, pointer, pointer, pointer)
        self._encode_data.restype = None
        self._invert_matrix = library.gf_invert_matrix
        self._invert_matrix.argtypes = (pointer, pointer, number)
        self._invert_matrix.restype = number

    def tables(self, rows: Sequence[bytes]) -> bytearray:
        """Multiplication tables for a matrix, given as rows of coefficients."""
        columns = len(rows[0])
        matrix = bytearray(b"".join(rows))
        tables = bytearray(TABLE_BYTES_PER_COEFFICIENT * len(matrix))
        pinned = _Pinned()
        try:
            source, target = pinned.pointers((matrix, tables), len(matrix))
            self._init_tables(columns, len(rows), source, target)
        finally:
            pinned.release()
        return tables

    def multiply(
        self,
        tables: bytearray,
        sources: Sequence[Buffer],
        targets: Sequence[Buffer],
        length: int,
    ) -> None:
        """Multiply a matrix with a column of units: ``targets[r] = sum(m[r][c] * sources[c])``.

        Args:
            tables: of :meth:`tables`, with a row per target and a column per source.
            sources: contiguous buffers of at least ``length`` bytes.
            targets: contiguous writable buffers of at least ``length`` bytes; not sources.
            length: bytes of each unit, at least 1.
        """
        coefficients = len(sources) * len(targets)
        assert len(tables) == TABLE_BYTES_PER_COEFFICIENT * coefficients
        pinned = _Pinned()
        try:
            self._encode_data(
                length,
                len(sources),
                len(targets),
                pinned.pointer(tables, 1),
                pinned.pointers(sources, length),
                pinned.writable(targets, length),
            )
        finally:
            pinned.release()

    def invert(self, rows: Sequence[bytes]) -> list[bytes]:
        """The inverse of a square matrix that has one (every k rows of the generator do)."""
        size = len(rows)
        matrix = bytearray(b"".join(rows))
        inverse = bytearray(size * size)
        pinned = _Pinned()
        try:
            source, target = pinned.pointers((matrix, inverse), size * size)
            singular = self._invert_matrix(source, target, size)
        finally:
            pinned.release()
        assert singular == 0, "any k rows of a Reed-Solomon generator are independent"
        return [bytes(inverse[row * size : (row + 1) * size]) for row in range(size)]


def _candidates() -> Iterator[str]:
    yield from SYSTEM_NAMES
    spec = find_spec("pyeclib")
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        beside = Path(folder)
        yield from sorted(map(str, beside.with_name(beside.name + ".libs").glob("libisal*.so*")))


@lru_cache(maxsize=1)
def load_isal() -> Isal | None:
    """ISA-L, or None where no usable copy is found."""
    for candidate in _candidates():
        try:
            return Isal(ctypes.CDLL(candidate))
        except (OSError, AttributeError):  # not there, not loadable here, or without these calls
            continue
    return None
