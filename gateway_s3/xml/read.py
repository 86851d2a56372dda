"""XML that clients send, read in bounded time and memory.

No document type, so no entities and nothing external; UTF-8 only; a limited number of elements,
nested no deeper than S3's own documents; namespaces are not looked at, since clients write them in
every way.

Source: Amazon S3 API Reference, CreateBucket, PutBucketVersioning, DeleteObjects,
CompleteMultipartUpload.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, NoReturn
from xml.parsers import expat

from common import limits
from common.data_classes import dataclass
from gateway.assembly import NamedPart
from gateway.checksums import Algorithm
from gateway.versions import Versioning
from gateway_s3 import errors
from gateway_s3.errors import S3Error

_OF_A_TARGET: Final = frozenset({"Key", "VersionId", "ETag", "Size", "LastModifiedTime"})
_ELEMENTS_PER_KEY: Final = 8
_ELEMENTS_PER_PART: Final = 12
_ELEMENTS_PER_CONFIGURATION: Final = 1000
_VERSIONING: Final[Mapping[str, Versioning]] = {
    "Enabled": Versioning.ENABLED,
    "Suspended": Versioning.SUSPENDED,
}
_ELEMENT_OF: Final[Mapping[str, Algorithm]] = {"Checksum" + each.value: each for each in Algorithm}


@dataclass(frozen=True, slots=True)
class DeleteTarget:
    """One object to delete. ``key`` is not yet checked. ``etag``, ``size``, ``modified_s`` (Unix
    seconds): it must have these."""

    key: bytes
    version_id: str | None
    etag: str | None
    size: int | None = None
    modified_s: int | None = None


@dataclass(frozen=True, slots=True)
class DeleteRequest:
    """1 to 1,000 objects to delete. ``quiet``: answer with failures only."""

    targets: tuple[DeleteTarget, ...]
    quiet: bool


@dataclass(slots=True)
class _Element:
    name: str
    text: str = ""
    children: list[_Element] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Tree:
    """An element of a configuration: its text where it has no children, and the children in the
    order of their names, which is of no meaning in S3's configurations."""

    name: str
    text: str = ""
    children: tuple[Tree, ...] = ()


class _TooMuch(Exception):
    """Something that the document may not hold."""


def parse_create_bucket(data: bytes) -> str | None:
    """The location constraint of a CreateBucketConfiguration; None without body or constraint.

    Raises:
        S3Error: MalformedXML; NotImplemented: it asks for more than a location.
    """
    if not data.strip():
        return None
    constraint: str | None = None

    def take(child: _Element) -> None:
        nonlocal constraint
        if child.name == "LocationConstraint" and constraint is None:
            constraint = child.text.strip()
        elif child.name in {"Bucket", "Location", "Tags"}:
            raise S3Error(errors.NOT_IMPLEMENTED, Element=child.name)
        else:
            malformed()

    _parse(data, "CreateBucketConfiguration", 8, 64, take)
    return constraint or None


def parse_versioning(data: bytes) -> Versioning:
    """The state that a VersioningConfiguration asks for.

    Raises:
        S3Error: MalformedXML; IllegalVersioningConfigurationException: it asks for none;
            NotImplemented: for MFA delete.
    """
    status: str | None = None

    def take(child: _Element) -> None:
        nonlocal status
        text = child.text.strip()
        if child.name == "Status" and status is None:
            status = text
        elif child.name != "MfaDelete" or text not in {"Enabled", "Disabled"}:
            malformed()
        elif text == "Enabled":
            raise S3Error(errors.NOT_IMPLEMENTED, Element=child.name)

    _parse(data, "VersioningConfiguration", 2, 1, take)
    if status is None:
        raise S3Error(errors.ILLEGAL_VERSIONING_CONFIGURATION)
    if status not in _VERSIONING:
        malformed()
    return _VERSIONING[status]


def parse_configuration(data: bytes, root: str) -> Tree:
    """A configuration as a tree. ``DisplayName``, which S3 ignores, is left out.

    Raises:
        S3Error: MalformedXML.
    """
    whole = _Element(root)
    most = _ELEMENTS_PER_CONFIGURATION
    whole.text = _parse(data, root, most, most, whole.children.append)
    return _tree(whole)


def parse_children(data: bytes, root: str, most_children: int, most_elements: int) -> list[Tree]:
    """The children of a configuration's root, in the order of the document, and what is in them in
    its order, too.

    Args:
        most_children: of the root.
        most_elements: of a child of the root, itself included.

    Raises:
        S3Error: MalformedXML: also when there is no document.
    """
    found: list[Tree] = []
    if _parse(
        data, root, most_children, most_elements, lambda each: found.append(_kept(each))
    ).strip():
        malformed()
    return found


def _kept(element: _Element) -> Tree:
    return Tree(element.name, element.text, tuple(map(_kept, element.children)))


def _tree(element: _Element) -> Tree:
    children = [_tree(child) for child in element.children if child.name != "DisplayName"]
    children.sort(key=lambda each: (each.name, each.text))
    return Tree(element.name, "" if children else element.text.strip(), tuple(children))


def malformed() -> NoReturn:
    """Refuse a document. Raises S3Error MalformedXML."""
    raise S3Error(errors.MALFORMED_XML)


def members_of(element: Tree, known: frozenset[str]) -> Mapping[str, Tree]:
    """Return the children of an element by their names, each once.

    Args:
        known: the names that it may have.

    Raises:
        S3Error: MalformedXML.
    """
    found = {child.name: child for child in element.children}
    if len(found) != len(element.children) or not found.keys() <= known:
        malformed()
    return found


def parse_delete(data: bytes) -> DeleteRequest:
    """The objects that a DeleteObjects request names.

    Raises:
        S3Error: MalformedXML: also when there are none, or more than 1,000.
    """
    targets: list[DeleteTarget] = []
    quiet = False

    def take(child: _Element) -> None:
        nonlocal quiet
        if child.name == "Object":
            targets.append(_delete_target(child))
        elif child.name == "Quiet":
            quiet = child.text.strip().lower() == "true"
        else:
            malformed()

    _parse(data, "Delete", limits.MAX_DELETE_BATCH + 1, _ELEMENTS_PER_KEY, take)
    if not 1 <= len(targets) <= limits.MAX_DELETE_BATCH:
        malformed()
    return DeleteRequest(tuple(targets), quiet)


def _delete_target(element: _Element) -> DeleteTarget:
    values: dict[str, str] = {}
    for child in element.children:
        if child.name not in _OF_A_TARGET or child.name in values:
            malformed()
        values[child.name] = child.text
    if not values.get("Key"):
        malformed()
    etag, size, modified = (values.get(name) for name in ("ETag", "Size", "LastModifiedTime"))
    return DeleteTarget(
        values["Key"].encode("utf-8"),
        values.get("VersionId"),
        None if etag is None else _unquoted(etag),
        None if size is None else _size(size.strip()),
        None if modified is None else _moment(modified.strip()),
    )


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        malformed()
    return int(text)


def _moment(text: str) -> int:
    """Unix seconds of a time as HTTP or as XML says it."""
    try:
        if text[:4].isdigit():
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        else:
            moment = parsedate_to_datetime(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, TypeError, OverflowError, IndexError):
        malformed()


def parse_complete_upload(data: bytes) -> tuple[NamedPart, ...]:
    """The parts that a CompleteMultipartUpload request names, in ascending order.

    Raises:
        S3Error: MalformedXML: also when there are none, or more than 10,000; InvalidPartOrder;
            InvalidArgument: an impossible part number.
    """
    parts: list[NamedPart] = []

    def take(child: _Element) -> None:
        if child.name != "Part":
            malformed()
        part = _named_part(child)
        if parts and part.number <= parts[-1].number:
            raise S3Error(errors.INVALID_PART_ORDER)
        parts.append(part)

    _parse(data, "CompleteMultipartUpload", limits.MAX_PARTS, _ELEMENTS_PER_PART, take)
    if not 1 <= len(parts) <= limits.MAX_PARTS:
        malformed()
    return tuple(parts)


def _named_part(element: _Element) -> NamedPart:
    number: int | None = None
    etag: str | None = None
    checksums: dict[Algorithm, str] = {}
    for child in element.children:
        text = child.text.strip()
        algorithm = _ELEMENT_OF.get(child.name)
        if algorithm is not None and algorithm not in checksums:
            checksums[algorithm] = text
        elif child.name == "PartNumber" and number is None:
            number = _part_number(text)
        elif child.name == "ETag" and etag is None:
            etag = _unquoted(text)
        elif child.name.startswith("Checksum") and algorithm is None:
            raise S3Error(errors.NOT_IMPLEMENTED, Element=child.name[:64])
        else:
            malformed()
    if number is None or etag is None:
        malformed()
    return NamedPart(number, etag, checksums)


def _part_number(text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
        malformed()
    number = int(text)
    if not 1 <= number <= limits.MAX_PARTS:
        raise S3Error(
            errors.INVALID_ARGUMENT,
            f"Part number must be an integer between 1 and {limits.MAX_PARTS}, inclusive",
            ArgumentName="partNumber",
            ArgumentValue=text,
        )
    return number


def _unquoted(etag: str) -> str:
    text = etag.strip()
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] == '"' else text


def _parse(
    data: bytes,
    root: str,
    most_children: int,
    most_elements: int,
    take: Callable[[_Element], None],
) -> str:
    """Parse a document with this root element; each child of the root is taken as it ends, so that
    no more than one of them is held.

    Args:
        root: its name.
        most_children: of the root.
        most_elements: of a child of the root, itself included.
        take: gets each child.

    Returns:
        The root's text, if it has no children.

    Raises:
        S3Error: MalformedXML; and what ``take`` raises.
    """
    if len(data) > limits.MAX_XML_BODY_BYTES:
        malformed()
    builder = _Builder(root, most_children, most_elements, take)
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = builder.on_doctype
    parser.EntityDeclHandler = builder.on_doctype
    parser.ExternalEntityRefHandler = builder.on_doctype
    parser.StartElementHandler = builder.on_start
    parser.EndElementHandler = builder.on_end
    parser.CharacterDataHandler = builder.on_text
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, _TooMuch, ValueError):
        raise S3Error(errors.MALFORMED_XML) from None
    return builder.root_text


class _Builder:
    """Collects expat's events to small trees, one per child of the root. Attributes are not looked
    at. An element has children or text: text between children is dropped as it comes, and the rest
    is joined once, so that the time is linear in the document."""

    def __init__(
        self,
        root: str,
        most_children: int,
        most_elements: int,
        take: Callable[[_Element], None],
    ) -> None:
        self._root = root
        self._take = take
        self._open: list[_Element] = []
        self._text: list[str] = []
        self._children_left = most_children
        self._most_elements = most_elements
        self._elements_left = 0
        self._has_children = False
        self.root_text = ""

    def on_doctype(self, *_: object) -> int:
        raise _TooMuch

    def on_start(self, name: str, _attributes: object) -> None:
        depth = len(self._open)
        if depth == 1:
            self._children_left -= 1
            self._elements_left = self._most_elements
        self._elements_left -= depth > 0
        if self._children_left < 0 or self._elements_left < 0 or depth >= limits.MAX_XML_DEPTH:
            raise _TooMuch
        element = _Element(name.rpartition(":")[2])
        if depth == 0 and element.name != self._root:
            raise _TooMuch
        if depth > 1:
            self._open[-1].children.append(element)
        self._open.append(element)
        self._text.clear()

    def on_end(self, _name: str) -> None:
        element = self._open.pop()
        if not element.children:
            element.text = "".join(self._text)
        self._text.clear()
        depth = len(self._open)
        if depth == 1:
            self._has_children = True
            self._take(element)
        elif depth == 0 and not self._has_children:
            self.root_text = element.text

    def on_text(self, text: str) -> None:
        self._text.append(text)
