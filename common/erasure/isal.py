"""ISA-L through ctypes: fast GF(2**8) matrix arithmetic, where the library is found.

It lives here and not in ``common/host`` because it is arithmetic: the library is loaded once, as
an import would load it, is given buffers and gives bytes, keeps no state, and touches nothing of
the world. It is looked for by the loader's own search (``libisal.so.2``, Debian's package) and
beside the installed ``pyeclib`` wheel, which brings a copy.

ctypes lets go of the interpreter's lock during each call.

Source: docs/decisions/0002-erasure-code.md; https://github.com/intel/isa-l, ``erasure_code.h``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
_get_buffer.argtypes = (ctypes.py_object, ctypes.POINTER(_PyBuffer), ctypes.c_int)
_get_buffer.restype = ctypes.c_int
_release_buffer: Final = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = (ctypes.POINTER(_PyBuffer),)
_release_buffer.restype = None
_READ_ONLY: Final = 0
_WRITABLE: Final = 1


@contextmanager
def _pointers(buffers: Sequence[Buffer], length: int, flags: int) -> Iterator[Any]:
    """A C array of the buffers' addresses, which stay put (and the buffers locked) meanwhile.

    The buffer protocol gives the address of read-only memory too, which ctypes' own
    ``from_buffer`` refuses; so nothing is copied.
    """
    views = (_PyBuffer * len(buffers))()
    held = 0
    try:
        for buffer, view in zip(buffers, views, strict=True):
            _get_buffer(buffer, ctypes.byref(view), flags)
            held += 1
            assert view.len >= length, "a buffer is shorter than a unit"
        yield (ctypes.c_void_p * len(buffers))(*(view.buf for view in views))
    finally:
        for view in views[:held]:
            _release_buffer(ctypes.byref(view))


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
        out = bytearray(TABLE_BYTES_PER_COEFFICIENT * columns * len(rows))
        with _pointers([b"".join(rows)], columns * len(rows), _READ_ONLY) as matrix:
            with _pointers([out], len(out), _WRITABLE) as target:
                self._init_tables(columns, len(rows), matrix[0], target[0])
        return out

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
        with (
            _pointers([tables], len(tables), _READ_ONLY) as table,
            _pointers(sources, length, _READ_ONLY) as inputs,
            _pointers(targets, length, _WRITABLE) as outputs,
        ):
            self._encode_data(length, len(sources), len(targets), table[0], inputs, outputs)

    def invert(self, rows: Sequence[bytes]) -> list[bytes]:
        """The inverse of a square matrix that has one (every k rows of the generator do)."""
        size = len(rows)
        matrix = bytearray(b"".join(rows))
        out = bytearray(size * size)
        with _pointers([matrix, out], size * size, _WRITABLE) as both:
            singular = self._invert_matrix(both[0], both[1], size)
        assert singular == 0, "any k rows of a Reed-Solomon generator are independent"
        return [bytes(out[row * size : (row + 1) * size]) for row in range(size)]


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
