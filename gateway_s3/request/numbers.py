"""Numbers as clients write them: decimal digits, of any length.

A number of too many digits is still a number, only a large one. Mistaken for something else,
it would change what a request means: a range would become the whole object.

Source: RFC 9110, sections 8.6 and 14.1.1.
"""

from __future__ import annotations

from typing import Final

BEYOND: Final = 10**19
"""The value for this number and all above it: more than any size, count or time there is."""


def parse_number(text: str | bytes) -> int | None:
    """Return the number that decimal digits write.

    Args:
        text: of a client. Leading zeros mean nothing; a sign or white space is not a digit.

    Returns:
        The number, or BEYOND for all from BEYOND on; None where anything but an ASCII digit is
        there, or nothing at all.
    """
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0") if isinstance(text, str) else text.lstrip(b"0")
    return int(digits or b"0") if len(digits) < 20 else BEYOND
