"""Join tokens: what was encoded is decoded, and anything else is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadConfig
from common.format.token import TOKEN_VERSION, JoinToken, TokenAddress, decode_token, encode_token
from common.ids import PeerId

TOKEN = JoinToken(
    TOKEN_VERSION,
    "cell",
    "hive",
    (TokenAddress("coordinator.example", 7400),),
    PeerId(bytes(range(32))),
    bytes(range(16)),
)


@given(
    st.text(max_size=40),
    st.lists(st.tuples(st.text(max_size=60), st.integers(0, 65535)), max_size=4),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=16, max_size=16),
)
def test_a_token_survives_the_trip(swarm, addresses, peer, secret):
    token = JoinToken(
        TOKEN_VERSION,
        "cell",
        swarm,
        tuple(TokenAddress(host, port) for host, port in addresses),
        PeerId(peer),
        secret,
    )
    text = encode_token(token)
    assert decode_token(text, "cell") == token
    assert decode_token(f" {text.upper()}\n", "cell") == token
    assert text.isascii()
    assert " " not in text


def test_the_format_is_frozen():
    assert encode_token(TOKEN) == (
        "alv1-sya2iy3fnrwki2djozszdevtmnxw64tenfxgc5dpoixgk6dbnvygyzondtumiiaaaebagb"
        "afaydqqcikbmga2dqpcaireeyuculbogazdinryhi6d7cbaaabaibqibiga4eascqlbqgq4dzrsaibm"
    )


@pytest.mark.parametrize("cut", range(0, 130, 7))
def test_a_cut_token_is_refused(cut):
    text = encode_token(TOKEN)
    assert cut < len(text)
    with pytest.raises(BadConfig, match="bad_token"):
        decode_token(text[:cut], "cell")


def test_every_changed_letter_is_noticed():
    text = encode_token(TOKEN)
    for at in range(5, len(text) - 1):
        changed = text[:at] + ("a" if text[at] != "a" else "b") + text[at + 1 :]
        with pytest.raises(BadConfig, match="bad_token"):
            decode_token(changed, "cell")


@given(st.text(max_size=200))
def test_other_text_is_refused(text):
    for each in (text, "alv1-" + text):
        with pytest.raises(BadConfig, match="bad_token"):
            decode_token(each, "cell")


@pytest.mark.fault("U2")
def test_a_token_serves_the_role_that_it_was_made_for_only():
    gateway = JoinToken(
        TOKEN_VERSION, "gateway", *TOKEN.to_fields()[2:3], (), TOKEN.coordinator_id, b""
    )
    assert decode_token(encode_token(gateway), "gateway") == gateway
    for token, role in ((gateway, "cell"), (TOKEN, "gateway")):
        with pytest.raises(BadConfig, match="wrong_token"):
            decode_token(encode_token(token), role)


@pytest.mark.parametrize(
    ("role", "secret"), [("cell", b""), ("cell", b"short"), ("gateway", b"s" * 16)]
)
def test_a_secret_that_does_not_fit_the_role_is_refused(role, secret):
    token = JoinToken(TOKEN_VERSION, role, "hive", (), TOKEN.coordinator_id, secret)
    with pytest.raises(BadConfig, match="bad_token"):
        decode_token(encode_token(token), role)


def test_a_token_of_a_later_version_is_named_as_such():
    later = JoinToken(2, *TOKEN.to_fields()[1:3], (), TOKEN.coordinator_id, TOKEN.secret)
    with pytest.raises(BadConfig) as failure:
        decode_token(encode_token(later), "cell")
    assert "newer" in str(failure.value)
