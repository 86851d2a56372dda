"""Configurations: a service names its keys, each with a parser and help; all else is here.

A configuration is a frozen dataclass whose fields carry :func:`key`. It is parsed once, from a
table of TOML (whose values a command line may have replaced), and passed on as values. Pure: the
command line reads the file, and says which directory relative paths begin at.

Source: docs/operations.md, "Configuration".
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any, ClassVar, Final, NoReturn, Protocol, TypeVar

from common import limits
from common.data_classes import dataclass
from common.errors import BadConfig
from common.ids import PEER_ID_BYTES, PeerId
from common.ports import Address
from common.reasons import ConfigFault

Parser = Callable[[str, Any], Any]
"""``parser(key, value)`` returns what the key means, or raises BadConfig."""
C = TypeVar("C", bound="_Dataclass")
E = TypeVar("E", bound=Enum)

_KEY: Final = "alveary"
_SIZE: Final = re.compile(r"([0-9]{1,15})(\.[0-9]{1,3})?\s*([kmgtp]?)(i?)b?", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a configuration.

    ``help``: one line for the person that sets it, the default in brackets where it says most.
    ``is_path``: it names a file or a directory. ``is_secret``: it must not stand on a command line.
    """

    parser: Parser
    help: str
    is_path: bool = False
    is_secret: bool = False


def key(
    parser: Parser, text: str, *, is_path: bool = False, is_secret: bool = False
) -> dict[str, Key]:
    """Return the metadata of a configuration's field. See :class:`Key`."""
    return {_KEY: Key(parser, text, is_path, is_secret)}


def keys_of(kind: type[C]) -> dict[str, Key]:
    """The keys of a configuration, in order."""
    return {field.name: field.metadata[_KEY] for field in dataclasses.fields(kind)}


def parse(kind: type[C], table: Mapping[str, Any]) -> C:
    """Return a configuration. A value of None counts as none.

    Raises:
        BadConfig: ``unknown_key``, ``missing_key`` or ``bad_value``, each with ``key``; a bad value
            with what is ``wanted``.
    """
    keys = keys_of(kind)
    for name in table:
        if name not in keys:
            raise BadConfig(ConfigFault.UNKNOWN_KEY, key=name)
    given = {
        name: keys[name].parser(name, value) for name, value in table.items() if value is not None
    }
    for field in dataclasses.fields(kind):
        if field.default is dataclasses.MISSING and field.name not in given:
            raise BadConfig(ConfigFault.MISSING_KEY, key=field.name)
    return kind(**given)


def with_paths(kind: type[C], table: Mapping[str, Any], directory: PurePath) -> dict[str, Any]:
    """Return a table with its relative paths made absolute.

    Args:
        directory: absolute: that of the file that the table is from, or the working directory for
            what a command line says.
    """
    keys = keys_of(kind)
    return {
        name: str(directory / value)
        if name in keys and keys[name].is_path and isinstance(value, str) and value
        else value
        for name, value in table.items()
    }


def bad_value(name: str, wanted: str) -> NoReturn:
    """Refuse a value.

    Raises:
        BadConfig: ``bad_value``.
    """
    raise BadConfig(ConfigFault.BAD_VALUE, key=name, wanted=wanted)


def address_of(text: str) -> Address | None:
    """``host:port`` or ``[host]:port``; None if it is neither."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        return None
    return Address(host, int(port))


# --- parsers -----------------------------------------------------------------------------------


def any_string(name: str, value: Any) -> str:
    """A string, perhaps empty."""
    if not isinstance(value, str) or "\0" in value or len(value) > limits.MAX_CONFIG_CHARACTERS:
        bad_value(name, "a string")
    return value


def path(name: str, value: Any) -> str:
    """A file or a directory; the field's key has ``is_path``."""
    if not isinstance(value, str) or not any_string(name, value):
        bad_value(name, "a path")
    return value


def label(name: str, value: Any) -> str:
    """A name for people, perhaps empty."""
    if len(any_string(name, value)) > limits.MAX_LABEL_CHARACTERS:
        bad_value(name, f"at most {limits.MAX_LABEL_CHARACTERS} characters")
    return str(value)


def boolean(name: str, value: Any) -> bool:
    """True or false, as TOML has it or as a string."""
    if isinstance(value, bool):
        return value
    if value not in ("true", "false"):
        bad_value(name, "true or false")
    return bool(value == "true")


def address(name: str, value: Any) -> Address:
    """An address to listen at or to call."""
    if isinstance(value, Address):
        return value
    found = address_of(value) if isinstance(value, str) else None
    return bad_value(name, "host:port") if found is None else found


def peer_id(name: str, value: Any) -> PeerId:
    """The id of a peer's key."""
    if isinstance(value, bytes) and len(value) == PEER_ID_BYTES:
        return PeerId(value)
    try:
        raw = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        raw = b""
    if len(raw) != PEER_ID_BYTES:
        bad_value(name, f"{2 * PEER_ID_BYTES} hex digits")
    return PeerId(raw)


def addresses(*, least: int = 0) -> Parser:
    """Return a parser of a list of addresses, or of a single one."""

    def parser(name: str, value: Any) -> tuple[Address, ...]:
        most = limits.MAX_COORDINATOR_ADDRESSES
        each = [value] if isinstance(value, str | Address) else value
        if not isinstance(each, list | tuple) or not least <= len(each) <= most:
            bad_value(name, f"{least} to {most} addresses")
        return tuple(address(name, item) for item in each)

    return parser


def whole_number(least: int, most: int) -> Parser:
    """Return a parser of a whole number within bounds."""

    def parser(name: str, value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            bad_value(name, f"a whole number, {least} to {most}")
        return value

    return parser


def size(least: int, most: int) -> Parser:
    """Return a parser of bytes: a whole number, or a string such as ``500GB`` or ``1.5TiB``."""
    within = whole_number(least, most)

    def parser(name: str, value: Any) -> Any:
        if not isinstance(value, str):
            return within(name, value)
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            bad_value(name, "a size such as 500GB or 2TiB")
        whole, part, power, binary = match.groups()
        factor = (1024 if binary else 1000) ** _POWERS[power.lower()]
        return within(name, int(whole) * factor + int(float(part or 0) * factor))

    return parser


def matching(pattern: re.Pattern[str], wanted: str) -> Parser:
    """Return a parser of strings of one form."""

    def parser(name: str, value: Any) -> str:
        if not isinstance(value, str) or pattern.fullmatch(value) is None:
            bad_value(name, wanted)
        return value

    return parser


def one_of(kind: type[E]) -> Parser:
    """Return a parser of the values of an enumeration."""

    def parser(name: str, value: Any) -> E:
        try:
            return kind(value)
        except ValueError:
            *others, last = (str(each.value) for each in kind)
            return bad_value(name, f"{', '.join(others)} or {last}")

    return parser


def list_of(parser: Parser, wanted: str) -> Parser:
    """Return a parser of a list."""

    def parse_all(name: str, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            bad_value(name, wanted)
        return tuple(parser(name, each) for each in value)

    return parse_all
