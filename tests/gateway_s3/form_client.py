"""A browser that sends forms, and the site that signs them."""

from __future__ import annotations

import base64
import datetime
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

from gateway_rig import Answer, Rig
from object_rig import SECRET

from gateway_s3.auth.sigv4 import derive_signing_key

BOUNDARY = "xYzZY"
Fields = Sequence[tuple[str, str | bytes]]


def body_of(
    fields: Fields,
    content: bytes | None,
    *,
    filename: str | None = "photo.jpg",
    after: Fields = (),
    boundary: str = BOUNDARY,
) -> bytes:
    """A form as browsers write it. ``content``: None: it has no file."""
    pieces = [_part(name, value, boundary) for name, value in fields]
    if content is not None:
        named = "" if filename is None else f'; filename="{filename}"'
        head = f'Content-Disposition: form-data; name="file"{named}\r\nContent-Type: image/jpeg'
        pieces.append(f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n")
    pieces += [_part(name, value, boundary) for name, value in after]
    return b"".join(pieces) + f"--{boundary}--\r\n".encode()


def _part(name: str, value: str | bytes, boundary: str) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
    return head.encode() + (value if isinstance(value, bytes) else value.encode()) + b"\r\n"


def policy_of(rig: Rig, conditions: Sequence[Any], *, expires_s: int = 600, **more: Any) -> str:
    """A policy, as its field holds it."""
    end = rig.node.world.clock.now() + expires_s
    shown = datetime.datetime.fromtimestamp(end, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    document = {"expiration": shown, "conditions": list(conditions), **more}
    text = json.dumps({name: value for name, value in document.items() if value is not None})
    return base64.b64encode(text.encode()).decode()


def signed(
    rig: Rig,
    fields: Mapping[str, str],
    conditions: Sequence[Any] | None = None,
    *,
    bucket: str = "bucket",
    access_key: str = "AK",
    secret: str = SECRET,
    expires_s: int = 600,
    policy: str | None = None,
) -> dict[str, str]:
    """A form's fields with a policy that allows exactly them, and the policy's signature (V4).

    Args:
        conditions: in place of those that the fields give.
    """
    stamp, scope = rig.scope()
    ours = {
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"{access_key}/{scope}",
        "x-amz-date": stamp,
    }
    given = [{name: value} for name, value in fields.items()] if conditions is None else conditions
    whole = [{"bucket": bucket}, *given, *({name: value} for name, value in ours.items())]
    encoded = policy_of(rig, whole, expires_s=expires_s) if policy is None else policy
    key = derive_signing_key(secret, stamp[:8], rig.region)
    signature = hmac.digest(key, encoded.encode(), "sha256").hex()
    return {**fields, **ours, "policy": encoded, "x-amz-signature": signature}


def signed_v2(
    rig: Rig, fields: Mapping[str, str], *, access_key: str = "AK", secret: str = SECRET
) -> dict[str, str]:
    """The same with Signature Version 2."""
    conditions = [{"bucket": "bucket"}, *({name: value} for name, value in fields.items())]
    encoded = policy_of(rig, conditions)
    digest = hmac.digest(secret.encode(), encoded.encode(), "sha1")
    signature = base64.b64encode(digest).decode()
    return {**fields, "AWSAccessKeyId": access_key, "policy": encoded, "signature": signature}


async def post(
    rig: Rig,
    fields: Mapping[str, str] | Fields,
    content: bytes | None = b"content",
    *,
    path: str = "/bucket",
    headers: Mapping[str, str] | None = None,
    **form: Any,
) -> Answer:
    """Send a form."""
    pairs = list(fields.items()) if isinstance(fields, Mapping) else fields
    body = body_of(pairs, content, **form)
    boundary = form.get("boundary", BOUNDARY)
    given = {
        "host": rig.host,
        "content-type": f"multipart/form-data; boundary={boundary}",
        "content-length": str(len(body)),
        **(headers or {}),
    }
    return await rig.send("POST", path, "", body, given)
