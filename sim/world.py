"""One simulated world: nodes with lives, a network between them, and one seed for everything."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import trio

import common.errors
from common import limits
from common.ports import Address, Advertisement, Buffer, World
from sim.disk import DEFAULT_CAPACITY_BYTES, Platter, SimDisk
from sim.network import Internet, SimNetwork
from sim.stores import Database, SimStores
from sim.trace import Trace

T = TypeVar("T")
EPOCH_S: Final = 1_800_000_000.0
"""Wall-clock time at which simulated runs begin (January 2027)."""

BUGS: Final = frozenset({"handler_failed", "http_handler_failed"})
"""Events that a service logs when its own code has raised an unexpected error (an error of the
swarm in the middle of a body is not one)."""
LEAST_LIE_BYTES: Final = 200
"""Shorter parts are heads of frames: changing them is a broken peer, which the fuzzer does."""


class SimWorkers:
    """The Workers port: runs the work at once, in the one thread there is."""

    async def run(self, work: Callable[[], T]) -> T:
        await trio.lowlevel.checkpoint()
        return work()


class SimClock:
    """The WallClock port: virtual time plus the node's own error."""

    def __init__(self, node: SimNode) -> None:
        self._node = node

    def now(self) -> float:
        virtual = trio.current_time() - self._node.swarm.start_s
        return EPOCH_S + virtual * (1 + self._node.clock_drift) + self._node.clock_offset_s

    def utc_offset_s(self) -> int:
        return 0


class SimDiscovery:
    """The Discovery port: every advertised node is found."""

    def __init__(self, node: SimNode) -> None:
        self._node = node

    async def advertise(self, address: Address, swarm: str) -> None:
        seen = self._node.swarm.advertised
        advertisement = Advertisement(address, swarm)
        seen.append(advertisement)
        try:
            await trio.sleep_forever()
        finally:
            seen.remove(advertisement)

    async def find(self, swarm: str, timeout_s: float) -> list[Advertisement]:
        await trio.lowlevel.checkpoint()
        return [each for each in self._node.swarm.advertised if not swarm or each.swarm == swarm]


class SimDiskReports:
    """A ``ports.DiskReports`` of a node: what the test has set, empty at first."""

    def __init__(self, node: SimNode) -> None:
        self._node = node

    async def read(self) -> bytes:
        """See the port."""
        await trio.lowlevel.checkpoint()
        return self._node.disk_report[: limits.MAX_SMART_BYTES]


class SimLog:
    """The Log port: into the trace."""

    def __init__(self, node: SimNode) -> None:
        self._node = node

    def info(self, event: str, **fields: object) -> None:
        self._node.note(event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._node.note(f"warning: {event}", fields)

    def error(self, event: str, **fields: object) -> None:
        self._node.note(f"error: {event}", fields)
        is_ours = not hasattr(common.errors, str(fields.get("error")))
        if event.endswith("_broke") or (event in BUGS and is_ours):
            # A fault of ours that a daemon survived: what it says is a finding of the run.
            self._node.swarm.faults.append(f"{self._node.name}: {event} {dict(fields)}")


class SimNode:
    """A machine with one daemon. Its disk outlives its lives; its ports belong to one life."""

    def __init__(self, swarm: SimWorld, name: str, capacity_bytes: int) -> None:
        self.swarm = swarm
        self.name = name
        self.life = 0
        self.clock_steps = [(swarm.start_s, 0.0)]
        """The error of its clock from each virtual time on, seconds."""
        self.clock_drift = 0.0
        self.steps = 0
        self.disk_report = b""
        """The output of smartctl on it."""
        self.is_rotten = False
        """Its medium has failed somewhere: what it acknowledged may be gone."""
        self.lies = 0.0
        """Probability that a payload which it serves is not what it should be."""
        self.cut_at_step: int | None = None
        """Lose power just before the step of this number (see :meth:`step`)."""
        self._awake: trio.Event | None = None
        """While it does nothing: set when it goes on."""
        self.died = trio.Event()
        """Set when the current life ends; the runner then cancels the service."""
        self.platter = Platter(swarm.random(f"{name}/disk"), capacity_bytes)
        self.databases: dict[str, Database] = {}
        self.chance = swarm.random(f"{name}/chance")
        self._entropy = swarm.random(f"{name}/entropy")
        self._lies = swarm.random(f"{name}/lies")

    @property
    def world(self) -> World:
        """The ports of the current life."""
        return World(
            network=SimNetwork(self, self.swarm.internet),
            disk=SimDisk(self, self.platter),
            stores=SimStores(self, self.platter, self.databases),
            workers=SimWorkers(),
            clock=SimClock(self),
            entropy=self._entropy.randbytes,
            chance=self.chance,
            discovery=SimDiscovery(self),
            log=SimLog(self),
            disk_reports=SimDiskReports(self),
            open_files=limits.MAX_OPEN_FILES,
        )

    @property
    def disk_latency_s(self) -> float:
        return self.swarm.disk_latency_s

    @property
    def clock_offset_s(self) -> float:
        """The error of its clock now."""
        return self.clock_steps[-1][1]

    @clock_offset_s.setter
    def clock_offset_s(self, offset_s: float) -> None:
        if offset_s != self.clock_offset_s:
            self.clock_steps.append((trio.current_time(), offset_s))

    def offset_at(self, at_s: float) -> float:
        """Return the error that its clock had at a virtual time, seconds."""
        return next((each for since_s, each in reversed(self.clock_steps) if since_s <= at_s), 0.0)

    def least_offset_s(self, since_s: float) -> float:
        """Return the least error of its clock since a virtual time, seconds."""
        later = [offset for at_s, offset in self.clock_steps if at_s >= since_s]
        return min([self.offset_at(since_s), *later])

    async def alive(self, life: int) -> None:
        """Return if that life goes on; a dead life's task waits here until it is cancelled, and a
        paused one's until it goes on."""
        while self._awake is not None and life == self.life:
            await self._awake.wait()
        if life != self.life:
            await trio.sleep_forever()

    async def step(self, life: int, event: str, latency_s: float = 0.0) -> None:
        """A point at which the power may go: counted, and cut where the test asks for it. What the
        caller does next takes effect after ``latency_s``, unless the life ends meanwhile."""
        await self.alive(life)
        self.steps += 1
        self.mark(event, self.steps)
        if self.cut_at_step is not None and self.steps == self.cut_at_step:
            self.crash(power=True)
            await trio.sleep_forever()
        if latency_s:
            await trio.sleep(latency_s)
        else:
            await trio.lowlevel.checkpoint()
        await self.alive(life)

    def pause(self) -> None:
        """Stop whatever it does at the next point where it meets the world, as a stopped process or
        a machine that sleeps; its clocks go on."""
        if self._awake is None:
            self.note("paused", {})
            self._awake = trio.Event()
            self.swarm.internet.pause(self.name)

    def resume(self) -> None:
        """Go on."""
        if self._awake is not None:
            self.note("resumed", {})
            self._awake.set()
            self._awake = None
            self.swarm.internet.resume(self.name)

    def crash(self, *, power: bool) -> None:
        """End this life at once: connections reset, listeners gone; with ``power`` also everything
        that was not synced. The ports of the old life never answer again."""
        self.note("power cut" if power else "killed", {})
        self.life += 1
        self.resume()
        self.died.set()
        self.died = trio.Event()
        internet = self.swarm.internet
        for listener in [each for each in internet.listeners.values() if each.node is self]:
            listener.shut()
        for pipe in internet.pipes_of(self.name):
            pipe.reset()
        if power:
            self.platter.power_cut()
            for database in self.databases.values():
                database.power_cut()

    def lie(self, parts: Sequence[Buffer]) -> Sequence[Buffer]:
        """Return what a hostile node sends instead: a payload with one bit flipped, in whole frames
        all the same (the transport is intact; the peer lies)."""
        large = [number for number, part in enumerate(parts) if len(part) >= LEAST_LIE_BYTES]
        if not large or self._lies.random() >= self.lies:
            return parts
        number = self._lies.choice(large)
        lie = bytearray(parts[number])
        lie[self._lies.randrange(len(lie))] ^= 1 << self._lies.randrange(8)
        return [*parts[:number], lie, *parts[number + 1 :]]

    def note(self, event: str, fields: dict[str, Any]) -> None:
        facts = " ".join(
            f"{name}={value.hex() if isinstance(value, bytes) else value}"
            for name, value in fields.items()
        )
        self.swarm.trace.note(self.swarm.virtual_s(), self.name, event, facts)

    def mark(self, event: str, size: int) -> None:
        self.swarm.trace.mark(self.swarm.virtual_s(), self.name, event, size)


class SimWorld:
    """A world of nodes, decided by one seed. Make it inside ``trio.run``."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.start_s = trio.current_time()
        self.trace = Trace()
        self.internet = Internet(self.random("network"))
        self.nodes: dict[str, SimNode] = {}
        self.advertised: list[Advertisement] = []
        self.faults: list[str] = []
        """Unexpected exceptions that daemons logged and survived."""
        self.disk_latency_s = 0.0
        """The most that one operation of a healthy disk or a commit takes."""

    def random(self, purpose: str) -> random.Random:
        """A generator of its own for each purpose, so that one's draws do not shift another's."""
        return random.Random(f"{self.seed}/{purpose}")

    def virtual_s(self) -> float:
        """Seconds of virtual time since the start."""
        return trio.current_time() - self.start_s

    def node(self, name: str, *, capacity_bytes: int = DEFAULT_CAPACITY_BYTES) -> SimNode:
        """The node of that name; made when asked for the first time."""
        if name not in self.nodes:
            self.nodes[name] = SimNode(self, name, capacity_bytes)
        return self.nodes[name]
