"""The document that says how a bucket's new objects are encrypted.

Source: Amazon S3 API Reference, PutBucketEncryption, ServerSideEncryptionRule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from common.data_classes import dataclass
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.request.encryption import AES256, KMS
from gateway_s3.xml.read import Tree, malformed, parse_configuration

_ROOT: Final = "ServerSideEncryptionConfiguration"
_DEFAULT: Final = "ApplyServerSideEncryptionByDefault"
_ELSEWHERE: Final = frozenset({"aws:kms:dsse", "aws:fsx"})


@dataclass(frozen=True, slots=True)
class DefaultEncryption:
    """The encryption of new objects. ``key_id``: as it was given, or empty."""

    method: str = AES256
    key_id: str = ""
    bucket_key: bool = False


def parse_encryption(data: bytes) -> DefaultEncryption:
    """Read a document.

    Raises:
        S3Error: MalformedXML; InvalidArgument: a key for a method that has none; NotImplemented:
            what S3 knows and this gateway does not.
    """
    rules = parse_configuration(data, _ROOT).children
    if len(rules) != 1 or rules[0].name != "Rule":
        malformed()
    rule = _named(rules[0], {_DEFAULT, "BucketKeyEnabled", "BlockedEncryptionTypes"})
    if "BlockedEncryptionTypes" in rule:
        blocked = _named(rule["BlockedEncryptionTypes"], {"EncryptionType"})
        if {each.text for each in blocked.values()} != {"NONE"}:
            raise S3Error(errors.NOT_IMPLEMENTED, Element="BlockedEncryptionTypes")
    bucket_key = rule.get("BucketKeyEnabled", Tree("", "false")).text
    if _DEFAULT not in rule or bucket_key not in {"true", "false"}:
        malformed()
    default = _named(rule[_DEFAULT], {"SSEAlgorithm", "KMSMasterKeyID"})
    method = default.get("SSEAlgorithm", Tree("")).text
    key_id = default.get("KMSMasterKeyID", Tree("")).text
    if method in _ELSEWHERE or (method == AES256 and bucket_key == "true"):
        raise S3Error(errors.NOT_IMPLEMENTED, Element="SSEAlgorithm")
    if method not in {AES256, KMS}:
        malformed()
    if key_id and method != KMS:
        raise S3Error(
            errors.INVALID_ARGUMENT,
            "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or "
            "aws:kms:dsse",
            ArgumentName=_DEFAULT,
        )
    return DefaultEncryption(method, key_id, bucket_key == "true")


def _named(element: Tree, known: set[str]) -> Mapping[str, Tree]:
    """The children of an element by their names. Raises S3Error: others, or one of them twice."""
    found = {child.name: child for child in element.children}
    if len(found) < len(element.children) or not found.keys() <= known:
        malformed()
    return found


def encryption_tree(default: DefaultEncryption) -> Tree:
    """The document of an encryption."""
    algorithm = Tree("SSEAlgorithm", default.method)
    key = (Tree("KMSMasterKeyID", default.key_id),) if default.key_id else ()
    applied = Tree(_DEFAULT, "", (algorithm, *key))
    bucket_key = Tree("BucketKeyEnabled", "true" if default.bucket_key else "false")
    return Tree(_ROOT, "", (Tree("Rule", "", (applied, bucket_key)),))
