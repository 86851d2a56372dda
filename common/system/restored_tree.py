"""A directory into which files are restored, with their times.

Source: docs/rescue.md, "What is written".
"""

from __future__ import annotations

import os
import stat
from functools import partial
from pathlib import Path

from common.system.disk import RealDisk


class RestoredTree(RealDisk):
    """The port of ``rescue/tree.py`` on a real directory.

    Args:
        root: exists.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)

    async def stat(self, path: str) -> tuple[int, int] | None:
        """Return size and time (Unix milliseconds) of a plain file; None where there is none."""
        try:
            found = await self._workers.run(partial(os.lstat, self._path(path)))
        except OSError:
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        return found.st_size, found.st_mtime_ns // 1_000_000

    async def set_time(self, path: str, modified_ms: int) -> None:
        """Set the time of a file. Raises Unavailable ``write_error``."""
        at_ns = modified_ms * 1_000_000
        work = partial(os.utime, self._path(path), ns=(at_ns, at_ns), follow_symlinks=False)
        await self._change(path, work)

    async def sync_all(self) -> None:
        """Make durable all that was written to any file system."""
        await self._workers.run(os.sync)
