from __future__ import annotations

import os
import socket
import ssl

import pytest
import trio

from common.crypto.identity import KeyPair
from common.errors import PeerViolation, Unavailable
from common.ports import Address
from common.system.network import RealNetwork
from common.system.tls import client_context, server_context, shown_key

SERVER = KeyPair.from_private(b"s" * 32)


def test_making_a_context_leaves_no_file_open() -> None:
    before = os.listdir("/proc/self/fd")
    server_context(SERVER)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("certificate", [None, b"", b"\x30\x03garbage"])
def test_a_certificate_that_is_none_is_a_wrong_key(certificate: bytes | None) -> None:
    with pytest.raises(PeerViolation, match="wrong_server_key"):
        shown_key(certificate)


async def test_older_versions_of_tls_are_refused() -> None:
    listener = await RealNetwork().listen(Address("127.0.0.1", 0), identity=SERVER)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def try_it() -> str:
        with socket.create_connection((listener.address.host, listener.address.port)) as plain:
            try:
                context.wrap_socket(plain).close()
            except ssl.SSLError as error:
                return str(error)
        return "accepted"

    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            stream = await listener.accept()
            with pytest.raises(Unavailable, match="connection_lost"):
                await stream.receive_into(memoryview(bytearray(1)))
            await stream.close()

        nursery.start_soon(serve)
        told = await trio.to_thread.run_sync(try_it)
    await listener.close()
    assert "PROTOCOL_VERSION" in told.upper()


async def test_no_session_is_resumed() -> None:
    network = RealNetwork()
    listener = await network.listen(Address("127.0.0.1", 0), identity=SERVER)
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            stream = await listener.accept()
            await stream.send([b"hello"])
            await stream.close()

        nursery.start_soon(serve)
        stream = await network.connect(listener.address, pin=SERVER.peer_id)
        buffer = memoryview(bytearray(5))
        assert await stream.receive_into(buffer) == 5
        session = stream._socket.session
        assert session is None or not session.has_ticket
        await stream.close()
    await listener.close()


async def test_a_plain_server_is_no_peer() -> None:
    network = RealNetwork()
    listener = await network.listen(Address("127.0.0.1", 0), identity=None)
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            stream = await listener.accept()
            await stream.send([b"220 some other service\r\n"])
            await stream.close()

        nursery.start_soon(serve)
        with pytest.raises(Unavailable, match="connect_failed"):
            await network.connect(listener.address, pin=SERVER.peer_id)
    await listener.close()


def test_the_clients_context_is_made_once() -> None:
    assert client_context() is client_context()
