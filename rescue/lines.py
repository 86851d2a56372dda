"""Files of lines that take their place once they are whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import trio

from common.ports import File
from rescue.records import line
from rescue.tree import TargetTree

_GATHERED_BYTES: Final = 256 << 10


class LinesFile:
    """A file of JSON lines, of which nothing is seen under its name before :meth:`finish`.

    Args:
        draft: the name that it has meanwhile.
    """

    def __init__(self, tree: TargetTree, draft: str, path: str) -> None:
        self.count = 0
        self._tree = tree
        self._draft = draft
        self._path = path
        self._file: File | None = None
        self._written = 0
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._lock = trio.Lock()

    async def add(self, record: Mapping[str, Any]) -> None:
        """Add a line. Raises Unavailable: it cannot be written."""
        made = line(record)
        self.count += 1
        self._waiting.append(made)
        self._waiting_bytes += len(made)
        if self._waiting_bytes >= _GATHERED_BYTES:
            await self._flush()

    async def _flush(self) -> None:
        async with self._lock:
            lines, self._waiting, self._waiting_bytes = self._waiting, [], 0
            if self._file is None:
                self._file = await self._tree.open(self._draft, create=True)
                await self._file.truncate(0)
            await self._file.write(self._written, lines)
            self._written += sum(map(len, lines))

    async def finish(self) -> None:
        """Give the file its name. Raises Unavailable: it cannot be written."""
        await self._flush()
        assert self._file is not None
        await self._file.sync()
        await self.close()
        await self._tree.rename(self._draft, self._path)

    async def close(self) -> None:
        """Close, whether it is whole or not."""
        if self._file is not None:
            await self._file.close()
            self._file = None
