"""Tenant key files: found when they appear, one bad file stops no other."""

from __future__ import annotations

import json

import pytest
import trio
from trio.testing import MockClock

from common.errors import BadConfig
from common.ids import TenantId
from common.ports import Disk
from gateway.tenants import Tenants, parse_tenant
from sim.world import SimWorld


def key_file(byte: str) -> bytes:
    return json.dumps({"name": byte, "tenant_id": byte * 32, "key": byte * 64}).encode()


async def write(disk: Disk, name: str, data: bytes) -> None:
    await disk.make_directory("tenants")
    file = await disk.open(f"tenants/{name}", create=True)
    await file.write(0, [data])
    await file.close()


async def test_tenants_are_found_also_when_their_file_comes_later(
    autojump_clock: MockClock,
) -> None:
    world = SimWorld(1).node("gateway").world
    tenants = Tenants(world.disk, "tenants", world.log)
    await tenants.reload()
    view = tenants.keys
    assert not view
    await write(world.disk, "bad.json", b"{")
    await write(world.disk, "notes.txt", b"nothing")
    await write(world.disk, "a.json", key_file("a"))
    wanted = TenantId(b"\xaa" * 16)
    assert not await tenants.reload(), "looked into again at most once a second"
    await trio.sleep(1.1)
    assert await tenants.reload()
    assert view[wanted].key == b"\xaa" * 32
    await trio.sleep(1.1)
    assert not await tenants.reload(), "nothing new"


async def test_the_directory_may_be_the_root_of_a_disk_of_its_own() -> None:
    world = SimWorld(1).node("keys").world
    file = await world.disk.open("a.json", create=True)
    await file.write(0, [key_file("a")])
    await file.close()
    tenants = Tenants(world.disk, ".", world.log)
    assert await tenants.reload()
    assert list(tenants.keys) == [b"\xaa" * 16]


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b'"x"', b"{}", b'{"tenant_id":"aa","key":"bb"}', b'{"tenant_id":1,"key":2}',
     b'{"tenant_id":"' + b"a" * 32 + b'","key":"zz"}', b"[" * 10_000],
)  # fmt: skip
def test_anything_else_is_a_bad_key_file(data: bytes) -> None:
    with pytest.raises(BadConfig, match="bad_tenant_key"):
        parse_tenant(data)
