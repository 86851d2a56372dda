"""The two ends of a native connection, without I/O: bytes in, events out; actions in, bytes out.

Source: docs/protocol.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from common import limits
from common.crypto.identity import peer_id_of, signature_holds
from common.errors import AlvearyError, PeerViolation, Refused
from common.ports import Buffer
from common.reasons import Refusal, Violation
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
from common.rpc.protocol.states import EXPECTED, SENDS, TAKES, Role, State
from common.wire.control import PROTOCOL_VERSION, Failure, Hello, Proof, Ready, proof_message
from common.wire.frame import Frame, FrameKind, FrameReader, encode_frame
from common.wire.messages import REQUESTS
from common.wire.messages.base import Reply, Request
from common.wire.records import pack_value, unpack_value

_HELLO: Final = int(FrameKind.HELLO)
_PROOF: Final = int(FrameKind.PROOF)
_READY: Final = int(FrameKind.READY)
_REQUEST: Final = int(FrameKind.REQUEST)
_REPLY: Final = int(FrameKind.REPLY)
_FAILURE: Final = int(FrameKind.FAILURE)
_CANCEL: Final = int(FrameKind.CANCEL)
_GOAWAY: Final = int(FrameKind.GOAWAY)


class _Connection:
    """The common base of both ends: the frame reader and the walk through the table of states."""

    role: Role
    _server_key: bytes
    _nonce: bytes

    def __init__(self) -> None:
        self.state = State.GREETING
        self._reader = FrameReader(EXPECTED[self.role][State.GREETING])
        self.get_buffer = self._reader.get_buffer
        """The buffer to receive into: see :class:`common.wire.frame.FrameReader`."""
        self.bytes_received = self._reader.bytes_received

    @property
    def channel(self) -> bytes:
        """The answerer's key and the nonce, 64 bytes: both ends know it, and no other connection
        has it. Known to the caller once it was greeted."""
        return self._server_key + self._nonce

    @property
    def wanted_bytes(self) -> int:
        """Memory that the frame being received will take; 0 between frames."""
        return self._reader.wanted_bytes

    def end_of_stream(self) -> None:
        """The peer sends no more.

        Raises:
            PeerViolation: ``cut_frame``: it stopped within a frame.
        """
        if not self._reader.at_boundary:
            raise PeerViolation(Violation.CUT_FRAME)

    def next_event(self) -> Event | None:
        """The next thing that happened, or None when more bytes are needed.

        Raises:
            PeerViolation: the peer broke the protocol: send :meth:`go_away` with it and close.
        """
        while True:
            frame = self._reader.next_frame()
            if frame is None:
                return None
            event = self._take(frame)
            if event is not None:
                return event

    def go_away(self, error: AlvearyError) -> list[Buffer]:
        """Say that this side is leaving and why; empty where the state has no such frame."""
        if FrameKind.GOAWAY not in SENDS[self.role][self.state]:
            return []
        return self._send(_GOAWAY, 0, Failure.of(error).pack())

    def _take(self, frame: Frame) -> Event | None:
        raise NotImplementedError

    def _send(
        self, kind: int, call_id: int, header: bytes = b"", payload: Sequence[Buffer] = ()
    ) -> list[Buffer]:
        state = SENDS[self.role][self.state].get(FrameKind(kind))
        assert state is not None, f"cannot send kind {kind} when {self.state}"
        self._enter(state)
        return encode_frame(kind, call_id, header, payload)

    def _step(self, frame: Frame) -> None:
        self._enter(TAKES[self.role][self.state][FrameKind(frame.kind)])
        if frame.call_id:
            raise PeerViolation(Violation.BAD_CALL_ID, kind=frame.kind)

    def _enter(self, state: State) -> None:
        if state is not self.state:
            self.state = state
            self._reader.expect(EXPECTED[self.role][state])


class CallerConnection(_Connection):
    """The side that connected, proves its key, and makes calls.

    Args:
        server_key: the public key that the answerer proved in TLS, 32 bytes.
    """

    role = Role.CALLER

    def __init__(self, server_key: bytes) -> None:
        super().__init__()
        self._server_key = server_key
        self._nonce = b""
        self._replies: dict[int, type[Reply] | None] = {}
        self._last_call_id = 0
        self.max_calls = 0
        """The number of calls that may be in flight; known once greeted."""

    @property
    def calls_in_flight(self) -> int:
        """The number of calls not answered yet, the cancelled ones among them."""
        return len(self._replies)

    def prove(self, public_key: bytes, signature: bytes, charter: bytes = b"") -> list[Buffer]:
        """Answer a :class:`Greeted` with the signature of its message, and show a charter."""
        proof = Proof(PROTOCOL_VERSION, public_key, signature, charter)
        return self._send(_PROOF, 0, proof.pack())

    def call(self, request: Request, payload: Sequence[Buffer] = ()) -> tuple[int, list[Buffer]]:
        """Begin a call. Only when open, and with fewer than ``max_calls`` in flight.

        Returns:
            The call's id, and the parts to send.
        """
        assert self.state is State.OPEN, f"no calls when {self.state}"
        assert len(self._replies) < self.max_calls, "too many calls in flight"
        call_id = self._last_call_id % limits.MAX_CALL_ID + 1
        while call_id in self._replies:
            call_id = call_id % limits.MAX_CALL_ID + 1
        self._last_call_id = call_id
        self._replies[call_id] = request.reply
        header = pack_value([request.code, request.to_fields()])
        return call_id, encode_frame(_REQUEST, call_id, header, payload)

    def cancel(self, call_id: int) -> list[Buffer]:
        """Cancel a call that nobody waits for any more; its answer will be dropped.

        Returns:
            The parts to send; empty if it was answered already.
        """
        if self._replies.get(call_id) is None:
            return []
        self._replies[call_id] = None
        return self._send(_CANCEL, call_id)

    def _take(self, frame: Frame) -> Event | None:
        kind = frame.kind
        if kind == _REPLY:
            reply_type = self._answered(frame.call_id)
            if reply_type is None:
                return None
            reply = reply_type.from_fields(unpack_value(frame.header))
            return Answered(frame.call_id, reply, frame.payload)
        if kind == _FAILURE and self.state is not State.JUDGING:
            error = Failure.unpack(frame.header).error()
            return Failed(frame.call_id, error) if self._answered(frame.call_id) else None
        self._step(frame)
        if kind == _HELLO:
            hello = Hello.unpack(frame.header)
            if hello.version < PROTOCOL_VERSION or not hello.max_calls:
                raise PeerViolation(Violation.BAD_HELLO, version=hello.version)
            self.max_calls = min(hello.max_calls, limits.MAX_CALLS_IN_FLIGHT_PER_CONNECTION)
            self._nonce = hello.nonce
            return Greeted(proof_message(self._server_key, hello.nonce), hello.charter)
        if kind == _READY:
            Ready.unpack(frame.header)
            return Accepted()
        error = Failure.unpack(frame.header).error()
        return Rejected(error) if self.state is State.CLOSED else GoingAway(error)

    def _answered(self, call_id: int) -> type[Reply] | None:
        try:
            return self._replies.pop(call_id)
        except KeyError:
            raise PeerViolation(Violation.NO_SUCH_CALL, call_id=call_id) from None


class AnswererConnection(_Connection):
    """The side that listened, checks the caller's proof, and answers calls.

    Args:
        server_key: its own public key, as TLS showed it to the caller, 32 bytes.
        nonce: 32 unpredictable bytes, fresh for this connection.
    """

    role = Role.ANSWERER

    def __init__(self, server_key: bytes, nonce: bytes) -> None:
        super().__init__()
        self._server_key = server_key
        self._nonce = nonce
        self._calls: set[int] = set()

    @property
    def calls_in_flight(self) -> int:
        """The number of calls taken and not answered yet."""
        return len(self._calls)

    @property
    def unfinished_bytes(self) -> tuple[int, int]:
        """Header and payload bytes of the frame being received; zeros between frames."""
        return self._reader.unfinished

    @property
    def header_is_whole(self) -> bool:
        """Return whether nothing but payload is missing of the frame being received."""
        return self._reader.unfinished_header is not None

    def unfinished_request(self) -> Request | None:
        """The request whose header is whole and whose payload is not; None if its code is unknown.

        Raises:
            PeerViolation: ``bad_record``.
        """
        header = self._reader.unfinished_header
        assert header is not None
        code, fields = _request_of(header)
        request_type = REQUESTS.get(code)
        return None if request_type is None else request_type.from_fields(fields)

    def hello(self, charter: bytes = b"") -> list[Buffer]:
        """The first frame, which shows a charter."""
        hello = Hello(
            PROTOCOL_VERSION, self._nonce, limits.MAX_CALLS_IN_FLIGHT_PER_CONNECTION, charter
        )
        return self._send(_HELLO, 0, hello.pack())

    def ready(self) -> list[Buffer]:
        """Let a :class:`Proved` caller begin."""
        return self._send(_READY, 0, Ready().pack())

    def refuse(self, error: AlvearyError) -> list[Buffer]:
        """Turn a caller away after its proof; then close."""
        return self._send(_FAILURE, 0, Failure.of(error).pack())

    def reply(self, call_id: int, reply: Reply, payload: Sequence[Buffer] = ()) -> list[Buffer]:
        """Answer a call."""
        parts = encode_frame(_REPLY, call_id, reply.pack(), payload)
        self._calls.remove(call_id)
        return parts

    def fail(self, call_id: int, error: AlvearyError) -> list[Buffer]:
        """Answer a call with an error."""
        self._calls.remove(call_id)
        return encode_frame(_FAILURE, call_id, Failure.of(error).pack())

    def _take(self, frame: Frame) -> Event | None:
        kind = frame.kind
        if kind == _REQUEST:
            return self._called(frame)
        if kind == _CANCEL:
            return Cancelled(frame.call_id) if frame.call_id in self._calls else None
        self._step(frame)
        if kind == _PROOF:
            return self._judge(Proof.unpack(frame.header))
        return GoingAway(Failure.unpack(frame.header).error())

    def _called(self, frame: Frame) -> Event:
        call_id = frame.call_id
        if not call_id or call_id in self._calls:
            raise PeerViolation(Violation.BAD_CALL_ID, call_id=call_id)
        if len(self._calls) >= limits.MAX_CALLS_IN_FLIGHT_PER_CONNECTION:
            raise PeerViolation(Violation.TOO_MANY_CALLS)
        code, fields = _request_of(frame.header)
        request_type = REQUESTS.get(code)
        self._calls.add(call_id)
        if request_type is None:
            return CalledUnknown(call_id, code)
        request = request_type.from_fields(fields)
        return Called(call_id, request, frame.payload, len(frame.header) + len(frame.payload))

    def _judge(self, proof: Proof) -> Event:
        if proof.version != PROTOCOL_VERSION:
            return Unproved(Refused(Refusal.WRONG_VERSION, version=proof.version))
        message = proof_message(self._server_key, self._nonce)
        if not signature_holds(proof.public_key, message, proof.signature):
            return Unproved(Refused(Refusal.PROOF_INVALID))
        return Proved(peer_id_of(proof.public_key), proof.charter)


def _request_of(header: Buffer) -> tuple[int, Any]:
    """The code and the fields in the header of a REQUEST."""
    value = unpack_value(header)
    if type(value) is not list or len(value) != 2 or type(value[0]) is not int:
        raise PeerViolation(Violation.BAD_RECORD, what="request")
    return value[0], value[1]
