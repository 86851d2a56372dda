"""Storage classes beside the configured one, which of them buckets have, and which names of clients
lead to them. Functions of a transaction.

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
from common.wire.messages.buckets import ClassName
from common.wire.messages.objects import NamedClass
from coordinator.policy.fence import EVERYWHERE, Fence, encloses
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


def in_use(sql: Sql) -> frozenset[int]:
    """The classes that buckets have, or names lead to."""
    return frozenset((*buckets_of(sql), *names(sql).values()))


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


# --- names of classes that clients ask for ------------------------------------------------------


def names(sql: Sql) -> dict[str, int]:
    """The names that lead to a storage class, and its number."""
    rows = sql.execute("SELECT name, storage_class FROM class_names ORDER BY name").fetchall()
    return dict(rows)


def names_in(sql: Sql, of_bucket: int) -> tuple[ClassName, ...]:
    """The names that lead objects of a bucket to another class than its own.

    Args:
        of_bucket: the class of the bucket.
    """
    return tuple(
        [
            ClassName(name, name_of(sql, number))
            for name, number in names(sql).items()
            if of_bucket != number == wanted(sql, number, of_bucket)
        ]
    )


def set_name(sql: Sql, name: str, storage_class: str) -> None:
    """Let a name lead to a storage class, for what is asked for from now on.

    Raises:
        NotFound: ``no_such_class``.
        Refused: ``too_many_classes``: names.
    """
    number = find(sql, storage_class)
    known = names(sql)
    if name not in known and len(known) >= limits.MAX_CLASS_NAMES:
        raise Refused(Refusal.TOO_MANY_CLASSES, most=limits.MAX_CLASS_NAMES)
    sql.execute(
        "INSERT INTO class_names (name, storage_class) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET storage_class = excluded.storage_class",
        (name, number),
    )


def remove_name(sql: Sql, name: str) -> None:
    """Let a name lead nowhere any more: what is asked for by it takes the class of its bucket.

    Raises:
        NotFound: ``no_such_class``: it led nowhere.
    """
    row = sql.execute(
        "DELETE FROM class_names WHERE name = ? RETURNING storage_class", (name,)
    ).fetchone()
    if row is None:
        raise NotFound(Absence.NO_SUCH_CLASS, class_name=name)


def asked(sql: Sql, named: NamedClass | None) -> int | None:
    """The number of the class that a gateway asks for; None: that of the bucket, also where the
    class was removed since the gateway heard of it."""
    if named is None or not named.storage_class:
        return None
    try:
        return find(sql, named.storage_class)
    except NotFound:
        return None


def wanted(sql: Sql, own: int | None, of_bucket: int) -> int:
    """The storage class in which the data of a version is to be: its own, unless that was removed,
    or reaches beyond the fence of its bucket.

    Args:
        own: that was asked for; None: none was.
        of_bucket: the class of its bucket.
    """
    if own is None or own == of_bucket:
        return of_bucket
    row = sql.execute(
        "SELECT 1 FROM storage_classes WHERE storage_class = ? AND removed = 1", (own,)
    ).fetchone()
    if row is not None or not encloses(_sites(sql, of_bucket), _sites(sql, own)):
        return of_bucket
    return own


def _sites(sql: Sql, number: int) -> Fence:
    rows = sql.execute("SELECT site FROM class_sites WHERE storage_class = ?", (number,))
    return frozenset([site for (site,) in rows.fetchall()])


def buckets_with(sql: Sql, number: int) -> list[int]:
    """The buckets with versions for which a class was asked."""
    rows = sql.execute("SELECT DISTINCT bucket FROM versions WHERE storage_class = ?", (number,))
    return [bucket for (bucket,) in rows.fetchall()]


# --- made and removed ---------------------------------------------------------------------------


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


def remove(sql: Sql, name: str) -> int:
    """Remove a class that no bucket has, and to which no name leads: its rings are closed, and what
    lies on them stays within its fence until it has followed into the classes of its buckets.

    Returns:
        Its number.

    Raises:
        NotFound: ``no_such_class``.
        Refused: ``class_in_use``, with ``buckets``: how many have it, and ``names`` that lead to
            it.
    """
    number = find(sql, name)
    buckets = buckets_of(sql).get(number, 0)
    leading = [each for each, leads_to in names(sql).items() if leads_to == number]
    if number == STANDARD or buckets or leading:
        raise Refused(Refusal.CLASS_IN_USE, buckets=buckets, names=",".join(leading))
    sql.execute("UPDATE storage_classes SET removed = 1 WHERE storage_class = ?", (number,))
    sql.execute("UPDATE rings SET is_open = 0 WHERE storage_class = ?", (number,))
    next_number(sql, "plans")
    return number
