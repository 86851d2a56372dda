"""``alveary coordinator recover``: a coordinator on an empty machine, from its cells and one file.

Source: docs/operations.md, "A lost coordinator"; docs/journal.md, "Recovery".
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click
import trio

from cli.coordinators import read_key
from cli.report import print_result
from common.crypto.identity import KeyPair
from common.errors import AlvearyError, BadConfig, Unavailable
from common.reasons import ConfigFault, Outage
from common.system.disk import hold_directory
from common.system.world import open_world
from coordinator.recovery import PATIENCE_S, RecoveredStore, recover


@click.command("recover")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The coordinator's directory: without a store, or not there yet.",
)
@click.option(
    "--with-most",
    is_flag=True,
    help="Go on when most of the journal's cells answer: the others are gone for good.",
)
@click.option(
    "--swarm-key",
    "key_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The swarm's private key, where FILE does not hold it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
def recover_store(
    data: Path, with_most: bool, key_file: Path | None, as_json: bool, file: Path
) -> None:
    """Bring back a coordinator whose disk is lost, from FILE, a copy of its recovery.json.

    All cells that keep its journal must answer; FILE says where they are. The coordinator gets a
    new key, and the one that was on the lost disk is revoked, if the swarm's private key is at hand
    (in FILE, or with --swarm-key). Then start the coordinator, at the address that cells and
    gateways know. Repeat a recovery that was cut short.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise BadConfig(ConfigFault.CANNOT_READ, file=str(file), error=str(error)) from error
    directory = data.absolute()
    with hold_directory(directory):
        swarm_key = None if key_file is None else KeyPair.from_private(read_key(key_file))
        found = trio.run(
            partial(_recover, directory, content, with_most=with_most, swarm_key=swarm_key)
        )
    print_result(
        {
            "data": str(directory),
            "cells": found.cells,
            "objects": found.objects,
            "transactions": found.transactions,
            "commits": found.commits,
        },
        as_json=as_json,
        text=f"{directory}: {found.objects:,} objects, up to transaction {found.transactions:,};"
        f" {found.commits:,} commits came after the last snapshot. Start the coordinator.",
    )


async def _recover(
    directory: Path, content: bytes, *, with_most: bool, swarm_key: KeyPair | None
) -> RecoveredStore:
    async with open_world(directory, "recover") as world:
        try:
            return await recover(
                world, content, patience_s=PATIENCE_S, with_most=with_most, swarm_key=swarm_key
            )
        except Unavailable as error:
            if error.reason != Outage.JOURNAL_UNSETTLED:
                raise
            raise _explained(error, with_most=with_most) from error


def _explained(error: AlvearyError, *, with_most: bool) -> AlvearyError:
    advice = (
        "too few of the cells that keep the journal answer"
        if with_most
        else "not all cells that keep the journal answer; where some are gone for good, go on with"
        " --with-most"
    )
    advice += "; or they hear another coordinator, which must be stopped first"
    return error.again(message=advice)
