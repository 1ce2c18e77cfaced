"""Every spend limit of an organisation on one page: how full it is, who was told, who set it, where it is changed."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from billing.models import Budget, SpendLimit
from billing.selectors.budgets import THRESHOLDS
from billing.selectors.filling import Filling
from kit.ids import public_id
from tenants import selectors
from tenants.models import AuditEvent

SCOPES = {
    "tenant": _("Organisation"),
    "project": _("Project"),
    "member": _("Member"),
    "key": _("API key"),
    "model": _("Model"),
}
TABS = {
    "": _("All"),
    "tenant": _("Organisation"),
    "project": _("Projects"),
    "member": _("Members"),
    "key": _("API keys"),
    "model": _("Models"),
}
CHANGES = {
    "tenant": ("billing.spend_limit_changed",),
    "project": ("project.limits_changed",),
    "member": ("member.limits_changed",),
    "key": ("key.changed", "key.created"),
    "model": ("model.limits_changed",),
}
"""What the audit log calls the setting of a limit of each scope."""
SPEND = "monthly_spend_nano"


@dataclass(frozen=True, slots=True)
class Told:
    """One threshold of a limit: whether this month is past it, and whether a mail went out."""

    percent: int
    passed: bool
    mailed: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One spend limit."""

    filling: Filling
    scope: Any
    name: str
    detail: str
    href: str
    """Where it is changed or at least looked at; empty where its page is gone."""
    events: str
    """The query of its month's events; empty where it cannot be asked so."""
    left_nano: int
    told: Sequence[Told]
    set_by: str = ""
    set_at: dt.datetime | None = None


@dataclass(slots=True)
class Directory:
    """What the ids of limits are called and where their pages are."""

    projects: dict[UUID, Any] = field(default_factory=dict)
    members: dict[UUID, Any] = field(default_factory=dict)

    @classmethod
    def of_scope(cls) -> "Directory":
        """Of the scope's tenant, in two queries."""
        return cls(
            {project.pk: project for project in selectors.projects()},
            {member.user_id: member for member in selectors.members()},
        )


def told(one: Filling, alerted: dict[str, Any], month: str) -> list[Told]:
    """The thresholds of a limit, those announced for this month and this cap marked."""
    same = (alerted.get("month"), alerted.get("cap_nano")) == (month, one.state.cap_nano)
    mailed = int(alerted.get("percent", 0)) if same else 0
    return [Told(percent, one.state.percent >= percent, percent <= mailed) for percent in THRESHOLDS]


def alerts_of(shown: Sequence[Filling]) -> dict[str, dict[str, Any]]:
    """By the name of a limit, what was last announced of it."""
    rows = Budget.objects.filter(name__in=[one.name for one in shown])
    return {row.name: row.alerted for row in rows}


def setters(shown: Sequence[Filling], targets: dict[UUID, str]) -> dict[UUID, AuditEvent]:
    """By scope id, the last change in the audit log that set the limit. `targets` are their ids in the log."""
    actions = {action for one in shown for action in CHANGES[one.scope]}
    wanted = {target: scope_id for scope_id, target in targets.items()}
    events = AuditEvent.objects.filter(action__in=actions, target_id__in=wanted).order_by("at", "pk")
    found: dict[UUID, AuditEvent] = {}
    for event in events:
        if _sets(event):
            found[wanted[event.target_id]] = event
    return found


def _sets(event: AuditEvent) -> bool:
    """Whether a change was one of the money limit: a key's new name sets no limit."""
    before, after = event.before or {}, event.after or {}
    inner = [(one.get("limits") or {}) if "limits" in one else one for one in (before, after)]
    values = [one.get(SPEND, one.get("monthly_nano")) for one in inner]
    return values[0] != values[1] or event.action == "key.created"


def target_of(one: Filling, directory: Directory) -> str:
    """The id of what a limit is about, as the audit log has it; empty for the organisation's that its plan sets."""
    if one.scope == "member":
        member = directory.members.get(one.scope_id)
        return member.public_id if member is not None else ""
    if one.scope == "tenant":
        own = SpendLimit.objects.exclude(monthly_nano=None).first()
        return own.public_id if own is not None else ""
    return public_id({"project": "proj_", "key": "key_", "model": "mlim_"}[one.scope], one.scope_id)


def name_of(one: Filling, directory: Directory, tenant: Any) -> tuple[str, str]:
    """What a limit is about, and of which project or person."""
    project = directory.projects.get(one.project_id) if one.project_id is not None else None
    if one.scope == "tenant":
        return tenant.name, _t("everything")
    if one.scope == "project":
        return (project.name if project is not None else _t("archived project")), _t("all its keys, jobs and storage")
    if one.scope == "member":
        member = directory.members.get(one.scope_id)
        name = member.user.get_full_name() if member is not None else _t("a member who has left")
        return name, _t("all keys this member made")
    return one.label, project.name if project is not None else _t("archived project")
