"""Frozen vectors of keys, orders, sealed records, stripes, digests and parity.

They are what lies on disks. A change that breaks one breaks stored data: it needs a new version of
the format beside the old one, never a new file here.
"""

import json
from pathlib import Path

import pytest

from common.crypto import keys as keytree
from common.crypto.digest import leaf, page_digest, shard_root
from common.crypto.freshness import FreshDigests
from common.crypto.identity import KeyPair
from common.crypto.inner_layer import InnerStream, pack_stretches, unpack_stretches
from common.crypto.orders import Order, OrderAction, cell_order_key, check, issue
from common.crypto.stream import StripeCipher
from common.erasure.code import ZfecCode, make_code
from common.erasure.geometry import Geometry
from common.erasure.stripe import decode_stripe, encode_stripe
from common.format import manifest as fmt
from common.format.class_names import pack_class_name
from common.format.envelope import KeyEnvelope, WrappingKey
from common.format.key_ring import open_key_ring, seal_key_ring
from common.format.roster import (
    Roster,
    RosterKey,
    RosterPolicy,
    RosterUser,
    open_roster,
    seal_roster,
)
from common.format.session import SessionRecord, open_session, seal_session, tenant_of_token
from common.wire.messages.writing import Extent, Page

FOLDER = Path(__file__).parents[2] / "vectors"
unhex = bytes.fromhex


def load(name):
    return json.loads((FOLDER / name).read_text())


def test_keys():
    v = load("keys.json")
    tenant = keytree.TenantKey(unhex(v["tenant_id"]), unhex(v["tenant_key"]))
    assert tenant.proof_key().hex() == v["proof_key"]
    assert tenant.prove(b"message").hex() == v["proof_of_message"]
    upload, segment = unhex(v["upload_key"]), unhex(v["segment_id"])
    assert keytree.commitment_of(upload).hex() == v["commitment"]
    assert keytree.segment_key(upload, segment, v["number"]).hex() == v["segment_key"]
    pair = KeyPair.from_private(unhex(v["private_key"]))
    assert (pair.public_key.hex(), pair.peer_id.hex()) == (v["public_key"], v["peer_id"])
    order_key = cell_order_key(unhex(v["swarm_secret"]), unhex(v["cell_id"]))
    assert order_key.hex() == v["cell_order_key"]


def test_orders():
    v = load("orders.json")
    key = unhex(v["order_key"])
    for row in v["orders"]:
        order = Order(
            OrderAction(row["action"]),
            unhex(row["segment_id"]),
            row["slot"],
            unhex(row["caller"]),
            row["shard_bytes"],
            row["expires"],
            row["epoch"],
        )
        data = unhex(row["order"])
        assert issue(key, order) == data
        now = order.expires
        assert (
            check(
                key,
                data,
                actions=[order.action],
                caller=order.caller,
                now=now,
                seen_epoch=order.epoch,
            )
            == order
        )


def manifest_of(row):
    return fmt.Manifest(
        version=row["version"],
        size=row["size"],
        pages=tuple(fmt.PageEntry(unhex(digest), size) for digest, size in row["pages"]),
        keys=tuple(unhex(key) for key in row["keys"]),
        metadata=unhex(row["metadata"]),
    )


def roster_of(v):
    key = RosterKey(v["access_key_id"], v["created_ms"], is_active=False)
    user = RosterUser("ann", v["created_ms"], ("reader",), (key,))
    return Roster(1, (user,), (RosterPolicy("reader", v["created_ms"], b"{}", True),))


def session_of(v):
    return SessionRecord(
        1, v["secret"], v["access_key_id"], 1_800_000_000, 1_800_000_900, "reader", "job", b"{}", 3
    )


def seal_session_bytes(*arguments):
    return seal_session(*arguments).encode()


def open_session_bytes(tenant, access_key_id, token):
    assert tenant_of_token(token.decode()) == tenant.tenant_id
    return open_session(tenant, access_key_id, token.decode())


def test_sealed_records():
    v = load("sealed-records.json")
    tenant = keytree.TenantKey(unhex(v["tenant_id"]), unhex(v["tenant_key"]))
    bucket = unhex(v["bucket_id"])
    place = (bucket, unhex(v["name"]), unhex(v["version_id"]))
    part = (*place, v["part_number"], unhex(v["part_id"]))
    manifest, empty = manifest_of(v["manifest"]), manifest_of(v["empty_manifest"])
    access_key = fmt.AccessKeyRecord(v["secret"], v["created_ms"])
    opaque, settings = unhex(v["opaque"]), (bucket, v["bucket_name"], v["revision"])
    cases = {
        "manifest": (fmt.seal_manifest, fmt.open_manifest, place, manifest),
        "empty_manifest": (fmt.seal_manifest, fmt.open_manifest, place, empty),
        "part": (fmt.seal_part, fmt.open_part, part, manifest),
        "summary": (fmt.seal_summary, fmt.open_summary, place, opaque),
        "delete-marker": (fmt.seal_marker, fmt.open_marker, place, opaque),
        "class-name": (fmt.seal_class_name, fmt.open_class_name, place, pack_class_name("COLD")),
        "upload": (fmt.seal_upload, fmt.open_upload, place, opaque),
        "bucket-settings": (
            fmt.seal_bucket_settings,
            fmt.open_bucket_settings,
            settings,
            opaque,
        ),
        "access-key": (
            fmt.seal_access_key,
            fmt.open_access_key,
            (v["access_key_id"],),
            access_key,
        ),
        "user-key": (
            fmt.seal_user_key,
            fmt.open_user_key,
            (v["access_key_id"],),
            fmt.AccessKeyRecord(v["secret"], v["created_ms"], True),
        ),
        "roster": (seal_roster, open_roster, (v["revision"],), roster_of(v)),
        "session": (seal_session_bytes, open_session_bytes, (v["access_key_id"],), session_of(v)),
    }
    older = v["sealed"].pop("access-key without old signatures")
    assert fmt.open_access_key(tenant, v["access_key_id"], unhex(older)) == access_key
    assert set(cases) == set(v["sealed"])
    for name, (seal, open_, context, record) in cases.items():
        frozen = unhex(v["sealed"][name])
        assert seal(tenant, *context, record, lambda length: unhex(v["salt"])) == frozen, name
        assert open_(tenant, *context, frozen) == record, name


def pattern(first, length):
    return bytes((first + 7 * at) % 256 for at in range(length))


def test_stripes():
    v = load("stripes.json")
    tenant, segment = unhex(v["tenant_id"]), unhex(v["segment_id"])
    cipher = StripeCipher(unhex(v["segment_key"]), tenant, segment)
    for row in v["stripes"]:
        plaintext, sealed = unhex(row["plaintext"]), unhex(row["sealed"])
        out = memoryview(bytearray(len(sealed)))
        cipher.seal_into(row["stripe"], row["last"], plaintext, out)
        assert out == sealed
        back = memoryview(bytearray(len(plaintext)))
        cipher.open_into(row["stripe"], row["last"], sealed, back)
        assert back == plaintext


@pytest.mark.parametrize("make", [make_code, ZfecCode])
def test_segments(make):
    v = load("stripes.json")
    tenant, segment = unhex(v["tenant_id"]), unhex(v["segment_id"])
    cipher = StripeCipher(unhex(v["segment_key"]), tenant, segment)
    for row in v["segments"]:
        k, n, size = row["k"], row["n"], row["segment_bytes"]
        geometry, code = Geometry.plan(k, n, size), make(k, n)
        assert geometry.unit_bytes == row["unit_bytes"]
        assert (geometry.stripes, geometry.shard_bytes) == (row["stripes"], row["shard_bytes"])
        body, leaves = pattern(row["first_byte"], size), [b""] * n
        for stripe in range(geometry.stripes):
            start = geometry.stripe_start(stripe)
            plaintext = body[start : start + geometry.plain_bytes(stripe)]
            encoded = encode_stripe(cipher, code, geometry, stripe, plaintext)
            leaves = [a + b for a, b in zip(leaves, encoded.leaves, strict=True)]
            last_k = dict(list(enumerate(encoded.units))[n - k :])
            assert decode_stripe(cipher, code, geometry, stripe, last_k) == plaintext
        roots = [shard_root(geometry.unit_bytes, geometry.shard_bytes, each) for each in leaves]
        assert [root.hex() for root in roots] == row["roots"]


def test_digests():
    v = load("digests.json")
    for unit, digest in v["leaves"]:
        assert leaf(unhex(unit)).hex() == digest
    for row in v["roots"]:
        root = shard_root(row["unit_bytes"], row["shard_bytes"], unhex(row["leaves"]))
        assert root.hex() == row["root"]
    for row in v["pages"]:
        extents = tuple(
            Extent(unhex(segment), offset, length, unhex(commitment), number)
            for segment, offset, length, commitment, number in row["extents"]
        )
        assert page_digest(Page(extents)).hex() == row["digest"]


@pytest.mark.parametrize("make", [make_code, ZfecCode])
def test_parity(make):
    for row in load("parity.json")["parity"]:
        code, unit_bytes = make(row["k"], row["n"]), row["unit_bytes"]
        data = memoryview(unhex(row["data"]))
        parity = code.encode(data, unit_bytes)
        assert [bytes(unit).hex() for unit in parity] == row["parity"]
        out = memoryview(bytearray(len(data)))
        units = [data[at : at + unit_bytes] for at in range(0, len(data), unit_bytes)] + parity
        code.decode(dict(list(enumerate(units))[row["n"] - row["k"] :]), unit_bytes, out)
        assert out == data


def test_fresh_digests():
    v = load("digests.json")["fresh"]
    fresh = FreshDigests(unhex(v["nonce"]))
    leaves = [fresh.leaf(unhex(unit)) for unit in v["units"]]
    assert [each.hex() for each in leaves] == v["leaves"]
    args = (unhex(v["segment_id"]), v["slot"], v["unit_bytes"], v["shard_bytes"])
    assert fresh.root(*args, b"".join(leaves)).hex() == v["root"]


def test_inner_layers():
    v = load("inner-layer.json")
    object_key = unhex(v["object_key"])
    stretches = unpack_stretches(unhex(v["stretches"]))
    assert pack_stretches(stretches).hex() == v["stretches"]
    assert [keytree.data_key(object_key, each.nonce).hex() for each in stretches] == v["data_keys"]
    plain, cipher = unhex(v["plaintext"]), unhex(v["ciphertext"])
    assert InnerStream(object_key, stretches, 0).apply(plain) == cipher
    assert InnerStream(object_key, stretches, 30).apply(cipher[30:]) == plain[30:]
    for row in v["envelopes"]:
        wrapping = WrappingKey(
            unhex(row["key"]), row["name"], row["version"], unhex(row["context"]), row["bucket_key"]
        )
        purpose_key = keytree.wrapping_purpose_key(wrapping.key, wrapping.kind.value)
        assert purpose_key.hex() == row["purpose_key"]
        envelope = wrapping.wrap(object_key, lambda length: unhex(v["salt"]))
        assert envelope.pack().hex() == row["packed"]
        assert wrapping.unwrap(KeyEnvelope.unpack(unhex(row["packed"]))) == object_key


def test_key_rings():
    v = load("key-ring.json")
    tenant = keytree.TenantKey(unhex(v["tenant_id"]), unhex(v["tenant_key"]))
    ring = open_key_ring(tenant, v["revision"], unhex(v["sealed"]))
    assert ring.pack().hex() == v["ring"]
    assert [each.key.hex() for each in ring.find("archive").versions] == v["keys"]
    sealed = seal_key_ring(tenant, v["revision"], ring, lambda length: unhex(v["salt"]))
    assert sealed.hex() == v["sealed"]
