"""The requests of clients and the answers they got: the input of the checkers."""

from __future__ import annotations

import hashlib
from dataclasses import field

import trio

from common.data_classes import dataclass
from sim.checkers.linearizability import UNKNOWN_END, RegisterEffect, RegisterOperation
from sim.checkers.naming import Names


@dataclass(frozen=True, slots=True)
class Value:
    """One object content, made of its name alone so that it need not be kept."""

    name: str
    size: int
    source: Value | None = None
    """Of a copied range: what it is a range of, from byte ``first`` on."""
    first: int = 0

    def content(self) -> bytes:
        """The bytes: the name, repeated, under a hash, so that every range identifies it."""
        if self.source is not None:
            return self.source.content()[self.first : self.first + self.size]
        seed = self.name.encode()
        block = b"".join(
            hashlib.blake2b(seed, salt=number.to_bytes(16, "big")).digest() for number in range(64)
        )
        return (block * (self.size // len(block) + 1))[: self.size]

    def etag(self) -> str:
        """The ETag of the content in one PUT, with its quotes."""
        return f'"{hashlib.md5(self.content(), usedforsecurity=False).hexdigest()}"'


@dataclass(frozen=True, slots=True)
class Wait:
    """The time that a client waited for the answer to one request. ``is_answered``: not by an error
    of the server, and not by silence."""

    start_s: float
    seconds: float
    is_answered: bool


@dataclass(slots=True)
class OperationHistory:
    """Operations by place, and the values written. A place is a bucket and a key, as one text."""

    operations: dict[str, list[RegisterOperation]] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    wrong_bytes: list[str] = field(default_factory=list)
    """Readable accounts of answers whose bytes were not any value's."""
    counts: dict[str, int] = field(default_factory=dict)
    names: Names = field(default_factory=Names)
    waits: list[Wait] = field(default_factory=list)

    def new_value(self, size: int, place: str) -> Value:
        """A value that no one has written yet, about to be written to that place."""
        value = Value(f"v{len(self.values)}", size)
        self.values[value.name] = value
        self.names.allow(place, value.name, value.content())
        return value

    def new_range(self, source: Value, first: int, last: int, place: str) -> Value:
        """The value that a copy of bytes ``first..last`` of another to that place makes."""
        value = Value(f"v{len(self.values)}", last - first + 1, source, first)
        self.values[value.name] = value
        self.names.allow(place, value.name, value.content())
        return value

    def record(
        self,
        key: str,
        kind: RegisterEffect,
        start_s: float,
        *,
        value: str | None = None,
        expected: str | None = None,
        holds: bool = True,
        known: bool = True,
    ) -> None:
        """Add an operation that has just been answered (or abandoned)."""
        now = trio.current_time()
        end_s, given_up_s = (now, UNKNOWN_END) if known else (UNKNOWN_END, now)
        operation = RegisterOperation(kind, start_s, end_s, value, expected, holds, given_up_s)
        self.operations.setdefault(key, []).append(operation)
        self.count(f"{kind.value} {'answered' if known else 'unknown'}")

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
