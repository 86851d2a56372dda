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
from typing import Annotated, Any, ClassVar, Self, get_args, get_origin

import msgpack

from common import limits
from common.data_classes import dataclass
from common.errors import PeerViolation
from common.ports import Buffer
from common.reasons import Violation


@dataclass(frozen=True, slots=True)
class Size:
    """Exact length of a bytes field, in bytes."""

    exact: int


@dataclass(frozen=True, slots=True)
class Max:
    """Greatest length: bytes of a bytes or str field, items of a list."""

    most: int


_pack: Callable[..., bytes] = msgpack.packb
_unpack: Callable[..., Any] = msgpack.unpackb  # type: ignore[attr-defined]  # no __all__ there
Writer = Callable[[Any], list[Any]]
Reader = Callable[[Any], Any]


def _bad(what: str) -> PeerViolation:
    return PeerViolation(Violation.BAD_RECORD, what=what)


class Record:
    """Base of all records. Subclasses are ``@dataclass(frozen=True, slots=True)``.

    Field types: ``int`` (0 <= x < 2**63), ``bool``, ``str``, ``bytes``, ``X | None``,
    ``tuple[X, ...]``, another record; ``Annotated[..., Size(n)]`` or ``Max(n)`` for limits.
    """

    __slots__ = ()
    _writer: ClassVar[Writer | None] = None
    _reader: ClassVar[Reader | None] = None

    def __init_subclass__(cls) -> None:
        cls._writer = cls._reader = None

    def to_fields(self) -> list[Any]:
        """The msgpack-ready array of this record."""
        cls = type(self)
        return (cls._writer or _compile(cls)[0])(self)

    @classmethod
    def from_fields(cls, values: Any) -> Self:
        """Check an unpacked array and make the record.

        Raises:
            PeerViolation: ``bad_record``.
        """
        record: Self = (cls._reader or _compile(cls)[1])(values)
        return record

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


@dataclass(frozen=True, slots=True)
class _Shape:
    """The meaning of a field's annotation."""

    kind: Any
    """int, bool, bytes, str, tuple, or a record class."""
    exact: int | None = None
    most: int | None = None
    item: _Shape | None = None
    optional: bool = False


def _shape(hint: Any) -> _Shape:
    bounds: tuple[Any, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *rest = get_args(hint)
        bounds = tuple(rest)
    while (supertype := getattr(hint, "__supertype__", None)) is not None:  # NewType
        hint = supertype
    origin = get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        inner, none = get_args(hint)
        assert none is type(None), "the only union of a record is X | None"
        shape = _shape(Annotated[inner, *bounds] if bounds else inner)
        return dataclasses.replace(shape, optional=True)
    exact = next((bound.exact for bound in bounds if isinstance(bound, Size)), None)
    most = next((bound.most for bound in bounds if isinstance(bound, Max)), None)
    if hint in (int, bool):
        return _Shape(hint)
    if hint in (bytes, str):
        return _Shape(hint, exact, limits.MAX_FIELD_BYTES if most is None else most)
    if origin is tuple:
        item, dots = get_args(hint)
        assert dots is Ellipsis, "a record's tuple is homogeneous: tuple[X, ...]"
        return _Shape(tuple, None, limits.MAX_FIELD_ITEMS if most is None else most, _shape(item))
    if isinstance(hint, type) and issubclass(hint, Record):
        return _Shape(hint)
    raise TypeError(f"no wire form for {hint!r}")


def _compile(record: type[Record]) -> tuple[Writer, Reader]:
    """Write out a record's checks as one function each way, as dataclasses does for __init__: a
    third of the time of a call per field, on what every request of the product passes through."""
    hints = typing.get_type_hints(record, include_extras=True)
    fields = dataclasses.fields(record)  # type: ignore[arg-type]  # Record itself has no fields
    names: dict[str, Any] = {
        "record": record,
        "bad": _bad,
        "missing": _missing,
        "most": limits.MAX_UINT,
    }
    shapes = [_shape(hints[field.name]) for field in fields]
    values = [f"value{index}" for index in range(len(fields))]
    write = ["def write(self):"]
    read = [
        "def read(values):",
        f"    if type(values) is not list: raise bad({record.__name__!r})",
        f"    if len(values) != {len(fields)}: values = missing(record, values)",
        f"    [{', '.join(values)}] = values",
    ]
    for field, shape, value in zip(fields, shapes, values, strict=True):
        write.append(f"    {value} = self.{field.name}")
        write += [f"    {line}" for line in _write_lines(shape, value, field.name, names)]
        read += [f"    {line}" for line in _read_lines(shape, value, field.name, names)]
    write.append(f"    return [{', '.join(values)}]")
    read.append(f"    return record({', '.join(values)})")
    exec("\n".join([*write, *read]), names)  # noqa: S102  # made of field names and limits only
    record._writer, record._reader = names["write"], names["read"]
    return names["write"], names["read"]


def _missing(record: type[Record], values: list[Any]) -> list[Any]:
    """As many values as the record has fields: defaults filled in, surplus ones cut."""
    fields = dataclasses.fields(record)  # type: ignore[arg-type]  # as above
    for field in fields[len(values) :]:
        if field.default is dataclasses.MISSING:
            raise _bad(f"{record.__name__}.{field.name}")
    made = [_write_default(field.default) for field in fields[len(values) :]]
    return [*values[: len(fields)], *made]


def _write_default(default: Any) -> Any:
    if isinstance(default, Record):
        return default.to_fields()
    return list(default) if type(default) is tuple else default


def _write_lines(shape: _Shape, value: str, label: str, names: dict[str, Any]) -> list[str]:
    """Source that turns ``value`` into what msgpack takes."""
    lines: list[str] = []
    if shape.kind is tuple:
        assert shape.item is not None
        lines.append(f"assert len({value}) <= {shape.most}, {f'too many: {label}'!r}")
        if inner := _write_lines(shape.item, "item", label, names):
            assert len(inner) == 1
            assert inner[0].startswith("item = ")
            lines.append(f"{value} = [{inner[0].removeprefix('item = ')} for item in {value}]")
    elif isinstance(shape.kind, type) and issubclass(shape.kind, Record):
        lines.append(f"{value} = {value}.to_fields()")
    if shape.optional and lines:
        return [f"if {value} is not None:", *(f"    {line}" for line in lines)]
    return lines


def _read_lines(shape: _Shape, value: str, label: str, names: dict[str, Any]) -> list[str]:
    """Source that checks ``value`` and turns it into the field's type."""
    problem = f"raise bad({label!r})"
    if shape.kind is int:
        lines = [f"if type({value}) is not int or not 0 <= {value} <= most: {problem}"]
    elif shape.kind is bool:
        lines = [f"if type({value}) is not bool: {problem}"]
    elif shape.kind in (bytes, str):
        wrong = f"> {shape.most}" if shape.exact is None else f"!= {shape.exact}"
        name = shape.kind.__name__
        lines = [f"if type({value}) is not {name} or len({value}) {wrong}: {problem}"]
    elif shape.kind is tuple:
        lines = [f"if type({value}) is not list or len({value}) > {shape.most}: {problem}"]
        assert shape.item is not None
        lines += _read_items(shape.item, value, label, names)
    else:
        reader = f"read_{shape.kind.__name__}"
        names[reader] = shape.kind.from_fields
        lines = [f"{value} = {reader}({value})"]
    if shape.optional:
        return [f"if {value} is not None:", *(f"    {line}" for line in lines)]
    return lines


def _read_items(item: _Shape, value: str, label: str, names: dict[str, Any]) -> list[str]:
    checks = _read_lines(item, "item", label, names)
    if len(checks) == 1 and checks[0].startswith("item = "):
        return [f"{value} = tuple([{checks[0].removeprefix('item = ')} for item in {value}])"]
    assert not any("item = " in line for line in checks), "no wire form for such a tuple"
    loop = [f"for item in {value}:", *(f"    {line}" for line in checks)]
    return [*loop, f"{value} = tuple({value})"]


def pack_value(value: Any) -> bytes:
    """One value of lists, integers, booleans, text, bytes and None as msgpack."""
    return _pack(value, use_bin_type=True)


def unpack_value(data: Buffer) -> Any:
    """Unpack one msgpack value in bounded memory.

    Raises:
        PeerViolation: ``bad_record``.
    """
    if len(data) > limits.MAX_FRAME_HEADER_BYTES:
        raise _bad("too long")
    try:
        return _unpack(
            data, raw=False, strict_map_key=True, use_list=True, max_ext_len=0, max_map_len=0
        )
    except (ValueError, TypeError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise _bad("msgpack") from error
