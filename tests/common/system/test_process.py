from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from common import limits
from common.errors import BadConfig
from common.reasons import ConfigFault
from common.system import process


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_open_files_are_raised_to_what_the_machine_allows() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (600, hard))
    allowed = process.raise_open_files()
    assert allowed == min(limits.MAX_OPEN_FILES, hard)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (allowed, hard)


def test_a_soft_limit_that_is_high_enough_stays() -> None:
    allowed = process.raise_open_files()
    assert process.raise_open_files() == allowed


def test_too_few_open_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(limits, "MIN_OPEN_FILES", soft + 10**6)
    with pytest.raises(BadConfig) as caught:
        process.raise_open_files()
    assert caught.value.reason == ConfigFault.TOO_FEW_OPEN_FILES
