"""Names of the classes that clients ask for: records that are sealed beside versions.

All have one length: the size of a sealed one says nothing of the name.

Source: docs/object-format.md, "Class names".
"""

from __future__ import annotations

import re
from typing import Final

from common import limits
from common.errors import Corrupt
from common.reasons import Damage

CLASS_NAME_VERSION: Final = 1
_FILL: Final = b"\0"
_NAME: Final = re.compile(rb"[A-Z][A-Z0-9_]*")


def pack_class_name(name: str) -> bytes:
    """Return the record of a name: of capital letters, digits and underscores, up to
    CLASS_NAME_BYTES of them."""
    text = name.encode("ascii")
    assert _NAME.fullmatch(text)
    assert len(text) <= limits.CLASS_NAME_BYTES
    return bytes((CLASS_NAME_VERSION,)) + text.ljust(limits.CLASS_NAME_BYTES, _FILL)


def unpack_class_name(data: bytes) -> str:
    """Read the record of a name. Raises Corrupt ``bad_metadata``."""
    text = data[1:].rstrip(_FILL)
    is_whole = len(data) == 1 + limits.CLASS_NAME_BYTES and data[0] == CLASS_NAME_VERSION
    if not (is_whole and _NAME.fullmatch(text)):
        raise Corrupt(Damage.BAD_METADATA, what="class name")
    return text.decode("ascii")
