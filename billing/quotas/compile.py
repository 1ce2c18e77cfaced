"""From what a plan, a project and a key allow to the flat list of limits of one call.

Every scope keeps its own counter, so the narrowest one that is full decides. None means "not limited here"; a project,
member, key or model can only narrow what the tenant may do, because the tenant's own limits are always in the list as
well.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from uuid import UUID

from billing.quotas.limits import MAX_CAP, MINUTE_MS, CompiledLimits, Kind, Limit, Scope
from kit.money import HOUSE


@dataclasses.dataclass(frozen=True, slots=True)
class LimitSet:
    """What one scope may do. Rates are per minute; `spend_nano` is nano per calendar month (UTC)."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    spend_nano: int | None = None
    input_tokens_per_minute: int | None = None
    output_tokens_per_minute: int | None = None
    funds_nano: int | None = None
    """Of a tenant that may not go on account without end: its credit and what it may owe."""
    slow_percent: int | None = None
    """Percent of `spend_nano` from which on calls are slowed."""
    funds_slow_nano: int | None = None
    """At so much left of `funds_nano`, or less, calls are slowed."""

    @classmethod
    def read(cls, limits: Mapping[str, object] | None) -> LimitSet:
        """From the limits of a plan, an entitlement or a key; other fields are ignored."""
        found = limits or {}

        def whole(name: str) -> int | None:
            value = found.get(name)
            return value if isinstance(value, int) and not isinstance(value, bool) else None

        return cls(
            requests_per_minute=whole("requests_per_minute"),
            tokens_per_minute=whole("tokens_per_minute"),
            concurrency=whole("concurrency"),
            spend_nano=whole("monthly_spend_nano"),
            input_tokens_per_minute=whole("input_tokens_per_minute"),
            output_tokens_per_minute=whole("output_tokens_per_minute"),
            slow_percent=whole("slow_from_percent"),
        )

    def overridden(self, by: LimitSet | None) -> LimitSet:
        """These limits with what `by` sets put in their place (staff overrides, contracts)."""
        if by is None:
            return self
        changes = {
            field.name: getattr(by, field.name)
            for field in dataclasses.fields(by)
            if getattr(by, field.name) is not None
        }
        return dataclasses.replace(self, **changes)

    def money(self) -> LimitSet:
        """The limits of money alone: what holds for calls that no rate bounds."""
        return LimitSet(spend_nano=self.spend_nano, funds_nano=self.funds_nano)  # no rate is there to be slowed


def _funds(tenant_id: UUID, allowed: LimitSet) -> list[Limit]:
    """What the wallet carries; its soft cap is an amount, since it has no month to take a share of."""
    if allowed.funds_nano is None:
        return []
    slow = allowed.funds_slow_nano
    cap = min(allowed.funds_nano, MAX_CAP["spend"])
    return [Limit("wallet", tenant_id.hex, "spend", cap, slow_nano=slow)]


def _limits(scope: Scope, scope_id: str, allowed: LimitSet | None) -> list[Limit]:
    if allowed is None:
        return []
    found: list[Limit] = []

    def add(kind: Kind, cap: int | None, slow_percent: int | None = None) -> None:
        if cap is not None:  # a cap beyond what can be counted exactly is no cap anybody can reach
            cap = min(cap, MAX_CAP[kind])
            slow = None if slow_percent is None else cap - cap * slow_percent // 100
            found.append(Limit(scope, scope_id, kind, cap, MINUTE_MS, slow))

    add("requests", allowed.requests_per_minute)
    add("tokens", allowed.tokens_per_minute)
    add("input_tokens", allowed.input_tokens_per_minute)
    add("output_tokens", allowed.output_tokens_per_minute)
    add("concurrency", allowed.concurrency)
    add("spend", allowed.spend_nano, allowed.slow_percent)
    return found


def limits_for(
    *,
    tenant_id: UUID,
    plan: LimitSet,
    overrides: LimitSet | None = None,
    project_id: UUID | None = None,
    project: LimitSet | None = None,
    member_id: UUID | None = None,
    member: LimitSet | None = None,
    key_id: UUID | None = None,
    key: LimitSet | None = None,
    model_id: UUID | None = None,
    model: LimitSet | None = None,
    currency: str = HOUSE,
) -> CompiledLimits:
    """Compile all scopes of one caller. Keep the result until one of them changes.

    `member_id` is the user's who made the key, `model_id` that of the project's limits for one model; `currency`
    is what all money is in: it chooses the price book.
    """
    whole = plan.overridden(overrides)
    limits = _limits("tenant", tenant_id.hex, whole)
    limits += _funds(tenant_id, whole)
    if project_id is not None:
        limits += _limits("project", project_id.hex, project)
    if member_id is not None:
        limits += _limits("member", member_id.hex, member)
    if key_id is not None:
        limits += _limits("key", key_id.hex, key)
    if model_id is not None:
        limits += _limits("model", model_id.hex, model)
    return CompiledLimits(tenant_id, limits, currency)
