from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import limits
from common.errors import PeerViolation
from common.ids import PeerId
from common.wire.records import Max, Record, Size, pack_value, unpack_value


@dataclass(frozen=True, slots=True)
class Inner(Record):
    number: int
    label: Annotated[str, Max(5)] = "none"


@dataclass(frozen=True, slots=True)
class Everything(Record):
    number: int
    flag: bool
    text: str
    data: bytes
    exact: Annotated[bytes, Size(4)]
    peer: Annotated[PeerId, Size(32)]
    maybe: int | None
    maybe_exact: Annotated[bytes, Size(2)] | None
    numbers: Annotated[tuple[int, ...], Max(3)]
    blobs: Annotated[tuple[Annotated[bytes, Max(2)], ...], Max(3)]
    inner: Inner
    inners: Annotated[tuple[Inner, ...], Max(2)]
    maybe_inner: Inner | None
    maybe_numbers: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Nothing(Record):
    pass


@dataclass(frozen=True, slots=True)
class Old(Record):
    number: int


@dataclass(frozen=True, slots=True)
class New(Record):
    number: int
    flag: bool = True
    inner: Inner = Inner(7)
    inners: tuple[Inner, ...] = ()
    maybe: int | None = None


FULL = Everything(
    1, True, "text", b"data", b"four", PeerId(b"p" * 32), 5, b"ab", (1, 2, 3), (b"", b"a"),
    Inner(1, "one"), (Inner(2), Inner(3)), Inner(4), (9,),
)  # fmt: skip
EMPTY = Everything(
    0, False, "", b"", b"four", PeerId(b"p" * 32), None, None, (), (), Inner(0), (), None
)


@pytest.mark.parametrize("record", [FULL, EMPTY, Nothing(), Old(limits.MAX_UINT), New(1)])
def test_records_come_back_as_they_were(record: Record) -> None:
    assert type(record).unpack(record.pack()) == record
    assert type(record).from_fields(unpack_value(record.pack())) == record


@pytest.mark.parametrize("record", [FULL, EMPTY, Nothing()])
def test_a_cut_or_lengthened_record_is_refused(record: Record) -> None:
    data = record.pack()
    for length in range(len(data)):
        with pytest.raises(PeerViolation, match="bad_record"):
            type(record).unpack(data[:length])
    with pytest.raises(PeerViolation, match="bad_record"):
        type(record).unpack(data + b"\0")


def test_buffers_of_any_kind_are_unpacked() -> None:
    data = FULL.pack()
    assert Everything.unpack(bytearray(data)) == Everything.unpack(memoryview(data)) == FULL


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("number", -1),
        ("number", limits.MAX_UINT + 1),
        ("number", True),
        ("number", 1.0),
        ("number", None),
        ("flag", 1),
        ("text", b"x"),
        ("text", "x" * (limits.MAX_FIELD_BYTES + 1)),
        ("data", "x"),
        ("data", b"x" * (limits.MAX_FIELD_BYTES + 1)),
        ("exact", b"abc"),
        ("exact", b"abcde"),
        ("peer", b"p" * 31),
        ("maybe", "x"),
        ("maybe_exact", b"abc"),
        ("numbers", [1, 2, 3, 4]),
        ("numbers", [1, -2]),
        ("numbers", [None]),
        ("numbers", 1),
        ("blobs", [b"abc"]),
        ("inner", 1),
        ("inner", []),
        ("inner", [1, "long text"]),
        ("inners", [[1], [2], [3]]),
        ("inners", [1]),
        ("maybe_inner", [None]),
        ("maybe_numbers", [-1]),
    ],
)
def test_a_field_of_another_shape_is_refused(field: str, value: Any) -> None:
    names = list(Everything.__dataclass_fields__)
    values = FULL.to_fields()
    values[names.index(field)] = value
    with pytest.raises(PeerViolation, match="bad_record"):
        Everything.unpack(pack_value(values))


def test_missing_trailing_fields_get_their_defaults() -> None:
    assert New.unpack(Old(3).pack()) == New(3)
    assert New.unpack(pack_value([3, False])) == New(3, False)


def test_surplus_trailing_fields_are_ignored() -> None:
    assert Old.unpack(New(3).pack()) == Old(3)


def test_a_missing_field_without_default_is_refused() -> None:
    with pytest.raises(PeerViolation, match="bad_record"):
        Old.unpack(pack_value([]))
    with pytest.raises(PeerViolation, match="bad_record"):
        Old.unpack(pack_value({}))


def test_too_many_items_are_our_bug() -> None:
    @dataclass(frozen=True, slots=True)
    class Few(Record):
        numbers: Annotated[tuple[int, ...], Max(1)]

    with pytest.raises(AssertionError):
        Few((1, 2)).pack()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x80",
        b"\x81\x01\x02",
        b"\xd4\x01\x00",
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 100_000,
        b"\xa1\xff",
        b"\x93\x01",
    ],
)
def test_values_that_no_record_is_made_of_are_refused(data: bytes) -> None:
    with pytest.raises(PeerViolation, match="bad_record"):
        Old.unpack(data)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_record_or_a_violation(data: bytes) -> None:
    try:
        record = Everything.unpack(data)
    except PeerViolation:
        return
    assert Everything.unpack(record.pack()) == record
