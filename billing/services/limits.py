"""Limits an organisation sets for itself, its projects, members, keys and models, below what its plan allows.

They hold at the gateways within seconds (news over Redis, and a re-read every 30 s in case it is lost). A spend limit
that is lowered takes unspent money back from the quota server, so that the new one holds as exactly as the old.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction

from billing.models import Budget, MemberLimits, ModelLimits, ProjectLimits, SpendLimit
from billing.plans import plan_book
from billing.selectors.budgets import budget_name
from billing.selectors.subscriptions import entitlement_for
from billing.services.effects import limits_changed
from billing.services.leases import budget_begin, budget_end
from kit.clock import now
from kit.errors import BadRequest
from kit.money import written
from tenants import audit
from tenants.models import ApiKey, Member, Project
from tenants.scope import current_tenant_id
from tenants.services.keys import LIMIT_NAMES, key_change, key_create
from tenants.services.organisations import tenant_turn

NAMES = LIMIT_NAMES
MOST_MODELS = 200
"""Models of one project that can have limits: every gateway keeps them beside each of its keys."""
MODEL_LENGTH = 200
_SAID = {
    "requests_per_minute": "{:,} requests per minute",
    "tokens_per_minute": "{:,} tokens per minute",
    "concurrency": "{:,} calls at the same time",
}
SLOW = "slow_from_percent"
"""The share of a spend limit from which on calls are slowed to a tenth of the rates of requests."""
_WITHIN = {"input_tokens_per_minute": "tokens_per_minute", "output_tokens_per_minute": "tokens_per_minute"}
"""Limits that no plan has: they cannot be above what the plan says of tokens."""


def project_limits_set(*, project: Project, limits: dict[str, Any]) -> ProjectLimits:
    """Replace a project's own limits, in its tenant's scope; an empty mapping lifts them.

    Values are whole numbers from 0 (money in nano). BadRequest for an unknown name, a value no limit can have, or
    more than the plan allows.
    """
    limits_check(limits)
    tenant_turn()
    row = ProjectLimits.objects.filter(project=project).first()
    row = row or ProjectLimits(tenant_id=project.tenant_id, project=project)
    _replace(row, limits, action="project.limits_changed", target=project, scope="project", scope_id=project.pk)
    return row


def member_limits_set(*, member: Member, limits: dict[str, Any]) -> MemberLimits:
    """Replace what the keys a member made may do together; as a project's. They hold for keys made before as well."""
    limits_check(limits)
    tenant_turn()
    row = MemberLimits.objects.filter(user=member.user_id).first()
    row = row or MemberLimits(tenant_id=member.tenant_id, user_id=member.user_id)
    _replace(row, limits, action="member.limits_changed", target=member, scope="member", scope_id=member.user_id)
    return row


def model_limits_set(*, project: Project, model: str, limits: dict[str, Any]) -> ModelLimits:
    """Replace what all calls of one model in a project may do together; as a project's.

    The model need not be there yet. BadRequest too for a name no model has, or for one model too many.
    """
    if not 0 < len(model) <= MODEL_LENGTH or not model.isprintable() or model != model.strip():
        raise BadRequest(
            f"'model' must be the name of a model, of at most {MODEL_LENGTH} characters, as GET /v1/models lists it.",
            param="model",
        )
    limits_check(limits)
    tenant_turn()
    row = ModelLimits.objects.filter(project=project, model=model).first()
    if row is None:
        if limits and ModelLimits.objects.filter(project=project).exclude(limits={}).count() >= MOST_MODELS:
            raise BadRequest(
                f"{MOST_MODELS} models of this project have limits, the most there may be. Lift another's first.",
                param="model",
            )
        row = ModelLimits(tenant_id=project.tenant_id, project=project, model=model)
    _replace(row, limits, action="model.limits_changed", target=row, scope="model", scope_id=row.pk)
    return row


def _replace(
    row: ProjectLimits | MemberLimits | ModelLimits,
    limits: dict[str, Any],
    *,
    action: str,
    target: Any,
    scope: str,
    scope_id: UUID,
) -> None:
    before, row.limits, row.changed_at = row.limits, dict(limits), now()
    row.save()
    if before != row.limits:
        audit.record(action=action, target=target, before=before, after=row.limits)
        had, has = "monthly_spend_nano" in before, "monthly_spend_nano" in limits
        budget_changed(scope, scope_id, had=had, has=has)


def key_make(*, limits: dict[str, Any], **wanted: Any) -> tuple[ApiKey, str]:
    """A key with limits of its own, none above the plan's: as `tenants.services.keys.key_create`; BadRequest."""
    limits_check(limits)
    return key_create(limits=limits, **wanted)


def key_limits_set(*, key: ApiKey, name: str, limits: dict[str, Any]) -> ApiKey:
    """Rename a key and replace its own limits, in its tenant's scope; an empty mapping lifts them.

    BadRequest as for a project's. A spend limit counts what the key's calls have cost this month.
    """
    limits_check(limits)
    tenant_turn()
    key.refresh_from_db()  # the page read it before its turn came
    had, has = "monthly_spend_nano" in key.limits, "monthly_spend_nano" in limits
    changed = key.limits.get("monthly_spend_nano") != limits.get("monthly_spend_nano")
    key_change(key=key, name=name, limits=limits)
    if changed:
        budget_changed("key", key.pk, had=had, has=has)
    return key


def spend_limit_set(*, monthly_nano: int | None, slow_percent: int | None = None) -> SpendLimit:
    """Set what the organisation allows itself to spend in a calendar month (UTC); None lifts it to the plan's limit.
    And the percent of that, own or the plan's, from which on calls are slowed; None never.

    BadRequest for more than the plan allows. Less than what is spent already is allowed: what costs money is then
    refused until the month ends.
    """
    if monthly_nano is not None:
        limits_check({"monthly_spend_nano": monthly_nano})
    if slow_percent is not None:
        limits_check({SLOW: slow_percent, "monthly_spend_nano": 0})
    tenant_turn()
    row = SpendLimit.objects.first() or SpendLimit(tenant_id=current_tenant_id())
    before = {"monthly_spend_nano": row.monthly_nano, SLOW: row.slow_from_percent}
    after = {"monthly_spend_nano": monthly_nano, SLOW: slow_percent}
    row.monthly_nano, row.slow_from_percent, row.changed_at = monthly_nano, slow_percent, now()
    row.save()
    changed = [name for name in after if before[name] != after[name]]
    if changed:
        audit.record(
            action="billing.spend_limit_changed",
            target=row,
            before={name: before[name] for name in changed},
            after={name: after[name] for name in changed},
        )
        budget_changed("tenant", current_tenant_id(), had=True, has=True)  # the plan's limit, if not an own one
    return row


def limits_check(limits: dict[str, Any]) -> None:
    """BadRequest unless each is a limit that can be and is not above the plan's: such a number would not hold."""
    entitlement = entitlement_for(current_tenant_id())
    allowed = dataclasses.asdict(entitlement.limits)
    plan = plan_book().get(entitlement.plan, entitlement.plan_version).name
    for name, value in limits.items():
        if name not in NAMES:
            raise BadRequest(f"No limit is called '{name[:40]}'. Limits: {', '.join(NAMES)}.", param=name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise BadRequest(f"'{name}' must be a whole number, 0 or more.", param=name)
        if name == SLOW:
            if not 1 <= value <= 99:
                raise BadRequest(f"'{name}' must be from 1 to 99: percent of the spend limit.", param=name)
            if limits.get("monthly_spend_nano") is None:
                raise BadRequest("Slowing down is from a share of a spend limit on. Set one beside it.", param=name)
            continue
        plans = _WITHIN.get(name, name)
        if value > allowed[plans]:
            most = _SAID[plans].format(allowed[plans]) if plans in _SAID else f"{written(allowed[plans])} a month"
            raise BadRequest(
                f"Your plan, {plan}, allows {most}. Set at most that, or nothing for the plan's limit.", param=name
            )


def budget_changed(scope: str, scope_id: UUID, *, had: bool, has: bool) -> None:
    """Under the budget's lock, so that no refill decides by the old limit once this has committed."""
    tenant_id, name = current_tenant_id(), budget_name(scope, scope_id.hex)
    Budget.objects.select_for_update().filter(name=name).first()
    if has and not had:
        budget_begin(scope=scope, scope_id=scope_id.hex)
    elif had and not has:
        budget_end(scope=scope, scope_id=scope_id.hex)
    transaction.on_commit(partial(limits_changed, tenant_id, name))
