"""The kernel's side of a file system in user space: mounting, requests and replies as bytes.

FUSE's own wire protocol is spoken here directly over /dev/fuse, since a power cut needs what
libraries hide: to stop answering between any two requests, and to let a mount go without writing
anything back.

Source: the kernel's include/uapi/linux/fuse.h (protocol 7.31); fuse(4); libfuse's mount_util.
"""

from __future__ import annotations

import array
import ctypes
import errno
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

DEVICE: Final = Path("/dev/fuse")
MAX_WRITE_BYTES: Final = 128 * 1024
ROOT_NODE: Final = 1
FOLDER_MODE: Final = 0o40700
FILE_MODE: Final = 0o100600
FOR_EVER_S: Final = 1 << 20
"""Only this kernel changes the files: what it knows of them stays true."""

_MAJOR: Final = 7
_MINOR: Final = 31
_ASYNC_READ: Final = 1 << 0
_BIG_WRITES: Final = 1 << 5
_MAX_PAGES: Final = 1 << 22
_KEEP_CACHE: Final = 1 << 1
_NO_FLUSH: Final = 1 << 5
_MS_NOSUID_NODEV: Final = 2 | 4
_MNT_DETACH: Final = 2
_NAME: Final = b"alveary-power-cut"

_REQUEST: Final = struct.Struct("<IIQQIIIHH")
_REPLY: Final = struct.Struct("<IiQ")
_INIT: Final = struct.Struct("<IIII")
_INIT_REPLY: Final = struct.Struct("<IIIIHHIIHHI28x")
_ATTRIBUTES: Final = struct.Struct("<QQQQQQIIIIIIIIII")
_ENTRY: Final = struct.Struct("<QQQQII")
_ATTRIBUTES_HEAD: Final = struct.Struct("<QII")
_OPENED: Final = struct.Struct("<QIi")
_SPACE: Final = struct.Struct("<QQQQQIIII24x")
_NAMED: Final = struct.Struct("<QQII")


class Call(IntEnum):
    """What the kernel asks for: those that are understood here."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    CREATE = 35
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42
    FALLOCATE = 43
    RENAME2 = 45


UNANSWERED: Final = frozenset({Call.FORGET, Call.INTERRUPT, Call.BATCH_FORGET})


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of the kernel."""

    code: int
    unique: int
    node: int
    body: memoryview


class Refusal(Exception):
    """The answer is an error number."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number = number


class Mount:
    """A mounted file system that nobody answers for yet.

    Args:
        place: an empty directory.

    Raises:
        OSError: this machine does not let this user mount.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self._buffer = bytearray(MAX_WRITE_BYTES + 16 * 1024)
        self.descriptor = _mounted(place)
        os.set_blocking(self.descriptor, False)

    def next_nowait(self) -> Asked | None:
        """The next request, if one is waiting; good until the next call."""
        try:
            length = os.readv(self.descriptor, [self._buffer])
        except OSError as error:
            if error.errno in {errno.EINTR, errno.ENOENT, errno.EAGAIN}:  # it was taken back
                return None
            raise
        _, code, unique, node, *_ = _REQUEST.unpack_from(self._buffer)
        return Asked(code, unique, node, memoryview(self._buffer)[_REQUEST.size : length])

    def answer(self, unique: int, parts: Sequence[bytes | memoryview] = (), error: int = 0) -> None:
        """Answer a request with bytes, or with an error number."""
        length = _REPLY.size + sum(map(len, parts))
        try:
            os.writev(self.descriptor, [_REPLY.pack(length, -error, unique), *parts])
        except OSError as failure:
            if failure.errno != errno.ENOENT:  # who asked was killed meanwhile
                raise

    def let_go(self) -> None:
        """End it at once: what the kernel has not handed over is gone."""
        os.close(self.descriptor)
        unmount_if_mounted(self.place)


# --- replies ------------------------------------------------------------------------------------


def init_reply(body: memoryview) -> bytes:
    """Agree on the protocol: writes go through at once, reads and mmap use the page cache."""
    _, _, readahead, flags = _INIT.unpack_from(body)
    wanted = flags & (_ASYNC_READ | _BIG_WRITES | _MAX_PAGES)
    pages = MAX_WRITE_BYTES // 4096
    return _INIT_REPLY.pack(
        _MAJOR, _MINOR, readahead, wanted, 16, 12, MAX_WRITE_BYTES, 1, pages, 0, 0
    )


def _attributes(node: int, size: int, mode: int) -> bytes:
    blocks = -(-size // 512)
    owner = (os.getuid(), os.getgid())
    return _ATTRIBUTES.pack(node, size, blocks, 0, 0, 0, 0, 0, 0, mode, 1, *owner, 0, 4096, 0)


def attributes_reply(node: int, size: int, mode: int) -> bytes:
    """fuse_attr_out."""
    return _ATTRIBUTES_HEAD.pack(FOR_EVER_S, 0, 0) + _attributes(node, size, mode)


def entry_reply(node: int, size: int, mode: int) -> bytes:
    """fuse_entry_out."""
    head = _ENTRY.pack(node, 0, FOR_EVER_S, FOR_EVER_S, 0, 0)
    return head + _attributes(node, size, mode)


def opened_reply() -> bytes:
    """fuse_open_out."""
    return _OPENED.pack(0, _KEEP_CACHE | _NO_FLUSH, 0)


def space_reply(total_bytes: int, free_bytes: int) -> bytes:
    """fuse_statfs_out."""
    total, free = total_bytes // 4096, free_bytes // 4096
    return _SPACE.pack(total, free, free, 1 << 20, 1 << 20, 4096, 255, 4096, 0)


def names_reply(entries: Sequence[tuple[str, bool]], first: int, most_bytes: int) -> bytes:
    """Directory entries from the ``first`` on, as many as there is room for.

    Args:
        entries: each a name, and whether it is a directory.
    """
    reply = b""
    for position, (name, is_folder) in enumerate(entries[first:], first + 1):
        raw = name.encode()
        kind = 4 if is_folder else 8
        entry = _NAMED.pack(position + 1, position, len(raw), kind) + raw
        entry += bytes(-len(entry) % 8)
        if len(reply) + len(entry) > most_bytes:
            break
        reply += entry
    return reply


# --- mounting -----------------------------------------------------------------------------------


def _mounted(place: Path) -> int:
    """Mount, as root by the system call, else by fusermount3; returns the device's descriptor."""
    if os.geteuid() != 0:
        return _mounted_by_helper(place)
    descriptor = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={descriptor},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(_NAME, os.fsencode(place), b"fuse", _MS_NOSUID_NODEV, options.encode()):
        number = ctypes.get_errno()
        os.close(descriptor)
        raise OSError(number, os.strerror(number), "mount")
    return descriptor


def _helper() -> str:
    helper = shutil.which("fusermount3") or shutil.which("fusermount")
    if helper is None:
        raise OSError(errno.EPERM, "only root mounts without fusermount3")
    return helper


def _mounted_by_helper(place: Path) -> int:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done = subprocess.run(
            [_helper(), "-o", "nosuid,nodev", "--", str(place)],
            env={**os.environ, "_FUSE_COMMFD": str(theirs.fileno())},
            pass_fds=[theirs.fileno()],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise OSError(errno.EPERM, done.stderr.strip())
        _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
    descriptors = array.array("i")
    descriptors.frombytes(ancillary[0][2][:4])
    os.set_inheritable(descriptors[0], False)
    return descriptors[0]


def unmount_if_mounted(place: Path) -> None:
    """Detach whatever is mounted there, even if nobody answers for it any more."""
    if os.geteuid() != 0:
        subprocess.run([_helper(), "-u", "-z", "--", str(place)], check=False, capture_output=True)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(place), _MNT_DETACH):
        number = ctypes.get_errno()
        if number != errno.EINVAL:  # nothing is mounted there
            raise OSError(number, os.strerror(number), str(place))


def why_not(place: Path) -> str:
    """Why this machine cannot mount; empty if it can."""
    if not DEVICE.exists():
        return f"{DEVICE} is missing"
    try:
        Mount(place).let_go()
    except OSError as error:
        return f"FUSE cannot be mounted here: {error}"
    return ""
