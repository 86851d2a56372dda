"""Each request of a coordinator has one handler."""

from typing import Any

import pytest

from common.rpc.caller import Answer
from common.wire.messages import COORDINATOR_REQUESTS, REQUESTS
from common.wire.messages.base import Ping
from common.wire.messages.buckets import BucketGet
from common.wire.messages.cell import ShardPut
from common.wire.messages.objects import ObjectGet
from coordinator.handlers.requests import check_complete, merged
from coordinator.session import Caller


async def handle(caller: Caller, request: Any, payload: memoryview) -> Answer:
    raise NotImplementedError


def test_the_requests_of_a_coordinator_are_those_with_its_codes() -> None:
    assert {each.code for each in COORDINATOR_REQUESTS} == {code for code in REQUESTS if code >= 32}


def test_tables_are_merged() -> None:
    table = merged({BucketGet: handle}, {ObjectGet: handle})
    assert table == {BucketGet: handle, ObjectGet: handle}


def test_no_request_is_answered_twice() -> None:
    with pytest.raises(AssertionError, match="BucketGet"):
        merged({BucketGet: handle}, {ObjectGet: handle, BucketGet: handle})


def test_every_request_is_answered_and_none_of_others() -> None:
    whole = dict.fromkeys(COORDINATOR_REQUESTS, handle)
    check_complete(whole)
    with pytest.raises(AssertionError, match=r"not answered.*ObjectGet"):
        check_complete({kind: handle for kind in whole if kind is not ObjectGet})
    for other in (Ping, ShardPut):
        with pytest.raises(AssertionError, match=rf"not for a coordinator.*{other.__name__}"):
            check_complete({**whole, other: handle})
