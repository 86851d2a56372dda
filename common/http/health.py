"""``/healthz``, ``/readyz`` and ``/metrics``: what every daemon answers over HTTP.

Source: docs/operations.md, "Metrics and health".
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from common.errors import AlvearyError
from common.http.records import Handler, HttpRequest, HttpResponse

Health: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
"""Facts about a daemon, JSON-like; ``"ok": False`` among them means that it is not ready. May raise
an AlvearyError: then it is not ready either."""


def json_response(status: int, value: object) -> HttpResponse:
    """An answer of JSON."""
    return HttpResponse(
        status,
        [(b"content-type", b"application/json"), (b"cache-control", b"no-store")],
        json.dumps(value, separators=(",", ":")).encode("utf-8") + b"\n",
    )


def method_not_allowed(*allowed: str) -> HttpResponse:
    """405 with the methods that would do."""
    return HttpResponse(405, [(b"allow", ", ".join(allowed).encode("ascii"))])


def health_app(
    registry: CollectorRegistry, health: Health, *, otherwise: Handler | None = None
) -> Handler:
    """A handler that answers ``GET /healthz``, ``GET /readyz`` and ``GET /metrics``.

    ``/healthz`` is liveness: 200 as long as the daemon answers at all, whatever it cannot do now,
    because to start it again would mend none of that. ``/readyz`` is readiness: 200 while it can
    do its whole work, else 503. Both carry the daemon's facts, with ``ready``.

    Args:
        registry: the daemon's metrics.
        health: asked each time. Must be quick.
        otherwise: answers every other path; without it they are 404.

    Returns:
        A handler for :func:`common.http.server.serve_http`.
    """

    async def handle(request: HttpRequest) -> HttpResponse:
        if request.path not in {b"/healthz", b"/readyz", b"/metrics"}:
            return await otherwise(request) if otherwise is not None else HttpResponse(404)
        if request.method not in {"GET", "HEAD"}:
            return method_not_allowed("GET", "HEAD")
        if request.path != b"/metrics":
            facts = await _facts(health)
            if request.path == b"/healthz":
                return json_response(200, {"ok": True, **facts})
            return json_response(200 if facts["ready"] else 503, facts)
        return HttpResponse(
            200,
            [(b"content-type", CONTENT_TYPE_LATEST.encode("ascii"))],
            generate_latest(registry),
        )

    return handle


async def _facts(health: Health) -> dict[str, Any]:
    try:
        facts = dict(await health())
    except AlvearyError as error:
        return {"ready": False, "reason": str(error)}
    return {"ready": bool(facts.pop("ok", True)), **facts}
