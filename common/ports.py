"""The ports: everything a service needs from the world, and nothing else touches the world.

Each has a real implementation in ``common/system``, a simulated one in ``sim``, and one conformance
suite in ``tests/conformance`` that runs against both. Services get a :class:`World` from their
composition root (``main.py``) and pass single ports on.

All methods that may block are ``async`` and run under trio. Foreign exceptions never leave a port:
they become errors of :mod:`common.errors`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, TypeVar

from common.data_classes import dataclass
from common.errors import AlvearyError
from common.ids import PeerId

T = TypeVar("T")
Buffer: TypeAlias = bytes | bytearray | memoryview


class Address(NamedTuple):
    """The address of a listener: a host name or IP literal, and a TCP port (0 = any free one)."""

    host: str
    port: int

    @property
    def is_wildcard(self) -> bool:
        """Return whether it stands for every address of the machine, and so leads nowhere."""
        return self.host in ("0.0.0.0", "::", "")  # noqa: S104  # nothing listens here

    @property
    def is_loopback(self) -> bool:
        """Return whether a listener here is for this machine alone. A name is only if it is
        localhost."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Stream(Protocol):
    """A bidirectional byte stream; one task may send while another receives."""

    @property
    def server_key(self) -> bytes | None:
        """The raw Ed25519 public key the server side proved in TLS; None on a plain stream."""

    @property
    def remote(self) -> str:
        """The other end, for logs only."""

    async def send(self, parts: Sequence[Buffer]) -> None:
        """Send all parts in order, gathered into as few system calls as possible.

        Raises:
            Unavailable: ``connection_lost``. The other side may have got any prefix.
        """

    def send_nowait(self, parts: Sequence[Buffer]) -> int:
        """Send what can be sent without waiting, while nobody is in :meth:`send`. Never raises:
        what is wrong with the stream shows in the next :meth:`send`.

        Args:
            parts: few and short: they may be copied together.

        Returns:
            How many of their bytes are on their way. What is sent next must begin with the others.
        """

    async def receive_into(self, buffer: memoryview) -> int:
        """Wait for bytes and put as many as are at hand, at most ``len(buffer)``, into it.

        Returns:
            The number of bytes; 0 at the end of the stream.

        Raises:
            Unavailable: ``connection_lost``.
        """

    async def close(self) -> None:
        """Close both directions, quickly and without raising. May be called again."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """The certificate that a listener shows to strangers: a chain (the server's certificate first)
    and its private key, both PEM. ``ends_at_s``: when the server's certificate expires, Unix
    seconds."""

    chain: bytes = field(repr=False)
    key: bytes = field(repr=False)
    ends_at_s: float


class CertificateSource(Protocol):
    """The source of a certificate, read again when it was replaced."""

    async def read(self) -> Certificate:
        """The certificate as it is now.

        Raises:
            BadConfig: ``cannot_read``, ``bad_certificate``.
        """


class Listener(Protocol):
    """A bound listening socket."""

    @property
    def address(self) -> Address:
        """The bound address (the real port where 0 was asked for)."""

    async def accept(self) -> Stream:
        """Wait for the next stream; for a secure listener its TLS handshake is NOT yet done:
        it is done by the first send or receive, so that one slow peer stops nobody else."""

    def renew(self, certificate: Certificate) -> None:
        """Show this certificate on connections that are accepted from now on.

        Args:
            certificate: only for a listener that was given one.

        Raises:
            BadConfig: ``bad_certificate``: chain and key do not fit, or cannot be read. The one
                before stays.
        """

    async def close(self) -> None: ...


class Identity(Protocol):
    """An Ed25519 key pair that a peer listens with and signs with."""

    @property
    def public_key(self) -> bytes:
        """32 raw bytes."""

    @property
    def peer_id(self) -> PeerId: ...

    @property
    def private_key(self) -> bytes:
        """32 raw bytes (the seed); only ``common/system`` and ``common/crypto`` read it."""

    def sign(self, message: bytes) -> bytes:
        """64 bytes Ed25519 signature."""


ANY_KEY: Final = PeerId(b"")
"""A pin that every key passes: who connects judges the key that the stream shows, before it sends
anything."""


class Network(Protocol):
    """TCP, and TLS 1.3 with the server's Ed25519 key pinned."""

    async def connect(self, address: Address, *, pin: PeerId | None) -> Stream:
        """Connect; with a pin, over TLS 1.3, done and checked against the pin on return.

        Raises:
            Unavailable: ``connect_failed`` (nobody there, refused, timed out).
            PeerViolation: ``wrong_server_key``.
        """

    async def listen(
        self,
        address: Address,
        *,
        identity: Identity | None,
        certificate: Certificate | None = None,
    ) -> Listener:
        """Bind and listen: with an identity for peers that pin its key (TLS 1.3), with a
        certificate for strangers that trust its authority (HTTP over TLS 1.2 and 1.3), with
        neither in plain TCP. Both are not given.

        Raises:
            BadConfig: ``cannot_listen``; ``bad_certificate``.
        """


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes of the file system a directory lies on, as ``df`` shows them to an ordinary user.

    ``medium``: at most 16 bytes that name it among all machines' while they run.
    """

    total_bytes: int
    free_bytes: int
    medium: bytes = b""


class File(Protocol):
    """An open file. Offsets are absolute; it has no position."""

    async def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes at ``offset``; shorter only at the end of the file.

        Raises:
            Corrupt: ``read_error`` (EIO).
        """

    async def write(self, offset: int, parts: Sequence[Buffer]) -> None:
        """Write all parts one after another at ``offset``. Not durable before :meth:`sync`.

        Raises:
            Unavailable: ``no_space`` (ENOSPC, EDQUOT) or ``write_error``. Any part of it may
                have been written.
        """

    async def sync(self) -> None:
        """fdatasync: what was written before the call is durable after it.

        Raises:
            Unavailable: ``sync_failed``. Never call it again on this file: the kernel may have
                dropped the pages and marked them clean. What was written since the last good
                sync counts as lost.
        """

    async def begin_writeback(self, offset: int, length: int) -> None:
        """Let the medium begin with what was written there, so that the next :meth:`sync` waits for
        less of it. A hint: nothing is durable by it, and it never fails; a sync says what did."""

    async def size(self) -> int: ...

    async def truncate(self, length: int) -> None: ...

    async def close(self) -> None: ...


class Disk(Protocol):
    """A directory tree of one daemon. Paths are relative, with ``/``, and never leave the tree."""

    async def open(self, path: str, *, create: bool = False) -> File:
        """Open for reading and writing; where the medium can only be read, for reading, and
        writes fail with ``write_error``. A created name is durable only after
        :meth:`sync_directory` of its directory.

        Raises:
            NotFound: ``no_such_file`` and ``create`` is false.
            Unavailable: ``no_space`` or ``write_error``.
        """

    async def names(self, path: str) -> list[str]:
        """Sorted names in a directory; empty when the directory does not exist."""

    async def make_directory(self, path: str) -> None:
        """Make it and its parents; fine if it exists."""

    async def rename(self, source: str, target: str) -> None:
        """Atomically replace target by source; durable after :meth:`sync_directory`."""

    async def unlink(self, path: str) -> None: ...

    async def sync_directory(self, path: str) -> None:
        """fsync the directory. Raises Unavailable ``sync_failed``."""

    async def space(self) -> Space: ...


class Sql(Protocol):
    """The argument of a store function: a plain ``sqlite3.Connection`` or a look-alike."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Any:
        """Run one statement; returns a cursor that can be iterated and has ``rowcount``."""

    def executemany(self, sql: str, parameters: Any, /) -> Any: ...


class SqlStatement(NamedTuple):
    """A statement that may have changed a store. ``is_many``: ``parameters`` has one tuple for each
    time that it was run."""

    sql: str
    parameters: Sequence[Any]
    is_many: bool


class CommitGate(Protocol):
    """The gate of a store's commits: a commit that changed something waits until it lets it pass.

    One commit at a time is at the gate.
    """

    @property
    def is_closed(self) -> bool:
        """True while commits have to pass it; else the store commits by itself."""

    def seal(self, sql: Sql, statements: Sequence[SqlStatement], changes: int) -> object:
        """Take in what a commit consists of, inside its transaction and in the store's thread.

        Args:
            sql: the transaction: what is written now is part of it.
            statements: of all its functions, in the order in which they were run.
            changes: rows that were changed.

        Returns:
            The commit, for the other methods.

        Raises:
            AlvearyError: it cannot pass: the transaction is rolled back.
        """

    def write(self, sql: Sql, sealed: object) -> None:
        """Write into another transaction what :meth:`seal` wrote into its own."""

    def submit(self, sealed: object, done: Callable[[AlvearyError | None], None]) -> None:
        """Have ``done`` called once the commit may pass, or with the reason why it cannot: then it
        is rolled back."""

    def settled(self, sealed: object, *, is_committed: bool) -> None:
        """Note that a commit that was to pass is durable, or, since the store failed, is not."""


class Store(Protocol):
    """A transactional SQL store: SQLite, or PostgreSQL."""

    async def transact(self, work: Callable[[Sql], T]) -> T:
        """Run ``work`` in a transaction of its own; return its result once that is durable.

        Transactions that wait at the same time run one after another, each in its savepoint, and
        share one commit and one fsync. ``work`` must be quick, do no I/O of its own, and be free
        of side effects: if it raises, its changes (only its own) are rolled back and the
        exception is raised here; where several processes share the store it may be run again.

        Raises:
            Unavailable: ``store_failed``: the commit failed; nothing of it is durable.
            OutcomeUnknown: ``store_unknown``: cancelled or died during the commit.
        """

    async def read(self, work: Callable[[Sql], T]) -> T:
        """Run read-only ``work`` on a snapshot that has every transaction acknowledged before."""

    async def check(self) -> None:
        """Read the whole store and look for damage, beside its other work.

        Raises:
            Corrupt: ``store_corrupt``: it is damaged; trust nothing that it says.
            Unavailable: ``store_failed``: it could not be read.
        """

    async def close(self) -> None: ...


class SyncedStore(Store, Protocol):
    """A store that can be synced: it may have acknowledged what is not durable yet."""

    async def sync(self) -> None:
        """Make durable whatever transactions were acknowledged before, in a store that is opened
        with ``durable=False``; what happens to it afterwards, they stay.

        Raises:
            Unavailable: ``store_failed``: they may not be durable.
        """


class Stores(Protocol):
    """Opens the stores of one daemon."""

    @property
    def is_shared(self) -> bool:
        """Return whether several processes may have one store open at the same time."""

    async def open(
        self, name: str, *, durable: bool = True, gate: CommitGate | None = None
    ) -> SyncedStore:
        """Open (create if absent) the database ``name`` in the daemon's data directory.

        Args:
            name: a file name such as ``index.sqlite``.
            durable: True: ``synchronous=FULL``; a transaction is durable when acknowledged.
                False: ``synchronous=NORMAL``: consistent after a crash, but the last
                transactions may be gone (for what can be rebuilt).
            gate: every commit that changes something has to pass it.

        A database that is there and cannot be written is opened to be read: what a transaction
        writes fails with ``store_failed`` until the medium can be written.

        Raises:
            Unavailable: ``store_failed``: it can be neither written nor read.
            Corrupt: ``store_corrupt``: the file is not a database or fails its quick check.
        """

    async def copy(self, name: str, target: str, look: Callable[[Sql], T]) -> T:
        """Copy a database, as it is at one moment, into a file of the daemon's directory.

        Args:
            name: of the database; it may be open.
            target: the file, which is overwritten; it is not durable.
            look: reads something of the copy.

        Returns:
            What ``look`` returns.

        Raises:
            Unavailable: ``store_failed``.
            Corrupt: ``store_corrupt``.
        """

    async def put(self, name: str, source: str) -> None:
        """Put a copy in the place of a database, whole and durably. Neither is open; the copy's
        file is gone afterwards.

        Raises:
            Unavailable: ``store_failed``.
        """

    async def discard(self, name: str) -> None:
        """Delete a database that will be rebuilt. It must not be open.

        Raises:
            Unavailable: ``store_failed``.
        """


class Workers(Protocol):
    """Threads for CPU work that releases the GIL, and for nothing else."""

    async def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` in a worker thread, at most one per core at a time; waits for a free one.

        Not cancellable once started (the result is dropped).
        """


class WallClock(Protocol):
    """Time of day; only for signed, shown or persisted times. Durations use trio's clock."""

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC. May step back and forth."""

    def utc_offset_s(self) -> int:
        """Seconds by which the machine's local time is ahead of UTC now; negative: behind."""


Entropy: TypeAlias = Callable[[int], bytes]
"""``entropy(n)``: n unpredictable bytes for keys, nonces and ids."""


class Chance(Protocol):
    """Choice and jitter (a ``random.Random``); never for keys."""

    def random(self) -> float: ...
    def randrange(self, stop: int, /) -> int: ...
    def uniform(self, a: float, b: float, /) -> float: ...
    def shuffle(self, x: list[Any], /) -> None: ...


@dataclass(frozen=True, slots=True)
class Advertisement:
    """A coordinator seen on the LAN. A hint: trust comes from the pinned key alone."""

    address: Address
    swarm: str


class Discovery(Protocol):
    """zeroconf."""

    async def advertise(self, address: Address, swarm: str) -> None:
        """Announce until cancelled."""

    async def find(self, swarm: str, timeout_s: float) -> list[Advertisement]: ...


class Log(Protocol):
    """Structured log lines. Never pass a secret or a signature."""

    def info(self, event: str, **fields: object) -> None: ...
    def warning(self, event: str, **fields: object) -> None: ...
    def error(self, event: str, **fields: object) -> None: ...


class DiskReports(Protocol):
    """The reports that the disk under a daemon's data directory makes of itself."""

    async def read(self) -> bytes:
        """Return the output of ``smartctl --json``, at most ``MAX_SMART_BYTES`` of it, within
        ``SMART_TIMEOUT_S``; empty where there is no smartctl, no such disk, or no permission."""


class WebhookSender(Protocol):
    """HTTP to the receivers of events."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """POST a message, follow no redirect, and return the status of the answer. The caller
        bounds the time.

        Raises:
            Unavailable: ``connect_failed``, ``connection_lost``: there was no answer.
        """


@dataclass(frozen=True, slots=True)
class World:
    """All ports of one daemon.

    ``open_files``: files and connections that it may have open at a time.
    """

    network: Network
    disk: Disk
    stores: Stores
    workers: Workers
    clock: WallClock
    entropy: Entropy
    chance: Chance
    discovery: Discovery
    log: Log
    disk_reports: DiskReports
    open_files: int
