"""Any bytes, cut in any way, give events or PeerViolation, in bounded memory."""

from __future__ import annotations

import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from common.crypto.identity import KeyPair
from common.errors import PeerViolation
from common.limits import FRAME_STAGING_BYTES, MAX_FRAME_HEADER_BYTES, MAX_FRAME_PAYLOAD_BYTES
from common.rpc.protocol.connection import AnswererConnection, CallerConnection
from common.rpc.protocol.events import Event, Greeted, Proved
from common.rpc.protocol.states import Role, State
from common.wire.control import PROTOCOL_VERSION, Failure, Hello, Proof
from common.wire.frame import FrameKind, encode_frame
from common.wire.messages import REQUESTS
from common.wire.messages.base import Ping
from common.wire.records import pack_value

SERVER = KeyPair.from_private(b"s" * 32)
CALLER = KeyPair.from_private(b"c" * 32)
NONCE = b"n" * 32

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.binary(max_size=40)
    | st.text(max_size=20)
    | st.floats(),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=12,
)
headers = st.one_of(
    st.binary(max_size=60),
    values.map(pack_value),
    st.tuples(st.sampled_from(sorted(REQUESTS)) | st.integers(0, 300), st.lists(values)).map(
        lambda pair: pack_value(list(pair))
    ),
    st.just(Hello(PROTOCOL_VERSION, NONCE, 8).pack()),
    st.just(Failure(2, "no").pack()),
    st.just(pack_value([])),
)
frames = st.builds(
    lambda kind, call_id, header, payload: b"".join(
        encode_frame(kind, call_id, b"" if kind == FrameKind.CANCEL else header,
                     [payload] if payload and kind in (FrameKind.REQUEST, FrameKind.REPLY) else [])
    ),
    st.sampled_from(FrameKind),
    st.integers(0, 5) | st.integers(0, (1 << 32) - 1),
    headers,
    st.binary(max_size=50),
)  # fmt: skip
streams = st.lists(frames | st.binary(max_size=40), max_size=12).map(b"".join)
cuts = st.lists(st.integers(1, 60), min_size=1, max_size=8)


def open_answerer() -> AnswererConnection:
    core = AnswererConnection(SERVER.public_key, NONCE)
    core.hello()
    caller = CallerConnection(SERVER.public_key)
    (greeted,) = feed(
        caller, b"".join(encode_frame(FrameKind.HELLO, 0, Hello(1, NONCE, 8).pack())), [99]
    )
    assert isinstance(greeted, Greeted)
    proof = Proof(PROTOCOL_VERSION, CALLER.public_key, CALLER.sign(greeted.message))
    (proved,) = feed(core, b"".join(encode_frame(FrameKind.PROOF, 0, proof.pack())), [500])
    assert isinstance(proved, Proved)
    core.ready()
    return core


def open_caller() -> CallerConnection:
    core = CallerConnection(SERVER.public_key)
    (greeted,) = feed(
        core, b"".join(encode_frame(FrameKind.HELLO, 0, Hello(1, NONCE, 8).pack())), [99]
    )
    assert isinstance(greeted, Greeted)
    core.prove(CALLER.public_key, CALLER.sign(greeted.message))
    feed(core, b"".join(encode_frame(FrameKind.READY, 0, pack_value([]))), [99])
    for _ in range(4):
        core.call(Ping())
    return core


def feed(
    core: AnswererConnection | CallerConnection, data: bytes, chunks: list[int]
) -> list[Event]:
    """Everything that happens until the data ends or the peer is found out."""
    events: list[Event] = []
    left = memoryview(data)
    turn = 0
    while left:
        assert core.wanted_bytes <= MAX_FRAME_HEADER_BYTES + MAX_FRAME_PAYLOAD_BYTES
        buffer = core.get_buffer()
        assert len(buffer)
        count = min(len(buffer), chunks[turn % len(chunks)], len(left))
        buffer[:count] = left[:count]
        core.bytes_received(count)
        left = left[count:]
        turn += 1
        while (event := core.next_event()) is not None:
            events.append(event)
    return events


def survives(core: AnswererConnection | CallerConnection, data: bytes, chunks: list[int]) -> None:
    try:
        events = feed(core, data, chunks)
        core.end_of_stream()
    except PeerViolation as error:
        core.go_away(error)
        return
    assert len(events) <= len(data) // 16


@settings(max_examples=120, deadline=None)
@given(streams, cuts)
def test_an_open_answerer_survives_any_bytes(data: bytes, chunks: list[int]) -> None:
    survives(open_answerer(), data, chunks)


@settings(max_examples=120, deadline=None)
@given(streams, cuts)
def test_an_open_caller_survives_any_bytes(data: bytes, chunks: list[int]) -> None:
    survives(open_caller(), data, chunks)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(Role), streams, cuts)
def test_a_handshake_survives_any_bytes(role: Role, data: bytes, chunks: list[int]) -> None:
    if role is Role.CALLER:
        survives(CallerConnection(SERVER.public_key), data, chunks)
    else:
        answerer = AnswererConnection(SERVER.public_key, NONCE)
        answerer.hello()
        survives(answerer, data, chunks)


@settings(max_examples=60, deadline=None)
@given(streams, cuts, cuts)
def test_events_do_not_depend_on_how_the_stream_is_cut(
    data: bytes, one: list[int], other: list[int]
) -> None:
    def outcome(chunks: list[int]) -> list[str]:
        core = open_answerer()
        events: list[str] = []
        left = memoryview(data)
        turn = 0
        try:
            while left:
                buffer = core.get_buffer()
                count = min(len(buffer), chunks[turn % len(chunks)], len(left))
                buffer[:count] = left[:count]
                core.bytes_received(count)
                left, turn = left[count:], turn + 1
                while (event := core.next_event()) is not None:
                    if hasattr(event, "payload"):
                        event.payload = bytes(event.payload)
                    if hasattr(event, "error"):
                        event.error = str(event.error)
                    events.append(repr(event))
        except PeerViolation as error:
            events.append(error.reason)
        return events

    assert outcome(one) == outcome(other)


def test_a_frame_of_4_gib_allocates_nothing() -> None:
    core = open_answerer()
    huge = b"\xff\xff\xff\xff" * 2 + b"\0\0\0\1" + bytes([FrameKind.REQUEST, 0]) + b"\xa1\x7e"
    tracemalloc.start()
    survives(core, huge + bytes(FRAME_STAGING_BYTES), [FRAME_STAGING_BYTES])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    assert core.state is State.DRAINING
