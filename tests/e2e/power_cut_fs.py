"""A file system whose power can be cut: what was not synced is lost, torn or out of order.

A thin layer that gives a real process the simulator's disk, so that one model of durability serves
both. It runs as a process of its own and obeys lines of JSON on its standard input; each is
answered by one line. The medium outlives its mounts, as a disk outlives power cuts.

- ``{"do": "mount"}``
- ``{"do": "cut_at", "change": N, "done": BOOL}``: freeze at the N-th change from now on, after or
  before it is carried out. When that happens, a line ``{"frozen": NAME}`` comes by itself.
- ``{"do": "fail_at", "kind": TEXT, "change": N, "error": NAME, "onward": BOOL}``: the N-th change
  from now on whose name begins with the text fails, and all later ones of these if ``onward``.
  A sync that fails loses for good what it should have made durable, though it can be read until
  the power goes; a later sync knows nothing of it.
- ``{"do": "freeze"}``: now. Nothing is answered to the kernel from then on.
- ``{"do": "cut", "seed": N}``: after freezing: unmount, and lose what the seed says.
- ``{"do": "facts"}``

Source: docs/simulation.md; sim/disk.py; Rebello et al., "Can Applications Recover from fsync
Failures?" (USENIX ATC 2020).
"""

from __future__ import annotations

import errno
import json
import posixpath
import random
import selectors
import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from power_fuse import (
    FILE_MODE,
    FOLDER_MODE,
    ROOT_NODE,
    UNANSWERED,
    Asked,
    Call,
    Mount,
    Refusal,
    attributes_reply,
    entry_reply,
    init_reply,
    names_reply,
    opened_reply,
    space_reply,
)

from sim.disk import Inode, Platter, Undo

CAPACITY_BYTES: Final = 1 << 30
_SIZE_IS_SET: Final = 1 << 3
_ZERO_RANGE: Final = 2 | 16
"""fallocate: FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE."""
_KEEP_SIZE: Final = 1
_SETATTR: Final = struct.Struct("<II8xQ")
_READ: Final = struct.Struct("<8xQI")
_WRITE: Final = struct.Struct("<8xQI20x")
_FALLOCATE: Final = struct.Struct("<8xQQI")
_WRITTEN: Final = struct.Struct("<II")


class Folder(Inode):
    """A directory: as a name it is no more durable than a file's."""


class Doomed(Undo):
    """A write whose sync failed: the kernel takes it for done, the medium never got it."""


class Sure(Undo):
    """A write that a later sync made durable, in a file that has doomed ones."""


class Medium(Platter):
    """The simulator's disk, with directories whose own names may be lost, and failing syncs."""

    def sync(self, inode: Inode) -> None:
        """Make the writes of a file durable that can still be."""
        if any(isinstance(undo, Doomed) for undo in inode.unsynced):
            self._mark(inode, Sure)
        else:
            inode.unsynced.clear()

    def fail_sync(self, inode: Inode) -> None:
        """Lose the writes of a file that are not durable, unnoticed until the power goes."""
        self._mark(inode, Doomed)

    @staticmethod
    def _mark(inode: Inode, kind: type[Undo]) -> None:
        inode.unsynced = [
            undo
            if isinstance(undo, Doomed | Sure)
            else kind(undo.offset, undo.old, undo.old_size, undo.new)
            for undo in inode.unsynced
        ]

    def power_cut(self) -> None:
        linked = {id(inode) for inode in self.inodes.values()}
        changed = [inode for _, names in self._changes for inode in names.values()]
        named = [*self._durable.values(), *changed]
        unlinked = {id(inode): inode for inode in named if inode and id(inode) not in linked}
        for inode in unlinked.values():  # it may be there again
            self._tear(inode)
        super().power_cut()
        for path in sorted(self.inodes):
            folder = posixpath.dirname(path)
            if folder and folder not in self.inodes:
                self.change_names(folder, {path: None})
                self.sync_names(folder)

    def _tear(self, inode: Inode) -> None:
        undos, inode.unsynced = inode.unsynced, []
        for undo in reversed(undos):
            inode.content[undo.offset : undo.offset + len(undo.new)] = undo.old
            del inode.content[undo.old_size :]
        for undo in undos:
            if isinstance(undo, Doomed):
                continue
            if undo.new:
                self.write(inode, undo.offset, undo.new)
            else:
                self.truncate(inode, undo.offset)
            if isinstance(undo, Sure):
                inode.unsynced.clear()
            else:
                super()._tear(inode)


class FileSystem:
    """Carries out what the kernel asks, one mount long: nodes are numbered anew with each."""

    def __init__(self, medium: Medium) -> None:
        self._medium = medium
        self._nodes: dict[int, tuple[Inode, str]] = {ROOT_NODE: (Folder(), "")}
        """Inodes, and for directories their path: those are never renamed."""
        self._numbers: dict[int, int] = {}
        self._calls: Mapping[int, Callable[[int, memoryview], bytes]] = {
            Call.INIT: lambda _, body: init_reply(body),
            Call.LOOKUP: self._look_up,
            Call.GETATTR: lambda node, _: self._attributes(node),
            Call.SETATTR: self._set_attributes,
            Call.MKDIR: self._make_folder,
            Call.CREATE: self._create,
            Call.UNLINK: self._unlink,
            Call.RMDIR: self._remove_folder,
            Call.RENAME: lambda node, body: self._rename(node, body[:8], body[8:]),
            Call.RENAME2: lambda node, body: self._rename(node, body[:8], body[16:]),
            Call.OPEN: lambda node, body: opened_reply(),
            Call.OPENDIR: lambda node, body: opened_reply(),
            Call.RELEASE: lambda node, body: b"",
            Call.RELEASEDIR: lambda node, body: b"",
            Call.READ: self._read,
            Call.WRITE: self._write,
            Call.FALLOCATE: self._allocate,
            Call.FSYNC: self._sync,
            Call.FSYNCDIR: self._sync_names,
            Call.READDIR: self._read_names,
            Call.STATFS: lambda node, body: self._space(),
            Call.DESTROY: lambda node, body: b"",
        }

    @staticmethod
    def change(asked: Asked) -> str:
        """The name of the change that a request is; empty if it changes nothing."""
        if asked.code == Call.SETATTR:
            return "truncate" if _SETATTR.unpack_from(asked.body)[0] & _SIZE_IS_SET else ""
        return _CHANGES.get(asked.code, "")

    def carry_out(self, asked: Asked) -> bytes:
        """Do it and return the reply.

        Raises:
            Refusal: the answer is an error.
        """
        call = self._calls.get(asked.code)
        if call is None:
            raise Refusal(errno.ENOSYS)
        return call(asked.node, asked.body)

    def fail(self, asked: Asked) -> None:
        """What comes of a change that fails."""
        if asked.code == Call.FSYNC:
            self._medium.fail_sync(self._inode(asked.node))

    # --- names -----------------------------------------------------------------------------------

    def _inode(self, node: int) -> Inode:
        return self._nodes[node][0]

    def _path(self, folder: int, name: bytes | memoryview) -> str:
        return posixpath.join(self._nodes[folder][1], bytes(name).split(b"\0")[0].decode())

    def _number(self, inode: Inode, path: str) -> int:
        number = self._numbers.get(id(inode))
        if number is None:
            number = self._numbers[id(inode)] = len(self._nodes) + ROOT_NODE
            self._nodes[number] = (inode, path)
        return number

    def _entry(self, path: str) -> bytes:
        inode = self._medium.inodes.get(path)
        if inode is None:
            raise Refusal(errno.ENOENT)
        return entry_reply(self._number(inode, path), len(inode.content), _mode(inode))

    def _look_up(self, folder: int, body: memoryview) -> bytes:
        return self._entry(self._path(folder, body))

    def _names(self, folder: int) -> list[tuple[str, bool]]:
        start = self._path(folder, b"")
        return [
            (path[len(start) :], isinstance(inode, Folder))
            for path, inode in self._medium.inodes.items()
            if path.startswith(start) and "/" not in path[len(start) :]
        ]

    def _read_names(self, folder: int, body: memoryview) -> bytes:
        first, size = _READ.unpack_from(body)
        return names_reply(sorted(self._names(folder)), first, size)

    def _change_names(self, folder: int, names: dict[str, Inode | None]) -> None:
        self._medium.change_names(self._nodes[folder][1], names)

    def _make_folder(self, folder: int, body: memoryview) -> bytes:
        path = self._path(folder, body[8:])
        self._change_names(folder, {path: Folder()})
        return self._entry(path)

    def _create(self, folder: int, body: memoryview) -> bytes:
        path = self._path(folder, body[16:])
        self._change_names(folder, {path: Inode()})
        return self._entry(path) + opened_reply()

    def _unlink(self, folder: int, body: memoryview) -> bytes:
        self._change_names(folder, {self._path(folder, body): None})
        return b""

    def _remove_folder(self, folder: int, body: memoryview) -> bytes:
        path = self._path(folder, body)
        if any(each.startswith(path + "/") for each in self._medium.inodes):
            raise Refusal(errno.ENOTEMPTY)
        self._change_names(folder, {path: None})
        return b""

    def _rename(self, folder: int, target_folder: memoryview, names: memoryview) -> bytes:
        old, new, *_ = bytes(names).split(b"\0")
        (target_node,) = struct.unpack("<Q", target_folder)
        source, target = self._path(folder, old), self._path(target_node, new)
        inode = self._medium.inodes[source]
        if isinstance(inode, Folder):
            raise Refusal(errno.EPERM)
        self._change_names(target_node, {source: None, target: inode})
        return b""

    def _sync_names(self, folder: int, body: memoryview) -> bytes:
        self._medium.sync_names(self._nodes[folder][1])
        return b""

    # --- files -----------------------------------------------------------------------------------

    def _attributes(self, node: int) -> bytes:
        inode = self._inode(node)
        return attributes_reply(node, len(inode.content), _mode(inode))

    def _set_attributes(self, node: int, body: memoryview) -> bytes:
        valid, _, size = _SETATTR.unpack_from(body)
        if valid & _SIZE_IS_SET:
            self._medium.truncate(self._inode(node), size)
        return self._attributes(node)

    def _read(self, node: int, body: memoryview) -> bytes:
        offset, length = _READ.unpack_from(body)
        return bytes(memoryview(self._inode(node).content)[offset : offset + length])

    def _write(self, node: int, body: memoryview) -> bytes:
        offset, length = _WRITE.unpack_from(body)
        self._put(self._inode(node), offset, bytes(body[_WRITE.size :]))
        return _WRITTEN.pack(length, 0)

    def _put(self, inode: Inode, offset: int, data: bytes) -> None:
        growth = max(0, offset + len(data) - len(inode.content))
        if growth > self._medium.capacity_bytes - self._medium.used_bytes():
            raise Refusal(errno.ENOSPC)
        self._medium.write(inode, offset, data)

    def _allocate(self, node: int, body: memoryview) -> bytes:
        offset, length, mode = _FALLOCATE.unpack_from(body)
        inode = self._inode(node)
        if mode & _ZERO_RANGE:
            end = min(offset + length, len(inode.content))
            self._put(inode, offset, bytes(max(0, end - offset)))
        elif not mode & _KEEP_SIZE and offset + length > len(inode.content):
            self._medium.truncate(inode, offset + length)
        return b""

    def _sync(self, node: int, body: memoryview) -> bytes:
        self._medium.sync(self._inode(node))
        return b""

    def _space(self) -> bytes:
        total, used = self._medium.capacity_bytes, self._medium.used_bytes()
        return space_reply(total, total - used)


_CHANGES: Final = {
    Call.MKDIR: "make_directory",
    Call.CREATE: "create",
    Call.UNLINK: "unlink",
    Call.RMDIR: "remove_directory",
    Call.RENAME: "rename",
    Call.RENAME2: "rename",
    Call.WRITE: "write",
    Call.FALLOCATE: "allocate",
    Call.FSYNC: "sync",
    Call.FSYNCDIR: "sync_directory",
}


def _mode(inode: Inode) -> int:
    return FOLDER_MODE if isinstance(inode, Folder) else FILE_MODE


class PowerCutDisk:
    """One medium, mounted over and over at one place."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._medium = Medium(random.Random(0), CAPACITY_BYTES)
        self._selector = selectors.DefaultSelector()
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        self._mount: Mount | None = None
        self._files = FileSystem(self._medium)
        self._frozen = False
        self._changes = 0
        self._cut_at = -1
        self._cut_when_done = False
        self._fail_from = self._fail_to = -1
        self._fail_kind = ""
        self._of_kind = 0
        self._error = 0
        self._failed = 0

    def run(self) -> None:
        """Serve until the standard input ends."""
        try:
            while True:
                for key, _ in self._selector.select():
                    if key.fileobj is not sys.stdin:
                        self._serve_one()
                        continue
                    line = sys.stdin.readline()
                    if not line:
                        return
                    answer = self._obey(json.loads(line))
                    print(json.dumps(answer), flush=True)
        finally:
            self._let_go()

    def _obey(self, order: dict[str, Any]) -> dict[str, Any]:
        match order["do"]:
            case "mount":
                self._files = FileSystem(self._medium)
                self._mount = Mount(self._place)
                self._frozen = False
                self._fail_from = self._fail_to = -1
                self._failed = 0
                self._selector.register(self._mount.descriptor, selectors.EVENT_READ)
            case "cut_at":
                self._cut_at = self._changes + order["change"]
                self._cut_when_done = order["done"]
            case "fail_at":
                self._fail_kind, self._of_kind = order["kind"], 0
                self._fail_from = order["change"]
                self._fail_to = sys.maxsize if order["onward"] else self._fail_from
                self._error = getattr(errno, order["error"])
            case "freeze":
                self._freeze()
            case "cut":
                assert self._frozen
                self._let_go()
                self._medium.chance = random.Random(order["seed"])
                self._medium.power_cut()
        return {
            "done": order["do"],
            "changes": self._changes,
            "failed": self._failed,
            "used_bytes": self._medium.used_bytes(),
            "files": sorted(self._medium.inodes),
        }

    def _freeze(self) -> None:
        if not self._frozen:
            assert self._mount is not None
            self._frozen = True
            self._cut_at = -1
            self._selector.unregister(self._mount.descriptor)

    def _let_go(self) -> None:
        if self._mount is not None:
            self._mount.let_go()
            self._mount = None

    def _serve_one(self) -> None:
        assert self._mount is not None
        asked = self._mount.next_nowait()
        if asked is None:
            return
        change = self._files.change(asked)
        self._changes += bool(change)
        is_last = bool(change) and self._changes == self._cut_at
        if not is_last or self._cut_when_done:
            self._answer(self._mount, asked, change, is_last)
        if is_last:
            self._freeze()
            print(json.dumps({"frozen": change}), flush=True)

    def _fails(self, change: str) -> bool:
        if not change or not change.startswith(self._fail_kind):
            return False
        self._of_kind += 1
        return self._fail_from <= self._of_kind <= self._fail_to

    def _answer(self, mount: Mount, asked: Asked, change: str, is_last: bool) -> None:
        reply, error = b"", 0
        if self._fails(change):
            self._failed += 1
            self._files.fail(asked)
            error = self._error
        else:
            try:
                reply = self._files.carry_out(asked)
            except Refusal as refusal:
                error = refusal.number
        if asked.code not in UNANSWERED and not is_last:
            mount.answer(asked.unique, [reply] if reply else [], error)


if __name__ == "__main__":
    PowerCutDisk(Path(sys.argv[1])).run()
