"""What surrounds every console page: the organisation, its projects, and the navigation."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from billing.models import TopUp
from billing.selectors.dunning import Overdue
from tenants.access import Membership
from tenants.models import Project, Tenant
from tenants.visiting import Visitor


@dataclass(frozen=True, slots=True)
class Link:
    """A place to go."""

    label: str | Promise
    href: str
    current: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A navigation entry; `go` is its key after `g`."""

    label: str | Promise
    href: str
    icon: str
    current: bool
    go: str = ""
    section: str = ""


@dataclass(frozen=True, slots=True)
class Shell:
    """Everything `console/base.html` shows around a page."""

    tenant: Tenant
    project: Project
    home: str
    project_path: str
    """`<org slug>/<project slug>`, the context of search."""
    projects: list[Link] = field(default_factory=list)
    tenants: list[Link] = field(default_factory=list)
    groups: list[list[Entry]] = field(default_factory=list)
    visit: Visitor | None = None
    """Staff are looking; the page says so."""
    overdue: Overdue | None = None
    """An invoice is not paid; every page says so."""
    topup: TopUp | None = None
    """A purchase that turned automatic top-up off; every page says so to whoever sees billing."""


PROJECT_PAGES: tuple[tuple[str, Any, str, str, str], ...] = (
    # section, label, url name, icon, key after g
    ("overview", _("Overview"), "console:overview", "house", "o"),
    ("datasets", _("Datasets"), "console:datasets", "database", "d"),
    ("jobs", _("Jobs"), "console:jobs", "wrench", "j"),
    ("models", _("Models"), "console:models", "box", "m"),
    ("deployments", _("Deployments"), "console:deployments", "radio-tower", ""),
    ("playground", _("Playground"), "console:playground", "square-terminal", "p"),
    ("batches", _("Batches"), "console:batches", "clock", ""),
    ("orders", _("Orders"), "console:orders", "file-text", ""),
    ("requests", _("Requests"), "console:requests", "activity", "r"),
    ("keys", _("API keys"), "console:keys", "key-round", "k"),
    ("webhooks", _("Webhooks"), "console:webhooks", "waypoints", ""),
)
ASKED = {"requests": "usage.read", "keys": "keys.read", "webhooks": "webhooks.read"}
"""Project pages that are left out for roles without a scope."""
ORG_PAGES: tuple[tuple[str, Any, str, str, str, str], ...] = (
    # section, label, url name, icon, key after g, scope
    ("usage", _("Usage"), "console:usage", "chart-column", "u", "usage.read"),
    ("billing", _("Billing"), "console:billing", "credit-card", "", "billing.read"),
    ("support", _("Support"), "console:support", "mail", "", "support.read"),
    ("members", _("Members"), "console:members", "users", "", "members.read"),
    ("audit", _("Audit log"), "console:audit", "scroll-text", "", "audit.read"),
    ("settings", _("Settings"), "console:settings", "settings", "", ""),
)


def navigation(*, org: str, project: str, scopes: frozenset[str], section: str) -> list[list[Entry]]:
    """Entries in groups; a page the role cannot open is left out."""
    work = [
        Entry(label, reverse(name, args=[org, project]), icon, key == section, go)
        for key, label, name, icon, go in PROJECT_PAGES
        if key not in ASKED or ASKED[key] in scopes
    ]
    organisation = [
        Entry(label, reverse(name, args=[org]), icon, key == section, go, key)
        for key, label, name, icon, go, scope in ORG_PAGES
        if not scope or scope in scopes
    ]
    docs = [Entry(_("Docs"), reverse("console:docs"), "book-open", False)]
    return [work, organisation, docs]


def shell_of(
    *,
    tenant: Tenant,
    project: Project,
    projects: Sequence[Project],
    seats: Sequence[Membership],
    scopes: frozenset[str],
    section: str,
    visit: Visitor | None = None,
    overdue: Overdue | None = None,
    topup: TopUp | None = None,
) -> Shell:
    """The surroundings of one page."""
    overview = reverse("console:overview", args=[tenant.slug, project.slug])
    return Shell(
        tenant=tenant,
        project=project,
        home=overview,
        project_path=f"{tenant.slug}/{project.slug}",
        projects=[
            Link(p.name, reverse("console:overview", args=[tenant.slug, p.slug]), p.pk == project.pk) for p in projects
        ],
        tenants=[
            Link(s.tenant_name, reverse("console:organisation", args=[s.tenant_slug]), s.tenant_id == tenant.pk)
            for s in seats
            if s.tenant_status != "closed"
        ],
        groups=navigation(org=tenant.slug, project=project.slug, scopes=scopes, section=section),
        visit=visit,
        overdue=overdue,
        topup=topup,
    )
