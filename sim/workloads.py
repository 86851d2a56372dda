"""Workloads of clients: a mix of S3 operations over few keys, so that the operations meet."""

from __future__ import annotations

import base64
import hashlib
import html
import random
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Final
from urllib.parse import quote, unquote

import httpx
import trio

from common.data_classes import dataclass
from sim.checkers.linearizability import RegisterEffect
from sim.history import OperationHistory, Value, Wait
from sim.pace import Pulse, WorkloadPace
from sim.s3_client import S3Client

BUCKET: Final = "hive"
SIZES: Final = (0, 1, 100, 4096, 4096, 70_000, 300_000, 1_100_000, 2_500_000)
VALUE_HEADER: Final = "x-amz-meta-value"
REFUSED: Final = 403
"""The status where the clocks of client and gateway differ too much: nothing was looked at."""


@dataclass(frozen=True, slots=True)
class Mix:
    """The frequency with which each operation is drawn. Operations that a workload does not know
    are passed over."""

    weights: Mapping[str, int]
    keys: int = 6


DEFAULT_MIX: Final = Mix(
    {
        "put": 8,
        "get": 10,
        "get_range": 4,
        "delete": 3,
        "list": 3,
        "put_if_absent": 3,
        "put_if_match": 3,
        "copy": 2,
        "delete_many": 1,
        "put_in_parts": 2,
        "abort_parts": 1,
        "copy_range": 2,
        "head": 2,
    }
)


def place_of(bucket: str, key: str) -> str:
    """The name under which a history has a key of a bucket."""
    return f"{bucket}/{key}"


class Workload:
    """Drives one client and writes down what it saw.

    Args:
        chance: draws the operations, keys and sizes.
        history: shared by all clients of a run.
        pace: how busy the client is.
        pulse: hears of every operation.
        bucket: the bucket that the client works in; it is made by :meth:`make_bucket`.
    """

    def __init__(
        self,
        client: S3Client,
        history: OperationHistory,
        chance: random.Random,
        pace: WorkloadPace,
        pulse: Pulse,
        mix: Mix = DEFAULT_MIX,
        bucket: str = BUCKET,
    ) -> None:
        self._client = client
        self._history = history
        self._chance = chance
        self._pace = pace
        self._pulse = pulse
        self._mix = mix
        self.bucket = bucket
        self._keys = [f"key {number}/\u00e9%2F" for number in range(mix.keys)]
        self._seen: dict[str, Value] = {}
        self._tags: dict[str, str] = {}
        self._unanswered: dict[str, str] = {}

    @property
    def keys(self) -> list[str]:
        return list(self._keys)

    async def make_bucket(self) -> None:
        """Create the bucket of the run (setup: no faults yet)."""
        answer = await self._client.request("PUT", f"/{self.bucket}")
        assert answer.status_code == 200, answer.text

    async def make_own_bucket(self) -> None:
        """Create the buckets of this client alone (setup: no faults yet)."""

    async def read_own(self) -> list[str]:
        """Read what is in the client's own buckets once, when all is healed.

        Returns:
            What got no answer, readable.
        """
        return []

    async def overdue(self) -> list[str]:
        """Return what is still to happen in the client's own buckets, readable."""
        return []

    async def keep_versions(self) -> None:
        """Have the bucket of the run keep versions (setup: no faults yet)."""
        assert await self._set_versioning(self.bucket, "Enabled")

    async def _set_versioning(self, bucket: str, status: str) -> bool:
        """Enable or suspend versioning; whether that was acknowledged."""
        body = f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>"
        answer = await self._ask_of(bucket, "PUT", None, {"versioning": ""}, body.encode())
        return answer is not None and answer.status_code == 200

    async def run(self, until_s: float) -> None:
        """Do operations until that virtual time."""
        known = {name: weight for name, weight in self._mix.weights.items() if self._can(name)}
        names, weights = list(known), list(known.values())
        start_s = trio.current_time()
        while True:
            now_s = trio.current_time() - start_s
            turn_s = start_s + self._pace.next_turn_s(now_s, self._chance.random())
            await trio.sleep_until(min(turn_s, until_s))
            if turn_s >= until_s:
                return
            name = self._chance.choices(names, weights)[0]
            operation: Callable[[str], Awaitable[None]] = getattr(self, f"_{name}")
            await operation(self._chance.choice(self._keys))

    def _can(self, name: str) -> bool:
        return hasattr(self, f"_{name}")

    async def read_all(self) -> None:
        """Read every key and list once: the checkers then know the final state."""
        for key in self._keys:
            await self._get(key)
        await self._list(self._keys[0])

    def unread(self) -> list[str]:
        """After :meth:`read_all`: keys whose last read got no answer, readable."""
        return [
            f"{key!r}: {self._unanswered[key]}" for key in self._keys if key in self._unanswered
        ]

    def unknowns(self) -> list[str]:
        """Of a run without faults: answers that no client may have got. Of all clients."""
        return [
            f"without any fault: {count} times {what}"
            for what, count in sorted(self._history.counts.items())
            if what.endswith("unknown")
        ]

    async def _ask(
        self,
        method: str,
        key: str | None,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response | None:
        """One request about the clients' bucket; None when its outcome is unknown (cut, timed out,
        or a 5xx answer)."""
        return await self._ask_of(self.bucket, method, key, query, body, headers)

    async def _ask_of(
        self,
        bucket: str,
        method: str,
        key: str | None,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response | None:
        """One request about a bucket; None as :meth:`_ask`."""
        return await self._send(self._client, bucket, method, key, query, body, headers)

    async def _send(
        self,
        client: S3Client,
        bucket: str,
        method: str,
        key: str | None,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response | None:
        """One request of some client about a bucket; None as :meth:`_ask`."""
        path = f"/{bucket}" if key is None else f"/{bucket}/{key}"
        self._pulse.begin()
        start, is_answered = trio.current_time(), False
        try:
            answer = await client.request(method, path, query, body, headers)
            is_answered = answer.status_code < 500
        except httpx.TransportError:
            return None
        finally:
            waited = trio.current_time() - start
            self._history.waits.append(Wait(start, waited, is_answered))
        self._pulse.answer()
        return answer if is_answered else None

    def _place(self, key: str) -> str:
        return place_of(self.bucket, key)

    def _record(
        self,
        key: str,
        kind: RegisterEffect,
        start_s: float,
        *,
        value: str | None = None,
        expected: str | None = None,
        holds: bool = True,
        known: bool = True,
    ) -> None:
        self._history.record(
            self._place(key),
            kind,
            start_s,
            value=value,
            expected=expected,
            holds=holds,
            known=known,
        )

    def _size(self) -> int:
        return self._chance.choice(SIZES)

    async def _put(self, key: str) -> None:
        value, start = self._history.new_value(self._size(), self._place(key)), trio.current_time()
        answer = await self._ask("PUT", key, None, value.content(), {VALUE_HEADER: value.name})
        if answer is None:
            self._record(key, RegisterEffect.PUT, start, value=value.name, known=False)
        elif answer.status_code == 200:
            self._history.names.tagged(answer.headers["etag"], value.name)
            self._record(key, RegisterEffect.PUT, start, value=value.name)
        else:
            self._refused("put", answer)

    def _refused(self, what: str, answer: httpx.Response) -> None:
        code = re.search(r"<Code>(\w+)</Code>", answer.text)
        self._history.count(f"{what} refused {answer.status_code} {code.group(1) if code else ''}")

    async def _put_if_absent(self, key: str) -> None:
        value, start = self._history.new_value(self._size(), self._place(key)), trio.current_time()
        headers = {VALUE_HEADER: value.name, "if-none-match": "*"}
        answer = await self._ask("PUT", key, None, value.content(), headers)
        self._conditional(key, RegisterEffect.PUT_IF_ABSENT, start, value, None, answer)

    async def _put_if_match(self, key: str) -> None:
        seen = self._seen.get(key)
        if seen is None or seen.size == 0:
            return await self._get(key)
        value, start = self._history.new_value(self._size(), self._place(key)), trio.current_time()
        headers = {VALUE_HEADER: value.name, "if-match": self._tags[seen.name]}
        answer = await self._ask("PUT", key, None, value.content(), headers)
        self._conditional(key, RegisterEffect.PUT_IF_MATCH, start, value, seen.name, answer)
        return None

    def _conditional(
        self,
        key: str,
        kind: RegisterEffect,
        start_s: float,
        value: Value,
        expected: str | None,
        answer: httpx.Response | None,
    ) -> None:
        if answer is None:
            self._record(key, kind, start_s, value=value.name, expected=expected, known=False)
        elif answer.status_code == 200:
            self._record(key, kind, start_s, value=value.name, expected=expected)
        elif answer.status_code in (404, 412):
            self._record(key, kind, start_s, value=value.name, expected=expected, holds=False)
        else:
            self._refused(kind.value, answer)

    async def _get(self, key: str) -> None:
        start = trio.current_time()
        answer = await self._ask("GET", key)
        self._unanswered.pop(key, None)
        if answer is None:
            self._unanswered[key] = "no answer, or an error of the server"
            self._history.count("get unknown")
        elif answer.status_code == 404:
            self._record(key, RegisterEffect.GET, start)
        elif answer.status_code == 200:
            self._judge(key, start, answer, 0, None)
        else:
            self._refused("get", answer)

    async def _get_range(self, key: str) -> None:
        start = trio.current_time()
        first = self._chance.randrange(1_200_000)
        last = first + self._chance.randrange(400_000)
        answer = await self._ask("GET", key, None, b"", {"range": f"bytes={first}-{last}"})
        if answer is None:
            self._history.count("get unknown")
        elif answer.status_code == 404:
            self._record(key, RegisterEffect.GET, start)
        elif answer.status_code == 206:
            self._judge(key, start, answer, first, last)
        elif answer.status_code != 416:
            self._refused("get", answer)

    def _judge(
        self, key: str, start_s: float, answer: httpx.Response, first: int, last: int | None
    ) -> None:
        name = answer.headers.get(VALUE_HEADER, "")
        value = self._history.values.get(name)
        end = None if last is None else last + 1
        if value is None or answer.content != value.content()[first:end]:
            self._history.wrong_bytes.append(
                f"{key!r} answered {len(answer.content)} bytes from {first} that are not {value}"
            )
            return
        if not self._shown(key, answer, value):
            return
        self._seen[key] = value
        self._record(key, RegisterEffect.GET, start_s, value=name)

    def _shown(self, key: str, answer: httpx.Response, value: Value) -> bool:
        """Return whether a value that is shown may be there, and remember its tag."""
        names, headers = self._history.names, answer.headers
        names.dated(self._place(key), headers.get("last-modified"))
        self._tags[value.name] = headers["etag"]
        names.tagged(headers["etag"], value.name)
        return names.read(self._place(key), value.name)

    async def _delete(self, key: str) -> None:
        start = trio.current_time()
        answer = await self._ask("DELETE", key)
        if answer is None or answer.status_code == 204:
            self._record(key, RegisterEffect.DELETE, start, known=answer is not None)
        else:
            self._refused("delete", answer)

    async def _delete_many(self, key: str) -> None:
        start = trio.current_time()
        chosen = sorted({key, self._chance.choice(self._keys)})
        items = "".join(f"<Object><Key>{each}</Key></Object>" for each in chosen)
        body = f"<Delete>{items}</Delete>".encode()
        checksum = hashlib.sha256(body).digest()
        headers = {"x-amz-checksum-sha256": _base64(checksum)}
        answer = await self._ask("POST", None, {"delete": ""}, body, headers)
        if answer is not None and answer.status_code != 200:
            return self._refused("delete_many", answer)
        for each in chosen:
            self._record(each, RegisterEffect.DELETE, start, known=answer is not None)
        return None

    async def _list(self, key: str) -> None:
        start = trio.current_time()
        found: set[str] = set()
        query = {"list-type": "2", "encoding-type": "url"}
        if self._chance.random() < 0.5:
            query["max-keys"] = "2"
        while True:
            answer = await self._ask("GET", None, query)
            if answer is None or answer.status_code != 200:
                self._history.count("list unknown")
                return
            for row in re.findall(r"<Contents>(.*?)</Contents>", answer.text, re.DOTALL):
                found.add(self._listed(row))
            more = re.search(r"<NextContinuationToken>(.*?)</Next", answer.text)
            if more is None:
                break
            query["continuation-token"] = more.group(1)
        for each in self._keys:
            self._record(each, RegisterEffect.EXISTS, start, holds=each in found)

    def _listed(self, row: str) -> str:
        """The key of a row of a listing, whose facts must be its own."""
        key = unquote(text_of("Key", row))
        modified = datetime.fromisoformat(text_of("LastModified", row)).timestamp()
        tag, size = html.unescape(text_of("ETag", row)), int(text_of("Size", row))
        self._history.names.listed(self._place(key), tag, size, modified)
        return key

    async def _copy(self, key: str) -> None:
        """Copy onto another key what we last saw under this one, if it is still the same."""
        seen, target = self._seen.get(key), self._chance.choice(self._keys)
        if seen is None or seen.size == 0 or target == key:
            return await self._get(key)
        self._history.names.allow(self._place(target), seen.name)
        start = trio.current_time()
        headers = {
            "x-amz-copy-source": quote(f"/{self.bucket}/{key}"),
            "x-amz-copy-source-if-match": self._tags[seen.name],
        }
        answer = await self._ask("PUT", target, None, b"", headers)
        if answer is None:
            self._record(target, RegisterEffect.PUT, start, value=seen.name, known=False)
        elif answer.status_code == 200 and "<ETag>" in answer.text:
            self._record(target, RegisterEffect.PUT, start, value=seen.name)
        elif answer.status_code == 200:
            self._record(target, RegisterEffect.PUT, start, value=seen.name, known=False)
        return None


def text_of(element: str, text: str) -> str:
    """The text of the first element of that name."""
    found = re.search(rf"<{element}>(.*?)</{element}>", text)
    assert found is not None, f"no {element} in {text}"
    return found.group(1)


def md5_of(body: bytes) -> dict[str, str]:
    """The header by which a client vouches for a body."""
    return {"content-md5": _base64(hashlib.md5(body, usedforsecurity=False).digest())}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
