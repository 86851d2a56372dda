"""``alveary cell join TOKEN``: all that a host types to make this machine a cell of a swarm.

Source: docs/operations.md, "Joining".
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any, Final

import click
import tomli_w

from cli.daemons import CONFIG_NAME, CellCommand, config_class, config_hints, merge, run_daemon
from cli.files import write_private
from cli.ports import parse_address
from cli.report import print_error
from common.errors import BadConfig
from common.format.token import decode_token
from common.ports import Address

DEFAULT_LISTEN: Final = Address("0.0.0.0", 7420)
_ANY: Final = ("0.0.0.0", "::")
_FROM_TOKEN: Final = frozenset({"token", "coordinator", "coordinator_id"})


def default_data() -> Path:
    """Where a cell lies when nothing is said: /var/lib for root, else the user's data directory."""
    if os.geteuid() == 0:
        return Path("/var/lib/alveary/cell")
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "alveary" / "cell"


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
            "no_address",
            message=f"no route to {peer}: name this cell's own address with --advertise",
            error=error.strerror,
        ) from error


def complete(table: dict[str, Any], coordinators: list[Address]) -> dict[str, Any]:
    """Add the address that others shall use, where the host named none and listens on all.

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


class JoinCommand(CellCommand):
    """The flags of a cell, but for what the token says."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [each for each in super().get_params(ctx) if each.name not in _FROM_TOKEN]


@click.command(cls=JoinCommand)
@click.argument("join_token", metavar="TOKEN")
def join(join_token: str, **flags: Any) -> int:
    """Make this machine a cell of the swarm that TOKEN is for, and run it in the foreground.

    Afterwards `alveary cell --data DIR` runs it.
    """
    token = decode_token(join_token)
    data = Path(flags.pop("data") or default_data()).absolute()
    path = data / CONFIG_NAME
    if path.exists():
        raise BadConfig(
            "cell_exists", message=f"there is a cell in {data}; run it: alveary cell --data {data}"
        )
    coordinators = [Address(each.host, each.port) for each in token.coordinators]
    table = merge(config_hints("cell"), {"data": str(data), "token": join_token}, flags)
    table = complete(table, coordinators)
    config_class("cell").parse(table)  # Nothing wrong is written down.
    write_private(path, tomli_w.dumps(table))
    print_error(f"joining swarm {token.swarm}; this cell's configuration is {path}")
    return run_daemon("cell", table)
