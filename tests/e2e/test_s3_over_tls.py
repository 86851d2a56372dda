"""`alveary up --tls`: clients trust the local authority, and certificates change under them."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import stat
import time
from collections.abc import Callable
from contextlib import closing

import httpx
import pytest
from e2e_swarm import Swarm, wait_until

from cli.authority import prepare_tls
from common.ports import Address

pytestmark = pytest.mark.fault("T")


@pytest.fixture(scope="module")
def swarm(make_swarm: Callable[..., Swarm]) -> Swarm:
    made = make_swarm(cells=3, redundancy="1/3", tls=True)
    made.start()
    return made


def shown(swarm: Swarm) -> bytes:
    """The certificate that a new connection is shown."""
    context = ssl.create_default_context(cafile=swarm.credentials["ca_file"])
    with socket.create_connection(("127.0.0.1", swarm.port)) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as secure:
            certificate = secure.getpeercert(binary_form=True)
            assert certificate is not None
            return certificate


def gateway_log(swarm: Swarm) -> str:
    return (swarm.root / "gateway" / "log").read_text()


def test_a_client_that_trusts_the_authority_reads_and_writes(swarm: Swarm) -> None:
    assert swarm.credentials["endpoint"] == f"https://127.0.0.1:{swarm.port}"
    body = os.urandom(17_000_000)
    with closing(swarm.boto3()) as s3:
        s3.create_bucket(Bucket="first")
        s3.put_object(Bucket="first", Key="a key+plus", Body=body)
        assert s3.get_object(Bucket="first", Key="a key+plus")["Body"].read() == body
    for path in (swarm.root / "tls").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_one_that_does_not_trust_it_or_speaks_in_the_clear_gets_nothing(swarm: Swarm) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(swarm.credentials["endpoint"], trust_env=False)
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{swarm.port}/", trust_env=False)


def test_replaced_files_are_shown_after_a_signal_and_broken_ones_are_not(swarm: Swarm) -> None:
    before = shown(swarm)
    gateway = next(each for each in swarm.processes() if each["role"] == "gateway")
    files = prepare_tls(swarm.root / "tls", Address("192.0.2.1", 1), time.time())
    os.kill(gateway["pid"], signal.SIGHUP)
    wait_until(lambda: shown(swarm) != before, 10, "a new certificate")
    renewed = shown(swarm)
    files.key.write_text("no key")
    os.kill(gateway["pid"], signal.SIGHUP)
    wait_until(lambda: "certificate_not_taken" in gateway_log(swarm), 10, "a line in the log")
    assert shown(swarm) == renewed


def test_a_public_address_in_the_clear_is_warned_of(make_swarm: Callable[..., Swarm]) -> None:
    made = make_swarm(cells=2, redundancy="1/2", host="0.0.0.0")
    made.start()
    assert "s3_listens_in_the_clear" in gateway_log(made)
    made.stop()
    made.tls = True
    made.start()
    assert made.credentials["endpoint"] == f"https://localhost:{made.port}"
    assert gateway_log(made).count("s3_listens_in_the_clear") == 1
