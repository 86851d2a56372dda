"""Health and metrics over HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter

from common.http.body import read_body
from common.http.health import health_app
from common.http.records import BytesBody, Request, Response


def request(method: str, path: bytes, body: bytes = b"") -> Request:
    return Request(method, path, path, b"", [], BytesBody(body))


async def test_health_is_told_with_a_status_that_a_balancer_understands() -> None:
    facts: dict[str, Any] = {"cells": 3}

    async def health() -> Mapping[str, Any]:
        return facts

    app = health_app(CollectorRegistry(), health)
    answer = await app(request("GET", b"/healthz"))
    assert answer.status == 200
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body) == {"ok": True, "cells": 3}
    facts["ok"] = False
    assert (await app(request("GET", b"/healthz"))).status == 503
    assert (await app(request("POST", b"/healthz"))).status == 405
    assert (await app(request("GET", b"/other"))).status == 404


async def test_metrics_are_shown_and_other_paths_go_on() -> None:
    registry = CollectorRegistry()
    Counter("alveary_things", "Things.", registry=registry).inc(3)

    async def health() -> Mapping[str, Any]:
        return {}

    async def otherwise(_request: Request) -> Response:
        return Response(418)

    app = health_app(registry, health, otherwise=otherwise)
    answer = await app(request("GET", b"/metrics"))
    assert isinstance(answer.body, bytes)
    assert b"alveary_things_total 3.0" in answer.body
    assert (await app(request("GET", b"/other"))).status == 418


async def test_a_body_is_read_whole_up_to_a_limit() -> None:
    assert await read_body(request("PUT", b"/", b"abc"), 3) == b"abc"
    assert await read_body(request("PUT", b"/", b"abcd"), 3) is None
    assert await read_body(request("PUT", b"/"), 3) == b""
