"""A query string, decoded once, for the router, the handlers and the signature alike.

Two readers of one request must see the same parameters: what is signed is what is acted on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

from common import limits
from gateway_s3 import errors
from gateway_s3.errors import S3Error

_HEX: Final = frozenset(b"0123456789abcdefABCDEF")


def decode_percent(raw: bytes) -> bytes:
    """Percent-decode once.

    Raises:
        S3Error: InvalidURI: a ``%`` that two hex digits do not follow.
    """
    if b"%" not in raw:
        return raw
    for piece in raw.split(b"%")[1:]:
        if len(piece) < 2 or piece[0] not in _HEX or piece[1] not in _HEX:
            raise S3Error(errors.INVALID_URI)
    return unquote_to_bytes(raw)


class Query:
    """The parameters of a query string in the order sent, decoded (``+`` is a space).

    Args:
        raw: the bytes after the ``?``, undecoded.

    Raises:
        S3Error: InvalidURI: bad percent-encoding or UTF-8, or too many parameters.
    """

    __slots__ = ("_names", "pairs")

    def __init__(self, raw: bytes) -> None:
        self.pairs: list[tuple[bytes, bytes]] = []
        self._names: set[bytes] = set()
        if not raw:
            return
        fields = raw.split(b"&")
        if len(fields) > limits.MAX_QUERY_PARAMETERS:
            raise S3Error(errors.INVALID_URI)
        for field in fields:
            if not field:
                continue
            raw_name, _, raw_value = field.partition(b"=")
            name = decode_percent(raw_name.replace(b"+", b" "))
            self.pairs.append((name, decode_percent(raw_value.replace(b"+", b" "))))
            self._names.add(name)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(self.pairs)

    def __contains__(self, name: str) -> bool:
        return name.encode("ascii") in self._names

    def get(self, name: str) -> str | None:
        """The value of a parameter; None without it.

        Raises:
            S3Error: InvalidArgument: given twice, or not UTF-8.
        """
        value = self.get_bytes(name)
        if value is None:
            return None
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise S3Error(
                errors.INVALID_ARGUMENT, "A parameter is not UTF-8.", ArgumentName=name
            ) from None

    def get_bytes(self, name: str) -> bytes | None:
        """The raw value of a parameter; None without it. Raises InvalidArgument: given twice."""
        wanted = name.encode("ascii")
        found = [value for key, value in self.pairs if key == wanted]
        if len(found) > 1:
            raise S3Error(
                errors.INVALID_ARGUMENT,
                "A parameter is given more than once.",
                ArgumentName=name,
            )
        return found[0] if found else None
