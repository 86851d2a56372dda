"""Forms that browsers send (multipart/form-data): their fields up to the file, read as they come.

Pure. A file is the part whose name is ``file``; what stands behind it means nothing, as on S3. The
time is linear in the bytes fed, and no more than the fields before the file is kept.

Source: RFC 7578; RFC 2046, section 5.1.1; Amazon S3 API Reference, "POST Object".
"""

from __future__ import annotations

import re
from typing import Final

from common import limits
from common.data_classes import dataclass
from common.ports import Buffer
from gateway_s3 import errors
from gateway_s3.errors import S3Error

_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER: Final = re.compile(rf'[ \t]*;[ \t]*({_WORD})=("(?:[^"\\]|\\.)*"|{_WORD})', re.DOTALL)
_BOUNDARY: Final = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]*[0-9A-Za-z'()+_,./:=?-]")
_FILE: Final = "file"


@dataclass(frozen=True, slots=True)
class FilePart:
    """The file of a form. ``name``: what the client calls it, without directories; None: nothing
    says."""

    name: str | None


def malformed() -> S3Error:
    """The error for a body that cannot be read as a form."""
    return S3Error(errors.MALFORMED_POST_REQUEST)


def form_boundary(content_type: bytes | None) -> bytes:
    """Return the boundary that a request's content type names.

    Raises:
        S3Error: PreconditionFailed: of something other than a form; MalformedPOSTRequest: it names
            no boundary.
    """
    text = (content_type or b"").decode("latin-1")
    kind, _, _ = text.partition(";")
    if kind.strip().lower() != "multipart/form-data":
        raise S3Error(
            errors.PRECONDITION_FAILED,
            Condition="Bucket POST must be of the enclosure-type multipart/form-data",
        )
    boundary = _parameters(text[len(kind) :]).get("boundary", "").encode("latin-1")
    if len(boundary) > limits.MAX_FORM_BOUNDARY_BYTES or _BOUNDARY.fullmatch(boundary) is None:
        raise malformed()
    return boundary


def _parameters(text: str) -> dict[str, str]:
    """The parameters of a header, each once. Raises S3Error MalformedPOSTRequest."""
    found: dict[str, str] = {}
    at = 0
    text = text.rstrip(" \t;")
    while at < len(text):
        match = _PARAMETER.match(text, at)
        if match is None:
            raise malformed()
        name, value = match[1].lower(), match[2]
        if value.startswith('"'):
            # Browsers of old send Windows paths: a backslash escapes nothing but a quote.
            value = value[1:-1].replace('\\"', '"')
        if name in found:
            raise malformed()
        found[name] = value
        at = match.end()
    return found


class FormHead:
    """Reads a form up to the first byte of its file.

    Args:
        boundary: of its parts.
    """

    def __init__(self, boundary: bytes) -> None:
        self.delimiter = b"\r\n--" + boundary
        """It ends each part, and the file."""
        self.fields: list[tuple[str, bytes]] = []
        """Names as sent, and values, in order."""
        self.file: FilePart | None = None
        # The first delimiter needs no line before it; with this it has one.
        self._buffer = bytearray(b"\r\n")
        self._fed_bytes = 0
        self._at = 0
        self._scanned = 0
        self._read = self._read_value
        self._name: str | None = None

    @property
    def file_start(self) -> int:
        """The number of fed bytes that stand before the file."""
        return self._at - 2

    def feed(self, data: Buffer) -> bool:
        """Take in the next bytes of the body.

        Returns:
            Whether the file begins: then :meth:`rest` is of the file.

        Raises:
            S3Error: MalformedPOSTRequest; MaxPostPreDataLengthExceeded; InvalidArgument: there is
                no file.
        """
        self._buffer += data
        self._fed_bytes += len(data)
        while self.file is None and self._read():
            pass
        held = self._at if self.file is not None else len(self._buffer)
        if held - 2 > limits.MAX_FORM_FIELD_BYTES:
            raise S3Error(
                errors.MAX_POST_PRE_DATA_LENGTH_EXCEEDED,
                MaxPostPreDataLengthBytes=limits.MAX_FORM_FIELD_BYTES,
            )
        return self.file is not None

    def rest(self) -> bytes:
        """The fed bytes that are of the file or behind it."""
        return bytes(memoryview(self._buffer)[self._at :])

    def _find(self, wanted: bytes) -> int:
        """Return the place of the next ``wanted``, or -1; nothing is looked at twice."""
        found = self._buffer.find(wanted, max(self._at, self._scanned - len(wanted) + 1))
        self._scanned = len(self._buffer) if found < 0 else found
        return found

    def _read_value(self) -> bool:
        end = self._find(self.delimiter)
        if end < 0:
            return False
        if self._name is not None:
            self.fields.append((self._name, bytes(self._buffer[self._at : end])))
        self._at = end + len(self.delimiter)
        self._read = self._read_line
        return True

    def _read_line(self) -> bool:
        """Read the rest of the line with a boundary: nothing, or two hyphens behind the last."""
        if len(self._buffer) - self._at < 2:
            return False
        if self._buffer[self._at : self._at + 2] == b"--":
            raise no_file()
        end = self._find(b"\r\n")
        if end < 0:
            return False
        if self._buffer[self._at : end].strip(b" \t"):
            raise malformed()
        self._at = end
        self._read = self._read_head
        return True

    def _read_head(self) -> bool:
        end = self._find(b"\r\n\r\n")
        if (len(self._buffer) if end < 0 else end) - self._at > limits.MAX_FORM_HEAD_BYTES:
            raise malformed()
        if end < 0:
            return False
        name, filename = _part_name(bytes(self._buffer[self._at : end]))
        self._at = end + 4
        self._scanned = self._at
        if name.lower() == _FILE:
            self.file = FilePart(filename)
            return False
        # The value may be empty: its delimiter then begins with the end of the head.
        self._at -= 2
        self._name = name
        self._read = self._read_first_value
        return True

    def _read_first_value(self) -> bool:
        if len(self._buffer) - self._at < len(self.delimiter):
            return False
        is_empty = self._buffer.startswith(self.delimiter, self._at)
        if not is_empty:
            self._at += 2
        self._read = self._read_value
        return True


def no_file() -> S3Error:
    """The error for a form without a file."""
    return S3Error(
        errors.INVALID_ARGUMENT,
        "POST requires exactly one file upload per request.",
        ArgumentName=_FILE,
        ArgumentValue=0,
    )


def _part_name(head: bytes) -> tuple[str, str | None]:
    """The name of a part, and its file name. Raises S3Error MalformedPOSTRequest."""
    disposition: str | None = None
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if not colon or name.strip().lower() != b"content-disposition":
            continue
        if disposition is not None:
            raise malformed()
        try:
            disposition = value.decode("utf-8").strip(" \t")
        except UnicodeDecodeError:
            raise malformed() from None
    if disposition is None:
        raise malformed()
    kind, _, _ = disposition.partition(";")
    found = _parameters(disposition[len(kind) :])
    if kind.strip().lower() != "form-data" or "name" not in found:
        raise malformed()
    filename = found.get("filename")
    if filename is not None:
        filename = re.split(r"[/\\]", filename)[-1]
    return found["name"], filename
