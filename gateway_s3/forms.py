"""Forms that browsers send: read up to their file and proven; and their file, a body whose length
is known at its end.

The end of the body, FORM_TAIL_BYTES of it, is held until the boundary behind the file is found. All
before that is of the file, and streams like any body.

Source: docs/s3-compatibility.md, "Forms".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final
from urllib.parse import urlencode

from common import limits
from common.client.body_reader import Source
from common.data_classes import dataclass
from common.http.records import Headers, HttpRequest
from common.ports import Buffer
from gateway.checksums import Algorithm, new_checksum
from gateway.ingest import Hash
from gateway.principals import Anonymous, Principal
from gateway_s3 import errors
from gateway_s3.auth.access_keys import AccessKeys
from gateway_s3.auth.post_form import (
    SIGNING,
    check_form_time,
    missing_field,
    parse_form_claim,
    verify_form,
)
from gateway_s3.auth.sigv2 import SignatureV2
from gateway_s3.auth.sigv4 import ALGORITHM, two_mechanisms
from gateway_s3.errors import S3Error
from gateway_s3.request.checksums import Expected, content_md5, expected_checksum
from gateway_s3.request.form import FormHead, form_boundary, malformed
from gateway_s3.request.header_rules import check_headers
from gateway_s3.request.headers import CONTENT_HEADERS
from gateway_s3.request.names import check_key
from gateway_s3.request.post_policy import PostPolicy, parse_post_policy
from gateway_s3.request.query import Query
from gateway_s3.request.tags import HEADER as TAGGING
from gateway_s3.request.tags import object_tags
from gateway_s3.xml.configurations import parse_tagging

_FILENAME: Final = "${filename}"
_KEPT: Final = frozenset({name.decode("ascii") for name in CONTENT_HEADERS} | {"content-md5"})
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_TAGGING: Final = TAGGING.decode("ascii")
_ANYTHING: Final = PostPolicy(float("inf"), ())
_AUTHORIZING: Final = ("X-Amz-Signature", "X-Amz-Algorithm", "X-Amz-Credential", "Signature")


@dataclass(frozen=True, slots=True)
class PostForm:
    """A form up to its file. ``fields``: by their names in lower case, ``${filename}`` put in.
    ``headers``: a request for the object with the headers that the fields stand for."""

    head: FormHead
    fields: Mapping[str, str]
    headers: HttpRequest
    key: bytes
    remaining_bytes: int
    policy: PostPolicy = _ANYTHING

    @property
    def signature_version(self) -> str:
        """The version of the signature that it has, if it has any."""
        return ALGORITHM if "x-amz-signature" in self.fields else "AWS"

    @property
    def tagging(self) -> bytes | None:
        """The document of the field with tags."""
        text = self.fields.get("tagging")
        return None if text is None else text.encode("utf-8")


def described_by(form: PostForm, request: HttpRequest) -> HttpRequest:
    """Return the request with the headers that its form's fields stand for before its own: what the
    rules of a bucket are asked about. Its tags are a header, too."""
    headers = list(form.headers.headers)
    if form.tagging is not None:
        with suppress(S3Error):  # The handler refuses what cannot be read.
            pairs = object_tags(parse_tagging(form.tagging)).as_mapping()
            headers.append((TAGGING, urlencode(pairs).encode("ascii")))
    return replace(request, headers=[*headers, *request.headers])


async def read_form(request: HttpRequest) -> PostForm:
    """Read a form up to its file.

    Raises:
        S3Error: PreconditionFailed, MalformedPOSTRequest, MaxPostPreDataLengthExceeded: it cannot
            be read as a form; MissingContentLength; InvalidArgument: a field is missing, or
            there twice; what :func:`gateway_s3.request.header_rules.check_headers` raises.
    """
    boundary = form_boundary(request.header(b"content-type"))
    length = request.body.length
    if length is None:
        raise S3Error(errors.MISSING_CONTENT_LENGTH)
    head = FormHead(boundary)
    while True:
        data = await request.body.receive()
        if not len(data):
            raise malformed()
        if head.feed(data):
            break
    fields = _fields(head)
    key = fields.get("key")
    if not key:
        raise missing_field("key")
    return PostForm(
        head,
        fields,
        _as_headers(request, fields),
        check_key(key.encode("utf-8")),
        length - head.file_start,
    )


def _fields(head: FormHead) -> Mapping[str, str]:
    """The fields by their names. Raises S3Error: one comes twice, or is not UTF-8."""
    assert head.file is not None
    found: dict[str, str] = {}
    for raw_name, value in head.fields:
        name = raw_name.lower()
        if name in found and not name.startswith("x-amz-meta-"):
            raise S3Error(
                errors.INVALID_ARGUMENT, "A field is given more than once.", ArgumentName=name[:64]
            )
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError:
            raise malformed() from None
        if head.file.name is not None and name not in SIGNING:
            text = text.replace(_FILENAME, head.file.name)
        found[name] = f"{found[name]},{text}" if name in found else text
    return found


def _as_headers(request: HttpRequest, fields: Mapping[str, str]) -> HttpRequest:
    """The request with headers in which the object is said to be as the fields say.

    Raises:
        S3Error: as :func:`gateway_s3.request.header_rules.check_headers`; InvalidArgument: a name
            that no header can have; NotImplemented: tags in the form of a header.
    """
    headers: Headers = []
    for name, text in fields.items():
        if name in SIGNING:
            continue
        header = "x-amz-acl" if name == "acl" else name
        if header not in _KEPT and not header.startswith("x-amz-"):
            continue
        if _NAME.fullmatch(header) is None:
            raise S3Error(errors.INVALID_ARGUMENT, ArgumentName=name[:64])
        if header == _TAGGING:
            # The object gets the tags of the field ``tagging``, whatever this one says.
            raise S3Error(errors.NOT_IMPLEMENTED, Header=header)
        headers.append((header.encode("ascii"), text.encode("utf-8").strip(b" \t")))
    shown = HttpRequest("PUT", request.target, request.path, b"", headers, secure=request.secure)
    check_headers(shown, "PutObject")
    return shown


async def prove_form(
    request: HttpRequest,
    query: Query,
    form: PostForm,
    bucket: str,
    *,
    keys: AccessKeys,
    now: float,
    region: str,
    signature_v2: SignatureV2,
) -> tuple[Principal, PostForm]:
    """Prove who signed a form, and that it is one that was signed.

    Args:
        bucket: of the request.
        now: Unix seconds.

    Returns:
        The principal, and the form with its policy.

    Raises:
        S3Error: it is signed, but not completely, by nobody we know, wrongly, or not for now; it is
            not what its policy allows.
        Unavailable: no coordinator can say who the signer is.
    """
    if request.header(b"authorization") or any(name in query for name in _AUTHORIZING):
        raise two_mechanisms()
    claim = parse_form_claim(
        form.fields, region=region, accepts_v2=signature_v2 is not SignatureV2.OFF
    )
    principal: Principal = Anonymous()
    if claim is not None:
        check_form_time(claim, now)
        credential = await keys.signer(claim.access_key_id, claim.token, now)
        verify_form(claim, credential.secret)
        principal = credential.holder()
    elif "policy" not in form.fields:
        return principal, form
    policy = parse_post_policy(form.fields["policy"].encode("utf-8"))
    policy.check(form.fields, bucket, now)
    return principal, replace(form, policy=policy)


class FormFile:
    """The file of a form, as two runs of bytes: what is of the file for sure, and the rest.

    Args:
        request: whose body was read up to the file.

    Raises:
        S3Error: EntityTooSmall, EntityTooLarge: however the form ends; InvalidDigest,
            InvalidRequest: a digest that is none.
    """

    def __init__(self, request: HttpRequest, form: PostForm) -> None:
        self._body = request.body
        self._form = form
        self._delimiter = form.head.delimiter
        self._pending: Buffer = form.head.rest()
        self.sure_bytes = max(0, form.remaining_bytes - limits.FORM_TAIL_BYTES)
        """The first run, of which it is known that it is of the file once it is in."""
        self.size = 0
        """Bytes of the file, once its end is found."""
        form.policy.check_size(max(self.sure_bytes, form.policy.least))
        most = form.remaining_bytes - len(self._delimiter)
        if most < 0:
            raise malformed()
        form.policy.check_size(min(most, form.policy.most))
        self._expected: Expected | None = expected_checksum(form.headers)
        self._content_md5 = content_md5(form.headers)
        said = self._expected.algorithm if self._expected is not None else None
        self.algorithm = said or Algorithm.CRC64NVME
        self._checksum = new_checksum(self.algorithm)
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._taken_bytes = 0
        self._overlap = b""

    @property
    def digests(self) -> tuple[list[Hash], list[Hash]]:
        """The running digests, slow and fast ones."""
        slow: list[Hash] = [self._md5]
        fast: list[Hash] = []
        (fast if self.algorithm.is_crc else slow).append(self._checksum)
        return slow, fast

    @property
    def is_vouched_for(self) -> bool:
        """Return whether the form has a digest of the file."""
        return self._expected is not None or self._content_md5 is not None

    def md5(self) -> bytes:
        """MD5 of the whole file, once it is in."""
        return self._md5.digest()

    def checksum(self) -> bytes:
        """The stored checksum's digest of the whole file, once it is in."""
        return self._checksum.digest()

    async def receive_sure(self) -> Buffer:
        """The next bytes of the first run; empty at its end.

        Raises:
            S3Error: MalformedPOSTRequest: the file ends within it: what stands behind it is longer
                than may be.
        """
        left = self.sure_bytes - self._taken_bytes
        if not left:
            return b""
        chunk = await self._receive()
        if not len(chunk):
            return b""
        if len(chunk) > left:
            view = memoryview(chunk)
            chunk, self._pending = view[:left], view[left:]
        self._taken_bytes += len(chunk)
        self._look_for_end(chunk)
        return chunk

    def _look_for_end(self, chunk: Buffer) -> None:
        width = len(self._delimiter) - 1
        joined = self._overlap + bytes(memoryview(chunk)[:width])
        if self._delimiter in joined or (
            len(chunk) > width and bytes(chunk).find(self._delimiter) >= 0
        ):
            raise malformed()
        self._overlap = (self._overlap + bytes(memoryview(chunk)[-width:]))[-width:]

    async def _receive(self) -> Buffer:
        pending, self._pending = self._pending, b""
        return pending if len(pending) else await self._body.receive()

    async def take_rest(self, source: Source) -> bytes:
        """The second run, once the first is in and room for it is taken.

        Args:
            source: over :meth:`receive_rest`, with all of the body gathered.

        Raises:
            S3Error: MalformedPOSTRequest: no boundary ends the file; EntityTooSmall,
                EntityTooLarge.
        """
        tail = bytes(await source.take(self.tail_bytes))
        at = (self._overlap + tail).find(self._delimiter) - len(self._overlap)
        if at < 0:
            raise malformed()
        self.size = self.sure_bytes + at
        self._form.policy.check_size(self.size)
        return tail[:at]

    @property
    def tail_bytes(self) -> int:
        """Bytes of the body behind the first run."""
        return self._form.remaining_bytes - self.sure_bytes

    async def receive_rest(self) -> Buffer:
        """The next bytes behind the first run."""
        return await self._receive()

    def check(self) -> None:
        """Hold the digests of the file against what the form says. Raises S3Error BadDigest."""
        if self._content_md5 is not None and self._md5.digest() != self._content_md5:
            raise S3Error(errors.BAD_DIGEST)
        expected = self._expected
        if expected is not None and self._checksum.digest() != expected.digest:
            raise S3Error(
                errors.BAD_DIGEST,
                f"The {self.algorithm.value} you specified did not match the calculated checksum.",
            )
