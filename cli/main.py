"""``alveary``: the one command. Each subcommand's module is imported only when it is called, so
that a cell's process holds nothing of the gateway or the operator's tools."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Final

import click

from cli.report import EXIT_BAD_CONFIG, EXIT_INTERRUPTED, exit_code_of, explain, print_error
from common.errors import AlvearyError

COMMANDS: Final[Mapping[str, tuple[str, str, str]]] = {
    "up": ("cli.up", "up", "A whole swarm on this machine."),
    "status": ("cli.status", "status", "Cells, rings, space, and what is missing."),
    "durability": ("cli.durability", "durability", "How safe data is: by class, or now."),
    "invite": ("cli.admin", "invite", "Print a join token for a cell or a gateway."),
    "tenant": ("cli.tenants", "tenant", "Create, list and remove tenants."),
    "key": ("cli.tenants", "key", "Create, list and revoke S3 access keys."),
    "encryption-key": (
        "cli.encryption_keys",
        "encryption_key",
        "Named keys of a tenant, which protect objects (SSE-KMS).",
    ),
    "user": ("cli.users", "user", "Users of a tenant, and their access keys."),
    "policy": ("cli.policies", "policy", "Named policies: what users may do, and roles."),
    "class": ("cli.classes", "storage_class", "Make, list, name and remove storage classes."),
    "bucket": ("cli.classes", "bucket", "List buckets, and give them storage classes and quotas."),
    "coordinator": ("cli.services", "coordinator", "Run a coordinator."),
    "cell": ("cli.services", "cell", "Run a cell, or join one to a swarm."),
    "gateway": ("cli.services", "gateway", "Run an S3 gateway, or join one to a swarm."),
    "rescue": ("cli.rescue", "rescue", "Objects from the cells alone, without coordinators."),
    "sim": ("sim.__main__", "main", "Run the deterministic simulator."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and help, and imports one when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in COMMANDS if name != "sim" or find_spec("sim.__main__")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="alveary")
def alveary() -> None:
    """Alveary: a peer-to-peer, erasure-coded, encrypted object store with an S3 gateway."""


def _only_ours(group: BaseExceptionGroup[BaseException]) -> AlvearyError:
    """The first error of a group of tasks that failed together, if all are for the operator.

    Raises:
        BaseExceptionGroup: there is a bug among them: all of it is shown.
    """
    ours, others = group.split(AlvearyError)
    if ours is None or others is not None:
        raise group
    error: BaseException = ours
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, AlvearyError)
    return error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; the process's own if not given.

    Returns:
        The exit code (cli/report.py).
    """
    try:
        result = alveary.main(arguments, prog_name="alveary", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return EXIT_BAD_CONFIG
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except AlvearyError as error:
        print_error(explain(error))
        return exit_code_of(error)
    except BaseExceptionGroup as group:
        ours = _only_ours(group)
        print_error(explain(ours))
        return exit_code_of(ours)
    except BrokenPipeError:  # The reader of our output has gone (`alveary status | head`).
        sys.stderr.close()
        return 0
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    sys.exit(main())
