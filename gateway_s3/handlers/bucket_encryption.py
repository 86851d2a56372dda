"""The encryption of a bucket's new objects: set, shown, and set back.

Source: Amazon S3 API Reference, PutBucketEncryption, GetBucketEncryption, DeleteBucketEncryption.
"""

from __future__ import annotations

from common.format.configurations import CONFIGURATION_VERSION, BucketEncryption
from common.http.records import HttpResponse
from gateway.configurations import set_document
from gateway.principals import ENCRYPTION, account_of
from gateway_s3.backend import Backend, Call
from gateway_s3.documents import read_document
from gateway_s3.handlers.answers import xml_response
from gateway_s3.request.encryption import KMS, key_name
from gateway_s3.xml.encryption import DefaultEncryption, encryption_tree, parse_encryption
from gateway_s3.xml.write import configuration


async def put_encryption(backend: Backend, call: Call) -> HttpResponse:
    """Set the named key of new objects that name none; or none, which is AES256.

    Raises:
        NotFound: ``no_such_named_key``.
        Refused: ``named_key_disabled``.
    """
    asked = await read_document(backend, call, parse_encryption)
    if asked.method != KMS:
        await set_document(backend, call.bucket, ENCRYPTION, None)
        return HttpResponse(200)
    owner = call.bucket.owner
    name = key_name(asked.key_id, backend.region, account_of(owner))
    (await backend.key_rings.of(owner)).usable(name)
    kept = BucketEncryption(CONFIGURATION_VERSION, name, asked.key_id, asked.bucket_key)
    await set_document(backend, call.bucket, ENCRYPTION, kept.pack())
    return HttpResponse(200)


async def get_encryption(backend: Backend, call: Call) -> HttpResponse:
    """Show the encryption of new objects."""
    kept = call.bucket.encryption
    shown = DefaultEncryption()
    if kept is not None:
        shown = DefaultEncryption(KMS, kept.given, kept.bucket_key)
    return xml_response(configuration(encryption_tree(shown)))


async def delete_encryption(backend: Backend, call: Call) -> HttpResponse:
    """Have new objects encrypted with AES256 unless they say otherwise."""
    await set_document(backend, call.bucket, ENCRYPTION, None)
    return HttpResponse(204)
