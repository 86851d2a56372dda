"""Leaves, roots and page digests."""

import dataclasses
import itertools

import pytest
from blake3 import blake3

from common.crypto.digest import ShardDigests, leaf, page_digest, shard_root
from common.wire.messages.writing import Extent, Page

LEAVES = [leaf(bytes([number])) for number in range(3)]
EXTENTS = tuple(
    Extent(bytes([i]) * 16, i * 100, 50 + i, bytes([i + 100]) * 32, i) for i in range(3)
)


def test_a_leaf_is_plain_blake3():
    # https://github.com/BLAKE3-team/BLAKE3, test_vectors.json, input length 0.
    assert leaf(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert leaf(memoryview(bytearray(b"abc"))) == leaf(b"abc")


def test_a_root_binds_sizes_number_order_and_content_of_its_units():
    joined = b"".join(LEAVES)
    roots = [shard_root(64, 192, b"".join(row)) for row in itertools.permutations(LEAVES)]
    roots += [
        shard_root(64, 191, joined),
        shard_root(63, 192, joined),
        shard_root(192, 64, joined),
        shard_root(64, 192, joined[:-32]),
        shard_root(64, 192, joined + LEAVES[0]),
        shard_root(64, 192, b""),
    ]
    assert len(set(roots)) == len(roots)


UNITS = bytes(range(64)) * 2 + b"end"
DIGESTS = ShardDigests.of(64, len(UNITS), UNITS)


def test_digests_belong_to_the_root_of_their_shard_and_to_no_other():
    leaves = DIGESTS.leaves
    root = shard_root(64, len(UNITS), leaves)
    assert DIGESTS.units == 3
    assert DIGESTS.belong_to(root)
    others = [
        ShardDigests.of(64, len(UNITS), UNITS[:-1]),
        ShardDigests.of(64, len(UNITS), UNITS[:-3]),
        ShardDigests.of(64, len(UNITS), b""),
        ShardDigests(64, len(UNITS), leaves[:-1]),
        ShardDigests(64, len(UNITS), leaves[:-32]),
        ShardDigests(64, len(UNITS), leaves + leaves[:32]),
        ShardDigests(64, len(UNITS) + 1, leaves),
        ShardDigests(32, len(UNITS), leaves),
    ]
    assert not any(each.belong_to(root) for each in others)
    miscounted = [others[at] for at in (1, 2, 4, 5)]
    assert not any(each.belong_to(each.root) for each in miscounted)


def test_units_hold_where_they_are_whole_unchanged_and_in_their_place():
    for first, count, start, end in ((0, 1, 0, 64), (1, 1, 64, 128), (2, 1, 128, 131)):
        assert DIGESTS.hold(first, count, UNITS[start:end])
    assert DIGESTS.hold(0, 3, UNITS)
    assert DIGESTS.hold(1, 2, memoryview(UNITS)[64:])
    assert DIGESTS.hold(1, 9, UNITS[64:]), "fewer at the end of the shard"
    assert not DIGESTS.hold(0, 1, UNITS[64:128][::-1])
    assert not DIGESTS.hold(2, 1, UNITS[:3])
    assert not DIGESTS.hold(0, 2, UNITS[:64]), "fewer than asked"
    assert not DIGESTS.hold(0, 1, UNITS[:128]), "more than asked"
    assert not DIGESTS.hold(0, 1, UNITS[:63])
    assert not DIGESTS.hold(3, 1, b"")
    assert not DIGESTS.hold(0, 0, b"")


@pytest.mark.parametrize("at", range(0, len(UNITS), 17))
def test_every_changed_byte_is_found(at: int):
    changed = bytearray(UNITS)
    changed[at] ^= 1
    assert not DIGESTS.hold(0, 3, changed)
    assert not ShardDigests.of(64, len(UNITS), changed).belong_to(DIGESTS.root)


def test_a_root_is_never_the_leaf_or_page_digest_of_the_same_bytes():
    joined = b"".join(LEAVES)
    head = (64).to_bytes(8, "big") + (192).to_bytes(8, "big") + (3).to_bytes(4, "big")
    assert shard_root(64, 192, joined) not in (leaf(joined), leaf(head + joined))
    assert page_digest(Page(())) != blake3(bytes(4)).digest()


def test_a_page_digest_binds_every_field_order_and_number():
    pages = [Page(tuple(row)) for row in itertools.permutations(EXTENTS)]
    pages += [Page(EXTENTS[:length]) for length in range(3)]
    pages.append(Page((*EXTENTS, EXTENTS[0])))
    changes = {
        "segment_id": b"x" * 16,
        "offset": 7,
        "length": 7,
        "commitment": b"x" * 32,
        "number": 7,
    }
    assert set(changes) == {field.name for field in dataclasses.fields(Extent)}
    for at, (field, value) in itertools.product(range(3), changes.items()):
        row = list(EXTENTS)
        row[at] = dataclasses.replace(row[at], **{field: value})
        pages.append(Page(tuple(row)))
    digests = {page_digest(page) for page in pages}
    assert len(digests) == len(pages)
    assert {len(digest) for digest in digests} == {32}
