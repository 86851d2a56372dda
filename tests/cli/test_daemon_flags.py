import io
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cli.daemons import PACKAGES, config_class, merge, read_config, takes_many
from cli.join import complete
from cli.main import COMMANDS, main
from common.config import addresses, boolean, key, keys_of, path, size, with_paths
from common.errors import BadConfig
from common.ports import Address


@dataclass
class Mixed:
    """Keys of every type."""

    data: str = field(metadata=key(path, "", is_path=True))
    reserve_bytes: int = field(metadata=key(size(0, 100), ""))
    capacity: int | None = field(metadata=key(size(0, 1 << 60), ""))
    discovery: bool = field(metadata=key(boolean, ""))
    coordinator: tuple[Address, ...] = field(metadata=key(addresses(), ""))


def test_flags_win_over_the_file_and_take_its_types() -> None:
    flags = {
        "data": None,
        "reserve_bytes": "17",
        "capacity": "500GB",
        "discovery": "false",
        "coordinator": ("a:1", "b:2"),
    }
    assert merge(Mixed, {"data": "/x", "reserve_bytes": 5}, flags) == {
        "data": "/x",
        "reserve_bytes": 17,
        "capacity": "500GB",
        "discovery": False,
        "coordinator": ["a:1", "b:2"],
    }


def test_a_list_flag_that_is_not_given_leaves_the_file_alone() -> None:
    merged = merge(Mixed, {"coordinator": ["a:1"]}, {"coordinator": ()})
    assert merged == {"coordinator": ["a:1"]}


def test_only_lists_are_repeated_flags() -> None:
    assert takes_many(tuple[str, ...])
    assert takes_many(tuple[Address, ...] | None)
    assert not takes_many(str)
    assert not takes_many(Address | None)


@pytest.mark.parametrize("role", PACKAGES)
def test_every_service_has_its_configuration_keys_as_flags(
    role: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([role, "--help"]) == 0
    shown = capsys.readouterr().out
    for name, each in keys_of(config_class(role)).items():
        assert each.help, "a flag says what it is"
        assert f"--{name.replace('_', '-')} " in shown


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("data = ")
    with pytest.raises(BadConfig, match="bad_toml"):
        read_config(path)
    with pytest.raises(BadConfig, match="cannot_read"):
        read_config(tmp_path / "absent.toml")


def test_an_unknown_key_ends_with_its_name_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.toml"
    path.write_text('data = "x"\nlissten = "y"\n')
    assert main(["cell", "--config", str(path)]) == 2
    assert "lissten" in capsys.readouterr().err


def test_help_names_every_command_without_importing_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in COMMANDS:
        assert f"  {name} " in shown


def test_wrong_usage_ends_with_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upp"]) == 2
    assert main(["key", "create"]) == 2
    assert "--tenant" in capsys.readouterr().err


def test_a_damaged_token_is_refused_with_advice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cell", "join", "alv1-aaaa"]) == 2
    assert "alveary invite" in capsys.readouterr().err


def test_a_cell_that_listens_on_all_interfaces_advertises_the_one_to_the_coordinator() -> None:
    table = complete({"data": "x"}, [Address("127.0.0.1", 7400)])
    assert table["listen"] == "0.0.0.0:7420"
    assert table["advertise"] == "127.0.0.1:7420"


def test_a_cell_that_listens_on_one_interface_advertises_nothing_else() -> None:
    table = complete({"listen": "192.0.2.1:7420"}, [Address("127.0.0.1", 7400)])
    assert "advertise" not in table


@pytest.mark.fault("U1")
def test_a_path_of_a_flag_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = {"data": "gateway", "tenants": "keys", "log": "/var/log/gateway"}
    assert merge(config_class("gateway"), {}, flags) == {
        "data": str(tmp_path / "gateway"),
        "tenants": str(tmp_path / "keys"),
        "log": "/var/log/gateway",
    }


@pytest.mark.fault("U1")
def test_a_path_of_a_file_is_relative_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    table = {"data": ".", "tenants": "keys", "log": "/var/log/gateway", "region": "eu"}
    assert with_paths(config_class("gateway"), table, tmp_path) == {
        "data": str(tmp_path),
        "tenants": str(tmp_path / "keys"),
        "log": "/var/log/gateway",
        "region": "eu",
    }


@pytest.mark.fault("L")
@pytest.mark.parametrize("how", ["-", "@"])
def test_a_join_token_need_not_stand_on_the_command_line(
    how: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is read, and found to be damaged."""
    path = tmp_path / "token"
    path.write_text("alv1-aaaa\n")
    for role in ("cell", "gateway"):
        monkeypatch.setattr("sys.stdin", io.StringIO("alv1-aaaa\n"))
        assert main([role, "join", how if how == "-" else f"@{path}"]) == 2
        assert "alveary invite" in capsys.readouterr().err
    assert main(["cell", "join", f"@{tmp_path / 'absent'}"]) == 2
    assert "cannot read" in capsys.readouterr().err
