"""The facts of a request that conditions of policies look at. Pure.

Source: AWS IAM User Guide, "AWS global condition context keys"; Amazon S3 User Guide, "Bucket
policy examples using condition keys".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from common.data_classes import dataclass
from common.http.records import HttpRequest
from common.wire.messages.locks import Lock
from gateway.access.policy import EXISTING_TAG, LOCK, NOBODYS_ID, REQUEST_TAG, USER_ID, PolicyCaller
from gateway.principals import KeyHolder, Principal
from gateway.versions import VersionName
from gateway_s3.auth.sigv4 import Verified
from gateway_s3.errors import S3Error
from gateway_s3.request.locks import HOLD_NAMES, MODE_NAMES, lock_of_request
from gateway_s3.request.operations import BY_NAME
from gateway_s3.request.query import Query
from gateway_s3.request.tags import HEADER, parse_tagging_header
from gateway_s3.request.version_ids import version_text

_S3: Final = "s3:"
_HEADERS: Final = "s3:x-amz-"
_OF_QUERY: Final[Mapping[str, str]] = {
    "s3:delimiter": "delimiter",
    "s3:max-keys": "max-keys",
    "s3:prefix": "prefix",
}
_OF_HEADERS: Final[Mapping[str, bytes]] = {
    "aws:referer": b"referer",
    "aws:useragent": b"user-agent",
    "s3:if-match": b"if-match",
    "s3:if-none-match": b"if-none-match",
}


_DAY_S: Final = 86_400
_CREATES: Final[Mapping[str, str]] = {
    "PutObject": "true",
    "PostObject": "true",
    "CopyObject": "true",
    "CompleteMultipartUpload": "true",
    "CreateMultipartUpload": "false",
    "UploadPart": "false",
    "UploadPartCopy": "false",
}
"""The operations that need the permission to write an object, and whether they make one."""


@dataclass(frozen=True, slots=True)
class RequestCircumstances:
    """Circumstances of a request, looked up only where a policy asks.

    ``request``: with the headers that the fields of a form stand for. ``now``: unix seconds.
    ``operation``: its name. ``version``: that is named, of one key of a list or of the source of a
    copy, too. ``owner``: the account that owns the bucket; empty where there is none.
    ``form_signature``: the version of the signature of a form; None: it is none. ``if_match``: of
    one key of a list. ``given_tags``, ``given_lock``: where no header gives them.
    ``existing_tags``: of its object, where they were looked up.
    """

    request: HttpRequest
    query: Query
    principal: Principal
    verified: Verified
    now: float
    region: str
    operation: str
    version: VersionName | None = None
    owner: str = ""
    form_signature: str | None = None
    if_match: str | None = None
    given_tags: Mapping[str, str] | None = None
    existing_tags: Mapping[str, str] | None = None
    given_lock: Lock | None = None

    def values(self, key: str) -> Sequence[str] | None:
        """Return the values of a condition key; None where the request has none."""
        parameter = _OF_QUERY.get(key)
        if parameter is not None:
            # Another operation ignores it: it says nothing of what is done.
            operation = BY_NAME.get(self.operation)
            understood = operation is not None and parameter in operation.parameters
            return _one(self.query.get(parameter)) if understood else None
        if key == "s3:versionid":
            return _one(None if self.version is None else version_text(self.version))
        header = _OF_HEADERS.get(key)
        if header is None and key.startswith(_HEADERS):
            header = key.removeprefix(_S3).encode("utf-8", "replace")
        if key == "s3:if-match" and self.if_match is not None:
            return (self.if_match,)
        if key.startswith(LOCK):
            return _one(self._given_lock().get(key.removeprefix(LOCK)))
        if header is not None:
            return _one(_text(self.request.header(header)))
        if key.startswith(EXISTING_TAG):
            return _one((self.existing_tags or {}).get(key.removeprefix(EXISTING_TAG)))
        if key.startswith(REQUEST_TAG):
            return _one(self._request_tags().get(key.removeprefix(REQUEST_TAG)))
        find = _OTHERS.get(key)
        return None if find is None else find(self)

    def _given_lock(self) -> Mapping[str, str]:
        lock = self.given_lock
        if lock is None:
            try:
                lock = lock_of_request(self.request, 0)
            except S3Error:
                return {}  # The handler refuses the request for it.
        given = {"mode": MODE_NAMES.get(lock.mode), "legal-hold": HOLD_NAMES.get(lock.hold)}
        if lock.mode in MODE_NAMES:
            until_s = lock.until_ms / 1000
            given["retain-until-date"] = _time(until_s)
            given["remaining-retention-days"] = f"{(until_s - self.now) / _DAY_S:.6f}"
        return {name: value for name, value in given.items() if value is not None}

    def _request_tags(self) -> Mapping[str, str]:
        if self.given_tags is not None:
            return self.given_tags
        if (
            self.operation == "CopyObject"
            and self.request.header(b"x-amz-tagging-directive") != b"REPLACE"
        ):
            return {}  # The header means nothing: the tags are the source's.
        header = self.request.header(HEADER)
        if header is None:
            return {}
        try:
            return parse_tagging_header(header).as_mapping()
        except S3Error:
            return {}  # The handler refuses the request for it.

    def source_address(self) -> str | None:
        """The address of the other end of the connection, without its port."""
        host = self.request.remote.rpartition(":")[0]
        return host.strip("[]") or None

    def principal_id(self) -> str:
        """The caller as events and policies name it."""
        return user_id_of(self.principal.caller)

    def account(self) -> str | None:
        """The account that asks."""
        return self.principal.caller.account

    def signature_age_ms(self) -> str | None:
        """Milliseconds since a presigned URL was made."""
        if not self.verified.presigned or not self.verified.scope:
            return None
        signed = datetime.strptime(self.verified.timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return str(max(0, int((self.now - signed.timestamp()) * 1000)))

    def authentication(self) -> tuple[str | None, str | None]:
        """The way in which it was signed, and the version of the signature; or neither."""
        if not isinstance(self.principal, KeyHolder):
            return None, None
        if self.form_signature is not None:
            return "POST", self.form_signature
        return (
            "REST-QUERY-STRING" if self.verified.presigned else "REST-HEADER",
            "AWS4-HMAC-SHA256" if self.verified.scope else "AWS",
        )


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


def _one(value: str | None) -> Sequence[str] | None:
    return None if value is None else (value,)


def _time(now: float) -> str:
    return datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def role_arn(account: str, role: str) -> str:
    """Return the name of a role."""
    return f"arn:aws:iam::{account}:role/{role}"


def arn_of(caller: PolicyCaller) -> str | None:
    """Return the name of a caller; None: it proved nothing."""
    if caller.account is None:
        return None
    if caller.role is not None:
        return role_arn(caller.account, caller.role)
    return f"arn:aws:iam::{caller.account}:" + (f"user/{caller.user}" if caller.user else "root")


def _type(caller: PolicyCaller) -> str:
    if caller.account is None:
        return "Anonymous"
    if caller.role is not None:
        return "AssumedRole"
    return "User" if caller.user else "Account"


def user_id_of(caller: PolicyCaller) -> str:
    """Return what ``aws:userid`` is of a caller."""
    if caller.account is None:
        return NOBODYS_ID
    if caller.role is not None:
        return f"{caller.account}:{caller.role}:{caller.session}"
    return f"{caller.account}:{caller.user}" if caller.user else caller.account


def _issued(principal: Principal) -> Sequence[str] | None:
    """The time at which temporary credentials were issued."""
    session = principal.session if isinstance(principal, KeyHolder) else None
    return None if session is None else (_time(session.issued_s),)


_OTHERS: Final[Mapping[str, Callable[[RequestCircumstances], Sequence[str] | None]]] = {
    "aws:currenttime": lambda facts: (_time(facts.now),),
    "aws:epochtime": lambda facts: (str(int(facts.now)),),
    "aws:principalaccount": lambda facts: _one(facts.account()),
    "aws:principalarn": lambda facts: _one(arn_of(facts.principal.caller)),
    "aws:principaltype": lambda facts: (_type(facts.principal.caller),),
    "aws:requestedregion": lambda facts: (facts.region,),
    "aws:resourceaccount": lambda facts: _one(facts.owner or None),
    "aws:securetransport": lambda facts: ("true" if facts.request.secure else "false",),
    "aws:sourceip": lambda facts: _one(facts.source_address()),
    "aws:tokenissuetime": lambda facts: _issued(facts.principal),
    USER_ID: lambda facts: (user_id_of(facts.principal.caller),),
    "aws:username": lambda facts: _one(facts.principal.caller.user),
    "s3:authtype": lambda facts: _one(facts.authentication()[0]),
    "s3:objectcreationoperation": lambda facts: _one(_CREATES.get(facts.operation)),
    "s3:requestobjecttagkeys": lambda facts: tuple(facts._request_tags()) or None,
    "s3:resourceaccount": lambda facts: _one(facts.owner or None),
    "s3:signatureage": lambda facts: _one(facts.signature_age_ms()),
    "s3:signatureversion": lambda facts: _one(facts.authentication()[1]),
}
