"""From a request to its answer: routed, proven, handled; and every error in S3's own form.

Source: docs/s3-compatibility.md; docs/architecture.md, "Where things are".
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, TypeAlias

import trio

from common import limits
from common.errors import AlvearyError, NotFound, Unavailable
from common.format.access_lists import Ownership
from common.http.records import Headers, HttpRequest, HttpResponse
from common.reasons import Absence, Outage
from common.rpc.fair_queue import FairQueue, Visit, cost_of
from common.wire.messages.locks import Lock
from gateway.access.lists import Subject
from gateway.access.policy import Policy
from gateway.access.rules import NO_RULES
from gateway.access_log import AccessLogs
from gateway.authorization import (
    OF_A_VERSION,
    OF_TENANT,
    Action,
    Denial,
    Deny,
    Verdict,
    authorize,
    check,
)
from gateway.objects import ObjectBody
from gateway.principals import Bucket, ForeignBucket, KeyHolder, Principal, account_of
from gateway_s3 import errors
from gateway_s3.auth.access_keys import AccessKeys
from gateway_s3.auth.authentication import authenticate
from gateway_s3.auth.circumstances import RequestCircumstances
from gateway_s3.auth.sigv2 import SignatureV2
from gateway_s3.auth.sigv4 import unsigned
from gateway_s3.backend import Backend, Call
from gateway_s3.errors import S3Error
from gateway_s3.forms import PostForm, described_by, prove_form, read_form
from gateway_s3.handlers import (
    access,
    access_logs,
    acl,
    attributes,
    bucket_encryption,
    buckets,
    configurations,
    copy,
    cross_origin,
    lifecycle,
    listing,
    locks,
    multipart,
    notifications,
    object_tags,
    objects,
    post,
    reads,
    rename,
    unset,
)
from gateway_s3.handlers.answers import marker_error
from gateway_s3.handlers.object_tags import read_object_tags
from gateway_s3.informing import informed
from gateway_s3.judging import Subjects
from gateway_s3.request.acl import asked_ownership, check_acl_headers
from gateway_s3.request.expected_owner import check_expected_owner
from gateway_s3.request.names import check_key
from gateway_s3.request.operations import BY_NAME, OPERATIONS, PREFLIGHT_OF, Scope
from gateway_s3.request.permissions import permissions_of
from gateway_s3.request.query import Query
from gateway_s3.request.router import Resource, Route, bucket_of_host, locate, route
from gateway_s3.request.sts import is_sts
from gateway_s3.request_log import RequestLog, note
from gateway_s3.sts import answer_sts, refuse_sts
from gateway_s3.translation import from_error
from gateway_s3.turns import REFUSAL_PAUSE_S, STRANGERS, PacedBody, in_line, is_share_used, pay
from gateway_s3.websites import Fetch, answer_website
from gateway_s3.xml.write import CONTENT_TYPE, error_document

Authorize: TypeAlias = Callable[
    [
        Principal,
        Action,
        Bucket | ForeignBucket | None,
        bytes | None,
        RequestCircumstances,
        str | None,
        str,
        Subject | None,
    ],
    Verdict,
]
Handle: TypeAlias = Callable[[Backend, Call], Awaitable[HttpResponse]]

HANDLERS: Final[Mapping[str, Handle]] = {
    "ListBuckets": buckets.list_buckets,
    "CreateBucket": buckets.create_bucket,
    "HeadBucket": buckets.head_bucket,
    "DeleteBucket": buckets.delete_bucket,
    "GetBucketLocation": buckets.get_location,
    "GetBucketVersioning": buckets.get_versioning,
    "PutBucketVersioning": buckets.put_versioning,
    "ListObjects": listing.list_objects,
    "ListObjectsV2": listing.list_objects_v2,
    "ListObjectVersions": listing.list_versions,
    "ListMultipartUploads": listing.list_uploads,
    "DeleteObjects": objects.delete_objects,
    "PutObject": objects.put_object,
    "PostObject": post.post_object,
    "CopyObject": copy.copy_object,
    "RenameObject": rename.rename,
    "GetObject": reads.get_object,
    "HeadObject": reads.head_object,
    "GetObjectAttributes": attributes.get_attributes,
    "DeleteObject": objects.delete_object,
    "CreateMultipartUpload": multipart.create_upload,
    "UploadPart": multipart.upload_part,
    "UploadPartCopy": copy.upload_part_copy,
    "CompleteMultipartUpload": multipart.complete_upload,
    "AbortMultipartUpload": multipart.abort_upload,
    "ListParts": multipart.list_parts,
    "GetBucketTagging": configurations.get_tagging,
    "PutBucketTagging": configurations.put_tagging,
    "DeleteBucketTagging": configurations.delete_tagging,
    "GetBucketLogging": access_logs.get_logging,
    "PutBucketLogging": access_logs.put_logging,
    "GetBucketCors": configurations.get_cors,
    "PutBucketCors": configurations.put_cors,
    "DeleteBucketCors": configurations.delete_cors,
    "GetBucketWebsite": configurations.get_website,
    "PutBucketWebsite": configurations.put_website,
    "DeleteBucketWebsite": configurations.delete_website,
    **dict.fromkeys(
        ("GetBucketLifecycle", "GetBucketLifecycleConfiguration"), lifecycle.get_lifecycle
    ),
    **dict.fromkeys(
        ("PutBucketLifecycle", "PutBucketLifecycleConfiguration"), lifecycle.put_lifecycle
    ),
    "DeleteBucketLifecycle": lifecycle.delete_lifecycle,
    **dict.fromkeys(
        ("GetBucketNotification", "GetBucketNotificationConfiguration"),
        notifications.get_notifications,
    ),
    **dict.fromkeys(
        ("PutBucketNotification", "PutBucketNotificationConfiguration"),
        notifications.put_notifications,
    ),
    "GetObjectTagging": object_tags.get_tagging,
    "PutObjectTagging": object_tags.put_tagging,
    "DeleteObjectTagging": object_tags.delete_tagging,
    "GetBucketPolicy": access.get_policy,
    "PutBucketPolicy": access.put_policy,
    "DeleteBucketPolicy": access.delete_policy,
    "GetBucketPolicyStatus": access.get_policy_status,
    "GetPublicAccessBlock": access.get_public_access,
    "PutPublicAccessBlock": access.put_public_access,
    "DeletePublicAccessBlock": access.delete_public_access,
    "GetBucketAcl": acl.get_bucket_acl,
    "PutBucketAcl": acl.put_bucket_acl,
    "GetObjectAcl": acl.get_object_acl,
    "PutObjectAcl": acl.put_object_acl,
    "GetBucketOwnershipControls": acl.get_ownership,
    "PutBucketOwnershipControls": acl.put_ownership,
    "DeleteBucketOwnershipControls": acl.delete_ownership,
    "GetObjectLockConfiguration": locks.get_configuration,
    "PutObjectLockConfiguration": locks.put_configuration,
    "GetObjectRetention": locks.get_retention,
    "PutObjectRetention": locks.put_retention,
    "GetObjectLegalHold": locks.get_hold,
    "PutObjectLegalHold": locks.put_hold,
    "GetBucketEncryption": bucket_encryption.get_encryption,
    "PutBucketEncryption": bucket_encryption.put_encryption,
    "DeleteBucketEncryption": bucket_encryption.delete_encryption,
    **unset.HANDLERS,
}
assert HANDLERS.keys() == {each.name for each in OPERATIONS if each.implemented}
_LOCKS_IN_BODIES: Final[Mapping[str, Callable[[Backend, Call], Awaitable[Lock]]]] = {
    "PutObjectRetention": locks.read_retention,
    "PutObjectLegalHold": locks.read_hold,
}
_NO_OPERATION: Final = "none"
_WEBSITE: Final = "Website"
"""The name under which requests to websites are counted."""
_STS: Final = "Sts"
"""The operation of a request for temporary credentials until its action is known."""
RETRY_AFTER_S: Final = b"2"
"""Seconds after which a client may retry: a busy gateway has freed its memory by then."""
_OF_THE_BUCKET: Final = frozenset(
    {
        Action.READ_BUCKET,
        Action.READ_BUCKET_SETTINGS,
        Action.WRITE_BUCKET_SETTINGS,
        Action.READ_BUCKET_ACCESS,
        Action.WRITE_BUCKET_ACCESS,
    }
)
"""Actions that are answered from the bucket itself, as it is now."""


_LACKS: Final = frozenset({Absence.NO_SUCH_OBJECT, Absence.DELETE_MARKER, Absence.NO_SUCH_VERSION})
"""Absences by which an answer shows what keys a bucket has."""


class App:
    """The S3 side of a gateway, as an HTTP handler.

    Args:
        backend: what handlers work with.
        keys: the access keys that may sign.
        domains: host names under which a bucket may stand as the first label.
        signature_v2: where Signature V2 is accepted.
        website_domains: host names under which the first label names a bucket that is a website.
        handlers: by operation; of every one that is implemented.
        judge: decides whether a principal may do what it asks for.
        queue: shares the gateway between tenants.
        logs: takes lines of access logs; None: none is written.
    """

    def __init__(
        self,
        backend: Backend,
        keys: AccessKeys,
        domains: Sequence[str],
        signature_v2: SignatureV2 = SignatureV2.PRESIGNED,
        *,
        website_domains: Sequence[str] = (),
        handlers: Mapping[str, Handle] = HANDLERS,
        judge: Authorize = authorize,
        queue: FairQueue | None = None,
        logs: AccessLogs | None = None,
    ) -> None:
        self._backend = backend
        self._queue = queue or FairQueue(
            places=limits.MAX_S3_REQUESTS,
            at_work=limits.MAX_S3_REQUESTS_AT_WORK,
            patience_s=limits.S3_TURN_WAIT_S,
        )
        self._signature_v2 = signature_v2
        self._keys = keys
        self._handlers = handlers
        self._judge = judge
        self._domains = domains
        self._website_domains = website_domains
        self._logs = logs
        self._host_id = base64.b64encode(backend.entropy(24))
        self._running = 0

    @property
    def running(self) -> int:
        """The number of requests that are not yet answered to their last byte."""
        return self._running

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer one request. Raises Unavailable ``client_gone`` only: nobody is left to answer."""
        backend = self._backend
        started = trio.current_time()
        request_id = backend.entropy(8).hex().upper()
        operation = _NO_OPERATION
        self._running += 1
        streams = False
        bucket: Bucket | None = None
        known = RequestLog(started, backend.clock.now())
        visit = self._queue.visit()
        if self._queue.has_byte_rate:
            request.body = PacedBody(request.body, visit)
        try:
            website = self._website(request)
            if website is not None:
                operation, known.is_website = _WEBSITE, True
                fetch = self._fetch_page(known, request_id, visit)
                response = await answer_website(backend, request, website, fetch, request_id)
                await visit.enter(STRANGERS)
            elif is_sts(request) and locate(request, self._domains).scope is Scope.SERVICE:
                operation = _STS
                operation, response = await answer_sts(
                    backend, self._keys, request, visit, request_id
                )
            elif request.method == "OPTIONS":
                resource = locate(request, self._domains)
                operation = PREFLIGHT_OF[resource.scope]
                await visit.enter(STRANGERS)
                response = await cross_origin.answer_preflight(
                    backend, request, resource.bucket, resource.scope
                )
            else:
                routed = route(request, self._domains)
                operation = routed.operation.name
                call = await self._prove(known, request, routed, request_id, visit)
                bucket = call.about
                response = await self._handle(call)
            body = response.body
            if isinstance(body, ObjectBody):
                streams = True
                body.on_close = partial(self._ended, visit)
                body.on_chunk = partial(pay, visit)
            elif isinstance(body, bytes) and body:
                visit.end_work()
                await pay(visit, len(body))
        except AlvearyError as error:
            if isinstance(error, Unavailable) and error.reason == Outage.CLIENT_GONE:
                raise
            refusal = await in_line(visit, error)
            if operation == _STS:
                response = refuse_sts(refusal, request_id)
            else:
                response = self._refuse(known, request, operation, refusal, request_id)
        except Exception as error:
            backend.log.error(
                "request_broke",
                operation=operation,
                request_id=request_id,
                error=type(error).__name__,
                detail=_detail(error),
            )
            known.code = errors.INTERNAL_ERROR.code
            response = self._answer_error(request, S3Error(errors.INTERNAL_ERROR), request_id)
        finally:
            visit.end_work()
            if not streams:
                self._ended(visit)
        if request.header(b"origin") is not None and request.method != "OPTIONS":
            response.headers += await self._cross_origin(request, bucket)
        response.headers.append((b"x-amz-request-id", request_id.encode("ascii")))
        response.headers.append((b"x-amz-id-2", self._host_id))
        turned_s = trio.current_time() - started
        backend.metrics.count(operation, response.status, turned_s)
        if known.bucket is not None and known.bucket.logging is not None:
            self._log(known, request, response, request_id, turned_s)
        return response

    def _log(
        self,
        known: RequestLog,
        request: HttpRequest,
        response: HttpResponse,
        request_id: str,
        turned_s: float,
    ) -> None:
        """Have a request logged once its answer has been sent."""
        if self._logs is None:
            return
        told = partial(
            note,
            self._logs,
            known,
            request,
            response,
            request_id,
            self._host_id.decode("ascii"),
            turned_s,
        )
        body = response.body
        if not isinstance(body, ObjectBody) or body.on_close is None:
            told(len(body) if isinstance(body, bytes) else 0)
            return
        ended = body.on_close

        def close() -> None:
            ended()
            told(body.sent)

        body.on_close = close

    async def _prove(
        self,
        known: RequestLog,
        request: HttpRequest,
        routed: Route,
        request_id: str,
        visit: Visit,
    ) -> Call:
        """Return the call that a request makes, proven and allowed: no handler runs without one.

        Args:
            known: takes in what is found out on the way.
        """
        backend = self._backend
        form: PostForm | None = None
        if routed.operation.is_form:
            form = await read_form(request)
            routed = replace(routed, key=form.key)
            principal, form = await prove_form(
                request,
                routed.query,
                form,
                routed.bucket,
                keys=self._keys,
                now=backend.clock.now(),
                region=backend.region,
                signature_v2=self._signature_v2,
            )
            verified = unsigned()
        else:
            principal, verified = await authenticate(
                request,
                routed,
                keys=self._keys,
                clock=backend.clock,
                region=backend.region,
                signature_v2=self._signature_v2,
            )
        known.principal, known.verified, known.route = principal, verified, routed
        if isinstance(principal, KeyHolder):
            cost = cost_of(request.body.length or 0)
            await visit.enter(("tenant", principal.tenant.tenant_id), cost)
        action = routed.operation.action
        assert action is not None, "only what is implemented is routed"
        if action is Action.DELETE_BUCKET:
            await buckets.check_host(backend, request, routed, principal)
        bucket = None
        if action not in OF_TENANT:
            # An anonymous caller must not be able to make a coordinator work for each request.
            fresh = action in _OF_THE_BUCKET and isinstance(principal, KeyHolder)
            bucket = await backend.owners.seen_by(principal, routed.bucket, fresh=fresh)
            if isinstance(bucket, Bucket):
                known.bucket = bucket
                # Beside the owner's own share: the public must not shut the owner out.
                await visit.enter(("public", bucket.owner.tenant_id))
        described = request if form is None else described_by(form, request)
        circumstances = RequestCircumstances(
            described,
            routed.query,
            principal,
            verified,
            backend.clock.now(),
            backend.region,
            operation=routed.operation.name,
            version=routed.version,
            form_signature=None if form is None else form.signature_version,
        )
        policies = principal.policies
        if isinstance(bucket, Bucket) and (bucket.rules is not NO_RULES or policies):
            circumstances = await informed(
                backend, circumstances, bucket, routed.key, routed.version
            )
            unproven = Call(
                request, routed, principal, verified, bucket, b"", request_id, circumstances
            )
            circumstances = await self._with_body(unproven, bucket, policies)
        judged = action if routed.version is None else OF_A_VERSION.get(action, action)
        name = backend.names.encode(routed.key)
        subjects = Subjects(backend, principal, bucket, routed, name)
        for permission in permissions_of(routed.operation, routed.query, described):
            verdict = self._judge(
                principal,
                judged,
                bucket,
                routed.key or None,
                circumstances,
                permission,
                routed.bucket or "*",
                await subjects.of(permission),
            )
            if isinstance(verdict, Deny) and verdict.denial is Denial.OWNER_ONLY:
                raise S3Error(errors.METHOD_NOT_ALLOWED)
            check(verdict)
        assert not isinstance(bucket, ForeignBucket), "its owner's key is not at hand"
        if bucket is not None:
            check_expected_owner(described, bucket.owner.tenant_id)
            owner, uses_lists = bucket.owner, bucket.rules.uses_lists
        else:
            assert isinstance(principal, KeyHolder), "anonymous callers have nothing of their own"
            owner = principal.tenant
            uses_lists = asked_ownership(described) is not Ownership.BUCKET_OWNER
        check_acl_headers(
            described, routed.operation.name, account_of(owner), uses_lists=uses_lists
        )
        return Call(
            request,
            routed,
            principal,
            verified,
            bucket,
            name,
            request_id,
            circumstances,
            form,
            subjects.looked_up,
        )

    async def _with_body(
        self, unproven: Call, bucket: Bucket, policies: tuple[Policy, ...]
    ) -> RequestCircumstances:
        """Return the circumstances of a request with what its body gives an object, where a
        condition asks for it: the only bodies that are read before the decision.

        Args:
            policies: of the caller.
        """
        backend, facts = self._backend, unproven.circumstances
        operation = unproven.route.operation.name
        asks_tags = bucket.rules.asks_given_tags or any(each.asks_given_tags for each in policies)
        if asks_tags and operation == "PutObjectTagging":
            return replace(facts, given_tags=await read_object_tags(backend, unproven))
        asks_lock = bucket.rules.asks_given_lock or any(each.asks_given_lock for each in policies)
        read_lock = _LOCKS_IN_BODIES.get(operation)
        if asks_lock and read_lock is not None:
            return replace(facts, given_lock=await read_lock(backend, unproven))
        return facts

    def _fetch_page(self, known: RequestLog, request_id: str, visit: Visit) -> Fetch:
        """Return what reads objects for a website, as an anonymous caller."""

        async def fetch(request: HttpRequest, bucket: str, key: bytes) -> HttpResponse:
            operation = BY_NAME["HeadObject" if request.method == "HEAD" else "GetObject"]
            routed = Route(operation, bucket, check_key(key), Query(b""), by_host=True)
            call = await self._prove(known, request, routed, request_id, visit)
            return await self._handle(call)

        return fetch

    async def _handle(self, call: Call) -> HttpResponse:
        """Run the handler of a call.

        Raises:
            Refused: ``access_denied``; and what the handler raises.
        """
        try:
            return await self._handlers[call.route.operation.name](self._backend, call)
        except NotFound as error:
            if error.reason in _LACKS and call.about is not None:
                call.check_may_list(call.about)
            raise

    async def _cross_origin(self, request: HttpRequest, bucket: Bucket | None) -> Headers:
        """The headers by which a browser hands the answer to a page of another origin."""
        try:
            name = self._website(request) or locate(request, self._domains).bucket
        except S3Error:
            return []
        if not name:
            return []
        return await cross_origin.answer_headers(self._backend, request, name, bucket)

    def _website(self, request: HttpRequest) -> str | None:
        """The bucket whose website a request is for; None: for none. Raises S3Error InvalidURI."""
        return bucket_of_host(request.header(b"host") or b"", self._website_domains)

    def _ended(self, visit: Visit) -> None:
        visit.leave()
        self._running -= 1

    def _refuse(
        self,
        known: RequestLog,
        request: HttpRequest,
        operation: str,
        error: AlvearyError,
        request_id: str,
    ) -> HttpResponse:
        if isinstance(error, NotFound) and error.reason == Absence.DELETE_MARKER:
            told = _with_name(self._resource(request), error, marker_error(error))
        else:
            told = _with_name(self._resource(request), error, from_error(error))
        if told.status >= 500 and not is_share_used(error):
            self._backend.log.warning(
                "request_failed",
                operation=operation,
                request_id=request_id,
                status=told.status,
                cause=str(error),
            )
        known.code = told.code.code
        response = self._answer_error(request, told, request_id)
        if is_share_used(error):
            response.pause_s = REFUSAL_PAUSE_S
        return response

    def _answer_error(self, request: HttpRequest, error: S3Error, request_id: str) -> HttpResponse:
        headers = [*error.headers, *self._region_headers(request, error.status)]
        if error.status == 503:
            headers.append((b"retry-after", RETRY_AFTER_S))
        if request.method == "HEAD" or error.status == 304:
            return HttpResponse(error.status, headers)
        document = error_document(
            error,
            resource=request.path.decode("latin-1"),
            request_id=request_id,
            host_id=self._host_id.decode("ascii"),
        )
        return HttpResponse(error.status, [(b"content-type", CONTENT_TYPE), *headers], document)

    def _region_headers(self, request: HttpRequest, status: int) -> Headers:
        """The bucket's region, where a client that has it wrong looks for it: whatever was wrong
        with a request about a bucket, and even if it could not be routed."""
        if not 400 <= status < 500:
            return []
        resource = self._resource(request)
        if resource is None or not resource.bucket:
            return []
        return [(b"x-amz-bucket-region", self._backend.region.encode("ascii"))]

    def _resource(self, request: HttpRequest) -> Resource | None:
        """Return the resource that a request names; None where that cannot be read."""
        try:
            return locate(request, self._domains)
        except S3Error:
            return None


def _with_name(resource: Resource | None, cause: AlvearyError, error: S3Error) -> S3Error:
    """The error with what S3 puts beside it where something is not there."""
    if cause is error or not isinstance(cause, NotFound) or resource is None:
        return error
    if error.code in {errors.NO_SUCH_KEY, errors.NO_SUCH_VERSION}:
        told = S3Error(error.code, Key=resource.key.decode("utf-8", "replace"))
        return told.with_headers(error.headers)
    if error.code is errors.NO_SUCH_BUCKET:
        return S3Error(error.code, BucketName=resource.bucket)
    return error


def _detail(error: BaseException) -> str:
    """Return the text of an error, all the way down a group."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(f"{type(each).__name__}: {_detail(each)}" for each in error.exceptions)
    return str(error)
