"""Orders: good for one action, shard, caller, cell and time."""

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from common.crypto.orders import (
    ORDER_BYTES,
    Order,
    OrderAction,
    cell_order_key,
    check,
    issue,
)
from common.errors import Refused
from common.limits import MAX_SLOTS, ORDER_EXPIRY_GRACE_S

SECRET = b"s" * 32
KEY = cell_order_key(SECRET, b"c" * 32)
CALLER = b"p" * 32
ORDER = Order(OrderAction.PUT, b"S" * 16, 3, CALLER, 1 << 24, 2_000_000_000, 7)
DATA = issue(KEY, ORDER)
NOW = 1_999_999_000.0


def refused(data=DATA, key=KEY, action=OrderAction.PUT, caller=CALLER, now=NOW, seen_epoch=7):
    with pytest.raises(Refused) as caught:
        check(key, data, actions=[action], caller=caller, now=now, seen_epoch=seen_epoch)
    return caught.value.reason


@given(
    st.sampled_from(OrderAction),
    st.binary(min_size=16, max_size=16),
    st.integers(0, MAX_SLOTS - 1),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**40),
    st.integers(0, 2**63 - 1),
)
@settings(deadline=None)
def test_an_issued_order_is_read_back(action, segment, slot, caller, shard_bytes, expires, epoch):
    order = Order(action, segment, slot, caller, shard_bytes, expires, epoch)
    data = issue(KEY, order)
    assert len(data) == ORDER_BYTES <= 128
    assert check(KEY, data, actions=[action], caller=caller, now=expires, seen_epoch=epoch) == order


@pytest.mark.incident(29)
def test_no_bit_of_an_order_can_be_changed():
    for bit in range(8 * len(DATA)):
        changed = bytearray(DATA)
        changed[bit // 8] ^= 1 << bit % 8
        assert refused(bytes(changed)) == "order_invalid"


def test_an_order_cannot_be_cut_or_lengthened():
    for length in range(len(DATA)):
        assert refused(DATA[:length]) == "order_invalid"
    assert refused(DATA + b"\0") == "order_invalid"


def test_an_order_for_another_cell_or_swarm_is_invalid():
    assert refused(key=cell_order_key(SECRET, b"d" * 32)) == "order_invalid"
    assert refused(key=cell_order_key(b"t" * 32, b"c" * 32)) == "order_invalid"


def test_an_order_is_no_good_in_other_hands():
    assert refused(caller=b"q" * 32) == "order_not_yours"


@pytest.mark.incident(29)
def test_an_order_to_read_is_none_to_write():
    reading = issue(KEY, ORDER._replace(action=OrderAction.GET))
    assert refused(reading, action=OrderAction.PUT) == "order_wrong_action"
    assert refused(DATA, action=OrderAction.GET) == "order_wrong_action"


def test_an_order_ends_after_its_grace():
    end = ORDER.expires + ORDER_EXPIRY_GRACE_S
    assert (
        check(KEY, DATA, actions=[OrderAction.PUT], caller=CALLER, now=end, seen_epoch=0) == ORDER
    )
    assert refused(now=end + 0.001) == "order_expired"
    assert (
        check(KEY, DATA, actions=[OrderAction.PUT], caller=CALLER, now=0.0, seen_epoch=0) == ORDER
    )


@pytest.mark.parametrize(("at", "value"), [(0, 0), (0, 2), (1, 0), (1, 4)])
def test_an_authentic_order_of_an_unknown_version_or_action_is_invalid(at, value):
    body = bytearray(DATA[:-32])
    body[at] = value
    assert refused(bytes(body) + blake3(body, key=KEY).digest()) == "order_invalid"


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.binary(min_size=ORDER_BYTES, max_size=ORDER_BYTES)))
def test_any_bytes_are_an_invalid_order(data):
    assert refused(data) == "order_invalid"


def test_an_order_of_an_earlier_coordinator_is_refused():
    assert refused(seen_epoch=8) == "order_superseded"
    # Who calls for what is looked at first: a stranger learns no epoch.
    assert refused(seen_epoch=8, caller=b"q" * 32) == "order_not_yours"
    assert refused(seen_epoch=8, action=OrderAction.GET) == "order_wrong_action"


def test_orders_of_the_same_and_of_a_later_coordinator_are_taken():
    for seen in (0, 6, 7):
        taken = check(KEY, DATA, actions=[OrderAction.PUT], caller=CALLER, now=NOW, seen_epoch=seen)
        assert taken == ORDER
