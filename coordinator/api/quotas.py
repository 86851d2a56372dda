"""Operations on the quotas of buckets.

Source: docs/operations.md, "Quotas".
"""

from __future__ import annotations

from collections.abc import Mapping

from common import limits
from common.errors import Refused
from common.ports import Log
from common.reasons import Refusal
from coordinator.api.routes import ApiRoute, Field, Json
from coordinator.parts import CoordinatorParts
from coordinator.store import usage
from coordinator.store.usage import Quota


class QuotaOperations:
    """Gives quotas to buckets."""

    def __init__(self, parts: CoordinatorParts, log: Log) -> None:
        self._store = parts.store
        self._log = log

    def routes(self) -> tuple[ApiRoute, ...]:
        """Return the table of these operations."""
        return (
            ApiRoute(
                "POST",
                "/v1/buckets/{name}/quota",
                "Give a bucket a quota in place of the one it has; without a field it has none.",
                self._set_quota,
                {
                    "objects": Field("integer", "versions that it may hold", required=False),
                    "bytes": Field("integer", "bytes of them", required=False),
                },
            ),
        )

    async def _set_quota(self, names: Mapping[str, str], body: Json) -> Json:
        name = names["name"]
        quota = Quota(_figure(body, "objects"), _figure(body, "bytes"))
        held = await self._store.transact(lambda sql: usage.set_quota(sql, name, quota))
        self._log.info(
            "bucket_quota_changed", bucket=name, objects=quota.objects, bytes=quota.logical_bytes
        )
        return {
            "name": name,
            "objects": held.objects,
            "logical_bytes": held.logical_bytes,
            "most_objects": quota.objects,
            "most_bytes": quota.logical_bytes,
        }


def _figure(body: Json, name: str) -> int | None:
    figure: int | None = body.get(name)
    if figure is not None and not 0 <= figure <= limits.MAX_UINT:
        raise Refused(Refusal.BAD_VALUE, message=f"{name}: a number from 0 on")
    return figure
