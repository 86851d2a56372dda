"""The standard library's dataclasses, whose methods are written when they are first called.

Most of what a daemon imports is classes of fields, and of most of those no instance is ever made:
the standard library compiles six methods for each, which was 40 % of a daemon's start. Type
checkers see the standard library's decorator.

Source: docs/decisions/0065-data-classes.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]


def _data_class(
    *, slots: bool, frozen: bool = False, kw_only: bool = False
) -> Callable[[type[Any]], type[Any]]:
    """Make a dataclass of a class, as :func:`dataclasses.dataclass` does with these arguments.

    Methods that the class has of its own stay.
    """

    def make(plain: type[Any]) -> type[Any]:
        own = set(vars(plain))
        if plain.__doc__ is None:
            plain.__doc__ = f"{plain.__name__}(...)"  # else made of a signature, at some cost
        made = dataclasses.dataclass(
            init=False, repr=False, eq=False, slots=slots, kw_only=kw_only
        )(plain)
        methods: dict[str, Any] = {
            "__init__": _written_later(made, "__init__", lambda: _init_source(made, frozen)),
            "__eq__": _written_later(made, "__eq__", lambda: _eq_source(made)),
            "__hash__": None,
            "__repr__": _repr,
        }
        if frozen:
            methods |= {
                "__hash__": _written_later(made, "__hash__", lambda: _hash_source(made)),
                "__setattr__": _refuse_set,
                "__delattr__": _refuse_delete,
                "__getstate__": _state,
                "__setstate__": _set_state,
            }
        for name, method in methods.items():
            if name not in own:
                setattr(made, name, method)
        return made

    return make


if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    dataclass = _data_class

_Source = tuple[str, dict[str, Any]]
"""The text of a function, and the names that it uses."""


def _written_later(made: type[Any], name: str, source: Callable[[], _Source]) -> Any:
    """A method that replaces itself by the written one, and calls that. Two threads may do so at
    the same time: they write the same."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        text, names = source()
        exec(text, names)  # noqa: S102  # made of the names of fields only
        written = names[name]
        written.__qualname__ = f"{made.__qualname__}.{name}"
        setattr(made, name, written)
        return written(self, *args, **kwargs)

    method.__name__ = name
    method.__qualname__ = f"{made.__qualname__}.{name}"
    return method


def _init_source(made: type[Any], frozen: bool) -> _Source:
    # Capitals, which no field has.
    names: dict[str, Any] = {"MISSING": MISSING, "SET_FIELD": object.__setattr__}
    fields = dataclasses.fields(made)
    given = [field for field in fields if field.init]
    positional = [_parameter(field, names) for field in given if not field.kw_only]
    by_name = [_parameter(field, names) for field in given if field.kw_only]
    parameters = ["self", *positional, *(["*"] if by_name else []), *by_name]
    lines = [f"def __init__({', '.join(parameters)}):"]
    for field in fields:
        if (value := _value(field, names)) is None:
            continue  # __post_init__ sets it
        if frozen:
            lines.append(f"    SET_FIELD(self, {field.name!r}, {value})")
        else:
            lines.append(f"    self.{field.name} = {value}")
    if hasattr(made, "__post_init__"):
        lines.append("    self.__post_init__()")
    if len(lines) == 1:
        lines.append("    pass")
    return "\n".join(lines), names


def _parameter(field: Field[Any], names: dict[str, Any]) -> str:
    if field.default is not MISSING:
        names[f"DEFAULT_{field.name}"] = field.default
        return f"{field.name}=DEFAULT_{field.name}"
    if field.default_factory is not MISSING:
        return f"{field.name}=MISSING"
    return field.name


def _value(field: Field[Any], names: dict[str, Any]) -> str | None:
    """The expression of a field's first value; None: it has none."""
    if field.default_factory is not MISSING:
        names[f"MAKE_{field.name}"] = field.default_factory
        made = f"MAKE_{field.name}()"
        return f"{made} if {field.name} is MISSING else {field.name}" if field.init else made
    if field.init:
        return field.name
    if field.default is not MISSING:
        names[f"DEFAULT_{field.name}"] = field.default
        return f"DEFAULT_{field.name}"
    return None


def _compared(made: type[Any], owner: str) -> str:
    """The tuple of what two instances are compared by."""
    fields = [field for field in dataclasses.fields(made) if field.compare]
    return f"({''.join(f'{owner}.{field.name}, ' for field in fields)})"


def _eq_source(made: type[Any]) -> _Source:
    lines = [
        "def __eq__(self, other):",
        "    if other.__class__ is not self.__class__: return NotImplemented",
        f"    return {_compared(made, 'self')} == {_compared(made, 'other')}",
    ]
    return "\n".join(lines), {}


def _hash_source(made: type[Any]) -> _Source:
    return f"def __hash__(self): return hash({_compared(made, 'self')})", {}


def _repr(self: Any) -> str:
    shown = [field.name for field in dataclasses.fields(self) if field.repr]
    fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
    return f"{type(self).__qualname__}({fields})"


def _refuse_set(self: Any, name: str, value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_delete(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    """For copies and pickles, which would set the fields of a frozen instance."""
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)
