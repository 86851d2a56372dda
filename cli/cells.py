"""``alveary cell drain``, ``maintenance``, ``suspend`` and ``resume``: decisions on cells.

Source: docs/operations.md, "Cells that leave, rest, or are not trusted".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.operators import access_options, ask
from cli.report import print_result
from cli.status import describe_leaving
from common import limits
from common.words import human_duration

_CELL = click.argument("cell_id", metavar="CELL")
_LONGEST_HOURS = limits.MAX_MAINTENANCE_S / 3600


def _name(cell: dict[str, Any]) -> str:
    return f"cell {cell['cell_id'][:12]}"


@click.command()
@_CELL
@click.option("--cancel", is_flag=True, help="Let it stay; what has moved stays where it is.")
@access_options
def drain(
    cell_id: str, cancel: bool, operator: Path | None, data: Path | None, as_json: bool
) -> None:
    """Let a cell leave: its shards move to other cells, and none is lost.

    CELL is its id, or the first digits of it. It is read all the while, and gets no new shards.
    Keep it running until it is said to be empty, by this command given again or by `alveary
    status`; then remove it.
    """
    cell = ask(
        operator, data, "POST", f"/v1/cells/{cell_id}/drain", {"cancel": True} if cancel else {}
    )
    text = f"{_name(cell)} stays" if cancel else f"{_name(cell)}: {describe_leaving(cell)}"
    print_result(cell, as_json=as_json, text=text)


@click.command()
@_CELL
@click.option(
    "--hours",
    type=click.FloatRange(0, _LONGEST_HOURS, min_open=True),
    help=f"How long it may be silent, from now on; at most {_LONGEST_HOURS:g}.",
)
@click.option("--cancel", is_flag=True, help="It is back for good, or does not go.")
@access_options
def maintenance(
    cell_id: str,
    hours: float | None,
    cancel: bool,
    operator: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Announce that a cell may be silent for some hours.

    CELL is its id, or the first digits of it. Within the window its shards do not move to other
    cells, and silence does not count against it. It is written to while it is there.
    """
    if cancel == (hours is not None):
        raise click.UsageError("give either --hours or --cancel")
    body: dict[str, object] = {"cancel": True}
    if hours is not None:
        body = {"window_s": max(1, round(hours * 3600))}
    cell = ask(operator, data, "POST", f"/v1/cells/{cell_id}/maintenance", body)
    text = f"{_name(cell)}: no maintenance"
    if hours is not None:
        text = f"{_name(cell)} may be silent for {human_duration(cell['maintenance_left_s'])}"
    print_result(cell, as_json=as_json, text=text)


@click.command()
@_CELL
@click.option("--reason", required=True, help="For its owner.")
@access_options
def suspend(
    cell_id: str, reason: str, operator: Path | None, data: Path | None, as_json: bool
) -> None:
    """Give a cell no new shards; what it holds is read from it.

    CELL is its id, or the first digits of it. `alveary cell resume` takes it back.
    """
    cell = ask(operator, data, "POST", f"/v1/cells/{cell_id}/suspend", {"reason": reason})
    print_result(cell, as_json=as_json, text=f"{_name(cell)} is suspended")


@click.command()
@_CELL
@access_options
def resume(cell_id: str, operator: Path | None, data: Path | None, as_json: bool) -> None:
    """Trust a suspended cell with new shards again.

    CELL is its id, or the first digits of it.
    """
    cell = ask(operator, data, "POST", f"/v1/cells/{cell_id}/resume", {})
    print_result(cell, as_json=as_json, text=f"{_name(cell)} is trusted again")
