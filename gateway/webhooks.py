"""The receivers of events that this gateway knows: read from a directory of ``NAME.toml`` files
that its operator writes. No tenant can name any other address.

``url``: ``https`` or ``http``. ``secret``: ``whsec_`` and the base64 of 24 to 64 random bytes; what
is delivered is signed with it as the Standard Webhooks say. ``tenants``: ids of those that may name
it; all, where there is none.

Source: docs/operations.md, "Webhooks"; standardwebhooks.com, specification, "Webhook Metadata".
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import tomllib
from collections.abc import Mapping
from dataclasses import field
from typing import Final
from urllib.parse import urlsplit

import trio

from common import limits
from common.data_classes import dataclass
from common.errors import AlvearyError, BadConfig
from common.ids import TENANT_ID_BYTES, TenantId
from common.ports import Disk, Log
from common.reasons import ConfigFault

RELOAD_INTERVAL_S: Final = 1.0
_SUFFIX: Final = ".toml"
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEY_PREFIX: Final = "whsec_"
_SECRET_BYTES: Final = range(24, 65)
_URL_CHARACTERS: Final = 2048
_KEYS: Final = frozenset({"url", "secret", "tenants"})


@dataclass(frozen=True, slots=True)
class Webhook:
    """A receiver. ``tenants``: those that may name it; None: all."""

    name: str
    url: str
    secret: bytes = field(repr=False)
    tenants: frozenset[TenantId] | None = None

    def is_for(self, tenant: TenantId) -> bool:
        """Return whether a tenant may name it."""
        return self.tenants is None or tenant in self.tenants

    def headers(self, message_id: str, at_s: int, body: bytes) -> Mapping[str, str]:
        """Return the headers of a delivery.

        Args:
            message_id: the same at every try.
            at_s: of this try, unix seconds.
        """
        signed = f"{message_id}.{at_s}.".encode() + body
        mac = base64.b64encode(hmac.digest(self.secret, signed, "sha256")).decode()
        return {
            "content-type": "application/json",
            "user-agent": "Alveary",
            "webhook-id": message_id,
            "webhook-timestamp": str(at_s),
            "webhook-signature": f"v1,{mac}",
        }


def _bad(name: str, wanted: str) -> BadConfig:
    return BadConfig(ConfigFault.BAD_VALUE, key=name, wanted=wanted)


def parse_webhook(name: str, data: bytes) -> Webhook:
    """Read the file of a receiver.

    Raises:
        BadConfig: ``bad_value``, with ``key`` and what is ``wanted``.
    """
    if _NAME.fullmatch(name) is None:
        raise _bad("name", "1 to 64 letters, digits, - or _ before .toml")
    try:
        table = tomllib.loads(data.decode("utf-8"))
    except ValueError as error:
        raise _bad("file", "TOML") from error
    unknown = table.keys() - _KEYS
    if unknown:
        raise _bad(min(unknown), "url, secret or tenants")
    url = table.get("url")
    if not isinstance(url, str) or not _is_url(url):
        raise _bad("url", "an http or https URL without user name, password or fragment")
    tenants = table.get("tenants")
    return Webhook(
        name, url, _secret(table.get("secret")), None if tenants is None else _tenants(tenants)
    )


def _is_url(text: str) -> bool:
    if len(text) > _URL_CHARACTERS or not text.isascii() or not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in {"http", "https"}
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
            and "@" not in parts.netloc
            and not parts.fragment
        )
    except ValueError:
        return False


def _secret(text: object) -> bytes:
    wanted = "whsec_ and the base64 of 24 to 64 random bytes"
    if not isinstance(text, str) or not text.startswith(_KEY_PREFIX):
        raise _bad("secret", wanted)
    try:
        secret = base64.b64decode(text.removeprefix(_KEY_PREFIX), validate=True)
    except binascii.Error as error:
        raise _bad("secret", wanted) from error
    if len(secret) not in _SECRET_BYTES:
        raise _bad("secret", wanted)
    return secret


def _tenants(given: object) -> frozenset[TenantId]:
    wanted = f"a list of tenant ids, each {2 * TENANT_ID_BYTES} hex digits"
    if not isinstance(given, list):
        raise _bad("tenants", wanted)
    found = set()
    for each in given:
        try:
            raw = bytes.fromhex(each) if isinstance(each, str) else b""
        except ValueError:
            raw = b""
        if len(raw) != TENANT_ID_BYTES:
            raise _bad("tenants", wanted)
        found.add(TenantId(raw))
    return frozenset(found)


class Webhooks:
    """Receivers by name, and their directory.

    Args:
        disk: where the directory lies.
        path: the directory, relative to the disk; ``.`` is its root.
    """

    def __init__(self, disk: Disk, path: str, log: Log) -> None:
        self._disk = disk
        self._path = path
        self._log = log
        self._known: Mapping[str, Webhook] = {}
        self._read_at_s = float("-inf")
        self._reading = trio.Lock()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, name: str, tenant: TenantId) -> Webhook | None:
        """Return the receiver of this name, if there is one that the tenant may name."""
        found = self._known.get(name)
        return found if found is not None and found.is_for(tenant) else None

    async def find(self, name: str, tenant: TenantId) -> Webhook | None:
        """Return the same, and look for its file where it is not known."""
        if self.get(name, tenant) is None:
            await self.reload()
        return self.get(name, tenant)

    async def reload(self) -> None:
        """Read the directory again unless that was done within the last second.

        A file that cannot be read is logged and left out: one bad file must not stop all others.
        """
        async with self._reading:
            if trio.current_time() < self._read_at_s + RELOAD_INTERVAL_S:
                return
            self._read_at_s = trio.current_time()
            found = {}
            for file in (await self._disk.names(self._path))[: limits.MAX_WEBHOOKS]:
                if not file.endswith(_SUFFIX) or file.startswith("."):
                    continue
                name = file.removesuffix(_SUFFIX)
                try:
                    path = file if self._path == "." else f"{self._path}/{file}"
                    found[name] = parse_webhook(name, await self._read(path))
                except AlvearyError as error:
                    self._log.warning("webhook_unreadable", file=file, error=str(error))
            self._known = found

    async def _read(self, path: str) -> bytes:
        file = await self._disk.open(path)
        try:
            return await file.read(0, limits.MAX_WEBHOOK_FILE_BYTES)
        finally:
            await file.close()
