from __future__ import annotations

import pytest

from common.crypto.identity import KeyPair
from common.errors import NotFound, PeerViolation, Refused, Unavailable
from common.limits import MAX_CALLS_IN_FLIGHT_PER_CONNECTION
from common.ports import Buffer
from common.reasons import Absence, Outage, Refusal
from common.rpc.protocol.connection import AnswererConnection, CallerConnection
from common.rpc.protocol.events import (
    Accepted,
    Answered,
    Called,
    CalledUnknown,
    Cancelled,
    Event,
    Failed,
    GoingAway,
    Greeted,
    Proved,
    Rejected,
    Unproved,
)
from common.rpc.protocol.states import State
from common.wire.control import PROTOCOL_VERSION, Fact, Failure, Hello, Proof
from common.wire.frame import FrameKind, encode_frame
from common.wire.messages.base import Done, Ping
from common.wire.messages.cell import CellFactsGet, ShardRead, ShardUnits
from common.wire.records import pack_value

SERVER = KeyPair.from_private(b"s" * 32)
OTHER = KeyPair.from_private(b"o" * 32)
CALLER = KeyPair.from_private(b"c" * 32)
NONCE = b"n" * 32
End = AnswererConnection | CallerConnection


def deliver(parts: list[Buffer], to: End) -> list[Event]:
    data = memoryview(b"".join(parts))
    events: list[Event] = []
    while data:
        buffer = to.get_buffer()
        count = min(len(buffer), len(data))
        buffer[:count] = data[:count]
        to.bytes_received(count)
        data = data[count:]
        while (event := to.next_event()) is not None:
            events.append(event)
    return events


def pair() -> tuple[CallerConnection, AnswererConnection]:
    caller = CallerConnection(SERVER.public_key)
    answerer = AnswererConnection(SERVER.public_key, NONCE)
    (greeted,) = deliver(answerer.hello(), caller)
    assert isinstance(greeted, Greeted)
    proof = caller.prove(CALLER.public_key, CALLER.sign(greeted.message))
    assert deliver(proof, answerer) == [Proved(CALLER.peer_id)]
    assert deliver(answerer.ready(), caller) == [Accepted()]
    assert caller.state is answerer.state is State.OPEN
    return caller, answerer


def test_a_call_is_answered_with_reply_and_payload() -> None:
    caller, answerer = pair()
    request = ShardRead(b"order", 0, 2, False)
    call_id, parts = caller.call(request, [b"pay", b"load"])
    (called,) = deliver(parts, answerer)
    assert isinstance(called, Called)
    assert (called.call_id, called.request, bytes(called.payload)) == (call_id, request, b"payload")
    reply = ShardUnits(10, 5)
    (answered,) = deliver(answerer.reply(call_id, reply, [b"units"]), caller)
    assert isinstance(answered, Answered)
    assert (answered.call_id, answered.reply, bytes(answered.payload)) == (call_id, reply, b"units")
    assert caller.calls_in_flight == answerer.calls_in_flight == 0


def test_answers_may_come_in_any_order() -> None:
    caller, answerer = pair()
    first, parts = caller.call(Ping())
    deliver(parts, answerer)
    second, parts = caller.call(Ping())
    deliver(parts, answerer)
    for call_id in (second, first):
        (event,) = deliver(answerer.reply(call_id, Done()), caller)
        assert isinstance(event, Answered)
        assert event.call_id == call_id


def test_a_failure_becomes_the_same_error_with_its_facts() -> None:
    caller, answerer = pair()
    call_id, parts = caller.call(Ping())
    deliver(parts, answerer)
    error = NotFound(Absence.NO_SUCH_SHARD, slot=3, segment=b"\x01\xff", why="x")
    (event,) = deliver(answerer.fail(call_id, error), caller)
    assert isinstance(event, Failed)
    assert type(event.error) is NotFound
    assert event.error.reason == "no_such_shard"
    assert event.error.fields == {"slot": 3, "segment": "01ff", "why": "x"}


def test_facts_too_long_for_the_wire_are_cut() -> None:
    caller, answerer = pair()
    call_id, parts = caller.call(Ping())
    deliver(parts, answerer)
    (event,) = deliver(
        answerer.fail(call_id, Refused.received("x" * 100, dict.fromkeys("abcdefgh", "🐝" * 9999))),
        caller,
    )
    assert isinstance(event, Failed)
    assert len(event.error.reason) == 64
    assert event.error.fields == dict.fromkeys("abcdef", "🐝" * 128)


@pytest.mark.parametrize(
    "failure",
    [Failure(99, "no_space"), Failure(4, "not_owner", (Fact("two\nlines", "x"),))],
)
def test_a_failure_that_no_version_sends_is_a_violation(failure: Failure) -> None:
    with pytest.raises(PeerViolation, match="bad_failure"):
        failure.error()


def test_the_answer_to_a_cancelled_call_is_dropped() -> None:
    caller, answerer = pair()
    call_id, parts = caller.call(Ping())
    deliver(parts, answerer)
    assert deliver(caller.cancel(call_id), answerer) == [Cancelled(call_id)]
    assert caller.calls_in_flight == 1, "it holds its place until it is answered"
    assert deliver(answerer.reply(call_id, Done()), caller) == []
    assert caller.calls_in_flight == 0


def test_a_cancel_that_crosses_its_answer_is_ignored() -> None:
    caller, answerer = pair()
    call_id, parts = caller.call(Ping())
    deliver(parts, answerer)
    reply = answerer.reply(call_id, Done())
    assert deliver(caller.cancel(call_id), answerer) == []
    assert deliver(reply, caller) == []
    assert caller.cancel(call_id) == []


def test_an_unknown_request_leaves_the_connection_open() -> None:
    caller, answerer = pair()
    call_id, _ = caller.call(Ping())
    parts = encode_frame(FrameKind.REQUEST, call_id, pack_value([9999, []]))
    assert deliver(parts, answerer) == [CalledUnknown(call_id, 9999)]
    (event,) = deliver(answerer.fail(call_id, Refused(Refusal.UNKNOWN_REQUEST)), caller)
    assert isinstance(event, Failed)


def test_call_ids_wrap_around_and_skip_those_in_flight() -> None:
    caller, answerer = pair()
    first, parts = caller.call(Ping())
    deliver(parts, answerer)
    caller._last_call_id = (1 << 32) - 2
    assert [caller.call(Ping())[0] for _ in range(2)] == [(1 << 32) - 1, first + 1]


def test_a_wrong_signature_is_refused() -> None:
    caller, answerer = (
        CallerConnection(SERVER.public_key),
        AnswererConnection(SERVER.public_key, NONCE),
    )
    deliver(answerer.hello(), caller)
    (event,) = deliver(caller.prove(CALLER.public_key, b"\0" * 64), answerer)
    assert isinstance(event, Unproved)
    (rejected,) = deliver(answerer.refuse(event.error), caller)
    assert isinstance(rejected, Rejected)
    assert rejected.error.reason == "proof_invalid"
    assert caller.state is answerer.state is State.CLOSED


@pytest.mark.parametrize(
    ("server_key", "nonce"),
    [(OTHER.public_key, NONCE), (SERVER.public_key, b"m" * 32)],
    ids=["another server", "another connection"],
)
def test_a_proof_is_good_for_one_server_and_one_connection(server_key: bytes, nonce: bytes) -> None:
    caller = CallerConnection(server_key)
    (greeted,) = deliver(
        encode_frame(FrameKind.HELLO, 0, Hello(PROTOCOL_VERSION, nonce, 1).pack()), caller
    )
    assert isinstance(greeted, Greeted)
    stolen = Proof(PROTOCOL_VERSION, CALLER.public_key, CALLER.sign(greeted.message))
    answerer = AnswererConnection(SERVER.public_key, NONCE)
    answerer.hello()
    (event,) = deliver(encode_frame(FrameKind.PROOF, 0, stolen.pack()), answerer)
    assert isinstance(event, Unproved)


def test_a_version_not_spoken_here_is_refused() -> None:
    answerer = AnswererConnection(SERVER.public_key, NONCE)
    answerer.hello()
    proof = Proof(PROTOCOL_VERSION + 1, CALLER.public_key, b"\0" * 64)
    (event,) = deliver(encode_frame(FrameKind.PROOF, 0, proof.pack()), answerer)
    assert isinstance(event, Unproved)
    assert event.error.reason == "wrong_version"


def test_goaway_drains() -> None:
    caller, answerer = pair()
    call_id, parts = caller.call(Ping())
    deliver(parts, answerer)
    (event,) = deliver(answerer.go_away(Unavailable(Outage.GOING_AWAY)), caller)
    assert isinstance(event, GoingAway)
    assert caller.state is State.DRAINING
    (answered,) = deliver(answerer.reply(call_id, Done()), caller)
    assert isinstance(answered, Answered)
    with pytest.raises(AssertionError):
        caller.call(Ping())


def test_goaway_instead_of_hello_rejects() -> None:
    caller, answerer = (
        CallerConnection(SERVER.public_key),
        AnswererConnection(SERVER.public_key, NONCE),
    )
    (event,) = deliver(answerer.go_away(Unavailable.received("too_many_connections")), caller)
    assert isinstance(event, Rejected)
    assert answerer.go_away(Unavailable.received("again")) == []


def request_frame(call_id: int, header: object = None) -> list[Buffer]:
    code_and_fields = [Ping.code, []] if header is None else header
    return encode_frame(FrameKind.REQUEST, call_id, pack_value(code_and_fields))


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([request_frame(0)], "bad_call_id"),
        ([request_frame(1), request_frame(1)], "bad_call_id"),
        ([request_frame(1, [])], "bad_record"),
        ([request_frame(1, ["1", []])], "bad_record"),
        ([request_frame(1, [CellFactsGet.code, [], 3])], "bad_record"),
        ([request_frame(1, [ShardRead.code, [b"order"]])], "bad_record"),
        ([encode_frame(FrameKind.REQUEST, 1, b"\xc1")], "bad_record"),
        ([encode_frame(FrameKind.REPLY, 1, pack_value([]))], "unexpected_frame"),
        ([encode_frame(FrameKind.PROOF, 0, b"")], "unexpected_frame"),
        ([encode_frame(FrameKind.GOAWAY, 0, pack_value([0, "x", []]))], "bad_failure"),
        ([encode_frame(FrameKind.GOAWAY, 3, pack_value([2, "x", []]))], "bad_call_id"),
        (
            [request_frame(i + 1) for i in range(MAX_CALLS_IN_FLIGHT_PER_CONNECTION + 1)],
            "too_many_calls",
        ),
    ],
)
def test_an_answerer_finds_out_a_bad_caller(frames: list[list[Buffer]], reason: str) -> None:
    _, answerer = pair()
    with pytest.raises(PeerViolation) as caught:
        deliver([part for frame in frames for part in frame], answerer)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (encode_frame(FrameKind.REPLY, 77, pack_value([])), "no_such_call"),
        (encode_frame(FrameKind.FAILURE, 77, pack_value([2, "x", []])), "no_such_call"),
        (encode_frame(FrameKind.FAILURE, 1, pack_value([99, "x", []])), "bad_failure"),
        (encode_frame(FrameKind.REPLY, 1, b"\x91"), "bad_record"),
        (encode_frame(FrameKind.HELLO, 0, b""), "unexpected_frame"),
        (encode_frame(FrameKind.REQUEST, 1, pack_value([1, []])), "unexpected_frame"),
    ],
)
def test_a_caller_finds_out_a_bad_answerer(frame: list[Buffer], reason: str) -> None:
    caller, _ = pair()
    assert caller.call(Ping())[0] == 1
    with pytest.raises(PeerViolation) as caught:
        deliver(frame, caller)
    assert caught.value.reason == reason


def test_no_request_before_the_proof() -> None:
    answerer = AnswererConnection(SERVER.public_key, NONCE)
    answerer.hello()
    with pytest.raises(PeerViolation, match="unexpected_frame"):
        deliver(request_frame(1), answerer)


def test_a_stream_that_ends_within_a_frame_is_a_violation() -> None:
    _, answerer = pair()
    answerer.end_of_stream()
    deliver([b"\0\0"], answerer)
    with pytest.raises(PeerViolation, match="cut_frame"):
        answerer.end_of_stream()
