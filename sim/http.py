"""httpx over the simulated network: real HTTP bytes between a simulated client and a gateway."""

from __future__ import annotations

import typing
from collections.abc import AsyncIterable, Iterable

import httpcore
import httpx
import trio

from common.errors import AlvearyError, Unavailable
from common.ports import Address, Network, Stream
from sim.network import SimStream


class _NetworkStream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        buffer = bytearray(max_bytes)
        try:
            with trio.fail_after(timeout if timeout is not None else 1e9):
                count = await self._stream.receive_into(memoryview(buffer))
        except trio.TooSlowError as error:
            raise httpcore.ReadTimeout from error
        except Unavailable as error:
            raise httpcore.ReadError(str(error)) from error
        return bytes(buffer[:count])

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            with trio.fail_after(timeout if timeout is not None else 1e9):
                if buffer:
                    await self._stream.send([buffer])
        except trio.TooSlowError as error:
            raise httpcore.WriteTimeout from error
        except Unavailable as error:
            raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        await self._stream.close()

    def get_extra_info(self, info: str) -> typing.Any:
        """Return whether an idle connection is readable, which httpcore asks: then the server has
        closed it."""
        if info == "is_readable":
            return isinstance(self._stream, SimStream) and self._stream.is_readable()
        return None


class SimBackend(httpcore.AsyncNetworkBackend):
    """httpcore's network backend over a Network port."""

    def __init__(self, network: Network) -> None:
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[typing.Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            with trio.fail_after(timeout if timeout is not None else 1e9):
                return _NetworkStream(await self._network.connect(Address(host, port), pin=None))
        except trio.TooSlowError as error:
            raise httpcore.ConnectTimeout from error
        except AlvearyError as error:
            raise httpcore.ConnectError(str(error)) from error

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


class SimTransport(httpx.AsyncBaseTransport):
    """An httpx transport over a Network port.

    Args:
        network: the port of the client's node.
    """

    def __init__(self, network: Network) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            network_backend=SimBackend(network), max_connections=64
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, AsyncIterable)
        inner = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        try:
            answer = await self._pool.handle_async_request(inner)
            content = await answer.aread()
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            raise httpx.TransportError(repr(error)) from error
        finally:
            await trio.lowlevel.checkpoint()
        await answer.aclose()
        return httpx.Response(answer.status, headers=answer.headers, content=content)

    async def aclose(self) -> None:
        await self._pool.aclose()
