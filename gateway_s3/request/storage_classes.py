"""The header that asks for a storage class, and how a class is shown.

Source: Amazon S3 API Reference, PutObject, "x-amz-storage-class"; docs/s3-compatibility.md,
"Storage classes".
"""

from __future__ import annotations

from typing import Final

from common.http.records import Headers, HttpRequest
from gateway.class_names import ARCHIVES, CLASS_NAMES

HEADER: Final = b"x-amz-storage-class"
STANDARD: Final = "STANDARD"
"""The class of objects of which nothing was asked; also where it was asked for."""
ACCEPTED: Final = CLASS_NAMES | {STANDARD}
NOT_DONE: Final = ARCHIVES
"""Classes whose objects have to be restored before they can be read: no such thing is done here,
and clients do not try to read what is shown in one of them."""


def asked_class(request: HttpRequest) -> str:
    """Return the class name that a request asks for, whose headers were checked; empty: none, or
    STANDARD."""
    value = request.header(HEADER)
    return "" if value is None or value == STANDARD.encode() else value.decode("ascii")


def shown_class(class_name: str) -> str:
    """Return a class name as documents show it."""
    return class_name or STANDARD


def class_headers(class_name: str) -> Headers:
    """Return the header that says the class of an object; S3 says nothing of STANDARD."""
    return [(HEADER, class_name.encode("ascii"))] if class_name else []
