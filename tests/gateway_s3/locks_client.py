"""What tests ask of a bucket with locks, in few words."""

from __future__ import annotations

import base64
import datetime
import hashlib
from collections.abc import Mapping

from gateway_rig import Answer, Rig
from versions_client import version_of

LOCKS = {"x-amz-bucket-object-lock-enabled": "true"}
BYPASS = {"x-amz-bypass-governance-retention": "true"}
MODE, UNTIL, HOLD = (
    f"x-amz-object-lock-{name}" for name in ("mode", "retain-until-date", "legal-hold")
)
DAY_S = 86_400


def digest_of(body: bytes) -> dict[str, str]:
    """The header that vouches for a body."""
    return {"content-md5": base64.b64encode(hashlib.md5(body).digest()).decode()}


def in_days(rig: Rig, days: float) -> str:
    """A date that many days from now."""
    moment = datetime.datetime.fromtimestamp(
        int(rig.node.world.clock.now()) + days * DAY_S, datetime.UTC
    )
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def wait(rig: Rig, days: float) -> None:
    """Let the clocks of gateway and coordinator run ahead."""
    for node in (rig.node, rig.coordinators.node):
        node.clock_offset_s += days * DAY_S


def retained(rig: Rig, mode: str, days: float) -> dict[str, str]:
    """The headers of a write with a retention."""
    return {MODE: mode, UNTIL: in_days(rig, days)}


async def put_locked(rig: Rig, key: str, body: bytes, headers: Mapping[str, str]) -> str:
    """Put an object with a lock; its version id."""
    return version_of(await rig.put(f"/bucket/{key}", body, {**digest_of(body), **headers}))


async def set_default(rig: Rig, rule: str, bucket: str = "bucket") -> Answer:
    """PutObjectLockConfiguration. ``rule``: the elements of the default retention, or none."""
    inner = f"<Rule><DefaultRetention>{rule}</DefaultRetention></Rule>" if rule else ""
    return await set_document(
        rig,
        f"/{bucket}",
        "object-lock=",
        "ObjectLockConfiguration",
        f"<ObjectLockEnabled>Enabled</ObjectLockEnabled>{inner}",
    )


async def set_document(
    rig: Rig,
    path: str,
    query: str,
    root: str,
    inner: str,
    headers: Mapping[str, str] | None = None,
    access_key: str = "AK",
) -> Answer:
    """PUT of a document, vouched for."""
    body = f"<{root}>{inner}</{root}>".encode()
    given = {**digest_of(body), **(headers or {})}
    return await rig.ask("PUT", path, query, body, given, access_key=access_key)


async def retain(
    rig: Rig,
    key: str,
    version: str,
    mode: str = "",
    days: float = 0,
    headers: Mapping[str, str] | None = None,
    access_key: str = "AK",
) -> Answer:
    """PutObjectRetention; without a mode, of none."""
    inner = ""
    if mode:
        inner = f"<Mode>{mode}</Mode><RetainUntilDate>{in_days(rig, days)}</RetainUntilDate>"
    query = f"retention=&versionId={version}"
    return await set_document(rig, f"/bucket/{key}", query, "Retention", inner, headers, access_key)


async def hold(rig: Rig, key: str, version: str, status: str, access_key: str = "AK") -> Answer:
    """PutObjectLegalHold."""
    query = f"legal-hold=&versionId={version}"
    inner = f"<Status>{status}</Status>"
    path = f"/bucket/{key}"
    return await set_document(rig, path, query, "LegalHold", inner, access_key=access_key)


async def remove(
    rig: Rig,
    key: str,
    version: str,
    headers: Mapping[str, str] | None = None,
    access_key: str = "AK",
) -> Answer:
    """DeleteObject of a version."""
    query = f"versionId={version}"
    return await rig.ask("DELETE", f"/bucket/{key}", query, b"", headers, access_key=access_key)
