"""TLS for strangers on real sockets: versions, names, and a certificate that is replaced."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from common.errors import BadConfig
from common.http.records import HttpRequest, HttpResponse
from common.http.server import serve_http
from common.ports import Address, Certificate
from common.system.certificates import (
    CertificateFiles,
    Pem,
    is_authority,
    is_good_for,
    make_authority,
    make_server_certificate,
)
from common.system.clock import SystemClock
from common.system.network import RealNetwork
from sim.world import SimWorld

pytestmark = pytest.mark.fault("T")
LOCAL = Address("127.0.0.1", 0)
NAMES = ["localhost", "127.0.0.1", "::1", "gateway.example"]
NOW = time.time()


@pytest.fixture(scope="module")
def authority() -> Pem:
    return make_authority("test", NOW)


def certificate(authority: Pem) -> Certificate:
    pem = make_server_certificate(authority, NAMES, NOW)
    return Certificate(pem.certificate, pem.key, NOW + 86_400)


def client(authority: Pem) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority.certificate.decode())
    # What Python 3.13 asks of every chain.
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def shake_hands(
    address: Address, context: ssl.SSLContext, name: str = "localhost"
) -> ssl.SSLSocket:
    plain = socket.create_connection((address.host, address.port), timeout=10)
    return context.wrap_socket(plain, server_hostname=name)


async def try_client(
    work: Callable[[Address], object], server: Certificate, renewed: Certificate | None = None
) -> object:
    """Run ``work`` in a thread against a listener that answers every byte with the same."""
    listener = await RealNetwork().listen(LOCAL, identity=None, certificate=server)
    if renewed is not None:
        listener.renew(renewed)

    async def echo() -> None:
        while True:
            stream = await listener.accept()
            nursery.start_soon(answer, stream)

    async def answer(stream: object) -> None:
        buffer = memoryview(bytearray(1))
        try:
            while await stream.receive_into(buffer):
                await stream.send([bytes(buffer)])
        except Exception as error:
            assert "connection_lost" in str(error)  # noqa: PT017  # it may pass, too
        finally:
            await stream.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(echo)
        try:
            return await trio.to_thread.run_sync(work, listener.address)
        finally:
            nursery.cancel_scope.cancel()
            await listener.close()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_1_3_are_spoken_under_every_name(
    authority: Pem, name: str, version: ssl.TLSVersion
) -> None:
    context = client(authority)
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])

    def work(address: Address) -> object:
        with shake_hands(address, context, name) as secure:
            secure.sendall(b"x")
            return secure.recv(1), secure.version(), secure.selected_alpn_protocol()

    said = "TLSv1.2" if version is ssl.TLSVersion.TLSv1_2 else "TLSv1.3"
    assert await try_client(work, certificate(authority)) == (b"x", said, "http/1.1")


async def test_older_versions_and_other_names_and_authorities_fail(authority: Pem) -> None:
    old = client(authority)
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    stranger = client(make_authority("another", NOW))
    for context, name in (
        (old, "localhost"),
        (client(authority), "x.org"),
        (stranger, "localhost"),
    ):

        def work(address: Address) -> object:
            with pytest.raises(ssl.SSLError):
                shake_hands(address, context, name).close()  # noqa: B023  (it ends in this round)
            return None

        await try_client(work, certificate(authority))


async def test_a_renewed_certificate_is_shown_to_new_connections(authority: Pem) -> None:
    first, second = certificate(authority), certificate(authority)

    def work(address: Address) -> object:
        with shake_hands(address, client(authority)) as secure:
            return secure.getpeercert(binary_form=True)

    shown = await try_client(work, first, second)
    assert shown == ssl.PEM_cert_to_DER_cert(second.chain.decode())


async def test_what_cannot_be_used_is_refused_and_leaves_the_one_before(authority: Pem) -> None:
    good, other = certificate(authority), certificate(authority)
    locked = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    bad = [
        Certificate(good.chain, other.key, 0),
        Certificate(good.chain, b"", 0),
        Certificate(b"", good.key, 0),
        Certificate(good.chain[:100], good.key, 0),
        Certificate(good.chain, locked, 0),
    ]
    listener = await RealNetwork().listen(LOCAL, identity=None, certificate=good)
    files = os.listdir("/proc/self/fd")
    for each in bad:
        with pytest.raises(BadConfig, match="bad_certificate"):
            listener.renew(each)
        with pytest.raises(BadConfig, match="bad_certificate"):
            await RealNetwork().listen(LOCAL, identity=None, certificate=each)
    assert os.listdir("/proc/self/fd") == files
    assert listener._context is not None
    await listener.close()


async def test_certificate_files_are_read_and_checked(authority: Pem, tmp_path: Path) -> None:
    pem = make_server_certificate(authority, NAMES, NOW)
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(pem.certificate)
    files = CertificateFiles(chain, key)
    with pytest.raises(BadConfig, match="cannot_read"):
        await files.read()
    key.write_bytes(pem.key)
    found = await files.read()
    assert (found.chain, found.key) == (pem.certificate, pem.key)
    assert found.ends_at_s == pytest.approx(NOW + 397 * 86_400, abs=2)
    assert "PRIVATE" not in repr(found)
    for content in (b"", b"no certificate", bytes(1024 * 1024 + 1)):
        chain.write_bytes(content)
        with pytest.raises(BadConfig, match="bad_certificate"):
            await files.read()


def test_a_servers_certificate_is_good_for_its_names_its_authority_and_its_time(
    authority: Pem,
) -> None:
    pem = make_server_certificate(authority, NAMES, NOW)
    assert is_good_for(pem, authority, NAMES[:2], NOW)
    assert not is_good_for(pem, authority, [*NAMES, "another.example"], NOW)
    assert not is_good_for(pem, authority, NAMES, NOW + 398 * 86_400)
    assert not is_good_for(pem, make_authority("test", NOW), NAMES, NOW)
    assert not is_good_for(Pem(pem.certificate, authority.key), authority, NAMES, NOW)
    assert not is_good_for(Pem(b"x", b"y"), authority, NAMES, NOW)
    assert is_authority(authority, NOW)
    assert not is_authority(authority, NOW + 3651 * 86_400)
    assert not is_authority(Pem(authority.certificate, pem.key), NOW)


async def test_what_is_no_tls_ends_its_own_connection_only(authority: Pem) -> None:
    """Garbage, a record that is cut, and a client that goes at once; then a good one."""
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"

    def work(address: Address) -> object:
        for data in (b"", b"GET / HTTP/1.1\r\n\r\n", os.urandom(500), hello, hello + bytes(600)):
            with socket.create_connection((address.host, address.port), timeout=10) as plain:
                with suppress(OSError):  # reset by a server that has seen enough
                    plain.sendall(data)
                    plain.shutdown(socket.SHUT_WR)
                    while plain.recv(4096):
                        pass
        with shake_hands(address, client(authority)) as secure:
            secure.sendall(b"x")
            return secure.recv(1)

    assert await try_client(work, certificate(authority)) == b"x"


async def test_http_over_tls_moves_bodies_whole_and_says_that_it_is_secure(authority: Pem) -> None:
    body = os.urandom(3 * 1024 * 1024 + 7)
    seen: list[bool] = []

    async def handler(request: HttpRequest) -> HttpResponse:
        seen.append(request.secure)
        digest = hashlib.sha256()
        while piece := await request.body.receive():
            digest.update(piece)
        return HttpResponse(200, [(b"x-digest", digest.hexdigest().encode())], body)

    listener = await RealNetwork().listen(LOCAL, identity=None, certificate=certificate(authority))
    log = SimWorld(1).node("a").world.log
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            lambda: serve_http(listener, handler, log=log, clock=SystemClock(), secure=True)
        )
        url = f"https://localhost:{listener.address.port}/"
        async with httpx.AsyncClient(verify=client(authority), trust_env=False) as http:
            for _ in range(2):
                answer = await http.put(url, content=body)
                assert answer.headers["x-digest"] == hashlib.sha256(body).hexdigest()
                assert answer.content == body
        with socket.create_connection((listener.address.host, listener.address.port)) as plain:
            await trio.to_thread.run_sync(plain.sendall, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            told = b""
            with suppress(ConnectionResetError):
                told = await trio.to_thread.run_sync(plain.recv, 100)
        assert b"HTTP" not in told, "no answer in the clear"
        nursery.cancel_scope.cancel()
    assert seen == [True, True]
