"""No handler can be reached around access control lists: every operation times every way to
authenticate, by lists that give everyone everything and by lists that give nothing.

What lists open is written down by name, so that an operation that is added is closed until somebody
says otherwise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest
from gate import IMPLEMENTED, Gate, Sign, by_nobody, can_carry, every_way, found
from gateway_rig import Rig
from object_rig import SECRET
from trio.testing import MockClock

from common.format.access_lists import (
    AccessList,
    AclGrant,
    AclPermission,
    BucketOwnership,
    Grantee,
    Ownership,
)
from common.format.configurations import PublicAccess
from gateway.access.rules import ACL, BLOCK_NOTHING, OWNERSHIP, PUBLIC_ACCESS
from gateway.authorization import OF_TENANT, Action
from gateway.configurations import set_document

OPENED: Final = {
    AclPermission.READ: {
        "HeadBucket",
        "ListObjects",
        "ListObjectsV2",
        "ListObjectVersions",
        "ListMultipartUploads",
        "GetObject",
        "HeadObject",
    },
    AclPermission.WRITE: {
        "PutObject",
        "CopyObject",
        "CreateMultipartUpload",
        "UploadPart",
        "UploadPartCopy",
        "CompleteMultipartUpload",
        "DeleteObject",
    },
    AclPermission.READ_ACP: {"GetBucketAcl", "GetObjectAcl"},
    AclPermission.WRITE_ACP: {"PutBucketAcl", "PutObjectAcl"},
}
IGNORING: Final = replace(BLOCK_NOTHING, is_set=True, ignore_acls=True)


async def set_lists(
    rig: Rig,
    grants: tuple[AclGrant, ...],
    rule: Ownership = Ownership.WRITER,
    limits: PublicAccess = BLOCK_NOTHING,
) -> None:
    """Give bucket and object this list. The object is there when its handler is replaced."""
    documents = {
        PUBLIC_ACCESS: limits.pack(),
        OWNERSHIP: BucketOwnership(1, rule).pack(),
        ACL: AccessList(1, grants).pack(),
    }
    for kind, body in documents.items():
        await set_document(rig.backend, await found(rig), kind, body)


async def opened_gate(permission: AclPermission | None, grantee: Grantee) -> Gate:
    """A gateway whose bucket and object have a list with this grant, or (None) an empty one."""
    gate = Gate()
    rig = gate.rig
    await rig.put("/bucket", b"", {"x-amz-object-ownership": "ObjectWriter"})
    await rig.ask("DELETE", "/bucket", "publicAccessBlock=")
    uri = "http://acs.amazonaws.com/groups/global/AllUsers"
    account = rig.coordinators.access_key("OTHER").tenant_id
    who = f'uri="{uri}"' if grantee is Grantee.EVERYONE else f'id="{account.hex()}"'
    headers = {}
    if permission is not None:
        headers = {f"x-amz-grant-{permission.name.lower().replace('_', '-')}": who}
    await rig.put("/bucket/key", b"content", headers)
    grants = ()
    if permission is not None:
        named = account if grantee is Grantee.ACCOUNT else b""
        grants = (AclGrant(grantee, named, permission),)
    await gate.open()
    await set_lists(rig, grants)
    return gate


async def reached(gate: Gate, sign: Sign, key: str) -> set[str]:
    """The names of the operations whose handlers a caller reaches."""
    names = set()
    for operation in IMPLEMENTED:
        if not can_carry(sign, operation) or operation.action in OF_TENANT:
            continue
        with gate.asked(operation) as asked:
            answer = await sign(gate.rig, asked, key, SECRET)
            if operation.action is Action.DELETE_BATCH:
                continue  # Each key of the list is decided about by itself.
            if gate.reached:
                names.add(operation.name)
            else:
                assert answer.status == 403
    return names


@pytest.mark.parametrize("permission", AclPermission)
@every_way
async def test_a_grant_to_everyone_opens_its_operations_and_no_others(
    sign: Sign, permission: AclPermission, autojump_clock: MockClock
) -> None:
    gate = await opened_gate(permission, Grantee.EVERYONE)
    expected = OPENED.get(permission) or set().union(*OPENED.values())
    carried = {each.name for each in IMPLEMENTED if can_carry(sign, each)}
    assert await reached(gate, sign, "OTHER") == expected & carried


@every_way
async def test_a_grant_to_an_account_opens_its_operations_to_that_and_to_nobody(
    sign: Sign, autojump_clock: MockClock
) -> None:
    gate = await opened_gate(AclPermission.FULL_CONTROL, Grantee.ACCOUNT)
    carried = {each.name for each in IMPLEMENTED if can_carry(sign, each)}
    expected = set().union(*OPENED.values()) & carried
    assert await reached(gate, sign, "OTHER") == (set() if sign is by_nobody else expected)


@every_way
async def test_lists_that_give_nothing_or_do_not_count_open_nothing(
    sign: Sign, autojump_clock: MockClock
) -> None:
    gate = await opened_gate(None, Grantee.EVERYONE)
    assert await reached(gate, sign, "OTHER") == set()
    gate = await opened_gate(AclPermission.FULL_CONTROL, Grantee.EVERYONE)
    everything = (AclGrant(Grantee.EVERYONE, b"", AclPermission.FULL_CONTROL),)
    await set_lists(gate.rig, everything, Ownership.BUCKET_OWNER)
    assert await reached(gate, sign, "OTHER") == set()
    await set_lists(gate.rig, everything, Ownership.PREFERRED, IGNORING)
    assert await reached(gate, sign, "OTHER") == set()
    if sign is not by_nobody:
        names = {each.name for each in IMPLEMENTED if can_carry(sign, each)}
        of_bucket = names - {each.name for each in IMPLEMENTED if each.action in OF_TENANT}
        assert await reached(gate, sign, "AK") == of_bucket - {"DeleteObjects"}
