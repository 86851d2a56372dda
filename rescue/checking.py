"""A look at what a kit would restore, without restoring it.

Source: docs/rescue.md, "A check".
"""

from __future__ import annotations

from functools import partial
from typing import Any

from common.crypto.keys import TenantKey
from common.errors import Corrupt
from common.ports import Store, World
from coordinator.store import restoring
from rescue.journal_reading import read_swarm, shown
from rescue.kit import Kit
from rescue.records import bucket_record
from rescue.reports import journal_report


async def check(world: World, kit: Kit) -> dict[str, Any]:
    """Read the whole journal, and return what a restore would find, for JSON.

    Args:
        world: with an empty directory.

    Raises:
        Unavailable: ``no_journal``.
    """
    async with read_swarm(world, kit) as (_, reading, journal):
        store, survey = journal.store, reading.survey
        answering = frozenset(survey.states)
        named = {bytes(key.tenant_id) for key in kit.tenants.values()}
        return {
            "tenants": [await _tenant(store, name, key) for name, key in kit.tenants.items()],
            "tenants_without_key": len(set(await store.read(restoring.tenant_ids)) - named),
            "unreadable_segments": await store.read(
                partial(restoring.unreadable, reachable=answering)
            ),
            "cells": len(await store.read(restoring.endpoints)),
            "silent_cells": {
                shown(survey.asked[cell_id]): why for cell_id, why in survey.silent.items()
            },
            "journal": journal_report(journal),
        }


async def _tenant(store: Store, name: str, key: TenantKey) -> dict[str, Any]:
    buckets = await store.read(partial(restoring.buckets, tenant=key.tenant_id))
    current, size = await store.read(
        partial(restoring.total, tenant=key.tenant_id, all_versions=False)
    )
    versions, all_bytes = await store.read(
        partial(restoring.total, tenant=key.tenant_id, all_versions=True)
    )
    return {
        "tenant": name,
        "buckets": len(buckets),
        "objects": current,
        "bytes": size,
        "versions": versions,
        "bytes_of_versions": all_bytes,
        "key_fits": all(_opens(key, each) for each in buckets),
        "is_known": bytes(key.tenant_id) in await store.read(restoring.tenant_ids),
    }


def _opens(key: TenantKey, bucket: restoring.RestorableBucket) -> bool:
    try:
        bucket_record(key, bucket)
    except Corrupt:
        return False
    return True
