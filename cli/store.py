"""``alveary coordinator backup`` and ``accept-store``: care for the coordinator's store.

Source: docs/operations.md, "The coordinator's store".
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import click

from cli.files import make_private_directory
from cli.operators import access_options, ask
from cli.report import human_bytes, print_result
from common.charter_book import FILE_NAME as CHARTER_NAME
from common.errors import BadConfig
from common.reasons import ConfigFault
from common.system.sqlite_backup import back_up, sync_directory, sync_file
from coordinator.journaled_store import STORE_NAME
from coordinator.secrets import IDENTITY_NAME, SECRET_NAME, SWARM_KEY_NAME

_UNFINISHED: Final = ".unfinished"


@click.command()
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The coordinator's directory, or that of `alveary up`. The coordinator may run.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.argument("target", type=click.Path(path_type=Path))
def backup(data: Path, target: Path, as_json: bool) -> None:
    """Copy the coordinator's store and keys into the new directory TARGET.

    The copy of the store is checked as a whole and durable before TARGET is there under its name.
    It holds the swarm's secrets: keep it where strangers cannot read it.
    """
    source = next(
        (each for each in (data / "coordinator", data) if (each / STORE_NAME).exists()), None
    )
    if source is None:
        raise BadConfig(
            ConfigFault.NO_SUCH_COORDINATOR, message=f"there is no coordinator in {data}"
        )
    if target.exists():
        raise BadConfig(ConfigFault.BACKUP_EXISTS, message=f"{target} is there already")
    unfinished = target.with_name(target.name + _UNFINISHED)
    shutil.rmtree(unfinished, ignore_errors=True)
    make_private_directory(unfinished)
    size = back_up(source / STORE_NAME, unfinished / STORE_NAME)
    names = [IDENTITY_NAME, SECRET_NAME, CHARTER_NAME, SWARM_KEY_NAME]
    for name in (each for each in names if (source / each).exists()):
        shutil.copy2(source / name, unfinished / name)
        sync_file(unfinished / name)
    sync_directory(unfinished)
    unfinished.rename(target)
    sync_directory(target.parent)
    print_result(
        {"target": str(target), "store_bytes": size},
        as_json=as_json,
        text=f"{target}: a checked copy of {human_bytes(size)}",
    )


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@access_options
def accept_store(yes: bool, operator: Path | None, data: Path | None, as_json: bool) -> None:
    """Accept the store that the coordinator runs on as the one that counts.

    Where cells or gateways have seen a newer one, a coordinator serves nothing, or deletes nothing,
    until the newer store is back. If that is lost, or is another copy whose changes you abandon,
    say so with this command: what was written to it is lost.
    """
    if not yes:
        click.confirm(
            "Abandon everything that the newer store has and this one has not?", abort=True
        )
    answer = ask(operator, data, "POST", "/v1/store/accept")
    print_result(
        answer,
        as_json=as_json,
        text=f"the store is {answer['standing']}; {answer['runs_given_up']} runs were abandoned",
    )
