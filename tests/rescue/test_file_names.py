"""Any name of an object makes a path below its directory, and the path gives the name back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescue.file_names import name_of, path_of

NAMES = st.one_of(
    st.binary(min_size=1, max_size=300),
    st.lists(
        st.sampled_from(
            [b"a", b"A", b"/", b".", b"..", b"%", b"%_", b"%+", b"%2e", b"\0", b"\xff"]
        ),
        min_size=1,
        max_size=12,
    ).map(b"".join),
    st.text(min_size=1, max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
)
FOLDS = st.booleans()
VERSIONS = st.sampled_from(["", "00ff" * 8])


@given(NAMES, FOLDS, st.booleans(), VERSIONS)
def test_a_path_gives_the_name_back(name: bytes, folds: bool, begins: bool, version: str) -> None:
    path = path_of(name, begins_others=begins, version=version, folds=folds)
    assert name_of(path) == (name, version)


@given(NAMES, FOLDS, st.booleans(), VERSIONS)
def test_a_path_stays_below_its_directory_and_fits_file_systems(
    name: bytes, folds: bool, begins: bool, version: str
) -> None:
    path = path_of(name, begins_others=begins, version=version, folds=folds)
    for component in path.split("/"):
        assert component not in {"", ".", ".."}
        assert "\0" not in component
        assert len(component.encode()) <= 255
    if folds:
        assert path.isascii()
        assert path == path.lower()


@given(st.sets(NAMES, min_size=2, max_size=8), FOLDS)
def test_no_file_stands_where_others_need_a_directory(names: set[bytes], folds: bool) -> None:
    paths = {
        path_of(
            name,
            begins_others=any(other.startswith(name + b"/") for other in names),
            folds=folds,
        )
        for name in names
    }
    assert len(paths) == len(names)
    assert not any(other.startswith(path + "/") for path in paths for other in paths)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (b"photos/2026/sea.jpg", "photos/2026/sea.jpg"),
        (b"../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd"),
        (b"/a//", "%_/a/%_/%_"),
        (b"50%\n", "50%25%0a"),
        ("ü".encode(), "ü"),
        (b"\xff", "%ff"),
        (b"x" * 450, "x" * 200 + "%+/" + "x" * 200 + "%+/" + "x" * 50),
    ],
)
def test_names_look_as_the_page_says(name: bytes, path: str) -> None:
    assert path_of(name) == path


def test_where_case_is_one_upper_case_and_other_letters_are_escaped() -> None:
    assert path_of("Ü/A".encode(), folds=True) == "%c3%9c/%41"
    assert path_of(b"a", begins_others=True) == "a%_"
    assert path_of(b"a", version="0f") == "a%v0f"
