"""``alveary coordinator restore``: put a backup of the coordinator's store in place.

Source: docs/operations.md, "Backups of the store".
"""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from cli.files import make_private_directory
from cli.report import print_result
from common.charter_book import FILE_NAME as CHARTER_NAME
from common.data_classes import dataclass
from common.errors import BadConfig, Unavailable
from common.ports import Sql
from common.reasons import ConfigFault, Outage
from common.system.disk import hold_directory
from common.system.sqlite_backup import look_into, sync_directory, sync_file
from coordinator.journaled_store import STORE_NAME
from coordinator.secrets import BEGUN_NAME, IDENTITY_NAME, SECRET_NAME, SWARM_KEY_NAME
from coordinator.store.counts import object_count
from coordinator.store.schema import check_version, counter_value

_UNFINISHED: Final = STORE_NAME + ".unfinished"
_BESIDE: Final = ("-wal", "-shm")
"""Files of SQLite's beside a database: with another database they would be taken for its own."""
_KEYS: Final = (SECRET_NAME, IDENTITY_NAME)


@dataclass(frozen=True, slots=True)
class _Held:
    """The content of a backup, in numbers. ``started_ms``: when its last coordinator started."""

    objects: int
    buckets: int
    transactions: int
    started_ms: int


@click.command()
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The coordinator's directory, or that of `alveary up`. The coordinator must not run.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="There is a store already: move it to a directory of its own, replaced-N, first.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.argument("source", type=click.Path(path_type=Path, file_okay=False, exists=True))
def restore(data: Path, replace: bool, as_json: bool, source: Path) -> None:
    """Put the backup SOURCE, that `alveary coordinator backup` made, in place.

    It is checked as a whole first. Keys that the directory has already are kept; where it has none,
    those of the backup are put there. The swarm remembers what is newer than the backup: nothing of
    that is deleted, and the coordinator serves nothing, until you say `alveary coordinator
    accept-store`.
    """
    held = _look(source)
    directory = _directory(data.absolute())
    try:
        with hold_directory(directory):
            replaced = _set_aside(directory, replace=replace)
            kept = _put_keys(source, directory)
            _put_store(source, directory)
    except OSError as error:
        raise Unavailable(Outage.BACKUP_FAILED, error=str(error)) from error
    result = {
        "source": str(source),
        "data": str(directory),
        "objects": held.objects,
        "buckets": held.buckets,
        "transactions": held.transactions,
        "started": _date(held.started_ms),
        "replaced": None if replaced is None else str(replaced),
        "other_keys_kept": kept,
    }
    print_result(result, as_json=as_json, text=_text(held, directory, replaced, kept=kept))


def _look(source: Path) -> _Held:
    """Check a backup.

    Raises:
        BadConfig: ``bad_backup``, ``store_too_new``, ``store_unreleased``.
        Corrupt: ``store_corrupt``.
    """
    missing = [each for each in (STORE_NAME, *_KEYS) if not (source / each).is_file()]
    if missing:
        raise BadConfig(
            ConfigFault.BAD_BACKUP, message=f"{source} is not a backup: {missing[0]} is missing"
        )

    def look(sql: Sql) -> _Held:
        if not check_version(sql):
            raise BadConfig(ConfigFault.BAD_BACKUP, message=f"the store in {source} is empty")
        return _Held(
            object_count(sql),
            sql.execute("SELECT count(*) FROM buckets").fetchone()[0],
            counter_value(sql, "commit"),
            sql.execute("SELECT coalesce(max(started_ms), 0) FROM runs").fetchone()[0],
        )

    return look_into(source / STORE_NAME, look)


def _directory(data: Path) -> Path:
    """Return the coordinator's own directory; one that is made now is the one that was named."""
    inner = data / "coordinator"
    if inner.is_dir() or (data / "swarm.json").exists():
        return inner
    make_private_directory(data)
    return data


def _set_aside(directory: Path, *, replace: bool) -> Path | None:
    """Move the store that is there to a directory of its own.

    Returns:
        That directory; None where there was no store.

    Raises:
        BadConfig: ``store_exists``.
    """
    files = [STORE_NAME, *(STORE_NAME + each for each in _BESIDE)]
    there = [each for each in files if (directory / each).exists()]
    if not there:
        return None
    if not replace:
        raise BadConfig(
            ConfigFault.STORE_EXISTS,
            message=f"there is a store in {directory}: with --replace it is moved aside",
        )
    number = 1
    while (directory / f"replaced-{number}").exists():
        number += 1
    aside = directory / f"replaced-{number}"
    make_private_directory(aside)
    for each in there:
        (directory / each).rename(aside / each)
    sync_directory(aside)
    sync_directory(directory)
    return aside


def _put_keys(source: Path, directory: Path) -> bool:
    """Put the backup's keys where there are none.

    Returns:
        True if other ones are there, which stay: cells and gateways trust the newest only.
    """
    kept = False
    if not (directory / IDENTITY_NAME).exists():
        for name in (CHARTER_NAME, SWARM_KEY_NAME):
            if (source / name).exists():
                _copy(source / name, directory / name)
    for name in _KEYS:
        there = directory / name
        if there.exists():
            kept = kept or there.read_text().strip() != (source / name).read_text().strip()
        else:
            _copy(source / name, there)
    return kept


def _put_store(source: Path, directory: Path) -> None:
    """Put the store in place, whole or not at all."""
    # Without this mark a coordinator whose store is lost again would begin an empty swarm.
    (directory / BEGUN_NAME).touch(mode=0o600)
    _copy(source / STORE_NAME, directory / STORE_NAME)


def _copy(source: Path, target: Path) -> None:
    draft = target.with_name(_UNFINISHED)
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with source.open("rb") as whole, os.fdopen(descriptor, "wb") as copy:
        shutil.copyfileobj(whole, copy, 1 << 20)
    sync_file(draft)
    draft.rename(target)
    sync_directory(target.parent)


def _date(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def _text(held: _Held, directory: Path, replaced: Path | None, *, kept: bool) -> str:
    lines = [
        f"{directory}: a checked store with {held.objects:,} objects in {held.buckets:,} buckets,"
        f" up to transaction {held.transactions:,} of the coordinator that started"
        f" {_date(held.started_ms)}"
    ]
    if replaced is not None:
        lines.append(f"the store that was there is in {replaced}")
    if kept:
        lines.append("the directory's own keys stay: those of the backup are others")
    lines.append(
        "start the coordinator: `alveary status` says what the swarm has seen that is not in this"
        " store. Nothing of that is deleted. If it is lost: `alveary coordinator accept-store`"
    )
    return "\n".join(lines)
