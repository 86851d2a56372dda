"""A bucket whose access control lists count, and lists as clients send and read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from access_client import anonymous, other_account
from gateway_rig import Answer, Rig

ACL = "acl="
OWNERSHIP = "ownershipControls="
EVERYONE = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
LOGS = "http://acs.amazonaws.com/groups/s3/LogDelivery"
ALL = ("READ", "WRITE", "READ_ACP", "WRITE_ACP", "FULL_CONTROL")


async def made(rule: str = "ObjectWriter", *, blocked: bool = False) -> Rig:
    """A gateway with a bucket of this ownership."""
    rig = Rig()
    await rig.put("/bucket", b"", {"x-amz-object-ownership": rule})
    if not blocked:
        answer = await rig.ask("DELETE", "/bucket", "publicAccessBlock=")
        assert answer.status == 204
    return rig


def account(rig: Rig) -> str:
    return rig.tenant.tenant_id.hex()


def ownership(rule: str) -> bytes:
    return (
        f"<OwnershipControls><Rule><ObjectOwnership>{rule}</ObjectOwnership></Rule>"
        "</OwnershipControls>"
    ).encode()


def document(owner: str, *grants: tuple[str, str]) -> bytes:
    """An AccessControlPolicy document; grants as (account or URI, permission)."""
    rows = "".join(
        "<Grant><Grantee xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xsi:type='"
        + (f"Group'><URI>{escape(who)}</URI>" if ":" in who else f"CanonicalUser'><ID>{who}</ID>")
        + f"</Grantee><Permission>{permission}</Permission></Grant>"
        for who, permission in grants
    )
    return (
        "<AccessControlPolicy xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>"
        f"<Owner><ID>{owner}</ID></Owner><AccessControlList>{rows}</AccessControlList>"
        "</AccessControlPolicy>"
    ).encode()


def shown(answer: Answer) -> tuple[str, list[tuple[str, str]]]:
    """The owner and the grants of an answer."""
    assert answer.status == 200, answer.body
    root = answer.xml()
    grants = [
        (
            row.findtext("Grantee/ID") or row.findtext("Grantee/URI") or "",
            row.findtext("Permission") or "",
        )
        for row in root.iterfind("AccessControlList/Grant")
    ]
    return root.findtext("Owner/ID") or "", grants


async def list_of(
    rig: Rig, path: str, query: str = ACL, access_key: str = "AK"
) -> tuple[str, list[tuple[str, str]]]:
    return shown(await rig.ask("GET", path, query, access_key=access_key))


async def set_list(rig: Rig, path: str, canned: str, access_key: str = "AK") -> None:
    answer = await rig.ask("PUT", path, ACL, b"", {"x-amz-acl": canned}, access_key=access_key)
    assert answer.status == 200, answer.body


async def statuses(
    rig: Rig,
    method: str,
    path: str,
    query: str = "",
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    keys: Sequence[str] = ("AK", "OTHER", ""),
) -> list[int]:
    """The answers to the same request of the bucket's owner, another tenant and nobody."""
    answers = [
        await rig.ask(method, path, query, body, headers, access_key=key)
        if key
        else await anonymous(rig, method, path, query, body, headers)
        for key in keys
    ]
    return [answer.status for answer in answers]


async def complete(rig: Rig, path: str, begun: Answer, access_key: str = "AK") -> Answer:
    """Fill an upload that was begun with one part, and complete it."""
    assert begun.status == 200, begun.body
    query = f"uploadId={begun.text('UploadId')}"
    part = await rig.ask("PUT", path, f"partNumber=1&{query}", b"part", access_key=access_key)
    assert part.status == 200, part.body
    etag = part.headers["etag"].strip('"')
    body = (
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
        f"<ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    ).encode()
    answer = await rig.ask("POST", path, query, body, access_key=access_key)
    assert answer.status == 200, answer.body
    return answer


def refusal(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.code


__all__ = ["anonymous", "other_account"]
