"""``alveary coordinator``, ``alveary cell`` and ``alveary gateway``: run a daemon, or do something
to one.

Each is a command of its own and a group: the module of a subcommand is imported when it is used.

Source: docs/operations.md, "Configuration".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import click

from cli.daemons import CellCommand, CoordinatorCommand, GatewayCommand, start

C = TypeVar("C", bound=Callable[..., Any])


class SubcommandGroup(click.Group):
    """A group that imports a subcommand's module when it is used.

    ``subcommands``: the module and the attribute of each, by name.
    """

    subcommands: ClassVar[Mapping[str, tuple[str, str]]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.subcommands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.subcommands:
            return None
        module, attribute = self.subcommands[cmd_name]
        command: click.Command = getattr(import_module(module), attribute)
        return command


class CoordinatorGroup(CoordinatorCommand, SubcommandGroup):
    subcommands: ClassVar[Mapping[str, tuple[str, str]]] = {
        "list": ("cli.coordinators", "list_coordinators"),
        "add": ("cli.coordinators", "add_coordinator"),
        "replace": ("cli.coordinators", "replace_coordinator"),
        "revoke": ("cli.coordinators", "revoke_coordinator"),
        "take-swarm-key": ("cli.coordinators", "take_swarm_key"),
        "new-keys": ("cli.coordinator_keys", "new_keys"),
        "backup": ("cli.store", "backup"),
        "restore": ("cli.restore", "restore"),
        "recover": ("cli.recover", "recover_store"),
        "accept-store": ("cli.store", "accept_store"),
    }


class CellGroup(CellCommand, SubcommandGroup):
    subcommands: ClassVar[Mapping[str, tuple[str, str]]] = {
        "join": ("cli.join", "join_cell"),
        "status": ("cli.cell_status", "cell_status"),
        "trust": ("cli.join", "trust_cell"),
        "drain": ("cli.cells", "drain"),
        "maintenance": ("cli.cells", "maintenance"),
        "suspend": ("cli.cells", "suspend"),
        "audits": ("cli.audits", "audits"),
        "resume": ("cli.cells", "resume"),
        "remove": ("cli.admin", "remove_cell"),
    }


class GatewayGroup(GatewayCommand, SubcommandGroup):
    subcommands: ClassVar[Mapping[str, tuple[str, str]]] = {
        "join": ("cli.join", "join_gateway"),
        "trust": ("cli.join", "trust_gateway"),
    }


_CONFIG: Final = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A TOML file (DATA/config.toml if there is one).",
)
_PARENT: Final = click.option("--parent-pid", type=int, hidden=True)


def _daemon(command: C) -> C:
    return _CONFIG(_PARENT(command))


def _run(role: str, config: Path | None, parent_pid: int | None, flags: dict[str, Any]) -> int:
    if click.get_current_context().invoked_subcommand is not None:
        return 0
    return start(role, config, parent_pid, flags)


@click.command(cls=CoordinatorGroup, invoke_without_command=True)
@_daemon
def coordinator(config: Path | None, parent_pid: int | None, **flags: Any) -> int:
    """Run a coordinator in the foreground."""
    return _run("coordinator", config, parent_pid, flags)


@click.command(cls=CellGroup, invoke_without_command=True)
@_daemon
def cell(config: Path | None, parent_pid: int | None, **flags: Any) -> int:
    """Run a cell in the foreground. `alveary cell join TOKEN` makes one."""
    return _run("cell", config, parent_pid, flags)


@click.command(cls=GatewayGroup, invoke_without_command=True)
@_daemon
def gateway(config: Path | None, parent_pid: int | None, **flags: Any) -> int:
    """Run an S3 gateway in the foreground. `alveary gateway join TOKEN` makes one."""
    return _run("gateway", config, parent_pid, flags)
