"""Version ids, as clients write them.

Source: Amazon S3 User Guide, "Version IDs"; docs/s3-compatibility.md, "Versions".
"""

from __future__ import annotations

from typing import Final

from common.http.records import Headers
from common.ids import VERSION_ID_BYTES, VersionId
from gateway.versions import VersionName
from gateway_s3 import errors
from gateway_s3.errors import S3Error

NULL: Final = "null"
"""The word for the version that has no id of its own."""


def version_text(version: VersionName) -> str:
    """A version's id as clients see it."""
    return NULL if version.version_id is None else version.version_id.hex()


def version_headers(version: VersionName | None, header: bytes = b"x-amz-version-id") -> Headers:
    """The header that names a version; none where the bucket never had versions."""
    return [] if version is None else [(header, version_text(version).encode("ascii"))]


def parse_version_id(text: str, argument: str) -> VersionName:
    """Read the version that a client names.

    Args:
        argument: the parameter or header that names it.

    Raises:
        S3Error: InvalidArgument: no version could have this id.
    """
    if text == NULL:
        return VersionName(None)
    if not text:
        raise S3Error(
            errors.INVALID_ARGUMENT,
            "Version id cannot be the empty string",
            ArgumentName=argument,
            ArgumentValue="",
        )
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != VERSION_ID_BYTES or raw.hex() != text:
        raise S3Error(
            errors.INVALID_ARGUMENT,
            "Invalid version id specified",
            ArgumentName=argument,
            ArgumentValue=text[:1024],
        )
    return VersionName(VersionId(raw))
