"""Header values that are not ASCII: read however they are sent, and sent as encoded words.

HTTP says nothing of how such a value is encoded, and many clients cannot read an answer that has
one. S3 takes raw values and RFC 2047's encoded words, and answers with encoded words.

Source: RFC 2047; Amazon S3 User Guide, "Working with object metadata"; RFC 9110, section 5.5.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from common.data_classes import dataclass

_WORD: Final = re.compile(
    # charset, perhaps with a language (RFC 2231), encoding, text; white space or an end around it
    r"(?<![^ \t])=\?([A-Za-z0-9._-]{1,32})(?:\*[A-Za-z0-9-]{0,32})?\?([bBqQ])\?([!->@-~]*)\?="
    r"(?![^ \t])"
)
_CHARSET: Final = re.compile(r"utf-?8|us-ascii|iso-8859-[0-9]{1,2}|windows-125[0-8]")
"""Charsets that are read. Others are left as sent: a codec's name from a client can be anything."""
_ESCAPE: Final = re.compile(rb"=([0-9A-Fa-f]{2})")
_WORD_BYTES: Final = 45
"""Bytes of text in one word: 60 characters in base64 and 12 around them, of the 75 that a word may
have (RFC 2047, section 2)."""


@dataclass(slots=True)
class _Run:
    """Neighbouring words of one charset. Their bytes are joined before they are decoded, because
    some encoders split a character."""

    start: int
    end: int
    charset: str
    content: bytes

    def decoded(self) -> str | None:
        """The text; None if the bytes are not of the charset."""
        try:
            return self.content.decode(self.charset)
        except (UnicodeDecodeError, LookupError):
            return None


def plain_utf8(value: bytes) -> bytes:
    """Return a raw header value as UTF-8: as it is, or from Latin-1 where it is not UTF-8."""
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1").encode("utf-8")
    return value


def decode_words(value: bytes) -> bytes:
    """Return a header value as UTF-8, with its encoded words decoded.

    Args:
        value: as sent. What looks like an encoded word and cannot be decoded stays as it is.
    """
    if b"=?" not in value:
        return plain_utf8(value)
    text = plain_utf8(value).decode("utf-8")
    pieces: list[str] = []
    end = 0
    for run in _runs(text):
        decoded = run.decoded()
        if decoded is None:
            continue
        between = text[end : run.start]
        # White space between two encoded words belongs to neither (RFC 2047, section 6.2).
        if not pieces or between.strip(" \t"):
            pieces.append(between)
        pieces.append(decoded)
        end = run.end
    pieces.append(text[end:])
    return "".join(pieces).encode("utf-8")


def encode_words(value: bytes) -> bytes:
    """Return a kept value as a header may carry it: itself in ASCII, else as encoded words.

    Args:
        value: UTF-8.
    """
    if value.isascii():
        return value
    words: list[bytes] = []
    start = 0
    while start < len(value):
        end = min(start + _WORD_BYTES, len(value))
        while end < len(value) and value[end] & 0xC0 == 0x80:  # never within a character
            end -= 1
        words.append(b"=?UTF-8?B?" + base64.b64encode(value[start:end]) + b"?=")
        start = end
    return b" ".join(words)


def encode_metadata(value: bytes) -> bytes:
    """Return a value of user metadata as :func:`decode_words` reads it back: also ASCII that looks
    like an encoded word becomes one.

    Args:
        value: UTF-8.
    """
    if b"=?" in value and value.isascii() and decode_words(value) != value:
        return b"=?UTF-8?B?" + base64.b64encode(value) + b"?="
    return encode_words(value)


def _runs(text: str) -> list[_Run]:
    runs: list[_Run] = []
    for match in _WORD.finditer(text):
        content = _word_bytes(match)
        if content is None:
            continue
        charset = match[1].lower()
        last = runs[-1] if runs else None
        if (
            last is not None
            and last.charset == charset
            and not text[last.end : match.start()].strip(" \t")
        ):
            last.end = match.end()
            last.content += content
        else:
            runs.append(_Run(match.start(), match.end(), charset, content))
    return runs


def _word_bytes(match: re.Match[str]) -> bytes | None:
    """The bytes that a word stands for; None where it is none after all."""
    if _CHARSET.fullmatch(match[1].lower()) is None:
        return None
    content = match[3].encode("ascii")
    if match[2] in "qQ":
        return _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), content.replace(b"_", b" "))
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error:
        return None
