"""Operations on invitations, and the tokens with which cells and gateways find a coordinator.

Source: docs/operations.md, "Operator access".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Final

from common import limits
from common.errors import Refused
from common.format.token import (
    ROLE_CELL,
    ROLE_GATEWAY,
    SECRET_BYTES,
    TOKEN_VERSION,
    JoinToken,
    TokenAddress,
    encode_token,
    invite_id_of,
)
from common.ids import PeerId
from common.ports import Address, Entropy, Log, Store, WallClock
from common.reasons import Refusal
from coordinator.api.routes import ApiRoute, Field, Json
from coordinator.store import cells

DEFAULT_INVITE_S: Final = 7 * 86400


class InviteOperations:
    """Invites cells, and names the coordinator to gateways.

    Args:
        key_id: of the swarm's key; named in tokens.
        swarm_name: named in tokens.
        advertised: returns where the swarm's coordinators take calls; named in tokens. Empty: cells
            look for them on their LAN.
    """

    def __init__(
        self,
        store: Store,
        clock: WallClock,
        entropy: Entropy,
        log: Log,
        *,
        key_id: PeerId,
        swarm_name: str,
        advertised: Callable[[], Sequence[Address]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._log = log
        self._key_id = key_id
        self._swarm_name = swarm_name
        self._advertised = advertised

    def routes(self) -> tuple[ApiRoute, ...]:
        """Return the table of these operations."""
        return (
            ApiRoute(
                "POST",
                "/v1/invites",
                "Make a join token for new cells.",
                self._invite,
                {
                    "site": Field("string", "failure domain (site, room, rack)", required=False),
                    "owner": Field("string", "the owner of the cells", required=False),
                    "uses": Field("integer", "how many cells may join with it", required=False),
                    "expires_in_s": Field("integer", "its life in seconds", required=False),
                },
                201,
            ),
            ApiRoute("GET", "/v1/invites", "The open invitations.", self._list_invites, {}),
            ApiRoute(
                "DELETE",
                "/v1/invites/{invite_id}",
                "Withdraw an invitation: nobody can join with its token any more.",
                self._withdraw_invite,
                {},
                204,
            ),
            ApiRoute(
                "GET",
                "/v1/gateway-token",
                "Where the coordinator is and which key it has, as one word for a gateway.",
                self._gateway_token,
                {},
            ),
        )

    async def _invite(self, _: Mapping[str, str], body: Json) -> Json:
        uses = body.get("uses", 1)
        life_s = body.get("expires_in_s", DEFAULT_INVITE_S)
        site, owner = body.get("site", ""), body.get("owner", "")
        if not 1 <= uses <= limits.MAX_INVITE_USES:
            raise Refused(Refusal.BAD_VALUE, message=f"uses: 1 to {limits.MAX_INVITE_USES}")
        if not 1 <= life_s <= limits.MAX_INVITE_LIFETIME_S:
            raise Refused(
                Refusal.BAD_VALUE, message=f"expires_in_s: 1 to {limits.MAX_INVITE_LIFETIME_S}"
            )
        if len(site) > limits.MAX_LABEL_CHARACTERS or len(owner) > limits.MAX_LABEL_CHARACTERS:
            raise Refused(
                Refusal.BAD_VALUE,
                message=f"site, owner: at most {limits.MAX_LABEL_CHARACTERS} characters",
            )
        secret = self._entropy(SECRET_BYTES)
        now_ms = self._now_ms()
        await self._store.transact(
            lambda sql: cells.invite(sql, secret, site, owner, uses, now_ms + life_s * 1000, now_ms)
        )
        invite_id = invite_id_of(secret)
        self._log.info("invited", invite=invite_id, site=site, owner=owner, uses=uses)
        return {"token": self._token(ROLE_CELL, secret), "invite_id": invite_id}

    def _now_ms(self) -> int:
        return int(self._clock.now() * 1000)

    def _token(self, role: str, secret: bytes) -> str:
        addresses = tuple(TokenAddress(each.host, each.port) for each in self._advertised())
        return encode_token(
            JoinToken(TOKEN_VERSION, role, self._swarm_name, addresses, self._key_id, secret)
        )

    async def _list_invites(self, _: Mapping[str, str], body: Json) -> Json:
        now_ms = self._now_ms()
        found = await self._store.read(lambda sql: cells.list_invites(sql, now_ms))
        return {"invites": [asdict(each) for each in found]}

    async def _withdraw_invite(self, names: Mapping[str, str], body: Json) -> None:
        await self._store.transact(lambda sql: cells.withdraw_invite(sql, names["invite_id"]))
        self._log.info("invite_withdrawn", invite=names["invite_id"])

    async def _gateway_token(self, _: Mapping[str, str], body: Json) -> Json:
        if not self._advertised():
            raise Refused(
                Refusal.NOT_ADVERTISED,
                message="gateways need an address of this coordinator: start it with --advertise",
            )
        return {"token": self._token(ROLE_GATEWAY, b"")}
