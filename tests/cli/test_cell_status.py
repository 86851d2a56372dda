"""`alveary cell status`: the parts add up to what the file system counts, byte by byte."""

import json
import os
import random
import subprocess
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import trio
from click.testing import CliRunner
from prometheus_client import generate_latest

from cell.metrics import CellMetrics
from cell.storage.shard_store import ShardStore
from cli.cell_status import DiskUse, disk_use
from cli.main import alveary
from common.crypto.digest import leaf, shard_root
from common.system.world import open_world

SHARD_BYTES = 200_000
UNIT_BYTES = 65_536


async def _fill(data: Path, held: int, deleted: int) -> None:
    async with open_world(data, "cell") as world:
        store = await ShardStore.open(
            world, capacity_bytes=None, reserve_bytes=0, volume_bytes=1 << 20
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.run)
            for number in range(held + deleted):
                content = random.Random(number).randbytes(SHARD_BYTES)
                units = (content[at : at + UNIT_BYTES] for at in range(0, SHARD_BYTES, UNIT_BYTES))
                leaves = b"".join(map(leaf, units))
                root = shard_root(UNIT_BYTES, SHARD_BYTES, leaves)
                key = (number.to_bytes(16, "big"), 0)
                await store.put(key, UNIT_BYTES, root, memoryview(content))
                if number >= held:
                    await store.delete([key])
            await store.index.flush()
            nursery.cancel_scope.cancel()


def du(data: Path) -> int:
    out = subprocess.run(["du", "-s", "-B1", str(data)], capture_output=True, text=True, check=True)
    return int(out.stdout.split()[0])


def parts(use: DiskUse) -> int:
    return sum(size for name, size in asdict(use).items() if name != "total_bytes")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = tmp_path / "cell"
    trio.run(_fill, directory, 12, 5)
    (directory / "config.toml").write_text(f'data = "{directory}"\ncapacity = "2GB"\nlog = "log"\n')
    (directory / "log").write_bytes(b"x" * 10_000)
    (directory / "log.1").write_bytes(b"x" * 20_000)
    return directory


def test_the_parts_are_what_the_file_system_counts(data: Path) -> None:
    use = disk_use(data, data / "log")
    assert parts(use) == use.total_bytes == du(data)
    assert use.shard_bytes == 12 * SHARD_BYTES
    assert use.dead_bytes > SHARD_BYTES
    assert use.unindexed_bytes == 0
    assert use.log_bytes == 30_000
    assert 0 < use.record_bytes < 12 * 1024
    assert use.index_bytes >= (data / "index.sqlite").stat().st_size
    assert use.rounding_bytes < 0.05 * use.total_bytes


def test_what_the_index_does_not_know_is_not_hidden(data: Path) -> None:
    before = disk_use(data)
    with (data / "volumes" / "00000001.vol").open("ab") as volume:
        volume.write(bytes(50_000))
    after = disk_use(data)
    assert after.unindexed_bytes - before.unindexed_bytes == 50_000
    assert parts(after) == after.total_bytes == du(data)
    for path in data.glob("index.sqlite*"):
        path.unlink()
    bare = disk_use(data)
    assert bare.unindexed_bytes == sum(path.stat().st_size for path in (data / "volumes").iterdir())
    assert parts(bare) == bare.total_bytes == du(data)


def test_files_with_holes_and_links_do_not_confuse_it(data: Path, tmp_path: Path) -> None:
    with (data / "sparse").open("wb") as file:
        os.ftruncate(file.fileno(), 1 << 30)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "large").write_bytes(bytes(1 << 20))
    (data / "link").symlink_to(tmp_path / "elsewhere")
    use = disk_use(data)
    assert parts(use) == use.total_bytes == du(data)
    assert use.rounding_bytes < 0


def test_the_command_shows_it_with_the_limits(data: Path) -> None:
    done = CliRunner().invoke(alveary, ["cell", "status", "--data", str(data)])
    assert done.exit_code == 0, done.output
    for wanted in ("2,400,000", "total, as du counts", "capacity 1.9 GiB", "not known: no `http`"):
        assert wanted in done.output
    with (data / "config.toml").open("a") as config:
        config.write('bandwidth_up = "2MiB"\nmonthly_transit = "3TB"\n')
    capped = CliRunner().invoke(alveary, ["cell", "status", "--data", str(data)])
    assert "network  at most up 2.0 MiB a second, in 30 days 2.7 TiB" in capped.output
    told = json.loads(
        CliRunner().invoke(alveary, ["cell", "status", "--data", str(data), "--json"]).output
    )
    assert told["disk"]["total_bytes"] == du(data)
    assert told["daemon"] is None


class Daemon(BaseHTTPRequestHandler):
    """A running cell's health and metrics."""

    def do_GET(self) -> None:
        metrics = CellMetrics()
        metrics.filled(3 << 20, 2 << 20)
        metrics.scrubbed(7 << 20, is_bad=False)
        health = {
            "writable": False,
            "reason": "no_space",
            "trust": "suspended",
            "trust_reason": "3 of 60 audits failed",
            "seconds_since_heartbeat": 4.0,
            "lost_shards": 2,
        }
        found = generate_latest(metrics.registry)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(found if self.path == "/metrics" else json.dumps(health).encode())

    def log_message(self, *_: object) -> None:
        pass


def test_what_the_daemon_says_is_shown(data: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Daemon) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with (data / "config.toml").open("a") as config:
            config.write(f'http = "127.0.0.1:{server.server_port}"\n')
        shown = CliRunner().invoke(alveary, ["cell", "status", "--data", str(data)])
        server.shutdown()
    for wanted in (
        "5.0 MiB were rebuilt and 7.0 MiB read to check them",
        "coordinator heard 4 s ago, trust: suspended (3 of 60 audits failed)",
        "takes none: no_space, LOST 2 shards",
    ):
        assert wanted in shown.output
    silent = CliRunner().invoke(alveary, ["cell", "status", "--data", str(data)])
    assert "standing not known: it does not answer" in silent.output


class OtherDaemon(Daemon):
    """What another program may say under the same address."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"metrics": none}' if self.path == "/metrics" else b'{"ok": true}')


def test_another_program_at_the_address_is_not_asked_further(data: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), OtherDaemon) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with (data / "config.toml").open("a") as config:
            config.write(f'http = "127.0.0.1:{server.server_port}"\n')
        shown = CliRunner().invoke(alveary, ["cell", "status", "--data", str(data)])
        server.shutdown()
    assert "standing not known: it does not answer" in shown.output


def test_another_directory_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(alveary, ["cell", "status", "--data", str(tmp_path)])
    assert done.exit_code != 0
