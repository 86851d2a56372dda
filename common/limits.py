"""Every limit of the product, with its reason. Relations between them are asserted at import.

Units are in the names. A limit that only one service knows lives here all the same: a limit is
found by looking in one place.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

# --- data path -------------------------------------------------------------------------------
STRIPE_SEALED_BYTES: Final = 1 * MIB
"""Sealed bytes of a full stripe: large enough to amortise a thread hop, small enough to buffer."""
SEGMENT_BYTES: Final = 64 * MIB
"""Plaintext bytes of a full segment (docs/architecture.md)."""
AEAD_TAG_BYTES: Final = 16
UNIT_ALIGNMENT_BYTES: Final = 64
MAX_SLOTS: Final = 64
"""n of a redundancy class: one bit each in a slot mask of 64 bits."""
MAX_STRIPES_PER_SEGMENT: Final = 128
MAX_UNITS_PER_READ_BYTES: Final = 1 * MIB
MAX_EXTENTS_PER_PAGE: Final = 256
MAX_PAGES_PER_OBJECT: Final = 20_000
"""10,000 parts of up to two pages: a full part has 80 segments; copied ranges may need more."""
MAX_UPLOAD_KEYS_PER_OBJECT: Final = 20_000
"""One per part; a copied range brings those of its source."""
MAX_STRETCHES: Final = 10_001
"""Of an inner layer: one for each part, or two of a form's file (MAX_PARTS is below)."""
MAX_ENCRYPTION_CONTEXT_BYTES: Final = 4 * KIB
"""Of one object (KMS: 8,192 characters for all, of which base64 in a header takes a third)."""
MAX_SEALED_RECORD_BYTES: Final = 1_500_000
"""A manifest of MAX_PARTS parts, each with two pages and a key of its own, is 1.2 MB; with an inner
layer of as many stretches, 1.45 MB."""
MAX_SUMMARY_BYTES: Final = 512
"""Listings carry 1,000 of them within MAX_LIST_REPLY_BYTES."""
MAX_OBJECT_BYTES: Final = 5 * 1024 * GIB
"""S3: 5 TiB."""
MAX_SINGLE_PUT_BYTES: Final = 5 * GIB
"""S3: 5 GiB in one PUT, one part or one copied range."""
MAX_NAME_BYTES: Final = 1024
"""S3: object names are at most 1,024 bytes of UTF-8."""
MAX_METADATA_BYTES: Final = 512 * KIB
"""Size of the metadata that a gateway packs into a manifest: far above what S3 allows, since other
protocols have other metadata, and below what would leave no place for pages."""
MAX_KEY_PURPOSES: Final = 32
"""Labels under which one key derives others: constants of the program, kept for as long as it
runs."""
MAX_DECODE_PLANS: Final = 512
"""Loss patterns whose matrices are kept: some kilobytes each, some patterns at a time."""
MAX_VOLUME_RECORD_BYTES: Final = 1 << 40
"""A record that claims more is damage, whatever its checksum says: a shard has at most
SEGMENT_BYTES and its leaves."""

# --- native protocol -------------------------------------------------------------------------
MAX_UINT: Final = (1 << 63) - 1
"""Integers are unsigned and fit a signed 64-bit column of SQL."""
MAX_FIELD_BYTES: Final = 4096
"""Of a field of a message that names no limit of its own."""
MAX_FIELD_ITEMS: Final = 1024
"""The same, of a field that is a list."""
MAX_JOURNAL_BODY_BYTES: Final = 512 * KIB
"""The sealed body of one record of a coordinator's journal: a commit that is longer has several."""
MAX_JOURNAL_APPEND_BYTES: Final = 1 * MIB
"""Records of one append, or of one answer to a reader; also a page of a snapshot."""
MAX_JOURNAL_MEMBERS_BYTES: Final = 2 * KIB
MAX_JOURNAL_CELLS: Final = 5
"""Cells that keep a journal: a majority of five outlives the loss of two sites."""
MAX_JOURNAL_LOG_BYTES: Final = 4 * 1024 * MIB
"""Records of a journal on one cell beyond its snapshot; a coordinator stays far below it."""
LEAST_JOURNAL_RECORDS_BYTES: Final = 16 * MIB
"""Of records on a cell before a new snapshot; more where the store is larger."""
MOST_INHERITED_RECORDS: Final = 1 << 16
"""Records of earlier coordinators on a cell before a new snapshot: their bytes are not known."""
MOST_RECENT_JOURNAL_BYTES: Final = 16 * MIB
"""Records in a coordinator's memory, for cells that lag: those that lag more get a snapshot."""
MOST_JOURNAL_TEXTS: Final = 4096
"""Texts of statements that get numbers; others are written out."""
JOURNAL_HELD_S: Final = 7.0
"""Time for which a cell of the journal that heard its coordinator promises nothing to another."""
MOST_SETTLING_TRIES: Final = 8
"""Of one settling: changes of members and of epochs that follow one another."""
MAX_SNAPSHOT_BYTES: Final = 1024 * 1024 * MIB
MOST_KIT_CELLS: Final = 64
"""Cells that a rescue kit names: any of them that keeps the journal names the others."""
MAX_RESCUE_KIT_BYTES: Final = 4 * MIB
"""Thousands of tenants."""
MOST_RESTORED_NAME_BYTES: Final = 200
"""Of a component of a restored file's path: file systems allow 255, and marks follow it."""
MAX_CALL_ID: Final = (1 << 32) - 1
"""The prefix of a frame has 32 bits for it; after the last comes 1 again."""
FRAME_PREFIX_BYTES: Final = 16
MAX_FRAME_HEADER_BYTES: Final = 2 * MIB
"""The largest headers are sealed records of objects of 10,000 parts and listing pages."""
MAX_FRAME_PAYLOAD_BYTES: Final = 1 * MIB + 64 * KIB
MAX_CONTROL_HEADER_BYTES: Final = 4 * KIB
"""Headers of frames that carry no request or reply: a failure's text is the longest."""
MAX_FACTS: Final = 6
"""Facts beside a failure's reason; the rest are left out."""
MAX_FACT_NAME_CHARACTERS: Final = 32
MAX_FACT_TEXT_CHARACTERS: Final = 128
"""Longer texts are cut: six of four-byte characters fit into a control header."""
FRAME_STAGING_BYTES: Final = 32 * KIB
"""Receive buffer of one connection: two TLS records, or some hundred small frames at a time."""
FIRST_STAGING_BYTES: Final = 2 * KIB
"""The size of that buffer until more arrives at a time: heartbeats fit, and a coordinator has a
connection of each cell."""
MAX_CALLS_IN_FLIGHT_PER_CONNECTION: Final = 128
MAX_GATHERED_BUFFERS: Final = 512
"""Buffers of one ``sendmsg``; Linux takes 1,024."""
OUTBOX_BYTES: Final = 1 * MIB
"""Bytes that wait to be sent on one connection before callers wait for room."""
SEND_BATCH_BYTES: Final = 512 * KIB
"""The share of it that goes out in one send, so that room comes back while the rest is sent."""
MAX_CONNECTIONS_PER_LISTENER: Final = 1024
"""Connections of one listener, unless its service needs more: a cell is called by gateways and by
the cells of its rings. When all places are taken, strangers lose theirs to new ones."""
MAX_CONNECTIONS_PER_COORDINATOR: Final = 210_000
"""MAX_CELLS, each with one, and gateways. An idle one takes some 50 KiB, and only callers that an
operator let in hold more of them than MAX_STRANGERS."""
MAX_STRANGERS: Final = 1024
"""Connections of one listener whose callers are not known: anyone can open those, so they have
their own bound. All that one costs before its proof is checked is a TLS handshake: 1 ms."""
STRANGER_GRACE_S: Final = 2.0
"""Time that a stranger keeps its place for, so that a storm of honest callers does not push out
those that are about to be known: round trips around the world, and slow machines. Newcomers wait
meanwhile."""
MAX_OPEN_FILES: Final = 262_144
"""Files and connections that a daemon asks the system for: what a coordinator may need."""
MIN_OPEN_FILES: Final = 512
"""With less a daemon does not start: volumes, the store and a few connections need as many."""
KEPT_OPEN_FILES: Final = 256
"""Of a coordinator, for what is neither a native connection nor one of its operators' API: the
store, its log, libraries."""
MAX_CONNECTIONS_PER_CALLER: Final = 256
"""A known caller cannot be evicted, so it may not have all places. A cell uses 1, a gateway 2."""
MAX_CALLS_OF_A_STRANGER: Final = 4
"""In flight on one connection before the caller is known; no more is read meanwhile."""
MAX_TENANTS_PER_CONNECTION: Final = 10_000
"""Tenants that one gateway proves to speak for: MAX_TENANT_FILES."""
MAX_COORDINATOR_ADDRESSES: Final = 16
"""To try, in a configuration: more than a swarm has coordinators."""
MAX_COORDINATORS: Final = MAX_COORDINATOR_ADDRESSES
"""Keys of coordinators that a charter names and has not revoked."""
MAX_CHARTERED: Final = 24
"""Entries of a charter, revoked ones among them: the oldest of these make room."""
MAX_COORDINATOR_NAME_CHARACTERS: Final = 32
MAX_CHARTER_BYTES: Final = 2 * KIB
"""MAX_CHARTERED entries. It goes in frames of handshakes, beside a key and a signature."""
MAX_DISCOVERED: Final = 16
"""More coordinators than a swarm has: a LAN full of forged answers costs no more than this."""
MAX_TOKEN_CHARACTERS: Final = 4096
"""A join token with MAX_COORDINATOR_ADDRESSES addresses of 200 characters."""
HANDSHAKE_TIMEOUT_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 5.0
SEND_TIMEOUT_S: Final = 30.0
"""Longest time for one batch to leave: a peer that does not read is cut."""
FRAME_TIMEOUT_S: Final = 30.0
"""Longest time from a frame's prefix to its end: it holds memory meanwhile."""
PROBE_AFTER_S: Final = 4.0
"""Silence under an unanswered call after which the caller sends a Ping of its own."""
DEAD_AFTER_S: Final = 10.0
"""Silence after which a connection with unanswered calls counts as dead."""
IMPATIENT_PROBE_AFTER_S: Final = 1.0
"""PROBE_AFTER_S towards one of several coordinators; it is dead after FAILOVER_S."""
RECONNECT_MIN_S: Final = 0.2
RECONNECT_MAX_S: Final = 2.0
"""Writes return within 5 s once coordinators and cells reach each other again."""
UNREACHABLE_PATIENCE_S: Final = 1.0
"""Time that a call waits for a connection to a peer that could not be reached when last tried."""
READ_PATIENCE_S: Final = 3.0
"""Time for which a read looks for shards again when too few can be reached."""
READ_RETRY_S: Final = 0.25
"""Time from one such look to the next."""
COORDINATOR_PATIENCE_S: Final = 10.0
"""Time that a request waits for a coordinator in all, retries included."""
TAKE_OVER_PATIENCE_S: Final = 16.0
"""The same, where several coordinators are known: longer than a standby takes to take over (15 s),
so that what comes meanwhile is late, and does not fail."""
UNANSWERED_S: Final = 5.0
"""After a request timed out, others wait only UNANSWERED_PATIENCE_S for so long."""
UNANSWERED_PATIENCE_S: Final = 2.0
FAILOVER_S: Final = 3.0
"""Time that one coordinator of several may take to answer a question before the next is asked."""
CALL_TIMEOUT_S: Final = 30.0
IDLE_CONNECTION_TIMEOUT_S: Final = 120.0

# --- background tasks ------------------------------------------------------------------------
TASK_PAUSE_MIN_S: Final = 1.0
TASK_PAUSE_MAX_S: Final = 60.0
"""Pauses of a task that ended by a fault of ours: it may be the input, and the input may change."""

# --- heartbeats ------------------------------------------------------------------------------
HEARTBEATS_PER_S: Final = 1000
"""Heartbeats that cost a coordinator half a core. Larger swarms send theirs less often."""
MAX_HEARTBEAT_INTERVAL_S: Final = 60
"""So that no cell's connection is idle for so long that it is closed."""

# --- orders and leases -----------------------------------------------------------------------
ORDER_LIFETIME_S: Final = 900
ORDER_EXPIRY_GRACE_S: Final = 60
"""The jump that order time may make when a coordinator starts again, so that no order expires by
it."""
ORDER_TIME_AHEAD_S: Final = 60
"""The lead over order time of the value that the store keeps: the most that a start jumps."""
ORDER_TIME_KEPT_EVERY_S: Final = 30
CLOCK_OFF_S: Final = 60
"""A cell's clock that differs from the coordinator's by more is shown and logged. Nothing fails by
it, but times that people see are wrong, and S3 clients are refused from MAX_CLOCK_SKEW_S on."""
WRITE_LEASE_TTL_S: Final = 300
"""A gateway that is gone for so long loses its uncommitted segments."""
MAX_CLOCK_SKEW_S: Final = 900
MAX_VERSIONS_READ: Final = 1000
"""Versions that one gateway may keep from being deleted because it is reading them: twice its
connections at work at a time would be unusual."""
READING_TOLD_EVERY_S: Final = 15.0
"""Interval at which a gateway with long downloads reports which versions they read, if no shorter
grace of deletion asks for more."""
INHERITED_LEASE_GRACE_S: Final = 24 * 3600
"""Time after its start in which a coordinator calls nothing garbage that was written under a lease
of an earlier start: an operator can see meanwhile that an old copy of the store is running."""
MAX_POSITIONS_KNOWN: Final = 8
"""Runs of the coordinator that a cell or a gateway remembers: enough to distinguish two
histories after some restarts; a heartbeat carries them all (576 bytes)."""
MAX_LEASES: Final = 100_000
"""Gateways at the same time, and those that died within a lease's life."""
MAX_LEASES_PER_TENANT: Final = 1_000
"""The same for one tenant: a gateway that dies and starts again every second needs 300."""
MAX_LEASES_PER_CALLER: Final = 8
"""A gateway has one, with a key of its own for each start; a lost answer may leave another."""
MAX_RENEWALS_PER_TRANSACTION: Final = 1_000
MAX_HEARTBEATS_PER_TRANSACTION: Final = 1_000
"""Of either, a few milliseconds for which other transactions wait."""

# --- invitations and access keys --------------------------------------------------------------
MAX_INVITE_LIFETIME_S: Final = 365 * 86400
MAX_INVITE_USES: Final = 10_000
"""A token that is put into an image for many machines; one that leaks must not work forever."""
MAX_TENANTS: Final = 100_000
"""Of a swarm."""
MAX_STORAGE_CLASSES: Final = 32
"""Beside the configured one: each has rings of its own, weighed again when free space changes."""
MAX_FENCE_SITES: Final = 1000
"""Of one storage class."""
MAX_CLASS_NAMES: Final = 32
"""Of classes that clients ask for. Gateways read those that lead somewhere with each bucket."""
CLASS_NAME_BYTES: Final = 32
"""A name of a class that clients ask for, filled up, so that all are sealed alike."""
MAX_SEALED_CLASS_BYTES: Final = 128
"""The same, sealed."""
MAX_ACCESS_KEYS_PER_TENANT: Final = 10_000
MAX_SEALED_ACCESS_KEY_BYTES: Final = 512
"""A secret of at most 128 characters and a few numbers, sealed for the tenant's gateways."""
MAX_ROSTER_USERS: Final = 5000
"""Users of a tenant (IAM: the same)."""
MAX_ROSTER_POLICIES: Final = 1500
"""Named policies of a tenant (IAM: the same)."""
MAX_POLICIES_PER_USER: Final = 10
"""Attached to a user (IAM: the same)."""
MAX_KEYS_PER_USER: Final = 10
"""Access keys of a user: more than a change of keys needs (IAM: 2)."""
MAX_POLICY_NAME_CHARACTERS: Final = 128
"""IAM: the same, of a policy; of a role, 64."""
MAX_ROSTER_BYTES: Final = 512 * KIB
"""A tenant's users and policies, packed: some thousand users of a hundred bytes each, and a hundred
policies of some KiB."""
MAX_SEALED_ROSTER_BYTES: Final = MAX_ROSTER_BYTES + 128
"""The same, sealed."""
MAX_ROSTER_BODY_BYTES: Final = 704 * KIB
"""The same in base64, in the JSON of the operators' API."""
MAX_KNOWN_ROSTERS: Final = 64
"""Tenants with users of which a gateway remembers the roster: 32 MiB of them at most; others are
read from its disk."""
MAX_ACCESS_KEY_ID_CHARACTERS: Final = 128
"""As S3 has it (IAM: 16 to 128)."""
MAX_SESSION_TOKEN_CHARACTERS: Final = 4 * KIB
"""A session's policy of 2 KiB and some ids, sealed, in Base64."""
MAX_KNOWN_SESSIONS: Final = 1024
"""Sessions that a gateway remembers opened: each a token, and a parsed policy of 2 KiB at most."""
MIN_SESSION_S: Final = 900
"""STS: the same, as all that follow."""
MAX_SESSION_S: Final = 36 * 3600
"""Of a user."""
MAX_ROLE_SESSION_S: Final = 12 * 3600
MAX_ACCOUNT_SESSION_S: Final = 3600
"""Of a key of the tenant's own."""
MAX_STS_BODY_BYTES: Final = 32 * KIB
"""The form of a request for credentials: a policy of 2 KiB, percent-encoded, and some names."""
MAX_ACCESS_KEY_LOOKUPS: Final = 64
"""Unknown ids that are looked up at the same time. Anyone can invent ids, and each is a call to a
coordinator: beyond this, clients are asked to slow down. Keys in use are remembered and need no
place here."""
MAX_KNOWN_ACCESS_KEYS: Final = 4096
"""Keys that a gateway remembers: some MiB; more are looked up again."""
MAX_UNKNOWN_ACCESS_KEYS: Final = 4096
"""Ids of which a gateway remembers that nobody has them."""
MAX_SIGNING_KEYS: Final = 3
"""Derived keys remembered for one access key: clients' clocks may be a day apart at midnight."""
MAX_TENANT_FILES: Final = 10_000
"""Tenants that one gateway serves: each file is looked at every second."""
MAX_TENANT_FILE_BYTES: Final = 16 * KIB
"""A tenant's keys are some hundred bytes of JSON."""

# --- named keys ------------------------------------------------------------------------------
MAX_KEY_NAME_CHARACTERS: Final = 64
"""Of a named key. It becomes part of an ARN and of headers."""
MAX_KEY_ID_CHARACTERS: Final = 256
"""Of what names a named key in a request: an ARN around the name."""
MAX_NAMED_KEYS: Final = 256
"""Of a tenant, destroyed ones too, whose names stay."""
MAX_KEY_VERSIONS: Final = 256
"""Of a named key: rotated every month, they last for 21 years."""
MAX_KEY_RING_BYTES: Final = 40 * KIB
"""The sealed key ring of a tenant, which gateways read once in a second while it is used: some
1,000 versions of all its keys."""
MAX_KEY_RINGS_REMEMBERED: Final = 1024
"""By a gateway; of tenants that used theirs last. A call brings another one."""
KEY_RING_AGE_S: Final = 1.0
"""The age that a key ring has at most in a gateway: a key that is destroyed is used nowhere after
it."""

# --- lists -----------------------------------------------------------------------------------
MAX_LIST_ENTRIES: Final = 1000
MAX_LIST_REPLY_BYTES: Final = 768 * KIB
MAX_DELETE_BATCH: Final = 1000
MAX_PAGES_PER_REPLY: Final = 4
"""A reply is built from pages that were read whole."""
MAX_EXTENTS_PER_REPLY: Final = 256
"""Further pages are left for the next call once a reply has so many extents."""
MAX_MISPLACED_PER_REPLY: Final = 8
"""Pages that a gateway is given to write again; each is up to 5 GiB."""
MAX_MISPLACED_LOOKED_AT: Final = 200
"""Pages that one transaction looks at, to find those."""
MAX_MISPLACED_EXTENTS: Final = 2_000
"""Extents after which it looks at no further page: some ten milliseconds, for others wait."""
MAX_CLASS_SCANNED: Final = 500
"""Versions of a bucket whose class was changed that one transaction notes."""
MAX_PURGED_EXTENTS: Final = 500
"""In one transaction, so that others do not wait for long."""
MAX_PURGED_OWNERS: Final = 100
"""In one transaction, for the same reason: an owner without extents costs as well."""
MAX_TRANSACTIONS_PER_COMMIT: Final = 128
"""Bounds how long the first of them waits for the last."""
MAX_QUICK_CHECK_BYTES: Final = 256 * MIB
"""A larger store is not checked at opening: reading all of it would delay a restart by minutes."""
MAX_TRANSACTIONS_QUEUED: Final = 8192
"""Transactions that wait for one database; more are turned away."""
MAX_BUCKETS_LISTED: Final = 10_000
"""In one answer (S3: the same)."""
MAX_SETTLE_BATCH: Final = 1000
MAX_MOVES_PER_ROUND: Final = 32
"""Slots that a coordinator moves between two looks at its cells."""
MAX_SEGMENTS_PER_GRANT: Final = 32
MAX_PARTS: Final = 10_000
MIN_PART_BYTES: Final = 5 * MIB
MAX_BUCKETS_PER_TENANT: Final = 1000
"""An operator may allow more or fewer (S3: 10,000 per account, 100 for many years)."""
MAX_UPLOADS_PER_TENANT: Final = 100_000
"""Uploads in progress. Commit protocols of analytics begin tens of thousands in one job; each holds
up to MAX_UPLOAD_RECORD_BYTES of the coordinator's store."""
MAX_UPLOAD_RECORD_BYTES: Final = 32 * KIB
"""The sealed record of an upload: 8 KiB of content headers, 2 KiB of metadata, 12 KiB of tags, an
access control list and an encryption context of 4 KiB each, and some around."""
MAX_BUCKET_RECORD_BYTES: Final = 256 * KIB
"""The sealed settings of a bucket. S3 has CORS rules of 64 KiB and a policy of 20 KiB."""
MAX_FORM_FIELD_BYTES: Final = 20 * KIB
"""All fields of a form before its file, with their heads (S3: the same)."""
MAX_FORM_HEAD_BYTES: Final = 4 * KIB
"""The head of one part of a form."""
MAX_FORM_BOUNDARY_BYTES: Final = 70
"""RFC 2046, 5.1.1."""
FORM_TAIL_BYTES: Final = 1 * MIB
"""The end of a form is held until its last boundary is found, with which the file ends. Fields
behind the file, which mean nothing, have no more room."""
MAX_FORM_CONDITIONS: Final = 100
"""Conditions of a form's policy: one for each field that S3 knows, some three times."""
MAX_TAG_KEY_UNITS: Final = 128
"""A tag's key, in units of UTF-16 (S3: the same)."""
MAX_TAG_VALUE_UNITS: Final = 256
"""A tag's value, likewise."""
MAX_OBJECT_TAGS: Final = 10
"""Of one version (S3: the same)."""
MAX_TAGS_RECORD_BYTES: Final = 12 * KIB
"""The tags of a version, packed: ten of 384 units of UTF-16, three bytes each, and some around."""
MAX_SEALED_TAGS_BYTES: Final = MAX_TAGS_RECORD_BYTES + 128
"""The same, sealed."""
MAX_ACL_GRANTS: Final = 100
"""Of one access control list (S3: the same)."""
MAX_ACL_RECORD_BYTES: Final = 4 * KIB
"""The access control list of a version, packed: a hundred grants of 22 bytes at most."""
MAX_SEALED_ACL_BYTES: Final = MAX_ACL_RECORD_BYTES + 128
"""The same, sealed."""
MAX_BUCKET_TAGS: Final = 50
"""Of one bucket (S3: the same)."""
MAX_CORS_RULES: Final = 100
"""Of one bucket (S3: the same)."""
MAX_CORS_ELEMENTS: Final = 1000
"""All elements of one rule."""
MAX_CORS_BYTES: Final = 64 * KIB
"""The document with the rules (S3: the same)."""
MAX_REDIRECT_LOCATION_BYTES: Final = 2 * KIB
"""The URL to which a website redirects from an object (S3: the same)."""
MAX_WEBSITE_RULES: Final = 50
"""Redirects of one website (S3: the same)."""
MAX_CORS_TEXT_BYTES: Final = 1024
"""One element of a rule."""
MAX_CORS_ID_CHARACTERS: Final = 255
"""S3: the same."""
MAX_CORS_AGE_S: Final = 2**31 - 1
"""Browsers keep it as a signed number of 32 bits."""
MAX_POLICY_BYTES: Final = 20 * KIB
"""The policy of a bucket (S3: the same)."""
MAX_NAMED_POLICY_BYTES: Final = 6 * KIB
"""A named policy of a tenant (IAM: 6,144 characters)."""
MAX_SESSION_POLICY_BYTES: Final = 2 * KIB
"""The policy of a session, which is part of its token (STS: 2,048 characters)."""
MAX_USER_NAME_CHARACTERS: Final = 64
"""IAM: the same."""
MAX_POLICY_NUMBER_CHARACTERS: Final = 40
"""A number in a condition of a policy, and its exponent: comparing takes no longer than that."""
MAX_TAG_ELEMENTS: Final = 3000
"""Of a document of tags: that there are too many tags has an error of its own."""
MAX_BUCKET_DOCUMENTS: Final = 32
"""Kinds of configurations that a bucket can have (S3 has some 20)."""
MAX_BUCKET_DOCUMENT_BYTES: Final = 128 * KIB
"""One configuration of a bucket, packed: S3's CORS rules have up to 64 KiB, its lifecycle rules are
bounded by their number."""

# --- lifecycle rules -------------------------------------------------------------------------
MAX_LIFECYCLE_RULES: Final = 1000
"""S3: the same."""
MAX_LIFECYCLE_ID_CHARACTERS: Final = 255
"""S3: the same."""
MAX_LIFECYCLE_PREFIX_BYTES: Final = 1024
"""A key has no more (S3: the same)."""
MAX_LIFECYCLE_ELEMENTS: Final = 64
"""Of one rule: S3's have some forty with all tags."""
MAX_LIFECYCLE_DAYS: Final = 2**31 - 1
"""SDKs have it as a signed number of 32 bits."""
MAX_TRANSITIONS: Final = 6
"""Of one kind in one rule: S3 has as many classes to which they lead."""
LEAST_TRANSITION_BYTES: Final = 128 * KIB
"""Smaller objects stay in their class, unless a rule is about sizes (S3: the same)."""
LEAST_INFREQUENT_DAYS: Final = 30
"""In another class before rules lead to one for infrequent access, or in that before they lead on
(S3: the same)."""
MAX_NEWER_NONCURRENT: Final = 100
"""Noncurrent versions that a rule can retain (S3: the same)."""
LIFECYCLE_DAY_S: Final = 86_400
"""A day of UTC."""
LIFECYCLE_PAGE: Final = 500
"""Versions that a lifecycle's run looks at, and deletes in one transaction, before it rests."""

# --- notifications of events -----------------------------------------------------------------
MAX_NOTIFICATION_RULES: Final = 100
"""S3: the same."""
MAX_WEBHOOK_NAME_CHARACTERS: Final = 64
"""The name of a receiver."""
MAX_WEBHOOKS: Final = 256
"""Receivers that a gateway knows."""
MAX_WEBHOOK_FILE_BYTES: Final = 16 * KIB
MAX_WEBHOOK_ANSWER_BYTES: Final = 64 * KIB
"""Of a receiver's answer that is read, so that its connection can be used again."""
WEBHOOK_TIMEOUT_S: Final = 10.0
"""For the whole of a delivery: a receiver takes an event in, and works on it later."""
WEBHOOK_RETRY_MIN_S: Final = 1.0
WEBHOOK_RETRY_MAX_S: Final = 300.0
"""Pauses between tries, each twice as long as the one before."""
WEBHOOK_DELIVERIES: Final = 8
"""Deliveries under way at once, of different keys of one lane."""
MAX_EVENTS_HELD: Final = 1000
"""Events that their receiver refused, whose next try a gateway remembers."""
MAX_EVENT_KINDS: Final = 32
"""Of a rule: S3 has some thirty kinds."""
MAX_EVENT_BYTES: Final = 4 * KIB
"""An event: its key and the id of its rule have 1 KiB each."""
MAX_SEALED_EVENT_BYTES: Final = MAX_EVENT_BYTES + 128
"""With what sealing adds."""
MAX_NOTIFICATIONS_PER_TENANT: Final = 100_000
"""Notifications that wait: about 100 MB of the coordinator's store. A receiver that is gone for an
hour under 25 events a second loses none; further events are dropped, and counted."""
NOTIFICATIONS_PAGE: Final = 100
"""Notifications that a gateway looks at at once, and whose delivery it reports in one request."""
NOTIFICATION_LANE_PATIENCE_S: Final = 60.0
"""A gateway that has not asked for the next page of a lane for so long has died, or its receiver is
slow: another one gets the lane, and what is delivered twice does no harm."""
NOTIFICATION_TURN_S: Final = 10.0
"""A gateway that has delivered for so long in one lane goes on with the next one: a slow receiver,
or events that come faster than it takes them, hold up no other lane."""
NOTIFICATION_LIFE_MS: Final = 7 * 86_400_000
"""A notification that could not be delivered for so long is dropped."""

# --- access logs -----------------------------------------------------------------------------
MAX_LOG_PREFIX_BYTES: Final = 800
"""Of the keys of an access log: what stands behind it has some 150."""
ACCESS_LOG_OBJECT_BYTES: Final = 1 * MIB
"""A log that has grown so much is written at once."""
MAX_ACCESS_LOG_BYTES: Final = 8 * MIB
"""Lines of all logs that a gateway keeps in memory; further ones are dropped, and counted."""
MAX_ACCESS_LOG_FIELD_CHARACTERS: Final = 8192
ACCESS_LOG_S: Final = 300
"""Time between two objects of a log: S3's come within hours."""
MAX_ACCESS_LOG_S: Final = 3600

# --- HTTP front ------------------------------------------------------------------------------
MAX_HTTP_HEADER_BLOCK_BYTES: Final = 32 * KIB
MAX_HTTP_HEADERS: Final = 200
MAX_HTTP_TARGET_BYTES: Final = 16 * KIB
MAX_HTTP_CHUNK_LINE_BYTES: Final = 4096
"""A size with its extensions, or one trailer field."""
MAX_HTTP_TRAILER_BYTES: Final = 8192
"""All trailer fields; checksums and signatures need some hundred bytes."""
MAX_HTTP_CONNECTIONS: Final = 1024
HTTP_IDLE_TIMEOUT_S: Final = 75.0
HTTP_BODY_TIMEOUT_S: Final = 30.0
"""Patience with a body of which nothing arrives (S3 has some 20 s)."""
HTTP_LEAST_BYTES_PER_S: Final = 8 * KIB
"""Least speed of a client on the long run, a modem's: slower ones would hold their room forever. A
cell ends a slower upload anyway."""
HTTP_HEAD_TIMEOUT_S: Final = 30.0
"""From the first byte of a request's head to its last."""
HTTP_SEND_TIMEOUT_S: Final = 30.0
"""Patience with a client that does not take an answer, beside the time that HTTP_SEND_BYTES take at
the least speed: a minute in all (nginx send_timeout)."""
HTTP_PRESSED_SEND_TIMEOUT_S: Final = 10.0
"""Time that a client may take nothing of an answer while others wait for the memory it holds."""
HTTP_SEND_BYTES: Final = 256 * KIB
"""Of an answer at a time: large enough to be cheap, small enough to see whether a client reads."""
HTTP_FIRST_READ_BYTES: Final = 64 * KIB
"""Buffer of the first receive of a body; the next ones are as large as the client is fast."""
HTTP_READ_BYTES: Final = 256 * KIB
HTTP_DRAIN_BYTES: Final = 256 * KIB
"""An unread body up to this is read and dropped to keep the connection (net/http's figure)."""
HTTP_LINGER_S: Final = 10.0
"""Time that a connection being closed is drained, so that its client reads the answer before it
sees a reset (nginx lingering_close; shorter, since it holds a connection's place)."""
MAX_CERTIFICATE_FILE_BYTES: Final = 1 * MIB
"""A chain of ten certificates has 20 KiB; what is larger is another file, named by mistake."""
MAX_XML_BODY_BYTES: Final = 2 * MIB
"""CompleteMultipartUpload with 10,000 parts and checksums is about 1.6 MiB."""
MAX_SIGNED_CHUNK_BYTES: Final = 16 * MIB
"""A signed chunk is held until its signature is known to hold. SDKs send 64 KiB to 1 MiB; MinIO
takes as much."""
MAX_USER_METADATA_BYTES: Final = 2 * KIB
"""S3's limit, of names without prefix and of values as they mean (decoded, in UTF-8)."""
MAX_CONTENT_HEADER_BYTES: Final = 8 * KIB
"""Content headers kept with an object: S3 takes no more headers than that with a PUT."""

# --- S3 requests -----------------------------------------------------------------------------
MAX_QUERY_PARAMETERS: Final = 100
"""Presigned URLs have some ten, and response headers six."""
MAX_UPLOAD_ID_CHARACTERS: Final = 128
MAX_BUCKET_LABELS: Final = 3
"""Labels of a host name that are tried as a bucket's name, which may hold dots."""
MAX_XML_DEPTH: Final = 8
"""Twice what the deepest document of S3 has."""
MAX_SIGNED_CHUNK_LINE_BYTES: Final = 256
"""A size, its signature and extensions."""
MAX_SIGNED_TRAILER_BYTES: Final = 4096
"""A checksum and the trailer's signature."""
MAX_PRESIGNED_LIFETIME_S: Final = 604_800
"""S3: seven days."""
MAX_SIGNATURE_V2_AHEAD_S: Final = MAX_PRESIGNED_LIFETIME_S
"""The furthest expiry of a URL presigned with Signature V2: what V4 allows. V2 signs no date that a
lifetime could be counted from."""
MAX_DATE_MS: Final = 253_402_300_799_999
"""The last millisecond that a date of S3 can name."""
MAX_RETENTION_YEARS: Final = 100
MAX_RETENTION_DAYS: Final = 365 * MAX_RETENTION_YEARS
"""S3: of a bucket's default retention."""
MAX_PERIOD_DIGITS: Final = 18
"""Of a default retention, before it is refused as too long and not as no number."""
MAX_LOCK_ELEMENTS: Final = 8
"""Twice what a rule of a bucket's locks has."""
MAX_DATE_CHARACTERS: Final = 64
"""Of a date in ISO 8601: twice the longest."""
MAX_COPY_TRIES: Final = 3
"""Look-ups of a source that is replaced while it is being copied."""
MAX_READ_TRIES: Final = 3
"""Look-ups of an object whose version is deleted before its first byte was read."""
MAX_COMMIT_TRIES: Final = 5
"""Comparisons of a conditional write before it fails as a conflict."""
MAX_BUCKETS_REMEMBERED: Final = 4096
"""Names whose buckets a gateway remembers for some seconds: about 1 MiB."""
MAX_OWNER_LOOKUPS: Final = 64
"""Names whose owners a gateway looks up at once for callers that proved nothing; as many for those
that proved a key, and as many whose owner it knew."""
MAX_REMEMBERED_BUCKET_BYTES: Final = 16 * MIB
"""Those buckets with their documents: a few dozen with all that S3 allows, all with usual ones."""
MAX_S3_REQUESTS: Final = 896
"""In flight in one gateway, shared by its tenants: an eighth of MAX_HTTP_CONNECTIONS stays for
those that are being refused, which give way to newcomers."""
MAX_TENANT_S3_REQUESTS: Final = MAX_S3_REQUESTS // 2
"""Of one tenant: what one that is alone may have."""
MAX_S3_REQUESTS_AT_WORK: Final = 192
"""Worked on while several tenants are there: fewer than the 256 calls to a coordinator that the two
connections of a gateway carry, so that each finds one."""
S3_TURN_WAIT_S: Final = 20.0
"""The longest wait for a turn, then the client is asked to come later; SDKs wait 60 s."""
MAX_TENANT_REQUESTS_PER_S: Final = 1_000_000
"""Of a configuration: no gateway or coordinator answers so many."""
MIN_TENANT_BYTES_PER_S: Final = 1 * MIB
"""Of a configuration: with less, the patience of clients would end before their objects."""
MAX_TENANT_BYTES_PER_S: Final = 1 << 40
"""Of a configuration: no gateway moves so many."""
MAX_DRAIN_NOTICE_S: Final = 600
"""Longer notice of a gateway's shutdown would delay an upgrade."""

# --- native client ---------------------------------------------------------------------------
SMALL_OBJECT_BYTES: Final = 1 * MIB
"""Objects up to this are written with grants kept in stock, without a round trip of their own,
and each shard in one request."""
MAX_STOCKED_GRANTS: Final = 64
"""Per tenant; at 1,000 small objects a second and 5 ms a refill a sixteenth of it would do."""
SEGMENT_IDS_REMEMBERED: Final = 16_384
"""Granted segment ids that one process recognises when they are granted again: those of 16 s at
1,000 small objects a second; about 4 MiB, because twice as many may be held."""
GRANTS_AHEAD: Final = 4
"""Segments a large object asks places for at a time: 256 MiB."""
INLINE_STRIPE_BYTES: Final = 16 * KIB
"""Stripes up to this are encoded where they are: a thread hop costs more."""
WRITE_WINDOW_STRIPES: Final = 4
"""Stripes of one upload that are encoded and not yet taken by every slot."""
APPENDS_IN_FLIGHT: Final = 2
"""Per slot: one travels while the cell writes the other."""
READ_AHEAD_BYTES: Final = 4 * MIB
"""Plaintext fetched ahead of what a reader has taken."""
MAX_CELLS_REMEMBERED: Final = 8192
"""Cells whose latency and failures one process remembers: about 1 MiB."""
MAX_ABANDONS_WAITING: Final = 50_000
"""Segments of failed writes that a coordinator has not heard of yet; about 15 MiB."""
MAX_REPORTS_WAITING: Final = 256
"""Bad shards seen and not yet reported; more are dropped: later readers report them again."""

# --- memory ----------------------------------------------------------------------------------
GATEWAY_BUFFER_BUDGET_BYTES: Final = 64 * MIB
"""All stripes in flight of one gateway process; streams wait for room."""
GATHERED_PER_BUDGET: Final = 4
"""Bytes of bodies that arrived and have no room in the budget yet: at most the budget divided by
this. It need not be large: what does not fit takes its room before it arrives."""
BUDGET_WAIT_S: Final = 30.0
"""Longest wait for room in a budget, then the client is asked to come later. SDKs give an answer
60 s."""
READER_STALLS_AFTER_S: Final = 1.0
"""A reader that has taken nothing for so long gives its read-ahead back when others wait for room:
1 MiB in this time is slower than what it is ahead for."""
MAX_HELD_CHUNKS_BYTES: Final = 32 * MIB
"""All signed chunks of a gateway, before those that hold more than a client's usual chunk must come
later."""
MAX_HASH_LANE_BYTES: Final = 1 * MIB
"""Bytes that may wait for one of the digests of a body."""
HASH_CROWD_BYTES: Final = 12 * MIB
"""Bytes waiting in all lanes of a gateway above which each lane may hold less ..."""
MAX_CROWDED_HASH_LANE_BYTES: Final = 128 * KIB
"""... namely so much."""
GATEWAY_KEPT_MEMORY_BYTES: Final = 32 * MIB
KEPT_MEMORY_BYTES: Final = 8 * MIB
"""Freed memory that a daemon keeps for its next buffers: a few stripes of each stream in a gateway,
a few units in a cell."""
CELL_BUFFER_BUDGET_BYTES: Final = 24 * MIB
COORDINATOR_BUFFER_BUDGET_BYTES: Final = 64 * MIB
"""Requests and replies in flight: manifests of 10,000 parts are the largest, of up to 2 MiB."""

# --- logs ------------------------------------------------------------------------------------
LOG_LINE_BYTES: Final = 4000
"""A longer line is cut. Below PIPE_BUF (4096), so that a pipe that says it has room takes all."""
MAX_LOG_VALUE_CHARACTERS: Final = 500
"""A longer value is cut: a hostile peer's text must not fill the operator's disk."""
LOG_BURST_LINES: Final = 100
LOG_LINES_PER_S: Final = 1.0
"""Of one event, after its burst: 16 MB a day at 185 bytes a line, whatever clients do."""
LOG_SUMMARY_S: Final = 60.0
"""Time that a count of dropped lines may wait while other lines are written."""
LOG_FILE_BYTES: Final = 8 * MIB
LOG_FILES_KEPT: Final = 3
"""Beside the one that is written: 32 MiB for each daemon, two days of its busiest event."""

# --- gateways, as coordinators see them ------------------------------------------------------
GATEWAY_PRESENCE_INTERVAL_S: Final = 15.0
GATEWAY_SILENT_AFTER_S: Final = 45.0
GATEWAY_FORGOTTEN_AFTER_S: Final = 600.0
"""A gateway has a new key at each start, so the old one is shown for a while only."""
MAX_GATEWAYS_SHOWN: Final = 1000
"""Any key may say that it is a gateway; it gets a line in `alveary status`, and nothing else."""

# --- coordinator -----------------------------------------------------------------------------
MAX_CELLS: Final = 200_000
"""Of a swarm, in one coordinator's memory; HEARTBEATS_PER_S of them are heard."""
MAX_LOST_RUNS: Final = 64
"""Runs that the store lacks and that are remembered: each is a start of a lost history."""
MAX_SEGMENTS_GOING_HOME: Final = 256
"""Under way at a time from a fallback to their home class: some GiB at the most."""
MANY_FALLBACK_RINGS: Final = 1000
"""With so many rings of a fallback class another is made only where none of them can be written."""
MAX_RINGS_SHOWN: Final = 1000
"""In one answer; ``rings_total`` says how many there are."""
MAX_OWNERS_SHOWN: Final = 1000
"""In one answer, those whose cells were silent longest first."""
MAX_DRAINS_SHOWN: Final = 100
"""Cells of which one answer says what is left to move."""
MAX_NAMED: Final = 5
"""Cells of one kind that the words of `alveary status` name; the others are counted."""
MAX_BUCKET_RINGS: Final = 200_000
"""Buckets on rings that one look reads, those of the buckets that were made first."""
MAX_BUCKETS_MEASURED: Final = 50
"""Buckets that status and metrics name, those that are worst off; all others stand together."""
MAX_LACKING_KINDS: Final = 100_000
"""Kinds of lacking segments (ring and slots) that one look reads, those that lack most first."""
MAX_MAINTENANCE_S: Final = 7 * 86400
"""Announced at once: a cell that is not lost for so long leaves its segments with less margin."""
MAX_SUSPENSION_CHARACTERS: Final = 500
"""Of the reason, which people read: as long as a value in the log."""
MAX_API_BODY_BYTES: Final = 64 * KIB
"""Of a request of an operator: the largest, an access key's, is a tenth of it."""
MAX_TENANT_CALLS: Final = 4096
"""Requests of gateways in flight, shared by their tenants: half of MAX_TRANSACTIONS_QUEUED."""
MAX_TENANT_CALLS_AT_WORK: Final = 256
"""Worked on while several tenants are there: two commits of MAX_TRANSACTIONS_PER_COMMIT, one being
written, the next gathering."""
TENANT_CALL_TURN_WAIT_S: Final = 5.0
"""The longest wait for a turn, within COORDINATOR_PATIENCE_S."""
COORDINATOR_LEAST_FREE_BYTES: Final = 32 * MIB
"""With less on its file system a coordinator says that it is not ready: a transaction of 128 large
manifests, its write-ahead log and the checkpoint of that take some MiB each."""

# --- audits ----------------------------------------------------------------------------------
AUDITS_PER_S: Final = 20
"""Of one coordinator: 5 MB/s of units, and 20 small transactions."""
AUDIT_OPENED_BYTES: Final = 256 * KIB
"""Units that are opened of a shard, unless one alone is longer: what is opened is the traffic."""
MAX_AUDIT_UNITS: Final = 4
"""Opened of a shard. More of the same shard say less than some of another one."""
AUDIT_MESSAGES_BYTES: Final = 2 * KIB
"""Headers of the three requests and replies of an audit, and what TLS and TCP add to them."""
AUDIT_ANSWER_S: Final = 10.0
"""A disk that rests needs so long to turn again."""
AUDIT_READ_BYTES_PER_S: Final = 8 * MIB
"""A cell that is busy reads so fast from the slowest disk that is of use. k shards of 16 MiB come
in that time over a line of 50 Mbit/s and more: docs/decisions/0033-audit.md."""
AUDIT_TRIES: Final = 3
"""Challenges about one shard that a cell may leave unanswered before that is its answer."""
AUDIT_PATIENCE_S: Final = 120.0
"""A cell whose heartbeats are answered so long with an audit being due has left it unanswered:
at least one heartbeat is in it."""
AUDIT_PLAN_AGE_S: Final = 86_400.0
"""Shards that were written since take part in the audits after that."""
AUDIT_SAMPLES: Final = 32
"""Shards of a cell that are drawn in one pass over all of its shards."""
MAX_AUDIT_PAGE: Final = 1000
"""Segments looked at in one transaction of such a pass."""
AUDIT_EVIDENCE_KEPT: Final = 60
"""Of a cell: the audits that its reputation rests on."""
MAX_EVIDENCE_BYTES: Final = 16 * KIB
"""Leaves and fresh leaves of MAX_STRIPES_PER_SEGMENT units, and a kilobyte of other facts."""

# --- uploads to a cell -----------------------------------------------------------------------
MAX_UPLOADS: Final = 1024
"""Open at a time: each keeps up to 4 KiB of leaves and holds back its volume's watermark."""
MAX_UPLOADS_PER_CALLER: Final = 512
"""A gateway with 200 streams has as many, and those of tries that are being aborted."""
MAX_UPLOADS_PER_CONNECTION: Final = 256
MAX_UNFILLED_BYTES_PER_CALLER: Final = 4 * GIB
"""Room that is reserved for one caller's units and has not come: 256 shards of full segments at
4/6. On a small cell, half of its room is the limit."""

# --- cell ------------------------------------------------------------------------------------
VOLUME_BYTES: Final = 256 * MIB
RECORD_ALIGNMENT_BYTES: Final = 512
CELL_LEAST_FREE_BYTES: Final = 32 * MIB
"""A cell with less is full: it could not take two shards of a full segment at 4/6."""
CELL_FREE_AGAIN_BYTES: Final = 2 * CELL_LEAST_FREE_BYTES
"""A full cell is written to again from here on: one that hovers must not change rings each time."""
CELL_RESERVE_BYTES: Final = 64 * MIB
"""Free space of the file system that a cell never touches, so that deletes and the index work."""
MIN_CELL_CAPACITY_BYTES: Final = 1 * MIB
"""For tests; an owner gives gigabytes."""
MAX_CELL_BYTES: Final = 1 << 60
"""Largest size in a cell's configuration: sums of them fit a signed 64-bit column of SQL."""
MIN_VOLUME_BYTES: Final = 64 * KIB
"""Smaller volumes would be mostly heads and seals."""
MAX_OPEN_VOLUMES: Final = 128
"""Open files: a daemon may have 1,024, and connections need most of them."""
MAX_REBUILD_BYTES: Final = 6 * MIB
"""Units of shards that a cell is filling, all together: four shards of full segments at a time, or
a page of small ones."""
REBUILD_RUN_BYTES: Final = 1 * MIB
"""Units of all k slots that are fetched at a time for one shard: one stripe, since readers and
writers of the cells wait while it is read, sent, checked and decoded."""
MAX_BACKGROUND_READS: Final = 64
"""Reads for rebuilds that a cell lets wait for their turn, for a second of its bandwidth in all."""
MAX_PASSED_SHARDS: Final = MAX_DELETE_BATCH
"""Shards that a cell could not fill and leaves for later, so that others have their turn: as many
as one request names."""
MIN_REPAIR_BYTES_PER_S: Final = 1 * MIB
"""Of a configuration: with less, the orders for four large shards would expire before they are
read."""
MAX_REPAIR_BYTES_PER_S: Final = 1 << 40
"""Of a configuration: no medium and no network has so much."""
MIN_BANDWIDTH_UP_BYTES_PER_S: Final = 128 * KIB
"""Of a configuration: a reply of 1 MiB takes 8 s of it, within the patience of the next reader."""
MIN_BANDWIDTH_DOWN_BYTES_PER_S: Final = 1 * MIB
"""Of a configuration: with less, orders for large shards would expire before those are filled."""
MIN_MONTHLY_TRANSIT_BYTES: Final = 1000 * MIB
"""Of a configuration: less is used up by one rebuild."""
MIN_AWAKE_HOURS: Final = 4
"""Of a day, outside of a cell's quiet hours: one that never works never repairs anything."""
MAX_FAILED_VOLUMES: Final = 3
"""In a row, before the disk counts as broken and rests for a while."""
MAX_UNFLUSHED_CHANGES: Final = 8192
"""Of the index that may wait for its tables; then writers wait."""

# --- files and disks -------------------------------------------------------------------------
MAX_STATE_FILE_BYTES: Final = 4096
"""Of a small file that is written whole: keys, marks, secrets."""
MAX_DISK_THREADS: Final = 8
"""Operations of one daemon that wait for the medium at a time."""
MAX_DISK_PARTS_PER_CALL: Final = 1024
"""IOV_MAX of Linux."""

MAX_SMART_BYTES: Final = 1 << 20
"""Of smartctl's output that is read: a disk with full logs has some 60 KiB."""
SMART_TIMEOUT_S: Final = 20.0
"""Of one run of smartctl: a disk that has to try again to read its own log takes seconds."""
SMART_END_S: Final = 5.0
"""Time for a killed smartctl to end: it does at once, unless the kernel waits for the disk."""
MAX_SMART_ATTRIBUTES: Final = 256
"""ATA has 30, with numbers of one byte."""
DISKS_PER_TRANSACTION: Final = 500
"""Cells whose disks' figures are kept at a time: some milliseconds."""
MAX_REASONS_SHOWN: Final = 3
"""Of the hazard of a cell, in its status."""
MAX_DISK_FIGURES: Final = 32
"""In a heartbeat; there are 14."""
MAX_DISK_FIGURE: Final = (1 << 32) - 1
"""A count of a disk above this means no more than this."""

# --- configurations --------------------------------------------------------------------------
MAX_CONFIG_CHARACTERS: Final = 4096
"""Of one string: PATH_MAX of Linux."""
MAX_LABEL_CHARACTERS: Final = 255
"""Of a place, an owner or a host's name (DNS: 253)."""

# --- command line ----------------------------------------------------------------------------
MAX_LOCAL_CELLS: Final = 100
"""Cells of one directory of ``alveary up``: each is a process."""
MAX_READY_LINE_BYTES: Final = 64 * KIB
"""The longest ready line: a daemon's has a hundred bytes; a longer one is something else."""
MAX_COMMON_NAME_CHARACTERS: Final = 64
"""X.509 (RFC 5280, ub-common-name)."""

assert (
    MAX_CONTENT_HEADER_BYTES
    + MAX_USER_METADATA_BYTES
    + MAX_TAGS_RECORD_BYTES
    + MAX_ACL_RECORD_BYTES
    + MAX_ENCRYPTION_CONTEXT_BYTES
    + 2 * KIB
    <= MAX_UPLOAD_RECORD_BYTES
)
assert MAX_OBJECT_TAGS * (3 * (MAX_TAG_KEY_UNITS + MAX_TAG_VALUE_UNITS) + 8) < MAX_TAGS_RECORD_BYTES
assert MAX_ACL_GRANTS * 24 + 16 < MAX_ACL_RECORD_BYTES
assert MAX_UNITS_PER_READ_BYTES <= MAX_FRAME_PAYLOAD_BYTES
assert 1.5 * MAX_HEARTBEAT_INTERVAL_S < AUDIT_PATIENCE_S
assert AUDIT_OPENED_BYTES <= MAX_UNITS_PER_READ_BYTES
assert 2 * 32 * MAX_STRIPES_PER_SEGMENT + KIB <= MAX_EVIDENCE_BYTES
assert MAX_LEASES_PER_CALLER < MAX_LEASES_PER_TENANT < MAX_LEASES
assert NOTIFICATION_TURN_S + 2 * WEBHOOK_TIMEOUT_S < NOTIFICATION_LANE_PATIENCE_S
assert ORDER_TIME_KEPT_EVERY_S < ORDER_TIME_AHEAD_S <= ORDER_EXPIRY_GRACE_S
assert FAILOVER_S < COORDINATOR_PATIENCE_S < TAKE_OVER_PATIENCE_S < CALL_TIMEOUT_S
assert RECONNECT_MAX_S < UNANSWERED_S
assert RECONNECT_MAX_S + READ_RETRY_S < READ_PATIENCE_S < COORDINATOR_PATIENCE_S
assert MAX_UPLOADS_PER_CONNECTION <= MAX_UPLOADS_PER_CALLER < MAX_UPLOADS
assert STRIPE_SEALED_BYTES <= MAX_FRAME_PAYLOAD_BYTES
assert SEND_BATCH_BYTES <= OUTBOX_BYTES
assert CONNECT_TIMEOUT_S <= HANDSHAKE_TIMEOUT_S < CALL_TIMEOUT_S < IDLE_CONNECTION_TIMEOUT_S
assert 1.5 * MAX_HEARTBEAT_INTERVAL_S < IDLE_CONNECTION_TIMEOUT_S
assert PROBE_AFTER_S < DEAD_AFTER_S < CALL_TIMEOUT_S
assert 2 * IMPATIENT_PROBE_AFTER_S < FAILOVER_S < DEAD_AFTER_S
assert MAX_CONNECTIONS_PER_CALLER < MAX_CONNECTIONS_PER_LISTENER
assert MAX_STRANGERS <= MAX_CONNECTIONS_PER_LISTENER
assert MAX_CELLS < MAX_CONNECTIONS_PER_COORDINATOR
assert MAX_COORDINATORS < MAX_CHARTERED
assert MAX_CHARTERED * (MAX_COORDINATOR_NAME_CHARACTERS + 48) + 128 <= MAX_CHARTER_BYTES
assert MAX_CHARTER_BYTES + 256 <= MAX_CONTROL_HEADER_BYTES
assert MAX_CONNECTIONS_PER_COORDINATOR + MAX_HTTP_CONNECTIONS + KEPT_OPEN_FILES <= MAX_OPEN_FILES
assert MAX_OPEN_VOLUMES < KEPT_OPEN_FILES < MIN_OPEN_FILES
assert STRANGER_GRACE_S < CONNECT_TIMEOUT_S
assert FRAME_PREFIX_BYTES < FIRST_STAGING_BYTES < FRAME_STAGING_BYTES
assert MAX_CALLS_OF_A_STRANGER < MAX_CALLS_IN_FLIGHT_PER_CONNECTION
assert GATEWAY_PRESENCE_INTERVAL_S < GATEWAY_SILENT_AFTER_S < GATEWAY_FORGOTTEN_AFTER_S
assert MAX_LIST_REPLY_BYTES < MAX_FRAME_HEADER_BYTES
assert (
    MAX_FACTS * (4 * MAX_FACT_TEXT_CHARACTERS + MAX_FACT_NAME_CHARACTERS + 16) + 320
    <= MAX_CONTROL_HEADER_BYTES
)
assert SEGMENT_BYTES // STRIPE_SEALED_BYTES < MAX_STRIPES_PER_SEGMENT
assert SEGMENT_IDS_REMEMBERED >= 16 * MAX_STOCKED_GRANTS
assert GATEWAY_BUFFER_BUDGET_BYTES >= 16 * STRIPE_SEALED_BYTES
assert MAX_TENANT_FILES <= MAX_TENANTS_PER_CONNECTION <= MAX_TENANTS
assert MAX_STRETCHES > MAX_PARTS
assert MAX_KEY_RING_BYTES * 4 // 3 + KIB < MAX_API_BODY_BYTES
assert MAX_CONTENT_HEADER_BYTES + MAX_USER_METADATA_BYTES < MAX_METADATA_BYTES
assert 4 * MAX_SEALED_ROSTER_BYTES // 3 + KIB < MAX_ROSTER_BODY_BYTES
assert MAX_SEALED_ROSTER_BYTES < MAX_SEALED_RECORD_BYTES
assert MAX_METADATA_BYTES < MAX_SEALED_RECORD_BYTES < MAX_FRAME_HEADER_BYTES
assert MAX_CROWDED_HASH_LANE_BYTES < MAX_HASH_LANE_BYTES < HASH_CROWD_BYTES
assert MAX_SIGNED_CHUNK_BYTES < MAX_HELD_CHUNKS_BYTES
assert MAX_TENANT_CALLS <= MAX_TRANSACTIONS_QUEUED
assert TENANT_CALL_TURN_WAIT_S < COORDINATOR_PATIENCE_S
assert 8 * MAX_S3_REQUESTS <= 7 * MAX_HTTP_CONNECTIONS
assert MAX_S3_REQUESTS_AT_WORK < 2 * MAX_CALLS_IN_FLIGHT_PER_CONNECTION
assert MAX_HTTP_TRAILER_BYTES >= MAX_SIGNED_TRAILER_BYTES
assert MAX_BUCKETS_LISTED >= MAX_BUCKETS_PER_TENANT
assert MIN_VOLUME_BYTES < MIN_CELL_CAPACITY_BYTES
assert SEGMENT_BYTES < MAX_VOLUME_RECORD_BYTES
assert MAX_TOKEN_CHARACTERS <= MAX_CONFIG_CHARACTERS
