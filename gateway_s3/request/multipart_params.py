"""Upload ids and part numbers, as clients write them.

Source: Amazon S3 API Reference, CreateMultipartUpload, UploadPart.
"""

from __future__ import annotations

from common import limits
from common.ids import VERSION_ID_BYTES, VersionId
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.request.numbers import parse_number


def upload_id_text(upload_id: bytes) -> str:
    """An upload id as clients see it."""
    return upload_id.hex()


def parse_upload_id(text: str | None) -> VersionId:
    """The upload id that a client names.

    Raises:
        S3Error: NoSuchUpload: none of ours.
    """
    try:
        raw = bytes.fromhex(text or "")
    except ValueError:
        raw = b""
    if len(raw) != VERSION_ID_BYTES or raw.hex() != text:
        raise S3Error(errors.NO_SUCH_UPLOAD, UploadId=(text or "")[:128])
    return VersionId(raw)


def parse_part_number(text: str | None) -> int:
    """The part number that a client names.

    Raises:
        S3Error: InvalidArgument.
    """
    digits = text or ""
    number = parse_number(digits) or 0
    if not 1 <= number <= limits.MAX_PARTS:
        raise S3Error(
            errors.INVALID_ARGUMENT,
            "Part number must be an integer between 1 and 10000, inclusive",
            ArgumentName="partNumber",
            ArgumentValue=digits[:32],
        )
    return number
