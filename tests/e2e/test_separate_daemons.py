"""Each daemon started by hand, as on several machines, with a recording proxy before each: the
operator's commands work, and neither disks nor wires show what they must not."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from socket import SHUT_WR, create_connection, create_server, socket
from typing import Any

import pytest
from e2e_swarm import BIN, QUICK, Swarm, clean_environment, free_port, wait_until

from cli.credentials import read_tenant
from common.crypto.keys import TenantKey, segment_key
from common.format.manifest import open_manifest
from common.ids import BucketId, SegmentId, VersionId

CANARY = b"CANARY-of-honey-" + os.urandom(16).hex().encode()
CELLS = 3
TRIES = 4
"""Tries at segments that the writes here are taken to have needed at most."""


class RecordingProxy:
    """Passes a TCP port's traffic on and keeps a copy of every byte."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.recorded = bytearray()
        self._listener = create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._streams: list[socket] = []
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    def _run(self, work: Callable[..., None], *arguments: socket) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = create_connection(("127.0.0.1", self.target_port), timeout=10)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self._streams += [near, far]
            self._run(self._pump, near, far)
            self._run(self._pump, far, near)

    def _pump(self, source: socket, target: socket) -> None:
        try:
            while data := source.recv(262_144):
                self.recorded += data
                target.sendall(data)
            target.shutdown(SHUT_WR)
        except OSError:
            return

    def close(self) -> None:
        # A shutdown wakes the thread in accept; a close alone does not.
        self._listener.shutdown(2)
        self._listener.close()
        for stream in self._streams:
            stream.close()


class Deployment:
    """Daemons started one by one, each in a directory and a process of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        self.home.mkdir()
        self.running: dict[str, subprocess.Popen[str]] = {}
        self.proxies: dict[str, RecordingProxy] = {}
        self.s3_port = free_port()

    def proxy(self, name: str) -> tuple[int, str]:
        """A port to listen at, and the address of the proxy before it."""
        port = free_port()
        self.proxies[name] = RecordingProxy(port)
        return port, f"127.0.0.1:{self.proxies[name].port}"

    def start(self, name: str, *arguments: str) -> dict[str, Any]:
        with (self.root / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(BIN / "alveary"), *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=clean_environment(self.home),
            )
        self.running[name] = process
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (self.root / f"{name}.log").read_text()
        ready: dict[str, Any] = json.loads(line)
        assert ready["ready"] is True
        return ready

    def stop(self, name: str) -> None:
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, (self.root / f"{name}.log").read_text()[-2000:]
        assert process.stdout is not None
        process.stdout.close()

    def operator(self, *arguments: str, fails: bool = False) -> Any:
        """An operator's command; its JSON, or its message when it is to fail."""
        command = [str(BIN / "alveary"), *arguments]
        command += ["--operator", str(self.root / "coordinator" / "operator.json")]
        done = subprocess.run(
            command if fails else [*command, "--json"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if fails:
            assert done.returncode != 0
            return done.stderr
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    root = tmp_path_factory.mktemp("deployment")
    made = Deployment(root)
    try:
        port, advertised = made.proxy("coordinator")
        config = root / "coordinator.toml"
        settings = {
            **{name: str(value) for name, value in QUICK.items()},
            "data": f'"{root / "coordinator"}"',
            "listen": f'"127.0.0.1:{port}"',
            "advertise": f'"{advertised}"',
            "http": f'"127.0.0.1:{free_port()}"',
            "redundancy": '"2/3"',
            "discovery": "false",
        }
        config.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        made.start("coordinator", "coordinator", "--config", str(config))
        for number in range(CELLS):
            token = made.operator("invite", "--owner", f"owner-{number}")["token"]
            port, advertised = made.proxy(f"cell-{number}")
            made.start(
                f"cell-{number}",
                *("cell", "join", token, "--data", str(root / f"cell-{number}")),
                *("--listen", f"127.0.0.1:{port}", "--advertise", advertised),
                *("--capacity", "2GB", "--site", f"site-{number}"),
            )
        tenants = root / "gateway" / "tenants"
        made.operator("tenant", "create", "keeper", "--tenants", str(tenants))
        made.start(
            "gateway",
            *("gateway", "join", made.operator("invite", "--gateway")["token"]),
            *("--data", str(root / "gateway"), "--tenants", str(tenants)),
            *("--s3", f"127.0.0.1:{made.s3_port}"),
        )
        yield made
    finally:
        for process in made.running.values():
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        for proxy in made.proxies.values():
            proxy.close()


def credentials_of(deployment: Deployment) -> dict[str, str]:
    made: dict[str, str] = deployment.operator(
        *("key", "create", "--tenant", "keeper"),
        *("--tenants", str(deployment.root / "gateway" / "tenants")),
    )
    return {
        "endpoint": f"http://127.0.0.1:{deployment.s3_port}",
        "region": "us-east-1",
        "access_key": made["access_key"],
        "secret_key": made["secret_key"],
    }


def client(deployment: Deployment, credentials: dict[str, str]) -> Any:
    swarm = Swarm(deployment.root / "unused")
    return swarm.boto3(retries=2, **credentials)


def forms_of(secret: bytes) -> list[bytes]:
    """A secret as it might lie somewhere: raw, hex, base64."""
    return [secret, secret.hex().encode(), base64.b64encode(secret).rstrip(b"=")]


def content_keys(coordinator: Path, copy: Path, tenant: TenantKey) -> list[bytes]:
    """Every upload key and segment key of what the coordinator's store lists, opened with the
    tenant's key, which the coordinator does not have."""
    shutil.copytree(coordinator, copy)
    store = next(path for path in copy.iterdir() if path.name.endswith(".sqlite"))
    with closing(sqlite3.connect(store)) as sql:
        uploads: set[bytes] = set()
        for bucket_id, name, version_id, sealed in sql.execute(
            "SELECT bucket_id, versions.name, version_id, sealed FROM versions"
            " JOIN buckets USING (bucket)"
        ):
            manifest = open_manifest(
                tenant, BucketId(bucket_id), name, VersionId(version_id), sealed
            )
            uploads.update(manifest.keys)
        segments = [SegmentId(row[0]) for row in sql.execute("SELECT segment_id FROM segments")]
    assert uploads
    assert segments
    derived = [
        segment_key(upload, segment, number)
        for upload in uploads
        for segment in segments
        for number in range(TRIES)
    ]
    return [*uploads, *derived]


@pytest.mark.incident(30)
@pytest.mark.timeout(120)
def test_neither_disks_nor_wires_show_content_secrets_or_keys(
    deployment: Deployment, tmp_path: Path
) -> None:
    credentials = credentials_of(deployment)
    body = CANARY * 40_000
    with closing(client(deployment, credentials)) as s3:
        s3.create_bucket(Bucket="secret")
        s3.put_object(Bucket="secret", Key="large", Body=body, Metadata={"note": CANARY.decode()})
        s3.put_object(Bucket="secret", Key="small", Body=CANARY)
        assert s3.get_object(Bucket="secret", Key="large")["Body"].read() == body
        assert s3.get_object(Bucket="secret", Key="small")["Body"].read() == CANARY
    tenant = read_tenant(deployment.root / "gateway" / "tenants" / "keeper.json")
    keys = content_keys(deployment.root / "coordinator", tmp_path / "stolen", tenant)
    forbidden = [CANARY, credentials["secret_key"].encode(), *forms_of(tenant.key)]
    forbidden += [form for key in keys for form in forms_of(key)]
    seen = {name: bytes(proxy.recorded) for name, proxy in deployment.proxies.items()}
    assert all(len(traffic) > 1000 for traffic in seen.values()), "the proxies were in the way"
    for name in ["coordinator", *(f"cell-{number}" for number in range(CELLS))]:
        for path in (deployment.root / name).rglob("*"):
            if path.is_file():
                seen[str(path)] = path.read_bytes()
        seen[f"{name}.log"] = (deployment.root / f"{name}.log").read_bytes()
    seen["gateway.log"] = (deployment.root / "gateway.log").read_bytes()
    shards = sum(len(data) for name, data in seen.items() if "cell-" in name)
    assert shards > len(body), "the shards were looked at"
    for name, data in seen.items():
        for secret in forbidden:
            assert secret not in data, name


def test_the_operator_sees_cells_on_their_sites_and_the_tenant(deployment: Deployment) -> None:
    status = deployment.operator("status")
    assert sorted((cell["site"], cell["owner"]) for cell in status["cells"]) == [
        (f"site-{number}", f"owner-{number}") for number in range(CELLS)
    ]
    assert [each["name"] for each in deployment.operator("tenant", "list")] == ["keeper"]


@pytest.mark.timeout(120)
def test_a_revoked_key_is_refused_and_another_one_works_on(deployment: Deployment) -> None:
    one, other = credentials_of(deployment), credentials_of(deployment)
    with closing(client(deployment, one)) as s3:
        s3.list_buckets()
        listed = [each["access_key"] for each in deployment.operator("key", "list")]
        assert {one["access_key"], other["access_key"]} <= set(listed)
        deployment.operator("key", "revoke", one["access_key"])

        def refused() -> bool:
            try:
                s3.list_buckets()
            except s3.exceptions.ClientError as error:
                return bool(error.response["Error"]["Code"] == "InvalidAccessKeyId")
            return False

        wait_until(refused, 70, "gateways have forgotten the key")
    with closing(client(deployment, other)) as s3:
        s3.list_buckets()


def test_what_cannot_be_is_refused_with_a_reason(deployment: Deployment) -> None:
    tenants = ["--tenants", str(deployment.root / "other-tenants")]
    message = deployment.operator("tenant", "create", "keeper", *tenants, fails=True)
    assert "Choose another name" in message
    assert not list((deployment.root / "other-tenants").glob("*.json"))
    message = deployment.operator("key", "create", "--tenant", "nobody", *tenants, fails=True)
    assert "--tenants" in message
    assert "no access key" in deployment.operator("key", "revoke", "AKNONE", fails=True)


def test_a_used_token_joins_no_other_cell(deployment: Deployment) -> None:
    token = deployment.operator("invite")["token"]
    port = free_port()

    def join(name: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                *(str(BIN / "alveary"), "cell", "join", token),
                *("--data", str(deployment.root / name), "--listen", f"127.0.0.1:{port}"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    with join("cell-first") as first:
        assert first.stdout is not None
        assert json.loads(first.stdout.readline())["ready"] is True
        first.terminate()
    with join("cell-second") as second:
        try:
            _, message = second.communicate(timeout=20)
        finally:
            second.kill()
    assert second.returncode not in (0, None)
    assert "token" in message


@pytest.mark.timeout(120)
def test_a_cell_started_again_by_its_directory_has_its_shards(deployment: Deployment) -> None:
    credentials = credentials_of(deployment)
    with closing(client(deployment, credentials)) as s3:
        s3.create_bucket(Bucket="restart")
        s3.put_object(Bucket="restart", Key="a", Body=b"a" * 500_000)
        for number in range(CELLS):
            deployment.stop(f"cell-{number}")
            data = str(deployment.root / f"cell-{number}")
            deployment.start(f"cell-{number}", "cell", "--data", data)
        wait_until(
            lambda: all(
                cell["state"] == "alive"
                for cell in deployment.operator("status")["cells"]
                if cell["site"]
            ),
            15,
            "cells are back",
        )
        assert s3.get_object(Bucket="restart", Key="a")["Body"].read() == b"a" * 500_000


@pytest.mark.fault("M5")
def test_a_withdrawn_token_and_one_for_a_gateway_join_no_cell(deployment: Deployment) -> None:
    token = deployment.operator("invite", "--site", "nowhere")["token"]
    (invite,) = [
        each for each in deployment.operator("invite", "list") if each["site"] == "nowhere"
    ]
    assert invite["uses_left"] == 1
    deployment.operator("invite", "withdraw", token)
    assert "still open" in deployment.operator("invite", "withdraw", token, fails=True)
    of_gateway = deployment.operator("invite", "--gateway")["token"]
    for each, reason in ((token, "token"), (of_gateway, "not a cell")):
        done = subprocess.run(
            [
                *(str(BIN / "alveary"), "cell", "join", each, "--listen", "127.0.0.1:0"),
                *("--data", str(deployment.root / "cell-nowhere")),
            ],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode not in (0, 1)
        assert reason in done.stderr
