"""Telling a tenant, once a month, limit and threshold, how much of a spend limit is used: audit log, mail and webhooks.

Every scope's limits are looked at: the organisation's, and those of projects, members, keys and models; and the wallet,
once for each credit that came. Told are those who can change the limit, and the member whose own it is or who made the
key; and the endpoints of the project, where the limit is one project's, else those of every project.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from typing import Any

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.utils.translation import gettext as _

from billing.models import Budget
from billing.periods import month_of
from billing.selectors.budgets import WALLET
from billing.selectors.decisions import SCOPES
from billing.selectors.filling import Filling, filling
from hooks.catalogue import BUDGET_THRESHOLD
from hooks.services import event_publish, projects_listening
from kit.clock import now
from kit.money import written
from tenants import audit
from tenants.models import Member, Project, Role
from tenants.scope import tenant_scope
from tenants.selectors import tenant_current

TOLD = (Role.OWNER, Role.ADMIN)
TOLD_OF_ALL = (*TOLD, Role.BILLING)
"""Who hears of the organisation's own limit."""
MOST = 100
"""Limits announced for one tenant at once; the rest follow with its next usage."""
LISTED = 20
"""Limits that one mail names."""


def budgets_alert(*, tenant_id: uuid.UUID) -> int:
    """Announce, of each spend limit, the highest threshold newly crossed; how many limits were announced. Safe to run
    twice at once: the row of a limit is its lock."""
    with tenant_scope(tenant_id):
        month = month_of(now())
        found = filling(month)
        known = {row.name: row.alerted for row in Budget.objects.filter(name__in=[one.name for one in found])}
        fresh = [one for one in found if one.reached > _told(known.get(one.name, {}), one)][:MOST]
        told = [one for one in sorted(fresh, key=lambda one: one.name) if _announce(tenant_id, one)]
        if told:
            _mail([one for one in fresh if one in told])
        return len(told)


def _told(alerted: dict[str, Any], one: Filling) -> int:
    """The percent last announced of this month and limit."""
    same = (alerted.get("month"), alerted.get("cap_nano")) == one.mark
    return int(alerted.get("percent", 0)) if same else 0


def _announce(tenant_id: uuid.UUID, one: Filling) -> bool:
    """Note it, unless another tick did meanwhile. Limits are locked in the order of their names, as jobs do."""
    budget, _made = Budget.objects.select_for_update().get_or_create(
        tenant_id=tenant_id, name=one.name, defaults={"scope": one.scope, "scope_id": one.scope_id.hex}
    )
    if one.reached <= _told(budget.alerted, one):
        return False
    span, cap = one.mark
    budget.alerted = {"month": span, "cap_nano": cap, "percent": one.reached}
    budget.save(update_fields=["alerted"])
    after = {"percent": one.reached, "month": f"{month_of(now()):%Y-%m}", "scope": one.scope}
    audit.record(action="budget.threshold", target=budget, after=after, actor=audit.SYSTEM)
    _publish(budget, one)
    return True


def _publish(budget: Budget, one: Filling) -> None:
    data = {"id": budget.public_id, "scope": SCOPES[one.scope], "percent": str(one.reached)}
    projects = [one.project_id] if one.project_id is not None else projects_listening(BUDGET_THRESHOLD)
    for project_id in projects:
        event_publish(project_id=project_id, type=BUDGET_THRESHOLD, data=data)


def _mail(told: list[Filling]) -> None:
    """One mail to each person, with all limits that person is to hear of."""
    tenant = tenant_current()
    seats = list(Member.objects.select_related("user"))
    emails = {seat.user_id: seat.user.email for seat in seats}
    names = dict(Project.objects.filter(pk__in={one.project_id for one in told}).values_list("pk", "name"))
    heard: dict[str, list[Filling]] = defaultdict(list)
    for one in told:
        roles = TOLD_OF_ALL if one.scope in ("tenant", WALLET) else TOLD
        users = {seat.user_id for seat in seats if seat.role in roles} | ({one.user_id} & emails.keys())
        for user_id in users:
            heard[emails[user_id]].append(one)

    def said(one: Filling) -> str:
        values = {"spent": written(one.state.spent_nano), "cap": written(one.state.cap_nano)}
        if one.scope == WALLET:
            return _("%(whose)s has used %(spent)s of its credit of %(cap)s.") % {"whose": tenant.name, **values}
        project = names.get(one.project_id, "")
        whose = {
            "tenant": tenant.name,
            "project": _("The project %(project)s"),
            "member": _("%(email)s, with the keys made by that member,"),
            "key": _("The API key %(label)s of the project %(project)s"),
            "model": _("The model %(label)s of the project %(project)s"),
        }[one.scope]
        if one.scope != "tenant":
            whose %= {"project": project, "label": one.label, "email": emails.get(one.user_id, _("A member who left"))}
        return _("%(whose)s has used %(spent)s of its monthly spend limit of %(cap)s.") % {"whose": whose, **values}

    for address, limits in heard.items():
        lines = [said(one) for one in limits[:LISTED]]
        if (more := len(limits) - LISTED) > 0:
            lines.append(_("%(count)d more limits are at a threshold.") % {"count": more})
        page = {"tenant": "billing/", WALLET: "billing/wallet"}.get(limits[0].scope, "")
        text = "\n\n".join([*lines, _rule(limits), f"{settings.BASE_URL}/o/{tenant.slug}/{page}\n"])
        subject = _subject(limits)
        transaction.on_commit(
            lambda to=address, subject=subject, text=text: send_mail(subject, text, None, [to]),  # type: ignore[misc]
            robust=True,
        )


def _subject(limits: list[Filling]) -> str:
    """Names of the tenant's own making stay out of it."""
    first = limits[0]
    if len(limits) > 1:
        return _("%(count)d monthly spend limits are filling up") % {"count": len(limits)}
    whose = {
        "tenant": _("your monthly spend limit"),
        "project": _("a project's monthly spend limit"),
        "member": _("a member's monthly spend limit"),
        "key": _("an API key's monthly spend limit"),
        "model": _("a model's monthly spend limit"),
        WALLET: _("your credit"),
    }[first.scope]
    return _("%(percent)d %% of %(whose)s is used") % {"percent": first.reached, "whose": whose}


def _rule(limits: list[Filling]) -> str:
    rule = _(
        "At the limit, calls and training jobs that cost money are refused until the next month begins or the limit is "
        "raised; nothing beyond it is ever charged."
    )
    places = {
        "tenant": _("You can change the organisation's limit, or the plan, under Billing."),
        "project": _("Limits of projects are under Settings."),
        "member": _("Owners and admins change limits of members under Members."),
        "key": _("Limits of keys are under API keys."),
        "model": _("Limits of models count calls alone; they are under Models."),
        WALLET: _(
            "When credit is used up, usage goes on account as far as you allow that; then calls and training jobs that "
            "cost money are refused. You can buy credit, and change what may be owed, under Billing, Wallet."
        ),
    }
    scopes = {one.scope for one in limits}
    return " ".join(
        [*([rule] if scopes != {WALLET} else []), *(words for scope, words in places.items() if scope in scopes)]
    )
