"""A daemon's configuration from its TOML file and its flags, and running it in the foreground.

Every key of a service's configuration is a key of the file and a flag; a flag wins. Only the
service that is started is imported.

Source: docs/operations.md, "Configuration".
"""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click

from cli.secrets import SECRET
from common.errors import BadConfig
from common.reasons import ConfigFault
from common.system.process import die_with_parent, keep_files_private

PACKAGES: Final[Mapping[str, str]] = {
    "coordinator": "coordinator",
    "cell": "cell",
    "gateway": "gateway_s3",
}
CONFIG_NAME: Final = "config.toml"
PATH_KEYS: Final = frozenset({"data", "tenants", "log", "tls_certificate", "tls_key"})
"""Keys that name a file or a directory. A relative path of a flag is relative to the working
directory, as everywhere on a command line; one in a file, to the file's directory."""
SECRET_KEYS: Final = frozenset({"token"})
_HELP: Final[Mapping[str, str]] = {
    "data": "The daemon's own directory.",
    "log": "A file for log lines, rotated by size (standard error).",
    "listen": "HOST:PORT for the native protocol.",
    "http": "HOST:PORT for metrics and health (and the coordinator's API).",
    "advertise": "HOST:PORT under which others reach this daemon.",
    "coordinator": "HOST:PORT of a coordinator; may be repeated.",
    "coordinator_id": "The coordinators' key id, 64 hex digits.",
    "swarm": "The swarm's name.",
    "redundancy": "K/N: any K of N shards give the data back.",
    "write_quorum": "Durable shards that a write waits for.",
    "token": "The join token; - reads it from standard input, @FILE from a file.",
    "capacity": "The most this cell may use, such as 500GB.",
    "reserve_bytes": "Free space of the file system that the cell never touches.",
    "site": "The place that can fail as one.",
    "host": "Who owns this cell.",
    "s3": "HOST:PORT for S3.",
    "tenants": "The directory of tenant key files.",
    "tls_certificate": "A PEM file: the certificate for S3 over TLS, and its chain.",
    "tls_key": "A PEM file: the certificate's private key (in the same file).",
    "region": "The S3 region's name.",
    "drain_notice_s": "Seconds between saying in /readyz that it stops, and stopping.",
    "max_buckets_per_tenant": "Buckets that each tenant may have.",
    "max_uploads_per_tenant": "Uploads in progress that each tenant may have.",
    "discovery": "true or false: announce the coordinator on the LAN.",
    "signature_v2": "Where AWS Signature V2 is accepted: off, presigned or all.",
    "domains": "A host name under which buckets are first labels; may be repeated.",
}


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


def merge(
    hints: Mapping[str, object], file: Mapping[str, Any], flags: Mapping[str, Any]
) -> dict[str, Any]:
    """The configuration to parse: the file's keys, then what flags were given.

    Args:
        hints: the type of every key that the service knows.
        flags: None or an empty tuple where a flag was not given. Relative paths among them are made
            absolute, from the working directory.
    """
    merged = dict(file)
    for name, value in flags.items():
        if value is None or value == ():
            continue
        if name in PATH_KEYS and value:
            merged[name] = str(Path(value).absolute())
        elif isinstance(value, tuple):
            merged[name] = list(value)
        else:
            merged[name] = from_text(value, hints[name])
    return merged


def with_paths(table: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Return a file's table with its relative paths made absolute.

    Args:
        directory: the file's.
    """
    return {
        name: str(directory.absolute() / value)
        if name in PATH_KEYS and isinstance(value, str) and value
        else value
        for name, value in table.items()
    }


def config_class(role: str) -> Any:
    """The class of a service's configuration: ``CellConfig`` for the role ``cell``."""
    return getattr(import_module(f"{PACKAGES[role]}.config"), f"{role.capitalize()}Config")


def config_hints(role: str) -> dict[str, object]:
    """The type of every configuration key of a service, in order."""
    kind = config_class(role)
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


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
        flags: list[click.Parameter] = [
            click.Option(
                ["--" + name.replace("_", "-"), name],
                multiple=takes_many(hint),
                type=SECRET if name in SECRET_KEYS else None,
                help=_HELP.get(name),
            )
            for name, hint in config_hints(self.role).items()
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
    table = {} if config is None else with_paths(read_config(config), config.parent)
    return run_daemon(role, merge(config_hints(role), table, flags))
