import json
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing
from click.testing import CliRunner

from cli.operators import OperatorApi, find_operator_file, read_operator_file
from cli.tenants import tenant
from common.errors import (
    AlvearyError,
    BadConfig,
    NotFound,
    OutcomeUnknown,
    Refused,
    Unavailable,
)


def api(answer: httpx.Response | Exception) -> OperatorApi:
    def handle(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer secret"
        if isinstance(answer, Exception):
            raise answer
        return answer

    return OperatorApi("http://coordinator", "secret", transport=httpx.MockTransport(handle))


async def test_an_answer_is_its_json_object() -> None:
    async with api(httpx.Response(200, json={"token": "t"})) as coordinator:
        assert await coordinator.call("POST", "/v1/invites", {}) == {"token": "t"}


@pytest.mark.fault("F12")
async def test_a_coordinator_that_hangs_is_said_to_be_unreachable_within_the_time_given(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def hang(request: httpx.Request) -> httpx.Response:
        await trio.sleep(1000)
        return httpx.Response(200)

    transport = httpx.MockTransport(hang)
    began = trio.current_time()
    async with OperatorApi("http://c", "secret", timeout_s=5, transport=transport) as coordinator:
        with pytest.raises(Unavailable, match="coordinator_unreachable") as caught:
            await coordinator.call("GET", "/v1/status")
    assert "http://c in 5 s" in str(caught.value)
    assert trio.current_time() - began < 6


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.ConnectError("refused"), Unavailable),
        (httpx.ReadError("reset"), OutcomeUnknown),
        (httpx.ReadTimeout("late"), OutcomeUnknown),
    ],
)
async def test_a_change_that_was_sent_and_not_answered_may_have_been_made(
    answer: Exception, kind: type[AlvearyError]
) -> None:
    async with api(answer) as coordinator:
        with pytest.raises(kind):
            await coordinator.call("POST", "/v1/tenants", {})
        with pytest.raises(Unavailable):
            await coordinator.call("GET", "/v1/tenants")


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        (httpx.ConnectError("refused"), 0),
        (httpx.Response(409, json={"error": "tenant_exists"}), 0),
        (httpx.ReadTimeout("late"), 1),
    ],
)
def test_the_key_of_a_tenant_that_may_exist_stays(
    answer: httpx.Response | Exception,
    left: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cli.operators.connect", lambda *_, **__: api(answer))
    command = ["create", "keeper", "--tenants", str(tmp_path)]
    result = CliRunner().invoke(tenant, command)
    assert isinstance(result.exception, AlvearyError)
    assert len(list(tmp_path.iterdir())) == left
    assert (f"stays in {tmp_path}" in result.stderr) == bool(left)


async def test_an_answer_without_a_body_is_an_empty_object() -> None:
    async with api(httpx.Response(204)) as coordinator:
        assert await coordinator.call("DELETE", "/v1/x") == {}


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (httpx.Response(404, json={"error": "no_such_tenant"}), NotFound, "no_such_tenant"),
        (httpx.Response(409, json={"error": "tenant_exists"}), Refused, "tenant_exists"),
        (httpx.Response(503, json={"error": "no_ring"}), Unavailable, "no_ring"),
        (httpx.Response(401), Refused, "unauthorized"),
        (httpx.Response(500, text="<html>"), Unavailable, "http_500"),
        (httpx.Response(400, json=[1]), Refused, "http_400"),
        (httpx.ConnectError("refused"), Unavailable, "coordinator_unreachable"),
    ],
)
async def test_an_answer_that_is_an_error_is_raised_as_ours(
    answer: httpx.Response | Exception, kind: type[AlvearyError], reason: str
) -> None:
    async with api(answer) as coordinator:
        with pytest.raises(kind) as caught:
            await coordinator.call("GET", "/v1/status")
    assert caught.value.reason == reason
    assert "secret" not in str(caught.value)


def test_the_operator_file_is_found_in_a_swarm_and_in_a_coordinator_directory(
    tmp_path: Path,
) -> None:
    (tmp_path / "coordinator").mkdir()
    path = tmp_path / "coordinator" / "operator.json"
    path.write_text(json.dumps({"url": "http://x", "token": "t"}))
    assert find_operator_file(None, tmp_path) == path
    assert find_operator_file(None, tmp_path / "coordinator") == path
    assert read_operator_file(path) == ("http://x", "t")


@pytest.mark.parametrize("content", ["", "{}", "[]"])
def test_a_damaged_operator_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "operator.json"
    path.write_text(content)
    with pytest.raises(BadConfig):
        read_operator_file(path)


def test_no_operator_file_says_which_flags_name_one(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="no_operator_file"):
        find_operator_file(None, tmp_path)
