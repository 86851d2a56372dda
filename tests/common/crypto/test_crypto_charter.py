"""Charters: only the swarm's key makes one, only whole, and the latest counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from common import limits
from common.charter_book import FILE_NAME, CharterBook
from common.crypto.charter import (
    Charter,
    CharteredCoordinator,
    founded,
    read_charter,
    sign_charter,
    with_added,
    with_replaced,
    with_revoked,
)
from common.crypto.identity import KeyPair
from common.errors import BadConfig, PeerViolation, Unavailable
from common.ids import PeerId
from sim.world import SimNode, SimWorld

VECTOR = json.loads((Path(__file__).parents[2] / "vectors" / "charter.json").read_text())
SWARM = KeyPair.from_private(bytes.fromhex(VECTOR["swarm_private_key"]))
OTHER = KeyPair.from_private(b"o" * 32)
LOW_ORDER = bytes(32)


def key(number: int) -> bytes:
    return KeyPair.from_private(number.to_bytes(32, "big")).public_key


def entry(number: int, name: str = "", *, is_revoked: bool = False) -> CharteredCoordinator:
    return CharteredCoordinator(number, name or f"c{number}", key(number), is_revoked)


def signed(revision: int, *entries: CharteredCoordinator) -> Charter:
    return sign_charter(SWARM, revision, entries)


def test_the_bytes_are_those_of_the_page() -> None:
    for each in VECTOR["charters"]:
        entries = [
            CharteredCoordinator(
                one["number"], one["name"], bytes.fromhex(one["public_key"]), one["is_revoked"]
            )
            for one in each["coordinators"]
        ]
        made = sign_charter(SWARM, each["revision"], entries)
        assert made.data.hex() == each["charter"]
        assert read_charter(made.data, PeerId(bytes.fromhex(VECTOR["swarm_key_id"]))) == made


def _body(data: bytes) -> bytes:
    return data[97:]


def _resigned(data: bytes, body: bytes, signer: KeyPair = SWARM) -> bytes:
    """Other content, signed as a charter is."""
    signature = signer.sign(b"alveary charter of coordinators v1\0" + body)
    return data[:1] + signer.public_key + signature + body


DAMAGES: list[Callable[[bytes], bytes]] = [
    lambda data: b"",
    lambda data: data[:1],
    lambda data: data[:97],
    lambda data: data[:-1],
    lambda data: data + b"x",
    lambda data: b"\x02" + data[1:],
    lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
    lambda data: data[:-5] + bytes([data[-5] ^ 1]) + data[-4:],
    lambda data: _resigned(data, _body(data), OTHER),
    lambda data: data[:1] + SWARM.public_key + SWARM.sign(_body(data)) + _body(data),
    lambda data: _resigned(data, b"\x90"),
    lambda data: _resigned(data, b"\xff"),
    lambda data: data + bytes(limits.MAX_CHARTER_BYTES),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_the_swarms_key_did_not_sign_is_no_charter(damage: Callable[[bytes], bytes]) -> None:
    data = signed(3, entry(1), entry(2)).data
    with pytest.raises(PeerViolation, match="bad_charter"):
        read_charter(damage(data), SWARM.peer_id)


@pytest.mark.parametrize("length", range(0, 260, 7))
def test_a_charter_that_is_cut_is_none(length: int) -> None:
    data = signed(3, entry(1), entry(2)).data
    with pytest.raises(PeerViolation, match="bad_charter"):
        read_charter(data[: min(length, len(data) - 1)], SWARM.peer_id)


def test_a_charter_of_another_swarm_is_none() -> None:
    data = sign_charter(OTHER, 3, [entry(1)]).data
    with pytest.raises(PeerViolation, match="bad_charter"):
        read_charter(data, SWARM.peer_id)
    assert read_charter(data, OTHER.peer_id).revision == 3


@pytest.mark.parametrize(
    ("revision", "entries"),
    [
        (0, [entry(1)]),
        (1, []),
        (1, [entry(1, is_revoked=True)]),
        (1, [entry(1, "a"), entry(2, "a")]),
        (1, [entry(1, "a"), CharteredCoordinator(1, "b", key(2))]),
        (1, [entry(1, "a"), CharteredCoordinator(2, "b", key(1))]),
        (1, [entry(1, "a"), CharteredCoordinator(2, "b", key(1), is_revoked=True)]),
        (1, [entry(1, "a b")]),
        (1, [CharteredCoordinator(1, "a", LOW_ORDER)]),
        (1, [entry(number) for number in range(1, limits.MAX_COORDINATORS + 2)]),
    ],
)
def test_content_that_contradicts_itself_is_none_whoever_signed_it(
    revision: int, entries: list[CharteredCoordinator]
) -> None:
    import msgpack

    body = msgpack.packb([revision, [each.to_fields() for each in entries]])
    with pytest.raises(PeerViolation, match="bad_charter"):
        read_charter(_resigned(signed(1, entry(1)).data, body), SWARM.peer_id)


def test_the_longest_charter_fits() -> None:
    name = "n" * (limits.MAX_COORDINATOR_NAME_CHARACTERS - 2)
    entries = [
        entry(10**6 + number, f"{name}{number:02}", is_revoked=number >= limits.MAX_COORDINATORS)
        for number in range(limits.MAX_CHARTERED)
    ]
    made = signed(limits.MAX_UINT, *entries)
    assert read_charter(made.data, SWARM.peer_id) == made


def test_a_revoked_key_and_one_that_is_not_named_are_nobodys() -> None:
    charter = signed(2, entry(1), entry(2, is_revoked=True))
    assert charter.names(entry(1).key_id)
    assert not charter.names(entry(2).key_id)
    assert not charter.names(entry(3).key_id)
    assert not charter.names(SWARM.peer_id)


# --- changes ------------------------------------------------------------------------------------


def test_coordinators_are_added_replaced_and_revoked() -> None:
    first = founded(SWARM, "a", key(1))
    added = signed(2, *with_added(first, "b", key(2)))
    assert [each.name for each in added.living] == ["a", "b"]
    replaced = signed(3, *with_replaced(added, "a", key(3)))
    assert [(each.number, each.name) for each in replaced.living] == [(2, "b"), (3, "a")]
    assert not replaced.names(entry(1).key_id)
    revoked = signed(4, *with_revoked(replaced, "a"))
    assert [each.name for each in revoked.living] == ["b"]
    assert revoked.name_of(entry(3).key_id) == "a"
    for change, reason in (
        (lambda: with_revoked(revoked, "b"), "last_coordinator"),
        (lambda: with_revoked(revoked, "a"), "no_such_coordinator"),
        (lambda: with_replaced(revoked, "a", key(9)), "no_such_coordinator"),
        (lambda: with_added(revoked, "b", key(9)), "coordinator_exists"),
        (lambda: with_added(revoked, "b/c", key(9)), "bad_name"),
    ):
        with pytest.raises(BadConfig, match=reason):
            change()


def test_the_oldest_revoked_keys_make_room_and_stay_refused() -> None:
    charter = founded(SWARM, "a", key(1))
    for number in range(2, 60):
        charter = signed(number, *with_replaced(charter, "a", key(number)))
        assert [each.number for each in charter.living] == [number]
        assert len(charter.coordinators) <= limits.MAX_CHARTERED
    assert not charter.names(entry(1).key_id)
    for number in range(100, 99 + limits.MAX_COORDINATORS):
        charter = signed(number, *with_added(charter, f"c{number}", key(number)))
    with pytest.raises(BadConfig, match="too_many_coordinators"):
        with_added(charter, "more", key(999))


# --- the book -----------------------------------------------------------------------------------


async def book_of(node: SimNode) -> CharterBook:
    return await CharterBook.load(node.world.disk, node.world.log, SWARM.peer_id)


async def test_the_latest_charter_counts_also_after_a_power_cut() -> None:
    node = SimWorld(1).node("cell")
    book = await book_of(node)
    assert (book.revision, book.shown) == (0, b"")
    assert book.names(SWARM.peer_id)
    both, one = signed(4, entry(1), entry(2)), signed(5, entry(1), entry(2, is_revoked=True))
    told: list[int] = []
    book.watch(lambda: told.append(book.revision))
    for each in (both, one, both, one, signed(3, entry(2))):
        await book.take(each.data)
    assert told == [4, 5]
    assert not book.names(SWARM.peer_id)
    node.crash(power=True)
    again = await book_of(node)
    assert (again.revision, again.shown) == (5, one.data)
    await again.take(both.data)
    assert again.names(entry(1).key_id)
    assert not again.names(entry(2).key_id)


async def test_of_two_charters_of_one_revision_all_take_the_same() -> None:
    pair = signed(2, entry(1)), signed(2, entry(2))
    kept = set()
    for order in (pair, pair[::-1]):
        book = await book_of(SimWorld(1).node("cell"))
        for each in order:
            await book.take(each.data)
        kept.add(book.shown)
    assert kept == {max(each.data for each in pair)}


async def test_a_forged_charter_changes_nothing() -> None:
    book = await book_of(SimWorld(1).node("cell"))
    await book.take(signed(2, entry(1)).data)
    for forged in (sign_charter(OTHER, 9, [entry(2)]).data, signed(9, entry(2)).data[:-1], b"x"):
        with pytest.raises(PeerViolation, match="bad_charter"):
            await book.take(forged)
    assert book.revision == 2


@pytest.mark.fault("M4")
async def test_a_charter_that_could_not_be_written_counts_and_is_written_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(*_: object) -> None:
        raise Unavailable.received("no_space")

    node = SimWorld(1).node("cell")
    book = await book_of(node)
    charter = signed(2, entry(1))
    with monkeypatch.context() as full:
        full.setattr("common.charter_book.write_whole", fail)
        await book.take(charter.data)
    assert book.revision == 2
    assert FILE_NAME not in node.platter.inodes
    await book.take(b"")
    assert (await book_of(node)).revision == 2


@pytest.mark.fault("M5")
async def test_a_damaged_file_counts_as_none() -> None:
    node = SimWorld(1).node("cell")
    book = await book_of(node)
    await book.take(signed(2, entry(1)).data)
    file = await node.world.disk.open(FILE_NAME)
    await file.write(120, [b"x"])
    await file.close()
    assert (await book_of(node)).revision == 0
