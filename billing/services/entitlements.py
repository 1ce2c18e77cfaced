"""Deriving what a tenant may do, and the overrides staff and contracts put on top.

All functions run in the tenant's scope.
"""

import datetime as dt
from dataclasses import asdict
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction

from billing.models import AllowanceChange, EntitlementOverride, TenantEntitlement
from billing.plans import Entitlement, plan_book
from billing.selectors.budgets import budget_name
from billing.selectors.dunning import rung_now
from billing.selectors.subscriptions import entitlement_now, plan_named
from billing.services.dunning import rung_take
from billing.services.effects import NEWS as NEWS
from billing.services.effects import limits_changed
from billing.services.locks import money_lock
from billing.services.sweeps import for_each
from kit.clock import now
from kit.errors import BadRequest, NotFound
from kit.ids import made_at
from tenants import audit
from tenants.models import AuditEvent
from tenants.scope import current_tenant_id, ops_scope, tenant_scope


def entitlement_refresh() -> Entitlement:
    """Derive again from what the mirrors and overrides say now; tell everybody when it changed."""
    tenant_id = current_tenant_id()
    money_lock(tenant_id)
    derived, spends = entitlement_now(), ""
    rung = rung_now()
    values = _columns(derived)
    values["until"] = min((at for at in (derived.until, rung.next_at) if at is not None), default=None)
    row: TenantEntitlement | None = TenantEntitlement.objects.first()
    fresh = row is None
    row = row or TenantEntitlement.objects.create(**values)
    moved, again = rung_take(row, rung)
    if again:  # the tick of `entitlements_due` does it
        values["until"] = now()
    if moved and not fresh:
        transaction.on_commit(partial(limits_changed, tenant_id))
    if fresh:
        if again:
            TenantEntitlement.objects.update(until=values["until"])
        spends = budget_name("tenant", tenant_id.hex)
        _note_allowance(None, derived)
    elif any(getattr(row, name) != value for name, value in values.items()):
        before = {"plan": row.plan, "plan_version": row.plan_version, "standing": row.standing}
        _note_allowance(row, derived)
        if row.limits.get("monthly_spend_nano") != derived.limits.monthly_spend_nano:
            spends = budget_name("tenant", tenant_id.hex)
        for name, value in values.items():
            setattr(row, name, value)
        row.version += 1
        row.derived_at = now()
        row.save()
        after = {"plan": row.plan, "plan_version": row.plan_version, "standing": row.standing}
        if before != after:
            audit.record(action="plan.changed", target=row, before=before, after=after)
    else:
        return derived
    transaction.on_commit(partial(limits_changed, tenant_id, spends))
    return derived


def _note_allowance(row: TenantEntitlement | None, derived: Entitlement) -> None:
    """Keep what was included until now and what is from now on, for the bill of this month."""
    was = (row.plan, row.plan_version, row.allowance["usage_nano"]) if row is not None else None
    became = (derived.plan, derived.plan_version, derived.allowance_nano)
    if was == became:
        return
    if row is not None and was is not None and not AllowanceChange.objects.exists():  # older than this record
        _allowance_from(_in_force_since(row), *was)
    _allowance_from(now(), *became)


def _in_force_since(row: TenantEntitlement) -> dt.datetime:
    """Since when a plan older than the record of allowances counts. Any changed limit moves `derived_at`: not that."""
    for event in AuditEvent.objects.filter(action="plan.changed").order_by("-at"):
        before, after = event.before or {}, event.after or {}
        if any(before.get(name) != after.get(name) for name in ("plan", "plan_version")):
            return event.at
    return made_at(row.pk)


def _allowance_from(since: dt.datetime, plan: str, version: int, nano: int) -> None:
    AllowanceChange.objects.create(since=since, plan=plan, plan_version=version, allowance_nano=nano)


def _columns(derived: Entitlement) -> dict[str, Any]:
    return {
        "plan": derived.plan,
        "plan_version": derived.plan_version,
        "standing": derived.standing,
        "limits": asdict(derived.limits),
        "features": sorted(derived.features),
        "allowance": {"usage_nano": derived.allowance_nano},
        "subscription": derived.subscription,
        "until": derived.until,
    }


def entitlements_due() -> int:
    """Derive again where an override or a grace period has just begun or ended; returns how many."""
    with ops_scope("entitlements that change by the clock"):
        rows = TenantEntitlement.ops.filter(until__lte=now()).order_by("until")
        due = list(rows.values_list("tenant_id", flat=True)[:500])

    def refresh(tenant_id: UUID) -> int:
        with tenant_scope(tenant_id):
            entitlement_refresh()
        return 1

    return for_each("entitlements_due", due, refresh)


def override_set(
    *,
    reason: str,
    created_by: str,
    limits: dict[str, Any] | None = None,
    features: list[str] | None = None,
    plan: str = "",
    valid_from: dt.datetime | None = None,
    valid_until: dt.datetime | None = None,
) -> EntitlementOverride:
    """Change single limits, add features, or grant a plan without a subscription, for good or until a date."""
    if not reason.strip():
        raise BadRequest("Say why: a reason is needed.", param="reason")
    if valid_until is not None and valid_until <= (valid_from or now()):
        raise BadRequest("The override ends before it begins.", param="valid_until")
    try:
        plan_book().free.limits.changed(limits or {})
    except ValueError as error:
        raise BadRequest(f"{error}.", param="limits") from error
    version = plan_named(plan).version if plan else 0
    override: EntitlementOverride = EntitlementOverride.objects.create(
        limits=limits or {},
        features=sorted(features or []),
        plan=plan,
        plan_version=version,
        reason=reason.strip()[:300],
        created_by=created_by,
        valid_from=valid_from or now(),
        valid_until=valid_until,
    )
    after = {"limits": override.limits, "features": override.features, "plan": plan}
    audit.record(action="entitlement.overridden", target=override, after=after, reason=reason)
    entitlement_refresh()
    return override


def override_revoke(*, override_id: UUID, reason: str) -> None:
    """Take an override back; doing it twice changes nothing."""
    override = EntitlementOverride.objects.filter(pk=override_id).first()
    if override is None:
        raise NotFound.of(override_id)
    if override.revoked_at is None:
        override.revoked_at = now()
        override.save(update_fields=["revoked_at"])
        audit.record(action="entitlement.override_revoked", target=override, reason=reason)
    entitlement_refresh()


def plan_grant(*, plan: str, reason: str, created_by: str) -> Entitlement:
    """Give a plan without payment (the shell, contracts, tests). The free plan needs no grant."""
    plan_named(plan)
    if plan != plan_book().free.code:
        override_set(plan=plan, reason=reason, created_by=created_by)
    return entitlement_refresh()
