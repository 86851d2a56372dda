"""The operators' HTTP API: invitations, tenants, access keys, the state of the swarm.

Every route stands in one table, from which requests are routed and the OpenAPI document is made.

Source: docs/operations.md, "Operator access".
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import trio

from common import limits
from common.crypto.identity import PUBLIC_KEY_BYTES, is_sound_key
from common.errors import AlvearyError, NotFound, Refused, Unavailable
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
from common.http.body import read_body
from common.http.health import json_response, method_not_allowed
from common.http.records import HttpRequest, HttpResponse
from common.ports import Address, Entropy, Log, Store, WallClock
from common.reasons import Outage, Refusal
from coordinator.api.status import Status
from coordinator.membership import Membership
from coordinator.placement import Placement
from coordinator.policy.health import count_needing
from coordinator.policy.history import Standing
from coordinator.secrets import Keys
from coordinator.store import cells, tenants
from coordinator.store.history import WHAT_TO_DO, StoreHistory

DEFAULT_INVITE_S: Final = 7 * 86400
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ACCESS_KEY: Final = re.compile(r"[A-Za-z0-9._-]{3,128}")

Json: TypeAlias = dict[str, Any]
Work: TypeAlias = Callable[[Mapping[str, str], Json], Awaitable[Json | None]]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a request's body. ``kind``: a JSON type's name."""

    kind: str
    about: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """One operation. ``path`` has ``{names}``; ``body`` its fields; ``success`` the status."""

    method: str
    path: str
    about: str
    work: Work
    body: Mapping[str, Field]
    success: int = 200
    when_behind: bool = False
    """True if the route works on a store that is older than what its swarm has seen."""


class Api:
    """Answers operators.

    Args:
        keys: the operator's token and the coordinator's identity.
        end_all_leases: so that what was written under them before a store was accepted is found to
            be garbage.
        swarm_name: named in join tokens.
        advertised: where cells find this coordinator; named in join tokens. None: they look for
            it on their LAN.
    """

    def __init__(
        self,
        store: Store,
        membership: Membership,
        placement: Placement,
        status: Status,
        history: StoreHistory,
        end_all_leases: Callable[[], Awaitable[None]],
        keys: Keys,
        clock: WallClock,
        entropy: Entropy,
        log: Log,
        *,
        swarm_name: str,
        advertised: Address | None,
    ) -> None:
        self._store = store
        self._membership = membership
        self._placement = placement
        self._status = status
        self._history = history
        self._end_all_leases = end_all_leases
        self._keys = keys
        self._clock = clock
        self._entropy = entropy
        self._log = log
        self._swarm_name = swarm_name
        self._advertised = advertised
        self.routes: tuple[ApiRoute, ...] = self._table()
        self._patterns = [
            (re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path)), route)
            for route in self.routes
        ]

    def _table(self) -> tuple[ApiRoute, ...]:
        return (
            ApiRoute(
                "POST",
                "/v1/invites",
                "Make a join token for new cells.",
                self._invite,
                {
                    "site": Field("string", "failure domain (site, room, rack)", required=False),
                    "host": Field("string", "the owner of the cells", required=False),
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
            ApiRoute(
                "POST",
                "/v1/cells/{cell_id}/remove",
                "Remove a cell that is gone or stolen: its key is refused from then on.",
                self._remove_cell,
                {
                    "even_if_needed": Field(
                        "boolean", "although data cannot be read without it", required=False
                    )
                },
            ),
            ApiRoute("GET", "/v1/status", "Cells, rings, space, what is missing.", self._tell, {}),
            ApiRoute("GET", "/v1/tenants", "All tenants.", self._list_tenants, {}),
            ApiRoute(
                "POST",
                "/v1/tenants",
                "Make a tenant; its key stays with its gateways.",
                self._create_tenant,
                {
                    "name": Field("string", "letters, digits, dots, dashes"),
                    "tenant_id": Field("string", "32 hex digits"),
                    "proof_key": Field("string", "public key of the tenant's proofs, in hex"),
                },
                201,
            ),
            ApiRoute(
                "DELETE",
                "/v1/tenants/{name}",
                "Remove a tenant that owns no bucket: its key is good for nothing any more.",
                self._remove_tenant,
                {},
                204,
            ),
            ApiRoute(
                "GET", "/v1/tenants/{name}/keys", "A tenant's access keys.", self._list_keys, {}
            ),
            ApiRoute(
                "POST",
                "/v1/tenants/{name}/keys",
                "Store an access key, sealed under the tenant key.",
                self._add_key,
                {
                    "access_key_id": Field("string", "what clients name"),
                    "sealed": Field("string", "the sealed record, in base64"),
                },
                201,
            ),
            ApiRoute(
                "DELETE",
                "/v1/tenants/{name}/keys/{access_key_id}",
                "Revoke an access key; gateways forget it within seconds.",
                self._revoke_key,
                {},
                204,
            ),
            ApiRoute(
                "POST",
                "/v1/store/accept",
                "Accept this store as the one that counts: what it lacks is lost.",
                self._accept_store,
                {},
                when_behind=True,
            ),
            ApiRoute("GET", "/v1/openapi.json", "This API, described.", self._describe, {}),
        )

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer one request."""
        path = request.path.decode("latin-1")
        matches = [
            (match, route)
            for pattern, route in self._patterns
            if (match := pattern.fullmatch(path)) is not None
        ]
        if not matches:
            return _error(404, "no_such_path", "the path does not exist; see /v1/openapi.json")
        if not self._is_operator(request):
            return _error(401, "unauthorized", "send the operator token as a bearer token")
        for match, route in matches:
            if route.method == request.method:
                return await self._answer(request, match, route)
        return method_not_allowed(*sorted(route.method for _, route in matches))

    def _is_operator(self, request: HttpRequest) -> bool:
        given = request.header(b"authorization") or b""
        wanted = b"Bearer " + self._keys.operator_token.encode("ascii")
        return hmac.compare_digest(given, wanted)

    async def _answer(
        self, request: HttpRequest, match: re.Match[str], route: ApiRoute
    ) -> HttpResponse:
        try:
            if (
                route.method != "GET"
                and self._history.standing is Standing.BEHIND
                and not route.when_behind
            ):
                raise Unavailable(Outage.STORE_BEHIND, message=WHAT_TO_DO[Standing.BEHIND])
            names = {name: unquote(value) for name, value in match.groupdict().items()}
            body = await _read_body(request, route.body) if route.body else {}
            answer = await route.work(names, body)
        except NotFound as error:
            return _error(404, error.reason, str(error))
        except Refused as error:
            status = 400 if error.reason in _BAD_REQUEST else 409
            return _error(status, error.reason, str(error))
        except Unavailable as error:
            self._log.warning("api_failed", path=route.path, error=str(error))
            return _error(503, error.reason, str(error))
        except AlvearyError as error:
            self._log.error("api_failed", path=route.path, error=str(error))
            return _error(500, error.reason, str(error))
        if answer is None:
            return HttpResponse(route.success)
        return json_response(route.success, answer)

    # --- the operations -------------------------------------------------------------------

    async def _invite(self, _: Mapping[str, str], body: Json) -> Json:
        uses = body.get("uses", 1)
        life_s = body.get("expires_in_s", DEFAULT_INVITE_S)
        site, host = body.get("site", ""), body.get("host", "")
        if not 1 <= uses <= limits.MAX_INVITE_USES:
            raise Refused(Refusal.BAD_VALUE, message=f"uses: 1 to {limits.MAX_INVITE_USES}")
        if not 1 <= life_s <= limits.MAX_INVITE_LIFETIME_S:
            raise Refused(
                Refusal.BAD_VALUE, message=f"expires_in_s: 1 to {limits.MAX_INVITE_LIFETIME_S}"
            )
        if len(site) > limits.MAX_LABEL_CHARACTERS or len(host) > limits.MAX_LABEL_CHARACTERS:
            raise Refused(
                Refusal.BAD_VALUE,
                message=f"site, host: at most {limits.MAX_LABEL_CHARACTERS} characters",
            )
        secret = self._entropy(SECRET_BYTES)
        now_ms = self._now_ms()
        await self._store.transact(
            lambda sql: cells.invite(sql, secret, site, host, uses, now_ms + life_s * 1000, now_ms)
        )
        invite_id = invite_id_of(secret)
        self._log.info("invited", invite=invite_id, site=site, host=host, uses=uses)
        return {"token": self._token(ROLE_CELL, secret), "invite_id": invite_id}

    def _now_ms(self) -> int:
        return int(self._clock.now() * 1000)

    def _token(self, role: str, secret: bytes) -> str:
        address = self._advertised
        addresses = () if address is None else (TokenAddress(address.host, address.port),)
        key_id = self._keys.identity.peer_id
        return encode_token(
            JoinToken(TOKEN_VERSION, role, self._swarm_name, addresses, key_id, secret)
        )

    async def _list_invites(self, _: Mapping[str, str], body: Json) -> Json:
        now_ms = self._now_ms()
        found = await self._store.read(lambda sql: cells.list_invites(sql, now_ms))
        return {"invites": [asdict(each) for each in found]}

    async def _withdraw_invite(self, names: Mapping[str, str], body: Json) -> None:
        await self._store.transact(lambda sql: cells.withdraw_invite(sql, names["invite_id"]))
        self._log.info("invite_withdrawn", invite=names["invite_id"])

    async def _gateway_token(self, _: Mapping[str, str], body: Json) -> Json:
        if self._advertised is None:
            raise Refused(
                Refusal.NOT_ADVERTISED,
                message="gateways need an address of this coordinator: start it with --advertise",
            )
        return {"token": self._token(ROLE_GATEWAY, b"")}

    def _check_removal(self, cell: cells.Cell) -> None:
        """Check that what lies on the rings of a cell can be read without it.

        Raises:
            Refused: ``cell_is_needed``, with ``rings``: how many of its rings cannot.
        """
        members = self._membership
        rings = ((ring.cells, ring.redundancy.k) for ring in members.rings.values())
        needing = count_needing(cell.cell, rings, members.states(trio.current_time()))
        if needing:
            raise Refused(Refusal.CELL_IS_NEEDED, rings=needing)

    async def _remove_cell(self, names: Mapping[str, str], body: Json) -> Json:
        cell = self._membership.find(names["cell_id"])
        if not cell.is_removed:
            if not body.get("even_if_needed", False):
                self._check_removal(cell)
            now_ms = self._now_ms()
            await self._store.transact(lambda sql: cells.remove(sql, cell.cell, now_ms))
            self._membership.removed(cell)
            self._placement.refresh(trio.current_time())
            self._log.warning(
                "cell_removed", cell=cell.cell_id.hex()[:12], site=cell.site, host=cell.host
            )
        return {"cell_id": cell.cell_id.hex(), "site": cell.site, "host": cell.host}

    async def _tell(self, _: Mapping[str, str], body: Json) -> Json:
        return await self._status.tell()

    async def _list_tenants(self, _: Mapping[str, str], body: Json) -> Json:
        found = await self._store.read(tenants.list_tenants)
        return {
            "tenants": [
                {
                    "name": each.name,
                    "tenant_id": each.tenant_id.hex(),
                    "created_ms": each.created_ms,
                    "objects": each.objects,
                    "logical_bytes": each.logical_bytes,
                }
                for each in found
            ]
        }

    async def _create_tenant(self, _: Mapping[str, str], body: Json) -> Json:
        name = _matching(body, "name", _NAME)
        tenant_id = _hex(body, "tenant_id", 16)
        key = _hex(body, "proof_key", PUBLIC_KEY_BYTES)
        if not is_sound_key(key):
            raise Refused(Refusal.BAD_VALUE, message="proof_key: not a public key of anybody")
        now_ms = int(self._clock.now() * 1000)
        await self._store.transact(lambda sql: tenants.create(sql, name, tenant_id, key, now_ms))
        self._log.info("tenant_created", name=name)
        return {"name": name, "tenant_id": tenant_id.hex()}

    async def _remove_tenant(self, names: Mapping[str, str], body: Json) -> None:
        await self._store.transact(lambda sql: tenants.remove(sql, names["name"]))
        self._log.warning("tenant_removed", name=names["name"])

    async def _list_keys(self, names: Mapping[str, str], body: Json) -> Json:
        found = await self._store.read(lambda sql: tenants.list_access_keys(sql, names["name"]))
        return {
            "keys": [
                {"access_key_id": each.access_key_id, "created_ms": each.created_ms}
                for each in found
            ]
        }

    async def _add_key(self, names: Mapping[str, str], body: Json) -> Json:
        access_key_id = _matching(body, "access_key_id", _ACCESS_KEY)
        try:
            sealed = base64.b64decode(body["sealed"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise Refused(Refusal.BAD_VALUE, message="sealed: not base64") from error
        if not sealed or len(sealed) > limits.MAX_SEALED_ACCESS_KEY_BYTES:
            raise Refused(
                Refusal.BAD_VALUE,
                message=f"sealed: 1 to {limits.MAX_SEALED_ACCESS_KEY_BYTES} bytes",
            )
        now_ms = int(self._clock.now() * 1000)
        await self._store.transact(
            lambda sql: tenants.add_access_key(sql, names["name"], access_key_id, sealed, now_ms)
        )
        self._log.info("access_key_added", tenant=names["name"], access_key_id=access_key_id)
        return {"access_key_id": access_key_id}

    async def _revoke_key(self, names: Mapping[str, str], body: Json) -> None:
        await self._store.transact(
            lambda sql: tenants.revoke_access_key(sql, names["name"], names["access_key_id"])
        )
        self._log.info(
            "access_key_revoked", tenant=names["name"], access_key_id=names["access_key_id"]
        )

    async def _accept_store(self, _: Mapping[str, str], body: Json) -> Json:
        given_up = await self._history.accept(self._store)
        if given_up:
            await self._end_all_leases()
        return {**self._history.tell(), "runs_given_up": given_up}

    async def _describe(self, _: Mapping[str, str], body: Json) -> Json:
        return describe(self.routes)


_KINDS: Final[Mapping[str, type]] = {"string": str, "integer": int, "boolean": bool}
_BAD_REQUEST: Final = frozenset(
    {Refusal.BAD_VALUE, Refusal.BAD_JSON, Refusal.BODY_TOO_LARGE, Refusal.BODY_TOO_SHORT}
)


async def _read_body(request: HttpRequest, fields: Mapping[str, Field]) -> Json:
    """The body's JSON object, its fields checked for presence and type.

    Raises:
        Refused: ``bad_json``, ``body_too_large``, ``bad_value``.
    """
    data = await read_body(request, limits.MAX_API_BODY_BYTES)
    if data is None:
        raise Refused(Refusal.BODY_TOO_LARGE, message=f"at most {limits.MAX_API_BODY_BYTES} bytes")
    try:
        body = json.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        raise Refused(Refusal.BAD_JSON, message="the body is not JSON") from error
    if not isinstance(body, dict):
        raise Refused(Refusal.BAD_JSON, message="the body is not a JSON object")
    for name in body:
        if name not in fields:
            raise Refused(Refusal.BAD_VALUE, message=f"{name}: no such field")
    for name, field in fields.items():
        if name not in body:
            if field.required:
                raise Refused(Refusal.BAD_VALUE, message=f"{name}: missing")
        elif type(body[name]) is not _KINDS[field.kind]:
            raise Refused(Refusal.BAD_VALUE, message=f"{name}: not of type {field.kind}")
    return body


def _matching(body: Json, name: str, pattern: re.Pattern[str]) -> str:
    value: str = body[name]
    if pattern.fullmatch(value) is None:
        raise Refused(Refusal.BAD_VALUE, message=f"{name}: must match {pattern.pattern}")
    return value


def _hex(body: Json, name: str, length: int) -> bytes:
    value: str = body[name]
    if re.fullmatch(f"[0-9a-fA-F]{{{2 * length}}}", value) is None:
        raise Refused(Refusal.BAD_VALUE, message=f"{name}: must be {2 * length} hex digits")
    return bytes.fromhex(value)


def _error(status: int, reason: str, message: str) -> HttpResponse:
    response = json_response(status, {"error": reason, "message": message})
    if status == 401:
        response.headers.append((b"www-authenticate", b"Bearer"))
    return response


def describe(routes: tuple[ApiRoute, ...]) -> Json:
    """The OpenAPI 3.1 document of a table of routes."""
    paths: dict[str, Json] = {}
    for route in routes:
        operation: Json = {
            "summary": route.about,
            "responses": {
                str(route.success): {"description": "done"},
                "401": {"description": "not the operator's token"},
            },
        }
        names = re.findall(r"\{(\w+)\}", route.path)
        if names:
            operation["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in names
            ]
            operation["responses"]["404"] = {"description": "no such thing"}
        if route.body:
            schema = {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    name: {"type": field.kind, "description": field.about}
                    for name, field in route.body.items()
                },
                "required": [name for name, field in route.body.items() if field.required],
            }
            operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
            operation["responses"]["400"] = {"description": "a field is missing or wrong"}
            operation["responses"]["409"] = {"description": "it conflicts with what there is"}
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Alveary coordinator", "version": "1"},
        "security": [{"operator": []}],
        "components": {"securitySchemes": {"operator": {"type": "http", "scheme": "bearer"}}},
        "paths": paths,
    }


def is_wildcard(address: Address) -> bool:
    """Return whether an address stands for every address of the machine, and so leads nowhere."""
    return address.host in ("0.0.0.0", "::", "")  # noqa: S104


def advertised_url(address: Address) -> str:
    """Return the URL of the API for tools on this machine; a wildcard host is shown as loopback."""
    host = "127.0.0.1" if is_wildcard(address) else address.host
    return f"http://{Address(host, address.port)}"
