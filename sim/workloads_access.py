"""A client who shares objects, and others who read what they may: a user of its tenant, a tenant of
its own, and nobody in particular.

The client alone changes who may do what: by lists, the bucket's policy, the user's policy and key.
Who is refused for certain never reads, and who is allowed for certain is not refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import trio

from common.data_classes import dataclass
from common.format.roster import Roster, RosterKey, RosterPolicy, RosterUser
from sim.checkers.settings import Setting
from sim.history import Value
from sim.operator import TenantOperator
from sim.s3_client import S3Client
from sim.workloads import DEFAULT_MIX, VALUE_HEADER, Mix
from sim.workloads_parts import PartsWorkload

ACCESS_MIX: Final = Mix(
    {
        **DEFAULT_MIX.weights,
        "share_put": 12,
        "share_list": 6,
        "share_peek": 24,
        "share_policy": 3,
        "share_user": 8,
    }
)
"""With what others may read beside the operations on the bucket that all clients share."""
USER: Final = "ann"
USER_KEY: Final = "AKANN"
OPEN: Final = "open/"
"""The prefix that the bucket's policy opens to the other tenant, and the user's to the user."""
CLOSED: Final = "closed/"
PUBLIC, AUTHENTICATED, GRANTED, PRIVATE = "public-read", "authenticated-read", "granted", "private"
LISTS: Final = (PUBLIC, AUTHENTICATED, GRANTED, PRIVATE, PRIVATE)
SETTINGS_AGE_S: Final = 10.0
"""A gateway goes by a bucket's settings for so long (docs/s3-compatibility.md)."""
USER_AGE_S: Final = 30.0
"""A gateway that reaches no coordinator goes by a user's key and policies for so long."""
CALM_USER_AGE_S: Final = 5.0
"""The same of a gateway that reaches one."""
MOST_OBJECTS: Final = 12
CODES: Final = frozenset({"AccessDenied", "InvalidAccessKeyId"})
"""Of a refusal."""


@dataclass(slots=True)
class SharedObject:
    """An object that was acknowledged, under a key that is written once.
    ``list_``: one of LISTS."""

    value: Value
    list_: Setting[str]


class AccessWorkload(PartsWorkload):
    """All operations of :class:`sim.workloads_parts.PartsWorkload`, and sharing."""

    def prepare(
        self,
        own_bucket: str,
        operator: TenantOperator,
        others: Mapping[str, S3Client],
        guest_account: str,
        *,
        is_calm: bool,
    ) -> None:
        """Name the client's own bucket.

        Args:
            others: the clients of USER, ``guest`` and ``anonymous``.
            guest_account: the id of the tenant of ``guest``.
            is_calm: every gateway reaches a coordinator at any time.
        """
        self._own_bucket = own_bucket
        self._operator = operator
        self._others = others
        self._guest_account = guest_account
        self._numbers = 0
        self._shared: dict[str, SharedObject] = {}
        self._opens = Setting(True, SETTINGS_AGE_S)
        user_age_s = CALM_USER_AGE_S if is_calm else USER_AGE_S
        self._is_active = Setting(True, user_age_s)
        self._reads = Setting(True, user_age_s)

    async def make_own_bucket(self) -> None:
        """Create the client's own bucket, and the user (setup: no faults yet)."""
        path, headers = f"/{self._own_bucket}", {"x-amz-object-ownership": "ObjectWriter"}
        answer = await self._client.request("PUT", path, None, b"", headers)
        assert answer.status_code == 200, answer.text
        answer = await self._client.request("DELETE", path, {"publicAccessBlock": ""})
        assert answer.status_code == 204, answer.text
        await self._share_policy("", wanted=True)
        assert await self._set_user(is_active=True, may_read=True)

    def _accuse(self, key: str, what: str) -> None:
        self._history.wrong_bytes.append(f"access to {self._own_bucket}/{key!r}: {what}")

    # --- who may do what ------------------------------------------------------------------

    def _allowing(self, prefix: str) -> dict[str, Any]:
        resource = f"arn:aws:s3:::{self._own_bucket}/{prefix}*"
        return {"Effect": "Allow", "Action": "s3:GetObject", "Resource": resource}

    async def _share_policy(self, _: str, *, wanted: bool | None = None) -> None:
        """Open a prefix to the other tenant, or close it."""
        is_open = self._chance.random() < 0.6 if wanted is None else wanted
        statement = self._allowing(OPEN if is_open else "nothing/")
        statement["Principal"] = {"AWS": self._guest_account}
        body = json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode()
        spell = self._opens.asked(is_open)
        answer = await self._ask_of(self._own_bucket, "PUT", None, {"policy": ""}, body)
        if answer is not None and answer.status_code == 204:
            self._opens.answered(spell)
        elif answer is not None:
            self._opens.refused(spell)

    async def _share_user(self, _: str) -> None:
        """Enable or disable the user's key, or change what the user may read."""
        is_active, may_read = self._chance.random() < 0.6, self._chance.random() < 0.6
        await self._set_user(is_active=is_active, may_read=may_read)

    async def _set_user(self, *, is_active: bool, may_read: bool) -> bool:
        """Change the user; whether that was acknowledged."""
        statement = self._allowing(OPEN if may_read else "nothing/")
        text = json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode()
        user = RosterUser(USER, 0, ("reads",), (RosterKey(USER_KEY, 0, is_active),))
        policy = RosterPolicy("reads", 0, text, is_role=False)

        def change(roster: Roster) -> Roster:
            return replace(roster, users=(user,), policies=(policy,))

        self._is_active.asked(is_active)
        self._reads.asked(may_read)
        if await self._operator.change_roster(change) is None:
            return False
        # Revisions are in one order: nothing that is under way can follow this one.
        self._is_active.settled(is_active)
        self._reads.settled(may_read)
        return True

    def _list_headers(self, wanted: str) -> dict[str, str]:
        if wanted == GRANTED:
            return {"x-amz-grant-read": f'id="{self._guest_account}"'}
        return {"x-amz-acl": wanted}

    async def _share_list(self, _: str) -> None:
        """Give an object another list."""
        if not self._shared:
            return
        key = self._chance.choice(list(self._shared))
        wanted, known = self._chance.choice(LISTS), self._shared[key].list_
        spell = known.asked(wanted)
        headers = self._list_headers(wanted)
        answer = await self._ask_of(self._own_bucket, "PUT", key, {"acl": ""}, b"", headers)
        if answer is not None and answer.status_code == 200:
            known.answered(spell)
        elif answer is not None:
            known.refused(spell)

    async def _share_put(self, _: str) -> None:
        if len(self._shared) >= MOST_OBJECTS:
            self._shared.pop(next(iter(self._shared)))
        self._numbers += 1
        key = f"{self._chance.choice((OPEN, CLOSED))}{self._numbers}"
        value = self._history.new_value(self._size(), f"{self._own_bucket}/{key}")
        wanted = self._chance.choice(LISTS)
        headers = {VALUE_HEADER: value.name, **self._list_headers(wanted)}
        answer = await self._ask_of(self._own_bucket, "PUT", key, None, value.content(), headers)
        if answer is not None and answer.status_code == 200:
            self._shared[key] = SharedObject(value, Setting(wanted))

    # --- what others read -----------------------------------------------------------------

    async def _share_peek(self, _: str) -> None:
        """Have somebody read an object, or try what nobody else may do."""
        if self._shared:
            key = self._chance.choice(list(self._shared))
            # Of all who read, a user has most settings that may be wrong.
            who = self._chance.choice([*self._others, USER])
            if self._chance.random() < 0.2:
                await self._attack(who, key)
            else:
                await self._peek(who, key)

    async def _attack(self, who: str, key: str) -> None:
        """Try to write, delete, list or open: that is refused to all others."""
        method, at, query, headers = self._chance.choice(
            (
                ("PUT", key, None, None),
                ("DELETE", key, None, None),
                ("GET", None, {"list-type": "2"}, None),
                ("PUT", key, {"acl": ""}, {"x-amz-acl": PUBLIC}),
                ("DELETE", None, None, None),
            )
        )
        body = b"not theirs" if method == "PUT" and query is None else b""
        answer = await self._send(
            self._others[who], self._own_bucket, method, at, query, body, headers
        )
        if answer is not None and answer.status_code < 300:
            self._accuse(key, f"{who} may {method} {at} {query}: {answer.status_code}")

    async def _peek(self, who: str, key: str) -> bool:
        """Have somebody read an object; whether there was an answer."""
        began_s, known = trio.current_time(), self._shared[key]
        answer = await self._send(self._others[who], self._own_bucket, "GET", key)
        if answer is None:
            return False
        self._history.count(f"{who} answered {answer.status_code}")
        lists = known.list_.possible(began_s)
        may = {
            outcome
            for list_ in lists
            for outcome in self._outcomes(who, key.startswith(OPEN), list_, began_s)
        }
        if answer.status_code == 200:
            if answer.content != known.value.content():
                self._accuse(key, f"{who} reads other bytes than were written")
            if True not in may:
                self._accuse(key, f"{who} reads it, though its list is one of {sorted(lists)}")
        elif False not in may and any(f"<Code>{code}</Code>" in answer.text for code in CODES):
            self._accuse(key, f"{who} is refused, though its list is one of {sorted(lists)}")
        elif answer.status_code == 404:
            self._accuse(key, f"is not there for {who}")
        return True

    def _outcomes(self, who: str, is_open: bool, list_: str, since_s: float) -> set[bool]:
        """Return whether somebody may read an object with this list: one answer, or both."""
        if who == "anonymous":
            return {list_ == PUBLIC}
        if who == USER:
            # Of a list that is for groups each user has its part as well.
            by_policy = {is_open and each for each in self._reads.possible(since_s)}
            may = {each or list_ in {PUBLIC, AUTHENTICATED} for each in by_policy}
            return {each and active for each in may for active in self._is_active.possible(since_s)}
        if list_ != PRIVATE:
            return {True}
        return {is_open and each for each in self._opens.possible(since_s)}

    async def read_own(self) -> list[str]:
        """Have everybody read every object, when all is healed.

        Returns:
            What got no answer, readable.
        """
        return [
            f"{self._own_bucket}/{key!r} for {who}"
            for key in self._shared
            for who in self._others
            if not await self._peek(who, key)
        ]
