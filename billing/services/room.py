"""Seats and projects, as many as the plan has room for.

A plan that shrinks takes nothing away: only what is new needs room.
"""

from uuid import UUID

from billing.models import StripeCommand
from billing.selectors.seats import SeatsNow, seats_now
from billing.selectors.subscriptions import entitlement_now
from kit.errors import Conflict
from tenants import selectors
from tenants.access import AuthContext
from tenants.models import Invitation, Project, User
from tenants.scope import tenant_scope
from tenants.services.invitations import invitation_accept, invitation_create, invitation_tenant
from tenants.services.organisations import project_create, tenant_turn


def seat_offer(*, email: str, role: str, invited_by: User, by: AuthContext) -> tuple[Invitation, str]:
    """Invite somebody, if a seat is left: other people's open invitations count. As `invitation_create`; Conflict."""
    tenant_turn()
    seats = seats_now()
    most = seats.room - _given_back(seats)
    others = selectors.invitations_open().exclude(email=email.strip().lower())
    if selectors.members().count() + others.count() >= most:
        more = "add seats under Billing, Seats" if seats.price_cents is not None else "take a larger plan under Billing"
        raise Conflict(f"You have {most} seats, open invitations included. Withdraw one, or {more}.")
    return invitation_create(email=email, role=role, invited_by=invited_by, by=by)


def _given_back(seats: SeatsNow) -> int:
    """Seats that are still there and were asked to go: nobody can be invited to them any more."""
    waiting = StripeCommand.objects.filter(operation="seats_change", state=StripeCommand.State.WAITING).first()
    return max(0, seats.bought - int(waiting.params["seats"])) if waiting is not None else 0


def seat_take(*, token: str, user: User) -> UUID:
    """Accept an invitation, if the plan still has the seat: it may have shrunk since. As `invitation_accept`; Conflict,
    and the invitation stays open."""
    tenant_id, _, organisation = invitation_tenant(token)
    with tenant_scope(tenant_id):
        tenant_turn()
        before = selectors.members().count()
        invitation_accept(token=token, user=user)
        most = entitlement_now().limits.members
        if before < selectors.members().count() > most:
            raise Conflict(
                f"{organisation} has {most} seats, and all are taken. Ask whoever invited you to free one, to add one "
                "or to take a larger plan, then open the link again."
            )
    return tenant_id


def project_add(*, name: str) -> Project:
    """Another project, if the plan has room for it. As `project_create`; Conflict."""
    tenant_turn()
    most = entitlement_now().limits.projects
    if selectors.projects().count() >= most:
        raise Conflict(f"Your plan has {most} projects. Archive one, or take a larger plan under Billing.")
    return project_create(name=name)
