"""The states of a connection, as a table: which frame may be sent or taken when, and what then.

What the table does not name is a violation when the peer does it, and our bug when we do.

Source: docs/protocol.md, "States"; the tables there are generated from this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from common.wire.frame import LIMITS, FrameKind, FrameLimits


class Role(Enum):
    """The role of a side: the one that connects is the caller, the one that listens the
    answerer."""

    CALLER = "caller"
    ANSWERER = "answerer"


class State(Enum):
    """The state of a connection, as one side sees it."""

    GREETING = "greeting"
    """The HELLO has not passed yet."""
    PROVING = "proving"
    """The HELLO has passed, the PROOF has not."""
    JUDGING = "judging"
    """The PROOF has passed, the verdict has not."""
    OPEN = "open"
    DRAINING = "draining"
    """One side said GOAWAY: calls begun are answered, new ones are turned away."""
    CLOSED = "closed"


Steps = Mapping[FrameKind, State]

SENDS: Final[Mapping[Role, Mapping[State, Steps]]] = {
    Role.CALLER: {
        State.GREETING: {},
        State.PROVING: {FrameKind.PROOF: State.JUDGING, FrameKind.GOAWAY: State.CLOSED},
        State.JUDGING: {},
        State.OPEN: {
            FrameKind.REQUEST: State.OPEN,
            FrameKind.CANCEL: State.OPEN,
            FrameKind.GOAWAY: State.DRAINING,
        },
        State.DRAINING: {FrameKind.CANCEL: State.DRAINING, FrameKind.GOAWAY: State.DRAINING},
        State.CLOSED: {},
    },
    Role.ANSWERER: {
        State.GREETING: {FrameKind.HELLO: State.PROVING, FrameKind.GOAWAY: State.CLOSED},
        State.PROVING: {FrameKind.GOAWAY: State.CLOSED},
        State.JUDGING: {FrameKind.READY: State.OPEN, FrameKind.FAILURE: State.CLOSED},
        State.OPEN: {
            FrameKind.REPLY: State.OPEN,
            FrameKind.FAILURE: State.OPEN,
            FrameKind.GOAWAY: State.DRAINING,
        },
        State.DRAINING: {
            FrameKind.REPLY: State.DRAINING,
            FrameKind.FAILURE: State.DRAINING,
            FrameKind.GOAWAY: State.DRAINING,
        },
        State.CLOSED: {},
    },
}

TAKES: Final[Mapping[Role, Mapping[State, Steps]]] = {
    Role.CALLER: {
        State.GREETING: {FrameKind.HELLO: State.PROVING, FrameKind.GOAWAY: State.CLOSED},
        State.PROVING: {FrameKind.GOAWAY: State.CLOSED},
        State.JUDGING: {
            FrameKind.READY: State.OPEN,
            FrameKind.FAILURE: State.CLOSED,
            FrameKind.GOAWAY: State.CLOSED,
        },
        State.OPEN: {
            FrameKind.REPLY: State.OPEN,
            FrameKind.FAILURE: State.OPEN,
            FrameKind.GOAWAY: State.DRAINING,
        },
        State.DRAINING: {
            FrameKind.REPLY: State.DRAINING,
            FrameKind.FAILURE: State.DRAINING,
            FrameKind.GOAWAY: State.DRAINING,
        },
        State.CLOSED: {},
    },
    Role.ANSWERER: {
        State.GREETING: {},
        State.PROVING: {FrameKind.PROOF: State.JUDGING, FrameKind.GOAWAY: State.CLOSED},
        State.JUDGING: {},
        State.OPEN: {
            FrameKind.REQUEST: State.OPEN,
            FrameKind.CANCEL: State.OPEN,
            FrameKind.GOAWAY: State.DRAINING,
        },
        State.DRAINING: {
            FrameKind.REQUEST: State.DRAINING,
            FrameKind.CANCEL: State.DRAINING,
            FrameKind.GOAWAY: State.DRAINING,
        },
        State.CLOSED: {},
    },
}

EXPECTED: Final[Mapping[Role, Mapping[State, Mapping[int, FrameLimits]]]] = {
    role: {state: {kind: LIMITS[kind] for kind in steps} for state, steps in states.items()}
    for role, states in TAKES.items()
}
"""The frames that the frame reader may let in, by role and state."""


def table_text(role: Role) -> str:
    """The table of one role in Markdown, as it stands in docs/protocol.md."""

    def steps_text(steps: Steps) -> str:
        each = (f"{kind.name} → {state.value}" for kind, state in steps.items())
        return ", ".join(each) or "nothing"

    lines = ["| state | sends | takes |", "|---|---|---|"]
    lines += [
        f"| {state.value} | {steps_text(SENDS[role][state])} | {steps_text(TAKES[role][state])} |"
        for state in State
    ]
    return "\n".join(lines)
