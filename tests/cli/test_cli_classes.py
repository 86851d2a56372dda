"""`alveary class`, `alveary bucket`, and the classes in `alveary status`."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

import cli.classes
from cli.classes import describe_class, describe_quota
from cli.main import alveary
from cli.status import SHOWN_BUCKETS, describe, describe_buckets

HELD = {"objects": 3, "logical_bytes": 2048, "most_objects": 10, "most_bytes": None}
COLD = {"name": "COLD", "redundancy": "2/4", "write_quorum": 3, "sites": ["a", "b"]}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is asked of the coordinator; it answers with a class and a bucket."""
    calls: list[tuple[Any, ...]] = []

    def ask(_operator: object, _data: object, method: str, path: str, body: Any = None) -> Any:
        calls.append((method, path, body))
        return {
            **COLD,
            "classes": [{**COLD, "buckets": 2, "names": ["STANDARD_IA", "ONEZONE_IA"]}],
            "buckets": [{"name": "b", "storage_class": "COLD", **HELD}],
            **HELD,
        }

    monkeypatch.setattr(cli.classes, "ask", ask)
    return calls


def run(*arguments: str) -> str:
    done = CliRunner().invoke(alveary, list(arguments))
    assert done.exit_code == 0, done.output
    return done.output


def test_a_class_is_made_with_its_sites(asked: list[tuple[Any, ...]]) -> None:
    shown = run("class", "create", "COLD", "--redundancy", "2/4", "--site", "a", "--site", "b")
    assert shown == "made: COLD: 2/4 on a, b\n"
    run("class", "create", "X", "--redundancy", "1/2", "--write-quorum", "1")
    assert asked == [
        ("POST", "/v1/classes", {"name": "COLD", "redundancy": "2/4", "sites": ["a", "b"]}),
        (
            "POST",
            "/v1/classes",
            {"name": "X", "redundancy": "1/2", "sites": [], "write_quorum": 1},
        ),
    ]
    assert describe_class({**COLD, "sites": []}) == "COLD: 2/4 on all sites"


def test_classes_and_buckets_are_listed(asked: list[tuple[Any, ...]]) -> None:
    assert run("class", "list").splitlines()[1].split() == [
        *("COLD", "2/4", "3", "a,", "b", "2", "STANDARD_IA,", "ONEZONE_IA")
    ]
    assert run("bucket", "list").splitlines()[1].split() == [
        *("b", "COLD", "3", "2.0", "KiB", "10", "objects")
    ]
    assert [path for _, path, _ in asked] == ["/v1/classes", "/v1/buckets"]


def test_a_bucket_gets_a_class_and_a_class_is_removed(asked: list[tuple[Any, ...]]) -> None:
    assert "new objects take class COLD" in run("bucket", "class", "b", "COLD")
    assert run("class", "remove", "CO/LD") == "removed: storage class CO/LD\n"
    assert asked == [
        ("POST", "/v1/buckets/b/class", {"storage_class": "COLD"}),
        ("DELETE", "/v1/classes/CO%2FLD", None),
    ]


def test_a_name_leads_to_a_class_or_nowhere(asked: list[tuple[Any, ...]]) -> None:
    assert run("class", "name", "STANDARD_IA", "COLD") == "STANDARD_IA: class COLD\n"
    assert run("class", "name", "STANDARD_IA", "--none") == "STANDARD_IA: the class of the bucket\n"
    assert asked == [
        ("POST", "/v1/class-names/STANDARD_IA", {"storage_class": "COLD"}),
        ("DELETE", "/v1/class-names/STANDARD_IA", None),
    ]
    for wrong in (
        ("STANDARD", "COLD"),
        ("GLACIER", "COLD"),
        ("STANDARD_IA",),
        ("STANDARD_IA", "COLD", "--none"),
    ):
        assert CliRunner().invoke(alveary, ["class", "name", *wrong]).exit_code == 2
    assert len(asked) == 2


def test_status_shows_classes_where_there_is_more_than_one() -> None:
    standard = {
        "name": "STANDARD",
        "redundancy": "4/6",
        "sites": [],
        "buckets": 1,
        "written_as": "4/6",
        "writable": True,
        "cells": 9,
        "cells_needed": 6,
    }
    cold = {**standard, "name": "COLD", "sites": ["a"], "writable": False, "cells": 3}
    fallen = {**standard, "name": "HOT", "written_as": "2/4"}
    text = describe({"classes": [standard, cold, fallen]})
    assert "NOT WRITABLE: too few cells on its sites" in text
    assert "written as 2/4" in text
    assert "3 of 6" in text
    assert "STANDARD" not in describe({"classes": [standard]})


def test_each_bucket_is_said_to_survive_its_worst_site_or_not() -> None:
    safe = {
        "bucket": "safe",
        "segments": 9,
        "margin": 2,
        "unreadable": 0,
        "site": "Bologna",
        "after": 0,
        "unreadable_after": 0,
        "buckets": 1,
    }
    bare = {**safe, "bucket": "bare", "after": -1, "unreadable_after": 4}
    gone = {**safe, "bucket": "gone", "site": "", "unreadable": 3}
    others = {**safe, "bucket": "(others)", "buckets": 7}
    assert describe_buckets([bare, gone, safe, others]) == [
        "bucket bare: if site Bologna fails now: 4 of 9 segments CANNOT BE READ without it",
        "bucket gone: 3 SEGMENTS MAY NOT BE READABLE NOW; if a site fails now: nothing lost,"
        " margin 0",
        "bucket safe: if site Bologna fails now: nothing lost, margin 0",
        "7 buckets: if site Bologna fails now: nothing lost, margin 0",
    ]
    many = describe_buckets([safe] * SHOWN_BUCKETS + [safe, others])
    assert many[-1] == "(8 more buckets, none of them worse)"
    assert describe_buckets(None) == []


def test_a_bucket_gets_a_quota_and_loses_it(asked: list[tuple[Any, ...]]) -> None:
    shown = run("bucket", "quota", "b", "--bytes", "1.5GiB", "--objects", "10")
    assert shown == "bucket b: quota 10 objects; it holds 3 objects, 2.0 KiB\n"
    run("bucket", "quota", "b", "--bytes", "0")
    run("bucket", "quota", "b", "--none")
    path = "/v1/buckets/b/quota"
    assert asked == [
        ("POST", path, {"bytes": 3 << 29, "objects": 10}),
        ("POST", path, {"bytes": 0}),
        ("POST", path, {}),
    ]
    for wrong in ((), ("--none", "--objects", "1"), ("--bytes", "much"), ("--objects", "-1")):
        done = CliRunner().invoke(alveary, ["bucket", "quota", "b", *wrong])
        assert done.exit_code == 2, wrong
    assert describe_quota({"most_objects": None, "most_bytes": 5}) == "5 B"
    assert describe_quota({"most_objects": None, "most_bytes": None}) == "none"
