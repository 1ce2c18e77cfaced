"""Telling a tenant, once a month, limit and threshold, how much of its spend limit is used: audit log and mail."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.utils.translation import gettext as _

from billing.models import Budget
from billing.periods import month_of
from billing.selectors.budgets import THRESHOLDS, BudgetState, budget_month, budget_name
from kit.clock import now
from kit.money import usd
from tenants import audit
from tenants.models import Member, Role
from tenants.scope import tenant_scope
from tenants.selectors import tenant_current

TOLD = (Role.OWNER, Role.ADMIN, Role.BILLING)


def budget_alert(*, tenant_id: uuid.UUID) -> int:
    """Announce the highest threshold newly crossed; its percent, or 0."""
    with tenant_scope(tenant_id):
        state = budget_month()
        if state is None or state.cap_nano <= 0:
            return 0
        reached = max((t for t in THRESHOLDS if state.percent >= t), default=0)
        name = budget_name("tenant", tenant_id.hex)
        budget, _made = Budget.objects.select_for_update().get_or_create(
            tenant_id=tenant_id, name=name, defaults={"scope": "tenant", "scope_id": tenant_id.hex}
        )
        month = f"{month_of(now()):%Y-%m}"
        told = budget.alerted
        same = told.get("month") == month and told.get("cap_nano") == state.cap_nano
        if reached <= (told.get("percent", 0) if same else 0):
            return 0
        budget.alerted = {"month": month, "cap_nano": state.cap_nano, "percent": reached}
        budget.save(update_fields=["alerted"])
        audit.record(
            action="budget.threshold", target=budget, after={"percent": reached, "month": month}, actor=audit.SYSTEM
        )
        _mail(reached, state)
        return reached


def _mail(reached: int, state: BudgetState) -> None:
    seats = Member.objects.filter(role__in=TOLD).select_related("user")
    addresses = [seat.user.email for seat in seats]
    tenant = tenant_current()
    values = {"name": tenant.name, "percent": reached, "spent": usd(state.spent_nano), "cap": usd(state.cap_nano)}
    subject = _("%(percent)d %% of your monthly spend limit is used") % values
    body = _(
        "%(name)s has used %(spent)s of its monthly spend limit of %(cap)s.\n\n"
        "At the limit, calls and training jobs that cost money are refused until the next month begins or the limit is "
        "raised; nothing beyond it is ever charged. You can change the limit, or the plan, under Billing."
    )
    text = (body % values) + f"\n\n{settings.BASE_URL}/o/{tenant.slug}/billing/\n"
    for address in addresses:
        transaction.on_commit(lambda to=address: send_mail(subject, text, None, [to]), robust=True)  # type: ignore[misc]
