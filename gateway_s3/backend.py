"""The two arguments of every handler: the object service, and the call at hand."""

from __future__ import annotations

from dataclasses import field, replace

from common import limits
from common.crypto.keys import TenantKey
from common.data_classes import dataclass
from common.http.records import HttpRequest
from common.ids import TenantId
from common.ports import WebhookSender
from gateway.authorization import Action, Deny, authorize, check
from gateway.notifications import Cause, EventKind
from gateway.object_service import ObjectService
from gateway.principals import Bucket, KeyHolder, Principal, account_of
from gateway.webhooks import Webhooks
from gateway_s3.auth.circumstances import RequestCircumstances
from gateway_s3.auth.sigv4 import Verified
from gateway_s3.forms import PostForm
from gateway_s3.judging import LookedUp
from gateway_s3.metrics import GatewayMetrics
from gateway_s3.request.query import Query
from gateway_s3.request.router import Route
from gateway_s3.swarm_space import SwarmSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend(ObjectService):
    """The object service of this gateway, and what S3 adds to it. ``domains``: host names under
    which a bucket may stand as the first label. ``lifecycle_day_ms``: the length of a day for
    lifecycle rules. ``customer_keys_in_clear``: they are taken without TLS, too. ``webhooks``: the
    receivers of events, and ``sender``, which reaches them; None where this gateway
    notifies none."""

    metrics: GatewayMetrics
    region: str
    domains: tuple[str, ...] = ()
    space: SwarmSpace = field(default_factory=SwarmSpace)
    lifecycle_day_ms: int = 1000 * limits.LIFECYCLE_DAY_S
    customer_keys_in_clear: bool = False
    webhooks: Webhooks | None = None
    sender: WebhookSender | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request: routed, proven and allowed. ``principal``: the caller. ``about``: its bucket;
    None where it is about the asking tenant. ``name``: the stored name of its key.
    ``circumstances``: for what more a handler has to decide. ``form``: as far as it was read to
    prove the call. ``looked_up``: its object, where a decision was about that very one."""

    request: HttpRequest
    route: Route
    principal: Principal
    verified: Verified
    about: Bucket | None
    name: bytes
    request_id: str
    circumstances: RequestCircumstances
    form: PostForm | None = None
    looked_up: LookedUp | None = None

    @property
    def bucket(self) -> Bucket:
        """The bucket that the call is about; not of calls about the asking tenant."""
        assert self.about is not None, "the action is of the tenant"
        return self.about

    @property
    def asking_tenant(self) -> TenantKey:
        """The tenant that asks: lists its buckets, owns those it creates, is limited in its use of
        the gateway. Not of anonymous calls."""
        assert isinstance(self.principal, KeyHolder), "it was allowed to an anonymous caller"
        return self.principal.tenant

    @property
    def payer(self) -> TenantId:
        """The tenant whose shares of memory the call takes: the one that asks; of an anonymous call
        the bucket's owner, who let it in."""
        holder = self.principal
        return (
            holder.tenant.tenant_id
            if isinstance(holder, KeyHolder)
            else (self.bucket.owner.tenant_id)
        )

    def check_may_list(self, bucket: Bucket) -> None:
        """Refuse to say that a bucket lacks a key: who may not list it does not learn that.

        Raises:
            Refused: ``access_denied``.
        """
        facts = replace(self.circumstances, owner=account_of(bucket.owner), version=None)
        check(authorize(self.principal, Action.LIST_OBJECTS, bucket, circumstances=facts))

    def may_read_setting(self, permission: str) -> bool:
        """Return whether the caller may know a setting of the call's object.

        Args:
            permission: that it takes to read the setting.
        """
        verdict = authorize(
            self.principal,
            Action.READ_OBJECT_SETTINGS,
            self.bucket,
            self.route.key,
            self.circumstances,
            permission,
        )
        return not isinstance(verdict, Deny)

    def cause(self, kind: EventKind) -> Cause | None:
        """Return the call as the cause of an event; None where its bucket has no rules."""
        if self.bucket.notifications is None:
            return None
        return Cause(
            kind,
            self.circumstances.principal_id(),
            self.circumstances.source_address() or "",
            self.request_id,
        )

    @property
    def query(self) -> Query:
        """The parameters of its URL."""
        return self.route.query
