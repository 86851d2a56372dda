"""Documents that backup software reads before it uses a storage (Veeam's Smart Object Storage API):
two, under a fixed name, in every bucket where no object has their names.

Source: Veeam, "Smart Object Storage API (SOSAPI) Reference", version 1.0.
"""

from __future__ import annotations

import hashlib
from typing import Final

from common import limits
from common.errors import NotFound
from common.http.records import HttpResponse
from common.reasons import Absence
from gateway_s3 import errors
from gateway_s3.backend import Backend, Call
from gateway_s3.errors import S3Error
from gateway_s3.handlers.answers import etag_header, http_date
from gateway_s3.swarm_space import SwarmSpace
from gateway_s3.xml.read import Tree
from gateway_s3.xml.write import CONTENT_TYPE, plain_document

_FOLDER: Final = b".system-d26a9498-cb7c-4a87-a44a-8ae204f5ba6c/"
SYSTEM: Final = _FOLDER + b"system.xml"
CAPACITY: Final = _FOLDER + b"capacity.xml"
_BLOCK_KIB: Final = 4096
"""Objects of this size spread over a ring in stripes of full width."""


def _system() -> Tree:
    capabilities = (
        Tree("CapacityInfo", "true"),
        Tree("UploadSessions", "false"),
        Tree("IAMSTS", "false"),
    )
    recommendations = (
        Tree("S3MultiObjectDeleteLimit", str(limits.MAX_DELETE_BATCH)),
        Tree("KbBlockSize", str(_BLOCK_KIB)),
    )
    return Tree(
        "SystemInfo",
        "",
        (
            Tree("ProtocolVersion", '"1.0"'),
            Tree("ModelName", '"Alveary"'),
            Tree("ProtocolCapabilities", "", capabilities),
            Tree("SystemRecommendations", "", recommendations),
        ),
    )


def _capacity(space: SwarmSpace) -> Tree:
    if not space.capacity_bytes:
        raise S3Error(errors.SERVICE_UNAVAILABLE)
    return Tree(
        "CapacityInfo",
        "",
        (
            Tree("Capacity", str(space.capacity_bytes)),
            Tree("Available", str(space.free_bytes)),
            Tree("Used", str(space.used_bytes)),
        ),
    )


def answer_in_place(backend: Backend, call: Call, missing: NotFound) -> HttpResponse:
    """Answer for an object that is not there with the document of that name.

    Args:
        missing: what was found out about the object.

    Raises:
        NotFound: ``missing``: no document has this name.
        S3Error: ServiceUnavailable: no coordinator has said yet how much space there is.
    """
    key = call.route.key
    if key not in {SYSTEM, CAPACITY} or missing.reason not in {
        Absence.NO_SUCH_OBJECT,
        Absence.DELETE_MARKER,
    }:
        raise missing
    if call.route.version is not None:
        raise missing
    document = plain_document(_system() if key == SYSTEM else _capacity(backend.space))
    headers = [
        (b"content-type", CONTENT_TYPE),
        (b"content-length", b"%d" % len(document)),
        (b"last-modified", http_date(int(backend.clock.now()))),
        etag_header(hashlib.md5(document, usedforsecurity=False).hexdigest()),
    ]
    return HttpResponse(200, headers, b"" if call.request.method == "HEAD" else document)
