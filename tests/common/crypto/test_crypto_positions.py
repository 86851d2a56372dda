"""Positions: frozen bytes, and nothing is believed that no coordinator issued."""

import json
from pathlib import Path

import pytest

from common.crypto.positions import POSITION_BYTES, Position, is_genuine, issue, position_key, read
from common.errors import PeerViolation
from common.rpc.protocol.positions import Known, covers

VECTOR = json.loads((Path(__file__).parents[2] / "vectors" / "positions.json").read_text())
KEY = position_key(bytes.fromhex(VECTOR["swarm_secret"]))
DATA = bytes.fromhex(VECTOR["packed"])
POSITION = Position(
    VECTOR["run"], bytes.fromhex(VECTOR["run_id"]), VECTOR["begun"], VECTOR["commit"]
)


def test_a_frozen_position_is_made_and_read_alike():
    assert bytes.fromhex(VECTOR["key"]) == KEY
    assert issue(KEY, POSITION) == DATA
    assert read(DATA) == POSITION
    assert is_genuine(KEY, DATA)


@pytest.mark.fault("M1")
def test_a_position_with_any_bit_changed_is_not_genuine():
    for at in range(POSITION_BYTES):
        changed = bytearray(DATA)
        changed[at] ^= 1
        assert not is_genuine(KEY, bytes(changed))


@pytest.mark.parametrize("data", [b"", DATA[:-1], DATA + b"\0", b"\2" + DATA[1:]])
def test_other_bytes_are_no_position(data):
    assert not is_genuine(KEY, data)
    with pytest.raises(PeerViolation, match="bad_position"):
        read(data)


def test_the_furthest_position_of_each_run_is_known_and_only_of_the_latest_runs():
    known = Known()
    for run in range(1, 11):
        for commit in (run * 10, run * 10 - 5):
            known.note(issue(KEY, Position(run, bytes([run]) * 16, run, commit)))
    told = [read(each) for each in known.packed()]
    assert [(each.run, each.commit) for each in told] == [(run, run * 10) for run in range(3, 11)]
    assert covers(known.packed(), [each.commit for each in told])
    assert not covers(known.packed(), [each.commit - (each.run == 5) for each in told])
    assert not covers(known.packed(), [])
