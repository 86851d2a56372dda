"""Class names of versions and uploads, sealed and opened where they belong.

Source: docs/crypto.md, "Sealed records"; docs/decisions/0057-class-names.md.
"""

from __future__ import annotations

from common.crypto.keys import TenantKey
from common.format.class_names import pack_class_name, unpack_class_name
from common.format.manifest import open_class_name, seal_class_name
from common.ids import BucketId, VersionId
from common.ports import Entropy
from common.wire.messages.objects import NamedClass
from gateway.principals import Bucket


def sealed_class_name(
    owner: TenantKey,
    bucket_id: BucketId,
    name: bytes,
    version_id: VersionId,
    class_name: str,
    entropy: Entropy,
) -> bytes:
    """Return a class name sealed for a version, or for an upload of this id; the empty one is
    nothing."""
    if not class_name:
        return b""
    packed = pack_class_name(class_name)
    return seal_class_name(owner, bucket_id, name, version_id, packed, entropy)


def opened_class_name(
    owner: TenantKey, bucket_id: BucketId, name: bytes, version_id: VersionId, sealed: bytes
) -> str:
    """Return the class name of a version or an upload.

    Raises:
        Corrupt: it was not sealed for this one, or is none.
    """
    if not sealed:
        return ""
    return unpack_class_name(open_class_name(owner, bucket_id, name, version_id, sealed))


def named_class(
    bucket: Bucket, name: bytes, version_id: VersionId, class_name: str, entropy: Entropy
) -> NamedClass | None:
    """Return the class that is asked for an object, for the coordinator.

    Args:
        bucket: of the object.
        class_name: empty: none is asked for.
    """
    if not class_name:
        return None
    place = (bucket.owner, bucket.bucket_id, name, version_id)
    sealed = sealed_class_name(*place, class_name, entropy)
    return NamedClass(sealed, bucket.own_class(class_name))
