"""Every client twice: in the clear and through TLS, with no setting but endpoint, keys and, for
TLS, the authority that it trusts."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from e2e_clients import LARGE, Clients
from e2e_swarm import Swarm


@pytest.fixture(scope="module", params=[False, True], ids=["clear", "tls"])
def swarm(request: pytest.FixtureRequest, make_swarm: Callable[..., Swarm]) -> Iterator[Swarm]:
    made = make_swarm(cells=3, redundancy="2/3", tls=request.param)
    made.start()
    assert made.credentials["endpoint"].startswith("https:" if request.param else "http:")
    yield made
    made.stop()


@pytest.fixture
def http(swarm: Swarm) -> Iterator[httpx.Client]:
    """Somebody without keys, who trusts what the swarm's users trust."""
    ca_file = swarm.credentials.get("ca_file")
    verify = ssl.create_default_context(cafile=ca_file) if ca_file else True
    with httpx.Client(verify=verify, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture
def clients(swarm: Swarm, tmp_path: Path) -> Clients:
    """The clients that `make client-test` installs, with the swarm's keys."""
    return Clients(swarm, tmp_path / "home")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of files: empty, small, of 12 MiB, with names that are hard to quote."""
    made = tmp_path / "folder"
    (made / "sub folder").mkdir(parents=True)
    (made / "a").write_bytes(b"content of a")
    (made / "empty").write_bytes(b"")
    (made / "sub folder" / "b + c=ü%20.txt").write_bytes(b"content of b")
    (made / "large").write_bytes(LARGE)
    return made


@pytest.fixture
def bucket(request: pytest.FixtureRequest, s3: Any) -> str:
    """A new bucket of the test's own."""
    name: str = request.node.name
    named = "".join(each if each.isalnum() else "-" for each in name.lower())
    made = named.removeprefix("test-")[:60].strip("-")
    s3.create_bucket(Bucket=made)
    return made
