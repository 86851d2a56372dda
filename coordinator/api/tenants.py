"""Operations on tenants and their access keys.

Source: docs/operations.md, "Operator access".
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final

from common import limits
from common.crypto.identity import PUBLIC_KEY_BYTES, is_sound_key
from common.errors import Refused
from common.ports import Log, Store, WallClock
from common.reasons import Refusal
from coordinator.api.routes import ApiRoute, Field, Json
from coordinator.store import key_rings, tenants

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ACCESS_KEY: Final = re.compile(r"[A-Za-z0-9._-]{3,128}")


class TenantOperations:
    """Makes and removes tenants, and stores their sealed access keys."""

    def __init__(self, store: Store, clock: WallClock, log: Log) -> None:
        self._store = store
        self._clock = clock
        self._log = log

    def routes(self) -> tuple[ApiRoute, ...]:
        """Return the table of these operations."""
        return (
            ApiRoute("GET", "/v1/tenants", "All tenants.", self._list_tenants, {}),
            ApiRoute(
                "POST",
                "/v1/tenants",
                "Make a tenant; its key stays with its gateways.",
                self._create_tenant,
                {
                    "name": Field("string", "letters, digits, dots, dashes"),
                    "tenant_id": Field("string", "32 hex digits"),
                    "proof_key": Field("string", "public key of the tenant's proofs, in hex"),
                },
                201,
            ),
            ApiRoute(
                "DELETE",
                "/v1/tenants/{name}",
                "Remove a tenant that owns no bucket: its key is good for nothing any more.",
                self._remove_tenant,
                {},
                204,
            ),
            ApiRoute(
                "GET", "/v1/tenants/{name}/keys", "A tenant's access keys.", self._list_keys, {}
            ),
            ApiRoute(
                "POST",
                "/v1/tenants/{name}/keys",
                "Store an access key, sealed under the tenant key.",
                self._add_key,
                {
                    "access_key_id": Field("string", "what clients name"),
                    "sealed": Field("string", "the sealed record, in base64"),
                },
                201,
            ),
            ApiRoute(
                "DELETE",
                "/v1/tenants/{name}/keys/{access_key_id}",
                "Revoke an access key; gateways forget it within seconds.",
                self._revoke_key,
                {},
                204,
            ),
            ApiRoute(
                "GET", "/v1/tenants/{name}/key-ring", "A tenant's named keys.", self._get_ring, {}
            ),
            ApiRoute(
                "PUT",
                "/v1/tenants/{name}/key-ring",
                "Replace a tenant's named keys, sealed under the tenant key.",
                self._put_ring,
                {
                    "revision": Field("integer", "one more than that of those which are replaced"),
                    "sealed": Field("string", "the sealed record, in base64"),
                },
            ),
            ApiRoute(
                "GET",
                "/v1/tenants/{name}/roster",
                "A tenant's roster, sealed under the tenant key; of revision 0: it has none.",
                self._get_roster,
                {},
            ),
            ApiRoute(
                "PUT",
                "/v1/tenants/{name}/roster",
                "Replace a tenant's roster; gateways learn of it within seconds.",
                self._set_roster,
                {
                    "previous": Field("integer", "the revision of the one that is replaced"),
                    "revision": Field("integer", "a greater one"),
                    "sealed": Field("string", "the sealed record, in base64"),
                },
                204,
                max_body_bytes=limits.MAX_ROSTER_BODY_BYTES,
            ),
        )

    async def _get_ring(self, names: Mapping[str, str], body: Json) -> Json:
        found = await self._store.read(
            lambda sql: key_rings.get(sql, tenants.number_of(sql, names["name"]))
        )
        sealed = base64.b64encode(found.sealed).decode("ascii")
        return {"revision": found.revision, "sealed": sealed}

    async def _put_ring(self, names: Mapping[str, str], body: Json) -> Json:
        revision, sealed = body["revision"], _base64(body, limits.MAX_KEY_RING_BYTES)
        if not 1 <= revision <= limits.MAX_UINT:
            raise Refused(Refusal.BAD_VALUE, message="revision: 1 or more")
        await self._store.transact(
            lambda sql: key_rings.replace(
                sql, tenants.number_of(sql, names["name"]), revision, sealed
            )
        )
        self._log.info("key_ring_changed", tenant=names["name"], revision=revision)
        return {"revision": revision}

    async def _list_tenants(self, _: Mapping[str, str], body: Json) -> Json:
        found = await self._store.read(tenants.list_tenants)
        return {
            "tenants": [
                {
                    "name": each.name,
                    "tenant_id": each.tenant_id.hex(),
                    "created_ms": each.created_ms,
                    "objects": each.usage.objects,
                    "logical_bytes": each.usage.logical_bytes,
                }
                for each in found
            ]
        }

    async def _create_tenant(self, _: Mapping[str, str], body: Json) -> Json:
        name = _matching(body, "name", _NAME)
        tenant_id = _hex(body, "tenant_id", 16)
        key = _hex(body, "proof_key", PUBLIC_KEY_BYTES)
        if not is_sound_key(key):
            raise Refused(Refusal.BAD_VALUE, message="proof_key: not a public key of anybody")
        now_ms = int(self._clock.now() * 1000)
        await self._store.transact(lambda sql: tenants.create(sql, name, tenant_id, key, now_ms))
        self._log.info("tenant_created", name=name)
        return {"name": name, "tenant_id": tenant_id.hex()}

    async def _remove_tenant(self, names: Mapping[str, str], body: Json) -> None:
        await self._store.transact(lambda sql: tenants.remove(sql, names["name"]))
        self._log.warning("tenant_removed", name=names["name"])

    async def _list_keys(self, names: Mapping[str, str], body: Json) -> Json:
        found = await self._store.read(lambda sql: tenants.list_access_keys(sql, names["name"]))
        return {
            "keys": [
                {"access_key_id": each.access_key_id, "created_ms": each.created_ms}
                for each in found
            ]
        }

    async def _add_key(self, names: Mapping[str, str], body: Json) -> Json:
        access_key_id = _matching(body, "access_key_id", _ACCESS_KEY)
        sealed = _base64(body, limits.MAX_SEALED_ACCESS_KEY_BYTES)
        now_ms = int(self._clock.now() * 1000)
        await self._store.transact(
            lambda sql: tenants.add_access_key(sql, names["name"], access_key_id, sealed, now_ms)
        )
        self._log.info("access_key_added", tenant=names["name"], access_key_id=access_key_id)
        return {"access_key_id": access_key_id}

    async def _revoke_key(self, names: Mapping[str, str], body: Json) -> None:
        await self._store.transact(
            lambda sql: tenants.revoke_access_key(sql, names["name"], names["access_key_id"])
        )
        self._log.info(
            "access_key_revoked", tenant=names["name"], access_key_id=names["access_key_id"]
        )

    async def _get_roster(self, names: Mapping[str, str], body: Json) -> Json:
        revision, sealed = await self._store.read(lambda sql: tenants.roster(sql, names["name"]))
        return {"revision": revision, "sealed": base64.b64encode(sealed).decode()}

    async def _set_roster(self, names: Mapping[str, str], body: Json) -> None:
        previous, revision = body["previous"], body["revision"]
        if not 0 <= previous < revision < 1 << 63:
            raise Refused(Refusal.BAD_VALUE, message="revision: greater than previous, 63 bits")
        sealed = _base64(body, limits.MAX_SEALED_ROSTER_BYTES)
        await self._store.transact(
            lambda sql: tenants.set_roster(sql, names["name"], previous, revision, sealed)
        )
        self._log.info("roster_set", tenant=names["name"], revision=revision)


def _base64(body: Json, most: int) -> bytes:
    """The sealed record of a body. Raises Refused ``bad_value``."""
    try:
        sealed = base64.b64decode(body["sealed"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(Refusal.BAD_VALUE, message="sealed: not base64") from error
    if not sealed or len(sealed) > most:
        raise Refused(Refusal.BAD_VALUE, message=f"sealed: 1 to {most} bytes")
    return sealed


def _matching(body: Json, name: str, pattern: re.Pattern[str]) -> str:
    value: str = body[name]
    if pattern.fullmatch(value) is None:
        raise Refused(Refusal.BAD_VALUE, message=f"{name}: must match {pattern.pattern}")
    return value


def _hex(body: Json, name: str, length: int) -> bytes:
    value: str = body[name]
    if re.fullmatch(f"[0-9a-fA-F]{{{2 * length}}}", value) is None:
        raise Refused(Refusal.BAD_VALUE, message=f"{name}: must be {2 * length} hex digits")
    return bytes.fromhex(value)
