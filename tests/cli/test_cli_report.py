import pytest

from cli.report import exit_code_of, explain, human_bytes, table
from common.errors import (
    AlvearyError,
    BadConfig,
    Corrupt,
    NotFound,
    OutcomeUnknown,
    PeerViolation,
    Refused,
    Unavailable,
)
from common.reasons import ConfigFault


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PeerViolation, 1),
        (BadConfig, 2),
        (Unavailable, 3),
        (Refused, 4),
        (NotFound, 5),
        (Corrupt, 6),
        (OutcomeUnknown, 7),
    ],
)
def test_every_class_of_error_has_its_exit_code(error: type[AlvearyError], code: int) -> None:
    assert exit_code_of(error.received("x")) == code


def test_an_explanation_names_the_facts_and_says_what_to_do() -> None:
    text = explain(
        BadConfig(ConfigFault.CANNOT_LISTEN, message="127.0.0.1:9000 is taken", flag="--s3")
    )
    assert text.startswith("127.0.0.1:9000 is taken (flag: --s3)\n")
    assert "Choose another" in text


def test_an_unknown_reason_is_still_readable() -> None:
    assert explain(BadConfig(ConfigFault.UNKNOWN_KEY, key="dta")) == "unknown key (key: dta)"


def test_a_table_aligns_numbers_right_and_texts_left() -> None:
    assert table(["NAME", "N"], [["a", 5], ["long", 10]]) == "NAME   N\na      5\nlong  10"


def test_an_empty_table_has_its_headings() -> None:
    assert table(["A", "B"], []) == "A  B"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB")]
)
def test_sizes_are_shown_in_binary_units(count: int, text: str) -> None:
    assert human_bytes(count) == text
