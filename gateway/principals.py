"""Principals, the callers of a gateway, and buckets with their owners. An access key makes a call;
a tenant owns the data that the call is about.

Source: docs/decisions/0021-authorization.md.
"""

from __future__ import annotations

from dataclasses import field
from typing import Final, TypeAlias

from common.crypto.keys import TenantKey
from common.data_classes import dataclass
from common.errors import Corrupt
from common.format.configurations import (
    AccessLogging,
    BucketEncryption,
    unpack_access_logging,
    unpack_encryption,
)
from common.format.objects import BucketSettings
from common.ids import BucketId
from common.wire.messages.base import STANDARD_CLASS
from common.wire.messages.buckets import UNVERSIONED, ClassName
from common.wire.messages.locks import DefaultRetention
from gateway.access.policy import Policy, PolicyCaller
from gateway.access.rules import AccessRules, rules_of
from gateway.lifecycle import Lifecycle, lifecycle_of
from gateway.notifications import Notifications, notifications_of

ENCRYPTION: Final = "encryption"
"""The kind of the document that says which named key protects a bucket's new objects."""
LOGGING: Final = "logging"
"""The kind of the document that says where a bucket's access log is written."""
NOBODY: Final = PolicyCaller(None)


def account_of(tenant: TenantKey) -> str:
    """Return the id of a tenant as policies and lists name it."""
    return tenant.tenant_id.hex()


@dataclass(frozen=True, slots=True)
class Session:
    """The session that a temporary key is for. ``issued_s``: Unix seconds. ``role``: that was
    assumed, for a session called ``name``; None: it is the user's own. ``policy``: which limits the
    session beside the policies of its user or role."""

    issued_s: int
    role: str | None = None
    name: str = ""
    policy: Policy | None = None


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """A caller that proved an access key. ``tenant``: of the key. ``user``: of the tenant; neither
    a user nor a session of a role: the key is the tenant's own, which may do all that the tenant
    may. ``policy``: of the user or the role, which may do what it allows. ``session``: of a
    temporary key."""

    tenant: TenantKey
    access_key_id: str
    user: str | None = None
    policy: Policy | None = None
    session: Session | None = None

    def __post_init__(self) -> None:
        role = None if self.session is None else self.session.role
        is_account = self.user is None and role is None
        assert is_account is (self.policy is None), "a user or a role has a policy"

    @property
    def caller(self) -> PolicyCaller:
        """Return who this is in the words of policies."""
        if self.session is None:
            return PolicyCaller(account_of(self.tenant), self.user)
        return PolicyCaller(
            account_of(self.tenant), self.user, self.session.role, self.session.name
        )

    @property
    def bound(self) -> Policy | None:
        """Return the policy of the session, beyond which nothing is allowed."""
        return None if self.session is None else self.session.policy

    @property
    def policies(self) -> tuple[Policy, ...]:
        """Return the policies that decide about it wherever it goes."""
        return tuple([each for each in (self.policy, self.bound) if each is not None])


@dataclass(frozen=True, slots=True)
class Anonymous:
    """A caller that proved nothing."""

    @property
    def policy(self) -> None:
        """Return the policy of a user, which this is not."""

    @property
    def bound(self) -> None:
        """Return the policy of a session, which this is not."""

    @property
    def policies(self) -> tuple[()]:
        """Return the policies of its own: none."""
        return ()

    @property
    def caller(self) -> PolicyCaller:
        """Return who this is in the words of policies."""
        return NOBODY


Principal: TypeAlias = KeyHolder | Anonymous


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket and its owner. ``settings``: of ``revision``, which compare-and-set needs.
    ``storage_class``: the name of the class that new objects are written in, and ``class_names``:
    the names that lead to another one, ``versioning``, ``default_retention`` (None: its versions
    cannot be locked): as they were when the bucket was read. ``rules``: about access,
    ``lifecycle``: about expiry, ``encryption``: of new objects, ``notifications``: about events,
    and ``logging``: about its access log, all but the first None without any, are read from the
    settings once for each revision, so that a remembered bucket is the memory of its parsed policy,
    too."""

    name: str
    owner: TenantKey
    bucket_id: BucketId
    settings: BucketSettings
    revision: int
    storage_class: str = STANDARD_CLASS
    versioning: int = UNVERSIONED
    default_retention: DefaultRetention | None = None
    class_names: tuple[ClassName, ...] = ()
    rules: AccessRules = field(init=False, repr=False, compare=False)
    lifecycle: Lifecycle | None = field(init=False, repr=False, compare=False)
    encryption: BucketEncryption | None = field(init=False, repr=False, compare=False)
    notifications: Notifications | None = field(init=False, repr=False, compare=False)
    logging: AccessLogging | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", rules_of(self.settings, self.name))
        object.__setattr__(self, "lifecycle", lifecycle_of(self.settings))
        encryption = self.settings.document(ENCRYPTION)
        told = None if encryption is None else unpack_encryption(encryption)
        object.__setattr__(self, "encryption", told)
        object.__setattr__(self, "notifications", notifications_of(self.settings))
        object.__setattr__(self, "logging", _logging_of(self.settings))

    def own_class(self, class_name: str) -> str:
        """Return the storage class to which a class name leads in this bucket; empty: to the
        bucket's."""
        for each in self.class_names:
            if each.name == class_name:
                return each.storage_class
        return ""

    def class_of(self, class_name: str) -> str:
        """Return the storage class in which objects of a class name are written."""
        return self.own_class(class_name) or self.storage_class


def _logging_of(settings: BucketSettings) -> AccessLogging | None:
    """Return the target of a bucket's access log; None: it has none, or one of a version that
    cannot be read."""
    body = settings.document(LOGGING) if settings.documents else None
    if body is None:
        return None
    try:
        return unpack_access_logging(body)
    except Corrupt:
        return None


@dataclass(frozen=True, slots=True)
class ForeignBucket:
    """A bucket of which only this is known: it is not the asking tenant's."""

    name: str
