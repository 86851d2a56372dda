"""Whoever does what in a bucket whose lists count: every version is read by exactly those by whom a
model that knows nothing of lists and policies lets it be read."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from acl_client import ACL, OWNERSHIP, anonymous, made, ownership
from gateway_rig import Answer, Rig

OWNER, OTHER, NOBODY = "AK", "OTHER", ""
CALLERS = (OWNER, OTHER, NOBODY)
KEYS = ("a", "b")
PUBLIC = ("public-read", "public-read-write")
OF_OBJECTS = (
    *PUBLIC,
    "private",
    "authenticated-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
)
OF_BUCKET = (*PUBLIC, "private", "authenticated-read")
RULES = ("BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter")


@dataclass
class Stored:
    """A version: its owner, its canned list and its bytes."""

    version: str
    owner: str
    canned: str
    body: bytes


@dataclass
class Model:
    """A bucket with versions, of OWNER."""

    rule: str = "ObjectWriter"
    canned: str = "private"
    ignores: bool = False
    versions: dict[str, list[Stored]] = field(default_factory=lambda: {key: [] for key in KEYS})

    @property
    def counts(self) -> bool:
        return self.rule != "BucketOwnerEnforced"

    def opens(self, canned: str, caller: str) -> bool:
        """Whether a list of this name lets a member of the public read."""
        if not self.counts or self.ignores:
            return False
        return canned in PUBLIC or (canned == "authenticated-read" and caller != NOBODY)

    def may_write(self, caller: str) -> bool:
        opened = self.counts and not self.ignores and self.canned == "public-read-write"
        return caller == OWNER or opened

    def may_read(self, caller: str, stored: Stored) -> bool:
        if not self.counts:
            return caller == OWNER
        to_owner = caller == OWNER and stored.canned.startswith("bucket-owner-")
        return caller == stored.owner or to_owner or self.opens(stored.canned, caller)

    def may_set(self, caller: str, stored: Stored) -> bool:
        to_owner = caller == OWNER and stored.canned == "bucket-owner-full-control"
        return self.counts and (caller == stored.owner or to_owner)

    def owner_of_new(self, caller: str, canned: str) -> str:
        if caller == NOBODY or not self.counts:
            return OWNER
        is_given = self.rule == "BucketOwnerPreferred" and canned == "bucket-owner-full-control"
        return OWNER if is_given else caller


class Run:
    """Random requests to a gateway, and what the model says of each."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig = rig
        self.chance = random.Random(seed)
        self.model = Model()

    async def send(
        self,
        caller: str,
        method: str,
        path: str,
        query: str = "",
        body: bytes = b"",
        canned: str = "",
    ) -> Answer:
        headers = {"x-amz-acl": canned} if canned else {}
        if caller == NOBODY:
            return await anonymous(self.rig, method, path, query, body, headers)
        return await self.rig.ask(method, path, query, body, headers, access_key=caller)

    async def put(self) -> None:
        caller, key = self.chance.choice(CALLERS), self.chance.choice(KEYS)
        with_list = self.model.counts and caller != NOBODY and self.chance.random() < 0.7
        canned = self.chance.choice(OF_OBJECTS) if with_list else ""
        body = b"%d" % self.chance.getrandbits(64)
        answer = await self.send(caller, "PUT", f"/bucket/{key}", "", body, canned)
        assert (answer.status == 200) is self.model.may_write(caller), answer.body
        if answer.status == 200:
            owner = self.model.owner_of_new(caller, canned)
            version = answer.headers["x-amz-version-id"]
            stored = Stored(version, owner, canned or "private", body)
            self.model.versions[key].append(stored)

    async def set_list(self) -> None:
        caller, key = self.chance.choice(CALLERS), self.chance.choice(KEYS)
        if not self.model.versions[key]:
            return
        stored = self.chance.choice(self.model.versions[key])
        canned = self.chance.choice(OF_OBJECTS)
        query = f"{ACL}&versionId={stored.version}"
        answer = await self.send(caller, "PUT", f"/bucket/{key}", query, b"", canned)
        if self.model.counts:
            assert (answer.status == 200) is self.model.may_set(caller, stored), answer.body
            if answer.status == 200:
                stored.canned = canned
        else:
            is_owners = canned == "private" or canned.startswith("bucket-owner-")
            assert (answer.status == 200) is (caller == OWNER and is_owners), answer.body

    async def set_bucket_list(self) -> None:
        if self.model.counts:
            self.model.canned = self.chance.choice(OF_BUCKET)
            answer = await self.send(OWNER, "PUT", "/bucket", ACL, b"", self.model.canned)
            assert answer.status == 200

    async def set_rule(self) -> None:
        rule = self.chance.choice(RULES)
        answer = await self.send(OWNER, "PUT", "/bucket", OWNERSHIP, ownership(rule))
        closes = rule == "BucketOwnerEnforced" and self.model.canned != "private"
        assert answer.status == (400 if closes else 200)
        if not closes:
            self.model.rule = rule

    async def set_limits(self) -> None:
        self.model.ignores = not self.model.ignores
        text = str(self.model.ignores).lower()
        body = (
            "<PublicAccessBlockConfiguration>"
            f"<IgnorePublicAcls>{text}</IgnorePublicAcls></PublicAccessBlockConfiguration>"
        ).encode()
        answer = await self.send(OWNER, "PUT", "/bucket", "publicAccessBlock=", body)
        assert answer.status == 200

    async def delete_version(self) -> None:
        key = self.chance.choice(KEYS)
        if len(self.model.versions[key]) > 1:
            stored = self.model.versions[key].pop()
            query = f"versionId={stored.version}"
            assert (await self.send(OWNER, "DELETE", f"/bucket/{key}", query)).status == 204

    async def check(self) -> None:
        for key, versions in self.model.versions.items():
            for stored in versions[-3:]:
                for caller in CALLERS:
                    query = f"versionId={stored.version}"
                    answer = await self.send(caller, "GET", f"/bucket/{key}", query)
                    expected = self.model.may_read(caller, stored)
                    assert answer.status == (200 if expected else 403), (caller, stored, self.model)
                    if expected:
                        assert answer.body == stored.body


@pytest.mark.parametrize("seed", range(6))
async def test_every_version_is_read_by_whom_the_model_lets_read_it(seed: int) -> None:
    rig = await made()
    versioning = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    assert (await rig.ask("PUT", "/bucket", "versioning=", versioning)).status == 200
    run = Run(rig, seed)
    changes = (
        *(run.put,) * 4,
        *(run.set_list,) * 3,
        *(run.set_bucket_list,) * 2,
        run.set_rule,
        run.set_limits,
        run.delete_version,
    )
    for _ in range(40):
        await run.chance.choice(changes)()
        await run.check()
