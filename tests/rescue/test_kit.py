"""A kit is what it was made as, or it is refused; and it holds no secret of a coordinator."""

from __future__ import annotations

import json
import random

import pytest

from common.crypto.identity import KeyPair
from common.crypto.journal import PIECE, JournalKey
from common.crypto.keys import TenantKey
from common.crypto.rescue import issue_pass, pass_holds
from common.errors import BadConfig
from common.ids import TenantId
from common.wire.messages.base import Endpoint
from rescue.kit import Kit, is_sealed, make_kit, open_kit, pack_kit, seal_kit, unpack_kit

ENTROPY = random.Random(1).randbytes
COORDINATOR = KeyPair.generate(ENTROPY)
SECRET = ENTROPY(32)
TENANT = TenantKey(TenantId(ENTROPY(16)), ENTROPY(32))


@pytest.fixture
def kit() -> Kit:
    cells = [Endpoint(KeyPair.generate(ENTROPY).peer_id, f"cell-{n}", 7000) for n in range(80)]
    return make_kit(COORDINATOR, SECRET, cells, {"ours": TENANT}, ENTROPY)


def test_a_kit_is_read_as_it_was_written(kit: Kit) -> None:
    again = unpack_kit(pack_kit(kit))
    assert (again.identity, again.rescue_pass, again.coordinator_id, again.cells) == (
        kit.identity,
        kit.rescue_pass,
        COORDINATOR.peer_id,
        kit.cells,
    )
    assert again.tenants == {"ours": TENANT}
    sealed = JournalKey(SECRET).seal(PIECE, b"", b"plain", ENTROPY)
    assert again.reader.open(PIECE, b"", sealed) == b"plain"
    assert len(kit.cells) == 64


def test_a_kit_has_no_secret_of_a_coordinator(kit: Kit) -> None:
    content = pack_kit(kit).decode()
    for secret in (SECRET, COORDINATOR.private_key):
        assert secret.hex() not in content


def test_a_sealed_kit_opens_with_its_passphrase_only(kit: Kit) -> None:
    content = pack_kit(kit)
    sealed = seal_kit(content, b"correct horse", ENTROPY)
    assert (is_sealed(content), is_sealed(sealed)) == (False, True)
    assert TENANT.key.hex() not in sealed.decode()
    assert open_kit(sealed, b"correct horse") == content
    with pytest.raises(BadConfig, match="wrong_passphrase"):
        open_kit(sealed, b"battery")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 2),
        ("rescue_key", "00"),
        ("rescue_key", "11" * 32),
        ("rescue_pass", "00" * 96),
        ("coordinator_id", "00" * 32),
        ("journal_key", 7),
        ("cells", [{"cell_id": "00" * 32, "host": "h" * 5000, "port": 1}]),
        ("cells", [{"cell_id": "00" * 32, "host": "h", "port": float("inf")}]),
        ("tenants", [{"name": "ours", "tenant_id": "00", "key": "00"}]),
        ("tenants", None),
    ],
)
def test_a_damaged_kit_is_refused(kit: Kit, field: str, value: object) -> None:
    document = json.loads(pack_kit(kit))
    document[field] = value
    with pytest.raises(BadConfig):
        unpack_kit(json.dumps(document).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"[" * 100_000, b'{"sealed": 1}'])
def test_what_is_no_kit_is_refused(data: bytes) -> None:
    with pytest.raises(BadConfig, match="bad_rescue_kit"):
        unpack_kit(data)


def test_a_pass_is_of_one_swarm_and_for_one_holder() -> None:
    holder, other = KeyPair.generate(ENTROPY).peer_id, KeyPair.generate(ENTROPY)
    made = issue_pass(COORDINATOR, holder)
    assert pass_holds(made, coordinator_id=COORDINATOR.peer_id, holder=holder)
    assert not pass_holds(made, coordinator_id=other.peer_id, holder=holder)
    assert not pass_holds(made, coordinator_id=COORDINATOR.peer_id, holder=other.peer_id)
    assert not pass_holds(made[:-1], coordinator_id=COORDINATOR.peer_id, holder=holder)
    assert not pass_holds(b"", coordinator_id=COORDINATOR.peer_id, holder=holder)
    forged = COORDINATOR.public_key + other.sign(b"alveary rescue pass v1\0" + holder)
    assert not pass_holds(forged, coordinator_id=COORDINATOR.peer_id, holder=holder)
