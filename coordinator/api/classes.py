"""Operations on storage classes, on which of them a bucket has, and on the names that lead to them.

Source: docs/operations.md, "Storage classes".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import trio

from common import limits
from common.errors import Refused
from common.ports import Log, Sql
from common.reasons import Refusal
from common.wire.messages.base import STANDARD_CLASS
from coordinator.api.routes import ApiRoute, Field, Json
from coordinator.parts import CoordinatorParts
from coordinator.policy.fence import Fence
from coordinator.policy.placement import Redundancy
from coordinator.policy.storage_classes import STANDARD, StorageClass, redundancy_of
from coordinator.store import buckets, classes, misplaced

_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{0,31}")


class ClassOperations:
    """Makes and removes storage classes, gives them to buckets, and lets names lead to them."""

    def __init__(self, parts: CoordinatorParts, log: Log) -> None:
        self._store = parts.store
        self._placement = parts.placement
        self._changed = parts.queues.classes
        self._log = log

    def routes(self) -> tuple[ApiRoute, ...]:
        """Return the table of these operations."""
        return (
            ApiRoute("GET", "/v1/classes", "All storage classes.", self._list_classes, {}),
            ApiRoute(
                "POST",
                "/v1/classes",
                "Make a storage class; it is never changed afterwards.",
                self._create_class,
                {
                    "name": Field("string", "capital letters, digits, underscores"),
                    "redundancy": Field("string", "k/n: any k of n shards give the data back"),
                    "write_quorum": Field(
                        "integer", "durable shards that a write waits for", required=False
                    ),
                    "sites": Field(
                        "array", "names of the only sites that may hold the data", required=False
                    ),
                },
                201,
            ),
            ApiRoute(
                "DELETE",
                "/v1/classes/{name}",
                "Remove a storage class that no bucket has and no name leads to: nothing new is"
                " written in it.",
                self._remove_class,
                {},
                204,
            ),
            ApiRoute(
                "POST",
                "/v1/class-names/{name}",
                "Let the name of a class that clients ask for lead to a storage class.",
                self._set_name,
                {"storage_class": Field("string", "the name of the storage class")},
            ),
            ApiRoute(
                "DELETE",
                "/v1/class-names/{name}",
                "Let a name lead nowhere any more: to the class of each bucket.",
                self._remove_name,
                {},
                204,
            ),
            ApiRoute(
                "GET",
                "/v1/buckets",
                "Buckets with their storage classes, what they hold, and their quotas.",
                self._list_buckets,
                {},
            ),
            ApiRoute(
                "POST",
                "/v1/buckets/{name}/class",
                "Give a bucket a storage class: new objects take it, and the others follow.",
                self._set_class,
                {"storage_class": Field("string", "the name of the class")},
            ),
        )

    async def _list_classes(self, _: Mapping[str, str], body: Json) -> Json:
        found, used, names = await self._store.read(
            lambda sql: (classes.load(sql), classes.buckets_of(sql), classes.names(sql))
        )
        standard = self._placement.classes[0].storage_class
        return {
            "classes": [
                {
                    **_described(each),
                    "buckets": used.get(each.number, 0),
                    "names": [name for name, number in names.items() if number == each.number],
                }
                for each in (standard, *found)
            ]
        }

    async def _create_class(self, _: Mapping[str, str], body: Json) -> Json:
        name: str = body["name"]
        _check_name(name)
        redundancy = redundancy_of(body["redundancy"], body.get("write_quorum"))
        if redundancy is None:
            raise Refused(
                Refusal.BAD_VALUE,
                message=f"redundancy: k/n with 1 <= k <= n <= {limits.MAX_SLOTS}, and a write"
                " quorum of k to n",
            )
        fence = _fence(body.get("sites", []))

        def create(sql: Sql) -> tuple[StorageClass, list[StorageClass]]:
            created = classes.create(sql, name, redundancy, fence)
            _follow(sql, created.number)
            return created, classes.load(sql)

        made, known = await self._store.transact(create)
        self._take_in(known)
        self._changed.tell()
        self._log.info(
            "class_created",
            storage_class=name,
            redundancy=str(redundancy),
            sites=",".join(sorted(fence)),
        )
        return _described(made)

    async def _remove_class(self, names: Mapping[str, str], body: Json) -> None:
        def remove(sql: Sql) -> list[StorageClass]:
            _follow(sql, classes.remove(sql, names["name"]))
            return classes.load(sql)

        self._take_in(await self._store.transact(remove))
        self._changed.tell()
        self._log.warning("class_removed", storage_class=names["name"])

    async def _set_name(self, names: Mapping[str, str], body: Json) -> Json:
        name, wanted = names["name"], str(body["storage_class"])
        _check_name(name)
        if name == STANDARD_CLASS:
            raise Refused(
                Refusal.BAD_VALUE,
                message=f"name: {STANDARD_CLASS} is the class of each bucket; give the buckets"
                " another one",
            )

        def set_name(sql: Sql) -> None:
            self._check_writable(classes.find(sql, wanted), wanted)
            classes.set_name(sql, name, wanted)

        await self._store.transact(set_name)
        self._log.info("class_named", class_name=name, storage_class=wanted)
        return {"name": name, "storage_class": wanted}

    async def _remove_name(self, names: Mapping[str, str], body: Json) -> None:
        name = names["name"]
        await self._store.transact(lambda sql: classes.remove_name(sql, name))
        self._log.info("class_name_removed", class_name=name)

    async def _list_buckets(self, _: Mapping[str, str], body: Json) -> Json:
        found = await self._store.read(lambda sql: buckets.overview(sql, limits.MAX_BUCKETS_LISTED))
        return {"buckets": [asdict(each) for each in found]}

    async def _set_class(self, names: Mapping[str, str], body: Json) -> Json:
        name, wanted = names["name"], str(body["storage_class"])

        def set_class(sql: Sql) -> bool:
            self._check_writable(classes.find(sql, wanted), wanted)
            bucket = buckets.set_class(sql, name, wanted)
            if bucket is not None:
                misplaced.follow(sql, bucket)
            return bucket is not None

        has_changed = await self._store.transact(set_class)
        if has_changed:
            self._changed.tell()
            self._log.info("bucket_class_changed", bucket=name, storage_class=wanted)
        return {"name": name, "storage_class": wanted, "changed": has_changed}

    def _check_writable(self, number: int, name: str) -> None:
        """Check that new objects can be written in a class.

        Raises:
            Refused: ``class_not_writable``, with ``have`` and ``need``: cells on its sites.
        """
        placed = self._placement.of_class(number)
        if number == STANDARD or (placed is not None and placed.can_be_written):
            return
        have = 0 if placed is None else placed.have
        need = 0 if placed is None else placed.redundancy.n
        raise Refused(
            Refusal.CLASS_NOT_WRITABLE,
            message=f"{name}: {have} of the {need} cells that it takes can be written to on its"
            " sites",
            have=have,
            need=need,
        )

    def _take_in(self, known: list[StorageClass]) -> None:
        self._placement.set_classes(known)
        self._placement.refresh(trio.current_time())


def _follow(sql: Sql, number: int) -> None:
    """Let all buckets be looked through that have something for which a class was asked that is
    gone now, or there again."""
    for bucket in classes.buckets_with(sql, number):
        misplaced.follow(sql, bucket)


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise Refused(Refusal.BAD_VALUE, message=f"name: must match {_NAME.pattern}")


def _described(storage_class: StorageClass) -> dict[str, Any]:
    redundancy: Redundancy = storage_class.redundancy
    return {
        "name": storage_class.name,
        "redundancy": str(redundancy),
        "write_quorum": redundancy.quorum,
        "sites": sorted(storage_class.fence),
    }


def _fence(sites: list[Any]) -> Fence:
    if len(sites) > limits.MAX_FENCE_SITES or not all(
        isinstance(site, str) and 0 < len(site) <= limits.MAX_LABEL_CHARACTERS for site in sites
    ):
        raise Refused(
            Refusal.BAD_VALUE,
            message=f"sites: at most {limits.MAX_FENCE_SITES} names of up to"
            f" {limits.MAX_LABEL_CHARACTERS} characters",
        )
    return frozenset(sites)
