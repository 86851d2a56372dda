"""A client that keeps versions in a bucket of its own, and knows what must be in it.

Nobody else writes there, so what was acknowledged must be there: each version under its id until
it is deleted for good, in the order of the acknowledgements. A request without an answer may have
been carried out, or may be later; what it could do is excused, and no more.
"""

from __future__ import annotations

import html
import re
from dataclasses import field
from typing import Final
from urllib.parse import quote, unquote

import httpx

from common.data_classes import dataclass
from sim.history import Value
from sim.workloads import DEFAULT_MIX, REFUSED, VALUE_HEADER, Mix, text_of
from sim.workloads_parts import PartsWorkload

KEEP_MIX: Final = Mix(
    {
        **DEFAULT_MIX.weights,
        "keep": 10,
        "keep_deleted": 3,
        "keep_restored": 3,
        "keep_removed": 4,
        "keep_read": 8,
        "keep_list": 5,
        "keep_switch": 1,
    }
)
"""With operations on versions beside those on the bucket that all clients share."""
KEYS: Final = ("kept one", "kept/two")
SIZES: Final = (100, 4096, 70_000, 1_100_000)
NULL: Final = "null"


@dataclass(slots=True)
class OwnVersion:
    """A version that was acknowledged: of a delete marker ``value`` is None. ``may_be_gone``: a
    request without an answer may have deleted or replaced it."""

    version: str
    value: Value | None
    may_be_gone: bool = False


@dataclass(slots=True)
class OwnKey:
    """A key of the client's own bucket. ``held``: the latest first. ``gone``: ids that were deleted
    for good. ``loose``: values, and ``markers``: how many delete markers, of writes that had no
    answer."""

    held: list[OwnVersion] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    loose: dict[str, Value] = field(default_factory=dict)
    markers: int = 0

    @property
    def is_certain(self) -> bool:
        """No write without an answer can show in it."""
        return not self.loose and not self.markers

    def may_be_current(self) -> tuple[set[str], bool]:
        """The names of the values that may be current, and whether there may be no object."""
        values, may_be_absent = set(self.loose), self.markers > 0
        for each in self.held:
            if each.value is None:
                may_be_absent = True
            else:
                values.add(each.value.name)
            if not each.may_be_gone:
                return values, may_be_absent
        return values, True


class VersionsWorkload(PartsWorkload):
    """All operations of :class:`sim.workloads_parts.PartsWorkload`, and those on versions."""

    own_bucket: str
    """Of this client alone."""

    def prepare(self, own_bucket: str) -> None:
        """Name the client's own bucket."""
        self.own_bucket = own_bucket
        self._own = {key: OwnKey() for key in KEYS}
        self._state: str | None = None
        self._was_suspended = False
        self._is_doubtful = False

    async def make_own_bucket(self) -> None:
        """Create the client's own bucket (setup: no faults yet)."""
        answer = await self._client.request("PUT", f"/{self.own_bucket}")
        assert answer.status_code == 200, answer.text
        assert await self._set_versioning(self.own_bucket, "Enabled")
        self._state = "Enabled"

    async def _keep_switch(self, _: str) -> None:
        """Suspend or enable versioning; until it is known which, nothing is written."""
        wanted = "Enabled" if self._state == "Suspended" else "Suspended"
        self._was_suspended = True
        for key in self._own.values():
            self._doubt_null(key)
        self._state = wanted if await self._set_versioning(self.own_bucket, wanted) else None
        # Without an answer it may be carried out later, too.
        self._is_doubtful |= self._state is None

    def _doubt_null(self, key: OwnKey) -> None:
        """A write without an answer may be carried out while versioning is suspended."""
        if not key.is_certain:
            for each in key.held:
                each.may_be_gone |= each.version == NULL

    async def _own_key(self) -> str | None:
        """A key to write to; None while it is not known whether versioning is enabled."""
        if self._state is None and await self._set_versioning(self.own_bucket, "Enabled"):
            self._state = "Enabled"
        return None if self._state is None else self._chance.choice(KEYS)

    def _accuse(self, key: str, what: str) -> None:
        self._history.wrong_bytes.append(f"version of {self.own_bucket}/{key!r}: {what}")

    def _wrote(self, name: str, value: Value | None, answer: httpx.Response | None) -> None:
        """Take in a write: its answer, or that it has none."""
        key = self._own[name]
        if answer is None:
            if value is None:
                key.markers += 1
            else:
                key.loose[value.name] = value
            if self._was_suspended:
                self._doubt_null(key)
            return
        version = answer.headers.get("x-amz-version-id", "")
        is_odd = (version == NULL) != (self._state == "Suspended") and not self._is_doubtful
        if is_odd or not version:
            self._accuse(name, f"{version!r} was written while versioning is {self._state}")
        if version == NULL:
            key.held = [each for each in key.held if each.version != NULL]
        key.held.insert(0, OwnVersion(version, value, version == NULL and not key.is_certain))

    async def _keep(self, _: str) -> None:
        name = await self._own_key()
        if name is None:
            return
        size = self._chance.choice(SIZES)
        value = self._history.new_value(size, f"{self.own_bucket}/{name}")
        headers = {VALUE_HEADER: value.name}
        answer = await self._ask_of(self.own_bucket, "PUT", name, None, value.content(), headers)
        if answer is None or answer.status_code == 200:
            self._wrote(name, value, answer)

    async def _keep_deleted(self, _: str) -> None:
        name = await self._own_key()
        if name is None:
            return
        answer = await self._ask_of(self.own_bucket, "DELETE", name)
        if answer is None or answer.status_code == 204:
            self._wrote(name, None, answer)

    async def _keep_restored(self, _: str) -> None:
        """Copy a version to the key it is of."""
        name = await self._own_key()
        if name is None:
            return
        known = [each for each in self._own[name].held if each.value is not None]
        if not known:
            return
        source = self._chance.choice(known)
        where = quote(f"{self.own_bucket}/{name}") + f"?versionId={source.version}"
        headers = {"x-amz-copy-source": where}
        answer = await self._ask_of(self.own_bucket, "PUT", name, None, b"", headers)
        if answer is not None and answer.status_code != 200:
            if not source.may_be_gone and answer.status_code != REFUSED:
                self._accuse(name, f"{source.version} cannot be copied: {answer.status_code}")
            return
        assert source.value is not None
        # Of a null version that was replaced without an answer, nobody knows what was copied.
        is_known = answer is not None and "<ETag>" in answer.text and not source.may_be_gone
        self._wrote(name, source.value, answer if is_known else None)

    async def _keep_removed(self, _: str) -> None:
        """Delete a version for good."""
        name = await self._own_key()
        if name is None:
            return
        key = self._own[name]
        if not key.held:
            return
        chosen = self._chance.choice(key.held)
        query = {"versionId": chosen.version}
        answer = await self._ask_of(self.own_bucket, "DELETE", name, query)
        if answer is None:
            chosen.may_be_gone = True
        elif answer.status_code == 204:
            key.held = [each for each in key.held if each is not chosen]
            if chosen.version != NULL:
                key.gone.append(chosen.version)

    async def _keep_read(self, _: str) -> None:
        """Read a version that is there, one that is not, and what is current."""
        name = self._chance.choice(KEYS)
        key = self._own[name]
        if key.held:
            await self._read_version(name, self._chance.choice(key.held))
        if key.gone:
            query = {"versionId": self._chance.choice(key.gone)}
            answer = await self._ask_of(self.own_bucket, "GET", name, query)
            if answer is not None and answer.status_code not in {404, REFUSED}:
                self._accuse(name, f"{query} is there again: {answer.status_code}")
        await self._read_current(name)

    async def _read_version(self, name: str, kept: OwnVersion) -> bool:
        """Read a version; whether there was an answer."""
        query = {"versionId": kept.version}
        answer = await self._ask_of(self.own_bucket, "GET", name, query)
        if answer is None:
            return False
        wanted = 405 if kept.value is None else 200
        if answer.status_code == REFUSED:
            return True
        if kept.may_be_gone and (answer.status_code == 404 or kept.version == NULL):
            return True
        if answer.status_code != wanted:
            self._accuse(name, f"{kept.version} answers {answer.status_code}, not {wanted}")
        elif kept.value is not None and answer.content != kept.value.content():
            self._accuse(name, f"{kept.version} has not the bytes of {kept.value.name}")
        return True

    async def _read_current(self, name: str) -> bool:
        """Read a key; whether there was an answer."""
        values, may_be_absent = self._own[name].may_be_current()
        answer = await self._ask_of(self.own_bucket, "GET", name)
        if answer is None:
            return False
        if answer.status_code == REFUSED:
            return True
        if answer.status_code == 404:
            if not may_be_absent:
                self._accuse(name, f"is not there, though it is one of {sorted(values)}")
            return True
        shown = answer.headers.get(VALUE_HEADER, "")
        value = self._history.values.get(shown)
        if answer.status_code != 200 or value is None or answer.content != value.content():
            self._accuse(name, f"answers {answer.status_code} and not the bytes of {shown!r}")
        elif shown not in values:
            self._accuse(name, f"shows {shown}, not one of {sorted(values)}")
        return True

    async def _keep_list(self, _: str) -> None:
        await self._list_own()

    async def _list_own(self) -> bool:
        """List all versions, and compare; whether there was an answer."""
        rows: dict[str, list[tuple[str, str]]] = {name: [] for name in KEYS}
        query = {"versions": "", "encoding-type": "url"}
        if self._chance.random() < 0.5:
            query["max-keys"] = "2"
        while True:
            answer = await self._ask_of(self.own_bucket, "GET", None, query)
            if answer is None or answer.status_code != 200:
                return answer is not None
            for kind, row in re.findall(
                r"<(Version|DeleteMarker)>(.*?)</(?:Version|DeleteMarker)>", answer.text, re.DOTALL
            ):
                tag = html.unescape(text_of("ETag", row)) if kind == "Version" else ""
                rows[unquote(text_of("Key", row))].append((text_of("VersionId", row), tag))
            if "<IsTruncated>true" not in answer.text:
                break
            query["key-marker"] = unquote(text_of("NextKeyMarker", answer.text))
            query["version-id-marker"] = text_of("NextVersionIdMarker", answer.text)
        for name, listed in rows.items():
            self._compare(name, listed)
        return True

    def _compare(self, name: str, listed: list[tuple[str, str]]) -> None:
        """Compare the rows of a key, each a version and its tag, with what must be there."""
        key = self._own[name]
        known = {each.version: each for each in key.held if not self._is_other(each, listed)}
        shown = [version for version, _ in listed if version in known]
        if not key.is_certain:
            # A null version that is replaced between two pages has them begin again.
            shown = list(dict.fromkeys(shown))
        wanted = [each.version for each in key.held if each.version in known]
        if shown != [each for each in wanted if each in shown]:
            self._accuse(name, f"lists {shown}, which were written as {wanted}")
        lost = [v for v in wanted if v not in shown and not known[v].may_be_gone]
        if lost:
            self._accuse(name, f"lists {len(listed)} versions without {lost}")
        strange = [row for row in listed if row[0] not in known]
        markers = sum(not tag for _, tag in strange)
        tags = {value.etag() for value in key.loose.values()}
        if markers > key.markers or any(tag and tag not in tags for _, tag in strange):
            self._accuse(name, f"lists {strange}, which nobody wrote")

    @staticmethod
    def _is_other(kept: OwnVersion, listed: list[tuple[str, str]]) -> bool:
        """Return whether the null version that is listed is another than the acknowledged one."""
        if kept.version != NULL or not kept.may_be_gone:
            return False
        tag = "" if kept.value is None else kept.value.etag()
        return (NULL, tag) not in listed

    async def read_own(self) -> list[str]:
        """Read every version and list once, when all is healed.

        Returns:
            What got no answer, readable.
        """
        silent = []
        for name, key in self._own.items():
            for each in key.held:
                if not await self._read_version(name, each):
                    silent.append(f"{each.version} of {self.own_bucket}/{name!r}")
            if not await self._read_current(name):
                silent.append(f"{self.own_bucket}/{name!r}")
        if not await self._list_own():
            silent.append(f"the versions of {self.own_bucket}")
        return silent
