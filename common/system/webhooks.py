"""HTTP to the receivers of events, with httpx.

Certificates are checked against those that the machine trusts (``SSL_CERT_FILE`` names others).
Proxies that environment variables name are not used, and no redirect is followed: an operator
configured just this address.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping

import httpx

from common import limits
from common.errors import Unavailable
from common.reasons import Outage


class HttpxSender:
    """See :class:`common.ports.WebhookSender`."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                verify=ssl.create_default_context(),
                trust_env=False,
                follow_redirects=False,
                timeout=limits.WEBHOOK_TIMEOUT_S,
                limits=httpx.Limits(
                    max_connections=4 * limits.WEBHOOK_DELIVERIES,
                    max_keepalive_connections=limits.WEBHOOK_DELIVERIES,
                ),
            )
        return self._client

    async def close(self) -> None:
        """Close its connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """See :class:`common.ports.WebhookSender`."""
        try:
            async with self._opened().stream(
                "POST", url, headers=dict(headers), content=body
            ) as answer:
                length = answer.headers.get("content-length", "")
                if length.isdecimal() and int(length) <= limits.MAX_WEBHOOK_ANSWER_BYTES:
                    async for _ in answer.aiter_raw():
                        pass
                # Of any other answer nothing is read, and its connection is closed.
                return answer.status_code
        except httpx.ConnectError as error:
            raise Unavailable(Outage.CONNECT_FAILED, error=str(error)) from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise Unavailable(Outage.CONNECTION_LOST, error=repr(error)) from error
