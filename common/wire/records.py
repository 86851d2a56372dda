"""Records: dataclasses with a checked positional msgpack form.

A record class is a frozen dataclass whose annotations say the exact shape of each field. Packing
gives a msgpack array of the fields in order; unpacking checks every type, size and range, so a
record in hand is a record that may be trusted to have its shape (not its truth).

Growth: fields are only ever added at the end, with a default. A reader fills missing trailing
fields with their defaults and ignores surplus ones, so daemons of neighbouring versions talk.

Source: docs/protocol.md, "Records".
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final, Self, get_args, get_origin

import msgpack

from common.errors import PeerViolation
from common.limits import MAX_FRAME_HEADER_BYTES
from common.ports import Buffer

MAX_UINT: Final = (1 << 63) - 1
"""Integers are unsigned and fit a signed 64-bit column of SQL."""
DEFAULT_MAX_BYTES: Final = 4096
DEFAULT_MAX_ITEMS: Final = 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """Exact length of a bytes field, in bytes."""

    exact: int


@dataclasses.dataclass(frozen=True, slots=True)
class Max:
    """Greatest length: bytes of a bytes or str field, items of a list."""

    most: int


_pack: Callable[..., bytes] = msgpack.packb
_unpack: Callable[..., Any] = msgpack.unpackb  # type: ignore[attr-defined]  # no __all__ there
Encode = Callable[[Any], Any]
Decode = Callable[[Any], Any]


def _bad(what: str) -> PeerViolation:
    return PeerViolation("bad_record", what=what)


def _same(value: Any) -> Any:
    return value


def _decode_int(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_UINT:
        raise _bad("integer")
    return value


def _decode_bool(value: Any) -> bool:
    if type(value) is not bool:
        raise _bad("boolean")
    return value


def _codec(hint: Any) -> tuple[Encode, Decode]:
    limits: tuple[Any, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *rest = get_args(hint)
        limits = tuple(rest)
    supertype = getattr(hint, "__supertype__", None)  # NewType
    while supertype is not None:
        hint = supertype
        supertype = getattr(hint, "__supertype__", None)
    exact = next((limit.exact for limit in limits if isinstance(limit, Size)), None)
    most = next((limit.most for limit in limits if isinstance(limit, Max)), None)
    origin = get_origin(hint)
    if hint is int:
        return _same, _decode_int
    if hint is bool:
        return _same, _decode_bool
    if hint is bytes:
        return bytes, _bytes_decoder(exact, DEFAULT_MAX_BYTES if most is None else most)
    if hint is str:
        return _same, _str_decoder(DEFAULT_MAX_BYTES if most is None else most)
    if origin is tuple:
        item, dots = get_args(hint)
        assert dots is Ellipsis, "a record's tuple is homogeneous: tuple[X, ...]"
        return _tuple_codec(item, DEFAULT_MAX_ITEMS if most is None else most)
    if origin in (typing.Union, types.UnionType):
        inner, none = get_args(hint)
        assert none is type(None), "the only union of a record is X | None"
        return _optional_codec(Annotated[inner, *limits] if limits else inner)
    if isinstance(hint, type) and issubclass(hint, Record):
        return hint.to_fields, hint.from_fields
    raise TypeError(f"no wire form for {hint!r}")


def _bytes_decoder(exact: int | None, most: int) -> Decode:
    def decode(value: Any) -> bytes:
        if type(value) is not bytes:
            raise _bad("bytes")
        if len(value) != exact if exact is not None else len(value) > most:
            raise _bad("bytes length")
        return value

    return decode


def _str_decoder(most: int) -> Decode:
    def decode(value: Any) -> str:
        if type(value) is not str or len(value) > most:
            raise _bad("text")
        return value

    return decode


def _tuple_codec(item: Any, most: int) -> tuple[Encode, Decode]:
    encode_item, decode_item = _codec(item)

    def encode(value: Any) -> list[Any]:
        assert len(value) <= most, f"{len(value)} items in a field of at most {most}"
        return [encode_item(each) for each in value]

    def decode(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) > most:
            raise _bad("list")
        return tuple([decode_item(each) for each in value])

    return encode, decode


def _optional_codec(inner: Any) -> tuple[Encode, Decode]:
    encode_inner, decode_inner = _codec(inner)
    return (
        lambda value: None if value is None else encode_inner(value),
        lambda value: None if value is None else decode_inner(value),
    )


class Record:
    """Base of all records. Subclasses are ``@dataclass(frozen=True, slots=True)``.

    Field types: ``int`` (0 <= x < 2**63), ``bool``, ``str``, ``bytes``, ``X | None``,
    ``tuple[X, ...]``, another record; ``Annotated[..., Size(n)]`` or ``Max(n)`` for limits.
    """

    __slots__ = ()
    _codecs: ClassVar[tuple[tuple[str, Encode, Decode], ...] | None] = None
    _defaults: ClassVar[tuple[Any, ...]]

    @classmethod
    def _prepare(cls) -> tuple[tuple[str, Encode, Decode], ...]:
        if "_codecs" not in cls.__dict__ or cls._codecs is None:
            hints = typing.get_type_hints(cls, include_extras=True)
            fields = dataclasses.fields(cls)  # type: ignore[arg-type]  # Record has no fields itself
            cls._codecs = tuple((field.name, *_codec(hints[field.name])) for field in fields)
            cls._defaults = tuple(field.default for field in fields)
        codecs = cls._codecs
        assert codecs is not None
        return codecs

    def to_fields(self) -> list[Any]:
        """The msgpack-ready array of this record."""
        return [encode(getattr(self, name)) for name, encode, _ in self._prepare()]

    @classmethod
    def from_fields(cls, values: Any) -> Self:
        """Check an unpacked array and make the record.

        Raises:
            PeerViolation: ``bad_record``.
        """
        codecs = cls._prepare()
        if type(values) is not list:
            raise _bad(cls.__name__)
        given = len(values)
        arguments: list[Any] = []
        for index, (name, _, decode) in enumerate(codecs):
            if index < given:
                arguments.append(decode(values[index]))
            elif cls._defaults[index] is dataclasses.MISSING:
                raise _bad(f"{cls.__name__}.{name}")
            else:
                arguments.append(cls._defaults[index])
        return cls(*arguments)

    def pack(self) -> bytes:
        """The record as bytes."""
        return pack_value(self.to_fields())

    @classmethod
    def unpack(cls, data: Buffer) -> Self:
        """The record of exactly these bytes.

        Raises:
            PeerViolation: ``bad_record``; the input is not such a record, or has trailing bytes.
        """
        return cls.from_fields(unpack_value(data))


def pack_value(value: Any) -> bytes:
    """One value of lists, integers, booleans, text, bytes and None as msgpack."""
    return _pack(value, use_bin_type=True)


def unpack_value(data: Buffer) -> Any:
    """Unpack one msgpack value in bounded memory.

    Raises:
        PeerViolation: ``bad_record``.
    """
    if len(data) > MAX_FRAME_HEADER_BYTES:
        raise _bad("too long")
    try:
        return _unpack(
            data, raw=False, strict_map_key=True, use_list=True, max_ext_len=0, max_map_len=0
        )
    except (ValueError, TypeError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise _bad("msgpack") from error
