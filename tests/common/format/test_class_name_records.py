"""Names of classes that clients ask for: one length, nothing that needs escapes, frozen bytes."""

from __future__ import annotations

import pytest

from common.errors import Corrupt
from common.format.class_names import pack_class_name, unpack_class_name
from gateway.class_names import CLASS_NAMES

FROZEN = b"\x01STANDARD_IA" + bytes(21)


def test_a_frozen_name_is_read_and_written_alike() -> None:
    assert pack_class_name("STANDARD_IA") == FROZEN
    assert unpack_class_name(FROZEN) == "STANDARD_IA"


@pytest.mark.parametrize("name", [*sorted(CLASS_NAMES), "A", "A" * 32])
def test_all_names_have_one_length(name: str) -> None:
    packed = pack_class_name(name)
    assert (len(packed), unpack_class_name(packed)) == (33, name)


@pytest.mark.parametrize(
    "wrong",
    [
        *[FROZEN[:cut] for cut in range(len(FROZEN))],
        FROZEN + b"\0",
        b"\2" + FROZEN[1:],
        b"\1" + bytes(32),
        *[b"\1" + name.ljust(32, b"\0") for name in (b"<", b"a", b"A B", b"A\0B", b"\xff", b"1A")],
    ],
)
def test_what_is_no_name_is_refused(wrong: bytes) -> None:
    with pytest.raises(Corrupt, match="bad_metadata"):
        unpack_class_name(wrong)


@pytest.mark.parametrize("wrong", ["", "a", "A-B", "A" * 33, "A\0"])
def test_what_is_no_name_is_never_written(wrong: str) -> None:
    with pytest.raises(AssertionError):
        pack_class_name(wrong)
