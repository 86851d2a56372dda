"""Requests signed in every way, and every field of each mutated, dropped, repeated, reordered.

A request is taken apart into lists of fields: its headers, the parts of its Authorization, the
elements of its credential, its parameters, the fields of its form, its chunks. The same changes
are made to every field of every list.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from urllib.parse import quote, unquote

import form_client
import signing_v2
from gateway_rig import Answer, Rig
from object_rig import SECRET

from gateway_s3.auth.sigv4 import derive_signing_key

CONTENT = b"first of three" * 10, b"second of three" * 10, b"third of three" * 10
BODY = b"".join(CONTENT)
CRC = base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()


@dataclass(frozen=True)
class Wire:
    """A request as it is sent. ``chunks``: of its body, in the aws-chunked form; else ``body``.
    ``fields``: of a form."""

    method: str
    path: str
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    body: bytes = b""
    chunks: tuple[str, ...] = ()
    trailer: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()

    async def send(self, rig: Rig) -> Answer:
        pairs = [(name, value) for name, _, value in (e.partition(": ") for e in self.headers)]
        body = self.body
        if self.chunks:
            body = "".join((*self.chunks, *self.trailer, "\r\n")).encode("latin-1")
        if self.fields:
            named = [(name, value) for name, _, value in (e.partition("=") for e in self.fields)]
            body = form_client.body_of(named, BODY)
            kind = f"multipart/form-data; boundary={form_client.BOUNDARY}"
            pairs += [("content-type", kind), ("content-length", str(len(body)))]
        return await rig.send(self.method, self.path, "&".join(self.query), body, pairs)


Read = Callable[[Wire], tuple[str, ...]]
Write = Callable[[Wire, tuple[str, ...]], Wire]


@dataclass(frozen=True)
class Fields:
    """A list of fields of a request. ``is_ordered``: another order says something else."""

    name: str
    read: Read
    write: Write
    is_ordered: bool = False


@dataclass(frozen=True)
class Case:
    """A changed request: ``way:list:field:change``."""

    name: str
    wire: Wire


def attribute(name: str, *, is_ordered: bool = False) -> Fields:
    return Fields(
        name,
        lambda wire: getattr(wire, name),
        lambda wire, fields: replace(wire, **{name: fields}),
        is_ordered,
    )


def header(wire: Wire, name: str) -> str:
    return next(line.split(": ", 1)[1] for line in wire.headers if line.startswith(f"{name}: "))


def with_header(wire: Wire, name: str, value: str) -> Wire:
    lines = tuple(
        f"{name}: {value}" if line.startswith(f"{name}: ") else line for line in wire.headers
    )
    return replace(wire, headers=lines)


def parameter(wire: Wire, name: str) -> str:
    return unquote(next(p.split("=", 1)[1] for p in wire.query if p.startswith(f"{name}=")))


def with_parameter(wire: Wire, name: str, value: str) -> Wire:
    shown = f"{name}={quote(value, safe='')}"
    return replace(wire, query=tuple(shown if p.startswith(f"{name}=") else p for p in wire.query))


def form_field(wire: Wire, name: str) -> str:
    return next(f.split("=", 1)[1] for f in wire.fields if f.startswith(f"{name}="))


def with_form_field(wire: Wire, name: str, value: str) -> Wire:
    return replace(
        wire,
        fields=tuple(f"{name}={value}" if f.startswith(f"{name}=") else f for f in wire.fields),
    )


def authorization_part(wire: Wire, name: str) -> str:
    text = header(wire, "authorization")
    return next(p.split("=", 1)[1] for p in text.split(" ", 1)[1].split(", ") if p.startswith(name))


def with_authorization_part(wire: Wire, name: str, value: str) -> Wire:
    mechanism, _, rest = header(wire, "authorization").partition(" ")
    parts = [f"{name}={value}" if p.startswith(name) else p for p in rest.split(", ")]
    return with_header(wire, "authorization", f"{mechanism} {', '.join(parts)}")


AUTHORIZATION = Fields(
    "authorization",
    lambda wire: tuple(header(wire, "authorization").split(" ", 1)[1].split(", ")),
    lambda wire, parts: with_header(wire, "authorization", f"AWS4-HMAC-SHA256 {', '.join(parts)}"),
)


def split(
    name: str, by: str, read: Callable[[Wire], str], write: Callable[[Wire, str], Wire]
) -> Fields:
    return Fields(
        name,
        lambda wire: tuple(read(wire).split(by)),
        lambda wire, parts: write(wire, by.join(parts)),
        is_ordered=True,
    )


OF_HEADER = (
    attribute("headers"),
    AUTHORIZATION,
    split(
        "credential",
        "/",
        lambda wire: authorization_part(wire, "Credential"),
        lambda wire, text: with_authorization_part(wire, "Credential", text),
    ),
    split(
        "signed-headers",
        ";",
        lambda wire: authorization_part(wire, "SignedHeaders"),
        lambda wire, text: with_authorization_part(wire, "SignedHeaders", text),
    ),
)
OF_QUERY = (
    attribute("headers"),
    attribute("query"),
    split(
        "credential",
        "/",
        lambda wire: parameter(wire, "X-Amz-Credential"),
        lambda wire, text: with_parameter(wire, "X-Amz-Credential", text),
    ),
    split(
        "signed-headers",
        ";",
        lambda wire: parameter(wire, "X-Amz-SignedHeaders"),
        lambda wire, text: with_parameter(wire, "X-Amz-SignedHeaders", text),
    ),
)
CHUNKS = attribute("chunks", is_ordered=True)
TRAILER = attribute("trailer", is_ordered=True)


# --- the ways of signing ---------------------------------------------------------------------


def lines(headers: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}: {value}" for name, value in headers.items())


def v4_header(rig: Rig) -> Wire:
    digest = hashlib.sha256(BODY).hexdigest()
    given = {
        "content-length": str(len(BODY)),
        "content-md5": base64.b64encode(hashlib.md5(BODY).digest()).decode(),
        "x-amz-meta-role": "reader",
        "x-amz-storage-class": "STANDARD",
    }
    headers = rig.sign("PUT", "/bucket/key", "", given, payload=digest)
    return Wire("PUT", "/bucket/key", headers=lines(headers), body=BODY)


def v4_header_of_a_listing(rig: Rig) -> Wire:
    query = ("delimiter=%2F", "list-type=2", "max-keys=7", "prefix=old")
    headers = rig.sign("GET", "/bucket", "&".join(query), {}, payload="UNSIGNED-PAYLOAD")
    return Wire("GET", "/bucket", query, lines(headers))


def v4_presigned(rig: Rig) -> Wire:
    query = rig.presign("PUT", "/bucket/key", headers={"x-amz-meta-role": "reader"})
    headers = {"host": rig.host, "x-amz-meta-role": "reader", "content-length": str(len(BODY))}
    return Wire("PUT", "/bucket/key", tuple(query.split("&")), lines(headers), BODY)


def v4_presigned_get(rig: Rig) -> Wire:
    more = "response-content-type=text%2Fplain&x-id=GetObject"
    query = rig.presign("GET", "/bucket/old", more)
    return Wire("GET", "/bucket/old", tuple(query.split("&")), lines({"host": rig.host}))


def chunked(rig: Rig, payload: str, *, signed: bool, trailer: bool) -> Wire:
    given = {
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": str(len(BODY)),
        "x-amz-meta-role": "reader",
    }
    if trailer:
        given["x-amz-trailer"] = "x-amz-checksum-crc32"
    headers = rig.sign("PUT", "/bucket/key", "", given, payload=payload)
    wire = Wire("PUT", "/bucket/key", headers=lines(headers))
    stamp, scope = rig.scope()
    key = derive_signing_key(SECRET, stamp[:8], rig.region)
    before = authorization_part(wire, "Signature")

    def sign(kind: str, *digests: str) -> str:
        text = "\n".join([f"AWS4-HMAC-SHA256-{kind}", stamp, scope, before, *digests])
        return hmac.digest(key, text.encode(), "sha256").hex()

    chunks = []
    for piece in (*CONTENT, b""):
        head = f"{len(piece):x}"
        if signed:
            empty = hashlib.sha256(b"").hexdigest()
            before = sign("PAYLOAD", empty, hashlib.sha256(piece).hexdigest())
            head += f";chunk-signature={before}"
        chunks.append(f"{head}\r\n{piece.decode()}" + ("\r\n" if piece else ""))
    tail = []
    if trailer:
        line = f"x-amz-checksum-crc32:{CRC}"
        tail.append(f"{line}\r\n")
        if signed:
            signature = sign("TRAILER", hashlib.sha256(f"{line}\n".encode()).hexdigest())
            tail.append(f"x-amz-trailer-signature:{signature}\r\n")
    return replace(wire, chunks=tuple(chunks), trailer=tuple(tail))


def v2_header(rig: Rig) -> Wire:
    given = {"content-type": "text/plain", "x-amz-meta-role": "reader"}
    given["content-md5"] = base64.b64encode(hashlib.md5(BODY).digest()).decode()
    headers = signing_v2.signed(rig, "PUT", "/bucket/key", "", given)
    headers["content-length"] = str(len(BODY))
    return Wire("PUT", "/bucket/key", headers=lines(headers), body=BODY)


def v2_presigned(rig: Rig) -> Wire:
    query = signing_v2.url(rig, "GET", "/bucket/old", "response-content-type=text%2Fplain")
    return Wire("GET", "/bucket/old", tuple(query.split("&")), lines({"host": rig.host}))


def v2_presigned_put(rig: Rig) -> Wire:
    given = {"Content-Type": "text/plain", "x-amz-meta-role": "reader"}
    query = signing_v2.url(rig, "PUT", "/bucket/key", headers=given)
    headers = {"host": rig.host, "content-length": str(len(BODY))}
    return Wire("PUT", "/bucket/key", tuple(query.split("&")), lines(headers), BODY)


FORM = {"key": "key", "Content-Type": "text/plain", "x-amz-meta-role": "reader"}


def form(rig: Rig, signed: dict[str, str]) -> Wire:
    fields = tuple(f"{name}={value}" for name, value in signed.items())
    return Wire("POST", "/bucket", headers=lines({"host": rig.host}), fields=fields)


def conditions(wire: Wire) -> tuple[str, ...]:
    policy = json.loads(base64.b64decode(form_field(wire, "policy")))
    return tuple(json.dumps(each) for each in policy["conditions"])


def with_conditions(wire: Wire, given: tuple[str, ...]) -> Wire:
    policy = json.loads(base64.b64decode(form_field(wire, "policy")))
    policy["conditions"] = [json.loads(each) for each in given]
    return with_form_field(wire, "policy", base64.b64encode(json.dumps(policy).encode()).decode())


CONDITIONS = Fields("conditions", conditions, with_conditions)
FORM_CREDENTIAL = split(
    "credential",
    "/",
    lambda wire: form_field(wire, "x-amz-credential"),
    lambda wire, text: with_form_field(wire, "x-amz-credential", text),
)
STREAMING = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
WAYS: dict[str, tuple[Callable[[Rig], Wire], tuple[Fields, ...]]] = {
    "v4-header": (v4_header, OF_HEADER),
    "v4-header-listing": (v4_header_of_a_listing, (*OF_HEADER, attribute("query"))),
    "v4-presigned": (v4_presigned, OF_QUERY),
    "v4-presigned-get": (v4_presigned_get, OF_QUERY),
    "v4-chunked": (
        lambda rig: chunked(rig, STREAMING, signed=True, trailer=False),
        (*OF_HEADER, CHUNKS),
    ),
    "v4-chunked-trailer": (
        lambda rig: chunked(rig, f"{STREAMING}-TRAILER", signed=True, trailer=True),
        (*OF_HEADER, CHUNKS, TRAILER),
    ),
    "v4-unsigned-chunks-trailer": (
        lambda rig: chunked(rig, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", signed=False, trailer=True),
        (*OF_HEADER, CHUNKS, TRAILER),
    ),
    "v2-header": (v2_header, (attribute("headers"),)),
    "v2-presigned": (v2_presigned, (attribute("headers"), attribute("query"))),
    "v2-presigned-put": (v2_presigned_put, (attribute("headers"), attribute("query"))),
    "form-v4": (
        lambda rig: form(rig, form_client.signed(rig, FORM)),
        (attribute("fields"), FORM_CREDENTIAL, CONDITIONS),
    ),
    "form-v2": (
        lambda rig: form(rig, form_client.signed_v2(rig, FORM)),
        (attribute("fields"), CONDITIONS),
    ),
}


# --- the changes -----------------------------------------------------------------------------


def mutated(field: str) -> str:
    """The field with one letter or digit of its value, in the middle, changed to another one."""
    head = re.match(r"[\w-]+(: |=|:)", field)
    start = 0 if head is None else head.end()
    letters = field[start:]
    places = [start + at for at, each in enumerate(letters) if each.isascii() and each.isalnum()]
    at = places[len(places) // 2]
    letter = field[at]
    other = {"9": "8", "f": "e", "F": "E", "z": "y", "Z": "Y"}.get(letter) or chr(ord(letter) + 1)
    return field[:at] + other + field[at + 1 :]


def label(fields: Fields, number: int, field: str) -> str:
    if fields.name in {"chunks", "conditions"}:
        return str(number)
    name = field.replace(": ", "=").replace(":", "=").partition("=")[0]
    return name if fields.name not in {"credential"} else str(number)


NOT_SIGNED = (
    "*:headers:content-length:*",
    "v4-*:headers:content-encoding:*",
    "v2-*:headers:host:mutated",
    "v2-*:headers:host:dropped",
    "v2-presigned-put:query:content-type:repeated",
    "v2-presigned-put:query:x-amz-meta-role:repeated",
)
"""Of HTTP and not of the signature; not signed here; not signed by design of Version 2; said twice
in the same words, which means the same."""


def cases(way: str, rig: Rig) -> Iterator[Case]:
    """Every change of a request that is signed in a way."""
    make, lists = WAYS[way]
    wire = make(rig)
    for fields in lists:
        whole = fields.read(wire)
        for number, field in enumerate(whole):
            before, after = whole[:number], whole[number + 1 :]
            changes = {
                "mutated": (*before, mutated(field), *after),
                "dropped": (*before, *after),
                "repeated": (*before, field, field, *after),
                "repeated otherwise": (*before, field, mutated(field), *after),
            }
            if fields.is_ordered and after:
                changes["reordered"] = (*before, after[0], field, *after[1:])
            for change, changed in changes.items():
                name = f"{way}:{fields.name}:{label(fields, number, field)}:{change}"
                if not any(fnmatchcase(name, pattern) for pattern in NOT_SIGNED):
                    yield Case(name, fields.write(wire, changed))
