"""RenameObject.

Source: Amazon S3 API Reference, RenameObject; docs/s3-compatibility.md, "Renaming".
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from common.errors import NotFound
from common.http.records import HttpRequest, HttpResponse
from common.reasons import Absence
from gateway.authorization import Action, authorize, check
from gateway.conditions import ReadConditions
from gateway.notifications import EventKind
from gateway.objects import FoundObject
from gateway.ownership import judged_object
from gateway.renaming import Renaming, rename_object
from gateway_s3 import errors
from gateway_s3.backend import Backend, Call
from gateway_s3.errors import S3Error
from gateway_s3.informing import informed
from gateway_s3.request.conditions import read_conditions, write_condition
from gateway_s3.request.copy_source import parse_copy_source
from gateway_s3.translation import from_error

_SOURCE: Final = b"x-amz-rename-source"
_TOKEN: Final = b"x-amz-client-token"
_TOKEN_CHARACTERS: Final = 64


async def rename(backend: Backend, call: Call) -> HttpResponse:
    """Let an object of the bucket have this key, which takes the permissions to read and delete it
    there and to write it here."""
    request = call.request
    key = _source(call)
    dates = read_conditions(request)
    renaming = Renaming(
        backend.names.encode(key),
        call.name,
        read_conditions(request, _SOURCE + b"-"),
        write_condition(request),
        ReadConditions(
            if_modified_since=dates.if_modified_since, if_unmodified_since=dates.if_unmodified_since
        ),
        _token(request),
        call.cause(EventKind.COPY),
        call.cause(EventKind.DELETE),
    )
    facts = await informed(
        backend, replace(call.circumstances, if_match=None, version=None), call.bucket, key, None
    )

    def check_source(found: FoundObject | None) -> None:
        subject = None if found is None else judged_object(call.bucket, found)
        for action in (Action.READ_OBJECT, Action.DELETE_OBJECT):
            check(authorize(call.principal, action, call.bucket, key, facts, subject=subject))

    uses_lists = call.bucket.rules.uses_lists
    if not uses_lists:
        check_source(None)
    try:
        await rename_object(backend, call.bucket, renaming, check_source if uses_lists else _pass)
    except NotFound as error:
        if error.fields.get("of") != "source" or error.reason not in {
            Absence.NO_SUCH_OBJECT,
            Absence.DELETE_MARKER,
        }:
            raise
        call.check_may_list(call.bucket)
        told = from_error(error)
        raise S3Error(told.code, Key=key.decode("utf-8", "replace")) from error
    return HttpResponse(200)


def _pass(found: FoundObject) -> None:
    """Whatever the object is, the decision was made before."""


def _source(call: Call) -> bytes:
    """The key of the object that is renamed. Raises S3Error InvalidArgument, InvalidRequest."""
    header = call.request.header(_SOURCE)
    if header is None:
        raise S3Error(
            errors.INVALID_REQUEST,
            "Missing required header for this request: x-amz-rename-source",
        )
    named = parse_copy_source(header)
    if named.bucket != call.bucket.name or named.version is not None:
        raise S3Error(
            errors.INVALID_ARGUMENT,
            "The rename source must be an object of the same bucket, without a version id.",
            ArgumentName="x-amz-rename-source",
            ArgumentValue=header.decode("latin-1")[:1024],
        )
    if named.key == call.route.key:
        raise S3Error(
            errors.INVALID_REQUEST, "The source and the destination of a rename are the same."
        )
    return named.key


def _token(request: HttpRequest) -> bytes:
    """The client's token; empty without one. Raises S3Error InvalidArgument."""
    token = request.header(_TOKEN)
    if token is None:
        return b""
    if not 0 < len(token) <= _TOKEN_CHARACTERS or any(not 33 <= each <= 126 for each in token):
        raise S3Error(
            errors.INVALID_ARGUMENT,
            f"A client token has 1 to {_TOKEN_CHARACTERS} printable ASCII characters.",
            ArgumentName="x-amz-client-token",
            ArgumentValue=token.decode("latin-1")[:255],
        )
    return token
