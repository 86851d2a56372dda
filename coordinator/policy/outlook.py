"""The state of a swarm in words: what is wrong, what is done about it, and when that is done.

Pure: a snapshot goes in. Names of concerns are those of the alerts.

Source: docs/operations.md, "What is wrong, in words".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from itertools import chain
from typing import Final

from common import limits
from common.data_classes import dataclass
from common.words import counted, human_duration, human_rate
from coordinator.policy.bucket_margins import BucketMargin
from coordinator.policy.health import CellState
from coordinator.policy.margins import Margins

UNKNOWN: Final = "How long that takes is not known yet."


class Gravity(StrEnum):
    """The gravity of a concern."""

    CRITICAL = "critical"
    """Data is lost, cannot be read or written, or the next loss is one too many."""
    WARNING = "warning"
    """Something is less than it should be; nothing is lost by it."""
    NOTICE = "notice"
    """As somebody wants it, or over soon by itself."""


@dataclass(frozen=True, slots=True)
class Concern:
    """A concern in words. ``what`` is wrong, what is being done (``doing``), and ``when`` it will
    be done; the latter may be empty."""

    name: str
    gravity: Gravity
    what: str
    doing: str = ""
    when: str = ""

    @property
    def text(self) -> str:
        """All of it."""
        return " ".join(filter(None, (self.what, self.doing, self.when)))


@dataclass(frozen=True, slots=True)
class Work:
    """Work that is going on. ``left`` to do, of ``total`` (0: not known); ``per_s``: the pace, None
    where it is not known; ``is_stuck``: nothing got less for a quarter of an hour."""

    left: int = 0
    per_s: float | None = None
    total: int = 0
    is_stuck: bool = False

    @property
    def left_s(self) -> float | None:
        """The time that is left at that pace; None where it is not known."""
        return self.left / self.per_s if self.per_s else None


@dataclass(frozen=True, slots=True)
class SeenCell:
    """A cell that something is to be said of. ``work``: the shards of a lost or leaving cell that
    are not elsewhere yet, None where that was not looked at; ``remark``: the reason of what it is.
    ``left_s``: until it counts as lost, or until its maintenance is over."""

    name: str
    site: str = ""
    owner: str = ""
    state: CellState = CellState.ALIVE
    silent_s: float = 0.0
    work: Work | None = None
    remark: str = ""
    left_s: float | None = None
    without_place: int = 0

    @property
    def full_name(self) -> str:
        """``cell 3f2a (site bologna, owner ada)``."""
        named = [
            f"{kind} {name}" for kind, name in (("site", self.site), ("owner", self.owner)) if name
        ]
        return f"cell {self.name}" + (f" ({', '.join(named)})" if named else "")


@dataclass(frozen=True, slots=True)
class Look:
    """The part that needs a look at the whole store, as last looked. ``lost``: by cell that is
    lost, what is left of it to rebuild; ``nowhere``: by cell, its slots that should move and have
    no cell to go to; ``moves``: slots that have moved, and whose new holders still fill;
    ``following``: pages of objects that are to be written again in the class of their bucket;
    ``buckets``: the margins of those that are worst off, and of all others together."""

    margins: Margins = field(default_factory=Margins)
    missing: Work = Work()
    lost: Mapping[int, Work] = field(default_factory=dict)
    nowhere: Mapping[int, int] = field(default_factory=dict)
    moves: int = 0
    following: Work = Work()
    buckets: Sequence[BucketMargin] = ()


@dataclass(frozen=True, slots=True)
class SeenClass:
    """A storage class beside the configured one that buckets have. ``written``: the redundancy that
    new objects take; ``have``: the cells on its sites that can be written to."""

    name: str
    redundancy: str
    written: str
    have: int
    need: int
    sites: Sequence[str] = ()
    is_writable: bool = True

    @property
    def place(self) -> str:
        """Its sites, in words."""
        return f" on its sites ({', '.join(self.sites)})" if self.sites else ""


@dataclass(frozen=True, slots=True)
class Seen:
    """A snapshot of a swarm.

    ``look``: None until the first one. ``standing``: what to do about the store where it is not
    current; ``store_fault``: why it cannot be written; ``unwritable``: why nothing new can be
    written. ``fallback``: the class that is written, where it is not the configured one.
    ``misplaced``: pages of objects that may not be in the class of their bucket; ``scans``: buckets
    that are still looked through for such.
    Of ``cells`` only those are here of which something is to be said.
    """

    known_cells: int = 0
    look: Look | None = None
    is_behind: bool = False
    standing: str = ""
    store_fault: str = ""
    unwritable: str = ""
    is_cut_off: bool = False
    lost_segments: int = 0
    lost_shards: int = 0
    suspects: int = 0
    configured: str = ""
    fallback: str = ""
    fallback_segments: int = 0
    classes: Sequence[SeenClass] = ()
    misplaced: int = 0
    scans: int = 0
    clocks_off: int = 0
    owners_below: Sequence[str] = ()
    lost: Sequence[SeenCell] = ()
    offline: Sequence[SeenCell] = ()
    leaving: Sequence[SeenCell] = ()
    resting: Sequence[SeenCell] = ()
    suspended: Sequence[SeenCell] = ()
    warned: Sequence[SeenCell] = ()
    read_only: Sequence[SeenCell] = ()
    host_rests: Sequence[SeenCell] = ()
    """Read-only by the rules of their hosts, for now."""
    full: Sequence[SeenCell] = ()
    failing: Sequence[SeenCell] = ()


@dataclass(frozen=True, slots=True)
class Outlook:
    """The concerns about a swarm, the gravest first."""

    headline: str
    concerns: tuple[Concern, ...]

    @property
    def is_healthy(self) -> bool:
        """True where nothing needs anybody's attention."""
        return all(each.gravity is Gravity.NOTICE for each in self.concerns)

    def count(self, gravity: Gravity) -> int:
        """Return how many concerns are of a gravity."""
        return sum(each.gravity is gravity for each in self.concerns)


def outlook_of(seen: Seen) -> Outlook:
    """Return what is to be said of a swarm."""
    order = list(Gravity)
    parts = (_of_store(seen), _of_data(seen), _of_cells(seen), _of_work(seen), _of_rest(seen))
    concerns = sorted(chain(*parts), key=lambda each: order.index(each.gravity))
    grave = [each for each in concerns if each.gravity is not Gravity.NOTICE]
    if grave:
        more = f" (and {counted(len(grave) - 1, 'other thing')})" if len(grave) > 1 else ""
        return Outlook(f"{grave[0].gravity.value.upper()}: {grave[0].what}{more}", tuple(concerns))
    return Outlook(f"healthy: {_all_is_well(seen)}", tuple(concerns))


def _all_is_well(seen: Seen) -> str:
    cells = counted(seen.known_cells, "cell")
    if seen.look is None:
        return f"{cells}; margins have not been looked at yet"
    margin = seen.look.margins.least
    if margin is None:
        return f"{cells}, no data yet"
    return f"{cells}, everything can be read and written. {_survives(margin)}"


def _survives(margin: int) -> str:
    if margin < 0:
        return "Least margin: something cannot be read now."
    if margin == 0:
        return "Least margin: no more loss is survived."
    return f"Least margin: {margin} more {'loss is' if margin == 1 else 'losses are'} survived."


def _of_store(seen: Seen) -> Iterator[Concern]:
    if seen.standing:
        name = "store_behind" if seen.is_behind else "store_forked"
        what = (
            "The coordinator's store is an older copy"
            if seen.is_behind
            else ("Another copy of the coordinator's store was run too")
        )
        yield Concern(name, Gravity.CRITICAL, f"{what}.", f"Nothing is deleted. {seen.standing}")
    if seen.store_fault:
        yield Concern(
            "store_not_writable",
            Gravity.CRITICAL,
            f"The coordinator's store cannot be written ({seen.store_fault}).",
            "What is there can be read; it is tried again every 5 seconds.",
        )
    elif seen.unwritable and not seen.standing:
        yield Concern(
            "not_writable",
            Gravity.CRITICAL,
            f"Nothing can be written ({seen.unwritable}).",
            "Writes begin again by themselves once enough cells are there.",
        )


def _of_data(seen: Seen) -> Iterator[Concern]:
    if seen.lost_segments:
        yield Concern(
            "data_lost",
            Gravity.CRITICAL,
            f"{counted(seen.lost_segments, 'segment')} of data are lost: fewer shards are left"
            " than are needed to read them.",
            "Nothing can bring them back but a cell that was removed, or a copy from elsewhere.",
        )
    if seen.is_cut_off:
        yield Concern(
            "most_cells_offline",
            Gravity.CRITICAL,
            "Most cells are offline at once: probably this coordinator is cut off.",
            "None of them is taken for lost, and nothing moves. Look at its network;"
            " `alveary cell remove` those that are really gone.",
        )
    if seen.look is None:
        return
    found = seen.look.margins
    unreadable = _segments_and_rings(
        max(0, found.unreadable - seen.lost_segments), found.unreadable_rings
    )
    if unreadable:
        yield Concern(
            "unreadable",
            Gravity.CRITICAL,
            f"{unreadable} cannot be read now: too many of their cells are silent.",
            "They can be read again once these cells are back.",
        )
    bare = _segments_and_rings(found.bare, found.bare_rings)
    if bare:
        yield Concern(
            "no_margin",
            Gravity.CRITICAL,
            f"{bare} can be read, and would not survive one more loss.",
            "They are repaired before all others.",
        )


def _segments_and_rings(segments: int, rings: int) -> str:
    parts = [counted(segments, "segment")] if segments else []
    if rings:
        parts.append(f"all segments of {counted(rings, 'ring')}")
    text = " and ".join(parts)
    return text[:1].upper() + text[1:]


def _named(cells: Sequence[SeenCell]) -> tuple[Sequence[SeenCell], str]:
    """Return the cells to be named, and how many there are beside them."""
    more = len(cells) - limits.MAX_NAMED
    return cells[: limits.MAX_NAMED], counted(more, "more cell") if more > 0 else ""


def _list(cells: Iterable[SeenCell]) -> str:
    named, more = _named(list(cells))
    text = ", ".join(each.full_name + (f": {each.remark}" if each.remark else "") for each in named)
    return text[:1].upper() + text[1:] + (f", and {more}" if more else "")


def _of_cells(seen: Seen) -> Iterator[Concern]:
    named, more = _named(seen.lost)
    for cell in named:
        yield _lost(cell, seen.look)
    if more:
        yield Concern("cell_lost", Gravity.WARNING, f"{more} have been lost.")
    named, more = _named(seen.offline)
    for cell in named:
        yield _offline(cell, seen)
    if more:
        yield Concern("cell_offline", Gravity.WARNING, f"{more} are silent.")


def _what(cell: SeenCell) -> str:
    return cell.full_name[:1].upper() + cell.full_name[1:]


def _lost(cell: SeenCell, look: Look | None) -> Concern:
    what = f"{_what(cell)} has been lost for {human_duration(cell.silent_s)}."
    work = cell.work
    if work is None:
        return Concern("cell_lost", Gravity.WARNING, what, "Others rebuild what it held.")
    if not work.left:
        doing = "Nothing depends on it any more: `alveary cell remove` it, or let it come back."
        return Concern("cell_lost", Gravity.NOTICE, what, doing)
    is_known = work.total >= work.left
    shards = f"{work.left:,} of {work.total:,} shards" if is_known else counted(work.left, "shard")
    doing = f"{shards} {'is' if work.left == 1 else 'are'} still to be rebuilt"
    margin = look.margins.least if look is not None else None
    survives = "" if margin is None else _survives(margin)
    return Concern("cell_lost", Gravity.WARNING, what, *_progress(doing, work, survives))


def _progress(doing: str, work: Work, after: str = "") -> tuple[str, str]:
    """Return what is being done, with its pace, and when it will be done."""
    if work.left_s is None or work.per_s is None:
        stuck = (
            "Nothing of it got done in the last quarter of an hour." if work.is_stuck else UNKNOWN
        )
        return f"{doing}.", f"{stuck} {after}".strip()
    when = f"{doing}, at {human_rate(work.per_s)}: about {human_duration(work.left_s)}."
    return when, after


def _offline(cell: SeenCell, seen: Seen) -> Concern:
    what = f"{_what(cell)} has been silent for {human_duration(cell.silent_s)}."
    if cell.state is not CellState.OFFLINE:
        return Concern("cell_offline", Gravity.NOTICE, what, "It is not written to meanwhile.")
    if seen.is_cut_off or cell.left_s is None:
        when = ""
    else:
        when = f"Others rebuild its shards unless it is back within {human_duration(cell.left_s)}."
    return Concern(
        "cell_offline", Gravity.WARNING, what, "What is written meanwhile it gets later.", when
    )


def _of_work(seen: Seen) -> Iterator[Concern]:
    look = seen.look
    if look is not None and look.missing.left:
        work = look.missing
        shards = f"{counted(work.left, 'shard')} {'is' if work.left == 1 else 'are'} missing"
        survives = "" if look.margins.least is None else _survives(look.margins.least)
        yield Concern(
            "missing_shards",
            Gravity.WARNING,
            f"{shards} where they should be.",
            *_progress("The cells that should have them rebuild them", work, survives),
        )
    if look is not None and look.nowhere:
        slots = sum(look.nowhere.values())
        yield Concern(
            "slots_nowhere",
            Gravity.WARNING,
            f"{counted(slots, 'slot')} of lost or leaving cells have no cell to go to.",
            "They move as soon as a cell joins or has room again: add cells.",
        )
    named, more = _named(seen.leaving)
    for cell in named:
        yield _leaving(cell)
    if more:
        yield Concern("cell_leaves", Gravity.NOTICE, f"{more} are leaving.")


def _leaving(cell: SeenCell) -> Concern:
    what = f"{_what(cell)} is leaving."
    work = cell.work
    if work is None:
        return Concern("cell_leaves", Gravity.NOTICE, what)
    if not work.left and not cell.without_place:
        return Concern("cell_leaves", Gravity.NOTICE, what, "It is empty: it can be removed.")
    verb = "is" if work.left == 1 else "are"
    doing, when = _progress(f"{counted(work.left, 'shard')} {verb} still to be moved", work)
    if cell.without_place:
        return Concern(
            "drain_stuck",
            Gravity.WARNING,
            f"{what[:-1]}, and {counted(cell.without_place, 'slot')} of it have no cell to go to.",
            f"{doing} Add cells, or let it stay: `alveary cell drain {cell.name} --cancel`.",
        )
    if work.is_stuck:
        return Concern("drain_stuck", Gravity.WARNING, what, doing, when)
    return Concern("cell_leaves", Gravity.NOTICE, what, doing, when)


def _of_classes(seen: Seen) -> Iterator[Concern]:
    for each in seen.classes:
        if not each.is_writable:
            yield Concern(
                "class_not_writable",
                Gravity.CRITICAL,
                f"Nothing can be written in storage class {each.name}: it takes {each.need} cells,"
                f" and {each.have} can be written to{each.place}.",
            )
        elif each.written != each.redundancy:
            yield Concern(
                "class_fallen_back",
                Gravity.WARNING,
                f"Too few cells are left for storage class {each.name}{each.place}.",
                f"New objects are written as {each.written}, which tolerates as many losses as"
                f" {each.redundancy} and needs more space, until enough cells are back.",
            )
    if seen.misplaced or seen.scans:
        yield _of_following(seen)


def _of_following(seen: Seen) -> Concern:
    work = Work() if seen.look is None else seen.look.following
    what = (
        f"{counted(seen.misplaced, 'piece')} of objects may not be in the storage class of their"
        " buckets yet."
    )
    if work.is_stuck and not seen.scans:
        return Concern(
            "class_follows_not",
            Gravity.WARNING,
            what,
            "None was written again for a quarter of an hour: a gateway that has the keys of their"
            " tenants does it.",
        )
    when = UNKNOWN
    if seen.scans:
        when = f"{counted(seen.scans, 'bucket')} are still looked through."
    elif work.left_s is not None:
        when = f"About {human_duration(work.left_s)}."
    return Concern("class_follows", Gravity.NOTICE, what, "Gateways write them again.", when)


def _of_rest(seen: Seen) -> Iterator[Concern]:
    yield from _of_classes(seen)
    if seen.fallback:
        yield Concern(
            "class_fallen_back",
            Gravity.WARNING,
            f"Too few cells are left for class {seen.configured}.",
            f"New objects take class {seen.fallback}, which tolerates as many losses and needs more"
            " space, until enough cells are back.",
        )
    elif seen.fallback_segments:
        yield Concern(
            "class_fallen_back",
            Gravity.NOTICE,
            f"{counted(seen.fallback_segments, 'segment')} are in another class than"
            f" {seen.configured}, with the same margin.",
        )
    for name, cells, what, doing in (
        ("cell_read_only", seen.read_only, "Cannot be written", "What they hold can be read."),
        ("cell_full", seen.full, "Full", "Nothing is lost; new data goes to the others."),
        ("disk_failing", seen.failing, "Disks that are likely to fail", "Drain them."),
        ("cell_suspended", seen.suspended, "Suspended", "They are read and get no new shards."),
        ("cell_warned", seen.warned, "Warned", ""),
    ):
        if cells:
            yield Concern(name, Gravity.WARNING, f"{what}: {_list(cells)}.", doing)
    if seen.host_rests:
        yield Concern(
            "host_rests",
            Gravity.NOTICE,
            f"Resting by the rules of their hosts: {_list(seen.host_rests)}.",
            "They are read; new data goes to the others, and what they lack is filled afterwards.",
        )
    if seen.lost_shards:
        yield Concern(
            "volumes_lost",
            Gravity.WARNING,
            f"{counted(seen.lost_shards, 'shard')} were in volumes that cells no longer have.",
            "They are rebuilt as missing shards; the file `held` of these cells names the volumes.",
        )
    if seen.suspects:
        yield Concern(
            "suspect_shards",
            Gravity.NOTICE,
            f"{counted(seen.suspects, 'shard')} were found bad or missing by readers.",
            "Their cells look at them, and rebuild what is really bad.",
        )
    if seen.clocks_off:
        yield Concern(
            "clock_off",
            Gravity.WARNING,
            f"The clocks of {counted(seen.clocks_off, 'cell')} differ from the coordinator's by"
            f" more than {limits.CLOCK_OFF_S} s; where all do, its own is wrong.",
            "Nothing fails by it. Run NTP.",
        )
    if seen.owners_below:
        named = ", ".join(seen.owners_below[: limits.MAX_NAMED])
        more = len(seen.owners_below) - limits.MAX_NAMED
        yield Concern(
            "availability_low",
            Gravity.NOTICE,
            f"Owners below 99.95 % of 30 days: {named}"
            + (f" and {more} more." if more > 0 else "."),
        )
    for cell in seen.resting[: limits.MAX_NAMED]:
        left = human_duration(cell.left_s or 0)
        yield Concern(
            "cell_rests", Gravity.NOTICE, f"{_what(cell)} is silent as announced, {left} more."
        )
