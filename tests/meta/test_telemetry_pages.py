"""docs/metrics.md and docs/log-events.md list what the daemons export and log: run this file as a
program to write them again."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client import CollectorRegistry
from source_tree import ROOT, SERVICES, modules, name_of, tree

import cell.metrics
import coordinator.metrics
import gateway_s3.metrics

LEVELS = ("info", "warning", "error")
KINDS = ("Counter", "Gauge", "Histogram")

METRICS_HEAD = """# Metrics

Every daemon answers `GET /metrics` at its `http` address in Prometheus' text format. Labels are
names that the program chooses, never what a client sends, so the number of series is bounded.
Counters get `_total` behind the name. This page is made from the code
(`tests/meta/test_telemetry_pages.py`).

| metric | kind | of | what it is |
|---|---|---|---|
"""
EVENTS_HEAD = """# Log events

One line of logfmt for each event ([operations](operations.md#logs)). `info`: as it should be;
`warning`: dealt with, worth knowing; `error`: act. This page is made from the code
(`tests/meta/test_telemetry_pages.py`).

| level | event | fields | logged by |
|---|---|---|---|
"""


class Metric(NamedTuple):
    name: str
    kind: str
    daemon: str
    about: str


def registered() -> Iterator[Metric]:
    registries: tuple[tuple[str, CollectorRegistry], ...] = (
        ("cell", cell.metrics.CellMetrics().registry),
        ("coordinator", coordinator.metrics.CoordinatorMetrics().registry),
        ("gateway", gateway_s3.metrics.GatewayMetrics().registry),
    )
    for daemon, registry in registries:
        for family in registry.collect():
            yield Metric(family.name, family.type, daemon, family.documentation)


def text_of(node: ast.expr) -> str:
    """A constant text; a formatted one with its blanks named."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "<name>" for part in node.values
        )
    if isinstance(node, ast.IfExp):
        return f"{text_of(node.body)} or {text_of(node.orelse)}"
    return ""


def watched() -> Iterator[Metric]:
    """Gauges and counts that a service adds to its registry, in its composition."""
    for path in modules(*SERVICES):
        for node in ast.walk(tree(path)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute | ast.Name)
                and len(node.args) >= 2
                and re.fullmatch(r"alveary_\w+", text_of(node.args[0]))
            ):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
                daemon = path.relative_to(ROOT).parts[0].replace("gateway_s3", "gateway")
                kind = "counter" if called == "watch_count" else "gauge"
                kind = called.lower() if called in KINDS else kind
                yield Metric(text_of(node.args[0]), kind, daemon, text_of(node.args[1]))


def metrics_page() -> str:
    rows = {(each.name, each.daemon): each for each in (*watched(), *registered())}
    lines = [
        f"| `{each.name}` | {each.kind} | {each.daemon} | {each.about} |"
        for each in sorted(rows.values())
    ]
    return METRICS_HEAD + "\n".join(lines) + "\n"


def events() -> Iterator[tuple[str, str, str, str]]:
    for path in modules(*SERVICES):
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.Call):
                continue
            level, event = event_of(node)
            if event:
                fields = " ".join(f"`{each.arg}`" for each in node.keywords if each.arg)
                yield level, event, fields, name_of(path)


def event_of(call: ast.Call) -> tuple[str, str]:
    """The level and the name of the event that a call logs; empty for other calls, and for those
    that pass on what their caller names."""
    if isinstance(call.func, ast.Name) and call.func.id == "log_fault":
        return "error", text_of(call.args[1])
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in LEVELS or not call.args:
        return "", ""
    owner = call.func.value
    owner_name = getattr(owner, "attr", getattr(owner, "id", ""))
    return (call.func.attr, text_of(call.args[0])) if owner_name.strip("_") == "log" else ("", "")


def events_page() -> str:
    order = {level: number for number, level in enumerate(reversed(LEVELS))}
    rows = sorted(set(events()), key=lambda row: (order[row[0]], *row[1:]))
    lines = [
        f"| {level} | `{event}` | {fields} | `{path}` |" for level, event, fields, path in rows
    ]
    return EVENTS_HEAD + "\n".join(lines) + "\n"


PAGES = {"metrics.md": metrics_page, "log-events.md": events_page}


def test_events_are_found() -> None:
    assert len(set(events())) > 50


def test_every_metric_says_what_it_is() -> None:
    assert all(each.about and each.name for each in (*watched(), *registered()))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_what_the_code_says(page: str) -> None:
    written = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert written == PAGES[page](), f"run {Path(__file__).name} as a program"


if __name__ == "__main__":
    for name, make in PAGES.items():
        (ROOT / "docs" / name).write_text(make(), encoding="utf-8")
