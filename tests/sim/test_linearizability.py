"""The checker agrees with a brute-force search over all orders."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.checkers.linearizability import (
    UNKNOWN_END,
    RegisterEffect,
    RegisterOperation,
    _step,
    is_linearizable,
    shrink,
)


def by_brute_force(history):
    known = [each for each in history if not each.is_unknown]
    unknown = [each for each in history if each.is_unknown]
    for count in range(len(unknown) + 1):
        for chosen in itertools.combinations(unknown, count):
            for order in itertools.permutations([*known, *chosen]):
                if any(
                    later.end_s < earlier.start_s
                    for position, earlier in enumerate(order)
                    for later in order[position + 1 :]
                ):
                    continue
                state = None
                for each in order:
                    possible, state = _step(each, state)
                    if not possible:
                        break
                else:
                    return True
    return not history


def op(kind, start, end, value=None, **rest):
    return RegisterOperation(kind, start, end, value, **rest)


CASES = [
    ([op(RegisterEffect.PUT, 0, 1, "a"), op(RegisterEffect.GET, 2, 3, "a")], True),
    ([op(RegisterEffect.PUT, 0, 1, "a"), op(RegisterEffect.GET, 2, 3, None)], False),
    (
        [
            op(RegisterEffect.PUT, 0, 5, "a"),
            op(RegisterEffect.GET, 2, 3, None),
            op(RegisterEffect.GET, 3.5, 4, "a"),
        ],
        True,
    ),
    (
        [
            op(RegisterEffect.PUT, 0, 5, "a"),
            op(RegisterEffect.GET, 2, 3, "a"),
            op(RegisterEffect.GET, 3.5, 4, None),
        ],
        False,
    ),
    ([op(RegisterEffect.PUT, 0, UNKNOWN_END, "a"), op(RegisterEffect.GET, 9, 10, None)], True),
    ([op(RegisterEffect.PUT, 0, UNKNOWN_END, "a"), op(RegisterEffect.GET, 9, 10, "a")], True),
    (
        [
            op(RegisterEffect.PUT, 0, UNKNOWN_END, "a"),
            op(RegisterEffect.GET, 5, 6, "a"),
            op(RegisterEffect.GET, 9, 10, None),
        ],
        False,
    ),
    (
        [
            op(RegisterEffect.PUT_IF_ABSENT, 0, 1, "a"),
            op(RegisterEffect.PUT_IF_ABSENT, 2, 3, "b", holds=False),
        ],
        True,
    ),
    (
        [op(RegisterEffect.PUT_IF_ABSENT, 0, 1, "a"), op(RegisterEffect.PUT_IF_ABSENT, 2, 3, "b")],
        False,
    ),
    (
        [
            op(RegisterEffect.PUT, 0, 1, "a"),
            op(RegisterEffect.PUT_IF_MATCH, 2, 4, "b", expected="a"),
            op(RegisterEffect.PUT_IF_MATCH, 2, 4, "c", expected="a"),
        ],
        False,
    ),
    ([op(RegisterEffect.PUT, 0, 1, "a"), op(RegisterEffect.EXISTS, 2, 3, holds=False)], False),
    (
        [
            op(RegisterEffect.PUT, 0, 1, "a"),
            op(RegisterEffect.DELETE, 2, 3),
            op(RegisterEffect.EXISTS, 4, 5, holds=False),
        ],
        True,
    ),
]


@pytest.mark.parametrize(("history", "verdict"), CASES)
def test_known_histories_get_their_verdict(history, verdict):
    assert is_linearizable(history) is verdict


@st.composite
def histories(draw):
    history = []
    for number in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, 8))
        end = draw(st.one_of(st.integers(start + 1, 12), st.just(UNKNOWN_END)))
        kind = draw(st.sampled_from(list(RegisterEffect)))
        written = f"v{number}"
        some = draw(st.sampled_from([None, "v0", "v1", "v2"]))
        history.append(
            RegisterOperation(
                kind,
                start,
                end,
                some if kind is RegisterEffect.GET else written,
                some,
                draw(st.booleans()),
            )
        )
    return history


@settings(max_examples=400, deadline=None)
@given(histories())
def test_the_search_agrees_with_brute_force(history):
    # A point shared by an end and a start counts as concurrent in neither.
    spread = [
        RegisterOperation(
            each.kind,
            each.start_s + 0.01 * number,
            each.end_s if each.is_unknown else each.end_s + 0.5 + 0.01 * number,
            each.value,
            each.expected,
            each.holds,
        )
        for number, each in enumerate(history)
    ]
    assert is_linearizable(spread) == by_brute_force(spread)


def test_shrink_keeps_a_history_that_fails():
    history = [op(RegisterEffect.PUT, n, n + 0.5, f"v{n}") for n in range(20)]
    history.insert(5, op(RegisterEffect.GET, 5.6, 5.8, "v3"))
    assert not is_linearizable(history)
    short = shrink(history)
    assert not is_linearizable(short)
    assert len(short) <= 7
