"""Tags: which ones a bucket or an object may have, and the header that gives some.

Source: Amazon S3 User Guide, "Categorizing your objects using tags"; API Reference, PutObject,
PutObjectTagging, PutBucketTagging.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Final

from common import limits
from common.format.configurations import CONFIGURATION_VERSION, Tag, Tags
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.request.query import decode_percent

HEADER: Final = b"x-amz-tagging"
_MARKS: Final = frozenset("+-=._:/@")
_MALFORMED: Final = (
    "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters "
    "without tag name duplicates."
)


def object_tags(pairs: Sequence[tuple[str, str]]) -> Tags:
    """Return tags that an object may have.

    Raises:
        S3Error: BadRequest: more than ten; InvalidTag.
    """
    if len(pairs) > limits.MAX_OBJECT_TAGS:
        raise S3Error(
            errors.BAD_REQUEST,
            f"Object tags cannot be greater than {limits.MAX_OBJECT_TAGS}",
        )
    return _checked(pairs)


def bucket_tags(pairs: Sequence[tuple[str, str]]) -> Tags:
    """Return tags that a bucket may have.

    Raises:
        S3Error: BadRequest: more than fifty; InvalidTag.
    """
    if len(pairs) > limits.MAX_BUCKET_TAGS:
        raise S3Error(
            errors.BAD_REQUEST,
            f"Bucket tag count cannot be greater than {limits.MAX_BUCKET_TAGS}",
        )
    return _checked(pairs)


def parse_tagging_header(value: bytes) -> Tags:
    """Read the value of ``x-amz-tagging``: a query string of keys and values.

    Raises:
        S3Error: InvalidArgument: it cannot be read, or a key comes twice; and as
            :func:`object_tags`.
    """
    pairs: list[tuple[str, str]] = []
    seen: set[str] = set()
    for piece in value.split(b"&"):
        if not piece:
            continue
        raw_key, _, raw_value = piece.partition(b"=")
        key, text = _decoded(raw_key), _decoded(raw_value)
        if key is None or text is None or not key or key in seen:
            raise S3Error(
                errors.INVALID_ARGUMENT,
                _MALFORMED,
                ArgumentName=HEADER.decode("ascii"),
                ArgumentValue=value.decode("latin-1")[:255],
            )
        seen.add(key)
        pairs.append((key, text))
    return object_tags(pairs)


def _decoded(raw: bytes) -> str | None:
    try:
        return decode_percent(raw.replace(b"+", b" ")).decode("utf-8")
    except (S3Error, UnicodeDecodeError):
        return None


def _checked(pairs: Sequence[tuple[str, str]]) -> Tags:
    seen: set[str] = set()
    for key, value in pairs:
        if not 1 <= _units(key) <= limits.MAX_TAG_KEY_UNITS or not _is_plain(key):
            raise _invalid("The TagKey you have provided is invalid", TagKey=key)
        if _units(value) > limits.MAX_TAG_VALUE_UNITS or not _is_plain(value):
            raise _invalid("The TagValue you have provided is invalid", TagKey=key, TagValue=value)
        if key[:4].lower() == "aws:":
            raise _invalid("System tags cannot be added/updated by requester", TagKey=key)
        if key in seen:
            raise _invalid("Cannot provide multiple Tags with the same key", TagKey=key)
        seen.add(key)
    return Tags(CONFIGURATION_VERSION, tuple([Tag(key, value) for key, value in pairs]))


def _invalid(message: str, **facts: str) -> S3Error:
    return S3Error(
        errors.INVALID_TAG, message, **{name: fact[:512] for name, fact in facts.items()}
    )


def _units(text: str) -> int:
    """The length in units of UTF-16, which is what S3 counts."""
    return len(text) + sum(character > "\uffff" for character in text)


def _is_plain(text: str) -> bool:
    """Return whether all characters are letters, numbers, spaces or one of ``+ - = . _ : / @``."""
    return all(each in _MARKS or unicodedata.category(each)[0] in "LNZ" for each in text)
