"""`alveary user` and `alveary policy`, over the store of a coordinator."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import cli.rosters
from cli.credentials import make_tenant, write_tenant
from cli.main import alveary, main
from common import limits
from common.errors import NotFound, Refused
from common.format.manifest import open_user_key
from common.format.roster import Roster, open_roster
from coordinator.store import tenants
from coordinator.store.schema import migrate

READ = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}
DOCUMENT = json.dumps({"Version": "2012-10-17", "Statement": READ})


class Swarm:
    """A tenant called ``t``, and the answers of its coordinator to operators. ``before``: runs
    before each change of the roster."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tenant = make_tenant()
        write_tenant(directory, "t", self.tenant)
        self.sql = sqlite3.connect(":memory:", isolation_level=None)
        migrate(self.sql)
        proof_key = self.tenant.proof_key()
        tenants.create(self.sql, "t", self.tenant.tenant_id, proof_key, 0)
        self.name = "t"
        self.before: Callable[[], object] = lambda: None

    def ask(
        self, _operator: object, _data: object, method: str, path: str, body: Any = None
    ) -> Any:
        """Answer as the API does."""
        _, _, _, name, kind, *key = path.split("/")
        assert name == "t"
        match method, kind:
            case "GET", "roster":
                revision, sealed = tenants.roster(self.sql, self.name)
                return {"revision": revision, "sealed": base64.b64encode(sealed).decode()}
            case "PUT", "roster":
                self.before()
                sealed = base64.b64decode(body["sealed"])
                previous, revision = body["previous"], body["revision"]
                tenants.set_roster(self.sql, self.name, previous, revision, sealed)
            case "POST", "keys":
                sealed = base64.b64decode(body["sealed"])
                assert len(sealed) <= limits.MAX_SEALED_ACCESS_KEY_BYTES
                tenants.add_access_key(self.sql, self.name, body["access_key_id"], sealed, 0)
            case "DELETE", "keys":
                tenants.revoke_access_key(self.sql, self.name, key[0])
            case _:
                raise AssertionError(path)
        return {}

    def run(self, *arguments: str, text: str = "", status: int = 0) -> str:
        """Run a command for the tenant; return what it shows."""
        where = ["--tenant", "t", "--tenants", str(self.directory)]
        done = CliRunner().invoke(alveary, [*arguments, *where], input=text)
        if status == 0:
            assert done.exit_code == 0, done.output
        elif isinstance(done.exception, Refused | NotFound):
            return done.exception.reason
        assert (done.exit_code != 0) is (status != 0)
        return done.output

    def json(self, *arguments: str, text: str = "") -> Any:
        return json.loads(self.run(*arguments, "--json", text=text))

    @property
    def roster(self) -> Roster:
        """The roster at the coordinator."""
        return open_roster(self.tenant, *tenants.roster(self.sql, self.name))


@pytest.fixture
def swarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Swarm:
    made = Swarm(tmp_path)
    monkeypatch.setattr(cli.rosters, "ask", made.ask)
    return made


def test_a_user_gets_policies_and_keys_and_is_removed_with_them(swarm: Swarm) -> None:
    assert swarm.json("user", "list") == []
    swarm.run("policy", "put", "read", "-", text=DOCUMENT)
    assert "user key add ann" in swarm.run("user", "create", "ann", "--policy", "read")
    assert swarm.json("user", "create", "bob")["policies"] == []
    made = swarm.json("user", "key", "add", "ann", "--signature-v2")
    assert (made["tenant"], made["user"]) == ("t", "ann")
    key = made["access_key"]
    sealed = tenants.access_key(swarm.sql, key)[2]
    record = open_user_key(swarm.tenant, key, sealed)
    assert (record.secret, record.old_signatures) == (made["secret_key"], True)
    shown = swarm.json("user", "show", "ann")
    assert [shown["name"], shown["policies"]] == ["ann", ["read"]]
    assert [(each["access_key"], each["active"]) for each in shown["keys"]] == [(key, True)]
    assert "read" in swarm.run("user", "show", "ann")
    assert swarm.run("user", "list").splitlines()[1].split() == ["ann", "1", "read"]
    assert swarm.run("user", "remove", "ann").startswith("removed: user ann and 1 access keys")
    assert [each["name"] for each in swarm.json("user", "list")] == ["bob"]
    with pytest.raises(NotFound):
        tenants.access_key(swarm.sql, key)


def test_a_key_is_disabled_enabled_and_removed(swarm: Swarm) -> None:
    swarm.run("user", "create", "ann")
    key, other = (swarm.json("user", "key", "add", "ann")["access_key"] for _ in range(2))
    assert "within 5 seconds" in swarm.run("user", "key", "disable", key)

    def states() -> dict[str, bool]:
        keys = swarm.json("user", "key", "list")
        assert keys == swarm.json("user", "key", "list", "ann")
        return {each["access_key"]: each["active"] for each in keys}

    assert states() == {key: False, other: True}
    assert "disabled" in swarm.run("user", "key", "list")
    assert "disabled" in swarm.run("user", "show", "ann")
    swarm.run("user", "key", "enable", key)
    assert states() == {key: True, other: True}
    assert swarm.json("user", "key", "remove", key)["user"] == "ann"
    assert states() == {other: True}
    with pytest.raises(NotFound):
        tenants.access_key(swarm.sql, key)
    assert swarm.run("user", "key", "disable", key, status=5) == "no_such_user_key"


def test_a_policy_is_changed_in_its_place_and_keeps_who_has_it(swarm: Swarm) -> None:
    put = ("policy", "put", "read", "-")
    assert swarm.json(*put, text=DOCUMENT)["role"] is False
    swarm.run("user", "create", "ann")
    swarm.run("policy", "attach", "read", "ann")
    swarm.run("policy", "attach", "read", "ann")
    changed = DOCUMENT.replace("GetObject", "PutObject")
    assert swarm.json(*put, "--role", text=changed)["role"] is True
    assert swarm.json(*put, text=changed)["role"] is True
    (shown,) = swarm.json("policy", "list")
    assert [shown["name"], shown["users"], shown["role"]] == ["read", ["ann"], True]
    assert swarm.run("policy", "list").splitlines()[1].split() == ["read", "role", "ann"]
    assert swarm.run("policy", "show", "read") == changed + "\n"
    assert swarm.json("policy", "show", "read")["document"] == json.loads(changed)
    assert swarm.run("policy", "remove", "read", status=4) == "policy_attached"
    swarm.run("policy", "detach", "read", "ann")
    assert swarm.run("policy", "detach", "read", "ann", status=5) == "no_such_policy"
    swarm.run("policy", "remove", "read")
    assert swarm.roster.policies == ()
    assert swarm.json(*put, "--no-role", text=changed)["role"] is False


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("user", "create", "a/b"), "a user's name: 1 to 64"),
        (("policy", "put", "a b", "-"), "a policy's name: 1 to 128"),
        (("policy", "put", "x", "-"), "Policies must be valid JSON"),
        (("user", "show", "x"), "no_such_user"),
        (("user", "remove", "x"), "no_such_user"),
        (("user", "create", "ann"), "user_exists"),
        (("user", "create", "bob", "--policy", "x"), "no_such_policy"),
        (("user", "key", "add", "x"), "no_such_user"),
        (("user", "key", "list", "x"), "no_such_user"),
        (("user", "key", "enable", "AKX"), "no_such_user_key"),
        (("user", "key", "remove", "AKX"), "no_such_user_key"),
        (("policy", "show", "x"), "no_such_policy"),
        (("policy", "remove", "x"), "no_such_policy"),
        (("policy", "attach", "x", "ann"), "no_such_policy"),
        (("policy", "attach", "x", "bob"), "no_such_user"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    swarm: Swarm, arguments: tuple[str, ...], told: str
) -> None:
    swarm.run("user", "create", "ann")
    before = swarm.roster
    assert told in swarm.run(*arguments, status=1)
    assert swarm.roster == before


def test_a_policy_that_says_what_does_not_exist_is_refused(swarm: Swarm) -> None:
    for wrong, told in (
        ({**READ, "Action": "s3:Fly"}, "Policy has invalid action"),
        ({**READ, "Principal": "*"}, "should not specify a principal"),
        ({**READ, "Condition": {"Bool": {"aws:Moon": "true"}}}, "invalid condition key"),
        ({**READ, "Sid": "x" * limits.MAX_NAMED_POLICY_BYTES}, "maximum allowed document size"),
    ):
        text = json.dumps({"Statement": wrong})
        assert told in swarm.run("policy", "put", "x", "-", text=text, status=2)
    long = "x" * (limits.MAX_USER_NAME_CHARACTERS + 1)
    assert "a role's name" in swarm.run(
        "policy", "put", long, "-", "--role", text=DOCUMENT, status=2
    )
    swarm.run("policy", "put", long, "-", text=DOCUMENT)


def test_a_tenant_has_so_many_users_keys_and_policies_and_no_more(
    swarm: Swarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_ROSTER_USERS", 1)
    monkeypatch.setattr(limits, "MAX_ROSTER_POLICIES", 2)
    monkeypatch.setattr(limits, "MAX_KEYS_PER_USER", 1)
    monkeypatch.setattr(limits, "MAX_POLICIES_PER_USER", 1)
    swarm.run("user", "create", "ann")
    swarm.run("user", "key", "add", "ann")
    for name in "ab":
        swarm.run("policy", "put", name, "-", text=DOCUMENT)
    swarm.run("policy", "attach", "a", "ann")
    before = swarm.roster
    for arguments in (
        ("user", "create", "bob"),
        ("user", "key", "add", "ann"),
        ("policy", "put", "c", "-"),
        ("policy", "attach", "b", "ann"),
    ):
        assert swarm.run(*arguments, text=DOCUMENT, status=4) == "roster_full"
    assert swarm.roster == before
    assert len(tenants.list_access_keys(swarm.sql, swarm.name)) == 1


def test_changes_at_the_same_time_are_all_made(swarm: Swarm) -> None:
    swarm.run("user", "create", "ann")
    names = iter(["bob", "eve"])

    def somebody_else() -> None:
        name = next(names, None)
        if name is not None:
            swarm.run("user", "create", name)

    swarm.before = somebody_else
    swarm.run("user", "create", "dan")
    assert [each.name for each in swarm.roster.users] == ["ann", "bob", "dan", "eve"]


def test_somebody_who_always_comes_first_is_told_of(swarm: Swarm) -> None:
    swarm.run("user", "create", "ann")
    count = iter(range(100))

    def somebody_else() -> None:
        before, swarm.before = swarm.before, lambda: None
        swarm.run("user", "create", f"user-{next(count)}")
        swarm.before = before

    swarm.before = somebody_else
    assert swarm.run("user", "create", "dan", status=4) == "roster_changed"
    assert len(swarm.roster.users) == 1 + 5


def test_a_key_of_a_user_who_is_removed_meanwhile_leaves_no_secret(swarm: Swarm) -> None:
    swarm.run("user", "create", "ann")

    def somebody_else() -> None:
        swarm.before = lambda: None
        swarm.run("user", "remove", "ann")

    swarm.before = somebody_else
    assert swarm.run("user", "key", "add", "ann", status=5) == "no_such_user"
    assert tenants.list_access_keys(swarm.sql, swarm.name) == []


def test_an_older_roster_of_a_coordinator_is_not_built_on(swarm: Swarm) -> None:
    swarm.run("user", "create", "ann")
    old = tenants.roster(swarm.sql, swarm.name)
    swarm.run("user", "remove", "ann")
    newest = tenants.roster(swarm.sql, swarm.name)[0]
    swarm.sql.execute("UPDATE rosters SET revision = ?, sealed = ?", old)
    where = ["--tenant", "t", "--tenants", str(swarm.directory)]
    shown = CliRunner().invoke(alveary, ["user", "list", "--json", *where])
    assert (shown.stdout, shown.exit_code) == ("[]\n", 0)
    assert "older roster of t" in shown.stderr
    swarm.run("user", "create", "bob")
    assert [each.name for each in swarm.roster.users] == ["bob"]
    assert tenants.roster(swarm.sql, swarm.name)[0] > newest


def test_a_copy_of_another_tenant_of_that_name_counts_for_nothing(swarm: Swarm) -> None:
    swarm.run("user", "create", "ann")
    kept = swarm.directory / "rosters" / "t.json"
    content = json.loads(kept.read_text())
    kept.write_text(json.dumps({**content, "revision": content["revision"] + 1}))
    assert [each["name"] for each in swarm.json("user", "list")] == ["ann"]
    kept.write_text('{"revision": "x"}')
    assert [each["name"] for each in swarm.json("user", "list")] == ["ann"]


def test_a_tenant_whose_key_is_not_here_has_no_users_here(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["user", "list", "--tenant", "none"]) == 2
    assert "--tenants DIR" in capsys.readouterr().err
