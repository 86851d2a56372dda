"""Sealed records: one case table drives sealing and opening, whole, damaged and misplaced."""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, get_args

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.crypto.inner_layer import Stretch, pack_stretches
from common.crypto.keys import RECORD_OVERHEAD_BYTES, TenantKey, commitment_of
from common.errors import Corrupt, Refused
from common.format import manifest as fmt
from common.format.envelope import InnerLayer, WrappingKey
from common.limits import (
    MAX_PAGES_PER_OBJECT,
    MAX_PARTS,
    MAX_SEALED_RECORD_BYTES,
    MAX_SUMMARY_BYTES,
)
from common.wire import messages
from common.wire.records import Max

TENANT = TenantKey(b"T" * 16, b"k" * 32)
BUCKET, NAME, VERSION = b"B" * 16, "a/β.txt".encode(), b"V" * 16
MANIFEST = fmt.Manifest(
    version=1,
    size=300,
    pages=(fmt.PageEntry(b"d" * 32, 200), fmt.PageEntry(b"e" * 32, 100)),
    keys=(b"1" * 32, b"2" * 32),
    metadata=b"\x81opaque",
)


def entropy(length):
    return bytes(range(length))


@dataclasses.dataclass(frozen=True)
class Case:
    """How one kind of record is sealed and opened; ``places`` are contexts, the first its own."""

    purpose: str
    seal: Callable[..., bytes]
    open: Callable[..., Any]
    places: list[tuple[Any, ...]]
    record: Any
    understood: bool = True


OBJECT_PLACES = [
    (BUCKET, NAME, VERSION),
    (b"C" * 16, NAME, VERSION),
    (BUCKET, NAME + b"x", VERSION),
    (BUCKET, b"", VERSION),
    (BUCKET, NAME, b"W" * 16),
    (VERSION, NAME, BUCKET),
]
PART_PLACES = [
    (BUCKET, NAME, VERSION, 7, b"P" * 16),
    (b"C" * 16, NAME, VERSION, 7, b"P" * 16),
    (BUCKET, NAME + b"x", VERSION, 7, b"P" * 16),
    (BUCKET, NAME, b"W" * 16, 7, b"P" * 16),
    (BUCKET, NAME, VERSION, 8, b"P" * 16),
    (BUCKET, NAME, VERSION, 7, b"Q" * 16),
]
CASES = [
    Case("manifest", fmt.seal_manifest, fmt.open_manifest, OBJECT_PLACES, MANIFEST),
    Case("part", fmt.seal_part, fmt.open_part, PART_PLACES, MANIFEST),
    Case("summary", fmt.seal_summary, fmt.open_summary, OBJECT_PLACES, b"opaque", False),
    Case("delete-marker", fmt.seal_marker, fmt.open_marker, OBJECT_PLACES, b"opaque", False),
    Case("upload", fmt.seal_upload, fmt.open_upload, OBJECT_PLACES, b"opaque", False),
    Case(
        "bucket-settings",
        fmt.seal_bucket_settings,
        fmt.open_bucket_settings,
        [
            (BUCKET, "photos", 1),
            (b"C" * 16, "photos", 1),
            (BUCKET, "photo", 1),
            (BUCKET, "", 1),
            (BUCKET, "photos", 2),
        ],
        b"opaque",
        False,
    ),
    Case(
        "access-key",
        fmt.seal_access_key,
        fmt.open_access_key,
        [("ALV123",), ("ALV124",), ("",)],
        fmt.AccessKeyRecord("very secret", 1_700_000_000_000),
    ),
]
every_case = pytest.mark.parametrize("case", CASES, ids=[case.purpose for case in CASES])


@every_case
def test_what_is_sealed_opens_in_its_place_only(case):
    sealed = case.seal(TENANT, *case.places[0], case.record, entropy)
    assert case.open(TENANT, *case.places[0], sealed) == case.record
    others = (TenantKey(b"U" * 16, b"k" * 32), TenantKey(b"T" * 16, b"l" * 32))
    for tenant, place in itertools.product((TENANT, *others), case.places):
        if (tenant, place) != (TENANT, case.places[0]):
            with pytest.raises(Corrupt, match="record_not_authentic"):
                case.open(tenant, *place, sealed)


@every_case
def test_no_byte_of_a_sealed_record_can_be_changed_dropped_or_added(case):
    place = case.places[0]
    sealed = case.seal(TENANT, *place, case.record, entropy)
    damaged = [sealed[:length] for length in range(len(sealed))]
    damaged += [sealed + b"\0", sealed + sealed]
    for at, bit in itertools.product(range(len(sealed)), (0, 7)):
        changed = bytearray(sealed)
        changed[at] ^= 1 << bit
        damaged.append(bytes(changed))
    for each in damaged:
        with pytest.raises(Corrupt, match="record_not_authentic"):
            case.open(TENANT, *place, each)


def test_no_record_opens_as_another_kind():
    for one, other in itertools.permutations(CASES, 2):
        sealed = one.seal(TENANT, *one.places[0], one.record, entropy)
        with pytest.raises(Corrupt, match="record_not_authentic"):
            other.open(TENANT, *other.places[0], sealed)


def context_of(case):
    return [
        each
        if isinstance(each, bytes)
        else str(each).encode()
        if isinstance(each, str)
        else each.to_bytes(4, "big")
        for each in case.places[0]
    ]


@pytest.mark.parametrize("case", [case for case in CASES if case.understood])
def test_authentic_records_that_are_not_understood_are_corrupt(case):
    packed = case.record.pack()
    fields = msgpack.unpackb(packed)
    strange = [packed[:length] for length in range(len(packed))]
    strange += [packed + b"\0", msgpack.packb([]), msgpack.packb({}), b"\xc1", b"\xff" * 9]
    strange += [msgpack.packb([None, *fields[1:]]), msgpack.packb([*fields[:-1], -1])]
    for plaintext in strange:
        sealed = TENANT.seal(case.purpose, context_of(case), plaintext, entropy)
        with pytest.raises(Corrupt, match="record_not_understood"):
            case.open(TENANT, *case.places[0], sealed)


@pytest.mark.parametrize("case", [case for case in CASES if case.understood])
@settings(max_examples=100, deadline=None)
@given(plaintext=st.binary(max_size=100))
def test_any_authentic_plaintext_is_a_record_or_corrupt(case, plaintext):
    sealed = TENANT.seal(case.purpose, context_of(case), plaintext, entropy)
    with contextlib.suppress(Corrupt):
        assert type(case.open(TENANT, *case.places[0], sealed)) is type(case.record)


@pytest.mark.parametrize("case", [case for case in CASES if case.understood])
def test_fields_added_by_a_newer_writer_are_passed_over(case):
    plaintext = msgpack.packb([*msgpack.unpackb(case.record.pack()), "newer"])
    sealed = TENANT.seal(case.purpose, context_of(case), plaintext, entropy)
    assert case.open(TENANT, *case.places[0], sealed) == case.record


@pytest.mark.parametrize("change", [{"version": 2}, {"version": 0}, {"size": 299}, {"pages": ()}])
def test_a_manifest_of_another_version_or_that_does_not_add_up_is_corrupt(change):
    wrong = dataclasses.replace(MANIFEST, **change)
    for case in CASES[:2]:
        sealed = TENANT.seal(case.purpose, context_of(case), wrong.pack(), entropy)
        with pytest.raises(Corrupt, match="record_not_understood"):
            case.open(TENANT, *case.places[0], sealed)
        with pytest.raises(AssertionError):
            case.seal(TENANT, *case.places[0], wrong, entropy)


def test_keys_are_found_by_their_commitments():
    assert MANIFEST.keys_by_commitment() == {
        commitment_of(b"1" * 32): b"1" * 32,
        commitment_of(b"2" * 32): b"2" * 32,
    }


def test_the_largest_object_of_parts_fits_a_sealed_record():
    largest = fmt.Manifest(
        version=1,
        size=MAX_PAGES_PER_OBJECT << 28,
        pages=tuple(fmt.PageEntry(b"d" * 32, 1 << 28) for _ in range(MAX_PAGES_PER_OBJECT)),
        keys=tuple(number.to_bytes(32, "big") for number in range(MAX_PARTS)),
        metadata=bytes(64 * 1024),
        inner=InnerLayer(
            WrappingKey(bytes(32), "n" * 64, 1, bytes(4096)).wrap(bytes(32), bytes),
            pack_stretches(
                [Stretch(bytes(16), MAX_PAGES_PER_OBJECT // MAX_PARTS << 28)] * MAX_PARTS
            ),
        ),
    )
    sealed = fmt.seal_manifest(TENANT, BUCKET, NAME, VERSION, largest, entropy)
    assert len(sealed) <= MAX_SEALED_RECORD_BYTES
    assert fmt.open_manifest(TENANT, BUCKET, NAME, VERSION, sealed) == largest


@pytest.mark.parametrize("stretches", [b"", bytes(23), bytes(24), bytes(25), bytes(48)])
def test_an_inner_layer_of_another_length_is_not_understood(stretches):
    inner = InnerLayer(None, stretches)
    sealed = TENANT.seal(
        "manifest",
        (BUCKET, NAME, VERSION),
        dataclasses.replace(MANIFEST, inner=inner).pack(),
        entropy,
    )
    with pytest.raises(Corrupt, match="record_not_understood"):
        fmt.open_manifest(TENANT, BUCKET, NAME, VERSION, sealed)


def test_a_record_that_the_wire_would_not_carry_is_refused():
    room = MAX_SEALED_RECORD_BYTES - RECORD_OVERHEAD_BYTES
    assert fmt.seal_upload(TENANT, BUCKET, NAME, VERSION, bytes(room), entropy)
    with pytest.raises(Refused, match="record_too_large"):
        fmt.seal_upload(TENANT, BUCKET, NAME, VERSION, bytes(room + 1), entropy)
    most = bytes(fmt.SUMMARY_PLAINTEXT_BYTES)
    assert len(fmt.seal_summary(TENANT, BUCKET, NAME, VERSION, most, entropy)) == MAX_SUMMARY_BYTES
    with pytest.raises(AssertionError):
        fmt.seal_summary(TENANT, BUCKET, NAME, VERSION, most + b"x", entropy)


def test_the_limits_are_those_of_the_messages():
    assert get_args(messages.Sealed)[1] == Max(MAX_SEALED_RECORD_BYTES)
    assert get_args(messages.Summary)[1] == Max(MAX_SUMMARY_BYTES)


def test_text_forms_hide_secrets():
    assert "1111" not in repr(MANIFEST)
    assert "secret" not in repr(fmt.AccessKeyRecord("very-private", 5)).lower().replace(
        "accesskeyrecord", ""
    )
    assert "very-private" not in repr(fmt.AccessKeyRecord("very-private", 5))
