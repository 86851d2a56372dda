"""Names that pages quote exist: paths, constants, classes, settings, metrics and commands."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from pathlib import Path

import click
import pytest
from source_tree import PACKAGES, ROOT, modules, name_of

from cli.main import alveary

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TREES = (*PACKAGES, "tests")
FOLDERS = {*TREES, "docs", "requirements", ".ci"}
CODE = re.compile(r"`([^`\n]+)`")
CONSTANT = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
CAMEL = re.compile(r"\b[A-Z][a-z0-9]+(?:[A-Z][a-z0-9]+)+\b")
SNAKE = re.compile(r"\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b")
SECTION = re.compile(r"\]\(([\w/.-]+\.md)\),?\s+\"([^\"]+)\"")
COMMAND = re.compile(r"(?:^|&& |bin/)alveary((?: [a-z][a-z-]*)+)")
LABEL = re.compile(r" v\d|protocol \d")
IN_A_DATA_DIRECTORY = re.compile(r"coordinator/(operator\.json)?|gateway/tenants/.*")
NOT_OURS = re.compile(r"(AWS|RCLONE|NODE|SO|FULL)_\w+|OpenSSL")
OF_THE_PAST = {"0025-limits-and-keys.md": {"MAX_TRIES"}}


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def paths() -> frozenset[str]:
    """Every file of the tree's own folders, and every end of its path: `b/c.py` and `c.py` of
    `a/b/c.py`."""
    files = [path.relative_to(ROOT) for name in TREES for path in (ROOT / name).rglob("*.py")]
    return frozenset("/".join(each.parts[cut:]) for each in files for cut in range(len(each.parts)))


@cache
def words() -> frozenset[str]:
    """Every identifier and every word of a text in the tree's own source."""
    files = [path for name in TREES for path in (ROOT / name).rglob("*.py")]
    files += [ROOT / "Makefile", ROOT / "pyproject.toml", *(ROOT / "tests/clients").glob("*.*")]
    return frozenset(
        word
        for path in files
        if path != Path(__file__)
        for word in re.findall(r"\w+", path.read_text(encoding="utf-8"))
    )


@cache
def metrics() -> frozenset[str]:
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    names = re.findall(r"`(alveary_\w+)` \| (\w+)", page)
    return frozenset(
        each
        for name, kind in names
        for each in (name, f"{name}_total" if kind == "counter" else name)
    )


def quoted(page: Path) -> list[str]:
    return CODE.findall(text_of(page))


def expanded(path: str) -> list[str]:
    """The paths that `a/{b,c}.py` stands for."""
    pieces = [piece.split(",") for piece in re.split(r"\{([^}]*)\}", path)]
    return ["".join(each) for each in product(*pieces)]


def unknown_commands_of(line: str) -> Iterator[str]:
    for tail in () if LABEL.search(line) else COMMAND.findall(line):
        command: click.Command = alveary
        for word in tail.split():
            if not isinstance(command, click.Group):
                break
            found = command.get_command(click.Context(command), word)
            if found is None:
                yield f"alveary{tail}"
                break
            command = found


def unknown_paths(page: Path) -> Iterator[str]:
    for code in quoted(page):
        first = code.split("/")[0]
        if re.search(r"[^\w./{},*-]", code) or IN_A_DATA_DIRECTORY.fullmatch(code):
            continue
        if "/" in code and first in FOLDERS:
            yield from (path for path in expanded(code) if not list(ROOT.glob(path.rstrip("/"))))
        elif code.endswith(".py") and code not in paths() and not fnmatch.filter(paths(), code):
            yield code


def unknown_constants(page: Path) -> Iterator[str]:
    past = OF_THE_PAST.get(page.name, set())
    for name in CONSTANT.findall(text_of(page)):
        if not (name in words() or name in past or NOT_OURS.fullmatch(name)):
            yield name


def unknown_names(page: Path) -> Iterator[str]:
    """Classes, settings and metrics."""
    for code in quoted(page):
        for name in () if "/" in code else [*CAMEL.findall(code), *SNAKE.findall(code)]:
            is_metric = name.startswith("alveary_")
            known = name in (metrics() if is_metric else words())
            if page.name in {"crypto.md", "incidents.md", "s3-compatibility.md"} and not known:
                known = f"test_{name}" in words()
            if not (known or NOT_OURS.fullmatch(name)):
                yield name


def unknown_sections(page: Path) -> Iterator[str]:
    for target, section in SECTION.findall(text_of(page)):
        text = text_of((page.parent / target).resolve())
        headings = re.findall(r"^#+\s+(.*?)$|^\*\*(.*?)\.?\*\*", text, re.MULTILINE)
        if not any(section in pair for pair in headings):
            yield section


def unknown_targets(page: Path) -> Iterator[str]:
    for code in quoted(page):
        for target in re.findall(r"^make ([a-z-]+)", code):
            if not re.search(rf"^{target}:", text_of(ROOT / "Makefile"), re.MULTILINE):
                yield f"make {target}"


def unknown_commands(page: Path) -> Iterator[str]:
    for line in [*quoted(page), *re.findall(r"^    (.*)$", text_of(page), re.MULTILINE)]:
        yield from unknown_commands_of(line)


def unknown_modules(module: Path) -> Iterator[str]:
    for name in re.findall(r"[\w./]*\w\.py\b", text_of(module)):
        if "/" in name and name.split("/")[0] not in FOLDERS:
            continue  # of another project
        if name not in paths() and not (ROOT / name).exists():
            yield name


@pytest.mark.parametrize(
    "unknown",
    [
        unknown_paths,
        unknown_constants,
        unknown_names,
        unknown_sections,
        unknown_targets,
        unknown_commands,
    ],
)
def test_all_that_a_page_names_exists(unknown: Callable[[Path], Iterator[str]]) -> None:
    assert {
        str(page.relative_to(ROOT)): found for page in PAGES if (found := [*unknown(page)])
    } == {}


def test_every_module_that_a_module_names_exists() -> None:
    found = {name_of(module): [*unknown_modules(module)] for module in modules()}
    assert {module: names for module, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("unknown", "line", "name"),
    [
        (unknown_paths, "`common/nowhere.py`", "common/nowhere.py"),
        (unknown_paths, "`nowhere.py`", "nowhere.py"),
        (unknown_constants, "MOST_NOWHERE_S", "MOST_NOWHERE_S"),
        (unknown_names, "`NowhereAtAll`", "NowhereAtAll"),
        (unknown_names, "`alveary_nowhere_bytes`", "alveary_nowhere_bytes"),
        (unknown_targets, "`make nowhere`", "make nowhere"),
        (unknown_commands, "    alveary cell nowhere", "alveary cell nowhere"),
        (unknown_sections, '[page](page.md), "Nowhere"', "Nowhere"),
    ],
)
def test_what_does_not_exist_is_found(
    unknown: Callable[[Path], Iterator[str]], line: str, name: str, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"A page\n\n{line}\n")
    assert [*unknown(page)] == [name]
