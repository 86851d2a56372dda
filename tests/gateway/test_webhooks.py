"""Receivers of events are those that the operator's files name, and no others."""

from __future__ import annotations

import base64

import pytest
import trio
from trio.testing import MockClock

from common.errors import BadConfig
from common.ids import TenantId
from gateway.webhooks import Webhooks, parse_webhook
from sim.cluster import write_file
from sim.world import SimWorld

SECRET = bytes(range(24))
TEXT = "whsec_" + base64.b64encode(SECRET).decode()
ONE, OTHER = TenantId(bytes(16)), TenantId(b"1" * 16)


def file(url: str = "https://receiver.test/hook", secret: str = TEXT, more: str = "") -> bytes:
    return f'url = "{url}"\nsecret = "{secret}"\n{more}'.encode()


def test_a_file_names_a_receiver() -> None:
    found = parse_webhook("hook", file("http://[::1]:8080/a?b=c"))
    assert (found.url, found.secret) == ("http://[::1]:8080/a?b=c", SECRET)
    assert found.is_for(ONE)
    assert SECRET.hex() not in repr(found)
    assert repr(SECRET) not in repr(found)
    limited = parse_webhook("hook", file(more=f'tenants = ["{ONE.hex()}"]'))
    assert limited.is_for(ONE)
    assert not limited.is_for(OTHER)


def test_a_delivery_is_signed_as_the_standard_says() -> None:
    # The example of the Standard Webhooks' own libraries.
    hook = parse_webhook("hook", file(secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
    headers = hook.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-id"] == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("", file()),
        ("a b", file()),
        ("a" * 65, file()),
        ("hook", b"\xff"),
        ("hook", b"url ="),
        ("hook", b""),
        ("hook", file("ftp://receiver.test")),
        ("hook", file("receiver.test")),
        ("hook", file("https://")),
        ("hook", file("https://user:password@receiver.test/")),
        ("hook", file("https://receiver.test/#part")),
        ("hook", file("https://receiver.test:0/")),
        ("hook", file("https://receiver.test:port/")),
        ("hook", file("https://receiver.test/a b")),
        ("hook", file("https://receiver.test/" + "a" * 2048)),
        ("hook", file(secret="secret")),
        ("hook", file(secret="whsec_" + base64.b64encode(bytes(23)).decode())),
        ("hook", file(secret="whsec_" + base64.b64encode(bytes(65)).decode())),
        ("hook", file(secret="whsec_*")),
        ("hook", file(more="secrets = 1")),
        ("hook", file(more='tenants = "all"')),
        ("hook", file(more='tenants = ["all"]')),
    ],
)
def test_a_file_that_says_anything_else_is_refused(name: str, data: bytes) -> None:
    with pytest.raises(BadConfig):
        parse_webhook(name, data)


async def test_files_are_found_when_asked_for_and_a_bad_one_stops_no_other(
    autojump_clock: MockClock,
) -> None:
    node = SimWorld(seed=1).node("gateway")
    disk = node.world.disk
    webhooks = Webhooks(disk, "webhooks", node.world.log)
    assert await webhooks.find("hook", ONE) is None
    await write_file(disk, "webhooks/bad.toml", b"url =")
    await write_file(disk, "webhooks/hook.toml", file(more=f'tenants = ["{ONE.hex()}"]'))
    await write_file(disk, "webhooks/other.txt", file())
    assert await webhooks.find("hook", ONE) is None, "not twice in a second"
    await trio.sleep(1.5)
    found = await webhooks.find("hook", ONE)
    assert found is not None
    assert found.name == "hook"
    assert len(webhooks) == 1
    assert await webhooks.find("hook", OTHER) is None
    await disk.unlink("webhooks/hook.toml")
    await write_file(disk, "webhooks/hook.toml", file("https://moved.test/"))
    await trio.sleep(1.5)
    await webhooks.reload()
    moved = webhooks.get("hook", OTHER)
    assert moved is not None
    assert moved.url == "https://moved.test/"
