"""A daemon's configuration follows the coordinators of a token, and nothing else of it changes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import tomli_w

from cli.join import trust_cell, trust_gateway
from common.errors import BadConfig
from common.format.token import TOKEN_VERSION, JoinToken, TokenAddress, encode_token
from common.ids import PeerId

NEW_KEY = PeerId(b"\x02" * 32)


def token_for(role: str) -> str:
    secret = b"s" * 16 if role == "cell" else b""
    where = (TokenAddress("new.example", 7400),)
    return encode_token(JoinToken(TOKEN_VERSION, role, "hive", where, NEW_KEY, secret))


@pytest.mark.fault("M5")
def test_a_cell_trusts_the_coordinators_of_a_new_token(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    before = {
        "data": str(tmp_path),
        "listen": "0.0.0.0:7420",
        "advertise": "me.example:7420",
        "site": "attic",
        "coordinator": ["old.example:7400"],
        "coordinator_id": "01" * 32,
    }
    path.write_text(tomli_w.dumps(before))
    token = token_for("cell")
    trust_cell.main([token, f"--data={tmp_path}"], standalone_mode=False)
    assert tomllib.loads(path.read_text()) == {
        **before,
        "coordinator": ["new.example:7400"],
        "coordinator_id": NEW_KEY.hex(),
        "token": token,
    }


@pytest.mark.fault("M5", "U2")
def test_a_gateway_trusts_the_coordinators_of_a_new_token(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    before = {"data": str(tmp_path), "s3": "127.0.0.1:9000", "region": "north"}
    path.write_text(
        tomli_w.dumps({**before, "coordinator": "old:7400", "coordinator_id": "01" * 32})
    )
    trust_gateway.main([token_for("gateway"), f"--data={tmp_path}"], standalone_mode=False)
    assert tomllib.loads(path.read_text()) == {
        **before,
        "coordinator": ["new.example:7400"],
        "coordinator_id": NEW_KEY.hex(),
    }


def test_the_other_roles_token_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("untouched = true\n")
    with pytest.raises(BadConfig, match="wrong_token"):
        trust_cell.main([token_for("gateway"), f"--data={tmp_path}"], standalone_mode=False)
    assert path.read_text() == "untouched = true\n"
