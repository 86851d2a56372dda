"""``alveary rescue``: objects from the cells alone, when every coordinator is gone.

Source: docs/rescue.md.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import click
import trio

from cli.coordinators import find_swarm_key, swarm_key_option
from cli.credentials import read_tenant
from cli.files import make_private_directory, write_private
from cli.ports import parse_address
from cli.report import human_bytes, print_error, print_result
from common import limits
from common.crypto.keys import KEY_BYTES, TenantKey
from common.errors import BadConfig
from common.format.envelope import WrappingKey
from common.ports import Address, Sql
from common.reasons import ConfigFault
from common.system.clock import system_entropy
from common.system.disk import hold_directory
from common.system.restored_tree import RestoredTree
from common.system.sqlite_backup import look_beside
from common.system.world import open_world
from common.wire.messages.base import Endpoint
from coordinator.journaled_store import STORE_NAME
from coordinator.secrets import SECRET_BYTES, SECRET_NAME
from coordinator.store import journal, restoring
from rescue.checking import check
from rescue.kit import Kit, is_sealed, make_kit, open_kit, pack_kit, seal_kit, unpack_kit
from rescue.restore import MISSING_NAME, WORK, Progress, Restored, Wanted, restore

EXIT_INCOMPLETE: Final = 3
_LOOK_EVERY_S: Final = 0.5
_SAY_EVERY_S: Final = 10.0
_BAR_SIGNS: Final = 30
NO_JOURNAL: Final = (
    'the coordinator keeps no journal on cells (journal = "off"): with this kit nothing can be'
    " restored until one is kept"
)
_ID_DIGITS: Final = 8
Moved: TypeAlias = dict[str, Address]
C = TypeVar("C", bound=Callable[..., Any])

_passphrase_option: Final = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Its first line is the passphrase of a sealed kit; without it you are asked.",
)


@click.group()
def rescue() -> None:
    """Get a tenant's objects from the cells alone, when every coordinator is gone."""


# --- kit --------------------------------------------------------------------------------------


@rescue.command("kit")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="The coordinator's directory, or that of `alveary up`.",
)
@click.option(
    "--tenants",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of the gateway's tenant key files (DATA/gateway/tenants).",
)
@click.option("--tenant", "names", multiple=True, help="Whose objects it opens; may be repeated.")
@click.option("--operator", is_flag=True, help="It opens those of all tenants with a key file.")
@swarm_key_option
@click.option("--seal", is_flag=True, help="Seal it with a passphrase.")
@_passphrase_option
def write_kit(
    file: Path,
    data: Path,
    directory: Path | None,
    names: Sequence[str],
    operator: bool,
    key_file: Path | None,
    seal: bool,
    passphrase_file: Path | None,
) -> None:
    """Write a rescue kit to FILE, for one tenant (--tenant) or all (--operator).

    Its holder reads these tenants' objects, and the names and sizes of all others': keep it
    secret, and not on a machine of the swarm. It can change nothing.
    """
    if bool(names) == operator:
        raise click.UsageError("say --tenant NAME or --operator")
    found = _tenant_keys(directory or data / "gateway" / "tenants", names)
    own = data / "coordinator" if (data / "coordinator").is_dir() else data
    swarm_key = find_swarm_key(key_file, own)
    cells, keeps_journal, known = look_beside(own / STORE_NAME, _look)
    keys = {name: key for name, key in found.items() if key.tenant_id in known}
    if names and len(keys) < len(found):
        unknown = next(each for each in found if each not in keys)
        raise BadConfig(
            ConfigFault.WRONG_TENANT_KEY,
            message=f"this swarm has no tenant with the key of {unknown}.json",
        )
    others = len(known) - len(keys)
    kit = make_kit(swarm_key, _secret(own / SECRET_NAME), cells, keys, system_entropy)
    content = pack_kit(kit)
    if seal or passphrase_file is not None:
        passphrase = _passphrase(passphrase_file, is_new=True)
        content = seal_kit(content, passphrase, system_entropy)
    write_private(file.absolute(), content.decode())
    whose = ", ".join(keys) if keys else "the tenants whose keys come with --tenant-key"
    print(f"{file}: a rescue kit for {whose}; it names {len(kit.cells)} cells")
    print(
        "Keep it secret, and away from the swarm; `alveary rescue check` says whether it still fits"
    )
    if others:
        print(
            f"It also shows the names and sizes of the objects of {others} other tenants, as the"
            " coordinator's operator sees them (docs/threat-model.md)."
        )
    if not keeps_journal:
        print_error(NO_JOURNAL)


def _tenant_keys(directory: Path, names: Sequence[str]) -> dict[str, TenantKey]:
    wanted = list(names) or sorted(each.stem for each in directory.glob("[!.]*.json"))
    return {name: read_tenant(directory / f"{name}.json") for name in wanted}


def _secret(path: Path) -> bytes:
    try:
        secret = bytes.fromhex(path.read_text("ascii").strip())
    except OSError as error:
        raise BadConfig(ConfigFault.CANNOT_READ, file=str(path), error=error.strerror) from error
    except ValueError as error:
        raise BadConfig(ConfigFault.BAD_SECRET_FILE, file=str(path)) from error
    if len(secret) != SECRET_BYTES:
        raise BadConfig(ConfigFault.BAD_SECRET_FILE, file=str(path))
    return secret


def _look(sql: Sql) -> tuple[list[Endpoint], bool, set[bytes]]:
    """The cells, those that keep the journal first; whether it is kept; the ids of all tenants."""
    row = journal.load(sql)
    members = () if row.members is None else row.members.members
    known = {bytes(each.cell_id): each for each in (*members, *restoring.endpoints(sql))}
    return list(known.values()), bool(members), set(restoring.tenant_ids(sql))


def _passphrase(file: Path | None, *, is_new: bool) -> bytes:
    if file is None:
        text: str = click.prompt(
            "Passphrase of the kit", hide_input=True, confirmation_prompt=is_new, err=True
        )
    else:
        try:
            text = (file.read_text("utf-8").splitlines() or [""])[0]
        except (OSError, ValueError) as error:
            raise BadConfig(ConfigFault.CANNOT_READ, file=str(file), error=str(error)) from error
    if not text:
        raise BadConfig(ConfigFault.WRONG_PASSPHRASE, message="the passphrase is empty")
    return text.encode()


def _moved(context: click.Context, option: click.Parameter, texts: Sequence[str]) -> Moved:
    """The addresses of cells by the first digits of their ids."""
    moved: Moved = {}
    for text in texts:
        digits, _, address = text.partition("=")
        if re.fullmatch(f"[0-9a-f]{{{_ID_DIGITS},64}}", digits) is None:
            raise click.BadParameter(f"{text}: ID=HOST:PORT, with 8 or more digits of the id")
        moved[digits] = parse_address(address)
    return moved


def _read_kit(
    file: Path, passphrase_file: Path | None, key_files: Sequence[Path], moved: Moved
) -> Kit:
    try:
        with file.open("rb") as opened:
            content = opened.read(limits.MAX_RESCUE_KIT_BYTES)
    except OSError as error:
        raise BadConfig(ConfigFault.CANNOT_READ, file=str(file), error=error.strerror) from error
    if is_sealed(content):
        content = open_kit(content, _passphrase(passphrase_file, is_new=False))
    kit = unpack_kit(content)
    tenants = {**kit.tenants, **{each.stem: read_tenant(each) for each in key_files}}
    if not tenants:
        raise BadConfig(
            ConfigFault.NO_TENANT_KEY,
            message="this kit has no tenant's key: name a key file with --tenant-key FILE",
        )
    return replace(kit, tenants=tenants, moved=moved)


def _customer_key(file: Path) -> WrappingKey:
    """Read a key that a customer gives to S3: as its bytes, or as headers have it."""
    try:
        with file.open("rb") as opened:
            content = opened.read(128)
    except OSError as error:
        raise BadConfig(ConfigFault.CANNOT_READ, file=str(file), error=error.strerror) from error
    if len(content) != KEY_BYTES:
        try:
            content = base64.b64decode(content.strip(), validate=True)
        except binascii.Error:
            content = b""
    if len(content) != KEY_BYTES:
        raise click.UsageError(f"--customer-key {file}: neither 32 bytes nor their base64")
    return WrappingKey(content)


_kit_argument: Final = click.argument(
    "file", type=click.Path(path_type=Path, dir_okay=False, exists=True)
)
_key_option: Final = click.option(
    "--tenant-key",
    "key_files",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A tenant's key file, where the kit does not have the key; may be repeated.",
)
_moved_option: Final = click.option(
    "--cell",
    "moved",
    multiple=True,
    callback=_moved,
    metavar="ID=HOST:PORT",
    help="Where a cell is now, if it has moved; ID: its first digits; may be repeated.",
)


# --- check ------------------------------------------------------------------------------------


@rescue.command("check")
@_kit_argument
@_key_option
@_moved_option
@_passphrase_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def check_kit(
    file: Path,
    key_files: Sequence[Path],
    moved: Moved,
    passphrase_file: Path | None,
    as_json: bool,
) -> int:
    """Say whether the kit FILE fits the swarm, and what would be restored with it now.

    Reads the whole journal, and no object; the swarm may be in use. Exit code 0 if all could be
    restored, else 3.
    """
    kit = _read_kit(file, passphrase_file, key_files, moved)
    with tempfile.TemporaryDirectory(prefix="alveary-rescue-") as directory:
        found = trio.run(_check, Path(directory), kit)
    fits = all(each["key_fits"] and each["is_known"] for each in found["tenants"])
    complete = fits and not found["unreadable_segments"]
    complete = complete and not found["journal"]["may_lack_newest"]
    print_result({**found, "complete": complete}, as_json=as_json, text=_check_text(found))
    return 0 if complete else EXIT_INCOMPLETE


async def _check(directory: Path, kit: Kit) -> dict[str, Any]:
    async with open_world(directory, "rescue", log_path=directory / "log") as world:
        return await check(world, kit)


def _check_text(found: dict[str, Any]) -> str:
    lines = []
    for each in found["tenants"]:
        lines.append(
            f"tenant {each['tenant']}: {each['objects']:,} objects"
            f" ({human_bytes(each['bytes'])}) in {each['buckets']:,} buckets;"
            f" {each['versions']:,} with older versions and delete markers"
        )
        if not each["is_known"]:
            lines.append("  the swarm knows no such tenant (any more)")
        elif not each["key_fits"]:
            lines.append("  its key in this kit does not open its buckets")
    if found["unreadable_segments"]:
        lines.append(
            f"{found['unreadable_segments']:,} segments cannot be read now: fewer than k of their"
            " shards are on cells that answer"
        )
    return "\n".join([*lines, *_swarm_lines(found)])


def _swarm_lines(found: dict[str, Any]) -> list[str]:
    """The lines about the cells and their journal."""
    of_journal = found["journal"]
    lines = [
        f"journal: record {of_journal['sequence']:,} of epoch {of_journal['epoch']:,};"
        f" {of_journal['answered']} of the {of_journal['members']} cells that keep it answered"
    ]
    if of_journal["may_lack_newest"]:
        lines.append(
            "  those are not most of them: the newest objects may be known to the others only"
        )
    lines += [
        f"  not used, of cell {cell[:16]}: {why}" for cell, why in of_journal["unusable"].items()
    ]
    silent = found["silent_cells"]
    lines.append(f"cells: {found['cells']} known, {len(silent)} silent")
    lines += [f"  silent: {cell}: {why}" for cell, why in silent.items()]
    return lines


# --- restore ----------------------------------------------------------------------------------


@rescue.command("restore")
@_kit_argument
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The directory that gets the objects; of an earlier run: it goes on there.",
)
@click.option(
    "--versions",
    type=click.Choice(["current", "all"]),
    default="current",
    show_default=True,
    help="all: older versions, too, and delete markers.",
)
@click.option("--tenant", "names", multiple=True, help="Only this tenant's; may be repeated.")
@click.option("--bucket", "buckets", multiple=True, help="Only this bucket; may be repeated.")
@click.option(
    "--at-once",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="Objects at a time; each takes up to 16 MiB of memory.",
)
@click.option(
    "--customer-key",
    "customer_files",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A file with a customer's key, 32 bytes or their base64; may be repeated.",
)
@_key_option
@_moved_option
@_passphrase_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def restore_objects(
    file: Path,
    target: Path,
    versions: str,
    names: Sequence[str],
    buckets: Sequence[str],
    at_once: int,
    customer_files: Sequence[Path],
    key_files: Sequence[Path],
    moved: Moved,
    passphrase_file: Path | None,
    as_json: bool,
) -> int:
    """Restore the objects that the kit FILE opens, from the cells that can be reached.

    What is there already (same size and time) is left alone, so a run that was cut short is simply
    repeated. Exit code 0 if nothing is missing, else 3: missing.jsonl says what, and why.
    """
    kit = _read_kit(file, passphrase_file, key_files, moved)
    unknown = [each for each in names if each not in kit.tenants]
    if unknown:
        raise click.UsageError(f"--tenant {unknown[0]}: the kit has {', '.join(kit.tenants)}")
    customers = [_customer_key(each) for each in customer_files]
    wanted = Wanted(versions == "all", names, buckets, at_once, customers)
    work = target.absolute() / WORK
    make_private_directory(target.absolute())
    with hold_directory(work):
        done = trio.run(partial(_restore, target.absolute(), work, kit, wanted))
    report = done.report()
    write_private(target.absolute() / "report.json", json.dumps(report, indent=1) + "\n")
    print_result(report, as_json=as_json, text=_restore_text(report, target))
    complete = not (report["missing"] or report["journal"]["may_lack_newest"] or report["notes"])
    return 0 if complete else EXIT_INCOMPLETE


async def _restore(target: Path, work: Path, kit: Kit, wanted: Wanted) -> Restored:
    progress = Progress()
    async with open_world(work, "rescue", log_path=work / "log") as world:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_show, progress)
            done = await restore(world, RestoredTree(target), kit, wanted, progress)
            nursery.cancel_scope.cancel()
    if sys.stderr.isatty():
        print(f"\r\x1b[K{_bar(progress)}", file=sys.stderr, flush=True)
    return done


async def _show(progress: Progress) -> None:
    """Show on standard error how far it is, until cancelled: a bar, or now and then a line."""
    if not sys.stderr.isatty():
        said_at = time.monotonic()
        while True:
            await trio.sleep(_LOOK_EVERY_S)
            if progress.total and time.monotonic() - said_at >= _SAY_EVERY_S:
                said_at = time.monotonic()
                print(_progress_text(progress), file=sys.stderr, flush=True)
    while True:
        print(f"\r\x1b[K{_bar(progress)}", end="", file=sys.stderr, flush=True)
        await trio.sleep(_LOOK_EVERY_S)


def _bar(progress: Progress) -> str:
    # An object without bytes counts as well.
    total = progress.total + progress.total_bytes
    share = (progress.done + progress.done_bytes) / total if total else 0.0
    filled = int(share * _BAR_SIGNS)
    return f"[{'#' * filled}{'.' * (_BAR_SIGNS - filled)}] {share:4.0%}  {_progress_text(progress)}"


def _progress_text(progress: Progress) -> str:
    text = (
        f"{progress.done:,} of {progress.total:,} objects, {human_bytes(progress.done_bytes)} of"
        f" {human_bytes(progress.total_bytes)}"
    )
    return f"{text}, {progress.missing:,} missing" if progress.missing else text


def _restore_text(report: dict[str, Any], target: Path) -> str:
    lines = [
        f"{target}: {report['restored']:,} objects restored, {report['kept']:,} were there"
        f" already, {report['missing']:,} missing"
    ]
    if report["missing"]:
        lines.append(f"  what, and why: {target / MISSING_NAME}; repeat when more cells answer")
    if report["without_key"]:
        lines.append(
            f"  {report['without_key']:,} of them are under a key that is not at hand: of a"
            " customer (repeat with --customer-key FILE), or destroyed"
        )
    lines += [f"  {note}" for note in report["notes"]]
    lines += [
        f"shards not usable: {each['count']:,} of cell {each['cell']}: {each['why']}"
        for each in report["bad_shards"]
    ]
    return "\n".join([*lines, *_swarm_lines(report)])
