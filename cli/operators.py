"""The coordinator's HTTP API, as the operator's tools use it.

Source: docs/operations.md, "Operator access".
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import click
import httpx
import trio

from common.errors import (
    AlvearyError,
    BadConfig,
    NotFound,
    OutcomeUnknown,
    Refused,
    Unavailable,
)
from common.reasons import ConfigFault, Outage, Refusal, Uncertainty

API_TIMEOUT_S: Final = 30.0
ROLE_TIMEOUT_S: Final = 2.0
"""For a coordinator of several to say whether it is active."""
OPERATOR_VARIABLE: Final = "ALVEARY_OPERATOR"
DEFAULT_DATA: Final = Path("alveary-data")
C = TypeVar("C", bound=Callable[..., Any])


class OperatorApi:
    """A coordinator, asked over HTTP with the operator's token. An async context manager.

    Args:
        url: of the coordinator's operators' listener.
        token: from operator.json; never shown.
        timeout_s: for an answer, everything together.
        transport: for a simulated network; the real one if not given.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout_s: float = API_TIMEOUT_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {token}"},
            timeout=timeout_s,
            transport=transport,
            trust_env=False,
        )
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._client)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def call(
        self, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> dict[str, Any]:
        """Ask and return the answer's JSON object.

        Raises:
            Unavailable: ``coordinator_unreachable``, or what a 5xx answer names.
            OutcomeUnknown: ``connection_lost``, ``call_timeout``: a call that changes something was
                sent, and no answer came; look whether it was carried out.
            NotFound: what a 404 answer names.
            Refused: what any other answer of 4xx names; ``unauthorized`` for 401 and 403.
        """
        response: httpx.Response | None = None
        try:
            with trio.move_on_after(self._timeout_s):  # httpx limits each step by itself
                response = await self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            if method != "GET" and not isinstance(error, httpx.ConnectError):
                raise OutcomeUnknown(
                    Uncertainty.CONNECTION_LOST,
                    message=f"the coordinator at {self.url} may have done it: it did not answer",
                    error=type(error).__name__,
                ) from error
            raise Unavailable(
                Outage.COORDINATOR_UNREACHABLE,
                message=f"no answer from the coordinator at {self.url}",
                error=type(error).__name__,
            ) from error
        if response is None:
            if method != "GET":
                raise OutcomeUnknown(
                    Uncertainty.CALL_TIMEOUT,
                    message=f"the coordinator at {self.url} may have done it: no answer came in"
                    f" {self._timeout_s:g} s",
                )
            raise Unavailable(
                Outage.COORDINATOR_UNREACHABLE,
                message=f"no answer from the coordinator at {self.url} in {self._timeout_s:g} s",
            )
        if response.is_success:
            answer: dict[str, Any] = response.json() if response.content else {}
            return answer
        raise _error_of(response)


def _error_of(response: httpx.Response) -> AlvearyError:
    try:
        answer = response.json()
    except ValueError:
        answer = {}
    if not isinstance(answer, dict):
        answer = {}
    reason = str(answer.get("error", f"http_{response.status_code}"))
    facts = {"message": str(answer["message"])} if answer.get("message") else {}
    if response.status_code in (401, 403):
        return Refused(
            Refusal.UNAUTHORIZED, message="the coordinator does not accept the operator token"
        )
    if response.status_code == 404:
        return NotFound.received(reason, facts)
    kind = Unavailable if response.status_code >= 500 else Refused
    return kind.received(reason, facts)


def read_operator_file(path: Path) -> tuple[str, str]:
    """The URL and the token of an operator.json.

    Raises:
        BadConfig: ``no_operator_file`` or ``bad_operator_file``.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return str(content["url"]), str(content["token"])
    except OSError as error:
        raise BadConfig(
            ConfigFault.NO_OPERATOR_FILE, message=f"cannot read {path}", error=error.strerror
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadConfig(ConfigFault.BAD_OPERATOR_FILE, file=str(path)) from error


def _role(path: Path) -> str:
    """The role of the coordinator of an operator file; empty where it does not say."""
    try:
        url, token = read_operator_file(path)
        headers = {"authorization": f"Bearer {token}"}
        answer = httpx.get(
            f"{url}/v1/status", headers=headers, timeout=ROLE_TIMEOUT_S, trust_env=False
        )
        return str(answer.json().get("role", ""))
    except (BadConfig, httpx.HTTPError, ValueError, AttributeError):
        return ""


def find_operator_file(operator: Path | None, data: Path | None) -> Path:
    """Return the path of the operator file: what was named, else the usual places; of several
    coordinators the one that is active.

    Args:
        operator: the file itself, if named.
        data: the directory of ``alveary up``, or a coordinator's own, if named.

    Raises:
        BadConfig: ``no_operator_file``.
    """
    if operator is not None:
        return operator
    if data is None and (named := os.environ.get(OPERATOR_VARIABLE)):
        return Path(named)
    base = DEFAULT_DATA if data is None else data
    of_sites = sorted(base.glob("coordinator-*/operator.json"))
    found = [
        each
        for each in (base / "coordinator" / "operator.json", base / "operator.json", *of_sites)
        if each.exists()
    ]
    if len(found) > 1:
        return next((each for each in found if _role(each) == "active"), found[0])
    if found:
        return found[0]
    raise BadConfig(ConfigFault.NO_OPERATOR_FILE, message=f"no operator.json below {base}")


def connect(
    operator: Path | None, data: Path | None, *, timeout_s: float = API_TIMEOUT_S
) -> OperatorApi:
    """The API of the coordinator whose operator.json is found."""
    url, token = read_operator_file(find_operator_file(operator, data))
    return OperatorApi(url, token, timeout_s=timeout_s)


def ask(
    operator: Path | None,
    data: Path | None,
    method: str,
    path: str,
    body: Mapping[str, object] | None = None,
    *,
    timeout_s: float = API_TIMEOUT_S,
) -> dict[str, Any]:
    """Make one call of the coordinator whose operator.json is found; return the answer.

    Raises:
        BadConfig: as :func:`find_operator_file` and :func:`read_operator_file`.
        AlvearyError: as :meth:`OperatorApi.call`.
    """

    async def call() -> dict[str, Any]:
        async with connect(operator, data, timeout_s=timeout_s) as api:
            return await api.call(method, path, body)

    return trio.run(call)


def access_options(command: C) -> C:
    """The flags of every operator's command: ``--operator``, ``--data``, ``--json``."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
        click.option(
            "--data",
            type=click.Path(path_type=Path, file_okay=False),
            help="The directory of `alveary up` or of the coordinator.",
        ),
        click.option(
            "--operator",
            type=click.Path(path_type=Path, dir_okay=False),
            help=f"The operator.json to use (or {OPERATOR_VARIABLE} in the environment).",
        ),
    ):
        command = option(command)
    return command
