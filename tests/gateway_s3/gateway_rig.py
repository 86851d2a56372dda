"""A gateway's real app over the real handlers of a coordinator, and a client that signs."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from object_rig import SECRET, ObjectRig

from common.errors import NotFound
from common.format.manifest import AccessKeyRecord, seal_user_key
from common.format.roster import (
    EMPTY_ROSTER,
    Roster,
    RosterKey,
    RosterPolicy,
    RosterUser,
    open_roster,
    seal_roster,
)
from common.format.session import SessionRecord, seal_session
from common.http.records import BytesBody, HttpRequest, HttpResponse
from coordinator.store import tenants
from gateway.rosters import Rosters
from gateway_s3.app import App
from gateway_s3.auth.access_keys import AccessKeys
from gateway_s3.auth.sigv2 import SignatureV2
from gateway_s3.auth.sigv4 import derive_signing_key
from gateway_s3.backend import Backend
from gateway_s3.metrics import GatewayMetrics

REGION = "us-east-1"


@dataclass
class Answer:
    """What came back, read whole."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """S3's error code."""
        return self.text("Code") or ""

    def xml(self) -> ElementTree.Element:
        """The document without namespaces."""
        root = ElementTree.fromstring(self.body)
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
        return root

    def text(self, path: str) -> str | None:
        """The text of the first element of that path."""
        return self.xml().findtext(path)

    def texts(self, path: str) -> list[str]:
        """The texts of all elements of that path."""
        return [element.text or "" for element in self.xml().iterfind(path)]


class Rig(ObjectRig):
    """A gateway's app with two tenants, and a client that signs.

    Args:
        beside: another gateway of the same tenants.
    """

    def __init__(
        self,
        seed: int = 1,
        region: str = REGION,
        domains: tuple[str, ...] = (),
        signature_v2: SignatureV2 = SignatureV2.PRESIGNED,
        *,
        beside: Rig | None = None,
    ) -> None:
        super().__init__(seed, beside=beside)
        self.region = region
        self.host = "s3.test"
        self.secure = False
        """Whether requests come over TLS."""
        self.backend = Backend(
            **self.service_parts(), metrics=GatewayMetrics(), region=region, domains=domains
        )

        async def more_tenants() -> bool:
            return False

        log = self.node.world.log
        self.session_policies: dict[str, bytes] = {}
        self.rosters = Rosters(self.roster, self.node.world.disk, log)
        self.keys = AccessKeys(self.access_key, self.tenants.get, more_tenants, log, self.rosters)
        self.app = App(self.backend, self.keys, domains, signature_v2)

    def add_user(self, name: str, *statements: Mapping[str, Any], of: str = "AK") -> None:
        """Store an access key of this name, of a user of this name with a policy of this name."""
        tenant = self.tenants[self.coordinators.access_key(of).tenant_id]
        sql, name_of_tenant = self.coordinators.sql, tenant.tenant_id.hex()
        record = AccessKeyRecord(SECRET, 0)
        sealed = seal_user_key(tenant, name, record, self.node.world.entropy)
        tenants.add_access_key(sql, name_of_tenant, name, sealed, 0)
        user = RosterUser(name, 0, (name,), (RosterKey(name, 0, True),))
        self.put_policy(name, *statements, of=of)
        self.change_roster(lambda was: replace(was, users=(*was.users, user)), of=of)

    def put_policy(
        self, name: str, *statements: Mapping[str, Any], is_role: bool = False, of: str = "AK"
    ) -> None:
        """Store a policy in the place of the one of this name."""
        text = json.dumps({"Version": "2012-10-17", "Statement": statements}).encode()
        made = RosterPolicy(name, 0, text, is_role)

        def change(was: Roster) -> Roster:
            others = [each for each in was.policies if each.name != name]
            return replace(was, policies=(*others, made))

        self.change_roster(change, of=of)

    def change_roster(self, change: Callable[[Roster], Roster], *, of: str = "AK") -> None:
        """Change the roster of a tenant, as the command line does."""
        tenant = self.tenants[self.coordinators.access_key(of).tenant_id]
        sql, name = self.coordinators.sql, tenant.tenant_id.hex()
        previous, sealed = tenants.roster(sql, name)
        was = open_roster(tenant, previous, sealed) if previous else EMPTY_ROSTER
        entropy = self.node.world.entropy
        changed = seal_roster(tenant, previous + 1, change(was), entropy)
        tenants.set_roster(sql, name, previous, previous + 1, changed)

    def temporary(self, parent: str) -> tuple[str, str]:
        """A temporary access key id and its token, of a key; its secret is that of all keys. What
        ``session_policies`` has is of ``AK``, with that policy."""
        policy = self.session_policies.get(parent, b"")
        parent = "AK" if policy else parent
        try:
            tenant = self.tenants[self.coordinators.access_key(parent).tenant_id]
        except NotFound:
            tenant = self.tenant
        entropy, now_s = self.node.world.entropy, int(self.node.world.clock.now())
        access_key = f"ASIA{entropy(8).hex().upper()}"
        record = SessionRecord(1, SECRET, parent, now_s, now_s + 3600, "", "", policy, 0)
        return access_key, seal_session(tenant, access_key, record, entropy)

    def sign(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        *,
        access_key: str = "AK",
        payload: str = "UNSIGNED-PAYLOAD",
        secret: str = SECRET,
    ) -> dict[str, str]:
        """The headers of a signed request."""
        stamp, scope = self.scope()
        signed = {
            "host": self.host,
            **headers,
            "x-amz-date": stamp,
            "x-amz-content-sha256": payload,
        }
        names = sorted(
            name for name in signed if name.startswith("x-amz-") or name in {"host", "content-md5"}
        )
        signature = self.signature(
            method, path, query, {name: signed[name] for name in names}, payload, secret
        )
        signed["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, "
            f"SignedHeaders={';'.join(names)}, Signature={signature}"
        )
        return signed

    def presign(
        self,
        method: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        *,
        access_key: str = "AK",
        secret: str = SECRET,
        expires_s: int = 60,
    ) -> str:
        """The query of a presigned URL (Signature V4).

        Args:
            query: further parameters, as on the wire, canonically encoded.
            headers: further signed headers, in lower case.
        """
        stamp, scope = self.scope()
        signed = {"host": self.host, **(headers or {})}
        names = sorted(signed)
        parameters = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{access_key}/{scope}",
            "X-Amz-Date": stamp,
            "X-Amz-Expires": str(expires_s),
            "X-Amz-SignedHeaders": ";".join(names),
        }
        whole = "&".join(
            [f"{name}={quote(value, safe='')}" for name, value in parameters.items()]
            + ([query] if query else [])
        )
        signature = self.signature(method, path, whole, signed, "UNSIGNED-PAYLOAD", secret)
        return f"{whole}&X-Amz-Signature={signature}"

    def last_chunk(self, headers: Mapping[str, str], secret: str) -> bytes:
        """The body of no bytes in signed chunks, behind these headers."""
        stamp, scope = headers["x-amz-date"], self.scope()[1]
        before = headers["authorization"].rpartition("Signature=")[2]
        empty = hashlib.sha256(b"").hexdigest()
        text = "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", stamp, scope, before, empty, empty])
        key = derive_signing_key(secret, stamp[:8], self.region)
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        return f"0;chunk-signature={signature}\r\n\r\n".encode()

    def scope(self, skew_s: float = 0.0) -> tuple[str, str]:
        """Time and credential scope of what is signed now, or by a clock that is wrong."""
        now = self.node.world.clock.now() + skew_s
        moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
        stamp = moment.strftime("%Y%m%dT%H%M%SZ")
        return stamp, f"{stamp[:8]}/{self.region}/s3/aws4_request"

    def signature(
        self,
        method: str,
        path: str,
        query: str,
        signed: Mapping[str, str],
        payload: str,
        secret: str,
    ) -> str:
        """The signature over these headers, all of them, at the time that the request names."""
        names = sorted(signed)
        pairs = sorted(part.partition("=")[::2] for part in query.split("&") if part)
        stamp = signed.get("x-amz-date") or dict(pairs)["X-Amz-Date"]
        scope = f"{stamp[:8]}/{self.region}/s3/aws4_request"
        canonical_query = "&".join(f"{name}={value}" for name, value in pairs)
        canonical = "\n".join(
            [method, path, canonical_query]
            + [f"{name}:{' '.join(signed[name].split())}" for name in names]
            + ["", ";".join(names), payload]
        )
        digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
        key = f"AWS4{secret}".encode()
        for part in (stamp[:8], self.region, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()

    async def ask(
        self,
        method: str,
        path: str,
        query: str = "",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        access_key: str = "AK",
        payload: str | None = None,
        secret: str = SECRET,
    ) -> Answer:
        """Send a signed request. ``path`` and ``query`` as on the wire."""
        declared = hashlib.sha256(body).hexdigest() if payload is None else payload
        given = {name.lower(): value for name, value in (headers or {}).items()}
        if method in {"PUT", "POST"}:
            given.setdefault("content-length", str(len(body)))
        signed = self.sign(
            method, path, query, given, access_key=access_key, payload=declared, secret=secret
        )
        return await self.send(method, path, query, body, signed)

    async def send(
        self,
        method: str,
        path: str,
        query: str,
        body: bytes,
        headers: Mapping[str, str] | Sequence[tuple[str, str]],
    ) -> Answer:
        """Send a request as it is. ``headers``: values as Latin-1; pairs where a name repeats."""
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        target = path.encode() + (b"?" + query.encode() if query else b"")
        request = HttpRequest(
            method,
            target,
            path.encode(),
            query.encode(),
            [(name.encode(), value.encode("latin-1")) for name, value in pairs],
            BytesBody(body),
            "192.0.2.7:50000",
            self.secure,
        )
        response: HttpResponse = await self.app(request)
        if isinstance(response.body, bytes):
            content = response.body
        else:
            async with aclosing(response.body) as chunks:
                content = b"".join([bytes(chunk) async for chunk in chunks])
        shown = {name.decode(): value.decode("latin-1") for name, value in response.headers}
        if "content-length" in shown and method != "HEAD":
            assert int(shown["content-length"]) == len(content)
        return Answer(response.status, shown, content)

    async def put(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """PUT that must succeed."""
        answer = await self.ask("PUT", path, "", body, headers)
        assert answer.status == 200, answer.body
        return answer


def encoded(text: str) -> str:
    """A key as a path on the wire."""
    return quote(text, safe="/-_.~")
