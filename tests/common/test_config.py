"""Keys of configurations: what a parser takes, and what it says that it wants."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import PurePosixPath
from typing import Any

import pytest

from common import config
from common.config import Parser, key
from common.errors import BadConfig
from common.limits import MAX_COORDINATOR_ADDRESSES
from common.ports import Address


class Colour(Enum):
    RED = "red"
    GREEN = "green"
    BLUE = "blue"


@dataclass(frozen=True)
class Small:
    data: str = field(metadata=key(config.path, "Where.", is_path=True))
    count: int | None = field(default=None, metadata=key(config.whole_number(1, 9), "How many."))


@pytest.mark.parametrize(
    ("parser", "value", "meant"),
    [
        (config.any_string, "", ""),
        (config.boolean, True, True),
        (config.boolean, "false", False),
        (config.address, "[::1]:80", Address("::1", 80)),
        (config.address, Address("a", 1), Address("a", 1)),
        (config.addresses(), "a:1", (Address("a", 1),)),
        (config.addresses(), [], ()),
        (config.whole_number(0, 5), 5, 5),
        (config.size(0, 10**9), "1.5 KiB", 1536),
        (config.size(0, 10**9), 17, 17),
        (config.one_of(Colour), "red", Colour.RED),
        (config.one_of(Colour), Colour.RED, Colour.RED),
        (config.list_of(config.label, "names"), ["a", ""], ("a", "")),
    ],
)
def test_a_value_becomes_what_it_means(parser: Parser, value: Any, meant: Any) -> None:
    assert parser("k", value) == meant


@pytest.mark.parametrize(
    ("parser", "value", "wanted"),
    [
        (config.any_string, 5, "a string"),
        (config.any_string, "a\0", "a string"),
        (config.path, "", "a path"),
        (config.label, "x" * 256, "at most 255 characters"),
        (config.boolean, 1, "true or false"),
        (config.boolean, [], "true or false"),
        (config.address, "::1:80", "host:port"),
        (config.address, None, "host:port"),
        (config.addresses(least=1), [], f"1 to {MAX_COORDINATOR_ADDRESSES} addresses"),
        (config.whole_number(0, 5), 6, "a whole number, 0 to 5"),
        (config.whole_number(0, 5), True, "a whole number, 0 to 5"),
        (config.size(0, 5), "much", "a size such as 500GB or 2TiB"),
        (config.size(0, 5), "1k", "a whole number, 0 to 5"),
        (config.one_of(Colour), "pink", "red, green or blue"),
        (config.one_of(Colour), [], "red, green or blue"),
        (config.list_of(config.label, "names"), "a", "names"),
        (config.peer_id, "ab", "64 hex digits"),
    ],
)
def test_a_bad_value_is_refused_with_what_is_wanted(
    parser: Parser, value: Any, wanted: str
) -> None:
    with pytest.raises(BadConfig) as caught:
        parser("k", value)
    assert caught.value.fields == {"key": "k", "wanted": wanted}


def test_a_table_is_checked_for_its_keys() -> None:
    assert config.parse(Small, {"data": "x", "count": None}) == Small("x")
    for table, reason in (({"dada": 1}, "unknown_key"), ({"count": 1}, "missing_key")):
        with pytest.raises(BadConfig, match=reason):
            config.parse(Small, table)


def test_only_paths_are_resolved() -> None:
    table = {"data": "x", "count": 1, "else": "y"}
    home = PurePosixPath("/home")
    assert config.with_paths(Small, table, home) == table | {"data": "/home/x"}
    assert config.with_paths(Small, {"data": "/abs"}, home) == {"data": "/abs"}
