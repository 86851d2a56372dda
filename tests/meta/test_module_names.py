"""A module is called what it holds."""

from __future__ import annotations

from source_tree import modules, name_of

BANNED = {"util", "utils", "helper", "helpers", "misc", "tools", "base_classes", "manager", "stuff"}


def test_no_module_is_called_something_that_says_nothing() -> None:
    said = [
        name_of(path)
        for path in modules()
        if BANNED & {path.stem, *path.relative_to(path.anchor).parts}
    ]
    assert not said
