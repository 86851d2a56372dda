"""The operators' HTTP API: requests are routed by one table, and their bodies parsed.

Source: docs/operations.md, "Operator access".
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import unquote

from common.errors import AlvearyError, NotFound, Refused, Unavailable
from common.http.body import read_body
from common.http.health import json_response, method_not_allowed
from common.http.records import HttpRequest, HttpResponse
from common.ports import Log
from common.reasons import Outage, Refusal
from coordinator.api.openapi import describe
from coordinator.api.routes import ApiRoute, Json
from coordinator.policy.history import Standing
from coordinator.store.history import WHAT_TO_DO, StoreHistory

_KINDS: Final[Mapping[str, type]] = {
    "string": str,
    "integer": int,
    "boolean": bool,
    "array": list,
}
_BAD_REQUEST: Final = frozenset(
    {Refusal.BAD_VALUE, Refusal.BAD_JSON, Refusal.BODY_TOO_LARGE, Refusal.BODY_TOO_SHORT}
)


class Api:
    """Answers operators.

    Args:
        routes: of the operations, beside the route of their description.
        history: of the store that they work on; None: they only look.
        operator_token: what a request must show.
    """

    def __init__(
        self,
        routes: Sequence[ApiRoute],
        history: StoreHistory | None,
        operator_token: str,
        log: Log,
    ) -> None:
        own = ApiRoute("GET", "/v1/openapi.json", "This API, described.", self._describe, {})
        self._routes = (*routes, own)
        named = {(each.method, each.path) for each in self._routes}
        assert len(named) == len(self._routes), "two routes share a method and a path"
        self._history = history
        self._operator_token = operator_token
        self._log = log
        self._patterns = [
            (re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path)), route)
            for route in self._routes
        ]

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
        wanted = b"Bearer " + self._operator_token.encode("ascii")
        return hmac.compare_digest(given, wanted)

    async def _answer(
        self, request: HttpRequest, match: re.Match[str], route: ApiRoute
    ) -> HttpResponse:
        try:
            if (
                route.method != "GET"
                and self._history is not None
                and self._history.standing is Standing.BEHIND
                and not route.when_behind
            ):
                raise Unavailable(Outage.STORE_BEHIND, message=WHAT_TO_DO[Standing.BEHIND])
            names = {name: unquote(value) for name, value in match.groupdict().items()}
            body = await _read_body(request, route) if route.body else {}
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

    async def _describe(self, _: Mapping[str, str], body: Json) -> Json:
        return describe(self._routes)


async def _read_body(request: HttpRequest, route: ApiRoute) -> Json:
    """The body's JSON object, its fields checked for presence and type.

    Raises:
        Refused: ``bad_json``, ``body_too_large``, ``bad_value``.
    """
    fields = route.body
    data = await read_body(request, route.max_body_bytes)
    if data is None:
        raise Refused(Refusal.BODY_TOO_LARGE, message=f"at most {route.max_body_bytes} bytes")
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


def _error(status: int, reason: str, message: str) -> HttpResponse:
    response = json_response(status, {"error": reason, "message": message})
    if status == 401:
        response.headers.append((b"www-authenticate", b"Bearer"))
    return response
