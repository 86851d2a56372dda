"""Tenant keys and access keys: made here, kept in files that only their owner reads.

Source: docs/threat-model.md, docs/manifest-format.md.
"""

from __future__ import annotations

import base64
import json
import secrets
import string
from pathlib import Path
from typing import Any, Final

from cli.files import read_json, write_private
from common.crypto.keys import TenantKey
from common.errors import BadConfig
from common.format.manifest import (
    AccessKeyRecord,
    seal_access_key,
    seal_user_key,
)
from common.ids import TENANT_ID_BYTES, TenantId
from common.reasons import ConfigFault
from common.system.clock import system_entropy

_ACCESS_KEY_LETTERS: Final = string.ascii_uppercase + "234567"
_SECRET_LETTERS: Final = string.ascii_letters + string.digits
ACCESS_KEY_LENGTH: Final = 20
SECRET_KEY_LENGTH: Final = 40
"""As long as S3's own, which some clients check; 238 bits."""


def check_name(name: str) -> None:
    """Check a tenant's name: it becomes a file name and a path segment, so it is kept plain.

    Raises:
        BadConfig: ``bad_name``.
    """
    plain = name.replace("-", "").replace("_", "").replace(".", "")
    if not (0 < len(name) <= 63 and plain.isascii() and plain.isalnum() and name[0].isalnum()):
        raise BadConfig(
            ConfigFault.BAD_NAME,
            message=f"{name!r}: use up to 63 letters, digits, '-', '_' and '.'",
        )


def make_tenant() -> TenantKey:
    """A new tenant: a random id and a random key."""
    return TenantKey(tenant_id=TenantId(system_entropy(TENANT_ID_BYTES)), key=system_entropy(32))


def write_tenant(directory: Path, name: str, tenant: TenantKey) -> Path:
    """Write ``directory/name.json`` durably, readable by its owner only.

    Raises:
        BadConfig: ``bad_name``, or ``tenant_exists``: there is such a file already.
    """
    check_name(name)
    path = directory / f"{name}.json"
    if path.exists():
        raise BadConfig(ConfigFault.TENANT_EXISTS, message=f"there is a tenant key in {path}")
    content = {"name": name, "tenant_id": tenant.tenant_id.hex(), "key": tenant.key.hex()}
    write_private(path, json.dumps(content) + "\n")
    return path


def read_tenant(path: Path) -> TenantKey:
    """The tenant of a key file.

    Raises:
        BadConfig: ``no_tenant_key`` or ``bad_tenant_key``.
    """
    content = read_json(path)
    if content is None:
        raise BadConfig(ConfigFault.NO_TENANT_KEY, message=f"there is no {path}")
    try:
        tenant_id, key = bytes.fromhex(content["tenant_id"]), bytes.fromhex(content["key"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadConfig(ConfigFault.BAD_TENANT_KEY, file=str(path)) from error
    if len(tenant_id) != TENANT_ID_BYTES or len(key) != 32:
        raise BadConfig(ConfigFault.BAD_TENANT_KEY, file=str(path))
    return TenantKey(tenant_id=TenantId(tenant_id), key=key)


def tenant_body(name: str, tenant: TenantKey) -> dict[str, Any]:
    """Return the coordinator's record of a tenant: what checks its proofs, not its key."""
    return {
        "name": name,
        "tenant_id": tenant.tenant_id.hex(),
        "proof_key": tenant.proof_key().hex(),
    }


def make_access_key() -> tuple[str, str]:
    """A new access key id and its secret."""
    access_key = "".join(secrets.choice(_ACCESS_KEY_LETTERS) for _ in range(ACCESS_KEY_LENGTH))
    secret_key = "".join(secrets.choice(_SECRET_LETTERS) for _ in range(SECRET_KEY_LENGTH))
    return access_key, secret_key


def seal_key(
    tenant: TenantKey,
    access_key: str,
    secret_key: str,
    *,
    created_ms: int,
    old_signatures: bool = False,
    of_user: bool = False,
) -> dict[str, str]:
    """Return the coordinator's record of an access key: sealed, so that only the tenant's key opens
    it.

    Args:
        created_ms: milliseconds since 1970-01-01 UTC.
        old_signatures: it may sign headers with Signature Version 2.
        of_user: the roster will say which user's key it is; False: it is the tenant's own.
    """
    record = AccessKeyRecord(secret_key, created_ms, old_signatures)
    seal = seal_user_key if of_user else seal_access_key
    sealed = seal(tenant, access_key, record, system_entropy)
    return {"access_key_id": access_key, "sealed": base64.b64encode(sealed).decode()}
