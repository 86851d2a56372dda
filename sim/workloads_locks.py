"""A client that locks versions in a bucket of its own, and tries to get rid of them.

Every version there is locked for longer than any run lasts, or until its hold ends. What was
acknowledged must stay until a bypass of GOVERNANCE or the end of a hold was asked for; whether that
request had an answer or not, the version is excused from then on, and no other is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from common.data_classes import dataclass
from sim.history import Value
from sim.workloads import REFUSED, VALUE_HEADER, Mix, md5_of
from sim.workloads_versions import KEEP_MIX, KEYS, SIZES, VersionsWorkload

LOCK_MIX: Final = Mix(
    {
        **KEEP_MIX.weights,
        "lock": 10,
        "lock_attack": 10,
        "lock_lift": 2,
        "lock_extend": 2,
        "lock_read": 4,
    }
)
"""With operations on locked versions beside those on versions."""
GOVERNANCE: Final = "GOVERNANCE"
COMPLIANCE: Final = "COMPLIANCE"
NEARER: Final = "2090-01-01T00:00:00Z"
UNTIL: Final = "2095-01-01T00:00:00Z"
LATER: Final = "2099-01-01T00:00:00Z"
WAYS: Final = ("delete", "bypass", "batch", "shorten", "remove", "bucket")
ATTACKS: Final = 3
"""Ways that are tried one after another."""
_PREFIX: Final = "x-amz-object-lock-"
_BYPASS: Final = {"x-amz-bypass-governance-retention": "true"}
_BY_DEFAULT: Final = "<Mode>COMPLIANCE</Mode><Years>100</Years>"


@dataclass(slots=True)
class LockedVersion:
    """A version that was acknowledged with its lock. ``mode``: empty where only a hold keeps it.
    ``may_go``: its lock was asked to end."""

    key: str
    version: str
    value: Value
    mode: str
    is_held: bool
    may_go: bool = False


class LocksWorkload(VersionsWorkload):
    """All operations of :class:`sim.workloads_versions.VersionsWorkload`, and those on locks."""

    @property
    def lock_bucket(self) -> str:
        """The bucket of this client alone in which every version is locked."""
        return f"{self.own_bucket}-locked"

    def prepare(self, own_bucket: str) -> None:
        """Name the client's own buckets."""
        super().prepare(own_bucket)
        self._locked: list[LockedVersion] = []

    async def make_own_bucket(self) -> None:
        """Create the client's own buckets (setup: no faults yet)."""
        await super().make_own_bucket()
        headers = {"x-amz-bucket-object-lock-enabled": "true"}
        answer = await self._client.request("PUT", f"/{self.lock_bucket}", None, b"", headers)
        assert answer.status_code == 200, answer.text
        rule = f"<Rule><DefaultRetention>{_BY_DEFAULT}</DefaultRetention></Rule>"
        answered = await self._set(
            None,
            {"object-lock": ""},
            f"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>{rule}"
            "</ObjectLockConfiguration>",
        )
        assert answered == 200

    async def _set(
        self,
        key: str | None,
        query: Mapping[str, str],
        document: str,
        headers: Mapping[str, str] | None = None,
    ) -> int | None:
        """PUT a document; the status, None without an answer."""
        body = document.encode()
        given = {**md5_of(body), **(headers or {})}
        answer = await self._ask_of(self.lock_bucket, "PUT", key, query, body, given)
        return None if answer is None else answer.status_code

    def _accuse_lock(self, locked: LockedVersion, what: str) -> None:
        place = f"{self.lock_bucket}/{locked.key!r} {locked.version}"
        self._history.wrong_bytes.append(f"locked version {place}: {what}")

    async def _lock(self, _: str) -> None:
        """Write a version with a lock, or with the default retention of the bucket."""
        key = self._chance.choice(KEYS)
        kind = self._chance.choice((GOVERNANCE, COMPLIANCE, "hold", "default"))
        value = self._history.new_value(self._chance.choice(SIZES), f"{self.lock_bucket}/{key}")
        body = value.content()
        headers = {VALUE_HEADER: value.name, **md5_of(body)}
        if kind in {GOVERNANCE, "hold"}:
            # Without a mode of its own it would have the default one.
            headers |= {_PREFIX + "mode": GOVERNANCE, _PREFIX + "retain-until-date": UNTIL}
        if kind == COMPLIANCE:
            headers |= {_PREFIX + "mode": COMPLIANCE, _PREFIX + "retain-until-date": UNTIL}
        if kind == "hold":
            headers[_PREFIX + "legal-hold"] = "ON"
        answer = await self._ask_of(self.lock_bucket, "PUT", key, None, body, headers)
        if answer is not None and answer.status_code == 200:
            mode = COMPLIANCE if kind in {COMPLIANCE, "default"} else GOVERNANCE
            version = answer.headers.get("x-amz-version-id", "")
            self._locked.append(LockedVersion(key, version, value, mode, kind == "hold"))

    async def _lock_attack(self, _: str) -> None:
        """Try what must not be done: delete a version, shorten its retention, delete its bucket."""
        if not self._locked:
            return
        locked = self._chance.choice(self._locked)
        for way in self._chance.sample(WAYS, ATTACKS):
            if await self._attack(locked, way) and not locked.may_go:
                self._accuse_lock(locked, f"{way} was carried out")

    async def _attack(self, locked: LockedVersion, way: str) -> bool:
        """Try to get rid of a locked version; whether that was carried out."""
        query = {"versionId": locked.version}
        # A hold and COMPLIANCE withstand the bypass, too.
        stands = locked.is_held or locked.mode == COMPLIANCE
        if way == "bucket":
            answer = await self._ask_of(self.lock_bucket, "DELETE", None)
        elif way in {"shorten", "remove"}:
            inner = ""
            if way == "shorten":
                inner = f"<Mode>{locked.mode}</Mode><RetainUntilDate>{NEARER}</RetainUntilDate>"
            headers = _BYPASS if locked.mode == COMPLIANCE else None
            document = f"<Retention>{inner}</Retention>"
            status = await self._set(locked.key, query | {"retention": ""}, document, headers)
            return status == 200
        elif way == "batch":
            row = f"<Key>{locked.key}</Key><VersionId>{locked.version}</VersionId>"
            body = f"<Delete><Object>{row}</Object></Delete>".encode()
            headers = md5_of(body) | (_BYPASS if stands else {})
            answer = await self._ask_of(
                self.lock_bucket, "POST", None, {"delete": ""}, body, headers
            )
            return answer is not None and "<Deleted>" in answer.text
        else:
            headers = _BYPASS if way == "bypass" and stands else {}
            answer = await self._ask_of(self.lock_bucket, "DELETE", locked.key, query, b"", headers)
        return answer is not None and answer.status_code == 204

    async def _lock_lift(self, _: str) -> None:
        """End a hold, or delete by the bypass what only GOVERNANCE keeps."""
        chosen = [each for each in self._locked if each.mode == GOVERNANCE]
        if not chosen:
            return
        locked = self._chance.choice(chosen)
        query = {"versionId": locked.version}
        locked.may_go = True
        if locked.is_held:
            document = "<LegalHold><Status>OFF</Status></LegalHold>"
            await self._set(locked.key, query | {"legal-hold": ""}, document)
            return
        answer = await self._ask_of(self.lock_bucket, "DELETE", locked.key, query, b"", _BYPASS)
        if answer is not None and answer.status_code not in {204, REFUSED}:
            self._accuse_lock(locked, f"the bypass answers {answer.status_code}")
        if answer is not None and answer.status_code == 204:
            self._locked.remove(locked)

    async def _lock_extend(self, _: str) -> None:
        """Extend a retention."""
        if not self._locked:
            return
        locked = self._chance.choice(self._locked)
        document = (
            f"<Retention><Mode>{locked.mode}</Mode>"
            f"<RetainUntilDate>{LATER}</RetainUntilDate></Retention>"
        )
        query = {"versionId": locked.version, "retention": ""}
        await self._set(locked.key, query, document)

    async def _lock_read(self, _: str) -> None:
        if self._locked:
            await self._read_locked(self._chance.choice(self._locked))

    async def _read_locked(self, locked: LockedVersion) -> bool:
        """Read a locked version; whether there was an answer."""
        query = {"versionId": locked.version}
        answer = await self._ask_of(self.lock_bucket, "GET", locked.key, query)
        if answer is None:
            return False
        if answer.status_code == REFUSED or (locked.may_go and answer.status_code == 404):
            return True
        if answer.status_code != 200 or answer.content != locked.value.content():
            self._accuse_lock(locked, f"answers {answer.status_code}, not its bytes")
        elif answer.headers.get(_PREFIX + "mode") != locked.mode:
            self._accuse_lock(locked, "is shown with another lock")
        return True

    async def read_own(self) -> list[str]:
        """Read every version and list once, when all is healed.

        Returns:
            What got no answer, readable.
        """
        silent = await super().read_own()
        for locked in self._locked:
            if not await self._read_locked(locked):
                silent.append(f"{locked.version} of {self.lock_bucket}/{locked.key!r}")
        return silent
