"""Marks of order epochs: frozen bytes, and nothing is believed that no coordinator issued."""

import json
from pathlib import Path

import pytest

from common.crypto.epochs import MARK_BYTES, epoch_key, is_genuine, issue, read
from common.errors import PeerViolation

VECTOR = json.loads((Path(__file__).parents[2] / "vectors" / "epochs.json").read_text())
KEY = epoch_key(bytes.fromhex(VECTOR["swarm_secret"]))
DATA = issue(KEY, 7)


@pytest.mark.parametrize("row", VECTOR["marks"])
def test_a_frozen_mark_is_made_and_read_alike(row):
    assert bytes.fromhex(VECTOR["key"]) == KEY
    data = bytes.fromhex(row["mark"])
    assert issue(KEY, row["epoch"]) == data
    assert read(data) == row["epoch"]
    assert is_genuine(KEY, data)


def test_a_mark_with_any_bit_changed_is_not_genuine():
    for bit in range(8 * MARK_BYTES):
        changed = bytearray(DATA)
        changed[bit // 8] ^= 1 << bit % 8
        assert not is_genuine(KEY, bytes(changed))


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"\0", b"\2" + DATA[1:], DATA[:8] + bytes(40)])
def test_other_bytes_are_no_mark(data):
    assert not is_genuine(KEY, data)
    with pytest.raises(PeerViolation, match="bad_epoch_mark"):
        read(data)


def test_an_epoch_beyond_what_numbers_hold_is_none():
    with pytest.raises(PeerViolation, match="bad_epoch_mark"):
        read(DATA[:8] + b"\x80" + bytes(7) + DATA[16:])


def test_no_mark_is_the_epoch_before_all():
    assert read(b"") == 0
    assert not is_genuine(KEY, b"")
