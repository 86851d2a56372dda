"""Errors of the object service as S3 says them: every one of them, with S3's elements."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from common.errors import AlvearyError, NotFound, OutcomeUnknown, Refused, Unavailable
from common.reasons import Absence, Outage, Reason, Refusal
from gateway_s3.translation import (
    NOT_FOUND,
    NOT_THE_CLIENTS,
    REFUSED,
    UNAVAILABLE,
    from_error,
)

SERVICE = Path(__file__).parents[2] / "gateway"
KINDS: dict[str, type[AlvearyError]] = {
    each.__name__: each for each in (NotFound, OutcomeUnknown, Refused, Unavailable)
}


def raised() -> set[tuple[str, str]]:
    """Class of every error that the object service makes, and the name of its reason."""
    return {
        (node.func.id, node.args[0].attr)
        for path in SERVICE.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in KINDS
        and isinstance(node.args[0], ast.Attribute)
    }


def test_no_error_of_the_object_service_is_an_internal_error() -> None:
    found = raised()
    assert len(found) > 10
    errors = [KINDS[kind](KINDS[kind].reasons[name]) for kind, name in sorted(found)]
    told = {from_error(error).status for error in errors}
    assert all(status < 500 or status == 503 for status in told)


def test_every_refusal_and_everything_that_may_be_missing_has_its_place() -> None:
    placed = [*REFUSED, *NOT_FOUND, *NOT_THE_CLIENTS]
    assert set(REFUSED) | {each for each in NOT_THE_CLIENTS if isinstance(each, Refusal)} == set(
        Refusal
    )
    assert set(NOT_FOUND) | {each for each in NOT_THE_CLIENTS if isinstance(each, Absence)} == set(
        Absence
    )
    assert len(placed) == len(Refusal) + len(Absence), "no reason has two places"


@pytest.mark.parametrize("reason", [*REFUSED, *NOT_FOUND, *UNAVAILABLE])
def test_a_reason_that_has_a_code_is_no_internal_error(reason: Reason) -> None:
    kinds = {Refusal: Refused, Absence: NotFound, Outage: Unavailable}
    assert from_error(kinds[type(reason)](reason)).status != 500


@pytest.mark.parametrize(
    ("error", "code", "elements"),
    [
        (Refused(Refusal.ETAG_DIFFERS), "PreconditionFailed", {"Condition": "If-Match"}),
        (Refused(Refusal.OBJECT_EXISTS), "PreconditionFailed", {"Condition": "If-None-Match"}),
        (
            NotFound(Absence.NO_SUCH_PART, part=3, etag="a"),
            "InvalidPart",
            {"PartNumber": "3", "ETag": "a"},
        ),
        (NotFound(Absence.NO_SUCH_PART), "InvalidPart", {}),
        (NotFound(Absence.NO_SUCH_UPLOAD, upload_id="ab"), "NoSuchUpload", {"UploadId": "ab"}),
        (Refused(Refusal.OBJECT_TOO_LARGE, most=5), "EntityTooLarge", {"MaxSizeAllowed": "5"}),
        (
            Refused(Refusal.PART_TOO_SMALL, size=1, least=2, part=3, etag="a"),
            "EntityTooSmall",
            {"ProposedSize": "1", "MinSizeAllowed": "2", "PartNumber": "3", "ETag": "a"},
        ),
        (Refused(Refusal.CONDITION_FAILED, secret="s"), "PreconditionFailed", {}),
    ],
)
def test_elements_are_made_of_the_fields_that_the_table_names(
    error: AlvearyError, code: str, elements: dict[str, str]
) -> None:
    told = from_error(error)
    assert told.code.code == code
    assert told.fields == elements


def test_a_message_is_filled_with_fields_or_is_the_codes_own() -> None:
    full = from_error(Refused(Refusal.PART_CHECKSUM_DIFFERS, algorithm="crc32", part=2))
    assert full.message == "The crc32 you specified for part 2 did not match what we received."
    assert from_error(Refused(Refusal.PART_CHECKSUM_DIFFERS)).message == full.code.message
