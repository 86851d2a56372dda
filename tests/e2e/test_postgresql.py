"""Coordinators on PostgreSQL under a load of S3 clients: PostgreSQL is killed, its connections are
cut, and of several coordinators any one is killed or stopped. What was acknowledged is there."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import psycopg
import pytest
from e2e_coordinators import UNPAGED, Coordinator, most_asked
from e2e_load import Load, body_of
from e2e_swarm import QUICK, Swarm, free_port, wait_until
from postgres_server import PostgresServer, running_server, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it is installed")

WRITERS = 2
REST_S = 0.1
RESUMED_WITHIN_S = 5.0
SLACK_S = 15.0
"""Of a machine that does other work at the same time."""
ROUNDS = int(os.environ.get("ALVEARY_POSTGRESQL_ROUNDS", "1"))


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_server() as made:
        yield made


@pytest.fixture(scope="module")
def url(server: PostgresServer) -> str:
    return server.new_database()


@pytest.fixture(scope="module")
def swarm(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    made = Swarm(tmp_path_factory.mktemp("shared") / "swarm", cells=4, redundancy="2/4")
    made.configure("coordinator", **QUICK, store=url)
    made.start()
    try:
        with closing(made.boto3()) as s3:
            s3.create_bucket(Bucket="kept")
        yield made
    finally:
        made.destroy()


@contextmanager
def load_on(swarm: Swarm, prefix: str) -> Iterator[Load]:
    """Write meanwhile; afterwards everything that was acknowledged is there, once."""
    load = Load(swarm, WRITERS, rest_s=REST_S, prefix=prefix)
    try:
        wait_until(lambda: len(load.acknowledged) >= 10, 60, "some objects are acknowledged")
        yield load
    finally:
        load.stop()
    with closing(swarm.boto3()) as s3:
        for key in load.acknowledged:
            assert s3.get_object(Bucket="kept", Key=key)["Body"].read() == body_of(key)
        listed = [
            each["Key"]
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket="kept")
            for each in page.get("Contents", ())
        ]
    assert len(listed) == len(set(listed))
    assert set(load.acknowledged) <= set(listed)


def resumed_s(load: Load, since: float, what: str) -> float:
    """Wait until writes go on; return after how long."""
    wait_until(lambda: load.since(since) > 0, RESUMED_WITHIN_S + SLACK_S, what)
    return min(at for at in load.acknowledged.values() if at > since) - since


@pytest.mark.timeout(180 + 60 * ROUNDS)
def test_nothing_acknowledged_is_lost_when_postgresql_is_killed_and_its_connections_are_cut(
    server: PostgresServer, swarm: Swarm
) -> None:
    assert swarm.status()["journal"]["state"] == "off"
    assert "PostgreSQL" in swarm.status()["journal"]["why"]
    with load_on(swarm, "killed/") as load:
        for _ in range(ROUNDS):
            for _cut in range(10):
                server.cut_connections()
                time.sleep(0.1)
            resumed_s(load, time.monotonic(), "writes go on after connections were cut")
            for end in (server.kill, server.crash):
                end()
                time.sleep(1)
                server.start()
                resumed_s(load, time.monotonic(), "writes go on after a restart")


def another(swarm: Swarm, url: str, number: int) -> Coordinator:
    """A coordinator beside that of the swarm, with a key of its own and the same store."""
    root = swarm.root.parent / f"coordinator-{number}"
    root.mkdir(mode=0o700)
    file = str(root / "recovery.json")
    swarm.alveary("coordinator", "add", root.name, file, f"--data={swarm.root}")
    return Coordinator(
        root,
        f"--data={root}",
        f"--store={url}",
        f"--listen=127.0.0.1:{free_port()}",
        f"--http=127.0.0.1:{free_port()}",
        f"--log={root / 'log'}",
        "--swarm=local",
        "--redundancy=2/4",
        "--discovery=false",
        *(f"--{name.replace('_', '-')}={value}" for name, value in QUICK.items()),
    )


@pytest.mark.timeout(240 + 60 * ROUNDS)
def test_of_several_coordinators_any_one_may_die_or_stop(swarm: Swarm, url: str) -> None:
    """That which the gateway asks; with ALVEARY_POSTGRESQL_ROUNDS above 1 each in its turn."""
    with contextlib.ExitStack() as stack:
        others = [another(swarm, url, number) for number in (2, 3)]
        for each in others:
            stack.callback(each.end)
            assert each.start(swarm.home)["state"] == "active"
        directory = swarm.root / "coordinator"
        first = Coordinator(
            directory, f"--config={directory / 'config.toml'}", pid=swarm.pid("coordinator")
        )
        stack.callback(first.end)
        all_three = (first, *others)
        known = swarm.root / "gateway" / "coordinators.json"
        wait_until(
            lambda: known.exists() and known.read_text().count('"port"') == 3,
            60,
            "the gateway knows all three",
        )
        took_s = []
        with load_on(swarm, "stopped/") as load:
            for number in range(ROUNDS):
                for each in struck(all_three):
                    os.kill(each.pid, signal.SIGSTOP)
                    took_s.append(resumed_s(load, time.monotonic() + 0.5, "one is stopped"))
                    time.sleep(3)
                    os.kill(each.pid, signal.SIGCONT)
                    time.sleep(1)
                for each in struck(all_three):
                    each.kill()
                    took_s.append(resumed_s(load, time.monotonic() + 0.5, "one is killed"))
                    assert each.start(swarm.home)["state"] == "active", number
        print(f"writes went on after {[round(each + 0.5, 1) for each in took_s]} s")
        assert max(took_s) <= RESUMED_WITHIN_S or ROUNDS == 1
        with psycopg.connect(url) as connection:
            assert connection.execute(UNPAGED).fetchone() == (0,)


def struck(all_three: Sequence[Coordinator]) -> Sequence[Coordinator]:
    """Those to which something is to happen now."""
    if ROUNDS > 1:
        return all_three
    return [all_three[most_asked([each.root for each in all_three])]]
