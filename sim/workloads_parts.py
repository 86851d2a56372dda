"""More of what clients do: uploads in parts, replaced and aborted, copies of ranges, heads."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

import httpx
import trio

from sim.checkers.linearizability import RegisterEffect
from sim.history import Value
from sim.workloads import DEFAULT_MIX, VALUE_HEADER, Mix, Workload

PART_BYTES: Final = 5 * 1024 * 1024
"""The least that any part but the last may have."""

BLIND_MIX: Final = Mix({**DEFAULT_MIX.weights, "copy_blind": 3, "put_in_parts": 6})
"""With copies of whatever a coordinator shows, and more parts: for runs in which it lies."""


class PartsWorkload(Workload):
    """All operations of :class:`sim.workloads.Workload`, and those that take several requests."""

    async def _begin(self, key: str, value: Value) -> str | None:
        """Begin an upload; its id, or None."""
        begun = await self._ask("POST", key, {"uploads": ""}, b"", {VALUE_HEADER: value.name})
        if begun is None or begun.status_code != 200:
            return None
        found = re.search(r"<UploadId>(.*?)</UploadId>", begun.text)
        assert found is not None, begun.text
        return found.group(1)

    async def _part(self, key: str, upload: str, number: int, body: bytes) -> str | None:
        """Upload a part; its tag, or None."""
        query = {"partNumber": str(number), "uploadId": upload}
        answer = await self._ask("PUT", key, query, body)
        return None if answer is None or answer.status_code != 200 else answer.headers["etag"]

    async def _abort(self, key: str, upload: str) -> None:
        await self._ask("DELETE", key, {"uploadId": upload})

    async def _complete(self, key: str, upload: str, tags: list[str], value: Value) -> None:
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
            for number, tag in enumerate(tags, 1)
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        start = trio.current_time()
        answer = await self._ask("POST", key, {"uploadId": upload}, body)
        self._completed(key, start, value, answer)

    def _completed(
        self, key: str, start_s: float, value: Value, answer: httpx.Response | None
    ) -> None:
        """Record a completion, whose outcome is unknown if the answer is 200 with an error
        inside."""
        known = answer is not None and answer.status_code == 200 and "<ETag>" in answer.text
        if known or answer is None or answer.status_code == 200:
            self._record(key, RegisterEffect.PUT, start_s, value=value.name, known=known)

    async def _put_in_parts(self, key: str) -> None:
        """A large object of two parts, or (mostly) a small one of one part, perhaps replaced."""
        chance = self._chance
        is_large = chance.random() < 0.15
        rest = chance.randrange(1, 200_000)
        value = self._history.new_value(rest + (PART_BYTES if is_large else 0), self._place(key))
        content = value.content()
        upload = await self._begin(key, value)
        if upload is None:
            return
        pieces = [content[:PART_BYTES], content[PART_BYTES:]] if is_large else [content]
        if chance.random() < 0.3:
            await self._part(key, upload, 1, b"replaced" * chance.randrange(1, 10_000))
        if chance.random() < 0.2:
            await self._part(key, upload, 77, b"not chosen")
        tags = []
        for number, piece in enumerate(pieces, 1):
            tag = await self._part(key, upload, number, piece)
            if tag is None:
                return await self._abort(key, upload)
            tags.append(tag)
        await self._complete(key, upload, tags, value)
        return None

    async def _abort_parts(self, key: str) -> None:
        """Upload a part and change one's mind."""
        upload = await self._begin(key, self._history.new_value(1, self._place(key)))
        if upload is not None:
            await self._part(key, upload, 1, b"never seen" * self._chance.randrange(1, 20_000))
            await self._abort(key, upload)

    async def _copy_range(self, key: str) -> None:
        """Make an object of a range of another one, without its bytes passing here."""
        source, target = self._seen.get(key), self._chance.choice(self._keys)
        if source is None or source.size < 2:
            return await self._get(key)
        first = self._chance.randrange(source.size - 1)
        last = self._chance.randrange(first, source.size)
        value = self._history.new_range(source, first, last, self._place(target))
        upload = await self._begin(target, value)
        if upload is None:
            return None
        query = {"partNumber": "1", "uploadId": upload}
        headers = {
            "x-amz-copy-source": quote(f"/{self.bucket}/{key}"),
            "x-amz-copy-source-if-match": self._tags[source.name],
            "x-amz-copy-source-range": f"bytes={first}-{last}",
        }
        answer = await self._ask("PUT", target, query, b"", headers)
        found = None if answer is None else re.search(r"<ETag>(.*?)</ETag>", answer.text)
        if found is None:
            return await self._abort(target, upload)
        tag = found.group(1).replace("&quot;", '"').replace("&#34;", '"')
        return await self._complete(target, upload, [tag], value)

    async def _copy_blind(self, key: str) -> None:
        """Copy whatever is under a key, and look at the copy: it stays, should it be wrong."""
        target = f"copy of {key}"
        names = self._history.names
        names.allow_all_of(self._place(target), self._place(key))
        source = {"x-amz-copy-source": quote(f"/{self.bucket}/{key}")}
        await self._ask("PUT", target, None, b"", source)
        answer = await self._ask("GET", target)
        if answer is not None and answer.status_code == 200:
            name = answer.headers.get(VALUE_HEADER, "")
            value = self._history.values.get(name)
            if value is None or answer.content != value.content():
                self._history.wrong_bytes.append(f"{target!r} is not {name!r}, as it says")
            else:
                self._shown(target, answer, value)

    async def _head(self, key: str) -> None:
        start = trio.current_time()
        answer = await self._ask("HEAD", key)
        if answer is None:
            self._history.count("head unknown")
        elif answer.status_code == 404:
            self._record(key, RegisterEffect.GET, start)
        elif answer.status_code == 200:
            name = answer.headers.get(VALUE_HEADER, "")
            value = self._history.values.get(name)
            if value is None or int(answer.headers["content-length"]) != value.size:
                self._history.wrong_bytes.append(f"{key!r}: HEAD reported another size of {name!r}")
            elif self._shown(key, answer, value):
                self._record(key, RegisterEffect.GET, start, value=name)
        else:
            self._refused("head", answer)
