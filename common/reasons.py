"""Reasons of errors: one enumeration for each class of the tree in ``common/errors.py``.

A reason is a stable word: it crosses the wire, stands in logs and in the operator's API, and other
tables are made of it (docs/protocol.md, ``gateway_s3/translation.py``, ``cli/report.py``).
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Base of the enumerations of reasons."""


class Violation(Reason):
    """A break of the protocol by a peer: drop the connection.

    Of :class:`~common.errors.PeerViolation`.
    """

    BAD_CALL_ID = "bad_call_id"
    BAD_FAILURE = "bad_failure"
    BAD_FLAGS = "bad_flags"
    BAD_GEOMETRY = "bad_geometry"
    BAD_GRANT = "bad_grant"
    BAD_HELLO = "bad_hello"
    BAD_MAGIC = "bad_magic"
    BAD_PLACE = "bad_place"
    BAD_POSITION = "bad_position"
    BAD_RECORD = "bad_record"
    CUT_FRAME = "cut_frame"
    HEADER_TOO_LONG = "header_too_long"
    NO_SUCH_CALL = "no_such_call"
    NO_TLS = "no_tls"
    PAYLOAD_TOO_LONG = "payload_too_long"
    SEGMENT_ID_REPEATED = "segment_id_repeated"
    TOO_MANY_CALLS = "too_many_calls"
    UNEXPECTED_FRAME = "unexpected_frame"
    WRONG_ANSWER = "wrong_answer"
    WRONG_SERVER_KEY = "wrong_server_key"


class Outage(Reason):
    """A reason why it cannot be done here or now: try elsewhere, or later.

    Of :class:`~common.errors.Unavailable`.
    """

    ACCEPT_FAILED = "accept_failed"
    BACKUP_FAILED = "backup_failed"
    CALL_TIMEOUT = "call_timeout"
    CLIENT_GONE = "client_gone"
    CLIENT_STOPS = "client_stops"
    CONNECT_FAILED = "connect_failed"
    CONNECTION_LOST = "connection_lost"
    COORDINATOR_UNREACHABLE = "coordinator_unreachable"
    DAEMON_FAILED = "daemon_failed"
    GOING_AWAY = "going_away"
    INDEX_FAILED = "index_failed"
    INTERNAL_ERROR = "internal_error"
    LISTENER_CLOSED = "listener_closed"
    NO_COORDINATOR = "no_coordinator"
    NO_DISCOVERY = "no_discovery"
    NO_PARENT_SIGNAL = "no_parent_signal"
    NO_RING = "no_ring"
    NO_SPACE = "no_space"
    NOT_READY = "not_ready"
    PAGE_NOT_FOUND = "page_not_found"
    PARENT_GONE = "parent_gone"
    POOL_STOPPED = "pool_stopped"
    QUIET_HOURS = "quiet_hours"
    READ_ONLY = "read_only"
    SEGMENT_NOT_PLACED = "segment_not_placed"
    STORE_BEHIND = "store_behind"
    STORE_BUSY = "store_busy"
    STORE_CLOSED = "store_closed"
    STORE_DAMAGED = "store_damaged"
    STORE_FAILED = "store_failed"
    SYNC_FAILED = "sync_failed"
    TOO_BUSY = "too_busy"
    TOO_FEW_SHARDS = "too_few_shards"
    TOO_MANY_UPLOADS = "too_many_uploads"
    TOO_MUCH_RESERVED = "too_much_reserved"
    TRANSIT_USED = "transit_used"
    VERSION_GONE = "version_gone"
    WRITE_ERROR = "write_error"
    WRITE_QUORUM_LOST = "write_quorum_lost"


class Damage(Reason):
    """A defect of bytes: treat the shard, or the record, as missing.

    Of :class:`~common.errors.Corrupt`.
    """

    ANSWER_OF_ANOTHER_BUCKET = "answer_of_another_bucket"
    BAD_HELD_FILE = "bad_held_file"
    BAD_METADATA = "bad_metadata"
    BAD_RECORD_HEADER = "bad_record_header"
    BAD_SCRUB_FILE = "bad_scrub_file"
    BAD_TRANSIT_FILE = "bad_transit_file"
    BAD_UPLOAD_ID = "bad_upload_id"
    BAD_VOLUME_HEAD = "bad_volume_head"
    DATA_LOST = "data_lost"
    EVIDENCE_NOT_AUTHENTIC = "evidence_not_authentic"
    EVIDENCE_NOT_UNDERSTOOD = "evidence_not_understood"
    EXTENT_BEYOND_SEGMENT = "extent_beyond_segment"
    LEAF_MISMATCH = "leaf_mismatch"
    MANIFEST_PAGE_MISMATCH = "manifest_page_mismatch"
    NO_SUCH_KEY = "no_such_key"
    READ_ERROR = "read_error"
    RECORD_NOT_AUTHENTIC = "record_not_authentic"
    RECORD_NOT_UNDERSTOOD = "record_not_understood"
    REFERENCES_BROKEN = "references_broken"
    ROOT_MISMATCH = "root_mismatch"
    SIZE_MISMATCH = "size_mismatch"
    STORE_CORRUPT = "store_corrupt"
    STRIPE_NOT_AUTHENTIC = "stripe_not_authentic"
    WRONG_LENGTH = "wrong_length"


class Refusal(Reason):
    """A reason why a request is refused: do not repeat it as it is.

    Of :class:`~common.errors.Refused`.
    """

    ACCESS_DENIED = "access_denied"
    ACCESS_KEY_EXISTS = "access_key_exists"
    AMBIGUOUS_CELL = "ambiguous_cell"
    AUDIT_ANSWERED = "audit_answered"
    AUDIT_LATE = "audit_late"
    BAD_CHUNK = "bad_chunk"
    BAD_COUNT = "bad_count"
    BAD_JSON = "bad_json"
    BAD_NAME = "bad_name"
    BAD_PAGES = "bad_pages"
    BAD_PART_NUMBER = "bad_part_number"
    BAD_PROOF = "bad_proof"
    BAD_RANGE = "bad_range"
    BAD_RINGS = "bad_rings"
    BAD_SEGMENT = "bad_segment"
    BAD_SEGMENT_SIZE = "bad_segment_size"
    BAD_SETTLE_REPLY = "bad_settle_reply"
    BAD_SHAPE = "bad_shape"
    BAD_TOKEN = "bad_token"
    BAD_UNIT_LENGTH = "bad_unit_length"
    BAD_VALUE = "bad_value"
    BELOW_QUORUM = "below_quorum"
    BODY_TIMEOUT = "body_timeout"
    BODY_TOO_LARGE = "body_too_large"
    BODY_TOO_LONG = "body_too_long"
    BODY_TOO_SHORT = "body_too_short"
    BUCKET_EXISTS = "bucket_exists"
    BUCKET_NOT_EMPTY = "bucket_not_empty"
    BUCKET_OWNED = "bucket_owned"
    CANCELLED = "cancelled"
    CELL_IS_NEEDED = "cell_is_needed"
    CELL_REMOVED = "cell_removed"
    CLASS_EXISTS = "class_exists"
    CLASS_IN_USE = "class_in_use"
    CLASS_NOT_WRITABLE = "class_not_writable"
    CONDITION_FAILED = "condition_failed"
    ETAG_DIFFERS = "etag_differs"
    LEASE_ENDED = "lease_ended"
    MALFORMED_POLICY = "malformed_policy"
    MARKER_MISSING = "marker_missing"
    NO_SUCH_TENANT = "no_such_tenant"
    NOT_A_CELL = "not_a_cell"
    NOT_ADVERTISED = "not_advertised"
    NOT_GRANTED = "not_granted"
    NOT_LEADER = "not_leader"
    NOT_LEASE_OWNER = "not_lease_owner"
    NOT_OWNER = "not_owner"
    OBJECT_EXISTS = "object_exists"
    OBJECT_TOO_LARGE = "object_too_large"
    ORDER_EXCEEDED = "order_exceeded"
    ORDER_EXPIRED = "order_expired"
    ORDER_INVALID = "order_invalid"
    ORDER_NOT_YOURS = "order_not_yours"
    ORDER_WRONG_ACTION = "order_wrong_action"
    PART_CHECKSUM_DIFFERS = "part_checksum_differs"
    PART_CHECKSUM_MISSING = "part_checksum_missing"
    PART_TOO_SMALL = "part_too_small"
    PROOF_INVALID = "proof_invalid"
    RECORD_TOO_LARGE = "record_too_large"
    SEGMENT_ABANDONED = "segment_abandoned"
    SEGMENT_EXISTS = "segment_exists"
    SETTINGS_CHANGED = "settings_changed"
    SHARD_EXISTS = "shard_exists"
    SOURCE_CONDITION_FAILED = "source_condition_failed"
    STRANGER = "stranger"
    TENANT_EXISTS = "tenant_exists"
    TENANT_NOT_EMPTY = "tenant_not_empty"
    TENANT_NOT_OPEN = "tenant_not_open"
    TOO_LARGE = "too_large"
    TOO_MANY_ACCESS_KEYS = "too_many_access_keys"
    TOO_MANY_BUCKETS = "too_many_buckets"
    TOO_MANY_CELLS = "too_many_cells"
    TOO_MANY_CLASSES = "too_many_classes"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    TOO_MANY_LEASES = "too_many_leases"
    TOO_MANY_TENANTS = "too_many_tenants"
    TOO_MANY_UPLOADS = "too_many_uploads"
    UNAUTHORIZED = "unauthorized"
    UNIT_OUT_OF_ORDER = "unit_out_of_order"
    UNKNOWN_REQUEST = "unknown_request"
    UPLOAD_EXISTS = "upload_exists"
    UPLOAD_INCOMPLETE = "upload_incomplete"
    UPLOAD_NUMBER_TAKEN = "upload_number_taken"
    UPLOAD_OVER = "upload_over"
    VERSION_EXISTS = "version_exists"
    WRITE_CONFLICT = "write_conflict"
    WRONG_VERSION = "wrong_version"


class Absence(Reason):
    """A thing that does not exist.

    Of :class:`~common.errors.NotFound`.
    """

    DELETE_MARKER = "delete_marker"
    NO_SUCH_ACCESS_KEY = "no_such_access_key"
    NO_SUCH_AUDIT = "no_such_audit"
    NO_SUCH_BUCKET = "no_such_bucket"
    NO_SUCH_CELL = "no_such_cell"
    NO_SUCH_CLASS = "no_such_class"
    NO_SUCH_FILE = "no_such_file"
    NO_SUCH_INVITE = "no_such_invite"
    NO_SUCH_KEY = "no_such_key"
    NO_SUCH_OBJECT = "no_such_object"
    NO_SUCH_PART = "no_such_part"
    NO_SUCH_SEGMENT = "no_such_segment"
    NO_SUCH_SHARD = "no_such_shard"
    NO_SUCH_TENANT = "no_such_tenant"
    NO_SUCH_UPLOAD = "no_such_upload"
    NO_SUCH_VERSION = "no_such_version"


class ConfigFault(Reason):
    """A fault of a file, a flag or an environment value: the operator must act.

    Of :class:`~common.errors.BadConfig`.
    """

    BACKUP_EXISTS = "backup_exists"
    BAD_ADDRESS = "bad_address"
    BAD_AUTHORITY = "bad_authority"
    BAD_BACKUP = "bad_backup"
    BAD_CERTIFICATE = "bad_certificate"
    BAD_CREDENTIALS_FILE = "bad_credentials_file"
    BAD_DATA_DIRECTORY = "bad_data_directory"
    BAD_FLAGS = "bad_flags"
    BAD_IDENTITY_KEY = "bad_identity_key"
    BAD_NAME = "bad_name"
    BAD_OPERATOR_FILE = "bad_operator_file"
    BAD_REDUNDANCY = "bad_redundancy"
    BAD_SECRET_FILE = "bad_secret_file"
    BAD_SWARM_FILE = "bad_swarm_file"
    BAD_TENANT_KEY = "bad_tenant_key"
    BAD_TOKEN = "bad_token"
    BAD_TOML = "bad_toml"
    BAD_VALUE = "bad_value"
    CANNOT_LISTEN = "cannot_listen"
    CANNOT_READ = "cannot_read"
    CANNOT_WRITE = "cannot_write"
    CELL_EXISTS = "cell_exists"
    CELLS_DIFFER = "cells_differ"
    CERTIFICATE_EXPIRED = "certificate_expired"
    DATA_IN_USE = "data_in_use"
    GATEWAY_EXISTS = "gateway_exists"
    MISSING_KEY = "missing_key"
    NO_ADDRESS = "no_address"
    NO_COORDINATOR_ID = "no_coordinator_id"
    NO_FREE_PORT = "no_free_port"
    NO_OPERATOR_FILE = "no_operator_file"
    NO_SUCH_COORDINATOR = "no_such_coordinator"
    NO_TENANT_KEY = "no_tenant_key"
    NOT_JOINED = "not_joined"
    REDUNDANCY_DIFFERS = "redundancy_differs"
    STORE_EXISTS = "store_exists"
    STORE_MISSING = "store_missing"
    STORE_TOO_NEW = "store_too_new"
    TENANT_EXISTS = "tenant_exists"
    TENANT_KEY_MISSING = "tenant_key_missing"
    TOO_FEW_CELLS = "too_few_cells"
    TOO_FEW_OPEN_FILES = "too_few_open_files"
    UNKNOWN_KEY = "unknown_key"
    WRONG_COORDINATOR = "wrong_coordinator"
    WRONG_TENANT_KEY = "wrong_tenant_key"
    WRONG_TOKEN = "wrong_token"


class Uncertainty(Reason):
    """A reason why it is not known whether a request was carried out: look before repeating it.

    Of :class:`~common.errors.OutcomeUnknown`.
    """

    CALL_TIMEOUT = "call_timeout"
    CONNECTION_LOST = "connection_lost"
