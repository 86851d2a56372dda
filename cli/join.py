"""Make this machine a cell or a gateway of a swarm, and point one at its coordinators again.

All that a person types is a token: ``alveary cell join TOKEN``, ``alveary gateway join TOKEN``, and
``alveary cell trust TOKEN`` after the coordinators' key was replaced.

Source: docs/operations.md, "Joining" and "Replacing keys".
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any, Final

import click
import tomli_w

from cli.daemons import (
    CONFIG_NAME,
    CellCommand,
    GatewayCommand,
    config_class,
    merge,
    read_config,
    run_daemon,
)
from cli.files import write_private
from cli.ports import parse_address
from cli.report import print_error
from cli.secrets import SECRET
from common.errors import BadConfig
from common.format.token import ROLE_CELL, ROLE_GATEWAY, JoinToken, decode_token
from common.ports import Address
from common.reasons import ConfigFault

DEFAULT_LISTEN: Final = Address("0.0.0.0", 7420)
DEFAULT_S3: Final = "127.0.0.1:9000"
_ANY: Final = ("0.0.0.0", "::")
_FROM_TOKEN: Final = frozenset({"token", "coordinator", "coordinator_id"})


def default_data(role: str) -> Path:
    """Return the default data directory: below /var/lib for root, else of the user."""
    if os.geteuid() == 0:
        return Path("/var/lib/alveary") / role
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "alveary" / role


def own_address_towards(peer: Address) -> str:
    """The address of this machine that faces a peer; no packet is sent.

    Raises:
        BadConfig: ``no_address``: there is no route.
    """
    try:
        family, kind, _, _, target = socket.getaddrinfo(
            peer.host, peer.port, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise BadConfig(
            ConfigFault.NO_ADDRESS,
            message=f"no route to {peer}: name this cell's own address with --advertise",
            error=error.strerror,
        ) from error


def complete(table: dict[str, Any], coordinators: list[Address]) -> dict[str, Any]:
    """Add the address that others shall use, where the owner named none and listens on all.

    Args:
        table: the configuration so far.
        coordinators: from the token; empty where zeroconf is to find them.
    """
    listen = parse_address(table.setdefault("listen", str(DEFAULT_LISTEN)))
    if "advertise" not in table and listen.host in _ANY:
        # Without a coordinator's address, the one that faces the LAN's multicast will do.
        towards = coordinators[0] if coordinators else Address("224.0.0.251", 5353)
        table["advertise"] = str(Address(own_address_towards(towards), listen.port))
    return table


def _addresses(token: JoinToken) -> list[Address]:
    return [Address(each.host, each.port) for each in token.coordinators]


class JoinCellCommand(CellCommand):
    """The flags of a cell, but for what the token says."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [each for each in super().get_params(ctx) if each.name not in _FROM_TOKEN]


class JoinGatewayCommand(GatewayCommand):
    """The flags of a gateway, but for what the token says."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [each for each in super().get_params(ctx) if each.name not in _FROM_TOKEN]


def _new_data_directory(role: str, flags: dict[str, Any]) -> Path:
    data = Path(flags.pop("data") or default_data(role)).absolute()
    if (data / CONFIG_NAME).exists():
        raise BadConfig(
            ConfigFault(f"{role}_exists"),
            message=f"there is a {role} in {data}; run it: alveary {role} --data {data}",
        )
    return data


def _write_and_run(role: str, data: Path, table: dict[str, Any], swarm: str) -> int:
    config_class(role).parse(table)  # Nothing wrong is written down.
    path = data / CONFIG_NAME
    write_private(path, tomli_w.dumps(table))
    print_error(f"joining swarm {swarm}; this {role}'s configuration is {path}")
    return run_daemon(role, table)


@click.command(cls=JoinCellCommand)
@click.argument("join_token", metavar="TOKEN", type=SECRET)
def join_cell(join_token: str, **flags: Any) -> int:
    """Make this machine a cell of the swarm that TOKEN is for, and run it in the foreground.

    TOKEN is `-` to read it from standard input, or `@FILE`: on the command line, other users of
    this machine see it. Afterwards `alveary cell --data DIR` runs it.
    """
    token = decode_token(join_token, ROLE_CELL)
    data = _new_data_directory("cell", flags)
    table = merge(config_class("cell"), {"data": str(data), "token": join_token}, flags)
    return _write_and_run("cell", data, complete(table, _addresses(token)), token.swarm)


@click.command(cls=JoinGatewayCommand)
@click.argument("join_token", metavar="TOKEN", type=SECRET)
def join_gateway(join_token: str, **flags: Any) -> int:
    """Make this machine a gateway of the swarm that TOKEN is for, and run it in the foreground.

    The operator prints TOKEN with `alveary invite --gateway`; `-` reads it from standard input,
    `@FILE` from a file. Afterwards `alveary gateway --data DIR` runs it.
    """
    token = decode_token(join_token, ROLE_GATEWAY)
    data = _new_data_directory("gateway", flags)
    told = {
        "data": str(data),
        "s3": DEFAULT_S3,
        "coordinator": [str(each) for each in _addresses(token)],
        "coordinator_id": token.coordinator_id.hex(),
    }
    return _write_and_run("gateway", data, merge(config_class("gateway"), told, flags), token.swarm)


def _trust(role: str, join_token: str, data: Path | None) -> None:
    """Write the coordinators of a token into the configuration of a daemon that exists."""
    token = decode_token(join_token, role)
    path = (data or default_data(role)).absolute() / CONFIG_NAME
    table = read_config(path)
    table["coordinator_id"] = token.coordinator_id.hex()
    if token.coordinators:
        table["coordinator"] = [str(each) for each in _addresses(token)]
    if role == ROLE_CELL:
        table["token"] = join_token  # It names the swarm that is looked for on the LAN.
    config_class(role).parse(table)
    write_private(path, tomli_w.dumps(table))
    print_error(f"{path} names the coordinators of swarm {token.swarm} now; restart the {role}")


_DATA: Final = click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), help="The daemon's own directory."
)


@click.command()
@click.argument("join_token", metavar="TOKEN", type=SECRET)
@_DATA
def trust_cell(join_token: str, data: Path | None) -> None:
    """Have the cell of this machine trust the coordinators that TOKEN names.

    Its data and its own key stay. Needed once the coordinators' key was replaced; any token of
    `alveary invite` will do, and none of its uses is used up.
    """
    _trust(ROLE_CELL, join_token, data)


@click.command()
@click.argument("join_token", metavar="TOKEN", type=SECRET)
@_DATA
def trust_gateway(join_token: str, data: Path | None) -> None:
    """Have the gateway of this machine trust the coordinators that TOKEN names.

    Needed once the coordinators' key was replaced.
    """
    _trust(ROLE_GATEWAY, join_token, data)
