"""What tests ask of lifecycle rules, in few words."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from gateway_rig import Answer, Rig

from gateway.expiring import Expirer

DAY_S = 86_400


def rule(*, id: str = "", prefix: str | None = "", status: str = "Enabled", **parts: str) -> str:
    """A rule. ``prefix``: of its filter. ``parts``: elements by name, with their content."""
    name = f"<ID>{id}</ID>" if id else ""
    if prefix is not None and "Filter" not in parts and "Prefix" not in parts:
        parts = {"Filter": f"<Prefix>{prefix}</Prefix>", **parts}
    inner = "".join(f"<{part}>{content}</{part}>" for part, content in parts.items())
    return f"<Rule>{name}<Status>{status}</Status>{inner}</Rule>"


def days(number: int | str) -> str:
    """Content of an Expiration."""
    return f"<Days>{number}</Days>"


async def put_rules(
    rig: Rig,
    *rules: str,
    bucket: str = "bucket",
    headers: Mapping[str, str] | None = None,
    access_key: str = "AK",
) -> Answer:
    """PutBucketLifecycleConfiguration."""
    body = f"<LifecycleConfiguration>{''.join(rules)}</LifecycleConfiguration>".encode()
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    given = {"content-md5": md5, **(headers or {})}
    return await rig.ask("PUT", f"/{bucket}", "lifecycle=", body, given, access_key=access_key)


async def set_rules(rig: Rig, *rules: str, bucket: str = "bucket") -> None:
    """The same, which must succeed."""
    answer = await put_rules(rig, *rules, bucket=bucket)
    assert answer.status == 200, answer.body


async def get_rules(rig: Rig, access_key: str = "AK") -> Answer:
    """GetBucketLifecycleConfiguration."""
    return await rig.ask("GET", "/bucket", "lifecycle=", access_key=access_key)


def pass_days(rig: Rig, number: float) -> None:
    """Let days go by for the gateway and the coordinator."""
    for node in (rig.node, rig.coordinators.node):
        node.clock_offset_s += number * DAY_S


def expirer(rig: Rig) -> Expirer:
    """What expires objects in the rig's gateway."""
    return Expirer(rig.backend, rig.tenants, 1000 * DAY_S, rig.backend.metrics)


async def run(rig: Rig) -> None:
    """Look once for what is due, in all buckets."""
    await expirer(rig)._look()
