"""The product's dataclasses are of one kind, and what is written of them later can be written.

Methods of dataclasses and codecs of records are compiled at first use: a wrong declaration is to be
found here, not by whoever uses it first.
"""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import source_tree

from common import data_classes
from common.wire import records

HOME: Final = source_tree.ROOT / "common" / "data_classes.py"
DECORATORS: Final = {"dataclass", "make_dataclass"}


def taken(path: Path) -> Iterator[str]:
    """What a module takes from the standard library that makes dataclasses."""
    for node in ast.walk(source_tree.tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module == "dataclasses":
            yield from (name.name for name in node.names if name.name in DECORATORS)
        elif (
            isinstance(node, ast.Attribute)
            and node.attr in DECORATORS
            and isinstance(node.value, ast.Name)
            and node.value.id == "dataclasses"
        ):
            yield node.attr


def test_the_product_has_dataclasses_of_one_kind() -> None:
    others = [package for package in source_tree.PACKAGES if package != "bench"]
    found = [
        source_tree.name_of(path)
        for path in source_tree.modules(*others)
        if path != HOME and any(taken(path))
    ]
    assert found == [], "write: from common.data_classes import dataclass"
    assert any(taken(HOME)), "the test sees nothing"


def declared() -> list[type[Any]]:
    """Every dataclass of the product."""
    others = [package for package in source_tree.PACKAGES if package != "bench"]
    for path in source_tree.modules(*others):
        if path.stem != "__main__":
            name = source_tree.name_of(path).removesuffix(".py").removesuffix("/__init__")
            import_module(name.replace("/", "."))
    made = [each for each in gc.get_objects() if isinstance(each, type)]
    return [each for each in made if "__dataclass_fields__" in vars(each)]


def test_all_that_is_compiled_at_first_use_can_be_compiled() -> None:
    classes = declared()
    for each in classes:
        for text, names in (
            data_classes._init_source(each, frozen=True),
            data_classes._eq_source(each),
            data_classes._hash_source(each),
        ):
            exec(text, names)
    coded = [each for each in classes if issubclass(each, records.Record)]
    for each in coded:
        records._compile(each)
    assert len(coded) > 150
    assert len(classes) > 500
