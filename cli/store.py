"""``alveary coordinator accept-store``: what an operator says of the coordinator's store.

Source: docs/operations.md, "The coordinator's store".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import trio

from cli.operators import access_options, connect
from cli.report import print_result


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@access_options
def accept_store(yes: bool, operator: Path | None, data: Path | None, as_json: bool) -> None:
    """Take the store that the coordinator runs on for the one that counts.

    Where cells or gateways have seen a newer one, a coordinator serves nothing, or deletes nothing,
    until the newer store is back. If that is lost, or is another copy whose changes you give up,
    say so with this command: what was written to it is lost.
    """
    if not yes:
        click.confirm(
            "Give up everything that the newer store has and this one has not?", abort=True
        )

    async def ask() -> dict[str, Any]:
        async with connect(operator, data) as api:
            return await api.call("POST", "/v1/store/accept")

    answer = trio.run(ask)
    print_result(
        answer,
        as_json=as_json,
        text=f"the store is {answer['standing']}; {answer['runs_given_up']} runs were given up",
    )
