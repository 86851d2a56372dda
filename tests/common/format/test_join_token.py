"""Join tokens: what was encoded is decoded, and anything else is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadConfig
from common.format.token import TOKEN_VERSION, JoinToken, TokenAddress, decode_token, encode_token
from common.ids import PeerId

TOKEN = JoinToken(
    TOKEN_VERSION,
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
        swarm,
        tuple(TokenAddress(host, port) for host, port in addresses),
        PeerId(peer),
        secret,
    )
    text = encode_token(token)
    assert decode_token(text) == token
    assert decode_token(f" {text.upper()}\n") == token
    assert text.isascii()
    assert " " not in text


def test_the_format_is_frozen():
    assert encode_token(TOKEN) == (
        "alv1-sua2i2djozszdevtmnxw64tenfxgc5dpoixgk6dbnvygyzondtumiiaaaebagbafaydq"
        "qcikbmga2dqpcaireeyuculbogazdinryhi6d7cbaaabaibqibiga4eascqlbqgq4dzht5zgs"
    )


@pytest.mark.parametrize("cut", range(0, 130, 7))
def test_a_cut_token_is_refused(cut):
    text = encode_token(TOKEN)
    assert cut < len(text)
    with pytest.raises(BadConfig, match="bad_token"):
        decode_token(text[:cut])


def test_every_changed_letter_is_noticed():
    text = encode_token(TOKEN)
    for at in range(5, len(text) - 1):
        changed = text[:at] + ("a" if text[at] != "a" else "b") + text[at + 1 :]
        with pytest.raises(BadConfig, match="bad_token"):
            decode_token(changed)


@given(st.text(max_size=200))
def test_other_text_is_refused(text):
    for each in (text, "alv1-" + text):
        with pytest.raises(BadConfig, match="bad_token"):
            decode_token(each)


def test_a_token_of_a_later_version_is_named_as_such():
    later = JoinToken(2, *TOKEN.to_fields()[1:2], (), TOKEN.coordinator_id, TOKEN.secret)
    with pytest.raises(BadConfig) as failure:
        decode_token(encode_token(later))
    assert "newer" in str(failure.value)
