"""The door: who is calling, for which tenant and project, and what they may do. Resolved once per request.

Machines come with an API key and have its scopes; people come with a session and have their role's scopes.
"""

import datetime as dt
import hmac
import json
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.db import connection

from kit.clock import now
from kit.errors import NotFound, PermissionDenied
from tenants import keys
from tenants.errors import KeyRefused, TenantSuspended
from tenants.models.organisations import Role

READ = frozenset(
    {
        "files.read",
        "datasets.read",
        "jobs.read",
        "models.read",
        "deployments.read",
        "webhooks.read",
        "usage.read",
    }
)
WRITE = frozenset(
    {
        "files.write",
        "datasets.write",
        "jobs.write",
        "models.write",
        "deployments.write",
        "webhooks.write",
        "inference",
    }
)
SUPPORT = frozenset({"support.read", "support.write"})
"""To write with our staff: every member may, whatever their role."""
MONEY = frozenset({"billing.read", "billing.write"})
KEY_SCOPES = tuple(sorted(READ | WRITE | MONEY))
"""What an API key can be given; of MONEY by those alone whose role has it, and only where they choose it."""
PEOPLE = frozenset(
    {"members.read", "members.write", "keys.read", "keys.write", "keys.grant", "audit.read", "tenant.write"}
)

PERMISSIONS: dict[str, frozenset[str]] = {
    Role.OWNER: SUPPORT | READ | WRITE | MONEY | PEOPLE | {"tenant.own"},
    Role.ADMIN: SUPPORT | READ | WRITE | MONEY | PEOPLE,
    Role.BILLING: SUPPORT | frozenset({"usage.read", "members.read"}) | MONEY,
    Role.DEVELOPER: SUPPORT | READ | WRITE | {"keys.read", "keys.write", "members.read"},
    Role.VIEWER: SUPPORT | READ | {"members.read"},
}


@dataclass(frozen=True, slots=True)
class AuthContext:
    """An authenticated caller inside one tenant."""

    tenant_id: UUID
    tenant_slug: str
    project_id: UUID
    actor_kind: str
    """`key`, `user`, `staff`, `system` or `shell`."""
    actor_id: str
    actor_label: str
    scopes: frozenset[str]
    key_id: UUID | None = None
    role: str | None = None
    ip: str | None = None

    def require(self, scope: str) -> None:
        """PermissionDenied unless the caller has the scope."""
        if scope in self.scopes:
            return
        if self.actor_kind == "key":
            raise PermissionDenied(
                f"This key lacks the scope '{scope}'. An owner or admin can give it that, under API keys."
            )
        raise PermissionDenied(
            f"Your role, {self.role}, does not include '{scope}'. Ask an owner or admin for another role."
        )


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What the door function tells of a key; `id` is None where a pass stands for one (`tenants.passes`)."""

    id: UUID | None
    tenant_id: UUID
    tenant_slug: str
    tenant_status: str
    project_id: UUID
    name: str
    secret_hash: str
    scopes: frozenset[str]
    limits: dict[str, int]
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None
    member_id: UUID | None = None
    """Of a pass: the user who opened the page. A key's maker is read with its limits."""

    def opens_at(self, moment: dt.datetime) -> bool:
        """Neither revoked nor expired."""
        revoked = self.revoked_at is not None and self.revoked_at <= moment
        return not revoked and (self.expires_at is None or self.expires_at > moment)


KEY_QUERY = (
    "SELECT id, tenant_id, tenant_slug, tenant_status, project_id, name, secret_hash, scopes, limits, expires_at, "
    "revoked_at FROM door_key(%s)"
)
"""Also used by the gateway, which has its own connection."""


def key_record(row: tuple[object, ...]) -> KeyRecord:
    """A row of KEY_QUERY."""
    values = list(row)
    values[7] = frozenset(values[7])  # type: ignore[call-overload]
    if isinstance(values[8], str):
        values[8] = json.loads(values[8])
    return KeyRecord(*values)  # type: ignore[arg-type]


def bearer(header: str | None) -> keys.KeyParts:
    """The key of an Authorization header. Refuses malformed ones before any look-up."""
    scheme, _, value = (header or "").partition(" ")
    if not value or scheme.lower() != "bearer":
        raise KeyRefused("No API key. Send 'Authorization: Bearer ts_live_…'.")
    parts = keys.parse(value.strip())
    if parts is None:
        raise KeyRefused("Malformed API key: its form or checksum is wrong. Copy it again, whole.")
    return parts


def check_key(record: KeyRecord | None, parts: keys.KeyParts) -> KeyRecord:
    """The record if the secret opens it now; KeyRefused with one wording otherwise."""

    digest = keys.secret_hash(parts.secret, settings.API_KEY_PEPPER)
    if record is None or not hmac.compare_digest(record.secret_hash, digest) or not record.opens_at(now()):
        raise KeyRefused
    if record.tenant_status != "active":
        raise TenantSuspended
    return record


def resolve_key(header: str | None, *, ip: str | None = None) -> AuthContext:
    """The caller behind an Authorization header."""
    parts = bearer(header)
    with connection.cursor() as cursor:
        cursor.execute(KEY_QUERY, [parts.lookup])
        row = cursor.fetchone()
    return context_of_key(check_key(key_record(row) if row else None, parts), ip=ip)


def context_of_key(record: KeyRecord, *, ip: str | None = None) -> AuthContext:
    """The context of a checked key."""
    return AuthContext(
        tenant_id=record.tenant_id,
        tenant_slug=record.tenant_slug,
        project_id=record.project_id,
        actor_kind="key",
        actor_id=str(record.id),
        actor_label=record.name,
        scopes=record.scopes,
        key_id=record.id,
        ip=ip,
    )


@dataclass(frozen=True, slots=True)
class Membership:
    """One of a user's seats, as the door function tells it."""

    member_id: UUID
    tenant_id: UUID
    tenant_name: str
    tenant_slug: str
    tenant_status: str
    role: str

    @property
    def scopes(self) -> frozenset[str]:
        """What the role may do."""
        return PERMISSIONS[self.role]

    def context(self, *, user_id: UUID, label: str, project_id: UUID, ip: str | None = None) -> AuthContext:
        """The context of this seat in a project."""
        return AuthContext(
            tenant_id=self.tenant_id,
            tenant_slug=self.tenant_slug,
            project_id=project_id,
            actor_kind="user",
            actor_id=str(user_id),
            actor_label=label,
            scopes=self.scopes,
            role=self.role,
            ip=ip,
        )


def memberships_of(user_id: UUID) -> list[Membership]:
    """A user's seats, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT member_id, tenant_id, tenant_name, tenant_slug, tenant_status, role FROM door_memberships(%s)",
            [user_id],
        )
        return [Membership(*row) for row in cursor.fetchall()]


def membership(user_id: UUID, tenant_slug: str) -> Membership:
    """The user's seat in an organisation; NotFound for strangers, as for an organisation nobody has."""
    for seat in memberships_of(user_id):
        if seat.tenant_slug == tenant_slug:
            return seat
    raise NotFound.of(tenant_slug)
