"""Storage classes beside the configured one, and which of them buckets have. Functions of a
transaction.

A class is never changed once it is made: rings are made for it, and data lies on them. So a removed
one is remembered, with its fence.

Source: docs/placement.md, "Storage classes".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from common import limits
from common.errors import NotFound, Refused
from common.ports import Sql
from common.reasons import Absence, Refusal
from common.wire.messages.base import STANDARD_CLASS
from coordinator.policy.fence import EVERYWHERE, Fence
from coordinator.policy.placement import Redundancy
from coordinator.policy.storage_classes import STANDARD, StorageClass
from coordinator.store.schema import next_number


def fences(sql: Sql) -> Mapping[int, Fence]:
    """The fences of the classes that have one, by number."""
    found: dict[int, set[str]] = defaultdict(set)
    for number, site in sql.execute("SELECT storage_class, site FROM class_sites"):
        found[number].add(site)
    return {number: frozenset(sites) for number, sites in found.items()}


def _load(sql: Sql, where: str) -> list[StorageClass]:
    known = fences(sql)
    return [
        StorageClass(number, name, Redundancy(k, n, quorum), known.get(number, EVERYWHERE))
        for number, name, k, n, quorum in sql.execute(
            f"SELECT storage_class, name, k, n, quorum FROM storage_classes {where}"
            " ORDER BY storage_class"
        )
    ]


def load(sql: Sql) -> list[StorageClass]:
    """The classes that were made and not removed, in this order."""
    return _load(sql, "WHERE removed = 0")


def buckets_of(sql: Sql) -> dict[int, int]:
    """The number of buckets that have each class, by the number of the class."""
    return dict(
        sql.execute("SELECT storage_class, count(*) FROM buckets GROUP BY storage_class").fetchall()
    )


def find(sql: Sql, name: str) -> int:
    """The number of a class. Raises NotFound ``no_such_class``."""
    if name == STANDARD_CLASS:
        return STANDARD
    row = sql.execute(
        "SELECT storage_class FROM storage_classes WHERE name = ? AND removed = 0", (name,)
    ).fetchone()
    if row is None:
        raise NotFound(Absence.NO_SUCH_CLASS, storage_class=name)
    number: int = row[0]
    return number


def name_of(sql: Sql, number: int) -> str:
    """The name of a class."""
    if number == STANDARD:
        return STANDARD_CLASS
    row = sql.execute(
        "SELECT name FROM storage_classes WHERE storage_class = ?", (number,)
    ).fetchone()
    name: str = row[0]
    return name


def create(sql: Sql, name: str, redundancy: Redundancy, fence: Fence) -> StorageClass:
    """Make a class; the same again is fine, and takes a removed one up again.

    Raises:
        Refused: ``class_exists``: there is, or was, another of this name; ``too_many_classes``.
    """
    known = _load(sql, "")
    same = next((each for each in known if each.name == name), None)
    if name == STANDARD_CLASS or (
        same is not None and (same.redundancy, same.fence) != (redundancy, fence)
    ):
        raise Refused(Refusal.CLASS_EXISTS, storage_class=name)
    next_number(sql, "plans")
    if same is not None:
        sql.execute(
            "UPDATE storage_classes SET removed = 0 WHERE storage_class = ?", (same.number,)
        )
        return same
    if len(known) >= limits.MAX_STORAGE_CLASSES:
        raise Refused(Refusal.TOO_MANY_CLASSES, most=limits.MAX_STORAGE_CLASSES)
    number: int = sql.execute(
        "INSERT INTO storage_classes (name, k, n, quorum) VALUES (?, ?, ?, ?)"
        " RETURNING storage_class",
        (name, redundancy.k, redundancy.n, redundancy.quorum),
    ).fetchone()[0]
    sql.executemany(
        "INSERT INTO class_sites (storage_class, site) VALUES (?, ?)",
        [(number, site) for site in sorted(fence)],
    )
    return StorageClass(number, name, redundancy, fence)


def remove(sql: Sql, name: str) -> None:
    """Remove a class that no bucket has: its rings are closed, and what lies on them stays within
    its fence.

    Raises:
        NotFound: ``no_such_class``.
        Refused: ``class_in_use``, with ``buckets``: how many have it.
    """
    number = find(sql, name)
    buckets = buckets_of(sql).get(number, 0)
    if number == STANDARD or buckets:
        raise Refused(Refusal.CLASS_IN_USE, buckets=buckets)
    sql.execute("UPDATE storage_classes SET removed = 1 WHERE storage_class = ?", (number,))
    sql.execute("UPDATE rings SET is_open = 0 WHERE storage_class = ?", (number,))
    next_number(sql, "plans")
