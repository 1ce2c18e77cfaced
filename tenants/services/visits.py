"""Beginning and ending a visit. Both are written into the tenant's audit log."""

from uuid import UUID

from kit.clock import now
from kit.errors import Conflict
from tenants import audit
from tenants.models import Member, User, Visit
from tenants.scope import tenant_scope
from tenants.visiting import LASTS


def visit_start(*, user: User, reason: str) -> Visit:
    """Let a member of staff look at the scope's tenant for half an hour. Conflict for its members: they have a seat."""
    if Member.objects.filter(user=user).exists():
        raise Conflict("You are a member of this organisation. Open it as yourself.")
    visit: Visit = Visit.objects.create(user=user, reason=reason, expires_at=now() + LASTS)
    audit.record(
        action="visit.started", target=visit, after={"until": f"{visit.expires_at:%Y-%m-%d %H:%M UTC}"}, reason=reason
    )
    return visit


def visit_end(*, tenant_id: UUID, visit_id: UUID, user: User) -> None:
    """End a visit before its time. Doing it again changes nothing."""
    with tenant_scope(tenant_id):
        visit = Visit.objects.select_for_update(of=("self",)).filter(pk=visit_id, user=user, ended_at=None).first()
        if visit is None:
            return
        visit.ended_at = now()
        visit.save(update_fields=["ended_at"])
        audit.record(action="visit.ended", target=visit, actor=("staff", str(user.pk), user.email))
