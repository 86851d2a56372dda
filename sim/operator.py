"""The operator of a tenant: changes its named keys and its users while the swarm is in trouble.

The commands of the product do the same; what they decide is in :mod:`common.format`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import httpx

from common.crypto.keys import TenantKey
from common.format.key_ring import KeyRing, open_key_ring, seal_key_ring
from common.format.manifest import AccessKeyRecord, seal_user_key
from common.format.roster import EMPTY_ROSTER, Roster, open_roster, seal_roster
from common.ports import Entropy
from sim.cluster import Cluster
from sim.s3_client import SimCredentials


class TenantOperator:
    """Has the key of a tenant and the token of an operator.

    Args:
        name: of the tenant.
        entropy: draws what is to be secret.
    """

    def __init__(self, cluster: Cluster, name: str, tenant: TenantKey, entropy: Entropy) -> None:
        self._cluster = cluster
        self._path = f"/v1/tenants/{name}"
        self._tenant = tenant
        self.entropy = entropy

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        """Call the operators' API. None: it failed, and nobody knows whether it was carried out."""
        try:
            return await self._cluster.operate(method, f"{self._path}/{path}", body) or {}
        except (httpx.TransportError, AssertionError):
            return None

    async def change_ring(self, change: Callable[[KeyRing], KeyRing]) -> KeyRing | None:
        """Change the named keys.

        Returns:
            What they are now, for certain; None where nobody knows.
        """
        found = await self._ask("GET", "key-ring")
        if found is None:
            return None
        revision, sealed = found["revision"], base64.b64decode(found["sealed"])
        ring = change(open_key_ring(self._tenant, revision, sealed))
        sealed = seal_key_ring(self._tenant, revision + 1, ring, self.entropy)
        body = {"revision": revision + 1, "sealed": base64.b64encode(sealed).decode()}
        return None if await self._ask("PUT", "key-ring", body) is None else ring

    async def change_roster(self, change: Callable[[Roster], Roster]) -> Roster | None:
        """Change the users and their policies; as :meth:`change_ring`."""
        found = await self._ask("GET", "roster")
        if found is None:
            return None
        revision, roster = found["revision"], EMPTY_ROSTER
        if revision:
            roster = open_roster(self._tenant, revision, base64.b64decode(found["sealed"]))
        roster = change(roster)
        sealed = seal_roster(self._tenant, revision + 1, roster, self.entropy)
        body = {
            "previous": revision,
            "revision": revision + 1,
            "sealed": base64.b64encode(sealed).decode(),
        }
        return None if await self._ask("PUT", "roster", body) is None else roster

    async def add_user_key(self, access_key: str) -> SimCredentials:
        """Store the secret of an access key that the roster is to name (setup: no faults yet)."""
        made = SimCredentials(access_key, self.entropy(20).hex())
        record = AccessKeyRecord(secret=made.secret_key, created_ms=0)
        sealed = seal_user_key(self._tenant, access_key, record, self.entropy)
        body = {"access_key_id": access_key, "sealed": base64.b64encode(sealed).decode()}
        assert await self._ask("POST", "keys", body) is not None
        return made
