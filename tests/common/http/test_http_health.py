"""Health and metrics over HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from common.errors import Unavailable
from common.http.body import read_body
from common.http.health import health_app
from common.http.records import BytesBody, HttpRequest, HttpResponse
from common.reasons import Outage


def request(method: str, path: bytes, body: bytes = b"") -> HttpRequest:
    return HttpRequest(method, path, path, b"", [], BytesBody(body))


@pytest.mark.fault("F7")
async def test_readiness_has_a_status_that_a_balancer_understands_and_liveness_is_apart() -> None:
    facts: dict[str, Any] = {"cells": 3}
    failure: list[Unavailable] = []

    async def health() -> Mapping[str, Any]:
        for each in failure:
            raise each
        return facts

    app = health_app(CollectorRegistry(), health)

    async def ask(path: bytes) -> tuple[int, Any]:
        answer = await app(request("GET", path))
        assert isinstance(answer.body, bytes)
        return answer.status, json.loads(answer.body)

    assert await ask(b"/healthz") == (200, {"ok": True, "ready": True, "cells": 3})
    assert await ask(b"/readyz") == (200, {"ready": True, "cells": 3})
    facts["ok"] = False
    assert await ask(b"/healthz") == (200, {"ok": True, "ready": False, "cells": 3})
    assert await ask(b"/readyz") == (503, {"ready": False, "cells": 3})
    failure.append(Unavailable(Outage.STORE_FAILED))
    assert await ask(b"/healthz") == (200, {"ok": True, "ready": False, "reason": "store_failed"})
    assert await ask(b"/readyz") == (503, {"ready": False, "reason": "store_failed"})
    for path in (b"/healthz", b"/readyz"):
        assert (await app(request("POST", path))).status == 405
    assert (await app(request("GET", b"/other"))).status == 404


async def test_metrics_are_shown_and_other_paths_go_on() -> None:
    registry = CollectorRegistry()
    Counter("alveary_things", "Things.", registry=registry).inc(3)

    async def health() -> Mapping[str, Any]:
        return {}

    async def otherwise(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(418)

    app = health_app(registry, health, otherwise=otherwise)
    answer = await app(request("GET", b"/metrics"))
    assert isinstance(answer.body, bytes)
    assert b"alveary_things_total 3.0" in answer.body
    assert (await app(request("GET", b"/other"))).status == 418


async def test_a_body_is_read_whole_up_to_a_limit() -> None:
    assert await read_body(request("PUT", b"/", b"abc"), 3) == b"abc"
    assert await read_body(request("PUT", b"/", b"abcd"), 3) is None
    assert await read_body(request("PUT", b"/"), 3) == b""
