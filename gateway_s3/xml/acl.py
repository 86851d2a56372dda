"""Documents with access control lists and with the ownership of objects, read and written.

Source: Amazon S3 API Reference, PutBucketAcl, PutObjectAcl, PutBucketOwnershipControls.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NoReturn

from common import limits
from common.data_classes import dataclass
from common.format.access_lists import AclGrant, AclPermission, Grantee, Ownership
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.request.acl import GROUP_URIS, OWNERSHIPS, grant_of, too_many_grants
from gateway_s3.xml.read import Tree, malformed, members_of, parse_children

_ROOT: Final = "AccessControlPolicy"
_ELEMENTS: Final = 8 * limits.MAX_ACL_GRANTS + 64
_GRANTEES: Final = {"ID": "id", "URI": "uri", "EmailAddress": "emailaddress"}
_NAMES: Final = frozenset({*_GRANTEES, "DisplayName"})
_OWNERSHIP_NAMES: Final = {rule: name for name, rule in OWNERSHIPS.items()}


@dataclass(frozen=True, slots=True)
class AskedDocument:
    """A list that a document asks for. ``owner``: the account that it says is the owner."""

    owner: str
    grants: tuple[AclGrant, ...]


def parse_acl(data: bytes) -> AskedDocument:
    """Read an AccessControlPolicy document.

    Raises:
        S3Error: MalformedACLError; InvalidArgument, MethodNotAllowed: as
            :func:`gateway_s3.request.acl.grant_of`.
    """
    try:
        children = parse_children(data, _ROOT, 2, _ELEMENTS)
    except S3Error as error:
        if error.code is not errors.MALFORMED_XML:
            raise
        _malformed()
    found = {child.name: child for child in children}
    if len(children) != 2 or found.keys() != {"Owner", "AccessControlList"}:
        _malformed()
    owner = _members(found["Owner"], frozenset({"ID", "DisplayName"})).get("ID")
    if owner is None or not owner.text.strip():
        _malformed()
    rows = found["AccessControlList"].children
    if len(rows) > limits.MAX_ACL_GRANTS:
        too_many_grants()
    return AskedDocument(owner.text.strip(), tuple(dict.fromkeys(map(_grant, rows))))


def _grant(element: Tree) -> AclGrant:
    if element.name != "Grant":
        _malformed()
    members = _members(element, frozenset({"Grantee", "Permission"}))
    if len(members) != 2:
        _malformed()
    name = members["Permission"].text.strip()
    if name not in AclPermission.__members__:
        _malformed()
    grantee = _members(members["Grantee"], _NAMES)
    given = [(kind, grantee[each]) for each, kind in _GRANTEES.items() if each in grantee]
    if len(given) != 1:
        _malformed()
    ((kind, value),) = given
    return grant_of(kind, value.text.strip(), AclPermission[name])


def _members(element: Tree, known: frozenset[str]) -> dict[str, Tree]:
    try:
        return dict(members_of(element, known))
    except S3Error:
        _malformed()


def _malformed() -> NoReturn:
    raise S3Error(errors.MALFORMED_ACL)


def acl_elements(grants: tuple[AclGrant, ...]) -> Iterator[tuple[str, str, str]]:
    """Yield the type, the name (an account or the URI of a group) and the permission of each
    grant."""
    for grant in grants:
        permission = AclPermission(grant.permission).name
        if grant.grantee == Grantee.ACCOUNT:
            yield "CanonicalUser", grant.account.hex(), permission
        else:
            yield "Group", GROUP_URIS[Grantee(grant.grantee)], permission


def parse_ownership(data: bytes) -> Ownership:
    """Read an OwnershipControls document. Raises S3Error MalformedXML."""
    rules = parse_children(data, "OwnershipControls", 1, 2)
    if len(rules) != 1 or rules[0].name != "Rule" or len(rules[0].children) != 1:
        malformed()
    (rule,) = rules[0].children
    name = rule.text.strip()
    if rule.name != "ObjectOwnership" or rule.children or name not in OWNERSHIPS:
        malformed()
    return OWNERSHIPS[name]


def ownership_tree(rule: Ownership) -> Tree:
    """The OwnershipControls document of a rule."""
    named = Tree("ObjectOwnership", _OWNERSHIP_NAMES[rule])
    return Tree("OwnershipControls", "", (Tree("Rule", "", (named,)),))
