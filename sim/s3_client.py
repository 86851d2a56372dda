"""A small S3 client for simulated runs: SigV4 over httpx, no retries of its own.

It is not a judge of signatures (real clients are, in tests/e2e): it drives the gateway.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from urllib.parse import quote, urlencode

import httpx

from common.data_classes import dataclass
from common.ports import WallClock


@dataclass(frozen=True, slots=True)
class SimCredentials:
    """The credentials that a tenant signs with."""

    access_key: str
    secret_key: str
    region: str = "us-east-1"


class S3Client:
    """Signed requests to one gateway.

    Args:
        http: an httpx client over the simulated network.
        endpoint: ``host:port`` of the gateway.
        credentials: None: nothing is signed.
        clock: the client's wall clock.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        endpoint: str,
        credentials: SimCredentials | None,
        clock: WallClock,
    ) -> None:
        self._http = http
        self._endpoint = endpoint
        self._credentials = credentials
        self._clock = clock

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send one request, signed by who has credentials; the answer is read whole.

        Args:
            path: decoded, starting with ``/``.

        Raises:
            httpx.TransportError: the outcome is unknown.
        """
        raw_path = quote(path, safe="/-_.~")
        raw_query = urlencode(sorted((query or {}).items()), quote_via=quote, safe="-_.~")
        if self._credentials is None:
            signed = dict(headers or {})
        else:
            payload_hash = hashlib.sha256(body).hexdigest()
            signed = self.sign(method, raw_path, raw_query, payload_hash, headers)
        url = f"http://{self._endpoint}{raw_path}" + (f"?{raw_query}" if raw_query else "")
        return await self._http.request(method, url, content=body, headers=signed)

    def sign(
        self,
        method: str,
        raw_path: str,
        raw_query: str,
        payload_hash: str,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """The headers of a request, with its signature; path and query as they are sent."""
        moment = time.gmtime(self._clock.now())
        stamp, date = time.strftime("%Y%m%dT%H%M%SZ", moment), time.strftime("%Y%m%d", moment)
        own = self._credentials
        assert own is not None
        signed = {
            **{name.lower(): value for name, value in (headers or {}).items()},
            "host": self._endpoint,
            "x-amz-date": stamp,
            "x-amz-content-sha256": payload_hash,
        }
        names = ";".join(sorted(signed))
        canonical = "\n".join(
            [
                method,
                raw_path,
                raw_query,
                *(f"{name}:{signed[name].strip()}" for name in sorted(signed)),
                "",
                names,
                payload_hash,
            ]
        )
        scope = f"{date}/{own.region}/s3/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
        key = f"AWS4{own.secret_key}".encode()
        for part in (date, own.region, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        signed["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={own.access_key}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return signed
