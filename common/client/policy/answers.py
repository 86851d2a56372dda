"""Check that an answer belongs to the question that was asked.

Records that are sealed bind themselves to a place; what is said in the clear is bound here, before
anything of the answer is used: an answer that no honest coordinator could have given to this
question is a violation of the protocol. Pure. ``common/client/coordinators.py`` applies it to every
reply.

Source: docs/crypto.md, "Answers and questions".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice, pairwise
from operator import lt
from typing import Any, Final

from common.errors import PeerViolation
from common.reasons import Violation
from common.wire import messages as m
from common.wire.messages.buckets import FIRST_REVISION


def rolled_up(name: bytes, prefix: bytes, delimiter: bytes) -> bytes | None:
    """Return what a name that starts with ``prefix`` is rolled up to at the delimiter; None if it
    is not."""
    if not delimiter:
        return None
    at = name.find(delimiter, len(prefix))
    return None if at < 0 else name[: at + len(delimiter)]


def check_answer(request: m.Request, reply: m.Reply) -> None:
    """Refuse a reply that does not fit its request.

    Args:
        request: any; most need no check beyond their reply's type.
        reply: of the type ``request.reply``.

    Raises:
        PeerViolation: ``wrong_answer``: use nothing of it, and drop the peer.
    """
    misfit = _MISFITS.get(type(request))
    if misfit is not None:
        what = misfit(request, reply)
        if what:
            raise PeerViolation(Violation.WRONG_ANSWER, request=type(request).__name__, what=what)


def _ascending(names: Sequence[Any]) -> bool:
    return all(map(lt, names, islice(names, 1, None)))


def _lease(request: m.LeaseRenew, reply: m.Lease) -> str:
    return "lease" if reply.lease == 0 or request.lease not in (0, reply.lease) else ""


def _object(request: m.ObjectGet, reply: m.ObjectRecord) -> str:
    if request.version_id not in (None, reply.version_id):
        return "version_id"
    if request.named and reply.is_null != (request.version_id is None):
        return "is_null"
    return ""


def _deleted(request: m.ObjectsDelete, reply: m.Deleted) -> str:
    if len(reply.results) != len(request.items):
        return "results"
    for item, result in zip(request.items, reply.results, strict=True):
        if result.delete_marker and not item.named and item.marker_id is None:
            return "delete_marker"
    return ""


def _bucket(request: m.BucketGet, reply: m.BucketRecord) -> str:
    return "name" if reply.name != request.name else ""


def _bucket_made(request: m.BucketCreate, reply: m.BucketRecord) -> str:
    if (reply.name, reply.bucket_id) != (request.name, request.bucket_id):
        return "bucket"
    if (reply.settings, reply.revision) != (request.settings, FIRST_REVISION):
        return "settings"
    return "has_locks" if (reply.default_retention is not None) != request.has_locks else ""


def _settings_set(request: m.BucketSettingsSet, reply: m.BucketRecord) -> str:
    if (reply.name, reply.bucket_id) != (request.bucket, request.bucket_id):
        return "bucket"
    if (reply.settings, reply.revision) != (request.settings, request.expected_revision + 1):
        return "settings"
    return ""


def _versioning_set(request: m.BucketVersioningSet, reply: m.BucketRecord) -> str:
    if (reply.name, reply.bucket_id) != (request.bucket, request.bucket_id):
        return "bucket"
    return "versioning" if reply.versioning != request.versioning else ""


def _locks_set(request: m.BucketLocksSet, reply: m.BucketRecord) -> str:
    if (reply.name, reply.bucket_id) != (request.bucket, request.bucket_id):
        return "bucket"
    if reply.versioning != m.VERSIONED:
        return "versioning"
    return "" if reply.default_retention == request.default_retention else "default_retention"


def _buckets(request: m.BucketsList, reply: m.Buckets) -> str:
    names = [row.name for row in reply.buckets]
    if len(names) > request.limit:
        return "limit"
    if not all(name.startswith(request.prefix) and name > request.after for name in names):
        return "names"
    return "" if _ascending(names) else "order"


def _upload_made(request: m.UploadCreate, reply: m.UploadRecord) -> str:
    if reply.upload_id != request.upload_id or request.bucket_id not in (None, reply.bucket_id):
        return "upload"
    return ""


def _upload(request: m.UploadGet, reply: m.UploadRecord) -> str:
    return "upload_id" if reply.upload_id != request.upload_id else ""


def _parts(request: m.PartsList, reply: m.Parts) -> str:
    numbers = [row.part_number for row in reply.parts]
    if len(numbers) > request.limit:
        return "limit"
    if numbers and numbers[0] <= request.after:
        return "part_number"
    return "" if _ascending(numbers) else "order"


def _page(
    request: m.ObjectsList | m.UploadsList | m.VersionsList,
    reply: m.Listing | m.Uploads | m.VersionListing,
    names: Sequence[bytes],
) -> str:
    """Return what is wrong with a page of names, in order, and rolled-up prefixes; empty if nothing
    is."""
    prefix, delimiter, after = request.prefix, request.delimiter, request.after
    prefixes = reply.prefixes
    if len(names) + len(prefixes) > request.limit:
        return "limit"
    if not _ascending(prefixes):
        return "order"
    # In order, so the first and the last speak for those between them.
    ends = (*names[:1], *names[-1:], *prefixes[:1], *prefixes[-1:])
    if not all(end.startswith(prefix) for end in ends):
        return "prefix"
    skip = len(prefix)
    if (delimiter and any(name.find(delimiter, skip) >= 0 for name in names)) or any(
        rolled_up(each, prefix, delimiter) != each for each in prefixes
    ):
        return "delimiter"
    is_rolled_up = after.startswith(prefix) and rolled_up(after, prefix, delimiter) == after
    if is_rolled_up and any(end.startswith(after) for end in (*names[:1], *prefixes[:1])):
        return "after"
    if prefixes and prefixes[0] <= after and (is_rolled_up or not after.startswith(prefixes[0])):
        # Only a marker inside what a prefix stands for leaves that prefix to be shown.
        return "after"
    last = max((*names[-1:], *prefixes[-1:]), default=after)
    return "last" if reply.last != last else ""


def _listing(request: m.ObjectsList, reply: m.Listing) -> str:
    names = [row.name for row in reply.objects]
    if names and names[0] <= request.after:
        return "after"
    if not _ascending(names):
        return "order"
    return _page(request, reply, names)


def _uploads(request: m.UploadsList, reply: m.Uploads) -> str:
    rows = [(row.name, row.upload_id) for row in reply.uploads]
    if rows and not (
        rows[0][0] > request.after
        or (request.after_upload and rows[0] > (request.after, request.after_upload))
    ):
        return "after"
    if not _ascending(rows):
        return "order"
    return _page(request, reply, [name for name, _ in rows])


def _versions(request: m.VersionsList, reply: m.VersionListing) -> str:
    rows = [(row.name, -row.sequence) for row in reply.versions]
    goes_on = bool(request.after_version) or request.after_null
    if rows and not (rows[0][0] > request.after or (goes_on and rows[0][0] == request.after)):
        return "after"
    if not _ascending(rows):
        return "order"
    if any(one.name == next_.name and next_.is_latest for one, next_ in pairwise(reply.versions)):
        return "latest"
    last = reply.versions[-1:]
    if reply.last_version != (
        last[0].version_id
        if last and last[0].name == reply.last
        else request.after_version
        if not (last or reply.prefixes)
        else b""
    ):
        return "last_version"
    return _page(request, reply, [name for name, _ in rows])


def _misplaced(request: m.MisplacedList, reply: m.MisplacedPages) -> str:
    after, last = (request.after, request.after_number), (reply.last, reply.last_number)
    if request.lease == 0:
        return "pages" if reply.pages else ""
    return "last" if reply.more and last <= after else ""


def _lifecycle(request: m.LifecycleTake, reply: m.LifecycleTurn) -> str:
    task = reply.task
    if task is None:
        return ""
    if request.lease == 0 or task.number <= request.after:
        return "task"
    return "now_ms" if task.now_ms > request.now_ms else ""


def _classes(request: m.ClassesChange, reply: m.ClassesChanged) -> str:
    return "results" if len(reply.results) != len(request.items) else ""


def _notifications_turn(request: m.NotificationsTake, reply: m.NotificationsTurn) -> str:
    lane = reply.lane
    if lane is None:
        return ""
    return "lane" if request.lease == 0 or lane.number <= request.after else ""


def _notifications(request: m.NotificationsList, reply: m.NotificationsPage) -> str:
    numbers = [request.after, *(each.number for each in reply.waiting)]
    if not _ascending(numbers):
        return "order"
    return "more" if reply.more and not reply.waiting else ""


_MISFITS: Final[Mapping[type[m.Request], Callable[[Any, Any], str]]] = {
    m.LeaseRenew: _lease,
    m.ObjectGet: _object,
    m.ObjectsDelete: _deleted,
    m.ObjectsList: _listing,
    m.BucketGet: _bucket,
    m.BucketCreate: _bucket_made,
    m.BucketSettingsSet: _settings_set,
    m.BucketVersioningSet: _versioning_set,
    m.BucketLocksSet: _locks_set,
    m.BucketsList: _buckets,
    m.UploadCreate: _upload_made,
    m.UploadGet: _upload,
    m.PartsList: _parts,
    m.UploadsList: _uploads,
    m.VersionsList: _versions,
    m.MisplacedList: _misplaced,
    m.LifecycleTake: _lifecycle,
    m.ClassesChange: _classes,
    m.NotificationsTake: _notifications_turn,
    m.NotificationsList: _notifications,
}
"""By type of request, what of the reply does not fit it; empty when all does. Missing: requests
whose reply says nothing of the question (Done, Committed), or is checked by its user with what it
knows besides (Grants, AccessKey)."""
