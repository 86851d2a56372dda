"""Texts of policies: with wildcards (``*``, ``?``), and with variables (``${aws:username}``).

Matching takes time linear in the subject for each stretch between two ``*``: no pattern makes it
try all ways to share a subject between them.

Source: AWS IAM User Guide, "IAM policy elements: Variables and tags", "Resource".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

from common.data_classes import dataclass

_VARIABLE: Final = re.compile(
    r"\$\{(?:(?P<literal>[*?$])|(?P<name>[A-Za-z0-9:/_.+=@-]+)(?:,\s*'(?P<default>[^']*)')?)\}"
)


class Circumstances(Protocol):
    """The facts of a request that policies may ask about."""

    def values(self, key: str) -> Sequence[str] | None:
        """Return the values of a condition key; None or empty where the request has none.

        Args:
            key: in lower case, but for a tag's key behind the slash.
        """


class NothingKnown:
    """The circumstances of a request of which nothing is known."""

    def values(self, key: str) -> Sequence[str] | None:
        del key
        return None


NOTHING_KNOWN: Final = NothingKnown()


class Unresolved(Exception):
    """A variable without a value and without a default."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A place that a fact of the request fills. ``key``: as :meth:`Circumstances.values` has it."""

    key: str
    default: str | None

    def lower(self) -> Variable:
        """Return the variable with its default in lower case."""
        return self if self.default is None else Variable(self.key, self.default.lower())


class Wildcard:
    """A wildcard: any characters, or one."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


ANY: Final = Wildcard("ANY")
ONE: Final = Wildcard("ONE")
Piece: TypeAlias = str | Variable | Wildcard


def condition_key(name: str) -> str:
    """Return the name of a condition key in the one form that is compared: in lower case, but for
    the key of a tag, whose case counts."""
    head, slash, tag = name.partition("/")
    return head.lower() + slash + tag


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text of a policy. ``text``: as written. ``globs``: the compiled stretches between ``*``, or
    None where variables have to be filled in first."""

    text: str
    pieces: tuple[Piece, ...]
    globs: tuple[_Stretch, ...] | None

    @property
    def is_fixed(self) -> bool:
        """Return whether it stands for one text, whatever the request."""
        return all(isinstance(each, str) for each in self.pieces)

    def matches(self, subject: str, circumstances: Circumstances) -> bool:
        """Return whether the whole subject fits; False where a variable has no value."""
        globs = self.globs
        if globs is None:
            try:
                globs = _compiled(self._filled(circumstances))
            except Unresolved:
                return False
        return _match(globs, subject)

    def fold(self) -> Pattern:
        """Return the pattern in lower case, for subjects in lower case."""
        pieces = tuple(each if isinstance(each, Wildcard) else each.lower() for each in self.pieces)
        return Pattern(self.text, pieces, None if self.globs is None else _compiled(pieces))

    def _filled(self, circumstances: Circumstances) -> list[Piece]:
        filled: list[Piece] = []
        for piece in self.pieces:
            if isinstance(piece, Variable):
                values = circumstances.values(piece.key)
                value = values[0] if values and len(values) == 1 else piece.default
                if value is None:
                    raise Unresolved
                filled.append(value)
            else:
                filled.append(piece)
        return filled


def parse_pattern(text: str, *, wildcards: bool = True, variables: bool = True) -> Pattern:
    """Read a text of a policy.

    Args:
        wildcards: ``*`` and ``?`` stand for other characters.
        variables: ``${...}`` stands for a fact of the request (policies of version 2012-10-17).
    """
    pieces: list[Piece] = []
    position = 0
    for match in _VARIABLE.finditer(text) if variables else ():
        pieces += _split(text[position : match.start()], wildcards)
        position = match.end()
        if match["literal"] is not None:
            pieces.append(match["literal"])
        else:
            pieces.append(Variable(condition_key(match["name"]), match["default"]))
    pieces += _split(text[position:], wildcards)
    done = tuple(pieces)
    has_variables = any(isinstance(each, Variable) for each in done)
    return Pattern(text, done, None if has_variables else _compiled(done))


def _split(text: str, wildcards: bool) -> list[Piece]:
    if not wildcards:
        return [text] if text else []
    pieces: list[Piece] = []
    for each in re.split(r"([*?])", text):
        if each == "*":
            if not pieces or pieces[-1] is not ANY:
                pieces.append(ANY)
        elif each == "?":
            pieces.append(ONE)
        elif each:
            pieces.append(each)
    return pieces


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A part of a pattern without ``*``. ``form``: None: exactly ``text``."""

    text: str
    form: re.Pattern[str] | None

    def find(self, subject: str, start: int, end: int) -> int:
        """Return where it first stands between two places; -1: nowhere."""
        if self.form is None:
            return subject.find(self.text, start, end)
        match = self.form.search(subject, start, end)
        return -1 if match is None else match.start()

    def stands(self, subject: str, at: int) -> bool:
        """Return whether it stands at a place."""
        if self.form is None:
            return subject.startswith(self.text, at)
        return self.form.match(subject, at) is not None


def _compiled(pieces: Sequence[Piece]) -> tuple[_Stretch, ...]:
    stretches: list[_Stretch] = []
    run: list[str | Wildcard] = []
    for piece in (*pieces, ANY):
        if piece is not ANY:
            assert not isinstance(piece, Variable), "filled in before"
            run.append(piece)
            continue
        text = "".join([each if isinstance(each, str) else "?" for each in run])
        form = None
        if any(each is ONE for each in run):
            form = re.compile(
                "".join([re.escape(each) if isinstance(each, str) else "." for each in run]),
                re.DOTALL,
            )
        stretches.append(_Stretch(text, form))
        run = []
    return tuple(stretches)


def _match(globs: tuple[_Stretch, ...], subject: str) -> bool:
    first, last = globs[0], globs[-1]
    start, end = len(first.text), len(subject) - len(last.text)
    if len(globs) == 1:
        return len(subject) == start and first.stands(subject, 0)
    if end < start or not first.stands(subject, 0) or not last.stands(subject, end):
        return False
    for stretch in globs[1:-1]:
        # The first place leaves the most room for what follows.
        found = stretch.find(subject, start, end)
        if found < 0:
            return False
        start = found + len(stretch.text)
    return True
