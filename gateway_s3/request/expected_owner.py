"""The owner that a client expects a bucket to have.

Source: Amazon S3 User Guide, "Verifying bucket ownership with bucket owner condition".
"""

from __future__ import annotations

import re
from typing import Final

from common.http.records import HttpRequest
from common.ids import TenantId
from gateway_s3 import errors
from gateway_s3.errors import S3Error

HEADER: Final = b"x-amz-expected-bucket-owner"
SOURCE_HEADER: Final = b"x-amz-source-expected-bucket-owner"
_ACCOUNT: Final = re.compile(rb"[0-9]{12}|[0-9a-f]{32}")
"""An account of AWS, which owns no bucket here, or the id of an owner as answers show it."""


def check_expected_owner(request: HttpRequest, owner: TenantId, header: bytes = HEADER) -> None:
    """Refuse a request whose bucket belongs to another than its client thinks.

    Args:
        owner: of the bucket.
        header: that names the expected one.

    Raises:
        S3Error: AccessDenied; InvalidBucketOwnerAWSAccountID: nobody could be called so.
    """
    for expected in request.all(header):
        if _ACCOUNT.fullmatch(expected) is None:
            raise S3Error(
                errors.INVALID_BUCKET_OWNER,
                f"{errors.INVALID_BUCKET_OWNER.message}... [{expected.decode('latin-1')[:64]}]",
            )
        if expected != owner.hex().encode("ascii"):
            raise S3Error(errors.ACCESS_DENIED)
