"""An owner that sets policies of its bucket, and callers who are not the owner."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway_rig import Answer, Rig

POLICY = "policy="


def document(*statements: Mapping[str, Any]) -> bytes:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}).encode()


def statement(action: object, resource: str = "/*", **more: object) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Principal": "*",
        "Action": action,
        "Resource": f"arn:aws:s3:::bucket{resource}",
        **more,
    }


def other_account(rig: Rig) -> str:
    return rig.coordinators.access_key("OTHER").tenant_id.hex()


async def set_policy(rig: Rig, *statements: Mapping[str, Any]) -> None:
    answer = await rig.ask("PUT", "/bucket", POLICY, document(*statements))
    assert (answer.status, answer.body) == (204, b"")


async def anonymous(
    rig: Rig,
    method: str,
    path: str,
    query: str = "",
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    given = {"host": rig.host, "content-length": str(len(body)), **(headers or {})}
    return await rig.send(method, path, query, body, given)
