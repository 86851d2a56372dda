"""A daemon's configuration from its TOML file and its flags, and running it in the foreground.

Every key of a service's configuration is a key of the file and a flag; a flag wins. Only the
service that is started is imported.

Source: docs/operations.md, "Configuration".
"""

from __future__ import annotations

import tomllib
import typing
from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click

from cli.secrets import SECRET
from common.config import keys_of, with_paths
from common.errors import BadConfig
from common.reasons import ConfigFault
from common.system.process import die_with_parent, keep_files_private

PACKAGES: Final[Mapping[str, str]] = {
    "coordinator": "coordinator",
    "cell": "cell",
    "gateway": "gateway_s3",
}
CONFIG_NAME: Final = "config.toml"


def read_config(path: Path) -> dict[str, Any]:
    """The table of a TOML file.

    Raises:
        BadConfig: ``cannot_read`` or ``bad_toml``.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfig(ConfigFault.CANNOT_READ, file=str(path), error=error.strerror) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(ConfigFault.BAD_TOML, file=str(path), error=str(error)) from error


def from_text(value: str, hint: object) -> object:
    """Convert a flag's text to the key's TOML type (integer, boolean, float or string)."""
    kinds = {hint, *typing.get_args(hint)}
    if int in kinds and value.isascii() and value.isdigit():
        return int(value)
    if bool in kinds and value in ("true", "false"):
        return value == "true"
    if float in kinds:
        try:
            return float(value)
        except ValueError:
            return value
    return value


def takes_many(hint: object) -> bool:
    """Return whether a key's type is a list."""
    return any(typing.get_origin(each) in (tuple, list) for each in (hint, *typing.get_args(hint)))


def merge(kind: Any, file: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration to parse: the file's keys, then what flags were given.

    Args:
        kind: of the configuration.
        flags: None or an empty tuple where a flag was not given. Relative paths among them are made
            absolute, from the working directory.
    """
    hints = typing.get_type_hints(kind)
    merged = dict(file)
    for name, value in with_paths(kind, flags, Path.cwd()).items():
        if value is None or value == ():
            continue
        merged[name] = list(value) if isinstance(value, tuple) else from_text(value, hints[name])
    return merged


def config_class(role: str) -> Any:
    """The class of a service's configuration: ``CellConfig`` for the role ``cell``."""
    return getattr(import_module(f"{PACKAGES[role]}.config"), f"{role.capitalize()}Config")


def run_daemon(role: str, table: Mapping[str, Any]) -> int:
    """Run a daemon until it is stopped.

    Returns:
        Its exit code.

    Raises:
        BadConfig: the configuration is wrong.
    """
    keep_files_private()
    config = config_class(role).parse(table)
    result: int = import_module(f"{PACKAGES[role]}.main").run(config)
    return result


class DaemonCommand(click.Command):
    """A command whose flags are the configuration keys of one service."""

    role: str = ""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        kind = config_class(self.role)
        hints = typing.get_type_hints(kind)
        defaults_off = {each.name for each in fields(kind) if each.default is False}
        flags: list[click.Parameter] = [
            click.Option(
                ["--" + name.replace("_", "-"), name],
                multiple=takes_many(hints[name]),
                type=SECRET if key.is_secret else None,
                is_flag=False,
                flag_value="true" if name in defaults_off else None,
                help=key.help,
            )
            for name, key in keys_of(kind).items()
        ]
        return [*flags, *super().get_params(ctx)]


class CoordinatorCommand(DaemonCommand):
    role = "coordinator"


class GatewayCommand(DaemonCommand):
    role = "gateway"


class CellCommand(DaemonCommand):
    role = "cell"


def start(role: str, config: Path | None, parent_pid: int | None, flags: dict[str, Any]) -> int:
    """Run a daemon from its command line: its configuration file, then the flags.

    Args:
        config: the file; ``config.toml`` of the data directory where none is named.
        parent_pid: the process to die with; None: live on.
        flags: by configuration key.

    Returns:
        The exit code.
    """
    if parent_pid is not None:
        die_with_parent(parent_pid)
    if config is None and flags.get("data") and (Path(flags["data"]) / CONFIG_NAME).exists():
        config = Path(flags["data"]) / CONFIG_NAME
    kind = config_class(role)
    table: dict[str, Any] = {}
    if config is not None:
        table = with_paths(kind, read_config(config), config.parent.absolute())
    return run_daemon(role, merge(kind, table, flags))
