"""SigV4 in headers, as lean as it can be: what a fast client would spend.

Source: AWS, "Create a signed AWS API request".
"""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass, field
from typing import Final

UNSIGNED: Final = "UNSIGNED-PAYLOAD"
EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


@dataclass(slots=True)
class Signer:
    """Signs requests of one access key for one endpoint.

    ``host``: the Host header, with its port.
    """

    host: str
    region: str
    access_key: str
    secret_key: str
    _day: str = ""
    _key: bytes = field(default=b"", repr=False)

    def head(self, method: str, path: str, length: int, payload_sha256: str) -> bytes:
        """The request line and all headers, signed, with the empty line that ends them.

        Args:
            path: already percent-encoded; no query.
            length: of the body, bytes.
            payload_sha256: 64 hex digits, or ``UNSIGNED-PAYLOAD``.
        """
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        day = stamp[:8]
        if day != self._day:
            key = _hmac(b"AWS4" + self.secret_key.encode(), day)
            for part in (self.region, "s3", "aws4_request"):
                key = _hmac(key, part)
            self._day, self._key = day, key
        signed = "host;x-amz-content-sha256;x-amz-date"
        canonical = (
            f"{method}\n{path}\n\nhost:{self.host}\nx-amz-content-sha256:{payload_sha256}\n"
            f"x-amz-date:{stamp}\n\n{signed}\n{payload_sha256}"
        )
        scope = f"{day}/{self.region}/s3/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
        signature = hmac.new(self._key, text.encode(), "sha256").hexdigest()
        return (
            f"{method} {path} HTTP/1.1\r\nhost: {self.host}\r\ncontent-length: {length}\r\n"
            f"x-amz-content-sha256: {payload_sha256}\r\nx-amz-date: {stamp}\r\n"
            f"authorization: AWS4-HMAC-SHA256 Credential={self.access_key}/{scope}, "
            f"SignedHeaders={signed}, Signature={signature}\r\n\r\n"
        ).encode()
