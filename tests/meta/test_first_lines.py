"""Docstrings, comments and messages of the product use the words of the field."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from source_tree import modules, name_of, tree

CLAUSE = re.compile(r"(What|Who|Whose|Whom|Where|When|How|Whether|Which|Why|That)\b")
"""A docstring that begins so is a relative clause. Write "Return whether ...", "The number of ...",
"True if ..."."""

BANNED = {
    "again, afresh": r"anew",
    "without success; timed out": r"in vain",
    "verified against": r"held against",
    "purge, drain": r"work(s|ed|ing)? (\w+ ){0,3}off",
    "mistaken for": r"taken for (another|ended)",
    "expensive": r"dear(er|est)?",
    "forever, permanently": r"for ever",
    "reported, notified, logged, sent": r"tell(s|ing)?|told(?!:)",
    "dropped, abandoned, cancelled": r"g(iven|ives|ave) up",
    "repeatedly": r"again and again",
    "a named subject": r"whoever|who asks",
    "is not a": r"(?<!there )(is|are) no (?!longer\b|more\b|other\b|fewer\b|less\b)[a-z]+",
}
"""Phrases, by the words to write in their place."""
PHRASES = re.compile(rf"\b({'|'.join(BANNED.values())})\b", re.IGNORECASE)


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """The docstrings of a module, of its classes, functions, attributes and constants, each with
    its line."""
    for node in ast.walk(tree(path)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                text = statement.value.value
                if isinstance(text, str):
                    yield statement.lineno, text.strip()


def texts(source: str) -> Iterator[tuple[int, str]]:
    """The strings and runs of comments of a module, each with its line and on one line."""
    comment, begun, last = "", 0, -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        line = token.start[0]
        if token.type == tokenize.STRING:
            yield line, " ".join(token.string.split())
        elif token.type == tokenize.COMMENT:
            if line != last + 1:
                yield begun, comment
                comment, begun = "", line
            comment, last = f"{comment} {token.string.lstrip('# ')}", line
    yield begun, comment


def test_first_lines_are_imperatives_or_noun_phrases() -> None:
    clauses = [
        f"{name_of(path)}:{line}: {text.splitlines()[0]}"
        for path in modules()
        for line, text in docstrings(path)
        if CLAUSE.match(text)
    ]
    assert not clauses, "\n".join(clauses)


def test_no_text_has_a_phrase_that_the_field_has_a_word_for() -> None:
    found = [
        f"{name_of(path)}:{line}: ...{text[max(0, match.start() - 40) : match.end() + 20]}..."
        for path in modules()
        for line, text in texts(path.read_text(encoding="utf-8"))
        for match in PHRASES.finditer(text)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        '"""It begins anew."""\n',
        "x = 1  # it is no number\n",
        "# said again\n# and again\n",
        'raise ValueError(f"{x} is dear")\n',
        "# queues are worked slowly off\n",
    ],
)
def test_a_phrase_is_found_in_docstrings_comments_and_messages(source: str) -> None:
    assert any(PHRASES.search(text) for _, text in texts(source))


@pytest.mark.parametrize(
    "source", ["told = 1\n", "# there is no such key\n", "# it is no longer there\n"]
)
def test_names_and_plain_english_are_left_alone(source: str) -> None:
    assert not any(PHRASES.search(text) for _, text in texts(source))
