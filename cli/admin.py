"""``alveary invite``."""

from __future__ import annotations

from pathlib import Path

import click
import trio

from cli.operators import access_options, connect
from cli.report import print_result


@click.command()
@click.option("--site", help="The place that can fail as one; overrides what the host says.")
@click.option("--host", help="Who owns the cell; overrides what the host says.")
@click.option("--uses", type=click.IntRange(1, 10_000), default=1, help="Cells it may join.")
@click.option(
    "--expires-in", "expires_in_s", type=click.IntRange(1), help="Seconds that it is good for."
)
@access_options
def invite(
    site: str | None,
    host: str | None,
    uses: int,
    expires_in_s: int | None,
    operator: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Print a join token. A host runs: alveary cell join TOKEN"""
    wanted = {"site": site, "host": host, "uses": uses, "expires_in_s": expires_in_s}
    body = {name: value for name, value in wanted.items() if value is not None}

    async def ask() -> str:
        async with connect(operator, data) as api:
            return str((await api.call("POST", "/v1/invites", body))["token"])

    token = trio.run(ask)
    print_result({"token": token}, as_json=as_json, text=token)
