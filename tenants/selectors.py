"""Reading organisations, projects, members, keys and the audit log."""

import datetime as dt
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from kit.errors import NotFound
from tenants.models import ApiKey, AuditEvent, Invitation, Member, Project, Tenant
from tenants.scope import current_tenant_id


def tenant_current() -> Tenant:
    """The scope's tenant."""
    tenant = Tenant.objects.filter(pk=current_tenant_id()).first()
    if tenant is None:
        raise NotFound.of(current_tenant_id())
    return tenant


def projects() -> "QuerySet[Project]":
    """The scope's projects, oldest first, without archived ones."""
    found: QuerySet[Project] = Project.objects.filter(archived_at=None).order_by("created_at")
    return found


def project_by_slug(slug: str) -> Project:
    """One project by its slug."""
    project = Project.objects.filter(slug=slug, archived_at=None).first()
    if project is None:
        raise NotFound.of(slug)
    found: Project = project
    return found


def project_by_id(project_id: UUID) -> Project:
    """One project by its id."""
    project = Project.objects.filter(pk=project_id).first()
    if project is None:
        raise NotFound.of(project_id)
    found: Project = project
    return found


def members() -> "QuerySet[Member]":
    """The scope's members, oldest first."""
    found: QuerySet[Member] = Member.objects.select_related("user").order_by("created_at")
    return found


def invitations_open() -> "QuerySet[Invitation]":
    """Invitations nobody has used or withdrawn yet (expired ones included, so that they can be sent again)."""
    found: QuerySet[Invitation] = Invitation.objects.filter(accepted_at=None, revoked_at=None).order_by("-created_at")
    return found


def keys(project: Project) -> "QuerySet[ApiKey]":
    """A project's keys, newest first."""
    found: QuerySet[ApiKey] = ApiKey.objects.filter(project=project).order_by("-created_at")
    return found


def keys_open(project: Project | None = None) -> "QuerySet[ApiKey]":
    """Keys that were not revoked, of a project or of the whole tenant."""
    rows = ApiKey.objects.filter(revoked_at=None)
    return rows if project is None else rows.filter(project=project)


def key_names() -> list[tuple[UUID, str, str]]:
    """(key, name, last four characters) of every key there ever was, by name."""
    return list(ApiKey.objects.order_by("name").values_list("pk", "name", "last_four"))


def key_successor(key: ApiKey) -> ApiKey | None:
    """The key that a rotation made of it."""
    found: ApiKey | None = ApiKey.objects.filter(rotated_from=key).order_by("-created_at").first()
    return found


def audit_actions() -> list[str]:
    """The action codes that occur in the scope's log, sorted."""
    return sorted(AuditEvent.objects.order_by().values_list("action", flat=True).distinct())


def audit_events(
    *,
    action: str = "",
    actor: str = "",
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    before: AuditEvent | None = None,
) -> "QuerySet[AuditEvent]":
    """The scope's changes, newest first, filtered by action prefix, actor label and time. `before` goes on where a list
    ended: only what comes after that event."""
    wanted: dict[str, Any] = {}
    if action:
        wanted["action__startswith"] = action
    if actor:
        wanted["actor_label__icontains"] = actor
    if since:
        wanted["at__gte"] = since
    if until:
        wanted["at__lt"] = until
    found: QuerySet[AuditEvent] = AuditEvent.objects.filter(**wanted).order_by("-at", "-pk")
    if before:
        found = found.filter(Q(at__lt=before.at) | Q(at=before.at, pk__lt=before.pk), at__lte=before.at)
    return found
