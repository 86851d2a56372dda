"""Secrets that a command takes: not only as a word of the command line, which other users of the
machine can read in the list of processes for as long as the command runs.

Source: docs/operations.md, "Joining".
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click


class Secret(click.ParamType[str]):
    """A secret: ``-`` takes it from standard input, ``@FILE`` from a file; else it is the word."""

    name = "secret"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value == "-":
            text = sys.stdin.readline()
        elif value.startswith("@"):
            try:
                text = Path(value[1:]).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                self.fail(f"cannot read {value[1:]}: {error}", param, ctx)
        else:
            return value
        if not text.strip():
            self.fail("there is no secret", param, ctx)
        return text.strip()


SECRET: Final = Secret()
