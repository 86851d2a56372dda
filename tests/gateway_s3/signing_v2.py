"""Signature Version 2 as botocore makes it, at a time and with an expiry that the test says."""

from __future__ import annotations

from email.utils import formatdate
from urllib.parse import urlsplit

from botocore.auth import HmacV1Auth, HmacV1QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from gateway_rig import Rig
from object_rig import SECRET

HOST = "s3.test"


class _Query(HmacV1QueryAuth):
    """botocore's signer of URLs, with the expiry said by the test."""

    at = 0

    def _get_date(self) -> str:
        return str(self.at)


class _Header(HmacV1Auth):
    """botocore's signer of headers, with the time said by the test."""

    at = 0.0

    def _get_date(self) -> str:
        return formatdate(self.at, usegmt=True)


def url(
    rig: Rig,
    method: str = "GET",
    path: str = "/bucket/key",
    query: str = "",
    headers: dict[str, str] | None = None,
    *,
    expires_s: int = 3600,
    access_key: str = "AK",
    secret: str = SECRET,
    auth_path: str | None = None,
) -> str:
    """The query of a presigned URL. Headers that botocore moves to it are in it."""
    whole = f"http://{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, whole, headers or {}, auth_path=auth_path)
    signer = _Query(Credentials(access_key, secret))
    signer.at = int(rig.node.world.clock.now()) + expires_s
    signer.add_auth(request)
    return urlsplit(request.url).query


def signed(
    rig: Rig,
    method: str,
    path: str,
    query: str = "",
    headers: dict[str, str] | None = None,
    *,
    skew_s: float = 0.0,
    access_key: str = "AK",
    secret: str = SECRET,
) -> dict[str, str]:
    """The headers of a signed request."""
    whole = f"http://{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, whole, headers or {})
    signer = _Header(Credentials(access_key, secret))
    signer.at = rig.node.world.clock.now() + skew_s
    signer.add_auth(request)
    return {"host": HOST} | {name.lower(): value for name, value in request.headers.items()}
