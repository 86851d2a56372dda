"""The object service knows no protocol."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from source_tree import modules, name_of

WORDS = re.compile(r"x-amz|S3Error|\bxml\b|HttpRequest|HttpResponse", re.IGNORECASE)


@pytest.mark.parametrize("path", list(modules("gateway")), ids=name_of)
def test_the_object_service_has_no_word_of_a_protocol(path: Path) -> None:
    assert not WORDS.findall(path.read_text(encoding="utf-8"))
