"""The S3 listener follows its certificate's files, and never ends up without one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from gateway_rig import Rig
from trio.testing import MockClock

from common.errors import AlvearyError, BadConfig
from common.http.records import HttpRequest
from common.ports import Address, Certificate, Listener
from common.reasons import ConfigFault
from gateway_s3.tls import CHECK_INTERVAL_S, WARN_INTERVAL_S, ServerCertificate
from sim.world import SimNode, SimWorld

pytestmark = pytest.mark.fault("T")
DAY_S = 86_400.0


def made(name: str, ends_at_s: float = 1e12) -> Certificate:
    chain = f"-----BEGIN CERTIFICATE-----{name}".encode()
    return Certificate(chain, b"-----BEGIN PRIVATE KEY-----", ends_at_s)


class Files:
    """Certificate files that a test replaces."""

    def __init__(self, content: Certificate | AlvearyError) -> None:
        self.content = content
        self.reads = 0

    async def read(self) -> Certificate:
        self.reads += 1
        await trio.lowlevel.checkpoint()
        if isinstance(self.content, AlvearyError):
            raise self.content
        return self.content


@asynccontextmanager
async def following(
    node: SimNode, files: Files, log: Lines
) -> AsyncIterator[tuple[ServerCertificate, Listener]]:
    world = node.world
    keeper = ServerCertificate(files, world.clock, log)
    first = await keeper.read_first()
    listener = await world.network.listen(Address("", 0), identity=None, certificate=first)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run, listener)
        yield keeper, listener
        nursery.cancel_scope.cancel()


class Lines:
    """A log that is read."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def info(self, event: str, **_: object) -> None:
        self.events.append(event)

    warning = error = info


async def test_changed_files_are_taken_without_a_restart(autojump_clock: MockClock) -> None:
    node, log = SimWorld(1).node("gateway"), Lines()
    files = Files(made("first"))
    async with following(node, files, log) as (keeper, listener):
        assert listener.certificate == made("first")
        files.content = made("second", 2e12)
        await trio.sleep(CHECK_INTERVAL_S + 1)
        assert listener.certificate == made("second", 2e12)
        assert keeper.end() == 2e12


async def test_a_signal_has_them_looked_at_now(autojump_clock: MockClock) -> None:
    node, log = SimWorld(1).node("gateway"), Lines()
    files = Files(made("first"))
    async with following(node, files, log) as (keeper, listener):
        files.content = made("second")
        keeper.ask()
        await trio.sleep(0.1)
        assert listener.certificate == made("second")
        keeper.ask()
        await trio.sleep(0.1)
        assert files.reads == 3
    assert log.events == ["certificate_taken", "certificate_unchanged"]


@pytest.mark.parametrize(
    "broken",
    [
        BadConfig(ConfigFault.CANNOT_READ, file="x"),
        Certificate(b"", b"", 1e12),
        Certificate(made("other").chain, b"not its key", 1e12),
        made("ended", 1.0),
    ],
    ids=["gone", "empty", "no-key", "ended"],
)
async def test_a_broken_pair_keeps_the_one_before_and_is_logged_once(
    autojump_clock: MockClock, broken: Certificate | AlvearyError
) -> None:
    node, log = SimWorld(1).node("gateway"), Lines()
    files = Files(made("first"))
    async with following(node, files, log) as (_, listener):
        files.content = broken
        await trio.sleep(5 * CHECK_INTERVAL_S)
        assert listener.certificate == made("first")
        assert log.events == ["certificate_not_taken"]
        files.content = made("second")
        await trio.sleep(CHECK_INTERVAL_S + 1)
        assert listener.certificate == made("second")


async def test_a_certificate_that_ends_soon_is_warned_of_daily(autojump_clock: MockClock) -> None:
    node, log = SimWorld(1).node("gateway"), Lines()
    end = node.world.clock.now() + 3 * DAY_S + 60
    async with following(node, Files(made("first", end)), log):
        await trio.sleep(2 * WARN_INTERVAL_S + 60)
        assert log.events == ["certificate_ends_soon"] * 3
        await trio.sleep(2 * WARN_INTERVAL_S)
    assert log.events[3:] == ["certificate_ends_soon", "certificate_has_ended"]


async def test_a_first_certificate_that_cannot_be_used_stops_the_start() -> None:
    world = SimWorld(1).node("gateway").world
    keeper = ServerCertificate(
        Files(BadConfig(ConfigFault.CANNOT_READ, file="x")), world.clock, world.log
    )
    with pytest.raises(BadConfig, match="cannot_read"):
        await keeper.read_first()


@pytest.mark.parametrize(("secure", "scheme"), [(True, "https"), (False, "http")])
async def test_the_place_of_a_completed_object_has_the_requests_scheme(
    secure: bool, scheme: str
) -> None:
    rig = Rig()
    await rig.put("/bucket", b"")
    app = rig.app

    async def over(request: HttpRequest) -> object:
        request.secure = secure
        return await app(request)

    rig.app = over
    upload = (await rig.ask("POST", "/bucket/key", "uploads=")).text("UploadId")
    query = f"partNumber=1&uploadId={upload}"
    etag = (await rig.ask("PUT", "/bucket/key", query, b"x")).headers["etag"]
    document = (
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
        f"<ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    ).encode()
    answer = await rig.ask("POST", "/bucket/key", f"uploadId={upload}", document)
    assert answer.text("Location") == f"{scheme}://s3.test/bucket/key"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("gateway.example", False),
    ],
)
def test_what_is_for_this_machine_alone(host: str, loopback: bool) -> None:
    assert Address(host, 1).is_loopback is loopback
