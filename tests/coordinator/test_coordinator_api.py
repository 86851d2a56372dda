"""The operators' HTTP API, its description, health and metrics."""

import json
import re
from typing import Any

import pytest
from coordinator_rig import running
from trio.testing import MockClock

from common.errors import BadConfig
from common.state_files import read_whole
from coordinator.secrets import load_keys, replace_keys, write_operator_file
from sim.world import SimWorld

TENANT = {"name": "t", "tenant_id": "00" * 16, "proof_key": "11" * 32}


async def test_only_operators_are_answered(autojump_clock: MockClock) -> None:
    async with running(cells=0) as rig:
        for token in ("x", "wrong", rig.serving.operator_token[:-1]):
            for method, path in (("GET", "/v1/status"), ("POST", "/v1/invites")):
                answer = await rig.http(method, path, token=token)
                assert answer.status_code == 401
                assert answer.json()["error"] == "unauthorized"
        assert (await rig.http("GET", "/healthz", token="x")).status_code == 200
        assert (await rig.http("GET", "/metrics", token="x")).status_code == 200


async def test_the_description_names_every_route_and_every_route_is_there(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=0) as rig:
        document = await rig.operate("GET", "/v1/openapi.json")
        assert document["openapi"].startswith("3.1")
        described = {
            (method.upper(), path) for path, each in document["paths"].items() for method in each
        }
        assert described == {
            ("POST", "/v1/invites"),
            ("GET", "/v1/invites"),
            ("DELETE", "/v1/invites/{invite_id}"),
            ("GET", "/v1/gateway-token"),
            ("GET", "/v1/cells/{cell_id}"),
            ("GET", "/v1/cells/{cell_id}/audits"),
            ("POST", "/v1/cells/{cell_id}/drain"),
            ("POST", "/v1/cells/{cell_id}/maintenance"),
            ("POST", "/v1/cells/{cell_id}/remove"),
            ("POST", "/v1/cells/{cell_id}/resume"),
            ("POST", "/v1/cells/{cell_id}/suspend"),
            ("GET", "/v1/status"),
            ("GET", "/v1/coordinators"),
            ("POST", "/v1/coordinators"),
            ("GET", "/v1/buckets"),
            ("POST", "/v1/buckets/{name}/class"),
            ("POST", "/v1/buckets/{name}/quota"),
            ("POST", "/v1/class-names/{name}"),
            ("DELETE", "/v1/class-names/{name}"),
            ("GET", "/v1/classes"),
            ("POST", "/v1/classes"),
            ("DELETE", "/v1/classes/{name}"),
            ("GET", "/v1/tenants"),
            ("POST", "/v1/tenants"),
            ("DELETE", "/v1/tenants/{name}"),
            ("GET", "/v1/tenants/{name}/keys"),
            ("POST", "/v1/tenants/{name}/keys"),
            ("DELETE", "/v1/tenants/{name}/keys/{access_key_id}"),
            ("GET", "/v1/tenants/{name}/key-ring"),
            ("PUT", "/v1/tenants/{name}/key-ring"),
            ("GET", "/v1/tenants/{name}/roster"),
            ("PUT", "/v1/tenants/{name}/roster"),
            ("POST", "/v1/store/accept"),
            ("GET", "/v1/openapi.json"),
        }
        for method, path in described:
            operation = document["paths"][path][method.lower()]
            names = re.findall(r"\{(\w+)\}", path)
            assert [each["name"] for each in operation.get("parameters", [])] == names
            answer = await rig.http(method, re.sub(r"\{\w+\}", "nothing", path), {"x": 1})
            assert str(answer.status_code) in operation["responses"]
        answer = await rig.http("PUT", "/v1/tenants")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
        assert (await rig.http("GET", "/v1/nothing")).status_code == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/invites", {"uses": 0}),
        ("/v1/invites", {"uses": "2"}),
        ("/v1/invites", {"uses": True}),
        ("/v1/invites", {"site": "x" * 256}),
        ("/v1/invites", {"expires_in_s": 10**9}),
        ("/v1/invites", {"surplus": 1}),
        ("/v1/invites", []),
        ("/v1/invites", b"{"),
        ("/v1/invites", b"[" * 60_000),
        ("/v1/invites", b"\xff"),
        ("/v1/invites", b" " * 70_000),
        ("/v1/tenants", {}),
        ("/v1/tenants", {**TENANT, "name": "../x"}),
        ("/v1/tenants", {**TENANT, "tenant_id": "00"}),
        ("/v1/tenants", {**TENANT, "proof_key": "zz" * 32}),
        ("/v1/tenants/t/keys", {"access_key_id": "A B", "sealed": ""}),
        ("/v1/tenants/t/keys", {"access_key_id": "AKEY", "sealed": "***"}),
        ("/v1/tenants/t/keys", {"access_key_id": "AKEY", "sealed": ""}),
    ],
)
async def test_bad_bodies_are_named(autojump_clock: MockClock, path: str, body: Any) -> None:
    async with running(cells=0) as rig:
        await rig.operate("POST", "/v1/tenants", TENANT)
        answer = await rig.http("POST", path, body)
        assert answer.status_code == 400
        assert answer.json()["message"]


async def test_tenants_and_keys_are_made_once(autojump_clock: MockClock) -> None:
    async with running(cells=0) as rig:
        await rig.operate("POST", "/v1/tenants", TENANT)
        await rig.operate("POST", "/v1/tenants", TENANT)
        for change in ({"tenant_id": "22" * 16}, {"proof_key": "22" * 32}, {"name": "u"}):
            answer = await rig.http("POST", "/v1/tenants", {**TENANT, **change})
            assert (answer.status_code, answer.json()["error"]) == (409, "tenant_exists")
        await rig.add_key("t")
        await rig.add_key("t")
        answer = await rig.http(
            "POST", "/v1/tenants/t/keys", {"access_key_id": "AKEXAMPLE", "sealed": "AAAA"}
        )
        assert (answer.status_code, answer.json()["error"]) == (409, "access_key_exists")
        keys = (await rig.operate("GET", "/v1/tenants/t/keys"))["keys"]
        assert [each["access_key_id"] for each in keys] == ["AKEXAMPLE"]
        for path in ("/v1/tenants/u/keys/AKEXAMPLE", "/v1/tenants/t/keys/AKOTHER"):
            assert (await rig.http("DELETE", path)).status_code == 404
        await rig.operate("DELETE", "/v1/tenants/t/keys/AKEXAMPLE")
        assert (await rig.operate("GET", "/v1/tenants/t/keys"))["keys"] == []


async def test_status_metrics_and_health_tell_the_state_of_the_swarm(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=6) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        await gateway.put(b"name", 1234)
        status = await rig.operate("GET", "/v1/status")
        assert (status["swarm"], status["redundancy"]) == ("test", "4/6")
        assert (status["objects"], status["tenants"]) == (1, 1)
        assert status["space"]["logical_bytes"] == 1234
        assert len(status["rings"]) == status["rings_total"] == 12
        assert {ring["state"] for ring in status["rings"]} == {"whole"}
        assert status["cells"][0]["address"] == "cell-0:7000"
        health = (await rig.http("GET", "/healthz")).json()
        assert (health["ok"], health["writable"], health["cells"]) == (True, True, {"alive": 6})
        text = (await rig.http("GET", "/metrics")).text
        for line in (
            'alveary_cells{state="alive"} 6.0',
            'alveary_rings{state="whole"} 12.0',
            'alveary_coordinator_requests_total{outcome="done",request="ObjectCommit"} 1.0',
            'alveary_coordinator_request_seconds_count{request="ObjectCommit"} 1.0',
            "alveary_missing_shards 0.0",
            'alveary_loss_margin{after="nothing"} 2.0',
            'alveary_loss_margin{after="box"} 1.0',
            'alveary_failing_disks{advice="drain"} 0.0',
            "alveary_queued_deletes 0.0",
            "alveary_write_leases 1.0",
            "alveary_objects 1.0",
            "alveary_logical_bytes 1234.0",
        ):
            assert line in text
        assert re.search(r"alveary_coordinator_store_bytes [1-9]", text)


async def test_operator_access_is_kept_over_restarts(autojump_clock: MockClock) -> None:
    async with running(cells=0) as rig:
        before = rig.serving
        disk = rig.node.world.disk
        file = await disk.open("operator.json")
        told = json.loads(await file.read(0, 4096))
        assert told == {"url": "http://coordinator:7001", "token": before.operator_token}
        await rig.restart()
        assert rig.serving == before


@pytest.mark.parametrize(
    "name", ["identity.key", "swarm.secret", "operator.json", "coordinators.charter"]
)
async def test_a_damaged_secret_file_stops_the_start(autojump_clock: MockClock, name: str) -> None:
    world = SimWorld(1).node("coordinator").world
    await load_keys(world.disk, world.entropy, world.log)
    file = await world.disk.open(name, create=True)
    await file.truncate(0)
    await file.write(0, [b"garbage"])
    with pytest.raises(BadConfig, match="bad_secret_file"):
        await load_keys(world.disk, world.entropy, world.log)


@pytest.mark.fault("M5")
async def test_new_keys_replace_all_secrets_and_open_nothing_that_the_old_ones_open() -> None:
    node = SimWorld(1).node("coordinator")
    disk, entropy, log = node.world.disk, node.world.entropy, node.world.log
    with pytest.raises(BadConfig, match="no_such_coordinator"):
        await replace_keys(disk, entropy)
    old = await load_keys(disk, entropy, log)
    await write_operator_file(disk, old.operator_token, "http://127.0.0.1:1")
    swarm_key_id = await replace_keys(disk, entropy)
    new = await load_keys(disk, entropy, log)
    assert new.swarm_key_id == swarm_key_id != old.swarm_key_id
    assert new.identity.peer_id != old.identity.peer_id
    assert new.charters.names(new.identity.peer_id)
    assert not new.charters.names(old.identity.peer_id)
    assert new.swarm_secret != old.swarm_secret
    assert new.operator_token != old.operator_token
    kept = json.loads(await read_whole(disk, "operator.json") or b"")
    assert kept == {"url": "http://127.0.0.1:1", "token": new.operator_token}
