"""Operations on the swarm's charter: who its coordinators are.

Source: docs/operations.md, "Coordinators and their keys".
"""

from __future__ import annotations

from collections.abc import Mapping

from common import limits
from common.charter_book import CharterBook
from common.crypto.charter import read_charter
from common.errors import PeerViolation, Refused
from common.ids import PeerId
from common.ports import Log, Store
from common.reasons import Refusal
from coordinator.api.routes import ApiRoute, Field, Json
from coordinator.store import charters


def tell_coordinators(book: CharterBook, own: PeerId) -> list[Json]:
    """Return the coordinators of the charter, JSON-like."""
    if book.charter is None:
        return []
    return [
        {
            "number": each.number,
            "name": each.name,
            "key_id": each.key_id.hex(),
            "state": "revoked" if each.is_revoked else "trusted",
            "is_this": each.key_id == own,
        }
        for each in book.charter.coordinators
    ]


class CharterOperations:
    """Shows the charter, and takes a later one that was signed elsewhere: this process cannot sign.

    Args:
        own: the id of this coordinator's key.
    """

    def __init__(self, store: Store, book: CharterBook, own: PeerId, log: Log) -> None:
        self._store = store
        self._book = book
        self._own = own
        self._log = log

    def routes(self) -> tuple[ApiRoute, ...]:
        """Return the table of these operations."""
        return (
            ApiRoute(
                "GET",
                "/v1/coordinators",
                "The coordinators of the swarm, and the charter that names them.",
                self._show,
                {},
                when_behind=True,
            ),
            ApiRoute(
                "POST",
                "/v1/coordinators",
                "Take a charter that the swarm's key has signed in the place of the present one.",
                self._take,
                {"charter": Field("string", "in hex digits")},
                when_behind=True,
            ),
        )

    async def _show(self, _: Mapping[str, str], body: Json) -> Json:
        book = self._book
        return {
            "coordinator_id": book.swarm_key_id.hex(),
            "revision": book.revision,
            "charter": book.shown.hex(),
            "coordinators": tell_coordinators(book, self._own),
        }

    async def _take(self, names: Mapping[str, str], body: Json) -> Json:
        book, before = self._book, self._book.shown
        try:
            data = bytes.fromhex(body["charter"])[: limits.MAX_CHARTER_BYTES + 1]
            charter = read_charter(data, book.swarm_key_id)
        except (ValueError, PeerViolation) as error:
            raise Refused(
                Refusal.BAD_VALUE, message="charter: not one that this swarm's key has signed"
            ) from error
        if data != before and charter.revision != book.revision + 1:
            raise Refused(Refusal.CHARTER_CHANGED, revision=book.revision)
        await self._store.transact(lambda sql: charters.replace(sql, before, data))
        await book.take(data)
        self._log.warning(
            "charter_changed",
            revision=charter.revision,
            coordinators=" ".join(each.name for each in charter.living),
        )
        return await self._show(names, body)
