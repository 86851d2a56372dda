"""The local authority of `alveary up --tls`: made once, its certificate renewed in time."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.authority import RENEW_BEFORE_S, LocalTls, prepare_tls, server_names
from cli.swarm_directory import S3Credentials, Settings
from cli.up import greeting
from common.errors import BadConfig
from common.ports import Address
from common.system.certificates import SERVER_DAYS, Pem, is_good_for

pytestmark = pytest.mark.fault("T")
LISTEN = Address("127.0.0.1", 9000)
NOW = 1_800_000_000.0
DAY_S = 86_400.0


def contents(files: LocalTls) -> tuple[bytes, bytes, bytes]:
    return files.authority.read_bytes(), files.certificate.read_bytes(), files.key.read_bytes()


def test_it_is_made_once_and_private(tmp_path: Path) -> None:
    directory = tmp_path / "tls"
    files = prepare_tls(directory, LISTEN, NOW)
    made = contents(files)
    assert {each.stat().st_mode & 0o777 for each in directory.iterdir()} == {0o600}
    assert directory.stat().st_mode & 0o777 == 0o700
    authority = Pem(files.authority.read_bytes(), (directory / "ca-key.pem").read_bytes())
    shown = Pem(files.certificate.read_bytes(), files.key.read_bytes())
    assert is_good_for(shown, authority, ["localhost", "127.0.0.1", "::1"], NOW)
    assert is_good_for(shown, authority, server_names(LISTEN), NOW)
    assert contents(prepare_tls(directory, LISTEN, NOW + 300 * DAY_S)) == made


def test_the_certificate_is_renewed_before_it_ends_and_the_authority_stays(tmp_path: Path) -> None:
    first = contents(prepare_tls(tmp_path, LISTEN, NOW))
    late = NOW + SERVER_DAYS * DAY_S - RENEW_BEFORE_S + 1
    second = contents(prepare_tls(tmp_path, LISTEN, late))
    assert second[0] == first[0]
    assert second[1:] != first[1:]


def test_another_address_gets_another_certificate(tmp_path: Path) -> None:
    first = contents(prepare_tls(tmp_path, LISTEN, NOW))
    files = prepare_tls(tmp_path, Address("192.0.2.7", 9000), NOW)
    assert contents(files)[0] == first[0]
    authority = Pem(files.authority.read_bytes(), b"")
    assert is_good_for(Pem(*contents(files)[1:]), authority, ["192.0.2.7", "localhost"], NOW)


@pytest.mark.parametrize("name", ["s3.pem", "s3-key.pem"])
def test_a_certificate_without_its_key_or_damaged_is_made_again(tmp_path: Path, name: str) -> None:
    first = contents(prepare_tls(tmp_path, LISTEN, NOW))
    (tmp_path / name).write_bytes(b"damaged")
    second = contents(prepare_tls(tmp_path, LISTEN, NOW))
    assert second[0] == first[0]
    (tmp_path / name).unlink()
    third = contents(prepare_tls(tmp_path, LISTEN, NOW))
    assert third[0] == first[0]


def test_a_damaged_or_ended_authority_is_not_replaced(tmp_path: Path) -> None:
    prepare_tls(tmp_path, LISTEN, NOW)
    with pytest.raises(BadConfig, match="bad_authority"):
        prepare_tls(tmp_path, LISTEN, NOW + 3651 * DAY_S)
    (tmp_path / "ca-key.pem").write_bytes(b"damaged")
    with pytest.raises(BadConfig, match="bad_authority"):
        prepare_tls(tmp_path, LISTEN, NOW)


def test_tls_is_remembered_and_may_change() -> None:
    first = Settings.resolve(None, cells=None, redundancy=None, s3=None, tls=True)
    assert first.tls
    assert Settings.resolve(first, cells=None, redundancy=None, s3=None).tls
    assert not Settings.resolve(first, cells=None, redundancy=None, s3=None, tls=False).tls


@pytest.mark.parametrize(
    ("s3", "endpoint", "warned"),
    [
        ("0.0.0.0:9000", "http://0.0.0.0:9000", True),
        ("gateway.example:9000", "http://192.0.2.1:9000", True),
        ("127.0.0.1:9000", "http://127.0.0.1:9000", False),
        ("0.0.0.0:9000", "https://localhost:9000", False),
    ],
)
def test_the_greeting_warns_of_a_public_address_in_the_clear(
    s3: str, endpoint: str, warned: bool
) -> None:
    shown = greeting(
        Settings(6, "4/6", s3), S3Credentials(endpoint, "us-east-1", "AK", "sk"), Path("/data")
    )
    assert ("WARNING" in shown) is warned


def test_the_greeting_says_how_clients_trust_the_authority() -> None:
    credentials = S3Credentials(
        "https://localhost:9000", "us-east-1", "AK", "sk", "/data/tls/ca.pem"
    )
    shown = greeting(Settings(6, "4/6", "127.0.0.1:9000", True), credentials, Path("/data"))
    for name in ("AWS_CA_BUNDLE", "--ca-bundle", "RCLONE_CA_CERT", "NODE_EXTRA_CA_CERTS", "verify"):
        assert name in shown
