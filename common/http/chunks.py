"""The chunked transfer coding, decoded strictly.

Sans-I/O: :meth:`ChunkedDecoder.feed` takes bytes as they come and gives the body's bytes. A line
that does not end in CRLF, an odd size, a chunk without its closing CRLF: all refused, since a lax
end of a chunk is where another parser may see a second request (CVE-2025-43859).

Source: RFC 9112, section 7.1.
"""

from __future__ import annotations

from typing import Final

from common import limits
from common.errors import Refused
from common.reasons import Refusal

_HEX: Final = frozenset(b"0123456789abcdefABCDEF")

_SIZE, _DATA, _CRLF, _TRAILER, _DONE = range(5)


def _bad(what: str) -> Refused:
    return Refused(Refusal.BAD_CHUNK, what=what)


class ChunkedDecoder:
    """One body in chunks. Trailer fields are checked for shape and dropped."""

    def __init__(self) -> None:
        self._state = _SIZE
        self._line = bytearray()
        self._left = 0
        self._trailer_bytes = 0

    @property
    def done(self) -> bool:
        """Return whether the last chunk and its trailer have been seen."""
        return self._state == _DONE

    def feed(self, data: memoryview) -> tuple[list[memoryview], int]:
        """Decode the next bytes.

        Args:
            data: what came; its views are handed on, so it must not be written to afterwards.

        Returns:
            The pieces of the body, none empty, and how many bytes of ``data`` belong to the body
            (less than all only when :attr:`done`: the rest is the next request).

        Raises:
            Refused: ``bad_chunk``. The connection is of no use any more.
        """
        pieces: list[memoryview] = []
        at = 0
        end = len(data)
        while at < end and self._state != _DONE:
            if self._state == _DATA:
                taken = min(self._left, end - at)
                pieces.append(data[at : at + taken])
                at += taken
                self._left -= taken
                if not self._left:
                    self._state = _CRLF
                continue
            line, at = self._take_line(data, at)
            if line is not None:
                self._on_line(line)
        return pieces, at

    def _take_line(self, data: memoryview, at: int) -> tuple[bytes | None, int]:
        """The line without its CRLF once it is whole, and the place after what was taken."""
        room = limits.MAX_HTTP_CHUNK_LINE_BYTES - len(self._line)
        window = bytes(data[at : at + room])
        newline = window.find(b"\n")
        if newline < 0:
            if len(window) == room:
                raise _bad("line too long")
            self._line += window
            return None, at + len(window)
        self._line += window[: newline + 1]
        line = bytes(self._line)
        self._line.clear()
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise _bad("line end")
        return line[:-2], at + newline + 1

    def _on_line(self, line: bytes) -> None:
        if self._state == _CRLF:
            if line:
                raise _bad("no end of chunk")
            self._state = _SIZE
        elif self._state == _SIZE:
            digits = line.partition(b";")[0].rstrip(b" \t")
            if not 0 < len(digits) <= 15 or not _HEX.issuperset(digits) or b"\x00" in line:
                raise _bad("size")
            self._left = int(digits, 16)
            self._state = _DATA if self._left else _TRAILER
        else:
            self._trailer_bytes += len(line) + 2
            if self._trailer_bytes > limits.MAX_HTTP_TRAILER_BYTES:
                raise _bad("trailer too long")
            if not line:
                self._state = _DONE
            elif line[:1] in b" \t" or b":" not in line or b"\x00" in line:
                raise _bad("trailer")
