"""Tenants and their sealed access keys. Functions of a transaction.

The coordinator knows of a tenant's key only the public half of a signing key derived from it.

Source: docs/threat-model.md.
"""

from __future__ import annotations

from common import limits
from common.data_classes import dataclass
from common.errors import NotFound, Refused
from common.ids import TenantId
from common.ports import Sql
from common.reasons import Absence, Refusal
from coordinator.store import usage
from coordinator.store.usage import NOTHING, Usage


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as operators see it."""

    tenant: int
    tenant_id: TenantId
    name: str
    created_ms: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class AccessKeyRow:
    """An access key as operators see it."""

    access_key_id: str
    created_ms: int


def proof_key(sql: Sql, tenant_id: bytes) -> tuple[int, bytes]:
    """The tenant's number, and the public key of its proofs.

    Raises:
        Refused: ``bad_proof``: the tenant does not exist, which a caller must not learn.
    """
    row = sql.execute(
        "SELECT tenant, proof_key FROM tenants WHERE tenant_id = ?", (tenant_id,)
    ).fetchone()
    if row is None:
        raise Refused(Refusal.BAD_PROOF)
    return row[0], row[1]


def create(sql: Sql, name: str, tenant_id: bytes, proof_key: bytes, now_ms: int) -> None:
    """Make a tenant; the same again is fine.

    Raises:
        Refused: ``tenant_exists``: the name or the id is another tenant's; ``too_many_tenants``.
    """
    rows = sql.execute(
        "SELECT name, tenant_id, proof_key FROM tenants WHERE name = ? OR tenant_id = ?",
        (name, tenant_id),
    ).fetchall()
    if rows:
        if len(rows) == 1 and tuple(rows[0]) == (name, tenant_id, proof_key):
            return
        raise Refused(Refusal.TENANT_EXISTS)
    if sql.execute("SELECT count(*) FROM tenants").fetchone()[0] >= limits.MAX_TENANTS:
        raise Refused(Refusal.TOO_MANY_TENANTS)
    sql.execute(
        "INSERT INTO tenants (tenant_id, name, proof_key, created_ms) VALUES (?, ?, ?, ?)",
        (tenant_id, name, proof_key, now_ms),
    )


def remove(sql: Sql, name: str) -> None:
    """Remove a tenant that owns no bucket, with its access keys; its key proves nothing any more.

    Its number is never used again, so a connection that still acts for it acts for nobody else.

    Raises:
        NotFound: ``no_such_tenant``.
        Refused: ``tenant_not_empty``: it owns buckets.
    """
    tenant = number_of(sql, name)
    if sql.execute("SELECT 1 FROM buckets WHERE tenant = ? LIMIT 1", (tenant,)).fetchone():
        raise Refused(Refusal.TENANT_NOT_EMPTY)
    sql.execute("DELETE FROM access_keys WHERE tenant = ?", (tenant,))
    sql.execute("DELETE FROM key_rings WHERE tenant = ?", (tenant,))
    sql.execute("DELETE FROM rosters WHERE tenant = ?", (tenant,))
    sql.execute("DELETE FROM tenants WHERE tenant = ?", (tenant,))


def list_tenants(sql: Sql) -> list[Tenant]:
    """All tenants, by name."""
    held = usage.by_tenant(sql)
    return [
        Tenant(tenant, TenantId(tenant_id), name, created_ms, held.get(tenant, NOTHING))
        for tenant, tenant_id, name, created_ms in sql.execute(
            "SELECT tenant, tenant_id, name, created_ms FROM tenants ORDER BY name"
        )
    ]


def number_of(sql: Sql, name: str) -> int:
    """The number of a tenant. Raises NotFound ``no_such_tenant``."""
    row = sql.execute("SELECT tenant FROM tenants WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise NotFound(Absence.NO_SUCH_TENANT)
    number: int = row[0]
    return number


def add_access_key(sql: Sql, name: str, access_key_id: str, sealed: bytes, now_ms: int) -> None:
    """Store an access key of a tenant; the same again is fine.

    Raises:
        NotFound: ``no_such_tenant``.
        Refused: ``access_key_exists``, ``too_many_access_keys``.
    """
    tenant = number_of(sql, name)
    row = sql.execute(
        "SELECT tenant, sealed FROM access_keys WHERE access_key_id = ?", (access_key_id,)
    ).fetchone()
    if row is not None:
        if tuple(row) == (tenant, sealed):
            return
        raise Refused(Refusal.ACCESS_KEY_EXISTS)
    count = sql.execute("SELECT count(*) FROM access_keys WHERE tenant = ?", (tenant,))
    if count.fetchone()[0] >= limits.MAX_ACCESS_KEYS_PER_TENANT:
        raise Refused(Refusal.TOO_MANY_ACCESS_KEYS)
    sql.execute(
        "INSERT INTO access_keys (access_key_id, tenant, sealed, created_ms) VALUES (?, ?, ?, ?)",
        (access_key_id, tenant, sealed, now_ms),
    )


def list_access_keys(sql: Sql, name: str) -> list[AccessKeyRow]:
    """A tenant's access keys. Raises NotFound ``no_such_tenant``."""
    return [
        AccessKeyRow(row[0], row[1])
        for row in sql.execute(
            "SELECT access_key_id, created_ms FROM access_keys WHERE tenant = ?"
            " ORDER BY access_key_id",
            (number_of(sql, name),),
        )
    ]


def revoke_access_key(sql: Sql, name: str, access_key_id: str) -> None:
    """Delete an access key. Raises NotFound ``no_such_tenant``, ``no_such_access_key``."""
    deleted = sql.execute(
        "DELETE FROM access_keys WHERE access_key_id = ? AND tenant = ?",
        (access_key_id, number_of(sql, name)),
    )
    if deleted.rowcount != 1:
        raise NotFound(Absence.NO_SUCH_ACCESS_KEY)


def roster(sql: Sql, name: str) -> tuple[int, bytes]:
    """Return the revision and the sealed roster of a tenant; 0 and nothing: it has none.

    Raises:
        NotFound: ``no_such_tenant``.
    """
    return _roster(sql, number_of(sql, name)) or (0, b"")


def roster_of(sql: Sql, tenant: int) -> tuple[int, bytes]:
    """Return the revision and the sealed roster of a tenant.

    Raises:
        NotFound: ``no_such_roster``.
    """
    found = _roster(sql, tenant)
    if found is None:
        raise NotFound(Absence.NO_SUCH_ROSTER)
    return found


def _roster(sql: Sql, tenant: int) -> tuple[int, bytes] | None:
    row = sql.execute("SELECT revision, sealed FROM rosters WHERE tenant = ?", (tenant,)).fetchone()
    return None if row is None else (row[0], row[1])


def set_roster(sql: Sql, name: str, previous: int, revision: int, sealed: bytes) -> None:
    """Replace the roster of a tenant; the same again is fine.

    Args:
        previous: the revision of the one that is replaced; 0: there is none.

    Raises:
        NotFound: ``no_such_tenant``.
        Refused: ``roster_changed``: another one is there; ``bad_value``: the revision is not
            greater.
    """
    tenant = number_of(sql, name)
    found = _roster(sql, tenant) or (0, b"")
    if found == (revision, sealed):
        return
    if found[0] != previous:
        raise Refused(Refusal.ROSTER_CHANGED)
    if revision <= previous:
        raise Refused(Refusal.BAD_VALUE, message="revision: must be greater than previous")
    sql.execute("DELETE FROM rosters WHERE tenant = ?", (tenant,))
    sql.execute(
        "INSERT INTO rosters (tenant, revision, sealed) VALUES (?, ?, ?)",
        (tenant, revision, sealed),
    )


def access_key(sql: Sql, access_key_id: str) -> tuple[int, TenantId, bytes, int]:
    """The tenant (number and id) and sealed record of an access key, and the revision of the
    tenant's roster, 0 without one.

    Raises:
        NotFound: ``no_such_access_key``.
    """
    row = sql.execute(
        "SELECT t.tenant, t.tenant_id, a.sealed, coalesce(r.revision, 0) FROM access_keys a"
        " JOIN tenants t ON t.tenant = a.tenant"
        " LEFT JOIN rosters r ON r.tenant = a.tenant WHERE a.access_key_id = ?",
        (access_key_id,),
    ).fetchone()
    if row is None:
        raise NotFound(Absence.NO_SUCH_ACCESS_KEY)
    return row[0], TenantId(row[1]), row[2], row[3]
