"""Records of a journal: frozen bytes, and a chain that nobody can break unnoticed.

Run this file as a program to write the vectors again, after a change of the format's version.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from common import limits
from common.crypto.journal import MEMBERS, PIECE, RECORD, SEAL_OVERHEAD_BYTES, JournalKey
from common.errors import Corrupt, PeerViolation
from common.format.journal import BEGINNING, RECORD_HEAD_BYTES, ChainEnd, end_of, follow, head_of

VECTORS = Path(__file__).parents[2] / "vectors" / "journal.json"
SECRET = bytes(range(32))
KEY = JournalKey(SECRET)
BODIES = (b"\x00" + bytes(16), b"\x02" + b"a commit", b"\x01" + bytes(range(256)))


def salt(count: int) -> bytes:
    return bytes(range(100, 100 + count))


def make() -> list[bytes]:
    after, records = BEGINNING, []
    for number, body in enumerate(BODIES):
        head = head_of(3 + number, after, len(body) + SEAL_OVERHEAD_BYTES)
        records.append(head.pack() + KEY.seal(RECORD, head.pack(), body, salt))
        after = end_of(head, records[-1])
    return records


def vectors() -> dict[str, object]:
    records = make()
    ends = [end for _, _, end in follow(BEGINNING, b"".join(records))]
    return {
        "swarm_secret": SECRET.hex(),
        "salt": salt(24).hex(),
        "bodies": [each.hex() for each in BODIES],
        "records": [each.hex() for each in records],
        "digests": [each.digest.hex() for each in ends],
        "piece": KEY.seal(PIECE, b"context", b"a piece", salt).hex(),
        "members": KEY.seal(MEMBERS, b"members", b"who", salt).hex(),
        "read_key": KEY.read_key.hex(),
        "author": KEY.author.hex(),
        "sealing_version_1": json.loads(VECTORS.read_text())["sealing_version_1"],
    }


def open_all(data: bytes) -> list[bytes]:
    return [
        KEY.open(RECORD, head.pack(), record[RECORD_HEAD_BYTES:])
        for head, record, _ in follow(BEGINNING, data)
    ]


def test_the_bytes_are_frozen() -> None:
    assert json.loads(VECTORS.read_text()) == vectors()


def test_frozen_records_are_read() -> None:
    known = json.loads(VECTORS.read_text())
    data = b"".join(bytes.fromhex(each) for each in known["records"])
    assert open_all(data) == list(BODIES)


def test_what_was_sealed_before_it_was_signed_is_read_by_coordinators_alone() -> None:
    known = json.loads(VECTORS.read_text())["sealing_version_1"]
    data = b"".join(bytes.fromhex(each) for each in known["records"])
    assert open_all(data) == list(BODIES)
    assert KEY.open(PIECE, b"context", bytes.fromhex(known["piece"])) == b"a piece"
    with pytest.raises(Corrupt, match="journal_not_authentic"):
        KEY.reader.open(PIECE, b"context", bytes.fromhex(known["piece"]))


def test_who_can_read_cannot_write() -> None:
    sealed = KEY.seal(PIECE, b"context", b"plain", salt)
    assert KEY.reader.open(PIECE, b"context", sealed) == b"plain"
    forger = JournalKey(bytes(32))
    forger.read_key = KEY.read_key  # type: ignore[misc]  # what the holder of a kit has
    forged = forger.seal(PIECE, b"context", b"other", salt)
    for key in (KEY, KEY.reader):
        with pytest.raises(Corrupt, match="journal_not_authentic"):
            key.open(PIECE, b"context", forged)


@pytest.mark.parametrize("at", [0, 4, 15, 23, 30, 60])
def test_a_changed_byte_breaks_the_chain_or_the_seal(at: int) -> None:
    records = make()
    changed = bytearray(records[0])
    changed[at] ^= 1
    with pytest.raises((PeerViolation, Corrupt)):
        open_all(bytes(changed) + b"".join(records[1:]))


def test_records_left_out_exchanged_or_cut_do_not_follow() -> None:
    first, second, third = make()
    for wrong in (second, first + third, second + first, first + second[:-1], first + b"x"):
        with pytest.raises(PeerViolation):
            list(follow(BEGINNING, wrong))
    with pytest.raises(PeerViolation):
        list(follow(ChainEnd(0, 4, BEGINNING.digest), first))  # of an earlier epoch


def test_every_cut_gives_whole_records_or_the_one_error() -> None:
    data = b"".join(make())
    for length in range(len(data)):
        found = 0
        try:
            for _, record, _ in follow(BEGINNING, data[:length]):
                found += len(record)
        except PeerViolation:
            assert found < length
        else:
            assert found == length


def test_what_is_sealed_opens_for_its_purpose_key_and_context_only() -> None:
    sealed = KEY.seal(PIECE, b"context", b"plain", salt)
    assert KEY.open(PIECE, b"context", sealed) == b"plain"
    for key, purpose, context, data in (
        (KEY, RECORD, b"context", sealed),
        (KEY, PIECE, b"other", sealed),
        (JournalKey(bytes(32)), PIECE, b"context", sealed),
        (KEY, PIECE, b"context", sealed[:-1]),
        (KEY, PIECE, b"context", b""),
    ):
        with pytest.raises(Corrupt, match="journal_not_authentic"):
            key.open(purpose, context, data)


def test_a_body_is_bounded() -> None:
    head_of(1, BEGINNING, limits.MAX_JOURNAL_BODY_BYTES)
    with pytest.raises(AssertionError):
        head_of(1, BEGINNING, limits.MAX_JOURNAL_BODY_BYTES + 1)


if __name__ == "__main__":
    VECTORS.write_text(json.dumps(vectors(), indent=1) + "\n")
    sys.stdout.write(f"{VECTORS}\n")
