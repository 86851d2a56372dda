"""A process that writes rows to a real store and says which are acknowledged.

``python power_store.py DIRECTORY FIRST``: prints a line per row, ``{"row": N, "refused": REASON}``
with an empty reason when it was acknowledged, and ``{"closed": true}`` at the end.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import trio

from common.errors import AlvearyError
from common.ports import Sql, Store
from common.system.sqlite import SqliteStores

NAME: Final = "rows.sqlite"
ALONE: Final = 6
TOGETHER: Final = 6
LARGE: Final = 10
"""Rows of LARGE_BYTES, enough that the log is carried over into the database by itself."""
LARGE_BYTES: Final = 500_000
SMALL_BYTES: Final = 3000


def value_of(row: int) -> bytes:
    """What a row holds: its number again and again, large or small."""
    size = LARGE_BYTES if row % 100 >= 50 else SMALL_BYTES
    return row.to_bytes(4, "big") * (size // 4)


def prepare(sql: Sql) -> None:
    """Make the table."""
    sql.execute("CREATE TABLE IF NOT EXISTS rows (number INTEGER PRIMARY KEY, value BLOB)")


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


async def add(store: Store, row: int) -> None:
    """Insert a row and say what came of it."""

    def insert(sql: Sql) -> None:
        sql.execute("INSERT INTO rows VALUES (?, ?)", (row, value_of(row)))

    say(begun=row)
    try:
        await store.transact(insert)
    except AlvearyError as error:
        say(row=row, refused=error.reason)
    else:
        say(row=row, refused="")


async def main(directory: Path, first: int) -> int:
    """Open, write rows alone, together and large, and close."""
    try:
        store = await SqliteStores(directory).open(NAME)
        await store.transact(prepare)
    except AlvearyError as error:
        say(not_opened=error.reason)
        return 1
    row = first
    for _ in range(ALONE):
        await add(store, row)
        row += 1
    async with trio.open_nursery() as nursery:
        for _ in range(TOGETHER):
            nursery.start_soon(add, store, row)
            row += 1
    for number in range(LARGE):
        await add(store, first + 50 + number)
    await add(store, row)
    await store.close()
    say(closed=True)
    return 0


if __name__ == "__main__":
    sys.exit(trio.run(main, Path(sys.argv[1]), int(sys.argv[2])))
