from common.host.log import MAX_VALUE_CHARACTERS, LineLog, format_line, format_value


def test_a_line_says_when_where_and_what() -> None:
    line = format_line(1.5, "info", "cell", "joined", {"swarm": "home", "cells": 3})
    assert line == (
        "time=1970-01-01T00:00:01.500Z level=info service=cell event=joined swarm=home cells=3"
    )


def test_values_that_could_be_read_as_more_are_quoted() -> None:
    assert format_value("a b") == '"a b"'
    assert format_value('x="y"') == '"x=\\"y\\""'
    assert format_value("a\nlevel=error") == '"a\\nlevel=error"'
    assert format_value("") == '""'
    assert format_value("é") == '"\\u00e9"'


def test_values_have_their_plain_forms() -> None:
    assert format_value(True) == "true"
    assert format_value(None) == "None"
    assert format_value(b"\x01\xff") == "01ff"
    assert format_value(0.1 + 0.2) == "0.3"


def test_a_hostile_value_is_cut() -> None:
    assert len(format_value("x" * 1_000_000)) <= MAX_VALUE_CHARACTERS + 3
    assert len(format_value(b"x" * 1_000_000)) <= MAX_VALUE_CHARACTERS + 3


def test_each_event_is_one_write_of_one_line() -> None:
    written: list[str] = []
    log = LineLog("gateway", now=lambda: 0.0, write=written.append)
    log.info("a")
    log.warning("b", text="x\ny")
    log.error("c")
    assert [line.count("\n") for line in written] == [1, 1, 1]
    assert [line.split()[1] for line in written] == ["level=info", "level=warning", "level=error"]
