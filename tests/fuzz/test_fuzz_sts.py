"""Any bytes as the form of a request for credentials, and as a session token: what it asks for, or
an error of the protocol; never another token's session."""

from __future__ import annotations

import random
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import limits
from common.crypto.keys import TenantKey
from common.errors import Corrupt
from common.format.roster import open_roster
from common.format.session import SessionRecord, open_session, seal_session, tenant_of_token
from common.ids import TenantId
from gateway_s3.errors import S3Error
from gateway_s3.request import sts
from gateway_s3.request.sts import parse_sts
from gateway_s3.xml.read import parse_configuration
from gateway_s3.xml.sts import error_answer

TENANT = TenantKey(TenantId(b"t" * 16), b"k" * 32)
RECORD = SessionRecord(1, "secret", "AK", 1, 2, "reader", "job", b"{}", 3)
TOKEN = seal_session(TENANT, "ASIAKEY", RECORD, random.Random(1).randbytes)
NAMES = (
    "Action",
    "Version",
    "DurationSeconds",
    "Policy",
    "RoleArn",
    "RoleSessionName",
    "TokenCode",
)
ARN = "arn:aws:iam::00:role/reader"
VALUES = st.one_of(
    st.sampled_from([*sts.ACTIONS, sts.VERSION, "900", "-1", ARN, "job", "{}", "\x00", ""]),
    st.text(max_size=30),
)


def check(body: bytes) -> None:
    refused = None
    try:
        asked = parse_sts(body)
    except S3Error as error:
        refused = error
    if refused is not None:
        assert 400 <= refused.status < 500
        parse_configuration(error_answer(refused, "id"), "ErrorResponse")
        return
    assert asked.action in sts.ACTIONS
    assert len(asked.policy) <= limits.MAX_SESSION_POLICY_BYTES
    assert bool(asked.role) is bool(asked.session) is (asked.action == sts.ASSUME_ROLE)
    assert asked.duration_s is None or asked.duration_s >= 0


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_for_credentials_or_refused(body: bytes) -> None:
    check(body)


@given(st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=8))
def test_any_form_is_a_request_for_credentials_or_refused(fields: list[tuple[str, str]]) -> None:
    check(urlencode(fields, errors="surrogatepass").encode())


@given(st.text(max_size=400) | st.binary(max_size=300).map(lambda data: data.decode("latin-1")))
def test_any_text_is_no_token(token: str) -> None:
    if token != TOKEN:
        with pytest.raises(Corrupt):
            open_session(TENANT, "ASIAKEY", token)


@given(st.integers(0, len(TOKEN) - 1), st.characters(), st.booleans())
def test_a_changed_token_is_no_token(at: int, letter: str, adds: bool) -> None:
    changed = TOKEN[:at] + letter + TOKEN[at if adds else at + 1 :]
    if changed == TOKEN:
        assert tenant_of_token(changed) == TENANT.tenant_id
        assert open_session(TENANT, "ASIAKEY", changed) == RECORD
        return
    with pytest.raises(Corrupt):
        open_session(TENANT, "ASIAKEY", changed)


@given(st.binary(max_size=200), st.integers(-1, 1 << 64))
def test_any_bytes_are_no_roster(data: bytes, revision: int) -> None:
    with pytest.raises(Corrupt):
        open_roster(TENANT, revision, data)
    sealed = TENANT.seal("roster", (bytes(8),), data, random.Random(1).randbytes)
    with pytest.raises(Corrupt):
        open_roster(TENANT, 0, sealed)
