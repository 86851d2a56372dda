"""A client that asks for temporary credentials, and signs as AWS's SDKs do."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from gateway_rig import Answer, Rig
from object_rig import SECRET

from gateway_s3.auth.sigv2 import SignatureV2
from gateway_s3.auth.sigv4 import derive_signing_key

ACTION = {"Version": "2011-06-15"}
READ = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*"}


@dataclass(frozen=True)
class Temporary:
    """Temporary credentials."""

    access_key: str
    secret: str
    token: str


def signed(
    rig: Rig,
    body: bytes,
    *,
    access_key: str = "AK",
    secret: str = SECRET,
    token: str | None = None,
    service: str = "sts",
    headers: Mapping[str, str] | None = None,
    skew_s: float = 0.0,
) -> dict[str, str]:
    """The headers of a signed request: its body is signed, and no header says so."""
    stamp, scope = rig.scope(skew_s)
    scope = scope.replace("/s3/", f"/{service}/")
    given = {
        "host": rig.host,
        "content-type": "application/x-www-form-urlencoded; charset=utf-8",
        "x-amz-date": stamp,
        **({} if token is None else {"x-amz-security-token": token}),
        **(headers or {}),
    }
    names = sorted(given)
    digest_of_body = given.get("x-amz-content-sha256") or hashlib.sha256(body).hexdigest()
    canonical = "\n".join(
        ["POST", "/", ""]
        + [f"{name}:{given[name]}" for name in names]
        + ["", ";".join(names), digest_of_body]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    key = derive_signing_key(secret, stamp[:8], rig.region, service)
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    given["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={';'.join(names)}, "
        f"Signature={signature}"
    )
    return {**given, "content-length": str(len(body))}


async def ask(
    rig: Rig,
    action: str,
    parameters: Mapping[str, str] | None = None,
    *,
    by: Temporary | None = None,
    access_key: str = "AK",
) -> Answer:
    """Send a signed request."""
    body = urlencode({"Action": action, **ACTION, **(parameters or {})}).encode()
    if by is None:
        headers = signed(rig, body, access_key=access_key)
    else:
        headers = signed(rig, body, access_key=by.access_key, secret=by.secret, token=by.token)
    return await rig.send("POST", "/", "", body, headers)


async def session(
    rig: Rig, access_key: str = "AK", *, policy: str = "", duration_s: int | None = None
) -> Temporary:
    """Temporary credentials of a key's own rights, or less."""
    parameters = {"Policy": policy} if policy else {}
    if duration_s is not None:
        parameters["DurationSeconds"] = str(duration_s)
    return made_of(await ask(rig, "GetSessionToken", parameters, access_key=access_key))


async def role(
    rig: Rig, name: str, access_key: str = "AK", *, session_name: str = "job", policy: str = ""
) -> Temporary:
    """Temporary credentials of a role."""
    answer = await ask(
        rig, "AssumeRole", role_of(rig, name, session_name, policy), access_key=access_key
    )
    return made_of(answer)


def role_of(rig: Rig, name: str, session_name: str = "job", policy: str = "") -> dict[str, str]:
    """The parameters of AssumeRole."""
    arn = f"arn:aws:iam::{rig.tenant.tenant_id.hex()}:role/{name}"
    made = {"RoleArn": arn, "RoleSessionName": session_name}
    return {**made, "Policy": policy} if policy else made


def made_of(answer: Answer) -> Temporary:
    """The credentials in an answer."""
    assert answer.status == 200, answer.body
    names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
    found = [answer.text(f".//Credentials/{name}") or "" for name in names]
    assert all(found)
    return Temporary(*found)


async def gateway() -> Rig:
    """A gateway that takes all signatures, with an object."""
    made = Rig(signature_v2=SignatureV2.ALL)
    await made.put("/bucket", b"")
    await made.put("/bucket/key", b"content")
    return made


async def use(
    rig: Rig, by: Temporary, method: str = "GET", path: str = "/bucket/key", query: str = ""
) -> Answer:
    """A request that is signed with temporary credentials, in a header."""
    headers = {"x-amz-security-token": by.token}
    return await rig.ask(
        method, path, query, headers=headers, access_key=by.access_key, secret=by.secret
    )


async def status(
    rig: Rig, by: Temporary, method: str = "GET", path: str = "/bucket/key", query: str = ""
) -> int:
    return (await use(rig, by, method, path, query)).status
