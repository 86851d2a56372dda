"""Principals, the callers of a gateway, and buckets with their owners. An access key makes a call;
a tenant owns the data that the call is about.

Source: docs/decisions/0021-authorization.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from common.crypto.keys import TenantKey
from common.format.objects import BucketSettings
from common.ids import BucketId
from common.wire.messages.base import STANDARD_CLASS
from common.wire.messages.buckets import UNVERSIONED


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """A caller that proved an access key. ``tenant``: of the key."""

    tenant: TenantKey
    access_key_id: str


@dataclass(frozen=True, slots=True)
class Anonymous:
    """A caller that proved nothing."""


Principal: TypeAlias = KeyHolder | Anonymous


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket and its owner. ``settings``: of ``revision``, which compare-and-set needs.
    ``storage_class``: the name of the class that new objects are written in.
    ``versioning``: as it was when the bucket was read."""

    name: str
    owner: TenantKey
    bucket_id: BucketId
    settings: BucketSettings
    revision: int
    storage_class: str = STANDARD_CLASS
    versioning: int = UNVERSIONED


@dataclass(frozen=True, slots=True)
class ForeignBucket:
    """A bucket of which only this is known: it is not the asking tenant's."""

    name: str
