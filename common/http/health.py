"""``/healthz`` and ``/metrics``: what every daemon answers over HTTP.

Source: docs/operations.md, "Watching".
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from common.http.records import Handler, Request, Response

Health: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
"""Facts about a daemon's health, JSON-like; ``"ok": False`` among them makes the status 503."""


def json_response(status: int, value: object) -> Response:
    """An answer of JSON."""
    return Response(
        status,
        [(b"content-type", b"application/json"), (b"cache-control", b"no-store")],
        json.dumps(value, separators=(",", ":")).encode("utf-8") + b"\n",
    )


def method_not_allowed(*allowed: str) -> Response:
    """405 with the methods that would do."""
    return Response(405, [(b"allow", ", ".join(allowed).encode("ascii"))])


def health_app(
    registry: CollectorRegistry, health: Health, *, otherwise: Handler | None = None
) -> Handler:
    """A handler that answers ``GET /healthz`` and ``GET /metrics``.

    Args:
        registry: the daemon's metrics.
        health: asked for each ``/healthz``; 200 with its facts, 503 when ``ok`` is among them and
            false. Must be quick.
        otherwise: answers every other path; without it they are 404.

    Returns:
        A handler for :func:`common.http.server.serve_http`.
    """

    async def handle(request: Request) -> Response:
        if request.path not in {b"/healthz", b"/metrics"}:
            return await otherwise(request) if otherwise is not None else Response(404)
        if request.method not in {"GET", "HEAD"}:
            return method_not_allowed("GET", "HEAD")
        if request.path == b"/healthz":
            facts = dict(await health())
            facts.setdefault("ok", True)
            return json_response(200 if facts["ok"] else 503, facts)
        return Response(
            200,
            [(b"content-type", CONTENT_TYPE_LATEST.encode("ascii"))],
            generate_latest(registry),
        )

    return handle
