"""Offering seats: expiring, hashed, single use."""

import datetime as dt
import hashlib
import secrets
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import connection

from kit.clock import now
from kit.errors import BadRequest, Conflict, NotFound, PermissionDenied, RateLimited
from tenants import audit
from tenants.access import AuthContext
from tenants.models import AuditEvent, Invitation, Member, Tenant, User
from tenants.scope import tenant_scope
from tenants.services.organisations import check_role, may_offer

LIFE = dt.timedelta(days=7)
PER_HOUR = 30
"""Invitations an organisation may mail in an hour, renewals included: nobody's mailbox is ours to fill."""


def invitation_create(*, email: str, role: str, invited_by: User, by: AuthContext) -> tuple[Invitation, str]:
    """A seat for an e-mail address; returns it with the plaintext token, which exists only in the mail."""
    email = email.strip().lower()
    try:
        validate_email(email)
    except ValidationError as error:
        raise BadRequest("Enter an e-mail address, for example ada@example.com.", param="email") from error
    check_role(role, by)
    _check_rate()
    if Member.objects.filter(user__email__iexact=email).exists():
        raise Conflict("This person is a member already.", param="email")
    Invitation.objects.filter(email=email, accepted_at=None, revoked_at=None).update(revoked_at=now())
    token = secrets.token_urlsafe(32)
    invitation: Invitation = Invitation.objects.create(
        email=email, role=role, token_hash=_hash(token), invited_by=invited_by, expires_at=now() + LIFE
    )
    audit.record(action="member.invited", target=invitation, after={"email": email, "role": role})
    return invitation, token


def invitation_of(invitation_id: UUID) -> Invitation:
    """An open invitation of the scope's tenant (expired ones included)."""
    found = Invitation.objects.filter(pk=invitation_id, accepted_at=None, revoked_at=None).first()
    if found is None:
        raise NotFound.of(invitation_id)
    invitation: Invitation = found
    return invitation


def invitation_renew(*, invitation: Invitation, by: AuthContext) -> str:
    """A fresh token and a fresh week, of who renews it; the former link stops working. Returns the plaintext token
    for the mail."""
    check_role(invitation.role, by)
    _check_rate()
    token = secrets.token_urlsafe(32)
    invitation.token_hash, invitation.expires_at = _hash(token), now() + LIFE
    invitation.invited_by_id = UUID(by.actor_id)
    invitation.save(update_fields=["token_hash", "expires_at", "invited_by"])
    audit.record(action="member.invitation_renewed", target=invitation, after={"email": invitation.email})
    return token


def invitation_revoke(*, invitation: Invitation) -> None:
    """Withdraw an open invitation."""
    invitation.revoked_at = now()
    invitation.save(update_fields=["revoked_at"])
    audit.record(action="member.invitation_revoked", target=invitation, before={"email": invitation.email})


def invitation_tenant(token: str) -> tuple[UUID, UUID, str]:
    """(tenant id, invitation id, tenant name) behind a token that can still be used; NotFound otherwise."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id, invitation_id, tenant_name FROM door_invitation(%s)", [_hash(token)])
        row = cursor.fetchone()
    if row is None:
        raise NotFound("This invitation has been used, withdrawn, or has expired. Ask for a new one.")
    return row[0], row[1], row[2]


def invitation_peek(token: str) -> tuple[str, Invitation]:
    """(tenant name, invitation) of a token that can still be used, for the page that asks; NotFound otherwise."""
    tenant_id, invitation_id, name = invitation_tenant(token)
    with tenant_scope(tenant_id):
        _check_open()
        return name, invitation_of(invitation_id)


def invitation_accept(*, token: str, user: User) -> UUID:
    """Take the seat; the signed-in user's e-mail must be the invited one. Returns the tenant's id."""
    tenant_id, invitation_id, _ = invitation_tenant(token)
    with tenant_scope(tenant_id):
        _check_open()
        invitation = Invitation.objects.select_for_update().get(pk=invitation_id)
        if invitation.accepted_at or invitation.revoked_at or invitation.expires_at <= now():
            raise NotFound("This invitation has been used, withdrawn, or has expired. Ask for a new one.")
        giver = Member.objects.filter(user=invitation.invited_by_id).values_list("role", flat=True).first()
        if not may_offer(giver, invitation.role):  # invited while the role was being taken away
            raise NotFound("This invitation has been used, withdrawn, or has expired. Ask for a new one.")
        if invitation.email.lower() != user.email.lower():
            raise PermissionDenied(f"This invitation is for {invitation.email}. Sign in with that address.")
        invitation.accepted_at = now()
        invitation.save(update_fields=["accepted_at"])
        member, created = Member.objects.get_or_create(
            user=user, defaults={"role": invitation.role, "tenant_id": tenant_id}
        )
        if created:
            audit.record(
                action="member.joined",
                target=member,
                after={"email": user.email, "role": invitation.role},
                actor=("user", str(user.pk), user.email),
            )
    return tenant_id


def _check_open() -> None:
    if not Tenant.objects.filter(status=Tenant.Status.ACTIVE).exists():
        raise NotFound("This organisation is closed or suspended. Ask whoever invited you.")


def _check_rate() -> None:
    sent = AuditEvent.objects.filter(
        action__in=("member.invited", "member.invitation_renewed"), at__gte=now() - dt.timedelta(hours=1)
    )
    if sent.count() >= PER_HOUR:
        raise RateLimited(f"{PER_HOUR} invitations per hour is the limit. Try again in an hour.")


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
