"""The tenants whose keys this gateway holds: read from a directory of ``NAME.json`` files.

``{"name": ..., "tenant_id": 32 hex digits, "key": 64 hex digits}``; written by
``alveary tenant create``. A tenant whose file was added later is found without a restart.

Source: docs/operations.md, "Several machines".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import trio

from common import limits
from common.crypto.keys import TenantKey
from common.errors import AlvearyError, BadConfig
from common.ids import TENANT_ID_BYTES, TenantId
from common.ports import Disk, Log
from common.reasons import ConfigFault

RELOAD_INTERVAL_S: Final = 1.0
_SUFFIX: Final = ".json"


def parse_tenant(data: bytes) -> TenantKey:
    """Read a tenant key file.

    Raises:
        BadConfig: ``bad_tenant_key``.
    """
    try:
        content = json.loads(data)
        tenant_id, key = bytes.fromhex(content["tenant_id"]), bytes.fromhex(content["key"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadConfig(ConfigFault.BAD_TENANT_KEY) from error
    if len(tenant_id) != TENANT_ID_BYTES or len(key) != 32:
        raise BadConfig(ConfigFault.BAD_TENANT_KEY)
    return TenantKey(tenant_id=TenantId(tenant_id), key=key)


class Tenants:
    """Tenant keys by tenant id, and their directory.

    Args:
        disk: where the directory lies.
        path: the directory, relative to the disk; ``.`` is its root.
    """

    def __init__(self, disk: Disk, path: str, log: Log) -> None:
        self._disk = disk
        self._path = path
        self._prefix = "" if path == "." else f"{path}/"
        self._log = log
        self._keys: dict[TenantId, TenantKey] = {}
        self._read_at_s = float("-inf")
        self._reading = trio.Lock()

    @property
    def keys(self) -> Mapping[TenantId, TenantKey]:
        """The keys known now; the same view shows what :meth:`reload` finds."""
        return MappingProxyType(self._keys)

    async def reload(self) -> bool:
        """Read the directory again unless that was done within the last second.

        A file that cannot be read is logged and left out: one bad file must not stop all tenants.

        Returns:
            Whether a tenant was found that was not known.
        """
        async with self._reading:
            if trio.current_time() < self._read_at_s + RELOAD_INTERVAL_S:
                return False
            self._read_at_s = trio.current_time()
            before = len(self._keys)
            for name in (await self._disk.names(self._path))[: limits.MAX_TENANT_FILES]:
                if not name.endswith(_SUFFIX) or name.startswith("."):
                    continue
                try:
                    path = name if self._path == "." else f"{self._path}/{name}"
                    tenant = await self._read(path)
                except AlvearyError as error:
                    self._log.warning("tenant_key_unreadable", file=name, reason=error.reason)
                    continue
                self._keys[tenant.tenant_id] = tenant
            return len(self._keys) > before

    async def _read(self, path: str) -> TenantKey:
        file = await self._disk.open(path)
        try:
            return parse_tenant(await file.read(0, limits.MAX_TENANT_FILE_BYTES))
        finally:
            await file.close()
