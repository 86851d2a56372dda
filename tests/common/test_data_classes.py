"""The product's dataclasses do what the standard library's do."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from common import data_classes

Decorator = Callable[..., Any]
BOTH = (dataclasses.dataclass, data_classes.dataclass)


@data_classes.dataclass(frozen=True, slots=True)
class Point:
    """Of a module, as pickles need it."""

    x: int
    y: int = 2


def frozen(decorator: Decorator) -> Any:
    @decorator(frozen=True, slots=True)
    class Case:
        number: int
        shown: ClassVar[int] = 7
        items: tuple[int, ...] = ()
        made: list[int] = dataclasses.field(default_factory=list)
        hidden: str = dataclasses.field(default="secret", repr=False)
        ignored: int = dataclasses.field(default=0, compare=False)

    return Case


def changing(decorator: Decorator) -> Any:
    @decorator(slots=True)
    class Case:
        number: int
        made: dict[str, int] = dataclasses.field(default_factory=dict)
        own: set[int] = dataclasses.field(init=False, default_factory=set)
        fixed: int = dataclasses.field(init=False, default=3)

    return Case


def by_name(decorator: Decorator) -> Any:
    @decorator(frozen=True, slots=True, kw_only=True)
    class Case:
        number: int
        made: list[int] = dataclasses.field(default_factory=list)

    return Case


def partly_by_name(decorator: Decorator) -> Any:
    @decorator(slots=True)
    class Case:
        number: int = dataclasses.field(kw_only=True)
        made: list[int] = dataclasses.field(default_factory=list)

    return Case


def completed(decorator: Decorator) -> Any:
    @decorator(frozen=True, slots=True)
    class Case:
        number: int
        double: int = dataclasses.field(init=False, repr=False, compare=False)

        def __post_init__(self) -> None:
            if self.number < 0:
                raise ValueError("negative")
            object.__setattr__(self, "double", 2 * self.number)

    return Case


def empty(decorator: Decorator) -> Any:
    @decorator(frozen=True, slots=True)
    class Case:
        pass

    return Case


def derived(decorator: Decorator) -> Any:
    @decorator(frozen=True, slots=True)
    class Base:
        number: int

        def __repr__(self) -> str:
            return "a repr of its own is inherited by none"

    @decorator(frozen=True, slots=True)
    class Case(Base):
        more: int = 0

    return Case


def own_methods(decorator: Decorator) -> Any:
    @decorator(slots=True)
    class Case:  # noqa: PLW1641  # whether it can be hashed is compared
        number: int

        def __eq__(self, other: object) -> bool:
            return isinstance(other, type(self))

        def __repr__(self) -> str:
            return f"its own {self.number}"

        def __init__(self, number: int) -> None:
            self.number = number + 1

    return Case


CASES = (frozen, changing, by_name, partly_by_name, completed, empty, derived, own_methods)
ARGUMENTS: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...] = (
    ((), {}),
    ((1,), {}),
    ((1, 5), {}),
    ((1, (2,), [3], "four", 5), {}),
    ((), {"number": 1}),
    ((), {"number": 1, "made": [4]}),
    (([4],), {"number": 1}),
    ((1,), {"number": 1}),
    ((1, [2], 3, 4, 5, 6), {}),
    ((1,), {"no_such_field": 2}),
    ((-1,), {}),
)


def outcome(act: Callable[[], Any]) -> Any:
    """The value, or the type of the exception: the texts differ by the names of local classes."""
    try:
        return act()
    except Exception as error:
        return type(error)


def facts(case: Callable[[Decorator], Any], decorator: Decorator) -> list[Any]:
    """All that can be seen of instances, whatever is given to make them."""
    made = case(decorator)
    seen: list[Any] = [made.__match_args__, made.__slots__, made.__hash__ is None]
    for given, named in ARGUMENTS:
        value = outcome(lambda given=given, named=named: made(*given, **named))
        if isinstance(value, type):
            seen.append(value)
            continue
        same, other = made(*given, **named), outcome(lambda: made(number=99))
        seen += [
            repr(value),
            outcome(lambda value=value: hash(value)),
            value == same,
            value != same,
            value == other,
            value == (1,),
            outcome(lambda value=value: dataclasses.asdict(value)),
            outcome(lambda value=value: repr(dataclasses.replace(value, number=8))),
            # The standard library's own error for what is no field depends on slots.
            isinstance(outcome(lambda value=value: setattr(value, "number", 9)), type),
            isinstance(outcome(lambda value=value: setattr(value, "no_such_field", 9)), type),
            isinstance(outcome(lambda same=same: delattr(same, "number")), type),
            repr(value),
            copy.copy(value) == value,
            copy.deepcopy(value) == value,
        ]
    return seen


@pytest.mark.parametrize("case", CASES)
def test_instances_are_as_those_of_the_standard_library(case: Callable[[Decorator], Any]) -> None:
    expected, found = (facts(case, decorator) for decorator in BOTH)
    assert found == expected


def test_a_method_is_written_at_its_first_call_and_then_called_directly() -> None:
    made = frozen(data_classes.dataclass)
    later = {name: vars(made)[name] for name in ("__init__", "__eq__", "__hash__")}
    value = made(1)
    assert vars(made)["__init__"] is not later["__init__"]
    assert vars(made)["__eq__"] is later["__eq__"]
    assert value == made(1)
    assert len({outcome(lambda: hash(value)), outcome(lambda: hash(value))}) == 1
    assert not {name for name, method in later.items() if vars(made)[name] is method}


def test_each_class_has_methods_of_its_own() -> None:
    base = frozen(data_classes.dataclass)

    class Plain(base):  # type: ignore[misc]  # base is Any
        pass

    assert Plain(1) == Plain(1)
    assert Plain(1) != base(1)
    assert vars(Plain).keys().isdisjoint({"__init__", "__eq__"})


def test_a_frozen_instance_stays_as_it_is() -> None:
    value = Point(4)
    for change in (lambda: setattr(value, "x", 5), lambda: delattr(value, "x")):
        with pytest.raises(dataclasses.FrozenInstanceError, match="'x'"):
            change()
    assert value == Point(4)


def test_instances_of_frozen_classes_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(Point(4))) == Point(4, 2)


def test_the_documentation_stays() -> None:
    assert Point.__doc__ == "Of a module, as pickles need it."
    assert empty(data_classes.dataclass).__doc__ == "Case(...)"


@pytest.mark.parametrize("argument", ["order", "eq", "unsafe_hash"])
def test_what_it_does_not_do_is_refused(argument: str) -> None:
    with pytest.raises(TypeError):
        data_classes.dataclass(slots=True, **{argument: True})  # type: ignore[call-overload]  # it says so
