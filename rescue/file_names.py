"""Names of objects as paths of files, and back.

Any bytes make an object's name; a path that is made of one never leaves its directory, and gives
the name back. An escape is ``%`` and two lower-case hex digits; ``%`` and another sign mark what
has no sign of its own.

Source: docs/rescue.md, "Names of files".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from common import limits

EMPTY: Final = "%_"
"""Of a component, that it is empty; behind the last one, that it is the beginning of others."""
GOES_ON: Final = "%+"
"""Behind a component, that the next one continues it."""
VERSION: Final = "%v"
"""Before the id of a version that is not the current one."""
_PLAIN_ASCII: Final = frozenset(chr(code) for code in range(0x20, 0x7F)) - {"%", "/"}
_EMPTY_AT_END: Final = re.compile(rf"(?:{EMPTY})+\Z")
_ESCAPE: Final = re.compile(rb"%([0-9a-f]{2})")


def _tokens(component: bytes, *, folds: bool) -> Iterator[str]:
    """The signs of a component, escaped where they must be."""
    if component in {b".", b".."}:
        yield from ("%2e" for _ in component)
        return
    for sign in component.decode("utf-8", "surrogateescape"):
        if sign in _PLAIN_ASCII:
            yield f"%{ord(sign):02x}" if folds and sign.isupper() else sign
        elif ord(sign) < 0xA0 or folds or 0xD800 <= ord(sign) < 0xE000:
            # Control signs, bytes that are not UTF-8, and what a file system may take for another.
            encoded = sign.encode("utf-8", "surrogateescape")
            yield "".join(f"%{byte:02x}" for byte in encoded)
        else:
            yield sign


def _pieces(component: bytes, *, folds: bool) -> list[str]:
    """A component as one or, where it is long, several components of a path."""
    if not component:
        return [EMPTY]
    pieces: list[str] = []
    piece, length = "", 0
    for token in _tokens(component, folds=folds):
        size = len(token.encode())
        if length + size > limits.MOST_RESTORED_NAME_BYTES:
            pieces.append(piece + GOES_ON)
            piece, length = "", 0
        piece += token
        length += size
    return [*pieces, piece]


def path_of(
    name: bytes, *, begins_others: bool = False, version: str = "", folds: bool = False
) -> str:
    """Return the path of an object's file, relative, with ``/``.

    Args:
        name: of the object, 1 byte or more.
        begins_others: there are objects whose name is this one, ``/`` and more, so that its path is
            a directory.
        version: the id of a version that is not the current one; hex digits.
        folds: the file system takes upper and lower case for the same, or changes the form of text.
    """
    pieces = [piece for each in name.split(b"/") for piece in _pieces(each, folds=folds)]
    if version:
        pieces[-1] += VERSION + version
    elif begins_others:
        pieces[-1] += EMPTY
    return "/".join(pieces)


def name_of(path: str) -> tuple[bytes, str]:
    """Return the name of the object that a path was made of, and its version's id or ""."""
    *directories, last = path.split("/")
    last, _, version = last.partition(VERSION)
    components: list[str] = [""]
    for piece in [*directories, last]:
        if piece.endswith(GOES_ON):
            components[-1] += piece.removesuffix(GOES_ON)
            continue
        components[-1] += _EMPTY_AT_END.sub("", piece)
        components.append("")
    escaped = "/".join(components[:-1]).encode("utf-8")
    name = _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), escaped)
    return name, version
