"""Facts about an object that a policy asks about: looked up only where one does.

Source: docs/decisions/0039-bucket-policies.md.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.principals import Bucket, account_of
from gateway.tagging import tags_by_name
from gateway.versions import VersionName
from gateway_s3.auth.circumstances import RequestCircumstances
from gateway_s3.backend import Backend


async def informed(
    backend: Backend,
    circumstances: RequestCircumstances,
    bucket: Bucket,
    key: bytes,
    version: VersionName | None,
) -> RequestCircumstances:
    """Return the circumstances of a request to this object: with the version that is named, the
    bucket's owner, and the tags that the object has where the policy of the bucket or the user asks
    about them; where none does, this costs no call.

    Args:
        key: or empty, where it is about the bucket.
        version: that the request names.
    """
    owner = account_of(bucket.owner)
    if (circumstances.owner, circumstances.version) != (owner, version):
        circumstances = replace(circumstances, owner=owner, version=version)
    rules, policies = bucket.rules.policy, circumstances.principal.policies
    asks = (rules is not None and rules.asks_existing_tags) or any(
        each.asks_existing_tags for each in policies
    )
    if not key or not asks:
        return circumstances
    tags = await tags_by_name(backend, bucket, backend.names.encode(key), version)
    return replace(circumstances, existing_tags=tags)
