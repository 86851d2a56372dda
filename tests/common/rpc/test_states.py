from __future__ import annotations

from common.rpc.protocol.states import EXPECTED, SENDS, TAKES, Role, State
from common.wire.frame import LIMITS, FrameKind

OTHER = {Role.CALLER: Role.ANSWERER, Role.ANSWERER: Role.CALLER}


def test_every_state_of_every_role_is_in_the_table() -> None:
    for table in (SENDS, TAKES):
        assert set(table) == set(Role)
        for states in table.values():
            assert set(states) == set(State)


def test_what_one_side_sends_the_other_takes_in_the_same_state() -> None:
    for role in Role:
        for state in State:
            for kind, after in SENDS[role][state].items():
                takes = TAKES[OTHER[role]][state]
                assert takes.get(kind) is after, (role, state, kind)


def test_each_kind_is_sent_by_one_role_alone_except_goaway() -> None:
    for kind in FrameKind:
        senders = {role for role in Role for steps in SENDS[role].values() if kind in steps}
        assert len(senders) == (2 if kind is FrameKind.GOAWAY else 1), kind


def test_every_state_is_reached_and_nothing_leaves_closed() -> None:
    for role in Role:
        reached = {State.GREETING}
        for _ in State:
            for table in (SENDS, TAKES):
                reached |= {after for state in reached for after in table[role][state].values()}
        assert reached == set(State)
        assert not SENDS[role][State.CLOSED]
        assert not TAKES[role][State.CLOSED]


def test_payloads_are_let_in_only_once_the_caller_is_known() -> None:
    for role in Role:
        for state in (State.GREETING, State.PROVING, State.JUDGING, State.CLOSED):
            assert all(limit.payload_bytes == 0 for limit in EXPECTED[role][state].values())
            assert all(limit.header_bytes <= 4096 for limit in EXPECTED[role][state].values())
        assert all(
            EXPECTED[role][State.OPEN][kind] == LIMITS[kind] for kind in TAKES[role][State.OPEN]
        )
