"""Names that pages quote exist: paths, constants, classes, settings, metrics and commands."""

from __future__ import annotations

import re
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

of_each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


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
    return CODE.findall(page.read_text(encoding="utf-8"))


def expanded(path: str) -> list[str]:
    """The paths that `a/{b,c}.py` stands for."""
    pieces = [piece.split(",") for piece in re.split(r"\{([^}]*)\}", path)]
    return ["".join(each) for each in product(*pieces)]


@of_each_page
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    for code in quoted(page):
        first = code.split("/")[0]
        if re.search(r"[^\w./{},*-]", code) or IN_A_DATA_DIRECTORY.fullmatch(code):
            continue
        if "/" in code and first in FOLDERS:
            for path in expanded(code):
                assert list(ROOT.glob(path.rstrip("/"))), f"{page.name} names {code}"
        elif code.endswith(".py"):
            assert any(list((ROOT / tree).rglob(code)) for tree in TREES), (
                f"{page.name} names {code}"
            )


@of_each_page
def test_every_constant_that_a_page_names_exists(page: Path) -> None:
    past = OF_THE_PAST.get(page.name, set())
    for name in CONSTANT.findall(page.read_text(encoding="utf-8")):
        known = name in words() or name in past or NOT_OURS.fullmatch(name)
        assert known, f"{page.name} names {name}"


@of_each_page
def test_every_class_setting_and_metric_that_a_page_quotes_exists(page: Path) -> None:
    for code in quoted(page):
        if "/" in code:
            continue
        for name in [*CAMEL.findall(code), *SNAKE.findall(code)]:
            is_metric = name.startswith("alveary_")
            known = name in (metrics() if is_metric else words())
            if page.name in {"crypto.md", "incidents.md", "s3-compatibility.md"} and not known:
                known = f"test_{name}" in words()
            assert known or NOT_OURS.fullmatch(name), f"{page.name} quotes {name}"


@of_each_page
def test_every_section_that_a_page_names_exists(page: Path) -> None:
    for target, section in SECTION.findall(page.read_text(encoding="utf-8")):
        text = (page.parent / target).resolve().read_text(encoding="utf-8")
        headings = re.findall(r"^#+\s+(.*?)$|^\*\*(.*?)\.?\*\*", text, re.MULTILINE)
        assert any(section in pair for pair in headings), f'{page.name} names "{section}"'


@of_each_page
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for code in quoted(page):
        for target in re.findall(r"^make ([a-z-]+)", code):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page.name}: make {target}"


@of_each_page
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    lines = [*quoted(page), *re.findall(r"^    (.*)$", text, re.MULTILINE)]
    for line in lines:
        for tail in () if LABEL.search(line) else COMMAND.findall(line):
            command: click.Command = alveary
            for word in tail.split():
                if not isinstance(command, click.Group):
                    break
                found = command.get_command(click.Context(command), word)
                assert found is not None, f"{page.name} names alveary{tail}"
                command = found


@pytest.mark.parametrize("module", list(modules()), ids=name_of)
def test_every_module_that_a_module_names_exists(module: Path) -> None:
    for name in re.findall(r"[\w./]*\w\.py\b", module.read_text(encoding="utf-8")):
        if "/" in name and name.split("/")[0] not in FOLDERS:
            continue  # of another project
        found = [
            *ROOT.glob(name),
            *(path for tree in TREES for path in ROOT.glob(f"{tree}/**/{name}")),
        ]
        assert found, f"{name_of(module)} names {name}"
