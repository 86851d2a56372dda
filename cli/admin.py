"""``alveary invite`` and ``alveary cell remove``: membership of the swarm.

Source: docs/operations.md, "Joining" and "A lost or stolen cell".
"""

from __future__ import annotations

import time
from pathlib import Path

import click

from cli.operators import access_options, ask
from cli.report import print_result, table
from common.errors import BadConfig
from common.format.token import PREFIX, ROLE_CELL, decode_token, invite_id_of
from common.reasons import ConfigFault


@click.group(invoke_without_command=True)
@click.option(
    "--site", help="Failure domain (site, room, rack); takes precedence over the cell's own."
)
@click.option("--owner", help="Owner of the cell; takes precedence over the cell's own.")
@click.option(
    "--uses",
    type=click.IntRange(1, 10_000),
    help="Number of cells that may join with it (default 1).",
)
@click.option(
    "--expires-in", "expires_in_s", type=click.IntRange(1), help="Token lifetime in seconds."
)
@click.option("--gateway", is_flag=True, help="Print a token for a gateway instead of a cell.")
@access_options
@click.pass_context
def invite(
    context: click.Context,
    site: str | None,
    owner: str | None,
    uses: int | None,
    expires_in_s: int | None,
    gateway: bool,
    operator: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Print a join token. An owner runs: alveary cell join TOKEN

    With --gateway, the operator of a gateway runs: alveary gateway join TOKEN
    """
    if context.invoked_subcommand is not None:
        return
    wanted = {"site": site, "owner": owner, "uses": uses, "expires_in_s": expires_in_s}
    body = {name: value for name, value in wanted.items() if value is not None}
    if gateway and body:
        raise BadConfig(
            ConfigFault.BAD_FLAGS, message="a gateway's token has no site, owner, uses or lifetime"
        )
    if gateway:
        answer = ask(operator, data, "GET", "/v1/gateway-token")
    else:
        answer = ask(operator, data, "POST", "/v1/invites", body)
    print_result(answer, as_json=as_json, text=str(answer["token"]))


@invite.command("list")
@access_options
def list_invites(operator: Path | None, data: Path | None, as_json: bool) -> None:
    """List the invitations that are still open."""
    invites = ask(operator, data, "GET", "/v1/invites")["invites"]
    rows = [
        [
            each["invite_id"],
            each["uses_left"],
            _utc(each["expires_ms"]),
            each["site"],
            each["owner"],
        ]
        for each in invites
    ]
    text = table(["INVITE", "USES LEFT", "EXPIRES", "SITE", "OWNER"], rows)
    print_result(invites, as_json=as_json, text=text)


def _utc(ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(ms / 1000))


@invite.command("withdraw")
@click.argument("invite_or_token", metavar="INVITE")
@access_options
def withdraw_invite(
    invite_or_token: str, operator: Path | None, data: Path | None, as_json: bool
) -> None:
    """Withdraw an invitation: nobody can join with its token any more.

    INVITE is its id (`alveary invite list`) or the token itself. Cells that have joined stay.
    """
    invite_id = name = invite_or_token.strip().lower()
    if name.startswith(PREFIX):
        invite_id = invite_id_of(decode_token(name, ROLE_CELL).secret)
    ask(operator, data, "DELETE", f"/v1/invites/{invite_id}")
    print_result({"withdrawn": invite_id}, as_json=as_json, text=f"withdrawn: {invite_id}")


@click.command()
@click.argument("cell_id", metavar="CELL")
@click.option(
    "--even-if-needed",
    is_flag=True,
    help="Remove it although some data cannot be read without it.",
)
@access_options
def remove_cell(
    cell_id: str, even_if_needed: bool, operator: Path | None, data: Path | None, as_json: bool
) -> None:
    """Remove a cell that is gone permanently or was stolen.

    CELL is its id, or the first digits of it. From then on the coordinator refuses its key, gives
    no orders for it, and counts its shards as missing. There is no way back: a cell with a new key
    can join on the same machine.
    """
    body = {"even_if_needed": True} if even_if_needed else {}
    removed = ask(operator, data, "POST", f"/v1/cells/{cell_id}/remove", body)
    print_result(removed, as_json=as_json, text=f"removed: cell {removed['cell_id'][:12]}")
