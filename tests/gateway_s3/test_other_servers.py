"""Incidents of other S3 servers for which no other test of a part stands (docs/incidents.md)."""

from __future__ import annotations

import base64
import hashlib

import httpx
import pytest
from gateway_rig import Rig
from object_rig import SECRET

from common.state_files import read_whole
from coordinator.secrets import IDENTITY_NAME, SECRET_NAME, SWARM_KEY_NAME
from sim.cluster import HTTP_PORT, Cluster, Shape
from sim.http import SimTransport
from sim.world import SimWorld

NATIVE_HEADERS = (
    "Destination",
    "Forwarded",
    "X-Backend-Storage-Policy-Index",
    "X-Container-Host",
    "X-Container-Meta-Quota-Bytes",
    "X-Container-Read",
    "X-Copy-From",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-HTTP-Method-Override",
    "X-Minio-Source-Proxy-Request",
    "X-Newest",
    "X-Object-Manifest",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Symlink-Target",
    "X-Timestamp",
    "X-Versions-Location",
)
"""Headers by which other servers and proxies are told what else to do."""
CONTROL_PATHS = (
    "/minio/bootstrap/v1/verify",
    "/minio/admin/v3/info",
    "/rustfs/rpc/read_file_stream",
    "/admin/user",
    "/_admin/status",
    "/debug/pprof/heap",
    "/v1/status",
    "/v1/gateway-token",
    "/metrics",
    "/readyz",
)


@pytest.mark.incident(12)
async def test_headers_of_other_servers_and_of_proxies_mean_nothing() -> None:
    rig = Rig()
    assert (await rig.ask("PUT", "/bucket")).status == 200
    await rig.put("/bucket/other", b"other")
    hostile = dict.fromkeys(NATIVE_HEADERS, "/bucket/other")
    for method, body in (("PUT", b"content"), ("GET", b""), ("HEAD", b""), ("DELETE", b"")):
        seen = []
        for headers in ({}, hostile):
            rig.coordinators.requests.clear()
            answer = await rig.ask(method, "/bucket/key", "", body, headers)
            kept = {name: answer.headers.get(name) for name in ("content-type", "etag")}
            seen.append((answer.status, answer.body, kept, rig.coordinators.calls))
            if method == "DELETE":
                await rig.put("/bucket/key", b"content")
        assert seen[0] == seen[1], method
    assert (await rig.ask("GET", "/bucket/other")).body == b"other"


@pytest.mark.incident(19)
@pytest.mark.parametrize("text", ["a\r\nx-evil: 1", "a\nb", "a\rb", "a\tb", "a b", "a\x00b"])
async def test_a_rule_for_other_origins_puts_no_line_into_an_answer(text: str) -> None:
    rig = Rig()
    assert (await rig.ask("PUT", "/bucket")).status == 200
    shown = "".join(f"&#{ord(each)};" if each < " " else each for each in text)
    document = (
        "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod>"
        f"<AllowedOrigin>*</AllowedOrigin><ExposeHeader>{shown}</ExposeHeader>"
        "</CORSRule></CORSConfiguration>"
    ).encode()
    answer = await rig.ask("PUT", "/bucket", "cors=", document, {"content-md5": md5(document)})
    if answer.status == 200:
        got = await rig.ask("GET", "/bucket/none", headers={"origin": "http://o.test"})
        assert not any("\r" in value or "\n" in value for value in got.headers.values())
        assert "x-evil" not in got.headers
    else:
        assert answer.status == 400


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


@pytest.mark.incident(24, 27)
async def test_paths_of_control_on_the_port_of_s3_are_buckets_and_nothing_else() -> None:
    rig = Rig()
    for path in CONTROL_PATHS:
        unsigned = await rig.send("GET", path, "", b"", {"host": rig.host})
        assert unsigned.status in {400, 403, 404}, path
        signed = await rig.ask("GET", path)
        assert signed.status in {400, 404}, path
        for answer in (unsigned, signed):
            assert SECRET.encode() not in answer.body
            assert rig.tenant.key.hex().encode() not in answer.body


NAMES = (IDENTITY_NAME, SECRET_NAME, SWARM_KEY_NAME)


async def secrets_of(cluster: Cluster) -> set[str]:
    """The secrets of a swarm, as text."""
    disk = cluster.store_node.world.disk
    kept = [await read_whole(disk, name) or b"" for name in NAMES]
    secrets = {each.decode().strip() for each in kept}
    return secrets | {cluster._operator_token, cluster.credentials.secret_key}


@pytest.mark.incident(27, 28)
async def test_no_page_for_machines_shows_a_secret_and_every_swarm_draws_its_own(
    autojump_clock: object,
) -> None:
    drawn = []
    for seed in (1, 2):
        async with Cluster(SimWorld(seed), Shape()) as cluster:
            secrets = await secrets_of(cluster)
            assert len(secrets) == 5
            assert min(map(len, secrets)) >= 20
            network = cluster.swarm.node("stranger").world.network
            async with httpx.AsyncClient(transport=SimTransport(network), timeout=60) as http:
                for host in ("coordinator", "gateway-0"):
                    for path in ("/metrics", "/healthz", "/readyz", "/", "/env", *CONTROL_PATHS):
                        answer = await http.get(f"http://{host}:{HTTP_PORT}{path}")
                        assert not any(each in answer.text for each in secrets), (host, path)
            drawn.append(secrets)
    assert not drawn[0] & drawn[1]
