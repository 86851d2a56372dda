"""The Network port on the operating system: TCP sockets, plain or under TLS 1.3.

TLS is a non-blocking ``ssl.SSLSocket`` driven by trio's readiness calls: a third of the CPU of
``trio.SSLStream``, which copies everything through memory buffers (docs/protocol.md, "Transport").

Source: docs/protocol.md, "Transport".
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import trio

from common import limits
from common.crypto.identity import peer_id_of
from common.errors import AlvearyError, BadConfig, PeerViolation, Unavailable
from common.ids import PeerId
from common.ports import ANY_KEY, Address, Buffer, Certificate, Identity, Listener, Stream
from common.reasons import ConfigFault, Outage, Violation
from common.system.tls import client_context, public_context, server_context, shown_key

BACKLOG: Final = 1024
"""Callers that wait to be accepted. In a storm (a whole swarm comes back at once) a longer line
would be one of callers whose timeouts pass before their turn."""
TLS_RECORD_BYTES: Final = 16 * 1024
JOIN_BELOW_BYTES: Final = 1024
"""On plain TCP, shorter parts are copied together: cheaper than an entry in a gathered write."""
BUSY_RETRY_S: Final = 0.01
_TCP_CORK: Final[int | None] = getattr(socket, "TCP_CORK", None)
"""Linux alone has it."""
_ACCEPT_AGAIN: Final = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EINTR, errno.EAGAIN})


def _lost(error: Exception | None = None) -> Unavailable:
    if error is None or isinstance(error, trio.ClosedResourceError):
        return Unavailable(Outage.CONNECTION_LOST, cause="closed here")
    return Unavailable(Outage.CONNECTION_LOST, cause=str(error) or type(error).__name__)


class _SocketStream:
    """The common base of plain and secure streams: waiting, closing, and one rule for errors."""

    def __init__(self, sock: socket.socket, remote: str) -> None:
        self._socket = sock
        self._remote = remote
        self._is_closed = False
        self._is_sending = False
        self._may_have_more = True
        """False when the last receive took all there was: then the next one waits first."""

    @property
    def server_key(self) -> bytes | None:
        return None

    @property
    def remote(self) -> str:
        return self._remote

    async def send(self, parts: Sequence[Buffer]) -> None:
        assert not self._is_sending, "one task sends at a time"
        self._is_sending = True
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            if self._is_closed:
                raise _lost()
            await self._send(parts)
        except (OSError, trio.ClosedResourceError) as error:
            self._close_now()
            raise _lost(error) from error
        except BaseException:
            # Cut in the middle, perhaps: what follows would be misread, so nothing may follow.
            self._close_now()
            raise
        finally:
            self._is_sending = False

    def send_nowait(self, parts: Sequence[Buffer]) -> int:
        if self._is_closed or self._is_sending:
            return 0
        try:
            return self._send_now(b"".join(parts))
        except OSError:  # it would wait, or it is broken
            return 0

    async def receive_into(self, buffer: memoryview) -> int:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._is_closed:
            raise _lost()
        try:
            return await self._receive_into(buffer)
        except (OSError, trio.ClosedResourceError) as error:
            self._close_now()
            raise _lost(error) from error

    async def close(self) -> None:
        self._close_now()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def _close_now(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            trio.lowlevel.notify_closing(self._socket)
            self._say_goodbye()
            self._socket.close()

    def _say_goodbye(self) -> None:
        """A last word that fits into the socket's buffer, or none."""

    async def _send(self, parts: Sequence[Buffer]) -> None:
        raise NotImplementedError

    def _send_now(self, data: bytes) -> int:
        raise NotImplementedError

    async def _receive_into(self, buffer: memoryview) -> int:
        raise NotImplementedError


class PlainStream(_SocketStream):
    """TCP."""

    async def _send(self, parts: Sequence[Buffer]) -> None:
        pending = _joined(parts)
        while pending:
            try:
                sent = self._socket.sendmsg(pending[: limits.MAX_GATHERED_BUFFERS])
            except (BlockingIOError, InterruptedError):
                await trio.lowlevel.wait_writable(self._socket)
                continue
            pending = _after(pending, sent)

    def _send_now(self, data: bytes) -> int:
        return self._socket.send(data)

    async def _receive_into(self, buffer: memoryview) -> int:
        if self._may_have_more:
            with suppress(BlockingIOError, InterruptedError):
                count = self._received(self._socket.recv_into(buffer), len(buffer))
                await trio.lowlevel.cancel_shielded_checkpoint()
                return count
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            with suppress(BlockingIOError, InterruptedError):
                return self._received(self._socket.recv_into(buffer), len(buffer))

    def _received(self, count: int, asked: int) -> int:
        self._may_have_more = count == asked
        return count


class SecureStream(_SocketStream):
    """TLS. The first task that sends or receives does the handshake.

    Args:
        sock: wrapped, non-blocking, before its handshake.
        remote: for logs.
        own_key: on the listening side the public key that peers pin, else None.
    """

    _socket: ssl.SSLSocket

    def __init__(self, sock: ssl.SSLSocket, remote: str, own_key: bytes | None) -> None:
        super().__init__(sock, remote)
        self._server_key = own_key
        self._is_ready = False
        self._handshake_lock = trio.Lock()

    @property
    def server_key(self) -> bytes | None:
        return self._server_key

    async def shake_hands(self) -> None:
        """Do the TLS handshake, unless it is done."""
        async with self._handshake_lock:
            while not self._is_ready:
                if self._is_closed:
                    raise _lost()
                try:
                    self._socket.do_handshake()
                    self._is_ready = True
                except ssl.SSLWantReadError:
                    await self._wait(trio.lowlevel.wait_readable)
                except ssl.SSLWantWriteError:
                    await self._wait(trio.lowlevel.wait_writable)

    def pin(self, pin: PeerId) -> None:
        """Check the server's key, after the handshake.

        Raises:
            PeerViolation: ``wrong_server_key``.
        """
        key = shown_key(self._socket.getpeercert(binary_form=True))
        if pin != ANY_KEY and peer_id_of(key) != pin:
            raise PeerViolation(Violation.WRONG_SERVER_KEY, cause="another key is pinned")
        self._server_key = key

    async def _send(self, parts: Sequence[Buffer]) -> None:
        if not self._is_ready:
            await self.shake_hands()
        runs = _records(parts)
        is_corked = sum(map(len, runs)) > TLS_RECORD_BYTES
        if is_corked:
            self._cork(True)
        await self._send_records(runs)
        if is_corked:
            self._cork(False)

    def _send_now(self, data: bytes) -> int:
        # A record that TLS has begun and could not write is continued by the next task that sends.
        return self._socket.write(data) if self._is_ready and data else 0

    def _cork(self, is_corked: bool) -> None:
        """OpenSSL writes each record by itself. Corked, TCP gathers them to large packets, and the
        other end wakes less often; what is short leaves when the cork is taken out."""
        if _TCP_CORK is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _TCP_CORK, is_corked)

    async def _send_records(self, runs: list[memoryview]) -> None:
        write = self._socket.write
        for run in runs:
            left = run
            while left:
                if self._is_closed:
                    raise _lost()
                try:
                    left = left[write(left) :]
                except ssl.SSLWantWriteError:
                    await self._wait(trio.lowlevel.wait_writable)
                except ssl.SSLWantReadError:
                    await self._wait(trio.lowlevel.wait_readable)

    async def _receive_into(self, buffer: memoryview) -> int:
        if not self._is_ready:
            await self.shake_hands()
        # With a buffer it gives a count, whatever its type says.
        read: Callable[..., int] = self._socket.read  # type: ignore[assignment]
        wait = trio.lowlevel.wait_readable
        if self._may_have_more:
            # Let others run between the bursts of a fast sender.
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            await self._wait(wait)
        while True:
            if self._is_closed:
                raise _lost()
            filled = 0
            self._may_have_more = False
            try:
                # A call gives one record at most. A full one mostly has others behind it.
                while filled < len(buffer):
                    count = read(len(buffer) - filled, buffer[filled:])
                    filled += count
                    if count < TLS_RECORD_BYTES and not self._socket.pending():
                        return filled
            except ssl.SSLWantReadError:
                wait = trio.lowlevel.wait_readable
            except ssl.SSLWantWriteError:
                wait = trio.lowlevel.wait_writable
            else:
                self._may_have_more = True
                return filled
            if filled:
                return filled
            await self._wait(wait)

    async def _wait(self, until: Callable[[socket.socket], Awaitable[None]]) -> None:
        try:
            await until(self._socket)
        except trio.BusyResourceError:
            # The other direction's task waits for the same event (a TLS key update): look again.
            await trio.sleep(BUSY_RETRY_S)

    def _say_goodbye(self) -> None:
        if self._is_ready and not self._is_sending:
            with suppress(OSError, ValueError):
                self._socket.unwrap()


def _records(parts: Sequence[Buffer]) -> list[memoryview]:
    """Cut parts into runs that fill TLS records: long parts stay where they are, only what
    straddles two parts is copied together."""
    runs: list[memoryview] = []
    pending: list[Buffer] = []
    pending_bytes = 0
    for part in parts:
        rest: Buffer = part
        if pending_bytes + len(rest) >= TLS_RECORD_BYTES:
            view = memoryview(rest)
            if pending:
                missing = TLS_RECORD_BYTES - pending_bytes
                pending.append(view[:missing])
                runs.append(memoryview(b"".join(pending)))
                view = view[missing:]
                pending, pending_bytes = [], 0
            whole = len(view) - len(view) % TLS_RECORD_BYTES
            if whole:
                runs.append(view[:whole])
            rest = view[whole:]
        if rest:
            pending.append(rest)
            pending_bytes += len(rest)
    if len(pending) == 1:
        runs.append(memoryview(pending[0]))
    elif pending:
        runs.append(memoryview(b"".join(pending)))
    return runs


def _joined(parts: Sequence[Buffer]) -> list[Buffer]:
    """Copy runs of short parts together; drop empty ones."""
    joined: list[Buffer] = []
    short: list[Buffer] = []
    for part in parts:
        if len(part) < JOIN_BELOW_BYTES:
            short.append(part)
            continue
        if short:
            joined.append(b"".join(short))
            short = []
        joined.append(part)
    if short:
        joined.append(b"".join(short))
    return [part for part in joined if part]


def _after(pending: list[Buffer], sent: int) -> list[Buffer]:
    """Return what remains of buffers after their first ``sent`` bytes."""
    for index, part in enumerate(pending):
        if sent < len(part):
            return [memoryview(part)[sent:], *pending[index + 1 :]]
        sent -= len(part)
    return []


class SocketListener:
    """A listening TCP socket; its streams are secure when it has a TLS context."""

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext | None, own_key: bytes | None
    ) -> None:
        self._socket = sock
        self._context = context
        self._own_key = own_key
        name = sock.getsockname()
        self._address = Address(name[0], name[1])

    @property
    def address(self) -> Address:
        return self._address

    async def accept(self) -> Stream:
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            try:
                sock, name = self._socket.accept()
                return self._stream(sock, str(Address(name[0], name[1])))
            except BlockingIOError:
                pass
            except OSError as error:
                if error.errno not in _ACCEPT_AGAIN:
                    raise Unavailable(Outage.ACCEPT_FAILED, cause=str(error)) from error
            try:
                await trio.lowlevel.wait_readable(self._socket)
            except (OSError, ValueError, trio.ClosedResourceError) as error:
                raise Unavailable(Outage.LISTENER_CLOSED) from error

    def _stream(self, sock: socket.socket, remote: str) -> Stream:
        try:
            _prepare(sock)
            if self._context is None:
                return PlainStream(sock, remote)
            secure = _wrap(self._context, sock, server_side=True)
        except OSError:
            sock.close()
            raise
        return SecureStream(secure, remote, self._own_key)

    def renew(self, certificate: Certificate) -> None:
        assert self._context is not None, "it listens with a certificate"
        assert self._own_key is None, "peers pin its key"
        self._context = public_context(certificate)

    async def close(self) -> None:
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
        await trio.lowlevel.cancel_shielded_checkpoint()


class RealNetwork:
    """The operating system's TCP."""

    async def connect(self, address: Address, *, pin: PeerId | None) -> Stream:
        stream: _SocketStream | None = None
        try:
            with trio.fail_after(limits.CONNECT_TIMEOUT_S):
                sock = await _connected_socket(address)
                if pin is None:
                    return PlainStream(sock, str(address))
                secure = _wrap(client_context(), sock, server_side=False)
                stream = SecureStream(secure, str(address), None)
                await stream.shake_hands()
                stream.pin(pin)
                return stream
        except BaseException as error:
            if stream is not None:
                stream._close_now()
            # UnicodeError: no host can have this name, which may be a cell's own word.
            if isinstance(error, (OSError, UnicodeError, trio.TooSlowError)):
                cause = str(error) or type(error).__name__
                raise Unavailable(
                    Outage.CONNECT_FAILED, address=str(address), cause=cause
                ) from error
            if isinstance(error, Unavailable):
                raise Unavailable(Outage.CONNECT_FAILED, address=str(address)) from error
            if isinstance(error, AlvearyError):
                raise error.again(address=str(address)) from error
            raise

    async def listen(
        self,
        address: Address,
        *,
        identity: Identity | None,
        certificate: Certificate | None = None,
    ) -> Listener:
        assert identity is None or certificate is None, "for peers or for strangers"
        public = None if certificate is None else public_context(certificate)
        try:
            found = await trio.socket.getaddrinfo(
                address.host or None,
                address.port,
                type=socket.SOCK_STREAM,
                flags=socket.AI_PASSIVE,
            )
            family, kind, protocol, _, name = found[0]
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            raise BadConfig(
                ConfigFault.CANNOT_LISTEN, address=str(address), cause=str(error)
            ) from error
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setblocking(False)
            sock.bind(name)
            sock.listen(BACKLOG)
        except OSError as error:
            sock.close()
            raise BadConfig(
                ConfigFault.CANNOT_LISTEN, address=str(address), cause=str(error)
            ) from error
        if identity is None:
            return SocketListener(sock, public, None)
        return SocketListener(sock, server_context(identity), identity.public_key)


async def _connected_socket(address: Address) -> socket.socket:
    stream = await trio.open_tcp_stream(address.host, address.port)
    sock = socket.socket(fileno=stream.socket.detach())
    try:
        _prepare(sock)
    except OSError:
        sock.close()
        raise
    return sock


def _prepare(sock: socket.socket) -> None:
    sock.setblocking(False)
    # Frames leave whole, in one call each: there is nothing for Nagle's algorithm to gather.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _wrap(context: ssl.SSLContext, sock: socket.socket, *, server_side: bool) -> ssl.SSLSocket:
    return context.wrap_socket(sock, server_side=server_side, do_handshake_on_connect=False)
