"""`alveary encryption-key`: rings change by compare-and-set; nothing is destroyed by chance."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import pytest

import cli.encryption_keys
from cli.credentials import make_tenant, read_tenant, write_tenant
from cli.encryption_keys import change_ring
from cli.main import main
from cli.operators import OperatorApi
from common import limits
from common.crypto.keys import TenantKey
from common.errors import Corrupt, Refused
from common.format import key_ring
from common.format.key_ring import KeyRing, open_key_ring, seal_key_ring
from common.reasons import Refusal
from common.system.clock import system_entropy


class FakeApi(OperatorApi):
    """A coordinator that keeps one key ring. ``races``: others that change it before each PUT."""

    def __init__(self, tenant: TenantKey) -> None:
        self.tenant = tenant
        self.revision, self.sealed = 0, b""
        self.races = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    @property
    def ring(self) -> KeyRing:
        return open_key_ring(self.tenant, self.revision, self.sealed)

    def keep(self, ring: KeyRing) -> None:
        self.revision += 1
        self.sealed = seal_key_ring(self.tenant, self.revision, ring, system_entropy)

    async def call(
        self, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> dict[str, Any]:
        assert path == "/v1/tenants/ours/key-ring"
        if method == "PUT":
            assert body is not None
            if self.races:
                self.races -= 1
                self.keep(key_ring.create(self.ring, f"race-{self.revision}", 0, system_entropy))
            if body["revision"] != self.revision + 1:
                raise Refused(Refusal.KEY_RING_CHANGED)
            self.revision += 1
            self.sealed = base64.b64decode(str(body["sealed"]))
            return {}
        sealed = base64.b64encode(self.sealed).decode()
        return {"revision": self.revision, "sealed": sealed}


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    write_tenant(tmp_path, "ours", make_tenant())
    made = FakeApi(read_tenant(tmp_path / "ours.json"))
    monkeypatch.setattr(cli.encryption_keys, "connect", lambda *_: made)
    return made


def run(tmp_path: Path, *arguments: str) -> int:
    return main(["encryption-key", *arguments, "--tenant=ours", f"--tenants={tmp_path}"])


def test_a_key_is_made_rotated_disabled_and_destroyed(
    api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "create", "archive") == 0
    assert run(tmp_path, "create", "other") == 0
    assert api.ring.default == "archive"
    assert run(tmp_path, "rotate", "archive") == 0
    assert [each.number for each in api.ring.find("archive").versions] == [1, 2]
    assert run(tmp_path, "default", "other") == 0
    assert run(tmp_path, "disable", "archive") == 0
    assert api.ring.find("archive").state == key_ring.DISABLED
    assert run(tmp_path, "rotate", "archive") == 4
    assert run(tmp_path, "enable", "archive") == 0
    capsys.readouterr()
    assert run(tmp_path, "list", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    facts = [(each["name"], each["state"], each["versions"], each["default"]) for each in shown]
    assert facts == [("archive", "enabled", 2, False), ("other", "enabled", 1, True)]
    for each in api.ring.keys:
        for version in each.versions:
            assert version.key.hex() not in str(shown)
    for more in ([], ["--confirm=other"], ["--confirm="]):
        assert run(tmp_path, "destroy", "archive", *more) == 2
    assert api.ring.find("archive").state == key_ring.ENABLED
    for word in ("rotate", "disable", "default"):
        assert run(tmp_path, word, "") == 5
    assert run(tmp_path, "destroy", "", "--confirm=") == 5
    assert [each.state for each in api.ring.keys] == [key_ring.ENABLED] * 2
    assert run(tmp_path, "destroy", "archive", "--confirm=archive") == 0
    assert api.ring.find("archive").versions == ()
    for word in ("rotate", "enable", "disable", "default"):
        assert run(tmp_path, word, "archive") == 5
    assert run(tmp_path, "create", "archive") == 4
    assert run(tmp_path, "list") == 0
    assert "destroyed" in capsys.readouterr().out


async def test_a_change_that_another_one_overtook_is_made_on_top_of_it(api: FakeApi) -> None:
    api.races = 2
    await change_ring(
        api, "ours", api.tenant, lambda ring: key_ring.create(ring, "mine", 0, system_entropy)
    )
    assert [each.name for each in api.ring.keys] == ["mine", "race-0", "race-1"]
    api.races = limits.MAX_COMMIT_TRIES
    with pytest.raises(Refused, match="key_ring_changed"):
        await change_ring(api, "ours", api.tenant, lambda ring: ring)


async def test_a_ring_of_another_key_is_not_replaced(api: FakeApi) -> None:
    api.keep(key_ring.EMPTY)
    with pytest.raises(Corrupt, match="record_not_authentic"):
        await change_ring(api, "ours", make_tenant(), lambda ring: ring)
    assert api.revision == 1
