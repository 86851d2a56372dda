"""A client whose buckets have rules by which objects expire, and who knows what they may take away.

Nobody else writes there. What no rule is for, or a lock holds, must stay; what a rule is for must
stay until its time, and be gone when all is healed (:mod:`sim.checkers.lifecycle`).
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Final
from urllib.parse import unquote

import httpx
import trio

from common.data_classes import dataclass
from sim.checkers.clocks import ClockBook
from sim.checkers.lifecycle import (
    FAR_AHEAD,
    LONG_AGO,
    TAG,
    Aged,
    AgedVersion,
    Row,
    Rule,
    document_of,
    due_rows,
    may_be_gone,
    rule_of,
)
from sim.checkers.settings import Setting
from sim.history import Value
from sim.workloads import DEFAULT_MIX, REFUSED, VALUE_HEADER, Mix, md5_of, text_of
from sim.workloads_parts import PartsWorkload

AGE_MIX: Final = Mix(
    {
        **DEFAULT_MIX.weights,
        "age_put": 14,
        "age_read": 12,
        "age_tag": 6,
        "age_list": 8,
        "age_upload": 3,
        "age_rules": 2,
        "age_version": 10,
        "age_marker": 4,
        "age_old": 8,
        "age_null": 3,
        "age_null_read": 4,
    }
)
"""With operations on what expires beside those on the bucket that all clients share."""
SIZES: Final = (100, 4096, 70_000)
RULES_AGE_S: Final = 15.0
"""A gateway goes by rules of this age at most: ten seconds, and a page that is under way."""
HORIZON_MS: Final = 600_000
"""The time within which an end is waited for when all is healed."""
PLAIN: Final = (
    Rule("due/", days=1, abort_days=1),
    Rule("late/", days=2),
    Rule("past/", date=LONG_AGO),
    Rule("ahead/", date=FAR_AHEAD),
    Rule("tagged/", days=1, is_tagged=True),
    Rule("large/", days=1, larger_than=1000),
    Rule("disabled/", days=1, is_enabled=False),
)
TURNED: Final = "turned/"
"""The prefix of a rule that the client enables and disables."""
VERSIONED: Final = (
    Rule("old/", noncurrent_days=1, newer=1, removes_markers=True),
    Rule("turn/", days=1, noncurrent_days=1),
)
PAUSED: Final = (Rule("due/", days=1),)
PLAIN_KINDS: Final = (*(rule.prefix for rule in PLAIN), "old/", TURNED)
VERSIONED_KINDS: Final = (*(rule.prefix for rule in VERSIONED), "due/")
MOST_VERSIONS: Final = 6
KEYS: Final = 3
"""Of each kind that get versions at one time."""
_LOCKED: Final = {
    "x-amz-object-lock-mode": "GOVERNANCE",
    "x-amz-object-lock-retain-until-date": FAR_AHEAD,
}


@dataclass(slots=True)
class AgedObject:
    """An object that was acknowledged, under a key that is written once. ``is_tagged``: with the
    tag that rules ask for."""

    value: Value
    earliest_ms: int
    began_s: float
    is_tagged: Setting[bool]


@dataclass(slots=True)
class AgedKey:
    """A key with several versions. ``values``: by version."""

    known: Aged
    values: dict[str, Value] = field(default_factory=dict)


class LifecycleWorkload(PartsWorkload):
    """All operations of :class:`sim.workloads_parts.PartsWorkload`, and those on what expires."""

    def prepare(self, own_bucket: str, gateway: int, clocks: ClockBook) -> None:
        """Name the client's own buckets.

        Args:
            gateway: the number of the one that the client asks.
        """
        self._plain = own_bucket
        self._kept = f"{own_bucket}-versions"
        self._paused = f"{own_bucket}-paused"
        self._gateway = gateway
        self._clocks = clocks
        self._numbers = 0
        self._objects: dict[str, AgedObject] = {}
        self._gone: set[str] = set()
        self._keys_kept: dict[str, AgedKey] = {}
        self._uploads: dict[str, tuple[str, int]] = {}
        self._first: dict[str, tuple[str, Value]] = {}
        self._nulls: dict[str, set[str]] = {"kept": set()}
        self._turned = Setting(True, RULES_AGE_S)

    # --- setup ----------------------------------------------------------------------------

    async def make_own_bucket(self) -> None:
        """Create the client's own buckets (setup: no faults yet)."""
        lock = {"x-amz-bucket-object-lock-enabled": "true"}
        for bucket, headers in ((self._plain, {}), (self._kept, lock), (self._paused, {})):
            answer = await self._client.request("PUT", f"/{bucket}", None, b"", headers)
            assert answer.status_code == 200, answer.text
        assert await self._set_versioning(self._paused, "Enabled")
        for key in ("due/first", "kept"):
            value = self._history.new_value(100, f"{self._paused}/{key}")
            answer = await self._client.request(
                "PUT", f"/{self._paused}/{key}", None, value.content(), {VALUE_HEADER: value.name}
            )
            assert answer.status_code == 200, answer.text
            self._first[key] = (answer.headers["x-amz-version-id"], value)
        self._nulls["kept"].add(self._first["kept"][1].name)
        assert await self._set_versioning(self._paused, "Suspended")
        for bucket, rules in (
            (self._plain, self._plain_rules(is_turned=True)),
            (self._kept, VERSIONED),
            (self._paused, PAUSED),
        ):
            answered = await self._put_rules(bucket, rules)
            assert answered is not None
            assert answered.status_code == 200, answered.text

        for kind in PLAIN_KINDS:
            await self._put_aging(kind, is_tagged=False)
            await self._put_aging(kind, is_tagged=True)
        for kind in VERSIONED_KINDS:
            for is_locked in (False, False, True, False):
                await self._write_version(f"{kind}first", is_locked=is_locked)
        assert len(self._objects) == 2 * len(PLAIN_KINDS)

    @staticmethod
    def _plain_rules(*, is_turned: bool) -> tuple[Rule, ...]:
        return (*PLAIN, Rule(TURNED, days=1, is_enabled=is_turned))

    async def _put_rules(self, bucket: str, rules: tuple[Rule, ...]) -> httpx.Response | None:
        body = document_of(rules).encode()
        return await self._ask_of(bucket, "PUT", None, {"lifecycle": ""}, body, md5_of(body))

    def _accuse(self, bucket: str, key: str, what: str) -> None:
        self._history.wrong_bytes.append(f"lifecycle of {bucket}/{key!r}: {what}")

    def _earliest_ms(self, since_s: float) -> int:
        return self._clocks.earliest_ms(self._gateway, since_s)

    async def _age_rules(self, _: str) -> None:
        """Enable or disable a rule, or set the same rules again."""
        wanted = self._chance.random() < 0.5
        spell = self._turned.asked(wanted)
        answer = await self._put_rules(self._plain, self._plain_rules(is_turned=wanted))
        if answer is not None and answer.status_code == 200:
            self._turned.answered(spell)
        elif answer is not None:
            self._turned.refused(spell)

    # --- objects of a bucket without versions ---------------------------------------------

    async def _age_put(self, _: str) -> None:
        await self._put_aging(
            self._chance.choice(PLAIN_KINDS), is_tagged=self._chance.random() < 0.5
        )

    async def _put_aging(self, kind: str, *, is_tagged: bool) -> None:
        """Write an object under a key of its own."""
        self._numbers += 1
        key, began_s = f"{kind}{self._numbers}", trio.current_time()
        value = self._history.new_value(self._chance.choice(SIZES), f"{self._plain}/{key}")
        headers = {VALUE_HEADER: value.name}
        if is_tagged:
            headers["x-amz-tagging"] = f"{TAG}=yes"
        answer = await self._ask_of(self._plain, "PUT", key, None, value.content(), headers)
        if answer is not None and answer.status_code == 200:
            earliest_ms = self._earliest_ms(began_s)
            self._objects[key] = AgedObject(value, earliest_ms, began_s, Setting(is_tagged))

    def _may_be_gone(self, key: str) -> bool:
        """Return whether a rule may have taken an object away by now."""
        known = self._objects[key]
        rules = self._plain_rules(is_turned=True in self._turned.possible(known.began_s))
        rule = rule_of(rules, key)
        if rule.is_tagged and True not in known.is_tagged.possible(trio.current_time()):
            return False
        return rule.expires_ms(known.earliest_ms, known.value.size) <= self._clocks.judged_ms()

    def _is_missing(self, key: str) -> None:
        """Take in that an object is not there."""
        if not self._may_be_gone(key):
            known = self._objects[key]
            self._accuse(self._plain, key, f"{known.value} is gone, which nothing may take away")
        del self._objects[key]
        self._gone.add(key)
        self._history.count("object expired")

    async def _age_read(self, _: str) -> None:
        if self._objects:
            await self._read_object(self._chance.choice(list(self._objects)))

    async def _read_object(self, key: str) -> None:
        answer = await self._ask_of(self._plain, "GET", key)
        if answer is None or answer.status_code == REFUSED:
            return
        if answer.status_code == 404:
            self._is_missing(key)
        elif answer.content != self._objects[key].value.content():
            self._accuse(self._plain, key, f"answers {answer.status_code} and not its bytes")

    async def _age_tag(self, _: str) -> None:
        """Give an object the tag that a rule asks for, or another one."""
        chosen = [key for key in self._objects if key.startswith("tagged/")]
        if not chosen:
            return
        key = self._chance.choice(chosen)
        known, wanted = self._objects[key], self._chance.random() < 0.5
        tag = f"<Tag><Key>{TAG}</Key><Value>{'yes' if wanted else 'no'}</Value></Tag>"
        body = f"<Tagging><TagSet>{tag}</TagSet></Tagging>".encode()
        spell = known.is_tagged.asked(wanted)
        answer = await self._ask_of(self._plain, "PUT", key, {"tagging": ""}, body, md5_of(body))
        if answer is None:
            return
        if answer.status_code == 200:
            known.is_tagged.answered(spell)
            return
        known.is_tagged.refused(spell)
        if answer.status_code == 404:
            self._is_missing(key)

    async def _age_upload(self, _: str) -> None:
        """Begin an upload, or ask for the parts of one."""
        if self._uploads and self._chance.random() < 0.6:
            await self._look_at_upload(self._chance.choice(list(self._uploads)))
            return
        self._numbers += 1
        key = f"{self._chance.choice(('due/', 'kept/'))}{self._numbers}"
        began_s = trio.current_time()
        answer = await self._ask_of(self._plain, "POST", key, {"uploads": ""})
        if answer is not None and answer.status_code == 200:
            self._uploads[key] = text_of("UploadId", answer.text), self._earliest_ms(began_s)

    async def _look_at_upload(self, key: str) -> bool:
        """Ask for the parts of an upload; whether there was an answer."""
        upload, earliest_ms = self._uploads[key]
        answer = await self._ask_of(self._plain, "GET", key, {"uploadId": upload})
        if answer is not None and answer.status_code == 404:
            rule = Rule("", days=rule_of(PLAIN, key).abort_days)
            if rule.expires_ms(earliest_ms, 0) > self._clocks.judged_ms():
                self._accuse(self._plain, key, "an upload is gone, which nothing may abort")
            del self._uploads[key]
            self._history.count("upload expired")
        return answer is not None

    async def _age_list(self, _: str) -> None:
        """List what there is, of one kind or the other."""
        await (self._list_plain() if self._chance.random() < 0.6 else self._list_kept())

    async def _list_plain(self) -> list[Row] | None:
        """List the objects, and compare; None without an answer."""
        before = list(self._objects)
        rows = await self._rows(self._plain, {"list-type": "2"}, "Contents")
        if rows is None:
            return None
        listed = {row.key: row for row in rows}
        for key in before:
            known = self._objects.get(key)
            if key not in listed and known is not None:
                self._is_missing(key)
            elif known is not None and listed[key].size != known.value.size:
                self._accuse(self._plain, key, f"is listed with {listed[key].size} bytes")
        for key in sorted(self._gone & listed.keys()):
            self._accuse(self._plain, key, "is listed again")
        return rows

    async def _rows(self, bucket: str, query: Mapping[str, str], what: str) -> list[Row] | None:
        """All rows of a listing; None without an answer."""
        rows: list[Row] = []
        asked = {**query, "encoding-type": "url"}
        while True:
            answer = await self._ask_of(bucket, "GET", None, asked)
            if answer is None or answer.status_code != 200:
                return None
            for kind, text in re.findall(rf"<({what})>(.*?)</(?:{what})>", answer.text, re.DOTALL):
                modified = datetime.fromisoformat(text_of("LastModified", text)).timestamp()
                is_marker = kind == "DeleteMarker"
                rows.append(
                    Row(
                        unquote(text_of("Key", text)),
                        "" if kind == "Contents" else text_of("VersionId", text),
                        int(modified * 1000),
                        None if is_marker else int(text_of("Size", text)),
                    )
                )
            if "<IsTruncated>true" not in answer.text:
                return rows
            for name, element in (
                ("continuation-token", "NextContinuationToken"),
                ("key-marker", "NextKeyMarker"),
                ("version-id-marker", "NextVersionIdMarker"),
            ):
                if f"<{element}>" in answer.text:
                    asked[name] = unquote(html.unescape(text_of(element, answer.text)))

    # --- versions -------------------------------------------------------------------------

    def _key_to_write(self) -> str:
        """A key that has room for a version, and no write without an answer."""
        kind = self._chance.choice(VERSIONED_KINDS)
        fresh = [
            name
            for name, key in self._keys_kept.items()
            if name.startswith(kind)
            and key.known.loose_ms is None
            and len(key.known.versions) < MOST_VERSIONS
        ]
        if len(fresh) < KEYS:
            self._numbers += 1
            fresh.append(f"{kind}{self._numbers}")
        return self._chance.choice(fresh)

    def _kept_key(self, name: str) -> AgedKey:
        return self._keys_kept.setdefault(name, AgedKey(Aged([])))

    async def _age_version(self, _: str) -> None:
        """Write a version, now and then with a lock."""
        await self._write_version(self._key_to_write(), is_locked=self._chance.random() < 0.25)

    async def _write_version(self, name: str, *, is_locked: bool) -> None:
        key, began_s = self._kept_key(name), trio.current_time()
        value = self._history.new_value(self._chance.choice(SIZES), f"{self._kept}/{name}")
        body = value.content()
        headers = {VALUE_HEADER: value.name, **md5_of(body), **(_LOCKED if is_locked else {})}
        answer = await self._ask_of(self._kept, "PUT", name, None, body, headers)
        if answer is None:
            key.known.loose_ms = self._earliest_ms(began_s)
        elif answer.status_code == 200:
            version = answer.headers["x-amz-version-id"]
            key.values[version] = value
            key.known.versions.insert(
                0, AgedVersion(version, self._earliest_ms(began_s), value.size, is_locked)
            )

    async def _age_marker(self, _: str) -> None:
        """Delete a key: a marker stands above its versions."""
        name = self._key_to_write()
        key, began_s = self._kept_key(name), trio.current_time()
        answer = await self._ask_of(self._kept, "DELETE", name)
        if answer is None:
            key.known.loose_ms = self._earliest_ms(began_s)
        elif answer.status_code == 204:
            version = answer.headers["x-amz-version-id"]
            key.known.versions.insert(0, AgedVersion(version, self._earliest_ms(began_s), None))

    async def _age_old(self, _: str) -> None:
        """Read a version."""
        names = [name for name, key in self._keys_kept.items() if key.values]
        if not names:
            return
        name = self._chance.choice(names)
        version = self._chance.choice(list(self._keys_kept[name].values))
        answer = await self._ask_of(self._kept, "GET", name, {"versionId": version})
        if answer is None or answer.status_code == REFUSED:
            return
        if answer.status_code == 404:
            self._is_version_missing(name, version)
        elif answer.content != self._keys_kept[name].values[version].content():
            self._accuse(self._kept, name, f"{version} answers {answer.status_code}, not its bytes")

    def _is_version_missing(self, name: str, version: str) -> None:
        """Take in that a version is not there."""
        key = self._keys_kept[name]
        at = next(n for n, each in enumerate(key.known.versions) if each.version == version)
        rule = rule_of(VERSIONED, name)
        judged_ms, swing_ms = self._clocks.judged_ms(), self._clocks.swing_ms()
        if not may_be_gone(rule, key.known, at, judged_ms, swing_ms):
            self._accuse(self._kept, name, f"{key.known.versions[at]} is gone from {key.known}")
        key.values.pop(version, None)
        # It stays known as one that stood above others.
        key.known.versions[at].may_be_gone = True
        self._history.count("version expired")

    async def _list_kept(self) -> list[Row] | None:
        """List all versions, and compare; None without an answer."""
        rows = await self._rows(self._kept, {"versions": ""}, "Version|DeleteMarker")
        if rows is None:
            return None
        listed = {(row.key, row.version) for row in rows}
        for name, key in self._keys_kept.items():
            for each in list(key.known.versions):
                if (name, each.version) not in listed and not each.may_be_gone:
                    self._is_version_missing(name, each.version)
        return rows

    # --- a bucket whose versioning is suspended -------------------------------------------

    async def _age_null(self, _: str) -> None:
        """Write a null version above those that the bucket has from before."""
        key = self._chance.choice(("due/first", "kept"))
        value = self._history.new_value(100, f"{self._paused}/{key}")
        headers = {VALUE_HEADER: value.name}
        answer = await self._ask_of(self._paused, "PUT", key, None, value.content(), headers)
        if key == "kept" and (answer is None or answer.status_code == 200):
            self._nulls[key].add(value.name)

    async def _age_null_read(self, _: str) -> None:
        """Read what is from before, which no rule is for, and what no rule is for at all."""
        for key in self._first:
            await self._read_first(key)
        answer = await self._ask_of(self._paused, "GET", "kept")
        if answer is not None and answer.status_code != REFUSED:
            shown = answer.headers.get(VALUE_HEADER)
            if answer.status_code != 200 or shown not in self._nulls["kept"]:
                self._accuse(self._paused, "kept", f"answers {answer.status_code} with {shown}")

    async def _read_first(self, key: str) -> bool:
        """Read a version from before versioning was suspended; whether there was an answer."""
        version, value = self._first[key]
        answer = await self._ask_of(self._paused, "GET", key, {"versionId": version})
        if answer is None:
            return False
        if answer.status_code != REFUSED and answer.content != value.content():
            self._accuse(self._paused, key, f"{version} answers {answer.status_code}")
        return True

    # --- the end --------------------------------------------------------------------------

    async def read_own(self) -> list[str]:
        """List everything once and read some, when all is healed and expired.

        Returns:
            What got no answer, readable.
        """
        silent = []
        if await self._list_plain() is None:
            silent.append(f"the objects of {self._plain}")
        if await self._list_kept() is None:
            silent.append(f"the versions of {self._kept}")
        for key in list(self._uploads):
            if not await self._look_at_upload(key):
                silent.append(f"the upload {key!r}")
        for key in self._first:
            if not await self._read_first(key):
                silent.append(f"{key!r} of {self._paused}")
        return silent

    async def overdue(self) -> list[str]:
        """Return what rules are to take away by now, or soon, and is still there; readable."""
        now_ms = self._clocks.now_ms() + HORIZON_MS
        plain, kept = await self._list_plain(), await self._list_kept()
        paused = await self._rows(self._paused, {"versions": ""}, "Version|DeleteMarker")
        if plain is None or kept is None or paused is None:
            return ["a listing has no answer"]
        now_s = trio.current_time()
        turned = self._turned.possible(now_s) == {True}
        rules = self._plain_rules(is_turned=turned)
        due = []
        for row in plain:
            rule, known = rule_of(rules, row.key), self._objects.get(row.key)
            is_meant = not rule.is_tagged or (
                known is not None and known.is_tagged.possible(now_s) == {True}
            )
            assert row.size is not None
            if is_meant and rule.expires_ms(row.modified_ms, row.size) <= now_ms:
                due.append(f"{row.key!r} of {row.modified_ms}")
        locked = {
            each.version
            for key in self._keys_kept.values()
            for each in key.known.versions
            if each.is_locked
        }
        due += due_rows(VERSIONED, self._settled(kept), locked, now_ms)
        due += due_rows(PAUSED, paused, set(), now_ms)
        for key, (_, earliest_ms) in list(self._uploads.items()):
            await self._look_at_upload(key)
            rule = Rule("", days=rule_of(PLAIN, key).abort_days)
            if key in self._uploads and rule.expires_ms(earliest_ms, 0) <= now_ms:
                due.append(f"the upload {key!r}")
        return [f"not expired: {each}" for each in due]

    def _settled(self, rows: list[Row]) -> list[Row]:
        """The rows of keys without a write that had no answer: it may be one with a lock."""
        loose = {name for name, key in self._keys_kept.items() if key.known.loose_ms is not None}
        return [row for row in rows if row.key not in loose]
