"""Staff as guests in an organisation's console: who may look, until when, and that nothing is changed.

A visit is a row that a member of staff made with a reason (`tenants.services.visits`). The browser holds its id in a
signed cookie; it opens only for the signed-in member of staff who made it, and the row is asked at every request.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core import signing
from django.db import connection
from django.http import HttpRequest

from tenants.access import READ, AuthContext, Membership, memberships_of

COOKIE = "visit"
SALT = "tenants.visit"
LASTS = dt.timedelta(minutes=30)
SCOPES = READ | {"billing.read", "members.read", "keys.read", "audit.read", "support.read"}
"""To look at everything and change nothing."""


@dataclass(frozen=True, slots=True)
class Visitor(Membership):
    """A guest's seat. `member_id` is the visit's id."""

    until: dt.datetime

    @property
    def scopes(self) -> frozenset[str]:
        """Reading only, whatever role is named."""
        return SCOPES

    def context(self, *, user_id: UUID, label: str, project_id: UUID, ip: str | None = None) -> AuthContext:
        """The context of the visit: an actor of the staff's, not of the tenant's."""
        return AuthContext(
            tenant_id=self.tenant_id,
            tenant_slug=self.tenant_slug,
            project_id=project_id,
            actor_kind="staff",
            actor_id=str(user_id),
            actor_label=label,
            scopes=SCOPES,
            role=self.role,
            ip=ip,
        )


def seat_of(request: HttpRequest, tenant_slug: str) -> Membership | None:
    """The signed-in person's seat in an organisation: their own, else a guest's, else none."""
    if request.user.pk is None:
        return None
    own = next((seat for seat in memberships_of(request.user.pk) if seat.tenant_slug == tenant_slug), None)
    return own or visitor_of(request, tenant_slug)


def visitor_of(request: HttpRequest, tenant_slug: str = "") -> Visitor | None:
    """The visit this browser is on (in that organisation), while it lasts and for the person who made it."""
    try:
        visit_id = UUID(signing.loads(request.COOKIES[COOKIE], salt=SALT, max_age=LASTS))
    except (KeyError, ValueError, TypeError, signing.BadSignature):
        return None
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT visit_id, tenant_id, tenant_name, tenant_slug, tenant_status, user_id, expires_at "
            "FROM door_visit(%s)",
            [visit_id],
        )
        row: Any = cursor.fetchone()
    if row is None or row[5] != request.user.pk or (tenant_slug and row[3] != tenant_slug):
        return None
    visit, tenant, name, slug, status, _, until = row
    return Visitor(visit, tenant, name, slug, status, "staff", until)


def cookie_value(visit_id: UUID) -> str:
    """What the browser holds."""
    return signing.dumps(str(visit_id), salt=SALT)
