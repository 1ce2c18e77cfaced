"""Making organisations, projects and members, and changing them."""

import re
import secrets
from dataclasses import dataclass
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils.text import slugify

from kit import redis
from kit.clock import now
from kit.errors import BadRequest, Conflict, NotFound
from kit.ids import new_id
from kit.money import HOUSE
from tenants import audit
from tenants.access import PERMISSIONS, AuthContext
from tenants.errors import LastOwner, LastProject
from tenants.models import ApiKey, Invitation, Member, Project, Role, Tenant, User
from tenants.scope import current_tenant_id, tenant_scope

KEY_NEWS = "news:keys"
"""Redis channel of changed keys; the message is the key's look-up part."""
DRAWS = 5
"""How often a slug is drawn before giving up."""
RESERVED = {"new", "switch", "settings", "api", "admin", "staff"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


@dataclass(frozen=True, slots=True)
class NewTenant:
    """What sign-up makes in one transaction."""

    tenant: Tenant
    project: Project
    member: Member


def clean_name(raw: str, *, param: str = "name", limit: int = 100) -> str:
    """A display name: visible characters only, trimmed, 1 to `limit` long."""
    name = _CONTROL.sub("", raw).strip()
    if not 1 <= len(name) <= limit:
        raise BadRequest(f"The {param} needs 1 to {limit} visible characters.", param=param)
    return name


def tenant_create(*, name: str, owner: User, currency: str = HOUSE) -> NewTenant:
    """A new organisation with a first project, owned by a user. All its amounts will be in `currency`, of which whoever
    calls knows that there are prices in it."""
    name = clean_name(name)
    tenant_id = new_id()
    with tenant_scope(tenant_id):
        tenant = _saved(Tenant(id=tenant_id, name=name, currency=currency))
        project = Project.objects.create(name="Default", slug="default")
        member = Member.objects.create(user=owner, role=Role.OWNER)
        audit.record(
            action="tenant.created",
            target=tenant,
            after={"name": name, "owner": owner.email, "currency": currency},
            actor=("user", str(owner.pk), owner.email),
        )
    return NewTenant(tenant=tenant, project=project, member=member)


def _saved(tenant: Tenant) -> Tenant:
    """Saved under its name as a slug with a short random tail, which is no oracle of who else is here. Drawn again
    where somebody has the same: of some ten thousands of one name, two do."""
    base = slugify(tenant.name)[:36].strip("-") or "org"
    for _ in range(DRAWS):
        tenant.slug = f"{base}-{secrets.token_hex(4)}"
        try:
            with transaction.atomic():
                tenant.save(force_insert=True)
            return tenant
        except IntegrityError:
            continue
    raise Conflict("No address could be found for this name. Try again.")


def tenant_turn() -> None:
    """Until the transaction ends, others of the tenant wait here: whoever counts and then adds must take a turn, or two
    at once pass a limit together."""
    Tenant.objects.select_for_update(no_key=True).get(pk=current_tenant_id())


def project_open(project_id: UUID) -> None:
    """For whoever begins something that ends with its project, after `tenant_turn`: NotFound where the project was
    archived before the turn came, so that nothing works on in a project that nobody sees any more."""
    if not Project.objects.filter(pk=project_id, archived_at=None).exists():
        raise NotFound("The project is archived. Work in another one.")


def tenant_rename(*, tenant: Tenant, name: str) -> Tenant:
    """Change the display name; the slug, and with it every URL, stays."""
    before, tenant.name = tenant.name, clean_name(name)
    tenant.save(update_fields=["name"])
    audit.record(action="tenant.renamed", target=tenant, before={"name": before}, after={"name": tenant.name})
    return tenant


def tenant_closable(*, tenant: Tenant, confirm_name: str, by: AuthContext) -> Tenant:
    """The organisation, if the caller may close it and has typed its name; PermissionDenied or BadRequest otherwise."""
    by.require("tenant.own")
    if confirm_name.strip() != tenant.name:
        raise BadRequest("The name does not match. Nothing was closed.", param="confirm_name")
    return tenant


def tenant_close(*, tenant: Tenant, confirm_name: str, by: AuthContext) -> Tenant:
    """Close an organisation for good: nobody can enter it, no key works. Staff can undo it for 30 days."""
    tenant_closable(tenant=tenant, confirm_name=confirm_name, by=by)
    return tenant_set_status(tenant=tenant, status=Tenant.Status.CLOSED, reason="closed by an owner")


def tenant_set_status(*, tenant: Tenant, status: str, reason: str, action: str = "") -> Tenant:
    """Suspend, reopen or close an organisation; every door hears of it within seconds. Inside the tenant's scope.

    `action` names it in the log where it is not one of `tenant.suspended`, `tenant.reopened` and `tenant.closed`; only
    what was closed by the last one is erased a month later. Conflict for one that was erased.
    """
    before = tenant.status
    if before == status:
        return tenant
    if before == Tenant.Status.ERASED:
        raise Conflict("This organisation was erased: there is nothing left to open.")
    tenant.status = status
    tenant.save(update_fields=["status"])
    verb = {"active": "reopened", "suspended": "suspended", "closed": "closed"}[status]
    audit.record(
        action=action or f"tenant.{verb}",
        target=tenant,
        before={"status": before},
        after={"status": status},
        reason=reason,
    )
    lookups = list(ApiKey.objects.values_list("lookup", flat=True))
    transaction.on_commit(lambda: _announce_keys(lookups))
    return tenant


def _announce_keys(lookups: list[str]) -> None:
    for lookup in lookups:
        redis.publish(KEY_NEWS, lookup)


def project_create(*, name: str) -> Project:
    """Another workspace in the scope's tenant."""
    name = clean_name(name)
    slug = slugify(name)[:40].strip("-") or "project"
    if slug in RESERVED or Project.objects.filter(slug=slug).exists():
        slug = f"{slug}-{secrets.token_hex(2)}"
    project: Project = Project.objects.create(name=name, slug=slug)
    audit.record(action="project.created", target=project, after={"name": name})
    return project


def project_rename(*, project: Project, name: str) -> Project:
    """Change a project's display name; its slug, and with it every URL, stays."""
    before, project.name = project.name, clean_name(name)
    if project.name != before:
        project.save(update_fields=["name"])
        audit.record(action="project.renamed", target=project, before={"name": before}, after={"name": project.name})
    return project


def project_archive(*, project: Project) -> Project:
    """Close a workspace: it leaves every list. Its keys must be revoked by the caller (`keys_revoke_all`)."""
    tenant_turn()  # who begins something there now is done before, or finds it archived (`project_open`)
    # Not against those who write rows that point to a project: they may hold what its closing waits for.
    alive = set(Project.objects.select_for_update(no_key=True).filter(archived_at=None).values_list("pk", flat=True))
    if alive <= {project.pk}:
        raise LastProject
    if project.archived_at is None:
        project.archived_at = now()
        project.save(update_fields=["archived_at"])
        audit.record(action="project.archived", target=project)
    return project


def member_of(member_id: UUID) -> Member:
    """A member of the scope's tenant."""
    member = Member.objects.select_related("user").filter(pk=member_id).first()
    if member is None:
        raise NotFound.of(member_id)
    found: Member = member
    return found


def check_role(role: str, by: AuthContext) -> str:
    """A role the caller may give or take: only owners make owners."""
    if role not in Role.values:
        raise BadRequest(f"Unknown role. Roles: {', '.join(Role.values)}.", param="role")
    by.require("members.write")
    if role == Role.OWNER:
        by.require("tenant.own")
    return role


def member_change_role(*, member: Member, role: str, by: AuthContext) -> Member:
    """Give a member another role; an organisation keeps an owner, and only owners make or unmake owners."""
    check_role(role, by)
    check_role(member.role, by)
    if member.role == role:
        return member
    _keep_an_owner(member, leaving=role != Role.OWNER)
    before, member.role = member.role, role
    member.save(update_fields=["role"])
    _withdraw_offers(member.user_id, role)
    audit.record(action="member.role_changed", target=member, before={"role": before}, after={"role": role})
    return member


def member_remove(*, member: Member, by: AuthContext) -> None:
    """Take a seat away; the user's account stays."""
    check_role(member.role, by)
    _keep_an_owner(member, leaving=True)
    audit.record(action="member.removed", target=member, before={"email": member.user.email, "role": member.role})
    _withdraw_offers(member.user_id, None)
    member.delete()


def member_leave(*, member: Member) -> None:
    """Give up one's own seat; the last owner cannot."""
    _keep_an_owner(member, leaving=True)
    audit.record(action="member.left", target=member, before={"email": member.user.email, "role": member.role})
    _withdraw_offers(member.user_id, None)
    member.delete()


def may_offer(giver: str | None, role: str) -> bool:
    """Whether a member of a role, or none, may give somebody that seat."""
    scopes = PERMISSIONS[giver] if giver is not None else frozenset()
    return "members.write" in scopes and (role != Role.OWNER or "tenant.own" in scopes)


def _withdraw_offers(user_id: UUID, role: str | None) -> None:
    """Take back the seats somebody offered and may offer no more: through one they could come back themselves."""
    for offer in Invitation.objects.filter(invited_by=user_id, accepted_at=None, revoked_at=None):
        if not may_offer(role, offer.role):
            offer.revoked_at = now()
            offer.save(update_fields=["revoked_at"])
            audit.record(action="member.invitation_revoked", target=offer, before={"email": offer.email})


def _keep_an_owner(member: Member, *, leaving: bool) -> None:
    owners = Member.objects.select_for_update().filter(role=Role.OWNER).values_list("pk", flat=True)
    if leaving and set(owners) == {member.pk}:
        raise LastOwner
