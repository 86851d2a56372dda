"""Sequences of S3 operations on a bucket with versions, concurrent ones too, against a model."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar
from urllib.parse import quote

import trio
from gateway_rig import Answer, Rig
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from locks_client import BYPASS, HOLD, digest_of, hold, retain, retained, set_default, wait
from versions_client import Listed, delete_many, one_part, rows_of, set_versioning, versions

from coordinator.store import purge

T = TypeVar("T")
KEYS = ("a", "d/1", "d/2", "z")
BODIES = st.sampled_from([b"", b"one", b"two", b"three" * 50])
keys = st.sampled_from(KEYS)
retentions = st.sampled_from(
    [("", 0.0), ("GOVERNANCE", 1.0), ("GOVERNANCE", 4.0), ("COMPLIANCE", 1.0), ("COMPLIANCE", 4.0)]
)
"""Modes, and days from now on."""


def tag(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'


@dataclass
class Held:
    """A version of the model: a delete marker has no body. ``until_day``: of the retention."""

    version: str
    body: bytes | None
    tag: str = ""
    mode: str = ""
    until_day: float = 0
    is_held: bool = False

    def must_stay(self, day: float, *, bypass: bool = False) -> bool:
        """Whether its lock keeps it."""
        is_retained = bool(self.mode) and day < self.until_day
        return self.is_held or (is_retained and not (bypass and self.mode == "GOVERNANCE"))


@dataclass
class Bucket:
    """What S3 has: versions of each key, the latest first, and the state of versioning. ``day``:
    now."""

    state: str = ""
    has_locks: bool = False
    day: float = 0
    keys: dict[str, list[Held]] = field(default_factory=lambda: {key: [] for key in KEYS})

    def current(self, key: str) -> Held | None:
        held = self.keys[key]
        return held[0] if held and held[0].body is not None else None

    def named(self, key: str, version: str) -> Held | None:
        return next((each for each in self.keys[key] if each.version == version), None)

    def write(self, key: str, version: str, body: bytes | None, etag: str = "") -> None:
        held = self.keys[key]
        if version == "null":
            held[:] = [each for each in held if each.version != "null"]
        held.insert(0, Held(version, body, etag or tag(body or b"")))

    def stays(self, key: str, version: str, *, bypass: bool = False) -> bool:
        """Whether a version is there and its lock keeps it."""
        found = self.named(key, version)
        return found is not None and found.must_stay(self.day, bypass=bypass)

    def rows(self) -> list[Listed]:
        return [
            Listed(
                key,
                each.version,
                each is self.keys[key][0],
                each.body is None,
                None if each.body is None else each.tag,
                None if each.body is None else len(each.body),
            )
            for key in KEYS
            for each in self.keys[key]
        ]


class Loop:
    """A trio run in a thread, so that the steps of a machine share one."""

    def __init__(self) -> None:
        started: SimpleQueue[Any] = SimpleQueue()

        async def main() -> None:
            self._done = trio.Event()
            started.put(trio.lowlevel.current_trio_token())
            await self._done.wait()

        self._thread = threading.Thread(target=trio.run, args=(main,))
        self._thread.start()
        self._token = started.get()

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        return trio.from_thread.run(work, trio_token=self._token)

    def close(self) -> None:
        trio.from_thread.run_sync(self._done.set, trio_token=self._token)
        self._thread.join()


class S3Machine(RuleBasedStateMachine):
    """Clients of one bucket, and S3 as it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = Loop()
        self.model = Bucket()
        self.rig: Rig

    def teardown(self) -> None:
        self.loop.close()

    @initialize()
    def begin(self) -> None:
        async def make() -> Rig:
            rig = Rig()
            await rig.put("/bucket", b"")
            return rig

        self.rig = self.loop.run(make)

    def ask(
        self,
        method: str,
        key: str,
        query: str = "",
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        path = "/bucket/" + quote(key)
        return self.loop.run(lambda: self.rig.ask(method, path, query, body, headers))

    def _made(self, answer: Answer) -> str:
        """The version that an answer says was made; of no versions, the null version."""
        version = answer.headers.get("x-amz-version-id")
        assert (version is None) == (not self.model.state)
        assert (version == "null") == (self.model.state == "Suspended")
        return version or "null"

    def _some_version(self, key: str, pick: int) -> str:
        held = [each.version for each in self.model.keys[key]]
        return ([*held, "null", "a1" * 16])[pick % (len(held) + 2)]

    @rule(state=st.sampled_from(["Enabled", "Enabled", "Suspended"]))
    def version(self, state: str) -> None:
        refused = self.model.has_locks and state == "Suspended"
        answer = self.loop.run(lambda: set_versioning(self.rig, state))
        assert answer.status == (409 if refused else 200)
        if not refused:
            self.model.state = state

    @rule()
    def lock_bucket(self) -> None:
        is_enabled = self.model.state == "Enabled"
        answer = self.loop.run(lambda: set_default(self.rig, ""))
        assert answer.status == (200 if is_enabled else 409)
        self.model.has_locks |= is_enabled

    @rule(days=st.sampled_from([0.5, 1, 3]))
    def wait(self, days: float) -> None:
        async def run_ahead() -> None:
            wait(self.rig, days)

        self.loop.run(run_ahead)
        self.model.day += days

    @rule(key=keys, body=BODIES, lock=retentions, held=st.booleans())
    def put_locked(self, key: str, body: bytes, lock: tuple[str, float], held: bool) -> None:
        mode, days = lock
        headers = {**digest_of(body), HOLD: "ON" if held else "OFF"}

        async def put() -> Answer:
            until = retained(self.rig, mode, days) if mode else {}
            return await self.rig.ask("PUT", f"/bucket/{quote(key)}", "", body, headers | until)

        answer = self.loop.run(put)
        assert answer.status == (200 if self.model.has_locks else 400)
        if answer.status == 200:
            self.model.write(key, self._made(answer), body)
            made = self.model.keys[key][0]
            made.mode, made.until_day, made.is_held = mode, self.model.day + days, held

    @precondition(lambda self: self.model.has_locks)
    @rule(key=keys, pick=st.integers(0, 9), lock=retentions, bypass=st.booleans())
    def retain(self, key: str, pick: int, lock: tuple[str, float], bypass: bool) -> None:
        version = self._some_version(key, pick)
        mode, days = lock
        headers = BYPASS if bypass else {}
        answer = self.loop.run(lambda: retain(self.rig, key, version, mode, days, headers))
        found = self.model.named(key, version)
        if found is None or found.body is None:
            assert answer.status == (404 if found is None else 405)
            return
        in_force = found.mode if self.model.day < found.until_day else ""
        until = self.model.day + days
        extends = mode == in_force and until >= found.until_day
        is_free = not in_force or (bypass and in_force == "GOVERNANCE")
        assert answer.status == (200 if extends or is_free else 403)
        if answer.status == 200:
            found.mode, found.until_day = mode, until

    @precondition(lambda self: self.model.has_locks)
    @rule(key=keys, pick=st.integers(0, 9), on=st.booleans())
    def hold(self, key: str, pick: int, on: bool) -> None:
        version = self._some_version(key, pick)
        answer = self.loop.run(lambda: hold(self.rig, key, version, "ON" if on else "OFF"))
        found = self.model.named(key, version)
        if found is None or found.body is None:
            assert answer.status == (404 if found is None else 405)
        else:
            assert answer.status == 200
            found.is_held = on

    @rule(key=keys, body=BODIES)
    def put(self, key: str, body: bytes) -> None:
        answer = self.ask("PUT", key, "", body)
        assert answer.status == 200
        self.model.write(key, self._made(answer), body)

    @rule(key=keys, body=BODIES, absent=st.booleans(), wanted=BODIES)
    def put_on_condition(self, key: str, body: bytes, absent: bool, wanted: bytes) -> None:
        now = self.model.current(key)
        header = {"if-none-match": "*"} if absent else {"if-match": tag(wanted)}
        answer = self.ask("PUT", key, "", body, header)
        if absent:
            expected = 200 if now is None else 412
        else:
            expected = 404 if now is None else (200 if now.tag == tag(wanted) else 412)
        assert answer.status == expected
        if answer.status == 200:
            self.model.write(key, self._made(answer), body)

    @rule(key=keys, body=BODIES.filter(bool))
    def put_in_parts(self, key: str, body: bytes) -> None:
        upload = self.ask("POST", key, "uploads=").text("UploadId")
        part = self.ask("PUT", key, f"partNumber=1&uploadId={upload}", body)
        document = one_part(part.headers["etag"])
        answer = self.ask("POST", key, f"uploadId={upload}", document)
        assert answer.status == 200
        whole = hashlib.md5(hashlib.md5(body).digest()).hexdigest()
        self.model.write(key, self._made(answer), body, f'"{whole}-1"')

    @rule(source=keys, to=keys, pick=st.integers(0, 9), name_it=st.booleans())
    def copy(self, source: str, to: str, pick: int, name_it: bool) -> None:
        version = self._some_version(source, pick)
        found = self.model.named(source, version) if name_it else self.model.current(source)
        where = quote(f"bucket/{source}") + (f"?versionId={version}" if name_it else "")
        answer = self.ask("PUT", to, "", b"", {"x-amz-copy-source": where})
        if source == to and not name_it:
            assert answer.status == 400
        elif found is None:
            assert answer.status == 404
        elif found.body is None:
            assert answer.status == 400
        else:
            assert answer.status == 200
            if self.model.state:
                assert answer.headers["x-amz-copy-source-version-id"] == found.version
            self.model.write(to, self._made(answer), found.body, found.tag)

    @rule(key=keys)
    def delete(self, key: str) -> None:
        answer = self.ask("DELETE", key)
        assert answer.status == 204
        self._deleted(key, answer)

    def _deleted(self, key: str, answer: Answer) -> None:
        if not self.model.state:
            assert "x-amz-delete-marker" not in answer.headers
            self.model.keys[key].clear()
        else:
            assert answer.headers["x-amz-delete-marker"] == "true"
            self.model.write(key, self._made(answer), None)

    @rule(key=keys, pick=st.integers(0, 9), bypass=st.booleans())
    def delete_version(self, key: str, pick: int, bypass: bool) -> None:
        version = self._some_version(key, pick)
        found = self.model.named(key, version)
        headers = BYPASS if bypass else {}
        answer = self.ask("DELETE", key, f"versionId={version}", b"", headers)
        if self.model.stays(key, version, bypass=bypass):
            assert (answer.status, answer.code) == (403, "AccessDenied")
            return
        assert (answer.status, answer.headers["x-amz-version-id"]) == (204, version)
        is_marker = found is not None and found.body is None
        assert ("x-amz-delete-marker" in answer.headers) == is_marker
        self._forget(key, version)

    def _forget(self, key: str, version: str) -> None:
        held = self.model.keys[key]
        held[:] = [each for each in held if each.version != version]

    @rule(chosen=st.lists(st.tuples(keys, st.integers(0, 9), st.booleans()), max_size=5))
    def delete_many(self, chosen: list[tuple[str, int, bool]]) -> None:
        targets = [
            (key, self._some_version(key, pick) if name_it else "") for key, pick, name_it in chosen
        ]
        if not targets:
            return
        answer = self.loop.run(
            lambda: delete_many(
                self.rig,
                *(
                    f"<Key>{key}</Key>" + (f"<VersionId>{version}</VersionId>" if version else "")
                    for key, version in targets
                ),
            )
        )
        kept = [(key, version) for key, version in targets if self.model.stays(key, version)]
        assert answer.texts("Error/Key") == [key for key, _ in kept]
        assert answer.texts("Error/VersionId") == [version for _, version in kept]
        targets = [each for each in targets if each not in kept]
        rows = [element for element in answer.xml() if element.tag == "Deleted"]
        assert len(rows) == len(targets)
        for (key, version), row in zip(targets, rows, strict=True):
            marker = row.findtext("DeleteMarkerVersionId")
            if version:
                found = self.model.named(key, version)
                is_marker = found is not None and found.body is None
                assert (marker is not None) == is_marker
                self._forget(key, version)
            elif not self.model.state:
                assert marker is None
                self.model.keys[key].clear()
            else:
                assert marker is not None
                self.model.write(key, marker, None)

    @precondition(lambda self: self.model.state == "Enabled")
    @rule(key=keys, count=st.integers(2, 5), deletes=st.integers(0, 2), pick=st.integers(0, 9))
    def at_once(self, key: str, count: int, deletes: int, pick: int) -> None:
        """Writes, deletes and the delete of a version of one key at the same time."""
        gone = self._some_version(key, pick)
        made: dict[str, bytes | None] = {}

        async def put(number: int) -> None:
            body = b"at once %d" % number
            answer = await self.rig.ask("PUT", "/bucket/" + quote(key), "", body)
            made[answer.headers["x-amz-version-id"]] = body

        async def mark() -> None:
            answer = await self.rig.ask("DELETE", "/bucket/" + quote(key))
            made[answer.headers["x-amz-version-id"]] = None

        async def remove() -> None:
            await self.rig.ask("DELETE", "/bucket/" + quote(key), f"versionId={gone}")

        async def work() -> list[Listed]:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(remove)
                for number in range(count):
                    nursery.start_soon(put, number)
                for _ in range(deletes):
                    nursery.start_soon(mark)
            return [row for row in await versions(self.rig) if row.key == key]

        stays = self.model.stays(key, gone)
        listed = self.loop.run(work)
        if not stays:
            self._forget(key, gone)
        assert len(made) == count + deletes
        # In whatever order they were committed: each is there, and before all that was there.
        order = [row.version for row in listed[: len(made)]]
        assert set(order) == made.keys()
        for version in reversed(order):
            self.model.write(key, version, made[version])

    @rule(key=keys, count=st.integers(2, 5))
    def first_wins(self, key: str, count: int) -> None:
        """Of writes at the same time that want nothing to be there, one is made."""
        answers: dict[bytes, Answer] = {}

        async def put(number: int) -> None:
            body = b"first %d" % number
            answers[body] = await self.rig.ask(
                "PUT", "/bucket/" + quote(key), "", body, {"if-none-match": "*"}
            )

        async def work() -> None:
            async with trio.open_nursery() as nursery:
                for number in range(count):
                    nursery.start_soon(put, number)

        free = self.model.current(key) is None
        self.loop.run(work)
        won = [body for body, answer in answers.items() if answer.status == 200]
        assert len(won) == int(free)
        assert all(answer.status in {200, 412} for answer in answers.values())
        if won:
            self.model.write(key, self._made(answers[won[0]]), won[0])

    @rule()
    def collect_garbage(self) -> None:
        sql = self.rig.coordinators.sql
        while purge.purge(sql, purge.last_dropped(sql)).more:
            pass

    @rule(key=keys, pick=st.integers(0, 9), method=st.sampled_from(["GET", "HEAD"]))
    def read_version(self, key: str, pick: int, method: str) -> None:
        version = self._some_version(key, pick)
        answer = self.ask(method, key, f"versionId={version}")
        found = self.model.named(key, version)
        if found is None:
            assert answer.status == 404
        elif found.body is None:
            assert answer.status == 405
        else:
            assert answer.status == 200
            assert answer.headers["etag"] == found.tag
            assert method == "HEAD" or answer.body == found.body

    @rule(
        size=st.integers(1, 3),
        prefix=st.sampled_from(["", "d", "d/"]),
        delimiter=st.booleans(),
    )
    def pages(self, size: int, prefix: str, delimiter: bool) -> None:
        asked = f"versions=&max-keys={size}&prefix={quote(prefix, safe='')}"
        asked += "&delimiter=%2F" if delimiter else ""
        seen: list[Listed] = []
        rolled: list[str] = []
        query = asked
        while True:
            page = self.loop.run(partial(self.rig.ask, "GET", "/bucket", query))
            seen += rows_of(page)
            rolled += page.texts("CommonPrefixes/Prefix")
            if page.text("IsTruncated") != "true":
                break
            query = f"{asked}&key-marker={quote(page.text('NextKeyMarker') or '', safe='')}"
            if page.text("NextVersionIdMarker") is not None:
                query += f"&version-id-marker={page.text('NextVersionIdMarker')}"
        wanted = [row for row in self.model.rows() if row.key.startswith(prefix)]
        if delimiter:
            cut = [row for row in wanted if "/" in row.key[len(prefix) :]]
            wanted = [row for row in wanted if row not in cut]
            assert rolled == sorted({"d/" for _ in cut})
        assert seen == wanted

    @invariant()
    def what_is_shown_is_the_models(self) -> None:
        if not hasattr(self, "rig"):
            return
        assert self.loop.run(lambda: versions(self.rig)) == self.model.rows()
        listed = self.loop.run(lambda: self.rig.ask("GET", "/bucket", "list-type=2"))
        assert listed.texts("Contents/Key") == [key for key in KEYS if self.model.current(key)]
        for key in KEYS:
            answer = self.ask("GET", key)
            now = self.model.current(key)
            if now is not None:
                assert (answer.status, answer.body) == (200, now.body)
            else:
                is_marked = bool(self.model.keys[key])
                assert answer.code == "NoSuchKey"
                assert ("x-amz-delete-marker" in answer.headers) == is_marked


S3Machine.TestCase.settings = settings(deadline=None, max_examples=12, stateful_step_count=30)
TestVersionsOfS3 = S3Machine.TestCase
