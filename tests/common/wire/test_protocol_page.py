"""docs/protocol.md says what the code says.

Run this file as a program to bring the tables of the page up to date.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import sys
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from common import limits, reasons
from common.errors import BY_WIRE_CODE, BadConfig
from common.rpc.protocol.states import Role, table_text
from common.wire import messages
from common.wire.frame import LIMITS, FrameKind
from common.wire.messages import REQUESTS
from common.wire.messages.base import Idempotency, Reply, Request, TenantScope
from common.wire.records import Record, _Shape, _shape

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "protocol.md"
VECTORS = json.loads((ROOT / "tests" / "vectors" / "messages.json").read_text())
ANSWERERS = (
    (16, "every daemon"),
    (32, "cell"),
    (48, "coordinator, asked by cells"),
    (1 << 16, "coordinator, asked by gateways"),
)
SHOWN_LIMITS = (
    "FRAME_STAGING_BYTES",
    "MAX_CONTROL_HEADER_BYTES",
    "MAX_FRAME_HEADER_BYTES",
    "MAX_FRAME_PAYLOAD_BYTES",
    "MAX_CALLS_IN_FLIGHT_PER_CONNECTION",
    "MAX_CONNECTIONS_PER_LISTENER",
    "MAX_CONNECTIONS_PER_COORDINATOR",
    "MAX_CONNECTIONS_PER_CALLER",
    "MAX_STRANGERS",
    "STRANGER_GRACE_S",
    "MAX_CALLS_OF_A_STRANGER",
    "OUTBOX_BYTES",
    "SEND_BATCH_BYTES",
    "CONNECT_TIMEOUT_S",
    "HANDSHAKE_TIMEOUT_S",
    "CALL_TIMEOUT_S",
    "FRAME_TIMEOUT_S",
    "SEND_TIMEOUT_S",
    "PROBE_AFTER_S",
    "DEAD_AFTER_S",
    "IMPATIENT_PROBE_AFTER_S",
    "IDLE_CONNECTION_TIMEOUT_S",
    "RECONNECT_MIN_S",
    "RECONNECT_MAX_S",
    "UNREACHABLE_PATIENCE_S",
)


def shape_text(shape: _Shape) -> str:
    if shape.kind is tuple:
        assert shape.item is not None
        text = f"list of {shape_text(shape.item)}, ≤ {shape.most:,}"
    elif shape.kind in (bytes, str):
        name = "bytes" if shape.kind is bytes else "text"
        text = f"{shape.exact} {name}" if shape.exact is not None else f"{name} ≤ {shape.most:,}"
    else:
        text = shape.kind.__name__
    return f"{text} or nil" if shape.optional else text


def fields_text(record: type[Record]) -> str:
    hints = typing.get_type_hints(record, include_extras=True)
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(record)
    each = (f"`{field.name}` {shape_text(_shape(hints[field.name]))}" for field in fields)
    return "; ".join(each) or "none"


def requests_text() -> str:
    lines = [
        "| code | request | answered by | made again | tenants | fields | reply |",
        "|---|---|---|---|---|---|---|",
    ]
    for code, request in sorted(REQUESTS.items()):
        answerer = next(name for below, name in ANSWERERS if code < below)
        lines.append(
            f"| {code} | {request.__name__} | {answerer} | {request.idempotency.value} "
            f"| {request.tenant_scope.value} | {fields_text(request)} | {request.reply.__name__} |"
        )
    return "\n".join(lines)


def records_text() -> str:
    lines = ["| record | fields |", "|---|---|"]
    for name, record in sorted(vars(messages).items()):
        if (
            isinstance(record, type)
            and issubclass(record, Record)
            and not issubclass(record, Request)
            and record not in (Record, Reply)
        ):
            lines.append(f"| {name} | {fields_text(record)} |")
    return "\n".join(lines)


def kinds_text() -> str:
    lines = ["| kind | number | header ≤ bytes | payload ≤ bytes |", "|---|---|---|---|"]
    lines += [
        f"| {kind.name} | {kind.value} | {LIMITS[kind].header_bytes:,} "
        f"| {LIMITS[kind].payload_bytes:,} |"
        for kind in FrameKind
    ]
    return "\n".join(lines)


def limits_text() -> str:
    lines = ["| limit | value |", "|---|---|"]
    lines += [f"| `{name}` | {getattr(limits, name):,} |" for name in SHOWN_LIMITS]
    return "\n".join(lines)


GIVERS: Mapping[str, tuple[str, ...]] = {
    "either side, of frames and records": ("common/rpc/protocol", "common/wire"),
    "the caller's own end, and any answerer": (
        "common/rpc/peers.py",
        "common/rpc/peer_connection.py",
        "common/rpc/answering.py",
        "common/rpc/receiving.py",
        "common/rpc/coordinators.py",
        "common/rpc/server.py",
        "common/rpc/server_connection.py",
        "common/system/network.py",
        "common/system/tls.py",
    ),
    "a cell": ("cell", "common/crypto/orders.py"),
    "a coordinator": ("coordinator",),
}


def given_by(file: Path) -> set[tuple[str, str]]:
    """Enumeration and word of every reason that an error is made with: a first argument."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and node.args:
            first = node.args[0]
            for each in (first.body, first.orelse) if isinstance(first, ast.IfExp) else (first,):
                if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name):
                    kind = getattr(reasons, each.value.id, None)
                    if isinstance(kind, type) and issubclass(kind, reasons.Reason):
                        found.add((kind.__name__, kind[each.attr].value))
    return found


def reasons_text() -> str:
    lines = ["| who | class | reasons |", "|---|---|---|"]
    for giver, places in GIVERS.items():
        found: set[tuple[str, str]] = set()
        for place in places:
            path = ROOT / place
            for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
                found |= given_by(file)
        for error in BY_WIRE_CODE.values():
            if error is BadConfig:  # of files and flags: it does not cross the wire
                continue
            words = sorted(name for kind, name in found if kind == error.reasons.__name__)
            if words:
                listed = " ".join(f"`{word}`" for word in words)
                lines.append(f"| {giver} | {error.__name__} | {listed} |")
    return "\n".join(lines)


TABLES: Mapping[str, Callable[[], str]] = {
    "caller states": lambda: table_text(Role.CALLER),
    "answerer states": lambda: table_text(Role.ANSWERER),
    "kinds": kinds_text,
    "requests": requests_text,
    "records": records_text,
    "reasons": reasons_text,
    "limits": limits_text,
}


def marked(name: str) -> re.Pattern[str]:
    return re.compile(f"(<!-- table: {name} -->\n)(.*?)(\n<!-- end -->)", re.DOTALL)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_the_page_is_what_the_code_says(name: str) -> None:
    found = marked(name).search(PAGE.read_text())
    assert found is not None, f"docs/protocol.md has no table {name!r}"
    assert found[2] == TABLES[name](), f"run {Path(__file__).name} as a program"


def test_every_wire_code_is_on_the_page() -> None:
    text = PAGE.read_text()
    for code, error in BY_WIRE_CODE.items():
        assert f"| {code} | {error.__name__} |" in text


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["message"])
def test_a_frozen_message_is_still_understood(vector: dict[str, Any]) -> None:
    message = getattr(messages, vector["message"])
    assert getattr(message, "code", None) == vector["code"]
    data = bytes.fromhex(vector["packed"])
    record = message.unpack(data)
    # Fields that were added since stand after those that were frozen.
    assert repr(record).startswith(vector["record"].rstrip(")"))
    if repr(record) == vector["record"]:
        assert record.pack() == data


def test_every_message_is_frozen() -> None:
    frozen = {vector["message"] for vector in VECTORS}
    assert {request.__name__ for request in REQUESTS.values()} <= frozen


def test_a_request_that_does_not_say_whether_it_may_be_made_again_cannot_be_defined() -> None:
    complete: dict[str, Any] = {
        "code": 1,
        "reply": Reply,
        "idempotency": Idempotency.ASKS,
        "tenant_scope": TenantScope.NONE,
    }
    type("Complete", (Request,), complete)
    for name in ("reply", "idempotency", "tenant_scope"):
        lacking = {key: value for key, value in complete.items() if key != name}
        with pytest.raises(AssertionError, match=name):
            type("Lacking", (Request,), lacking)


def write_page() -> None:
    text = PAGE.read_text()
    for name, table in TABLES.items():
        found = marked(name).search(text)
        assert found is not None
        text = text[: found.start(2)] + table() + text[found.end(2) :]
    PAGE.write_text(text)


if __name__ == "__main__":
    sys.exit(write_page())
